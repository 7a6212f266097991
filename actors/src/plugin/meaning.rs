//! What the `plugins` block means, what is wrong with it, and which of it this build can run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use weir_plugin_protocol::Secret;

use super::config::{
    InlineServer, PluginEntry, PluginTls, PluginsConfig, ServerReference, SidecarConfig,
    SubprocessConfig,
};
use super::dependencies::{Dependencies, DependencyError};
use super::roles::{InMemory, Role};
use super::upkeep::Upkeep;
use super::versions::{Manifest, Requires};
use crate::admission::ServerLimitsConfig;
use crate::upstream::HttpConfig;
use crate::upstream::config::Protocol;
use crate::upstream::http::{AddressRule, HttpTarget};

/// A plugin that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Its key in the block.
    pub key: String,
    /// Its name.
    pub name: String,
    /// What runs it.
    pub provider: Provider,
    /// All that is written of it: what each part of the gateway reads is in there.
    pub entry: PluginEntry,
    /// What the file beside it says of it, if there is one. Whoever reads files puts it in.
    pub manifest: Manifest,
    role: Option<Role>,
}

/// What runs a plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// A part of the gateway itself.
    InMemory(InMemory),
    /// An MCP server.
    Mcp(McpServer),
    /// A process that the gateway starts, and that answers HTTP.
    Subprocess(SubprocessConfig),
    /// A process that the gateway starts, and that answers on its standard output.
    Stdio(SubprocessConfig),
    /// A process that somebody else runs.
    Sidecar(SidecarConfig),
}

/// Where an MCP server comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum McpServer {
    /// `catalog://…`, to be resolved.
    Catalog(String),
    /// It runs already.
    Remote(RemoteServer),
    /// A container of this definition.
    Image(InlineServer),
    /// An entry of a registry.
    Registry(String),
}

/// An MCP server that runs already.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteServer {
    /// Its endpoint, `http://` or `https://`.
    pub url: String,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret>,
    /// How it proves who it is, if not to the authorities of this machine.
    pub tls: Option<PluginTls>,
    /// Which era to speak.
    pub protocol: Protocol,
    /// Where its name may lead.
    pub addresses: AddressRule,
}

/// What is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfigError {
    /// The key within the block, such as `telemetry.server`.
    pub path: String,
    /// What is wrong, and after `; ` what to do.
    pub text: String,
}

// === impl Provider ===

impl Provider {
    /// Whether the gateway starts a process for it.
    fn is_child(&self) -> bool {
        matches!(self, Self::Subprocess(_) | Self::Stdio(_))
    }
}

// === impl PluginsConfig ===

impl PluginsConfig {
    /// Says what the block means. Nothing here asks whether this build can run it.
    ///
    /// # Errors
    /// Everything that is wrong with any of the plugins.
    pub fn plugins(&self) -> Result<Vec<Plugin>, Vec<PluginConfigError>> {
        let mut plugins = Vec::new();
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        let mut players: BTreeMap<Role, &str> = BTreeMap::new();
        for (key, entry) in &self.0 {
            let name = entry.name.clone().unwrap_or_else(|| key.clone());
            if !is_name(&name) {
                let below = if entry.name.is_some() { ".name" } else { "" };
                let text = "this is no name for a plugin; use a letter or digit, then at most 63 of letters, digits and . _ -";
                errors.push(PluginConfigError::at(key, below, text));
            }
            if !names.insert(name.clone()) {
                errors.push(PluginConfigError::at(
                    key,
                    ".name",
                    format!("plugin {name} is already loaded; choose another name"),
                ));
            }
            let role = entry.role.or_else(|| Role::named(key));
            if let Some(role) = role {
                if let Some(other) = players.get(&role) {
                    let text = format!(
                        "the role {} is played by `{other}` already; remove one of the two",
                        role.key()
                    );
                    errors.push(PluginConfigError::at(key, "", text));
                } else {
                    players.insert(role, key);
                }
            }
            if let Some(Err((below, text))) = entry.interceptor.as_ref().map(|block| block.check())
            {
                errors.push(PluginConfigError::at(
                    key,
                    &format!(".interceptor.{below}"),
                    text,
                ));
            }
            if let Err((below, text)) = Upkeep::of(entry).check() {
                errors.push(PluginConfigError::at(key, &below, text));
            }
            match entry.provider(key, role) {
                Ok(provider) if entry.sandbox.is_some() && !provider.is_child() => {
                    errors.push(PluginConfigError::at(
                        key,
                        ".sandbox",
                        "the gateway starts no process for this plugin; remove `sandbox`",
                    ));
                }
                Ok(provider) => plugins.push(Plugin {
                    key: key.clone(),
                    name,
                    provider,
                    entry: entry.clone(),
                    manifest: Manifest::default(),
                    role,
                }),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            errors = disorder(&plugins);
        }
        if errors.is_empty() {
            Ok(plugins)
        } else {
            Err(errors)
        }
    }

    /// Says what the block means, and refuses what this build cannot run.
    ///
    /// # Errors
    /// Everything that is wrong, and every transport that is not there, by name.
    pub fn runnable(&self) -> Result<Vec<Plugin>, Vec<PluginConfigError>> {
        let plugins = self.plugins()?;
        let errors: Vec<_> = plugins.iter().filter_map(Plugin::refusal).collect();
        if errors.is_empty() {
            Ok(plugins)
        } else {
            Err(errors)
        }
    }
}

/// What is wrong with what plugins need of each other, as the block and their manifests have it.
pub fn disorder(plugins: &[Plugin]) -> Vec<PluginConfigError> {
    let requires: Vec<_> = plugins.iter().map(Plugin::requires).collect();
    let pairs = plugins.iter().zip(&requires);
    let ordered =
        Dependencies::of(pairs.map(|(plugin, requires)| (plugin.name.as_str(), requires)));
    let laid = |error: DependencyError| {
        let (name, needed) = match &error {
            DependencyError::Unknown { plugin, needed } => (plugin.as_str(), needed.as_str()),
            DependencyError::Cycle(circle) => match circle.as_slice() {
                [name, needed, ..] => (name.as_str(), needed.as_str()),
                _ => ("", ""),
            },
        };
        let below = format!(".requires.plugins.{needed}");
        let plugin = plugins.iter().find(|plugin| plugin.name == name);
        let key = plugin.map_or(name, |plugin| plugin.key.as_str());
        PluginConfigError::at(key, &below, error.to_string())
    };
    ordered.err().into_iter().flatten().map(laid).collect()
}

// === impl PluginEntry ===

impl PluginEntry {
    fn provider(&self, key: &str, role: Option<Role>) -> Result<Provider, PluginConfigError> {
        match (&self.r#type, &self.provider) {
            (Some(kind), None) => self.process(key, kind),
            (None, Some(provider)) => self.provided(key, role, provider),
            (Some(_), Some(_)) => Err(PluginConfigError::at(
                key,
                ".provider",
                "the plugin has a type and a provider; remove one of the two",
            )),
            (None, None) => Err(PluginConfigError::at(
                key,
                "",
                "the plugin has neither `type` nor `provider`; write `type: subprocess`, `type: stdio`, `type: sidecar`, `provider: in-memory` or `provider: mcp`",
            )),
        }
    }

    fn process(&self, key: &str, kind: &str) -> Result<Provider, PluginConfigError> {
        let stray = |name: &str| stray(key, name, &format!("type {kind}"));
        let lacking = |name: &str| {
            PluginConfigError::at(
                key,
                "",
                format!("a plugin of type {kind} needs a `{name}` block; add it"),
            )
        };
        for (name, is_there) in [
            ("implementation", self.implementation.is_some()),
            ("server", self.server.is_some()),
            ("headers", !self.headers.is_empty()),
            ("tls", self.tls.is_some()),
            ("protocol", self.protocol.is_some()),
            ("addresses", self.addresses.is_some()),
        ] {
            if is_there {
                return Err(stray(name));
            }
        }
        match (kind, &self.subprocess, &self.sidecar) {
            ("subprocess" | "stdio", Some(subprocess), None) if subprocess.exec.is_empty() => Err(
                PluginConfigError::at(key, ".subprocess.exec", "the program is empty; name one"),
            ),
            ("subprocess", Some(subprocess), None) => Ok(Provider::Subprocess(subprocess.clone())),
            ("stdio", Some(subprocess), None) => Ok(Provider::Stdio(subprocess.clone())),
            ("subprocess" | "stdio", _, Some(_)) => Err(stray("sidecar")),
            ("subprocess" | "stdio", None, None) => Err(lacking("subprocess")),
            ("sidecar", None, Some(sidecar)) if is_http(&sidecar.url) => {
                check_headers(key, ".sidecar", &sidecar.headers)?;
                Ok(Provider::Sidecar(sidecar.clone()))
            }
            ("sidecar", None, Some(_)) => Err(PluginConfigError::at(
                key,
                ".sidecar.url",
                "this is no http:// or https:// address; write one",
            )),
            ("sidecar", Some(_), _) => Err(stray("subprocess")),
            ("sidecar", None, None) => Err(lacking("sidecar")),
            _ => Err(PluginConfigError::at(
                key,
                ".type",
                format!("unknown plugin type: {kind}"),
            )),
        }
    }

    fn provided(
        &self,
        key: &str,
        role: Option<Role>,
        provider: &str,
    ) -> Result<Provider, PluginConfigError> {
        let stray = |name: &str| stray(key, name, &format!("provider {provider}"));
        let Some(role) = role else {
            return Err(PluginConfigError::at(
                key,
                "",
                format!(
                    "unknown plugin: {key} (a provider plays one of: {})",
                    Role::names()
                ),
            ));
        };
        if self.subprocess.is_some() {
            return Err(stray("subprocess"));
        }
        if self.sidecar.is_some() {
            return Err(stray("sidecar"));
        }
        match (provider, &self.implementation, &self.server) {
            ("in-memory", Some(implementation), None) => {
                if !self.headers.is_empty() {
                    return Err(stray("headers"));
                }
                if self.tls.is_some() {
                    return Err(stray("tls"));
                }
                if self.protocol.is_some() {
                    return Err(stray("protocol"));
                }
                if self.addresses.is_some() {
                    return Err(stray("addresses"));
                }
                InMemory::of(role, implementation)
                    .map(Provider::InMemory)
                    .ok_or_else(|| {
                        let text = format!(
                            "unknown in-memory {} implementation: {implementation}{}",
                            role.words(),
                            role.choices()
                        );
                        PluginConfigError::at(key, ".implementation", text)
                    })
            }
            ("in-memory", _, Some(_)) => Err(stray("server")),
            ("in-memory", None, None) => Err(PluginConfigError::at(
                key,
                "",
                format!(
                    "an in-memory plugin needs an `implementation`{}",
                    role.choices()
                ),
            )),
            ("mcp", None, Some(server)) => {
                check_headers(key, "", &self.headers)?;
                Ok(Provider::Mcp(server.resolve(key, self)?))
            }
            ("mcp", Some(_), _) => Err(stray("implementation")),
            ("mcp", None, None) => Err(PluginConfigError::at(
                key,
                "",
                "an mcp plugin needs a `server`; add a URL or a definition",
            )),
            _ => Err(PluginConfigError::at(
                key,
                ".provider",
                format!("unknown provider: {provider}"),
            )),
        }
    }
}

// === impl ServerReference ===

impl ServerReference {
    fn resolve(&self, key: &str, entry: &PluginEntry) -> Result<McpServer, PluginConfigError> {
        let remote = |url: &String| {
            McpServer::Remote(RemoteServer {
                url: url.clone(),
                headers: entry.headers.clone(),
                tls: entry.tls.clone(),
                protocol: entry.protocol.unwrap_or_default(),
                addresses: entry.addresses.unwrap_or_default(),
            })
        };
        let inline = match self {
            ServerReference::Text(text) if text.starts_with("catalog://") => {
                return Ok(McpServer::Catalog(text.clone()));
            }
            ServerReference::Text(text) if is_http(text) => {
                return Ok(remote(text));
            }
            ServerReference::Text(text) => {
                let text =
                    format!("invalid server string: {text} (expected catalog:// or http(s)://)");
                return Err(PluginConfigError::at(key, ".server", text));
            }
            ServerReference::Inline(inline) => inline,
        };
        let needed = |name: &str| {
            PluginConfigError::at(
                key,
                ".server",
                format!("a server of type {} needs `{name}`; add it", inline.r#type),
            )
        };
        match inline.r#type.as_str() {
            "image" if inline.image.is_some() => Ok(McpServer::Image(inline.clone())),
            "image" => Err(needed("image")),
            "remote" => match &inline.endpoint {
                Some(endpoint) if is_http(endpoint) => Ok(remote(endpoint)),
                Some(_) => Err(PluginConfigError::at(
                    key,
                    ".server.endpoint",
                    "this is no http:// or https:// address; write one",
                )),
                None => Err(needed("endpoint")),
            },
            "registry" => inline
                .source
                .clone()
                .map(McpServer::Registry)
                .ok_or_else(|| needed("source")),
            other => Err(PluginConfigError::at(
                key,
                ".server.type",
                format!("unknown server type: {other}"),
            )),
        }
    }
}

// === impl RemoteServer ===

impl RemoteServer {
    /// The same as a server of the gateway's clients would be configured.
    pub(crate) fn http(&self) -> HttpConfig {
        HttpConfig {
            url: self.url.clone(),
            headers: self.headers.clone(),
            protocol: self.protocol,
            timeout_ms: 0,
            addresses: self.addresses,
            limits: ServerLimitsConfig::default(),
        }
    }
}

// === impl Plugin ===

impl Plugin {
    /// The transport by its configured name.
    pub fn transport(&self) -> &'static str {
        match self.provider {
            Provider::InMemory(_) => "in-memory",
            Provider::Mcp(..) => "mcp",
            Provider::Subprocess(_) => "subprocess",
            Provider::Stdio(_) => "stdio",
            Provider::Sidecar(_) => "sidecar",
        }
    }

    /// The role that it plays: the one that is written, or the one that its key names.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// What must be so before it may serve, as its entry and its manifest say.
    pub fn requires(&self) -> Requires {
        let written = self.entry.requires.clone().unwrap_or_default();
        written.and(&self.manifest.requires)
    }

    /// The built-in part, if it is one.
    pub fn in_memory(&self) -> Option<InMemory> {
        match self.provider {
            Provider::InMemory(part) => Some(part),
            _ => None,
        }
    }

    /// Why this build cannot run it, or will not.
    fn refusal(&self) -> Option<PluginConfigError> {
        match &self.provider {
            Provider::InMemory(_) | Provider::Subprocess(_) | Provider::Stdio(_) => None,
            Provider::Sidecar(sidecar) => remote_sidecar(&self.key, sidecar),
            Provider::Mcp(McpServer::Remote(server)) => {
                let wrong = |text| PluginConfigError::at(&self.key, ".server", text);
                server.http().check().err().map(wrong)
            }
            Provider::Mcp(_) => Some(self.unavailable()),
        }
    }

    fn unavailable(&self) -> PluginConfigError {
        let transport = match &self.provider {
            Provider::Mcp(McpServer::Catalog(_)) => "mcp catalog",
            Provider::Mcp(McpServer::Image(_)) => "mcp image",
            Provider::Mcp(McpServer::Registry(_)) => "mcp registry",
            _ => self.transport(),
        };
        let text = format!(
            "transport \"{transport}\" is not available in this version; remove the plugin or use `provider: in-memory`"
        );
        PluginConfigError::at(&self.key, "", text)
    }
}

/// A sidecar that is not on this machine has to be meant.
fn remote_sidecar(key: &str, sidecar: &SidecarConfig) -> Option<PluginConfigError> {
    let wrong = |text: String| Some(PluginConfigError::at(key, ".sidecar.url", text));
    let target = match HttpTarget::parse(&sidecar.url) {
        Ok(target) => target,
        Err(error) => return wrong(format!("{error}; write one such as http://127.0.0.1:8081")),
    };
    let host = target.host();
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_here = name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    if is_here || sidecar.allow_remote {
        return None;
    }
    wrong(format!(
        "{host} is not this machine; use localhost, or set `allow_remote: true`"
    ))
}

// === impl PluginConfigError ===

impl PluginConfigError {
    fn at(key: &str, below: &str, text: impl Into<String>) -> Self {
        Self {
            path: format!("{key}{below}"),
            text: text.into(),
        }
    }
}

impl fmt::Display for PluginConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.text)
    }
}

impl std::error::Error for PluginConfigError {}

fn stray(key: &str, name: &str, of: &str) -> PluginConfigError {
    PluginConfigError::at(
        key,
        &format!(".{name}"),
        format!("`{name}` does not belong to a plugin of {of}; remove it"),
    )
}

/// Refuses headers that cannot be sent. No value is repeated: it may be a secret.
fn check_headers(
    key: &str,
    below: &str,
    headers: &BTreeMap<String, Secret>,
) -> Result<(), PluginConfigError> {
    for (name, value) in headers {
        let wrong = |text: &str| {
            Err(PluginConfigError::at(
                key,
                &format!("{below}.headers.{name}"),
                text,
            ))
        };
        if HeaderName::try_from(name.as_str()).is_err() {
            return wrong("this is no name of a header; use letters, digits and -");
        }
        if HeaderValue::from_str(value.expose()).is_err() {
            return wrong("the value has characters that a header cannot carry; remove them");
        }
    }
    Ok(())
}

/// Names are shown, are labels of metrics and parts of paths.
fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric();
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(is_letter)
        && bytes.all(|byte| is_letter(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_http(text: &str) -> bool {
    text.strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .is_some_and(|rest| !rest.is_empty())
}
