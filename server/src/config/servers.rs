//! The `servers` block: a map that keeps the order of the file.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use weir_actors::upstream::ServerName;

use super::ServerConfig;

/// The servers in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Servers(pub Vec<(ServerName, ServerConfig)>);

/// A key of the map, checked where it stands.
struct Name(ServerName);

// === impl Servers ===

impl Servers {
    /// The servers in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerName, &ServerConfig)> {
        self.0.iter().map(|(name, config)| (name, config))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;
        impl<'de> Visitor<'de> for ByName {
            type Value = Servers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of servers by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Servers, A::Error> {
                let mut servers = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    servers.push((name, map.next_value()?));
                }
                Ok(Servers(servers))
            }
        }
        deserializer.deserialize_map(ByName)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ServerName::new(&text)
            .map(Name)
            .map_err(|text| de::Error::custom(text.replacen(": ", "; ", 1)))
    }
}

impl Serialize for Servers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl JsonSchema for Servers {
    fn schema_name() -> Cow<'static, str> {
        "Servers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let server = generator.subschema_for::<ServerConfig>();
        json_schema!({
            "type": "object",
            "description": "MCP servers by name: 1 to 32 of `A-Z a-z 0-9 - _`, without `__` and no `_` at either end.",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,32}$" },
            "additionalProperties": server,
        })
    }
}
