//! The `plugins` block as it is written. Two dialects share one map: entries with `type` are processes that speak HTTP,
//! entries with `provider` are a role played in memory or by an MCP server.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use weir_plugin_protocol::Secret;

/// Plugins by name. Entries with `provider` are named after the role that they play.
#[derive(Clone, Debug, Default, DeserializeDerive, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct PluginsConfig(pub BTreeMap<String, PluginEntry>);

/// One plugin: either `type` with its block, or `provider` with `implementation` or `server`.
#[derive(Clone, Debug, Default, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// What the plugin is called in logs and metrics. Default: its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `subprocess`: the gateway starts it. `sidecar`: somebody else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// How to start it; for `type: subprocess`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subprocess: Option<SubprocessConfig>,
    /// Where it is; for `type: sidecar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarConfig>,
    /// `in-memory`: one of the parts built into the gateway. `mcp`: an MCP server with the role's tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Which built-in part; for `provider: in-memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implementation: Option<String>,
    /// Which MCP server; for `provider: mcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerReference>,
}

/// How to start a plugin process. It prints `PORT=<n>` and then answers HTTP on that port of the loopback.
#[derive(Clone, Debug, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubprocessConfig {
    /// The program.
    pub exec: String,
    /// Its arguments, one each; no shell is involved.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables added to its environment. Never shown.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Secret>,
    /// The directory that it runs in. Default: the gateway's own.
    #[serde(default)]
    pub workdir: Option<String>,
}

/// Where a plugin is that somebody else runs.
#[derive(Clone, Debug, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SidecarConfig {
    /// Its address, `http://` or `https://`.
    pub url: String,
    /// Headers sent with every request to it. Never shown.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
}

/// An MCP server: a reference, or a definition on the spot.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ServerReference {
    /// `catalog://…`, `http://…` or `https://…`.
    Text(String),
    /// A definition on the spot.
    Inline(InlineServer),
}

/// An MCP server defined on the spot.
#[derive(Clone, Debug, Default, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineServer {
    /// `image`, `remote` or `registry`.
    pub r#type: String,
    /// The container image; for `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The URL of the server; for `remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The registry entry; for `registry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The port that the container listens on; for `image`. Default 8080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Variables in the container's environment. Never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Secret>,
}

// === impl ServerReference ===

impl<'de> Deserialize<'de> for ServerReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;
        impl<'de> Visitor<'de> for TextOrMap {
            type Value = ServerReference;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a URL or a map")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServerReference, E> {
                Ok(ServerReference::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServerReference, A::Error> {
                InlineServer::deserialize(MapAccessDeserializer::new(map))
                    .map(ServerReference::Inline)
            }
        }
        deserializer.deserialize_any(TextOrMap)
    }
}
