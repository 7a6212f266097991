//! The way to a server: what is the same for everything that is said to it, and how it is said.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method as Verb, StatusCode};
use tracing::debug;
use weir_plugin_protocol::jsonrpc::{Kind, Message};
use weir_plugin_protocol::mcp::{Era, Method, code, error_response, result_response};

use crate::plugin::CallError;
use crate::upstream::config::Protocol;
use crate::upstream::http::{HttpAnswer, HttpClient, HttpClients, HttpError, HttpTarget};
use crate::upstream::http_ask::{AnswerBounds, Terms, posts};
use crate::upstream::wire::AskError;

/// How much of an answer is read. Tools say the same thing twice, as an object and as its text with escapes, and what a
/// role may say is bounded by [`MAX_ANSWER_BYTES`](crate::plugin::call::MAX_ANSWER_BYTES).
pub(super) const BOUNDS: AnswerBounds = AnswerBounds {
    bytes: 4 * 1024 * 1024,
    asides: 256,
    linger: Duration::from_millis(100),
};
/// How long a last word may take, that nobody waits for.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way to a server.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) clients: HttpClients,
    pub(super) target: Arc<HttpTarget>,
    /// From the configuration.
    pub(super) headers: HeaderMap,
    pub(super) protocol: Protocol,
    /// The tools that the server must have.
    pub(super) required: &'static [&'static str],
}

/// The same in the hands of a thread.
pub(super) struct Desk {
    pub(super) line: Line,
    pub(super) client: HttpClient,
}

/// A message to be posted.
pub(super) struct Letter {
    pub(super) method: Method,
    /// Besides those that every message has.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Miss {
    /// The server has forgotten the session, and therefore done nothing.
    SessionLost,
    /// It could not be sent.
    Unsent(String),
    /// It may have been carried out.
    Failed(AskError),
}

// === impl Desk ===

impl Desk {
    /// Posts a request and reads its answer.
    pub(super) async fn ask(
        &self,
        terms: &Terms,
        id: &str,
        letter: Letter,
    ) -> Result<Message, Miss> {
        let answer = self.post(terms, letter).await?;
        self.read(terms, id, answer).await
    }

    pub(super) async fn read(
        &self,
        terms: &Terms,
        id: &str,
        answer: HttpAnswer,
    ) -> Result<Message, Miss> {
        let aside = async |message: &Message| self.aside(terms, message).await;
        Ok(terms.read(id, answer, BOUNDS, aside).await?)
    }

    /// Posts a message and returns the head of the answer.
    pub(super) async fn post(&self, terms: &Terms, letter: Letter) -> Result<HttpAnswer, Miss> {
        let mut headers = self.line.headers.clone();
        headers.extend(letter.headers);
        terms.write(&mut headers, Some(letter.method));
        posts(&mut headers);
        let sent = self
            .client
            .send(&self.line.target, Verb::POST, headers, letter.body);
        // Boxed: connecting takes much more room than all the rest.
        Ok(Box::pin(sent).await?)
    }

    /// Posts a message that has no answer.
    pub(super) async fn tell(&self, terms: &Terms, letter: Letter) -> Result<(), Miss> {
        let answer = self.post(terms, letter).await?;
        match answer.status {
            status if status.is_success() => {
                // Read, so that the connection can be kept.
                let _ = answer.bytes(BOUNDS.bytes).await;
                Ok(())
            }
            status => Err(terms.failure(status).into()),
        }
    }

    /// Takes back a request that was not answered. In the modern era closing its connection has said so.
    pub(super) async fn cancel(&self, terms: &Terms, id: &str) {
        if terms.version.era() == Era::Legacy {
            let body = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"nobody waits for the answer any more"}}}}"#
            );
            let letter = Letter::new(Method::NotificationCancelled, body);
            let _ = tokio::time::timeout(FAREWELL, self.tell(terms, letter)).await;
        }
    }

    /// Ends the session, if there is one.
    pub(super) async fn goodbye(&self, terms: &Terms) {
        if terms.session.is_some() {
            let mut headers = self.line.headers.clone();
            terms.write(&mut headers, None);
            let target = &self.line.target;
            let delete = self
                .client
                .send(target, Verb::DELETE, headers, Bytes::new());
            let _ = tokio::time::timeout(FAREWELL, Box::pin(delete)).await;
        }
    }

    /// A server may ask whether somebody is there, and nothing else.
    async fn aside(&self, terms: &Terms, message: &Message) {
        if message.kind() != Kind::Request || terms.version.era() == Era::Modern {
            return;
        }
        let reply = match (Method::parse(message.method()), message.id()) {
            (Method::Ping, Some(id)) => result_response(id, "{}"),
            (_, id) => {
                let text = "a plugin asks nothing of the gateway";
                error_response(id, code::METHOD_NOT_FOUND, text, None)
            }
        };
        if let Err(error) = self.tell(terms, Letter::new(Method::Other, reply)).await {
            debug!(?error, "answer to a plugin's request not delivered");
        }
    }
}

// === impl Letter ===

impl Letter {
    /// A message without headers of its own.
    pub(super) fn new(method: Method, body: impl Into<Bytes>) -> Self {
        Self {
            method,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }
}

// === impl Miss ===

impl Miss {
    /// What it is to a caller.
    pub(super) fn told(self) -> CallError {
        match self {
            Self::SessionLost => {
                CallError::Lost("the server forgets its sessions as it gives them".to_owned())
            }
            Self::Unsent(reason) => CallError::Unreachable(reason),
            Self::Failed(AskError::TooLarge(_)) => CallError::TooLarge,
            Self::Failed(AskError::Malformed(text)) => CallError::Malformed(text),
            // No plugin has refused anything: it is not there, or it is not a plugin that answers.
            Self::Failed(error @ AskError::Status(status)) if !is_passing(status) => {
                CallError::Malformed(error.to_string())
            }
            Self::Failed(error) => CallError::Lost(error.to_string()),
        }
    }

    /// What it says about the server's era.
    pub(super) fn met(self) -> AskError {
        match self {
            Self::SessionLost => AskError::SessionLost,
            Self::Unsent(reason) => AskError::Unreachable(reason),
            Self::Failed(error) => error,
        }
    }
}

/// Whether the same request may have an answer a little later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl From<AskError> for Miss {
    fn from(error: AskError) -> Self {
        match error {
            AskError::SessionLost => Self::SessionLost,
            error => Self::Failed(error),
        }
    }
}

impl From<HttpError> for Miss {
    fn from(error: HttpError) -> Self {
        let is_sent = error.written;
        match AskError::from(error) {
            AskError::Unreachable(reason) if !is_sent => Self::Unsent(reason),
            error => error.into(),
        }
    }
}
