//! Who plays which role.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use thiserror::Error;

use super::handle::PluginHandle;
use super::roles::Role;
use super::typed::{AuditClient, AuthClient, PolicyClient, TelemetryClient};

/// The plugins that serve, by role; at most one each. Reading it never waits.
#[derive(Debug, Default)]
pub struct Registry {
    seats: [ArcSwapOption<PluginHandle>; Role::ALL.len()],
}

/// The role is taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{} plugin already registered", word(*.0))]
pub struct AlreadyRegistered(pub Role);

// === impl Registry ===

impl Registry {
    /// Lets a plugin play a role.
    ///
    /// # Errors
    /// Another one plays it. The same one registers again without an error.
    pub fn register(&self, role: Role, plugin: &PluginHandle) -> Result<(), AlreadyRegistered> {
        let seat = self.seat(role);
        let newcomer = Arc::new(plugin.clone());
        let before = seat.compare_and_swap(&None::<Arc<PluginHandle>>, Some(newcomer));
        match &*before {
            Some(holder) if !Arc::ptr_eq(&holder.0, &plugin.0) => Err(AlreadyRegistered(role)),
            _ => Ok(()),
        }
    }

    /// Takes a plugin from its role, if it plays it. Returns whether it did.
    pub fn unregister(&self, role: Role, plugin: &PluginHandle) -> bool {
        let seat = self.seat(role);
        let holder = seat.load_full();
        match holder {
            Some(holder) if Arc::ptr_eq(&holder.0, &plugin.0) => {
                let before = seat.compare_and_swap(&Some(holder.clone()), None);
                before
                    .as_ref()
                    .is_some_and(|before| Arc::ptr_eq(before, &holder))
            }
            _ => false,
        }
    }

    /// Who plays a role.
    pub fn plugin(&self, role: Role) -> Option<PluginHandle> {
        self.seat(role).load().as_deref().cloned()
    }

    /// Who says who is calling.
    pub fn auth_provider(&self) -> Option<AuthClient> {
        self.plugin(Role::AuthProvider).map(AuthClient)
    }

    /// Who decides.
    pub fn policy_evaluator(&self) -> Option<PolicyClient> {
        self.plugin(Role::PolicyEvaluator).map(PolicyClient)
    }

    /// Who records.
    pub fn audit_sink(&self) -> Option<AuditClient> {
        self.plugin(Role::AuditSink).map(AuditClient)
    }

    /// Who counts and measures.
    pub fn telemetry(&self) -> Option<TelemetryClient> {
        self.plugin(Role::Telemetry).map(TelemetryClient)
    }

    fn seat(&self, role: Role) -> &ArcSwapOption<PluginHandle> {
        let [auth, storage, proxy, audit, policy, provisioner, telemetry] = &self.seats;
        match role {
            Role::AuthProvider => auth,
            Role::CredentialStorage => storage,
            Role::AuthProxy => proxy,
            Role::AuditSink => audit,
            Role::PolicyEvaluator => policy,
            Role::McpProvisioner => provisioner,
            Role::Telemetry => telemetry,
        }
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::AuthProvider => "auth provider",
        Role::CredentialStorage => "credential storage",
        Role::AuthProxy => "auth proxy",
        Role::AuditSink => "audit sink",
        Role::PolicyEvaluator => "policy evaluator",
        Role::McpProvisioner => "MCP provisioner",
        Role::Telemetry => "telemetry",
    }
}
