//! Who plays which role.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use thiserror::Error;

use super::handle::PluginHandle;
use super::roles::Role;
use super::typed::{
    AuditClient, AuthClient, CredentialClient, PolicyClient, ProvisionerClient, ProxyClient,
    TelemetryClient,
};

/// The plugins that serve, by role; at most one each. Reading it never waits.
#[derive(Debug, Default)]
pub struct Registry {
    seats: [ArcSwapOption<PluginHandle>; Role::ALL.len()],
    /// How often somebody took a role.
    terms: [AtomicU32; Role::ALL.len()],
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
            Some(_) => Ok(()),
            None => {
                self.term_count(role).fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
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

    /// A number that is another one whenever another instance plays the role: what one has said holds for its term.
    /// Nothing while nobody plays it.
    pub fn term(&self, role: Role) -> Option<u64> {
        let seat = self.seat(role).load();
        let generation = seat.as_ref()?.generation();
        let terms = self.term_count(role).load(Ordering::Relaxed);
        Some(u64::from(terms) << 32 | (generation & u64::from(u32::MAX)))
    }

    /// Who says who is calling.
    pub fn auth_provider(&self) -> Option<AuthClient> {
        self.plugin(Role::AuthProvider).map(AuthClient)
    }

    /// Who decides.
    pub fn policy_evaluator(&self) -> Option<PolicyClient> {
        self.plugin(Role::PolicyEvaluator).map(PolicyClient)
    }

    /// Who keeps credentials of users.
    pub fn credential_storage(&self) -> Option<CredentialClient> {
        self.plugin(Role::CredentialStorage).map(CredentialClient)
    }

    /// Who puts credentials into requests.
    pub fn auth_proxy(&self) -> Option<ProxyClient> {
        self.plugin(Role::AuthProxy).map(ProxyClient)
    }

    /// Who starts servers.
    pub fn provisioner(&self) -> Option<ProvisionerClient> {
        self.plugin(Role::McpProvisioner).map(ProvisionerClient)
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
        of(&self.seats, role)
    }

    fn term_count(&self, role: Role) -> &AtomicU32 {
        of(&self.terms, role)
    }
}

/// The one of seven that belongs to a role.
fn of<T>(seven: &[T; Role::ALL.len()], role: Role) -> &T {
    let [auth, storage, proxy, audit, policy, provisioner, telemetry] = seven;
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
