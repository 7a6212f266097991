//! A plugin keeps the credentials that users have for servers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_plugin_protocol::role::{Answer, CredentialError, CredentialStorage};
use weir_plugin_protocol::{Secret, UserPrincipal};

use super::config::CacheConfig;
use super::fingerprint::{Fingerprint, Fingerprinting};
use super::memory::{Kept, Memory};
use crate::pipeline::metrics::roles::CacheCounts;
use crate::plugin::{CallError, CredentialClient, CredentialKey, Registry, Role};

type Found = Result<Secret, CredentialError>;

/// The storage that asks a plugin, and remembers what it said for a short while.
pub struct PluginStorage {
    registry: Arc<Registry>,
    memory: ArcSwap<Memory<Fingerprint, Held>>,
    counts: CacheCounts,
}

/// What was found, and for whom.
#[derive(Clone)]
struct Held {
    found: Found,
    principal: Arc<UserPrincipal>,
}

/// What a user is called in the storage. The contract knows no tenants there, and two tenants may each have an `alice`:
/// so it is `TENANT/USER`, where `/` and `%` within the two are written as `%2F` and `%25`. Without a tenant it is the
/// user alone, written the same way.
///
/// ```
/// use weir_actors::plugged::owner_of;
/// use weir_plugin_protocol::UserPrincipal;
///
/// let alice = UserPrincipal::named("alice");
/// assert_eq!(owner_of(&alice), "alice");
/// let tenant_id = Some("acme".to_owned());
/// assert_eq!(owner_of(&UserPrincipal { tenant_id, ..alice }), "acme/alice");
/// ```
pub fn owner_of(principal: &UserPrincipal) -> String {
    let part = |text: &str| text.replace('%', "%25").replace('/', "%2F");
    let user = part(&principal.user_id);
    match &principal.tenant_id {
        Some(tenant) => format!("{}/{user}", part(tenant)),
        None => user,
    }
}

// === impl PluginStorage ===

impl PluginStorage {
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

    /// Forgets what is known of everybody, or of some.
    pub fn forget(&self, whose: Option<&dyn Fn(&UserPrincipal) -> bool>) {
        let memory = self.memory.load();
        match whose {
            None => memory.forget(),
            Some(whose) => drop(memory.forget_where(|_, held| whose(&held.principal))),
        }
    }
}

impl CredentialStorage for PluginStorage {
    fn retrieve_credential(
        &self,
        principal: &UserPrincipal,
        server: &str,
        kind: &str,
    ) -> Answer<Found> {
        let memory = self.memory.load();
        let mut asked = Fingerprinting::new();
        asked.text(&principal.user_id);
        asked.optional(principal.tenant_id.as_deref());
        asked.text(server);
        asked.text(kind);
        let asked = asked.finish();
        let term = self.registry.term(Role::CredentialStorage);
        if let Some(held) = memory.recall(&asked, term) {
            self.counts.hit.inc();
            return Answer::Now(held.found);
        }
        self.counts.miss.inc();
        let (Some(term), Some(plugin)) = (term, self.registry.credential_storage()) else {
            return Answer::Now(Err(unavailable(&CallError::NotRunning)));
        };
        let principal = Arc::new(principal.clone());
        let (server, kind) = (server.to_owned(), kind.to_owned());
        let question = async move { ask(&plugin, principal, &server, &kind).await };
        let Some(coming) = memory.ask(asked, term, question) else {
            return Answer::Now(Err(unavailable(&CallError::Busy)));
        };
        let unavailable = self.counts.unavailable.clone();
        Answer::Later(Box::pin(async move {
            let found = match coming.await {
                Some(held) => held.found,
                None => Err(self::unavailable(&CallError::Closed)),
            };
            if let Err(CredentialError::Unavailable(_)) = found {
                unavailable.inc();
            }
            found
        }))
    }
}

async fn ask(
    plugin: &CredentialClient,
    principal: Arc<UserPrincipal>,
    server: &str,
    kind: &str,
) -> Kept<Held> {
    let key = CredentialKey {
        user_id: &owner_of(&principal),
        mcp_server: server,
        credential_type: kind,
    };
    let found = plugin.retrieve(key).await;
    let held = |found| Held { found, principal };
    match found {
        Ok(Some(secret)) => Kept::Good(held(Ok(secret)), None),
        Ok(None) => Kept::Bad(held(Err(CredentialError::Missing(
            "it has none".to_owned(),
        )))),
        // Storages say so of what they do not have.
        Err(CallError::Refused(reason)) => Kept::Bad(held(Err(CredentialError::Missing(reason)))),
        Err(error) => Kept::Not(held(Err(unavailable(&error)))),
    }
}

fn unavailable(error: &CallError) -> CredentialError {
    CredentialError::Unavailable(error.to_string())
}
