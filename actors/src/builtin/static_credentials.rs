//! Credentials that the gateway holds for its upstream servers, from the configuration, the environment or files.
//!
//! Values are resolved once, when the configuration is loaded or reloaded; a request only reads what is ready. No
//! value is ever printed: not by `Debug`, not in an error.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_plugin_protocol::Secret;

use super::misconfigured::Misconfigured;
use super::outside::Outside;
use crate::upstream::http::HttpTarget;

/// The largest secret file, in bytes.
const MAX_FILE_BYTES: usize = 64 * 1024;
/// Headers that the transport sets, or that are about one connection only (RFC 9110, section 7.6.1).
const RESERVED_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What each server gets from the gateway. Absent or empty: nothing, which is the `none` of the credentials stage.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialsConfig {
    /// By the name of the server under `servers`.
    pub servers: BTreeMap<String, ServerCredentialsConfig>,
}

/// What one server gets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerCredentialsConfig {
    /// Headers of every request to a server that is reached by HTTP.
    pub headers: BTreeMap<String, SecretSource>,
    /// Environment variables of a server that is a child process.
    pub env: BTreeMap<String, SecretSource>,
    /// `plugin`: every caller's own credential, besides, from the plugin that plays the role `credential_storage`. Only
    /// for a server that is reached by HTTP. A caller who has none is refused.
    pub from: Option<CredentialOrigin>,
    /// What the caller's own credential is; for `from: plugin`.
    pub r#type: Option<UserCredentialKind>,
    /// The header that it goes into; for `type: header`.
    pub header: Option<String>,
    /// What the storage knows it as. Default: the `type`.
    pub credential_type: Option<String>,
}

/// Where the callers' own credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialOrigin {
    /// The plugin that plays the role `credential_storage`.
    Plugin,
}

/// What the callers' own credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserCredentialKind {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `X-API-Key: …`.
    ApiKey,
    /// A header of any name.
    Header,
}

/// Where a secret value is: `env:NAME` (an environment variable of the gateway), `file:/path` (the content of a file
/// of at most 64 KiB, without the line end at its end; read again on reload), or the value itself. A scheme may
/// stand before it, as in `Bearer env:NAME` or `Bearer file:/run/secrets/token`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub struct SecretSource {
    scheme: String,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    Literal(Secret),
    Variable(String),
    File(PathBuf),
}

/// The credentials of all servers, ready to use. Immutable: a reload makes a new one.
#[derive(Clone, Debug, Default)]
pub struct StaticCredentials {
    servers: HashMap<String, Arc<ServerCredentials>>,
}

/// The credentials of one server.
#[derive(Clone, Debug, Default)]
pub struct ServerCredentials {
    /// Headers, each marked as sensitive.
    pub headers: HeaderMap,
    /// Environment variables, in the order of their names.
    pub env: Vec<(String, Secret)>,
    /// Where the server is that they are for, once that is settled.
    pub target: Option<HttpTarget>,
}

/// Whether a header is the gateway's own: of the transport, or of MCP.
pub fn is_reserved(header: &HeaderName) -> bool {
    RESERVED_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("mcp-")
}

/// Resolves the headers of `server` and marks them as sensitive. Refuses names and values that HTTP does not allow,
/// and headers that belong to the transport or to MCP (`Host`, `Content-Length`, `Connection`, `Mcp-…`).
pub fn resolve_headers(
    server: &str,
    headers: &BTreeMap<String, SecretSource>,
    outside: &Outside,
) -> Result<HeaderMap, Misconfigured> {
    let mut resolved = HeaderMap::with_capacity(headers.len());
    for (name, source) in headers {
        let refuse = |problem: String| {
            Misconfigured::new(
                format!("servers.{server}.headers.{name}"),
                format!("header {name:?} of server {server:?} {problem}"),
            )
        };
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refuse("has a name that HTTP does not allow; rename it".to_owned()))?;
        if is_reserved(&header) {
            return Err(refuse("is set by the gateway itself; remove it".to_owned()));
        }
        let secret = source.resolve(outside).map_err(&refuse)?;
        let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
            refuse("has a value with characters that HTTP does not allow in headers".to_owned())
        })?;
        value.set_sensitive(true);
        if resolved.insert(header, value).is_some() {
            return Err(refuse("is given twice; keep one".to_owned()));
        }
    }
    Ok(resolved)
}

/// Resolves the environment variables of `server`. Refuses names that are not `[A-Za-z_][A-Za-z0-9_]*` and values
/// with a NUL.
pub fn resolve_env(
    server: &str,
    env: &BTreeMap<String, SecretSource>,
    outside: &Outside,
) -> Result<Vec<(String, Secret)>, Misconfigured> {
    let mut resolved = Vec::with_capacity(env.len());
    for (name, source) in env {
        let refuse = |problem: String| {
            Misconfigured::new(
                format!("servers.{server}.env.{name}"),
                format!("variable {name:?} of server {server:?} {problem}"),
            )
        };
        if !is_variable_name(name) {
            return Err(refuse(
                "has a name that is not letters, digits and `_`; rename it".to_owned(),
            ));
        }
        let secret = source.resolve(outside).map_err(&refuse)?;
        if secret.expose().contains('\0') {
            return Err(refuse("has a value with a NUL character".to_owned()));
        }
        resolved.push((name.clone(), secret));
    }
    Ok(resolved)
}

// === impl UserCredentialKind ===

impl UserCredentialKind {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKey => "api_key",
            Self::Header => "header",
        }
    }
}

// === impl CredentialsConfig ===

impl CredentialsConfig {
    /// The files that values come from.
    pub fn files(&self) -> Vec<PathBuf> {
        let servers = self.servers.values();
        let sources = servers.flat_map(|server| server.headers.values().chain(server.env.values()));
        let files = sources.filter_map(|source| match &source.origin {
            Origin::File(path) => Some(path.clone()),
            Origin::Literal(_) | Origin::Variable(_) => None,
        });
        files.collect()
    }
}

// === impl SecretSource ===

impl SecretSource {
    /// Reads the form of the configuration.
    pub fn parse(text: &str) -> Self {
        let (scheme, rest) = match text.split_once(' ') {
            Some((scheme, rest)) if is_reference(rest) && is_scheme(scheme) => {
                (format!("{scheme} "), rest)
            }
            _ => (String::new(), text),
        };
        let origin = if let Some(name) = rest.strip_prefix("env:") {
            Origin::Variable(name.to_owned())
        } else if let Some(path) = rest.strip_prefix("file:") {
            Origin::File(Path::new(path).to_owned())
        } else {
            Origin::Literal(Secret::new(rest))
        };
        Self { scheme, origin }
    }

    /// Fetches the value. The error says what is missing, never the value.
    pub fn resolve(&self, outside: &Outside) -> Result<Secret, String> {
        let value = match &self.origin {
            Origin::Literal(secret) => secret.expose().to_owned(),
            Origin::Variable(name) => (outside.environment)(name).ok_or_else(|| {
                format!("comes from the environment variable {name}, which is not set; set {name}")
            })?,
            Origin::File(path) => read(path, outside)?,
        };
        if value.is_empty() {
            return Err("is empty; give it a value or remove it".to_owned());
        }
        Ok(Secret::new(format!("{}{value}", self.scheme)))
    }
}

impl From<String> for SecretSource {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Literal(_) => formatter.write_str("***"),
            Origin::Variable(name) => write!(formatter, "{}env:{name}", self.scheme),
            Origin::File(path) => write!(formatter, "{}file:{}", self.scheme, path.display()),
        }
    }
}

// === impl StaticCredentials ===

impl StaticCredentials {
    /// Resolves everything that is configured. Blocks on the disk.
    pub fn load(config: &CredentialsConfig, outside: &Outside) -> Result<Self, Misconfigured> {
        let mut servers = HashMap::with_capacity(config.servers.len());
        for (name, server) in &config.servers {
            let credentials = ServerCredentials {
                headers: resolve_headers(name, &server.headers, outside)?,
                env: resolve_env(name, &server.env, outside)?,
                target: None,
            };
            servers.insert(name.clone(), Arc::new(credentials));
        }
        Ok(Self { servers })
    }

    /// The headers of servers, each as it is sent, and where: what the pipeline works with.
    pub fn of_headers(
        servers: impl IntoIterator<Item = (String, HeaderMap, Option<HttpTarget>)>,
    ) -> Self {
        let servers = servers.into_iter().map(|(name, headers, target)| {
            let env = Vec::new();
            let credentials = ServerCredentials {
                headers,
                env,
                target,
            };
            (name, Arc::new(credentials))
        });
        Self {
            servers: servers.collect(),
        }
    }

    /// What `server` gets, if anything.
    pub fn get(&self, server: &str) -> Option<&Arc<ServerCredentials>> {
        self.servers.get(server)
    }

    /// What `server` gets, provided that it is at this place: the credentials of a server that was moved do not follow
    /// to where it was.
    pub fn at(&self, server: &str, target: &HttpTarget) -> Option<&Arc<ServerCredentials>> {
        self.get(server)
            .filter(|credentials| credentials.target.as_ref() == Some(target))
    }

    /// The names of the servers that get something, for checking them against those that exist.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }
}

fn read(path: &Path, outside: &Outside) -> Result<String, String> {
    let shown = path.display();
    let content = outside
        .files
        .read(path, MAX_FILE_BYTES)
        .map_err(|error| format!("comes from the file {shown}, which cannot be read: {error}"))?;
    let mut text = String::from_utf8(content)
        .map_err(|_| format!("comes from the file {shown}, which is not UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_variable_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.bytes().all(is_word)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::outside::testing::World;
    use super::*;

    const CANARY: &str = "canary-5f2b";

    fn config(json: &str) -> CredentialsConfig {
        serde_json::from_str(json).unwrap()
    }

    fn refused(json: &str) -> Misconfigured {
        StaticCredentials::load(&config(json), &World::new().outside()).unwrap_err()
    }

    #[test]
    fn values_come_from_the_configuration_the_environment_and_files() {
        let world = World::new();
        world.variable("TOKEN", CANARY);
        world.file("/run/token", format!("{CANARY}\r\n"));
        let config = config(
            r#"{"servers":{"time":{"headers":{"authorization":"Bearer env:TOKEN","X-Key":"file:/run/token","x-plain":"Bearer of news"},
                "env":{"KEY":"file:/run/token"}},"none":{}}}"#,
        );
        let credentials = StaticCredentials::load(&config, &world.outside()).unwrap();
        let time = credentials.get("time").unwrap();
        assert_eq!(time.headers["authorization"], format!("Bearer {CANARY}"));
        assert_eq!(time.headers["x-key"], CANARY);
        assert_eq!(time.headers["x-plain"], "Bearer of news");
        assert!(time.headers.values().all(HeaderValue::is_sensitive));
        assert_eq!(time.env[0].1.expose(), CANARY);
        assert!(credentials.get("other").is_none());
        assert!(!format!("{config:?} {credentials:?}").contains(CANARY));
    }

    #[test]
    fn a_reload_reads_files_again() {
        let world = World::new();
        let config = config(r#"{"servers":{"s":{"headers":{"x":"file:t"}}}}"#);
        for value in ["one", "two"] {
            world.file("t", value);
            let credentials = StaticCredentials::load(&config, &world.outside()).unwrap();
            assert_eq!(credentials.get("s").unwrap().headers["x"], value);
        }
    }

    #[test]
    fn headers_of_the_transport_and_bad_values_are_refused_by_name() {
        for name in [
            "Host",
            "content-length",
            "Connection",
            "Transfer-Encoding",
            "TE",
            "Upgrade",
            "Mcp-Session-Id",
            "MCP-Protocol-Version",
            "mcp-name",
            "Proxy-Authorization",
            "sp ace",
            "",
        ] {
            let error = refused(&format!(
                r#"{{"servers":{{"time":{{"headers":{{"{name}":"x"}}}}}}}}"#
            ));
            assert_eq!(error.key, format!("servers.time.headers.{name}"));
            assert!(error.problem.contains("\"time\"") && error.problem.contains(name));
        }
        for value in ["canary-5f2b\\r\\nHost: evil", "canary-5f2b\\u0000", ""] {
            let text = refused(&format!(
                r#"{{"servers":{{"time":{{"headers":{{"X-Key":"{value}"}}}}}}}}"#
            ))
            .to_string();
            assert!(text.contains("X-Key") && !text.contains(CANARY), "{text}");
        }
        let twice = r#"{"servers":{"s":{"headers":{"A":"1","a":"2"}}}}"#;
        assert!(refused(twice).problem.contains("twice"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = refused(r#"{"servers":{"s":{"env":{"K":"env:NOT_SET"}}}}"#).to_string();
        assert!(
            text.contains("servers.s.env.K") && text.contains("NOT_SET"),
            "{text}"
        );
        let text = refused(r#"{"servers":{"s":{"headers":{"x":"file:/no"}}}}"#).to_string();
        assert!(text.contains("/no"), "{text}");
        let text = refused(r#"{"servers":{"s":{"env":{"1K":"x"}}}}"#).to_string();
        assert!(text.contains("1K"), "{text}");
        assert!(
            serde_json::from_str::<CredentialsConfig>(r#"{"server":{}}"#).is_err(),
            "unknown keys"
        );
    }
}
