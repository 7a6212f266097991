//! All roles as plugins play them.

use std::sync::Arc;

use weir_plugin_protocol::UserPrincipal;

use super::audit::AuditStream;
use super::auth::PluginAuth;
use super::config::{CacheConfig, Decides};
use super::policy::PluginPolicy;
use super::proxy::PluginProxy;
use super::storage::PluginStorage;
use super::telemetry::TelemetryStream;
use crate::pipeline::Metrics;
use crate::plugin::{Registry, Role};
use crate::supervisor::ChildSpec;

/// The players. Made once: what they remember outlives readings of the configuration.
#[derive(Clone)]
pub struct Ensemble {
    registry: Arc<Registry>,
    auth: Arc<PluginAuth>,
    policy: Arc<PluginPolicy>,
    storage: Arc<PluginStorage>,
    proxy: Arc<PluginProxy>,
    audit: AuditStream,
    telemetry: TelemetryStream,
}

/// How a role is to be played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// How long answers hold.
    pub cache: CacheConfig,
    /// How closely a policy is asked.
    pub decides: Decides,
}

// === impl Ensemble ===

impl Ensemble {
    /// Players that ask whoever has a seat in the registry.
    pub fn new(registry: Arc<Registry>, metrics: &Metrics) -> Self {
        let counts = &metrics.roles;
        Self {
            auth: Arc::new(PluginAuth::new(registry.clone(), counts.auth.clone())),
            policy: Arc::new(PluginPolicy::new(registry.clone(), counts.policy.clone())),
            storage: Arc::new(PluginStorage::new(
                registry.clone(),
                counts.credentials.clone(),
            )),
            proxy: Arc::new(PluginProxy::new(registry.clone())),
            audit: AuditStream::new(registry.clone(), counts.audit.clone()),
            telemetry: TelemetryStream::new(
                registry.clone(),
                counts.telemetry.clone(),
                counts.books.clone(),
            ),
            registry,
        }
    }

    /// Who plays which role.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Says who is calling.
    pub fn auth(&self) -> Arc<PluginAuth> {
        self.auth.clone()
    }

    /// Says who may use what.
    pub fn policy(&self) -> Arc<PluginPolicy> {
        self.policy.clone()
    }

    /// Keeps the credentials of users.
    pub fn storage(&self) -> Arc<PluginStorage> {
        self.storage.clone()
    }

    /// Puts credentials into requests.
    pub fn proxy(&self) -> Arc<PluginProxy> {
        self.proxy.clone()
    }

    /// Is told what is recorded.
    pub fn audit(&self) -> &AuditStream {
        &self.audit
    }

    /// Is told what is counted.
    pub fn telemetry(&self) -> &TelemetryStream {
        &self.telemetry
    }

    /// The children that tell plugins what happens.
    pub fn children(&self) -> Vec<ChildSpec> {
        vec![self.audit.child(), self.telemetry.child()]
    }

    /// Says which roles are played by plugins.
    pub fn cast(&self, played: &[Role]) {
        self.audit.want(played.contains(&Role::AuditSink));
        self.telemetry.want(played.contains(&Role::Telemetry));
    }

    /// Resolves when plugins were told everything that has happened.
    pub async fn flush(&self) {
        futures_util::future::join(self.audit.flushed(), self.telemetry.flush()).await;
    }

    /// Has a role played by other rules from now on.
    pub fn direct(&self, role: Role, direction: Direction) {
        match role {
            Role::AuthProvider => self.auth.configure(direction.cache),
            Role::PolicyEvaluator => self.policy.configure(direction.cache, direction.decides),
            Role::CredentialStorage => self.storage.configure(direction.cache),
            Role::AuthProxy | Role::AuditSink | Role::McpProvisioner | Role::Telemetry => {}
        }
    }

    /// Forgets what plugins have said, of everybody or of one user: of the tenant, or else of this name in any of them.
    pub fn forget(&self, user: Option<(&str, Option<&str>)>) {
        let Some((user_id, tenant)) = user else {
            self.auth.forget(None);
            self.policy.forget(None);
            self.storage.forget(None);
            return;
        };
        let is_meant = |principal: &UserPrincipal| {
            principal.user_id == user_id
                && tenant.is_none_or(|tenant| principal.tenant_id.as_deref() == Some(tenant))
        };
        self.auth.forget(Some(&is_meant));
        self.storage.forget(Some(&is_meant));
        self.policy.forget(user);
    }
}
