//! The plugins that the configuration names, each with its transport and its place in the tree.

use std::sync::Arc;

use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::builtin::noop_telemetry::NoopTelemetry;
use weir_actors::builtin::static_credentials::StaticCredentials;
use weir_actors::plugin::{
    InMemory, InMemoryTransport, Loader, LoggingHooks, Part, Plugin, PluginSpec, Registry, Role,
};
use weir_actors::supervisor::{ChildSpec, SupervisorHandle};
use weir_plugin_protocol::role::{AuthProvider, PolicyEvaluator};

/// The parts that plugins in memory lead to: those that the pipeline asks.
pub(super) struct Plugged {
    pub(super) auth: Arc<dyn AuthProvider>,
    pub(super) policy: Arc<dyn PolicyEvaluator>,
    pub(super) audit: AuditLog,
    pub(super) credentials: Arc<StaticCredentials>,
}

// === impl Plugged ===

impl Plugged {
    /// Takes the plugins into the books. Returns their loader, and their places in `group`, which is not started yet.
    ///
    /// # Errors
    /// A text that names the key of the plugin that cannot be carried out.
    pub(super) fn enlist(
        &self,
        plugins: Vec<Plugin>,
        group: SupervisorHandle,
    ) -> Result<(Loader, Vec<ChildSpec>), String> {
        let loader = Loader::new(group, Arc::new(Registry::default()), Arc::new(LoggingHooks));
        let mut children = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            let key = &plugin.key;
            let Some(part) = plugin.in_memory() else {
                return Err(format!(
                    "plugins.{key}: transport \"{}\" is not available in this version",
                    plugin.transport()
                ));
            };
            let role = plugin.role();
            let spec = PluginSpec {
                name: plugin.name.clone(),
                key: key.clone(),
                role,
                transport: Arc::new(InMemoryTransport::new(self.part(part, role))),
            };
            let child = loader
                .enlist(spec)
                .map_err(|error| format!("plugins.{key}: {error}"))?;
            children.push(child);
        }
        Ok((loader, children))
    }

    fn part(&self, part: InMemory, role: Option<Role>) -> Part {
        match part {
            InMemory::DesktopImplicit | InMemory::ApiKeys | InMemory::Jwt => {
                Part::Auth(self.auth.clone())
            }
            InMemory::AlwaysAllow | InMemory::Rules => Part::Policy(self.policy.clone()),
            InMemory::Stdout | InMemory::Stderr | InMemory::File => Part::Audit(self.audit.clone()),
            InMemory::Noop => Part::Telemetry(Arc::new(NoopTelemetry)),
            InMemory::NoCredentials | InMemory::StaticCredentials => match role {
                Some(Role::AuthProxy) => Part::AuthProxy(self.credentials.clone()),
                _ => Part::CredentialStorage,
            },
        }
    }
}
