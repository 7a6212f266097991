//! The `messages` block of a plugin.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};

use crate::supervisor::duration::Span;

/// Notes that wait for one plugin, if nothing else is said.
const QUEUE: NonZeroUsize = at_least_one(4096);
/// Bytes of messages that wait for one plugin, if nothing else is said.
const QUEUE_BYTES: NonZeroUsize = at_least_one(16 * 1024 * 1024);

const fn at_least_one(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}

/// `true`, or how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Messages {
    /// Whether at all.
    Flag(bool),
    /// Yes, and how.
    As(MessagesConfig),
}

/// How a plugin is told of messages.
#[derive(Clone, Debug, PartialEq, Eq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesConfig {
    /// Messages, errors and events that may wait for it. One more is dropped and counted. Default 4096.
    #[serde(default = "queue")]
    pub queue: NonZeroUsize,
    /// Bytes of the messages that may wait for it. One more is dropped and counted. Default 16777216.
    #[serde(default = "queue_bytes")]
    pub queue_bytes: NonZeroUsize,
    /// How long it may take for one of them; and how long one waits for a plugin that is being started again. Default 5s.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

// === impl Messages ===

impl Messages {
    /// How, if at all.
    pub fn config(&self) -> Option<MessagesConfig> {
        match self {
            Self::Flag(false) => None,
            Self::Flag(true) => Some(MessagesConfig::default()),
            Self::As(config) => Some(config.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagOrMap;
        impl<'de> Visitor<'de> for FlagOrMap {
            type Value = Messages;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false or a map")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Messages, E> {
                Ok(Messages::Flag(flag))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Messages, A::Error> {
                MessagesConfig::deserialize(MapAccessDeserializer::new(map)).map(Messages::As)
            }
        }
        deserializer.deserialize_any(FlagOrMap)
    }
}

// === impl MessagesConfig ===

impl Default for MessagesConfig {
    fn default() -> Self {
        Self {
            queue: QUEUE,
            queue_bytes: QUEUE_BYTES,
            timeout: timeout(),
        }
    }
}

fn queue() -> NonZeroUsize {
    QUEUE
}

fn queue_bytes() -> NonZeroUsize {
    QUEUE_BYTES
}

fn timeout() -> Span {
    Span(Duration::from_secs(5))
}
