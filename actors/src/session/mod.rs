//! Legacy sessions: what the gateway remembers between the requests of one legacy client.
//!
//! The session id is sealed: it carries what is needed to rebuild the session (revision, client capabilities), bound
//! to the principal and the endpoint. The table here is a cache: an entry that was evicted, or that another replica
//! made, comes back when its id is used. Only an ended session stays ended.

mod again;
mod asks;
mod client;
mod ended;
mod event_log;
pub mod farewell;
mod replay;
mod shelf;
mod streams;
mod table;
mod upstream;

pub use again::Again;
pub use asks::{Ask, AskRoute};
pub use client::ClientHello;
pub use event_log::{EventLog, Page, Reader};
pub use farewell::Farewell;
pub use replay::OutOfReach;
pub use shelf::ReplayLimits;
pub use table::Sessions;
use upstream::UpstreamCell;
pub use upstream::UpstreamSession;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use weir_plugin_protocol::jsonrpc::{Field, Message, unquote};
use weir_plugin_protocol::mcp::Version;

use crate::fanout::Story;
use crate::pipeline::metrics::sessions::SessionSpan;
use crate::upstream::http::HttpTarget;
use crate::upstream::stdio::SessionKey;
use crate::upstream::{Endpoint, ServerName, Subscription};
use again::Wishes;
use shelf::Shelf;
use streams::Streams;

/// Frames of the server that may wait for one call's stream.
const INJECT_FRAMES: usize = 32;

/// Resources of shared servers that one session may be subscribed to.
const MAX_SUBSCRIPTIONS: usize = 1024;

/// One legacy session of one client.
#[derive(Debug)]
pub struct Session {
    /// Its number; random, 128 bits.
    pub key: SessionKey,
    /// The revision that was negotiated.
    pub version: Version,
    /// Where the client is connected to.
    pub endpoint: Endpoint,
    /// What the client said of itself.
    pub client: ClientHello,
    /// Tells the event ids of this session from those that it gave out before it was put away, or at another replica.
    incarnation: u32,
    shelf: Arc<Shelf>,
    /// Counts how long it lasts.
    _span: SessionSpan,
    /// Tells message plugins how it ends, if there are any.
    story: OnceLock<Story>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Our sessions at legacy HTTP servers, made when first needed; a server that is being moved has two places.
    upstream: HashMap<ServerName, Vec<(Arc<HttpTarget>, UpstreamCell)>>,
    /// Requests of servers that the client has not answered yet, by the id it knows.
    asks: BTreeMap<u64, Ask>,
    next_ask: u64,
    /// Requests of the client that are under way, by the raw JSON of their id.
    calls: HashMap<String, CallInFlight>,
    /// The event streams that can be read again, the standalone one among them.
    streams: Streams,
    /// What servers are told again.
    wishes: Wishes,
    /// Resources of shared servers that the client subscribed to.
    subscriptions: HashMap<String, Subscription>,
}

#[derive(Clone, Debug)]
struct CallInFlight {
    server: ServerName,
    cancel: Arc<Notify>,
    frames: mpsc::Sender<Bytes>,
    /// The raw JSON of its progress token.
    token: Option<String>,
}

/// A request of the client while it is under way. Dropping it takes it off the session's list.
#[derive(Debug)]
pub struct CallGuard {
    session: Arc<Session>,
    id: String,
    /// Rung when the client cancels the request.
    pub cancel: Arc<Notify>,
    /// What the server sends while the request is under way, as JSON-RPC messages.
    pub frames: mpsc::Receiver<Bytes>,
}

// === impl Session ===

impl Session {
    fn new(
        key: SessionKey,
        version: Version,
        endpoint: Endpoint,
        client: ClientHello,
        shelf: Arc<Shelf>,
        span: SessionSpan,
    ) -> Self {
        Self {
            key,
            version,
            endpoint,
            client,
            incarnation: uuid::Uuid::new_v4().as_fields().0,
            shelf,
            _span: span,
            story: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// The number that audit records show.
    pub fn public_number(&self) -> String {
        format!("{:032x}", self.key.0)
    }

    /// Notes a request under way, with the raw JSON of its id and of its progress token. Returns nothing if the client is
    /// already using this id.
    pub fn begin_call(
        self: &Arc<Self>,
        id: &str,
        token: Option<&str>,
        server: ServerName,
    ) -> Option<CallGuard> {
        let (frames, receiver) = mpsc::channel(INJECT_FRAMES);
        let cancel = Arc::new(Notify::new());
        let mut state = self.lock();
        if state.calls.contains_key(id) {
            return None;
        }
        state.calls.insert(
            id.to_owned(),
            CallInFlight {
                server,
                cancel: cancel.clone(),
                frames,
                token: token.map(str::to_owned),
            },
        );
        drop(state);
        Some(CallGuard {
            session: self.clone(),
            id: id.to_owned(),
            cancel,
            frames: receiver,
        })
    }

    /// Cancels the request with this raw JSON id. Unknown ids are ignored: the answer may have crossed.
    pub fn cancel_call(&self, id: &str) {
        if let Some(call) = self.lock().calls.get(id) {
            call.cancel.notify_one();
        }
    }

    /// Whether a progress notification is about a request that is under way.
    pub fn awaits_progress(&self, notification: &Message) -> bool {
        let Some(named) = notification.field(Field::ProgressToken) else {
            return false;
        };
        let state = self.lock();
        let mut tokens = state
            .calls
            .values()
            .filter_map(|call| call.token.as_deref());
        tokens.any(|token| same_token(token, named))
    }

    /// A call that is under way at a server, by the raw JSON of its id.
    pub fn call_at(&self, server: &ServerName) -> Option<String> {
        let state = self.lock();
        let mut calls = state.calls.iter();
        let (id, _) = calls.find(|(_, call)| call.server == *server)?;
        Some(id.clone())
    }

    /// Puts a message on the stream of a call that is under way, else on the standalone stream. Returns false if
    /// neither takes it.
    pub fn push_to(&self, call: Option<&str>, message: Bytes) -> bool {
        let frames = call.and_then(|id| Some(self.lock().calls.get(id)?.frames.clone()));
        match frames {
            Some(frames) if frames.try_send(message.clone()).is_ok() => true,
            _ => self.push(&message),
        }
    }

    /// Keeps a subscription of a shared server as long as the session lives. Returns false if there are too many.
    pub fn keep_subscription(&self, uri: &str, subscription: Subscription) -> bool {
        let mut state = self.lock();
        let known = state.subscriptions.contains_key(uri);
        if !known && state.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return false;
        }
        state.subscriptions.insert(uri.to_owned(), subscription);
        true
    }

    /// Gives a subscription back.
    pub fn drop_subscription(&self, uri: &str) {
        self.lock().subscriptions.remove(uri);
    }

    /// Whether the client subscribed to this resource of a shared server.
    pub fn is_subscribed(&self, uri: &str) -> bool {
        self.lock().subscriptions.contains_key(uri)
    }

    /// Whether a request is under way or somebody may read its stream.
    fn is_in_use(&self) -> bool {
        let state = self.lock();
        !state.calls.is_empty() || state.streams.has_standalone()
    }

    /// Has message plugins told how it ends.
    pub(crate) fn keep_story(&self, story: Story) {
        let _first = self.story.set(story);
    }

    fn end(&self) {
        if let Some(story) = self.story.get() {
            story.end();
        }
        let mut state = self.lock();
        state.streams.close();
        state.asks.clear();
        state.subscriptions.clear();
        for call in state.calls.values() {
            call.cancel.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two progress tokens (raw JSON) are the same: a string may be spelled in several ways, and a number is none.
pub fn same_token(one: &str, other: &str) -> bool {
    one == other
        || matches!((unquote(one), unquote(other)), (Some(one), Some(other)) if one == other)
}

// === impl CallGuard ===

impl CallGuard {
    /// The raw JSON id of the client's request.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        state.calls.remove(&self.id);
        state
            .asks
            .retain(|_, ask| ask.call.as_deref() != Some(&self.id));
    }
}
