//! All roles as plugins play them.

use std::sync::Arc;

use weir_plugin_protocol::UserPrincipal;

use super::auth::PluginAuth;
use super::config::{CacheConfig, Decides};
use super::policy::PluginPolicy;
use crate::pipeline::Metrics;
use crate::plugin::{Registry, Role};

/// The players. Made once: what they remember outlives readings of the configuration.
#[derive(Clone)]
pub struct Ensemble {
    registry: Arc<Registry>,
    auth: Arc<PluginAuth>,
    policy: Arc<PluginPolicy>,
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

    /// Has a role played by other rules from now on.
    pub fn direct(&self, role: Role, direction: Direction) {
        match role {
            Role::AuthProvider => self.auth.configure(direction.cache),
            Role::PolicyEvaluator => self.policy.configure(direction.cache, direction.decides),
            _ => {}
        }
    }

    /// Forgets what plugins have said, of everybody or of one user: of the tenant, or else of this name in any of them.
    pub fn forget(&self, user: Option<(&str, Option<&str>)>) {
        let Some((user_id, tenant)) = user else {
            self.auth.forget(None);
            self.policy.forget(None);
            return;
        };
        let is_meant = |principal: &UserPrincipal| {
            principal.user_id == user_id
                && tenant.is_none_or(|tenant| principal.tenant_id.as_deref() == Some(tenant))
        };
        self.auth.forget(Some(&is_meant));
        self.policy.forget(user);
    }
}
