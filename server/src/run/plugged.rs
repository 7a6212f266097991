//! The plugins that the configuration names, each with its transport and its place in the tree.

mod change;
mod page;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::builtin::noop_telemetry::NoopTelemetry;
use weir_actors::builtin::outside::ReadFile;
use weir_actors::pipeline::Metrics;
use weir_actors::plugged::{Direction, Ensemble};
use weir_actors::plugin::{
    InMemory, Loader, McpServer, Plan, Plugin, PluginSpec, PluginTransport, Provider, Role,
    Steward, Upkeep,
};
use weir_actors::sandbox::Sandbox;
use weir_actors::settings::Current;
use weir_actors::supervisor::{ChildSpec, SupervisorHandle};
use weir_actors::transport::{InMemoryTransport, McpTransport, Part, VettedTransport, Way};
use weir_actors::upstream::UpstreamBoard;
use weir_actors::upstream::http::HttpClientConfig;

use super::plugin_hooks::AuditHooks;

pub(super) use change::PluginChanges;
pub(super) use page::PluginPage;

/// The plugins. Those in memory lead to the parts that the pipeline asks, whichever these are at the time.
pub(super) struct Plugged {
    board: UpstreamBoard,
    audit: AuditLog,
    group: SupervisorHandle,
    loader: Loader,
    steward: Steward,
    page: PluginPage,
    means: Means,
    /// The plugins that are loaded, by name.
    seated: BTreeMap<String, Seated>,
    /// Their names, what is needed first.
    order: Vec<String>,
    /// The children of those that are not in the group by themselves: somebody starts them.
    children: BTreeMap<String, ChildSpec>,
}

/// A plugin that is loaded.
struct Seated {
    plugin: Plugin,
    transport: VettedTransport,
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
        let loader = Loader::counted(group.clone(), registry, hooks, counts);
        let steward = Steward::new(loader.clone(), group.clone());
        let page = PluginPage::new(loader.clone(), steward.clone());
        Self {
            board,
            audit,
            group,
            loader,
            steward,
            page,
            means,
            seated: BTreeMap::new(),
            order: Vec::new(),
            children: BTreeMap::new(),
        }
    }

    /// Loads and unloads them.
    pub(super) fn loader(&self) -> Loader {
        self.loader.clone()
    }

    /// What operators see of them.
    pub(super) fn page(&self) -> PluginPage {
        self.page.clone()
    }

    /// Takes the plugins into the books. Returns their places in the group, which is not started yet, those first that
    /// others need.
    ///
    /// # Errors
    /// A text that names the key of the plugin that cannot be carried out.
    pub(super) fn enlist(&mut self, plugins: &[Plugin]) -> Result<Vec<ChildSpec>, String> {
        self.direct(plugins);
        for plugin in plugins {
            let keyed = |text: String| format!("plugins.{}: {text}", plugin.key);
            let child = self.enlist_one(plugin).map_err(keyed)?;
            self.children.insert(plugin.name.clone(), child);
        }
        let dependencies = self.put_in_order();
        let needy: Vec<&str> = dependencies.dependents().collect();
        let mut children = Vec::with_capacity(plugins.len() + 1);
        if !needy.is_empty() {
            children.push(self.steward.child());
        }
        let independent = |name: &&String| !needy.contains(&name.as_str());
        for name in dependencies.order().iter().filter(independent) {
            children.extend(self.children.remove(name));
        }
        let held = self.children.clone();
        self.steward.plan(Plan {
            dependencies,
            children: held,
        });
        Ok(children)
    }

    /// Has the roles played as the plugins' entries say.
    fn direct(&self, plugins: &[Plugin]) {
        let outside = plugins.iter().filter(|plugin| plugin.in_memory().is_none());
        let played: Vec<Role> = outside.filter_map(Plugin::role).collect();
        self.means.ensemble.cast(&played);
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

    fn enlist_one(&mut self, plugin: &Plugin) -> Result<ChildSpec, String> {
        let transport = VettedTransport::new(self.way(plugin)?);
        let spec = PluginSpec {
            name: plugin.name.clone(),
            key: plugin.key.clone(),
            role: plugin.role(),
            transport: Arc::new(transport.clone()),
            upkeep: Upkeep::of(&plugin.entry),
        };
        let child = self.loader.enlist(spec);
        let child = child.map_err(|error| error.to_string())?;
        let plugin = plugin.clone();
        let seated = Seated { plugin, transport };
        self.seated.insert(seated.plugin.name.clone(), seated);
        Ok(child)
    }

    /// How a plugin is reached, and what is required of it.
    fn way(&self, plugin: &Plugin) -> Result<Way, String> {
        Ok(Way {
            transport: self.transport(plugin, plugin.role())?,
            requires: plugin.requires(),
            said: plugin.manifest.said(),
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
            Provider::Sidecar(sidecar) => Ok(Arc::new(self.means.sidecar(sidecar)?)),
            Provider::Subprocess(config) => {
                let sandbox = sandbox(plugin);
                let transport = self.means.subprocess(&plugin.name, config, sandbox);
                Ok(Arc::new(transport))
            }
            Provider::Stdio(config) => Ok(Arc::new(Means::stdio(
                &plugin.name,
                config,
                sandbox(plugin),
            ))),
            Provider::Mcp(_) => Err(format!(
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

/// What a plugin that is a process may do.
fn sandbox(plugin: &Plugin) -> Sandbox {
    Sandbox::plugin(plugin.entry.sandbox.clone().unwrap_or_default())
}
