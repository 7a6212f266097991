//! Finding the session that an `Mcp-Session-Id` stands for.

use std::sync::Arc;
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::mcp::Version;

use super::ended::Ended;
use super::shelf::Shelf;
use super::{ClientHello, Farewell, ReplayLimits, Session};
use crate::builtin::static_credentials::ServerCredentials;
use crate::pipeline::Metrics;
use crate::seal::Sealer;
use crate::upstream::http::HttpTarget;
use crate::upstream::stdio::SessionKey;
use crate::upstream::{Endpoint, ServerName};

/// Sessions that are remembered at most. The least used is forgotten first; its id stays good.
const MAX_SESSIONS: u64 = 100_000;

/// All legacy sessions.
#[derive(Clone)]
pub struct Sessions {
    live: Cache<u128, Arc<Session>>,
    ended: Arc<Ended>,
    sealer: Arc<Sealer>,
    farewells: mpsc::Sender<Farewell>,
    shelf: Arc<Shelf>,
    metrics: Arc<Metrics>,
}

/// What a session id carries, besides being bound to principal and endpoint.
#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "k")]
    key: Uuid,
    #[serde(rename = "v")]
    version: String,
    #[serde(flatten)]
    client: ClientHello,
}

// === impl Sessions ===

impl Sessions {
    /// An empty table. A session that was idle for too long is over, as if its client had ended it. Sessions at upstream
    /// servers that are not needed any more are handed to `farewells`; when that queue is full the server is left to its
    /// own time-out.
    pub fn new(
        sealer: Arc<Sealer>,
        idle: Duration,
        replay: ReplayLimits,
        farewells: mpsc::Sender<Farewell>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ended = Arc::new(Ended::new());
        let over = ended.clone();
        let later = farewells.clone();
        let live = Cache::builder()
            .max_capacity(MAX_SESSIONS)
            .time_to_idle(idle)
            .eviction_listener(move |key: Arc<u128>, session: Arc<Session>, cause| {
                // A session that somebody works with is not over: it comes back when it is touched.
                let in_use = session.is_in_use() && cause != RemovalCause::Explicit;
                if cause == RemovalCause::Replaced || in_use {
                    return;
                }
                if cause == RemovalCause::Expired {
                    over.insert(*key);
                }
                for (server, upstream) in session.open_upstreams() {
                    let target = upstream.target.clone();
                    let _full = farewells.try_send(Farewell {
                        server,
                        target,
                        session: upstream,
                        credentials: None,
                    });
                }
            })
            .build();
        Self {
            live,
            ended,
            sealer,
            shelf: Shelf::new(replay),
            farewells: later,
            metrics,
        }
    }

    /// Ends the sessions at a place where a server is not any more. `credentials` are those that the server had there.
    pub fn leave(
        &self,
        server: &ServerName,
        target: &Arc<HttpTarget>,
        credentials: Option<&Arc<ServerCredentials>>,
    ) {
        for (_, session) in &self.live {
            if let Some(upstream) = session.leave(server, target) {
                let _full = self.farewells.try_send(Farewell {
                    server: server.clone(),
                    target: target.clone(),
                    session: upstream,
                    credentials: credentials.cloned(),
                });
            }
        }
    }

    /// Begins a session. Returns it and its id for the client.
    pub fn begin(
        &self,
        principal: &UserPrincipal,
        endpoint: &Endpoint,
        version: Version,
        client: ClientHello,
    ) -> Option<(Arc<Session>, String)> {
        let key = Uuid::new_v4();
        let token = Token {
            key,
            version: version.as_str().to_owned(),
            client: client.clone(),
        };
        let plain = serde_json::to_vec(&token).ok()?;
        let id = self.sealer.seal(&binding(principal, endpoint), &plain);
        let session = Arc::new(Session::new(
            SessionKey(key.as_u128()),
            version,
            endpoint.clone(),
            client,
            self.shelf.clone(),
            self.metrics.sessions.served(version),
        ));
        self.live.insert(key.as_u128(), session.clone());
        Some((session, id))
    }

    /// Finds the session of an id. Nothing for an id that is not ours, is somebody else's, belongs to another
    /// endpoint, or has ended: the caller cannot tell these apart.
    pub fn find(
        &self,
        id: &str,
        principal: &UserPrincipal,
        endpoint: &Endpoint,
    ) -> Option<Arc<Session>> {
        let plain = self.sealer.open(&binding(principal, endpoint), id)?;
        let token: Token = serde_json::from_slice(&plain).ok()?;
        let key = token.key.as_u128();
        if let Some(session) = self.live.get(&key) {
            return Some(session);
        }
        // What has been idle for too long may still be waiting for the next sweep.
        self.live.run_pending_tasks();
        if self.ended.contains(key) {
            return None;
        }
        let version = Version::parse(&token.version)?;
        Some(self.live.get_with(key, || {
            Arc::new(Session::new(
                SessionKey(key),
                version,
                endpoint.clone(),
                token.client,
                self.shelf.clone(),
                self.metrics.sessions.served(version),
            ))
        }))
    }

    /// Finds a session that is in memory by its number.
    pub fn by_key(&self, key: SessionKey) -> Option<Arc<Session>> {
        self.live.get(&key.0)
    }

    /// Keeps a session that is in use from being forgotten.
    pub fn touch(&self, session: &Arc<Session>) {
        let key = session.key.0;
        if self.live.get(&key).is_none() && !self.ended.contains(key) {
            self.live.insert(key, session.clone());
        }
    }

    /// Ends a session for good.
    pub fn end(&self, session: &Session) {
        self.ended.insert(session.key.0);
        self.live.invalidate(&session.key.0);
        session.end();
    }

    /// Sessions in memory, about.
    pub fn len(&self) -> u64 {
        self.live.entry_count()
    }

    /// Whether no session is in memory, about.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops what is too old. Called now and then.
    pub fn sweep(&self) {
        self.live.run_pending_tasks();
        self.ended.sweep();
        self.shelf.sweep();
    }

    /// Bytes of events that are kept for clients which lost their connection.
    pub fn replay_bytes(&self) -> usize {
        self.shelf.bytes()
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sessions")
            .field("live", &self.live.entry_count())
            .finish_non_exhaustive()
    }
}

/// What a session id is bound to.
fn binding(principal: &UserPrincipal, endpoint: &Endpoint) -> Vec<u8> {
    let place = match endpoint {
        Endpoint::All => "",
        Endpoint::One(name) => name.as_str(),
    };
    format!("session\0{place}\0{}", principal.key()).into_bytes()
}
