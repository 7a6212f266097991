//! The configuration: one YAML file, checked as a whole before anything starts.
//!
//! A file is read in four steps: `yaml` makes a `tree` that remembers places, `expand` puts environment variables into
//! scalars, `typed` turns the tree into [`Config`], `check` looks at what no single block can see. `load` runs
//! them and gathers every `problem` it finds. [`schema`] writes the same down for editors.

mod check;
mod expand;
mod load;
mod loaded;
pub(crate) mod manifests;
mod misfit;
mod number;
mod problem;
mod roles;
mod schema;
mod servers;
mod tree;
mod typed;
mod yaml;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_actors::builtin::desktop_implicit::DesktopImplicit;
use weir_actors::plugin::PluginsConfig;
use weir_actors::supervisor::duration::Span;
use weir_plugin_protocol::role::AuthProvider;

pub use weir_actors::builtin::audit_lines::{AuditConfig, AuditSinkKind};
pub use weir_actors::builtin::auth::AuthConfig;
pub use weir_actors::builtin::rules::PolicyConfig;
pub use weir_actors::builtin::static_credentials::CredentialsConfig;
pub use weir_actors::pipeline::{LimitsConfig, MetricsConfig};
pub use weir_actors::seal::SealingConfig;
pub use weir_actors::settings::ProtocolHeaders;
pub use weir_actors::supervisor::SupervisionConfig;
pub use weir_actors::upstream::config::ServerConfig;
pub use weir_actors::upstream::pins::PinsConfig;

pub use expand::Environment;
pub use load::{Source, find, load, load_text, load_whole, load_with, named_files, parse_text};
pub use loaded::Loaded;
pub use problem::{ConfigError, Place, Problem};
pub use schema::schema;
pub use servers::Servers;

/// Everything that an operator can set. Every key may be left out.
///
/// Every value may contain `${NAME}`, which is replaced by the environment variable; `$${` stands for `${` itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "weir.yaml")]
pub struct Config {
    /// The address that MCP clients connect to, as `IP:PORT`. Port 0 takes a free one. Default `127.0.0.1:8811`.
    pub listen: ListenAddress,
    /// Threads that serve clients, each with a pipeline of its own. Default: one per processor.
    pub workers: Option<NonZeroUsize>,
    /// The admin listener: metrics, health and the state of everything.
    pub admin: AdminConfig,
    /// Which HTTP requests are answered at all, before anybody is asked who they are.
    pub http: HttpFaceConfig,
    /// The one client of `weir stdio`.
    pub stdio: StdioFaceConfig,
    /// The MCP servers behind the gateway, by name; the order is the order of merged lists.
    pub servers: Servers,
    /// Who plays the roles of the pipeline, where it is not the built-in default.
    pub plugins: PluginsConfig,
    /// How callers prove who they are.
    pub auth: AuthConfig,
    /// Who may see and call what.
    pub policy: PolicyConfig,
    /// What clients get when a server offers something else than was approved.
    pub pins: PinsConfig,
    /// What the gateway shows to upstream servers as its own credentials.
    pub credentials: CredentialsConfig,
    /// How much may be in flight, how large it may be and how long it may take.
    pub limits: LimitsConfig,
    /// How parts that fail are restarted.
    pub supervision: SupervisionConfig,
    /// Where the record of every request goes.
    pub audit: AuditConfig,
    /// What clients keep for the gateway is sealed with.
    pub sealing: SealingConfig,
    /// What is counted, and how finely.
    pub metrics: MetricsConfig,
    /// What the gateway says of itself, on standard error.
    pub log: LogConfig,
    /// How long requests in flight may take to finish after SIGTERM. Then they are cut off. Default 30s.
    pub drain_timeout: Span,
    /// When this file is read again while the gateway runs.
    pub reload: ReloadConfig,
}

/// When the configuration is read again. SIGHUP and `POST /reload` of the admin listener always do that.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// Whether this file, and the files with keys and secrets that it names, are looked at every second and read again
    /// when they are others. Default true.
    pub watch: bool,
}

/// The admin listener. It asks nobody for a password, so it listens on the loopback unless told otherwise.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// The address, as `IP:PORT`. Port 0 takes a free one. Default `127.0.0.1:8812`.
    pub listen: ListenAddress,
    /// Must be true for an address outside the loopback. Default false.
    pub allow_remote: bool,
    /// Names that a `Host` header may have besides `localhost` and addresses, for scrapers that use a name. Default none.
    pub allowed_hosts: Vec<String>,
}

/// Which HTTP requests are answered at all.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpFaceConfig {
    /// Names that a `Host` header may have besides `localhost` and the loopback addresses, without port. A request for any
    /// other name is answered 403: that is what stops a web page from reaching the gateway by DNS rebinding. Default none.
    pub allowed_hosts: Vec<String>,
    /// Values that an `Origin` header may have besides `http://localhost` and the loopback addresses with any port, such
    /// as `https://console.example.com`. A request with any other origin is answered 403. Default none.
    pub allowed_origins: Vec<String>,
    /// Must be true to let everybody in (`desktop-implicit`) at an address outside the loopback. Default false.
    pub allow_unauthenticated: bool,
    /// What becomes of requests whose `MCP-Protocol-Version` header contradicts their body or their session: `strict`
    /// refuses them, `tolerant` goes by the body. Default `strict`.
    pub protocol_headers: ProtocolHeaders,
    /// Whether clients of the transport of 2024-11-05 (HTTP+SSE) are served too, at `/sse` and `/servers/NAME/sse`.
    /// Default true.
    pub sse: bool,
}

/// The client of `weir stdio`: whoever starts the process. It presents no credentials, so `auth` is not asked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StdioFaceConfig {
    /// Who it is, for `policy` and the audit log. Default `desktop-user`.
    pub user: String,
    /// Its roles. Default `[admin]`.
    pub roles: Vec<String>,
    /// Whether this process serves it, and nobody else. The command line says so, not the file.
    #[serde(skip)]
    pub serves: bool,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, also per module: `info,weir_actors::upstream=debug`. Default `info`.
    pub level: String,
    /// How lines look. Default `auto`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `text` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// One short line for people.
    Text,
    /// One JSON object a line for machines.
    Json,
}

/// An address to listen on: `127.0.0.1:8811`, `[::1]:8811`, `localhost:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress(pub SocketAddr);

// === impl Config ===

impl Config {
    /// How many threads serve clients.
    pub fn worker_threads(&self) -> usize {
        let processors = std::thread::available_parallelism();
        self.workers
            .or(processors.ok())
            .map_or(1, NonZeroUsize::get)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ListenAddress::loopback(8811),
            workers: None,
            admin: AdminConfig::default(),
            http: HttpFaceConfig::default(),
            stdio: StdioFaceConfig::default(),
            servers: Servers::default(),
            plugins: PluginsConfig::default(),
            auth: AuthConfig::default(),
            policy: PolicyConfig::default(),
            pins: PinsConfig::default(),
            credentials: CredentialsConfig::default(),
            limits: LimitsConfig::default(),
            supervision: SupervisionConfig::default(),
            audit: AuditConfig::default(),
            sealing: SealingConfig::default(),
            metrics: MetricsConfig::default(),
            log: LogConfig::default(),
            drain_timeout: Span(Duration::from_secs(30)),
            reload: ReloadConfig::default(),
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddress::loopback(8812),
            allow_remote: false,
            allowed_hosts: Vec::new(),
        }
    }
}

impl Default for HttpFaceConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            allow_unauthenticated: false,
            protocol_headers: ProtocolHeaders::default(),
            sse: true,
        }
    }
}

impl Default for StdioFaceConfig {
    fn default() -> Self {
        Self {
            user: "desktop-user".to_owned(),
            roles: vec!["admin".to_owned()],
            serves: false,
        }
    }
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self { watch: true }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

// === impl StdioFaceConfig ===

impl StdioFaceConfig {
    /// Who says that the client is this user.
    pub fn provider(&self) -> Arc<dyn AuthProvider> {
        Arc::new(DesktopImplicit::named(&self.user, &self.roles))
    }
}

// === impl ListenAddress ===

impl ListenAddress {
    /// A port of the IPv4 loopback.
    pub fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Returns true if only this machine can connect.
    pub fn is_loopback(self) -> bool {
        self.0.ip().is_loopback()
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(port) = text
            .strip_prefix("localhost:")
            .and_then(|port| port.parse().ok())
        {
            return Ok(Self::loopback(port));
        }
        let address = text.parse().map_err(|_| {
            format!("`{text}` is not an address to listen on; write IP:PORT such as 127.0.0.1:8811")
        })?;
        Ok(Self(address))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An address to listen on: `127.0.0.1:8811`, `[::1]:8811`, `localhost:0`.",
        })
    }
}
