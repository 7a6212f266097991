//! What message plugins are told: the words of the contract.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::pipeline::rfc3339;

/// What a note costs besides its bytes, about.
const OVERHEAD: usize = 256;

/// Something that message plugins are told. One for all of them: bytes are shared, and so are the parameters, which the
/// first who delivers it makes.
#[derive(Debug)]
pub struct Note {
    what: What,
    correlation: Arc<str>,
    session: Option<Arc<str>>,
    at: SystemTime,
    pub(super) born: Instant,
    params: OnceLock<Value>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A JSON-RPC message passed: `handle-message`.
    Message {
        /// As it was on the wire, from its opening to its closing brace.
        data: Bytes,
        /// Which way.
        direction: Direction,
    },
    /// A server failed: `handle-error`.
    Error {
        /// What the client was told.
        message: String,
        /// One word.
        kind: String,
    },
    /// A session or a stream began or ended: `handle-stream-event`.
    Stream {
        /// What happened to it.
        event: StreamEvent,
        /// More of it.
        data: Vec<(&'static str, String)>,
    },
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Inbound,
    /// To the client.
    Outbound,
}

/// What happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// It began.
    Start,
    /// It ended as it should.
    End,
    /// It was broken off.
    Error,
}

// === impl Note ===

impl Note {
    pub(super) fn new(
        what: What,
        correlation: Arc<str>,
        session: Option<Arc<str>>,
        at: SystemTime,
    ) -> Self {
        Self {
            what,
            correlation,
            session,
            at,
            born: Instant::now(),
            params: OnceLock::new(),
        }
    }

    /// The method that plugins are called by.
    pub fn method(&self) -> &'static str {
        match self.what {
            What::Message { .. } => "handle-message",
            What::Error { .. } => "handle-error",
            What::Stream { .. } => "handle-stream-event",
        }
    }

    /// Bytes that it keeps, about.
    pub fn size(&self) -> usize {
        OVERHEAD
            + match &self.what {
                What::Message { data, .. } => data.len(),
                What::Error { message, kind } => message.len() + kind.len(),
                What::Stream { data, .. } => data.iter().map(|(_, text)| text.len()).sum(),
            }
    }

    /// The parameters of the call.
    pub fn params(&self) -> &Value {
        self.params.get_or_init(|| Value::Object(self.write()))
    }

    fn write(&self) -> Map<String, Value> {
        let mut params = Map::new();
        let mut put = |key: &str, value: Value| params.insert(key.to_owned(), value);
        match &self.what {
            What::Message { data, direction } => {
                match std::str::from_utf8(data) {
                    Ok(text) => put("data", text.into()),
                    Err(_) => {
                        put("encoding", "base64".into());
                        put("data", STANDARD.encode(data).into())
                    }
                };
                put("direction", direction.as_str().into());
            }
            What::Error { message, kind } => {
                put("error_message", message.as_str().into());
                put("error_type", kind.as_str().into());
            }
            What::Stream { event, data } => {
                put("type", event.as_str().into());
                let data = data
                    .iter()
                    .map(|(key, text)| ((*key).to_owned(), text.as_str().into()));
                put("data", Value::Object(data.collect()));
            }
        }
        put("correlation_id", (*self.correlation).into());
        if let Some(session) = &self.session {
            put("session_id", json!(**session));
        }
        put("timestamp", rfc3339(self.at).as_str().into());
        params
    }
}

// === impl Direction ===

impl Direction {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

// === impl StreamEvent ===

impl StreamEvent {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
            Self::Error => "error",
        }
    }
}
