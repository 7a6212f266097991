//! The plugins that the configuration names, each with its transport and its place in the tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::builtin::noop_telemetry::NoopTelemetry;
use weir_actors::builtin::outside::ReadFile;
use weir_actors::pipeline::Metrics;
use weir_actors::plugged::{Direction, Ensemble};
use weir_actors::plugin::{
    InMemory, Loader, McpServer, Plugin, PluginSpec, PluginTransport, Provider, Role, Upkeep,
};
use weir_actors::settings::Current;
use weir_actors::supervisor::{ChildSpec, SupervisorHandle};
use weir_actors::transport::{InMemoryTransport, McpTransport, Part};
use weir_actors::upstream::UpstreamBoard;
use weir_actors::upstream::http::HttpClientConfig;

use super::plugin_hooks::AuditHooks;

/// The plugins. Those in memory lead to the parts that the pipeline asks, whichever these are at the time.
pub(super) struct Plugged {
    board: UpstreamBoard,
    audit: AuditLog,
    loader: Loader,
    means: Means,
    /// The plugins that are loaded, by name.
    cast: BTreeMap<String, Cast>,
}

/// What plugins are kept with.
pub(super) struct Means {
    /// Whom to trust, and who knows names.
    pub(super) http: HttpClientConfig,
    /// Where certificates are.
    pub(super) files: Arc<dyn ReadFile>,
    /// The roles that they play.
    pub(super) ensemble: Ensemble,
    /// Where they and their calls are counted.
    pub(super) metrics: Arc<Metrics>,
}

/// Who plays which role under which key: the same again stays loaded.
type Cast = (String, Option<Role>, Option<InMemory>);

// === impl Plugged ===

impl Plugged {
    /// Plugins that live in `group`.
    pub(super) fn new(
        board: UpstreamBoard,
        audit: AuditLog,
        group: SupervisorHandle,
        means: Means,
    ) -> Self {
        let hooks = Arc::new(AuditHooks(audit.clone()));
        let counts = means.metrics.plugins.clone();
        let registry = means.ensemble.registry().clone();
        let loader = Loader::counted(group, registry, hooks, counts);
        Self {
            board,
            audit,
            loader,
            means,
            cast: BTreeMap::new(),
        }
    }

    /// Loads and unloads them.
    pub(super) fn loader(&self) -> Loader {
        self.loader.clone()
    }

    /// Takes the plugins into the books. Returns their places in the group, which is not started yet.
    ///
    /// # Errors
    /// A text that names the key of the plugin that cannot be carried out.
    pub(super) fn enlist(&mut self, plugins: &[Plugin]) -> Result<Vec<ChildSpec>, String> {
        self.direct(plugins);
        let mut children = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            let keyed = |text: String| format!("plugins.{}: {text}", plugin.key);
            let spec = self.spec(plugin).map_err(keyed)?;
            let child = self.loader.enlist(spec);
            let child = child.map_err(|error| keyed(error.to_string()))?;
            children.push(child);
            self.cast.insert(plugin.name.clone(), cast(plugin));
        }
        Ok(children)
    }

    /// Loads the plugins that are new, unloads those that are gone, and both where another part plays the role. Returns
    /// what went wrong.
    pub(super) async fn change(&mut self, plugins: &[Plugin]) -> Vec<String> {
        self.direct(plugins);
        let mut failures = Vec::new();
        let stays = |name: &String, known: &Cast| {
            let mut plugins = plugins.iter();
            plugins.any(|plugin| plugin.name == *name && cast(plugin) == *known)
        };
        let gone = self.cast.iter().filter(|(name, known)| !stays(name, known));
        let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.cast.remove(&name);
            if let Err(error) = self.loader.unload(&name).await {
                failures.push(error.to_string());
            }
        }
        for plugin in plugins {
            if self.cast.contains_key(&plugin.name) {
                continue;
            }
            let loaded = match self.spec(plugin) {
                Ok(spec) => self
                    .loader
                    .load(spec)
                    .await
                    .map_err(|error| error.to_string()),
                Err(text) => Err(text),
            };
            match loaded {
                Ok(_) => drop(self.cast.insert(plugin.name.clone(), cast(plugin))),
                Err(text) => failures.push(format!("plugins.{}: {text}", plugin.key)),
            }
        }
        failures
    }

    /// Has the roles played as the plugins' entries say.
    fn direct(&self, plugins: &[Plugin]) {
        for plugin in plugins {
            if let Some(role) = plugin.role() {
                let direction = Direction {
                    cache: plugin.entry.cache.unwrap_or_default(),
                    decides: plugin.entry.decides.unwrap_or_default(),
                };
                self.means.ensemble.direct(role, direction);
            }
        }
    }

    fn spec(&self, plugin: &Plugin) -> Result<PluginSpec, String> {
        let role = plugin.role();
        Ok(PluginSpec {
            name: plugin.name.clone(),
            key: plugin.key.clone(),
            role,
            transport: self.transport(plugin, role)?,
            upkeep: Upkeep::of(&plugin.entry),
        })
    }

    /// How a plugin is reached.
    fn transport(
        &self,
        plugin: &Plugin,
        role: Option<Role>,
    ) -> Result<Arc<dyn PluginTransport>, String> {
        match &plugin.provider {
            Provider::InMemory(part) => {
                Ok(Arc::new(InMemoryTransport::new(self.part(*part, role))))
            }
            Provider::Mcp(McpServer::Remote(server)) => {
                let Means { http, files, .. } = &self.means;
                let transport =
                    McpTransport::new(server.clone(), role, http.clone(), files.clone());
                let transport = transport.map_err(|error| format!("server: {error}"))?;
                Ok(Arc::new(transport))
            }
            Provider::Subprocess(_)
            | Provider::Stdio(_)
            | Provider::Sidecar(_)
            | Provider::Mcp(_) => Err(format!(
                "transport \"{}\" is not available in this version",
                plugin.transport()
            )),
        }
    }

    fn part(&self, part: InMemory, role: Option<Role>) -> Part {
        match part {
            InMemory::DesktopImplicit | InMemory::ApiKeys | InMemory::Jwt => {
                Part::Auth(Arc::new(Current(self.board.clone())))
            }
            InMemory::AlwaysAllow | InMemory::Rules => {
                Part::Policy(Arc::new(Current(self.board.clone())))
            }
            InMemory::Stdout | InMemory::Stderr | InMemory::File => Part::Audit(self.audit.clone()),
            InMemory::Noop => Part::Telemetry(Arc::new(NoopTelemetry)),
            InMemory::NoCredentials | InMemory::StaticCredentials => match role {
                Some(Role::AuthProxy) => Part::AuthProxy(self.board.clone()),
                _ => Part::CredentialStorage,
            },
        }
    }
}

fn cast(plugin: &Plugin) -> Cast {
    (plugin.key.clone(), plugin.role(), plugin.in_memory())
}
