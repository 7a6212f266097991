//! How a server is configured: the blocks under `servers:`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::builtin::static_credentials::ServerCredentials;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use weir_plugin_protocol::Secret;
use weir_plugin_protocol::mcp::Era;

use super::http::{AddressRule, HttpTarget, InvalidTarget};
use crate::admission::ServerLimitsConfig;
use crate::sandbox::SandboxConfig;
use crate::supervisor::duration::Span;

/// One server behind the gateway.
///
/// ```yaml
/// servers:
///   everything: { type: stdio, command: node, args: [server.js, stdio], env: { KEY: "${KEY}" }, cwd: . }
///   time:       { type: http, url: "http://127.0.0.1:3001/mcp", headers: { Authorization: "Bearer ${TOKEN}" } }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerConfig {
    /// A child process that speaks MCP on its standard input and output.
    Stdio(StdioConfig),
    /// A server reached over Streamable HTTP.
    Http(HttpConfig),
    /// A server reached over HTTP+SSE, the transport of 2024-11-05.
    Sse(HttpConfig),
}

/// A child process that speaks MCP on its standard input and output.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StdioConfig {
    /// The program, as a path or a name looked up in `PATH`. Never run through a shell.
    pub command: String,
    /// Its arguments, one each.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables set for the child, on top of the few it inherits. Never printed.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Secret>,
    /// The child's working directory. Default: the gateway's own.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// What the process may do.
    #[serde(default, skip_serializing_if = "SandboxConfig::is_default")]
    pub sandbox: Box<SandboxConfig>,
    /// Which eras of the protocol to speak to it. Default `auto`. A server that speaks both is run as two children.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long one request of the gateway itself (handshake, lists) may take, in milliseconds. Default 30,000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// How much it is given.
    #[serde(flatten)]
    pub limits: ServerLimitsConfig,
}

/// A server reached over HTTP: its endpoint, or for HTTP+SSE its event stream.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HttpConfig {
    /// The MCP endpoint, `http://` or `https://`.
    pub url: String,
    /// Headers sent with every request to this server. Never printed.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// Which eras of the protocol to speak to it. Default `auto`: asked at every connect.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long one request of the gateway itself (handshake, lists) may take, in milliseconds. Default 30,000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Which addresses the host in `url` may lead to: `auto` (the default), `public`, `private` or `any`. With `auto`, an
    /// address is used as it is, `localhost` is this machine, a name of an internal network may be at a private
    /// address, and any other name must be at a public one. Anything else is not connected to.
    #[serde(default)]
    pub addresses: AddressRule,
    /// How much it is given.
    #[serde(flatten)]
    pub limits: ServerLimitsConfig,
}

/// Which eras of the protocol a server is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Both are tried; what answers is used.
    #[default]
    Auto,
    /// Only the handshake era, revisions up to 2025-11-25.
    Legacy,
    /// Only the stateless era, revisions from 2026-07-28.
    Modern,
}

/// Every key that any type of server takes, so that an unknown key is refused where it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    r#type: Kind,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, Secret>>,
    cwd: Option<PathBuf>,
    sandbox: Option<SandboxConfig>,
    url: Option<String>,
    headers: Option<BTreeMap<String, Secret>>,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    addresses: Option<AddressRule>,
    max_in_flight: Option<NonZeroUsize>,
    deadline: Option<Span>,
    max_answer_bytes: Option<NonZeroUsize>,
    #[serde(default)]
    idempotent: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Stdio,
    Http,
    Sse,
}

/// Headers that the gateway writes itself and that a configuration cannot set.
const OWN_HEADERS: [&str; 11] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

/// The longest request timeout: an hour.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

// === impl ServerConfig ===

impl ServerConfig {
    /// Adds what weir proves itself with at this server; the same name in the server's own block gives way.
    pub fn equip(&mut self, credentials: &ServerCredentials) {
        match self {
            Self::Stdio(config) => config.env.extend(credentials.env.iter().cloned()),
            Self::Http(config) | Self::Sse(config) => {
                for (name, value) in &credentials.headers {
                    config
                        .headers
                        .retain(|known, _| !known.eq_ignore_ascii_case(name.as_str()));
                    if let Ok(value) = value.to_str() {
                        config
                            .headers
                            .insert(name.as_str().to_owned(), Secret::new(value));
                    }
                }
            }
        }
    }

    /// The headers of every request to this server; empty for a child process.
    pub fn headers(&self) -> http::HeaderMap {
        match self {
            Self::Stdio(_) => http::HeaderMap::new(),
            Self::Http(config) | Self::Sse(config) => config.header_map(),
        }
    }

    /// Which eras to speak.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Stdio(stdio) => stdio.protocol,
            Self::Http(http) | Self::Sse(http) => http.protocol,
        }
    }

    /// How long one request of the gateway itself may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(match self {
            Self::Stdio(stdio) => stdio.timeout_ms,
            Self::Http(http) | Self::Sse(http) => http.timeout_ms,
        })
    }

    /// Whether it is the same server, reached in the same way. How much it is given is no part of that.
    pub fn is_reached_like(&self, other: &Self) -> bool {
        let bare = |config: &Self| {
            let mut config = config.clone();
            match &mut config {
                Self::Stdio(stdio) => stdio.limits = ServerLimitsConfig::default(),
                Self::Http(http) | Self::Sse(http) => http.limits = ServerLimitsConfig::default(),
            }
            config
        };
        bare(self) == bare(other)
    }

    /// How much the server is given.
    pub fn limits(&self) -> &ServerLimitsConfig {
        match self {
            Self::Stdio(stdio) => &stdio.limits,
            Self::Http(http) | Self::Sse(http) => &http.limits,
        }
    }

    fn check(&self) -> Result<(), String> {
        self.limits().check()?;
        if self.timeout().is_zero() || self.timeout() > Duration::from_millis(TIMEOUT_MS_MAX) {
            return Err(format!("timeout_ms: use 1 to {TIMEOUT_MS_MAX}"));
        }
        match self {
            Self::Stdio(stdio) => stdio.check(),
            Self::Http(http) | Self::Sse(http) => http.check(),
        }
    }
}

impl<'de> Deserialize<'de> for ServerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config =
            Self::try_from(Flat::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
        config.check().map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

impl TryFrom<Flat> for ServerConfig {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Self, String> {
        let foreign =
            |keys: &[(&str, bool)], kind: &str| match keys.iter().find(|(_, present)| *present) {
                Some((key, _)) => Err(format!(
                    "`{key}` means nothing to a server of type {kind}: remove it"
                )),
                None => Ok(()),
            };
        let limits = ServerLimitsConfig {
            max_in_flight: flat.max_in_flight,
            deadline: flat.deadline,
            max_answer_bytes: flat.max_answer_bytes,
            idempotent: flat.idempotent,
        };
        match flat.r#type {
            Kind::Stdio => {
                foreign(
                    &[
                        ("idempotent", !limits.idempotent.is_empty()),
                        ("url", flat.url.is_some()),
                        ("headers", flat.headers.is_some()),
                        ("addresses", flat.addresses.is_some()),
                    ],
                    "stdio",
                )?;
                Ok(Self::Stdio(StdioConfig {
                    command: flat
                        .command
                        .ok_or("a server of type stdio needs `command`")?,
                    args: flat.args.unwrap_or_default(),
                    env: flat.env.unwrap_or_default(),
                    cwd: flat.cwd,
                    sandbox: Box::new(flat.sandbox.unwrap_or_default()),
                    protocol: flat.protocol,
                    timeout_ms: flat.timeout_ms,
                    limits,
                }))
            }
            Kind::Http | Kind::Sse => {
                let kind = match flat.r#type {
                    Kind::Sse => "sse",
                    _ => "http",
                };
                let keys = [
                    ("command", flat.command.is_some()),
                    ("args", flat.args.is_some()),
                    ("env", flat.env.is_some()),
                    ("cwd", flat.cwd.is_some()),
                    ("sandbox", flat.sandbox.is_some()),
                    ("idempotent", kind == "sse" && !limits.idempotent.is_empty()),
                ];
                foreign(&keys, kind)?;
                let modern = flat.protocol == Protocol::Modern;
                if kind == "sse" && modern {
                    return Err("protocol: a server of type sse speaks `legacy` only".into());
                }
                let config = HttpConfig {
                    url: flat
                        .url
                        .ok_or_else(|| format!("a server of type {kind} needs `url`"))?,
                    headers: flat.headers.unwrap_or_default(),
                    protocol: flat.protocol,
                    timeout_ms: flat.timeout_ms,
                    addresses: flat.addresses.unwrap_or_default(),
                    limits,
                };
                Ok(match flat.r#type {
                    Kind::Sse => Self::Sse(config),
                    _ => Self::Http(config),
                })
            }
        }
    }
}

// === impl StdioConfig ===

impl StdioConfig {
    fn check(&self) -> Result<(), String> {
        if self.command.trim().is_empty() {
            return Err("command: name the program to start".into());
        }
        let texts = self
            .args
            .iter()
            .map(String::as_str)
            .chain(self.env.values().map(Secret::expose));
        if texts
            .chain([self.command.as_str()])
            .any(|text| text.contains('\0'))
        {
            return Err(
                "command, args and env: a NUL character cannot be passed to a process".into(),
            );
        }
        match self
            .env
            .keys()
            .find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            Some(name) => Err(format!("env: {name:?} cannot be the name of a variable")),
            None => Ok(()),
        }
    }
}

// === impl HttpConfig ===

impl HttpConfig {
    /// The headers sent with every request.
    pub fn header_map(&self) -> http::HeaderMap {
        let mut map = http::HeaderMap::new();
        for (name, value) in &self.headers {
            let name = http::HeaderName::try_from(name.as_str());
            let value = http::HeaderValue::from_str(value.expose());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                map.insert(name, value);
            }
        }
        map
    }

    /// Where its requests go.
    pub fn target(&self) -> Result<HttpTarget, InvalidTarget> {
        Ok(HttpTarget::parse(&self.url)?.under(self.addresses))
    }

    /// Checks what a type cannot say.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.target().map_err(|error| format!("url: {error}"))?;
        for (name, value) in &self.headers {
            if http::HeaderName::try_from(name.as_str()).is_err() {
                return Err(format!("headers: {name:?} is not a header name"));
            }
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!(
                    "headers: {name} is written by the gateway itself: remove it"
                ));
            }
            if http::HeaderValue::from_str(value.expose()).is_err() {
                return Err(format!(
                    "headers: the value of {name} has characters that a header cannot carry"
                ));
            }
        }
        Ok(())
    }
}

// === impl Protocol ===

impl Protocol {
    /// Whether an era may be spoken.
    pub fn allows(self, era: Era) -> bool {
        match self {
            Self::Auto => true,
            Self::Legacy => era == Era::Legacy,
            Self::Modern => era == Era::Modern,
        }
    }
}

fn default_timeout_ms() -> u64 {
    30_000
}

#[cfg(test)]
mod tests;
