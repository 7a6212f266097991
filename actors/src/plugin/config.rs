//! The `plugins` block as it is written. Two dialects share one map: entries with `type` are processes that speak HTTP,
//! entries with `provider` are a role played in memory or by an MCP server.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use weir_plugin_protocol::Secret;

use super::health::HealthConfig;
use super::integrity::OnChange;
use super::limits::Limits;
use super::roles::Role;
use super::versions::Requires;
use crate::fanout::config::Messages;
use crate::intercept::InterceptorConfig;
use crate::plugged::{CacheConfig, Decides};
use crate::sandbox::SandboxConfig;
use crate::upstream::config::Protocol;
use crate::upstream::http::AddressRule;

/// What a manifest beside a program is called.
const MANIFESTS: [&str; 2] = ["weir-plugin.yaml", "weir-plugin.json"];
use crate::supervisor::ChildConfig;

/// Plugins by name. An entry that is named after a role plays it.
#[derive(Clone, Debug, Default, PartialEq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct PluginsConfig(pub BTreeMap<String, PluginEntry>);

/// One plugin: either `type` with its block, or `provider` with `implementation` or `server`.
#[derive(Clone, Debug, Default, PartialEq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// What the plugin is called in logs and metrics. Default: its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The role that it plays. Default: the one that its key names, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Has the plugin see requests of clients and the answers to them, and judge or change them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interceptor: Option<InterceptorConfig>,
    /// Has the plugin told of every message between clients and the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Messages>,
    /// `subprocess`: the gateway starts it, and it answers HTTP. `stdio`: the gateway starts it, and it answers on its
    /// standard output. `sidecar`: somebody else starts it, and it answers HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// How to start it; for `type: subprocess` and `type: stdio`.
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
    /// Headers sent with every request to a remote MCP server; for `provider: mcp`. Never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// How a remote MCP server proves who it is; for `provider: mcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<PluginTls>,
    /// Which era of the protocol to speak to a remote MCP server; for `provider: mcp`. Default `auto`: the handshake era
    /// if the server speaks it, else the stateless one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Which addresses the host of a remote MCP server may lead to, as for `servers`; for `provider: mcp`. Default
    /// `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressRule>,
    /// What must be so before it may serve: versions, and other plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requires>,
    /// A YAML or JSON file that says the plugin's version and what it requires. A relative path begins at the directory
    /// of the configuration. Default: `weir-plugin.yaml` or `weir-plugin.json` beside `exec`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PathBuf>,
    /// How long answers hold; for the roles `auth_provider`, `policy_evaluator` and `credential_storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// How closely it is asked; for the role `policy_evaluator`. Default `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decides: Option<Decides>,
    /// How much it may be asked to do, and how long anything of it may take.
    #[serde(default)]
    pub limits: Limits,
    /// How it is asked whether it can serve.
    #[serde(default)]
    pub health: HealthConfig,
    /// When it is started again, and what happens when that is too often. What is absent is as `supervision.plugins` says.
    #[serde(default, skip_serializing)]
    pub supervision: ChildConfig,
    /// What its process may do; for `type: subprocess` and `type: stdio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxConfig>,
    /// What happens when a file that it was started from is replaced. Default `reload`.
    #[serde(default)]
    pub on_change: OnChange,
}

/// How to start a plugin process. One of type `subprocess` prints `PORT=<n>` and then answers HTTP on that port of the
/// loopback; one of type `stdio` reads and answers lines.
#[derive(Clone, Debug, PartialEq, DeserializeDerive, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SidecarConfig {
    /// Its address, `http://` or `https://`, on this machine unless `allow_remote` is true.
    pub url: String,
    /// Headers sent with every request to it. Never shown.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// Must be true for an address outside the loopback. Default false.
    #[serde(default)]
    pub allow_remote: bool,
    /// How it proves who it is; for `https://`.
    #[serde(default)]
    pub tls: Option<PluginTls>,
}

/// How a plugin that is reached over `https://` proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeserializeDerive, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginTls {
    /// A PEM file with the authorities that may vouch for it, instead of those of this machine. A relative path begins
    /// at the directory of the configuration.
    pub ca_file: PathBuf,
}

/// An MCP server: a reference, or a definition on the spot.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ServerReference {
    /// `catalog://…`, `http://…` or `https://…`.
    Text(String),
    /// A definition on the spot.
    Inline(InlineServer),
}

/// An MCP server defined on the spot.
#[derive(Clone, Debug, Default, PartialEq, DeserializeDerive, Serialize, JsonSchema)]
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

// === impl PluginsConfig ===

impl PluginsConfig {
    /// The files that the block names and that are read when plugins are loaded.
    pub fn files(&self) -> Vec<PathBuf> {
        let of = |entry: &PluginEntry| {
            let tls = [
                &entry.tls,
                &entry
                    .sidecar
                    .as_ref()
                    .and_then(|sidecar| sidecar.tls.clone()),
            ];
            let authorities = tls.map(|tls| tls.as_ref().map(|tls| tls.ca_file.clone()));
            let manifests = match (&entry.manifest, &entry.subprocess) {
                (Some(manifest), _) => vec![manifest.clone()],
                (None, Some(subprocess)) => subprocess.manifests(),
                (None, None) => Vec::new(),
            };
            authorities
                .into_iter()
                .flatten()
                .chain(manifests)
                .collect::<Vec<_>>()
        };
        self.0.values().flat_map(of).collect()
    }
}

// === impl SubprocessConfig ===

impl SubprocessConfig {
    /// Where a manifest may be that the configuration does not name: beside the program, unless that is looked up in
    /// `PATH`.
    pub fn manifests(&self) -> Vec<PathBuf> {
        let exec = Path::new(&self.exec);
        let beside = match exec.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => std::path::absolute(folder),
            _ => return Vec::new(),
        };
        let named = |folder: PathBuf| MANIFESTS.map(|name| folder.join(name)).to_vec();
        beside.map_or_else(|_| Vec::new(), named)
    }
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
