//! Legacy sessions: what the gateway remembers between the requests of one legacy client.
//!
//! The session id is sealed: it carries what is needed to rebuild the session (revision, client capabilities), bound
//! to the principal and the endpoint. The table here is a cache: an entry that was evicted, or that another replica
//! made, comes back when its id is used. Only an ended session stays ended.

mod asks;
mod client;
pub mod farewell;
mod table;
mod upstream;

pub use asks::{Ask, AskRoute};
pub use client::ClientHello;
pub use farewell::Farewell;
pub use table::Sessions;
use upstream::UpstreamCell;
pub use upstream::UpstreamSession;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use weir_plugin_protocol::mcp::Version;

use crate::upstream::http::HttpTarget;
use crate::upstream::stdio::SessionKey;
use crate::upstream::{Endpoint, ServerName, Subscription};

/// Frames for the standalone event stream of a client that may wait until it reads; more are dropped and counted.
const OUTLET_FRAMES: usize = 256;

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
    /// The standalone event stream, if the client has one open.
    outlet: Option<Outlet>,
    next_outlet: u64,
    /// Resources of shared servers that the client subscribed to.
    subscriptions: HashMap<String, Subscription>,
}

#[derive(Clone, Debug)]
struct CallInFlight {
    server: ServerName,
    cancel: Arc<Notify>,
    frames: mpsc::Sender<Bytes>,
}

#[derive(Debug)]
struct Outlet {
    number: u64,
    frames: mpsc::Sender<Bytes>,
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

/// A standalone event stream while it is open. Dropping it closes it.
#[derive(Debug)]
pub struct OutletGuard {
    session: Arc<Session>,
    number: u64,
    /// JSON-RPC messages for the client. Ends when a newer stream takes over or the session ends.
    pub frames: mpsc::Receiver<Bytes>,
}

// === impl Session ===

impl Session {
    pub(super) fn new(
        key: SessionKey,
        version: Version,
        endpoint: Endpoint,
        client: ClientHello,
    ) -> Self {
        Self {
            key,
            version,
            endpoint,
            client,
            state: Mutex::default(),
        }
    }

    /// The number that audit records show.
    pub fn public_number(&self) -> String {
        format!("{:032x}", self.key.0)
    }

    /// Notes a request under way. Returns nothing if the client is already using this id.
    pub fn begin_call(self: &Arc<Self>, id: &str, server: ServerName) -> Option<CallGuard> {
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

    /// Opens the standalone event stream. An older one ends: a client that reconnects is not locked out by its dead
    /// connection.
    pub fn open_outlet(self: &Arc<Self>) -> OutletGuard {
        let (frames, receiver) = mpsc::channel(OUTLET_FRAMES);
        let mut state = self.lock();
        state.next_outlet += 1;
        let number = state.next_outlet;
        state.outlet = Some(Outlet { number, frames });
        drop(state);
        OutletGuard {
            session: self.clone(),
            number,
            frames: receiver,
        }
    }

    /// Puts a message on the standalone stream. Returns false if there is none, or if the client does not read it.
    pub fn push(&self, message: Bytes) -> bool {
        let frames = self
            .lock()
            .outlet
            .as_ref()
            .map(|outlet| outlet.frames.clone());
        frames.is_some_and(|frames| frames.try_send(message).is_ok())
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
            _ => self.push(message),
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

    fn end(&self) {
        let mut state = self.lock();
        state.outlet = None;
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

// === impl OutletGuard ===

impl Drop for OutletGuard {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        if state
            .outlet
            .as_ref()
            .is_some_and(|outlet| outlet.number == self.number)
        {
            state.outlet = None;
        }
    }
}
