//! Requests that a server sends to a client: the id is ours on the way down, the server's on the way back.

use std::sync::Arc;

use bytes::Bytes;
use weir_plugin_protocol::jsonrpc::{Field, Message};

use super::{Session, UpstreamSession};
use crate::upstream::ServerName;
use crate::upstream::http::HttpTarget;
use crate::upstream::stdio::StdioLink;

/// Requests of servers that one client may leave unanswered.
const MAX_ASKS: usize = 64;

/// How our ids of these requests begin.
const PREFIX: &str = "weir-";

/// A request of a server that waits for the client's answer.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The server.
    pub server: ServerName,
    /// The raw JSON id that the server gave it.
    pub id: String,
    /// The way back.
    pub route: AskRoute,
    /// The client's request that it was asked for, by the raw JSON of its id, where that is known.
    pub call: Option<String>,
}

/// The way back to the server that asked.
#[derive(Clone, Debug)]
pub enum AskRoute {
    /// A POST in our session at the server.
    Http {
        /// Where.
        target: Arc<HttpTarget>,
        /// In which session.
        session: Arc<UpstreamSession>,
    },
    /// A line to the child.
    Stdio {
        /// Its link.
        link: StdioLink,
        /// Which start of the child asked: a later one gives its requests the same ids.
        generation: u64,
    },
}

// === impl AskRoute ===

impl AskRoute {
    /// Whether whoever asked may still be there.
    fn is_open(&self) -> bool {
        match self {
            Self::Http { .. } => true,
            Self::Stdio { link, generation } => link.is_running(*generation),
        }
    }
}

// === impl Session ===

impl Session {
    /// Registers a request of a server and returns it as the client is to see it. `call` is the client's request that
    /// it was asked for, by the raw JSON of its id: when that is over, so is the question. Returns nothing if the
    /// client cannot answer it. Of too many that are left unanswered the oldest is forgotten.
    pub fn ask(
        &self,
        server: &ServerName,
        request: &Message,
        route: AskRoute,
        call: Option<&str>,
    ) -> Option<Bytes> {
        let id = request.id()?;
        if !self.client.can_answer(request.method()) {
            return None;
        }
        let mut state = self.lock();
        state.asks.retain(|_, ask| ask.route.is_open());
        if state.asks.len() >= MAX_ASKS {
            state.asks.pop_first();
        }
        state.next_ask += 1;
        let number = state.next_ask;
        let ask = Ask {
            server: server.clone(),
            id: id.to_owned(),
            route,
            call: call.map(str::to_owned),
        };
        state.asks.insert(number, ask);
        drop(state);
        Some(request.rewrite().set(Field::Id, name(number)).finish())
    }

    /// Takes the request that the client's answer is for. Each can be answered once.
    pub fn take_ask(&self, answer: &Message) -> Option<Ask> {
        let id = answer.text(Field::Id)?;
        let number = id.strip_prefix(PREFIX)?.parse().ok()?;
        let ask = self.lock().asks.remove(&number)?;
        ask.route.is_open().then_some(ask)
    }

    /// Whether a server waits for an answer of the client before it goes on with this request.
    pub fn is_asked_for(&self, call: &str) -> bool {
        let state = self.lock();
        state
            .asks
            .values()
            .any(|ask| ask.call.as_deref() == Some(call))
    }

    /// Withdraws the request that the server gave this raw JSON id; returns the raw JSON id that the client knows it
    /// by.
    pub fn withdraw_ask(&self, server: &ServerName, id: &str) -> Option<String> {
        let mut state = self.lock();
        let same = |ask: &Ask| ask.server == *server && ask.id == id;
        let (&number, _) = state.asks.iter().find(|(_, ask)| same(ask))?;
        state.asks.remove(&number);
        Some(name(number))
    }
}

/// The raw JSON id that the client sees.
fn name(number: u64) -> String {
    format!("\"{PREFIX}{number}\"")
}
