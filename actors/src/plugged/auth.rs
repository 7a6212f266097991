//! A plugin says who is calling.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};
use weir_plugin_protocol::{Credentials, UserPrincipal};

use super::config::CacheConfig;
use super::fingerprint::{Fingerprint, Fingerprinting};
use super::memory::{Kept, Memory};
use crate::pipeline::metrics::roles::CacheCounts;
use crate::plugin::{AuthClient, CallError, Registry, Role, Validated};

/// The longest credential that a plugin is asked about, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 16 * 1024;

type Verdict = Result<Arc<UserPrincipal>, AuthError>;

/// The auth provider that asks a plugin, and remembers what it said by the hash of the credential.
///
/// What was said while the plugin that said it is away holds for its time; what another instance has said does not.
pub struct PluginAuth {
    registry: Arc<Registry>,
    memory: ArcSwap<Memory<Fingerprint, Verdict>>,
    counts: CacheCounts,
}

// === impl PluginAuth ===

impl PluginAuth {
    /// One that asks whoever plays the role.
    pub fn new(registry: Arc<Registry>, counts: CacheCounts) -> Self {
        Self {
            registry,
            memory: ArcSwap::from_pointee(Memory::new(CacheConfig::default())),
            counts,
        }
    }

    /// Remembers by other rules from now on. Under the same rules nothing is forgotten.
    pub fn configure(&self, config: CacheConfig) {
        if *self.memory.load().config() != config {
            self.memory.store(Arc::new(Memory::new(config)));
        }
    }

    /// Forgets all verdicts, or those on one user. Returns how many, if they were counted.
    pub fn forget(&self, whose: Option<&dyn Fn(&UserPrincipal) -> bool>) -> Option<usize> {
        let memory = self.memory.load();
        match whose {
            None => {
                memory.forget();
                None
            }
            Some(whose) => Some(memory.forget_where(|_, verdict| {
                verdict.as_ref().is_ok_and(|principal| whose(principal))
            })),
        }
    }
}

impl AuthProvider for PluginAuth {
    fn validate_credential(&self, credentials: Option<&Credentials>) -> Answer<Verdict> {
        let Some(credentials) = credentials else {
            return Answer::Now(Err(AuthError::Missing));
        };
        if credentials.value.expose().len() > MAX_CREDENTIAL_BYTES {
            let reason = "the credential is longer than 16 KiB".to_owned();
            return Answer::Now(Err(AuthError::Invalid(reason)));
        }
        let memory = self.memory.load();
        let asked = fingerprint(credentials);
        let term = self.registry.term(Role::AuthProvider);
        if let Some(verdict) = memory.recall(&asked, term) {
            self.counts.hit.inc();
            return Answer::Now(verdict);
        }
        self.counts.miss.inc();
        let (Some(term), Some(plugin)) = (term, self.registry.auth_provider()) else {
            return Answer::Now(Err(unavailable(&CallError::NotRunning)));
        };
        let credentials = credentials.clone();
        let question = async move { ask(&plugin, &credentials).await };
        let Some(coming) = memory.ask(asked, term, question) else {
            return Answer::Now(Err(unavailable(&CallError::Busy)));
        };
        let unavailable = self.counts.unavailable.clone();
        Answer::Later(Box::pin(async move {
            let lost = || Err(self::unavailable(&CallError::Closed));
            let verdict = coming.await.unwrap_or_else(lost);
            if let Err(AuthError::Unavailable(_)) = verdict {
                unavailable.inc();
            }
            verdict
        }))
    }
}

async fn ask(plugin: &AuthClient, credentials: &Credentials) -> Kept<Verdict> {
    let Validated { principal, until } = match plugin.validate_credential(credentials).await {
        Ok(validated) => validated,
        Err(CallError::Refused(reason)) => return Kept::Bad(Err(AuthError::Invalid(reason))),
        Err(error) => return Kept::Not(Err(unavailable(&error))),
    };
    let left = match until.map(remaining) {
        Some(None) => {
            let reason = "the credential has expired".to_owned();
            return Kept::Bad(Err(AuthError::Invalid(reason)));
        }
        Some(left) => left,
        None => None,
    };
    Kept::Good(Ok(Arc::new(principal)), left)
}

/// How long it is until then; nothing if that is past.
fn remaining(until: u64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let left = Duration::from_secs(until).checked_sub(now.unwrap_or_default())?;
    (!left.is_zero()).then_some(left)
}

fn unavailable(error: &CallError) -> AuthError {
    AuthError::Unavailable(error.to_string())
}

fn fingerprint(credentials: &Credentials) -> Fingerprint {
    let mut fingerprint = Fingerprinting::new();
    fingerprint.text(match credentials.kind {
        CredentialKind::Bearer => "bearer",
        CredentialKind::ApiKey => "api_key",
    });
    fingerprint.text(credentials.value.expose());
    fingerprint.finish()
}
