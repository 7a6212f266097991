//! What an operator writes under `sealing`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};

use super::{SealKey, SealKeyError, SealKeys};

/// What the ids of legacy sessions and the states of requests in several rounds are sealed with.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SealingConfig {
    /// The first seals, all of them open; `weir keys seal` makes one. Usually `${WEIR_SEAL_KEY}`. Replicas with the same
    /// keys take each other's sessions. Default: a random key of this process, with which sessions end.
    pub keys: Vec<SealKey>,
}

// === impl SealingConfig ===

impl SealingConfig {
    /// The keys that are configured, or a random one.
    pub fn keys(&self) -> Result<SealKeys, SealKeyError> {
        match self.keys.split_first() {
            Some((current, previous)) => Ok(SealKeys {
                current: current.clone(),
                previous: previous.to_vec(),
            }),
            None => SealKeys::random(),
        }
    }
}

// === impl SealKey ===

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .map_err(|error| de::Error::custom(format!("{error}; make one with `weir keys seal`")))
    }
}

impl JsonSchema for SealKey {
    fn schema_name() -> Cow<'static, str> {
        "SealKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A sealing key: 32 random bytes in base64url without padding, as `weir keys seal` prints them.",
        })
    }
}
