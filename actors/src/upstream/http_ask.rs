//! A request to an MCP server over Streamable HTTP and its answer: what is the same for everybody who asks.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weir_plugin_protocol::jsonrpc::{Kind, Limits, Message};
use weir_plugin_protocol::mcp::{Era, Method, Version};

use super::http::{EventStream, HttpAnswer};
use super::wire::AskError;

pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// In what a server is spoken to: a revision and, in the legacy era, a session.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    /// Not in the modern era, and not with a server that keeps none.
    pub(crate) session: Option<HeaderValue>,
}

/// How much of an answer is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerBounds {
    /// The longest answer, and the longest message before it, in bytes.
    pub(crate) bytes: usize,
    /// The most messages before it in a stream.
    pub(crate) asides: usize,
    /// How long a stream may take to end after it, so that its connection can be used again. Nobody waits for that.
    pub(crate) linger: Duration,
}

// === impl Terms ===

impl Terms {
    /// Terms without a session.
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            session: None,
        }
    }

    /// Adds the headers that a request needs in its era. `method` is that of a message that is posted.
    pub(crate) fn write(&self, headers: &mut HeaderMap, method: Option<Method>) {
        match self.version.era() {
            Era::Modern => {
                headers.insert(VERSION, HeaderValue::from_static(self.version.as_str()));
                if let Some(method) = method.filter(|method| *method != Method::Other) {
                    headers.insert(METHOD, HeaderValue::from_static(method.as_str()));
                }
            }
            // Before the handshake is done there is no agreed revision to name.
            Era::Legacy if method == Some(Method::Initialize) => {}
            Era::Legacy => {
                if self.version >= Version::V2025_06_18 {
                    headers.insert(VERSION, HeaderValue::from_static(self.version.as_str()));
                }
                if let Some(session) = &self.session {
                    headers.insert(SESSION, session.clone());
                }
            }
        }
    }

    /// What a status means that is no success.
    pub(crate) fn failure(&self, status: StatusCode) -> AskError {
        match status {
            StatusCode::NOT_FOUND if self.session.is_some() => AskError::SessionLost,
            status => AskError::Status(status),
        }
    }

    /// Reads the answer to the request with this id, which is raw JSON. What comes before it in a stream goes `aside`.
    pub(crate) async fn read(
        &self,
        id: &str,
        answer: HttpAnswer,
        bounds: AnswerBounds,
        aside: impl AsyncFnMut(&Message),
    ) -> Result<Message, AskError> {
        let status = answer.status;
        if answer.is_event_stream() && status.is_success() {
            return read_stream(id, answer, bounds, aside).await;
        }
        let body = answer.bytes(bounds.bytes).await?;
        match Message::parse(body, &Limits::default()) {
            // A refused request may be answered without its id.
            Ok(message) if is_answer(&message) && message.id().is_none_or(|own| own == id) => {
                if status == StatusCode::NOT_FOUND && self.session.is_some() {
                    Err(AskError::SessionLost)
                } else {
                    Ok(message)
                }
            }
            Ok(_) => Err(AskError::Malformed(
                "what came is no answer to the question".into(),
            )),
            Err(_) if !status.is_success() => Err(self.failure(status)),
            Err(error) => Err(not_json_rpc(&error)),
        }
    }
}

/// Adds the headers of a message that is posted.
pub(crate) fn posts(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
}

/// The session that the answer to `initialize` gives.
pub(crate) fn given_session(answer: &HttpAnswer) -> Option<HeaderValue> {
    let mut session = answer.headers.get(&SESSION).cloned()?;
    session.set_sensitive(true);
    Some(session)
}

async fn read_stream(
    id: &str,
    answer: HttpAnswer,
    bounds: AnswerBounds,
    mut aside: impl AsyncFnMut(&Message),
) -> Result<Message, AskError> {
    let mut events = answer.events(bounds.bytes);
    let mut asides = 0;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.data.is_empty() {
            continue;
        }
        let message = Message::parse(event.data, &Limits::default());
        let message = message.map_err(|error| not_json_rpc(&error))?;
        if is_answer(&message) && message.id() == Some(id) {
            let_end(events, bounds.linger);
            return Ok(message);
        }
        asides += 1;
        if asides > bounds.asides {
            return Err(AskError::Malformed(
                "it says too much before it answers".into(),
            ));
        }
        if !is_answer(&message) {
            aside(&message).await;
        }
    }
    Err(AskError::Unreachable(
        "the stream ended without an answer".into(),
    ))
}

/// Reads a stream to its end, and closes it if it has none.
fn let_end(mut events: EventStream, linger: Duration) {
    if linger.is_zero() {
        return;
    }
    actix_rt::spawn(async move {
        let end = async { while let Some(Ok(_)) = events.next().await {} };
        let _ = tokio::time::timeout(linger, end).await;
    });
}

fn is_answer(message: &Message) -> bool {
    matches!(message.kind(), Kind::Result | Kind::Error)
}

fn not_json_rpc(error: &dyn std::fmt::Display) -> AskError {
    AskError::Malformed(format!("its answer is not JSON-RPC: {error}"))
}
