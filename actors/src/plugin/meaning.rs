//! What the `plugins` block means, what is wrong with it, and which of it this build can run.

use std::collections::BTreeSet;
use std::fmt;

use super::config::{
    InlineServer, PluginEntry, PluginsConfig, ServerReference, SidecarConfig, SubprocessConfig,
};
use super::roles::{InMemory, Role};

/// A plugin that makes sense.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its key in the block.
    pub key: String,
    /// Its name.
    pub name: String,
    /// What runs it.
    pub provider: Provider,
}

/// What runs a plugin.
#[derive(Clone, Debug)]
pub enum Provider {
    /// A part of the gateway itself.
    InMemory(InMemory),
    /// An MCP server that plays a role.
    Mcp(Role, McpServer),
    /// A process that the gateway starts.
    Subprocess(SubprocessConfig),
    /// A process that somebody else runs.
    Sidecar(SidecarConfig),
}

/// Where an MCP server comes from.
#[derive(Clone, Debug)]
pub enum McpServer {
    /// `catalog://…`, to be resolved.
    Catalog(String),
    /// It runs already, at this URL.
    Remote(String),
    /// A container of this definition.
    Image(InlineServer),
    /// An entry of a registry.
    Registry(String),
}

/// What is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfigError {
    /// The key within the block, such as `telemetry.server`.
    pub path: String,
    /// What is wrong, and after `; ` what to do.
    pub text: String,
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
        for (key, entry) in &self.0 {
            let name = entry.name.clone().unwrap_or_else(|| key.clone());
            if !names.insert(name.clone()) {
                errors.push(PluginConfigError::at(
                    key,
                    ".name",
                    format!("plugin {name} is already loaded; choose another name"),
                ));
            }
            match entry.provider(key) {
                Ok(provider) => plugins.push(Plugin {
                    key: key.clone(),
                    name,
                    provider,
                }),
                Err(error) => errors.push(error),
            }
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

// === impl PluginEntry ===

impl PluginEntry {
    fn provider(&self, key: &str) -> Result<Provider, PluginConfigError> {
        match (&self.r#type, &self.provider) {
            (Some(kind), None) => self.process(key, kind),
            (None, Some(provider)) => self.role(key, provider),
            (Some(_), Some(_)) => Err(PluginConfigError::at(
                key,
                ".provider",
                "the plugin has a type and a provider; remove one of the two",
            )),
            (None, None) => Err(PluginConfigError::at(
                key,
                "",
                "the plugin has neither `type` nor `provider`; write `type: subprocess`, `type: sidecar`, `provider: in-memory` or `provider: mcp`",
            )),
        }
    }

    fn process(&self, key: &str, kind: &str) -> Result<Provider, PluginConfigError> {
        let stray = |name: &str| {
            PluginConfigError::at(
                key,
                &format!(".{name}"),
                format!("`{name}` does not belong to a plugin of type {kind}; remove it"),
            )
        };
        let lacking = |name: &str| {
            PluginConfigError::at(
                key,
                "",
                format!("a plugin of type {kind} needs a `{name}` block; add it"),
            )
        };
        if self.implementation.is_some() {
            return Err(stray("implementation"));
        }
        if self.server.is_some() {
            return Err(stray("server"));
        }
        match (kind, &self.subprocess, &self.sidecar) {
            ("subprocess", Some(subprocess), None) if subprocess.exec.is_empty() => Err(
                PluginConfigError::at(key, ".subprocess.exec", "the program is empty; name one"),
            ),
            ("subprocess", Some(subprocess), None) => Ok(Provider::Subprocess(subprocess.clone())),
            ("subprocess", _, Some(_)) => Err(stray("sidecar")),
            ("subprocess", None, None) => Err(lacking("subprocess")),
            ("sidecar", None, Some(sidecar)) if is_http(&sidecar.url) => {
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

    fn role(&self, key: &str, provider: &str) -> Result<Provider, PluginConfigError> {
        let stray = |name: &str| {
            PluginConfigError::at(
                key,
                &format!(".{name}"),
                format!("`{name}` does not belong to a plugin of provider {provider}; remove it"),
            )
        };
        let Some(role) = Role::of(key) else {
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
            ("in-memory", Some(implementation), None) => match InMemory::of(role, implementation) {
                Some(found) => Ok(Provider::InMemory(found)),
                None => {
                    let text = format!(
                        "unknown in-memory {} implementation: {implementation}{}",
                        role.words(),
                        role.choices()
                    );
                    Err(PluginConfigError::at(key, ".implementation", text))
                }
            },
            ("in-memory", _, Some(_)) => Err(stray("server")),
            ("in-memory", None, None) => Err(PluginConfigError::at(
                key,
                "",
                format!(
                    "an in-memory plugin needs an `implementation`{}",
                    role.choices()
                ),
            )),
            ("mcp", None, Some(server)) => Ok(Provider::Mcp(role, server.resolve(key)?)),
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
    fn resolve(&self, key: &str) -> Result<McpServer, PluginConfigError> {
        let inline = match self {
            ServerReference::Text(text) if text.starts_with("catalog://") => {
                return Ok(McpServer::Catalog(text.clone()));
            }
            ServerReference::Text(text) if is_http(text) => {
                return Ok(McpServer::Remote(text.clone()));
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
                Some(endpoint) if is_http(endpoint) => Ok(McpServer::Remote(endpoint.clone())),
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

// === impl Plugin ===

impl Plugin {
    /// The transport by its configured name.
    pub fn transport(&self) -> &'static str {
        match self.provider {
            Provider::InMemory(_) => "in-memory",
            Provider::Mcp(..) => "mcp",
            Provider::Subprocess(_) => "subprocess",
            Provider::Sidecar(_) => "sidecar",
        }
    }

    /// The role that it plays. A process plays the role of its key, if it is one.
    pub fn role(&self) -> Option<Role> {
        match &self.provider {
            Provider::Mcp(role, _) => Some(*role),
            _ => Role::of(&self.key),
        }
    }

    /// The built-in part, if it is one.
    pub fn in_memory(&self) -> Option<InMemory> {
        match self.provider {
            Provider::InMemory(part) => Some(part),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<PluginConfigError> {
        if self.in_memory().is_some() {
            return None;
        }
        let text = format!(
            "transport \"{}\" is not available in this version; remove the plugin or use `provider: in-memory`",
            self.transport()
        );
        Some(PluginConfigError::at(&self.key, "", text))
    }
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

fn is_http(text: &str) -> bool {
    text.strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .is_some_and(|rest| !rest.is_empty())
}
