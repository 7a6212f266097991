//! Who plays the roles of the pipeline: what the blocks of the configuration say, unless `plugins` names another part.

use std::sync::Arc;

use weir_actors::builtin::Outside;
use weir_actors::builtin::always_allow::AlwaysAllow;
use weir_actors::builtin::auth::{Auth, AuthConfig};
use weir_actors::builtin::static_credentials::StaticCredentials;
use weir_actors::plugged::{Ensemble, Outfit};
use weir_actors::plugin::{InMemory, Plugin, Role};
use weir_plugin_protocol::role::{AuthProvider, PolicyEvaluator};

use crate::config::{Config, manifests};

/// The parts that play the roles.
pub(super) struct Roles {
    pub(super) auth: Auth,
    pub(super) policy: Arc<dyn PolicyEvaluator>,
    pub(super) credentials: StaticCredentials,
    /// What plugins give to requests at servers.
    pub(super) outfit: Arc<Outfit>,
    /// The plugins that are named.
    pub(super) plugins: Vec<Plugin>,
}

// === impl Roles ===

impl Roles {
    /// Reads the files that the configuration names, and casts the roles.
    pub(super) fn load(
        config: &Config,
        outside: &Outside,
        ensemble: &Ensemble,
    ) -> Result<Self, String> {
        Self::load_after(config, outside, ensemble, None)
    }

    /// The same, when there are providers already: see [`Auth::load_after`].
    pub(super) fn load_after(
        config: &Config,
        outside: &Outside,
        ensemble: &Ensemble,
        before: Option<&Auth>,
    ) -> Result<Self, String> {
        let mut plugins = config.plugins.runnable().map_err(|errors| {
            let errors: Vec<String> = errors
                .iter()
                .map(|error| format!("plugins.{}: {}", error.path, error.text))
                .collect();
            errors.join("\n")
        })?;
        let problems = manifests::read(&mut plugins, outside.files.as_ref()).into_iter();
        let problems: Vec<String> = problems
            .map(|(key, text)| format!("{key}: {text}"))
            .collect();
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let named: Vec<InMemory> = plugins
            .iter()
            .filter_map(|plugin| plugin.in_memory())
            .collect();
        let is_plugged = |role: Role| {
            let mut others = plugins.iter().filter(|plugin| plugin.in_memory().is_none());
            others.any(|plugin| plugin.role() == Some(role))
        };
        let plugin =
            is_plugged(Role::AuthProvider).then(|| ensemble.auth() as Arc<dyn AuthProvider>);
        let implicit = named.contains(&InMemory::DesktopImplicit);
        let auth = if config.stdio.serves {
            // Whoever starts the process has what it has: there is nobody to prove it to.
            Ok(before
                .cloned()
                .unwrap_or_else(|| Auth::local(config.stdio.provider())))
        } else if implicit {
            Auth::load_after(&AuthConfig::default(), outside, None, before)
        } else {
            Auth::load_after(&config.auth, outside, plugin, before)
        };
        let auth = auth.map_err(|error| format!("auth.{error}"))?;
        let policy: Arc<dyn PolicyEvaluator> = if is_plugged(Role::PolicyEvaluator) {
            ensemble.policy()
        } else if named.contains(&InMemory::AlwaysAllow) {
            Arc::new(AlwaysAllow)
        } else {
            config
                .policy
                .build()
                .map_err(|error| format!("policy.{error}"))?
        };
        let mut outfit =
            Outfit::new(&config.credentials).map_err(|error| format!("credentials.{error}"))?;
        if is_plugged(Role::CredentialStorage) {
            outfit = outfit.with_storage(ensemble.storage());
        }
        if is_plugged(Role::AuthProxy) {
            outfit = outfit.with_proxy(ensemble.proxy());
        }
        let credentials = StaticCredentials::load(&config.credentials, outside)
            .map_err(|error| format!("credentials.{error}"))?;
        Ok(Self {
            auth,
            policy,
            credentials,
            outfit: Arc::new(outfit),
            plugins,
        })
    }
}
