//! Asking a server over Streamable HTTP, in either era.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method as Verb, StatusCode};
use tracing::debug;
use weir_plugin_protocol::jsonrpc::Message;
use weir_plugin_protocol::mcp::{Method, Version};

use super::handshake;
use super::http::{HttpAnswer, HttpClient, HttpError, HttpTarget};
use super::http_ask::{AnswerBounds, Terms, given_session, posts};
use super::inbox::Inbox;
use super::wire::AskError;

/// The largest answer to a question of the gateway itself, in bytes: a page of a list.
pub(super) const ANSWER_MAX: usize = 64 << 20;

/// How long the end of a session may take: nobody waits for it but the shutdown.
const GOODBYE: Duration = Duration::from_secs(1);

/// How much of an answer is read. A server may tell of its work for as long as it has time.
const BOUNDS: AnswerBounds = AnswerBounds {
    bytes: ANSWER_MAX,
    asides: usize::MAX,
    linger: Duration::ZERO,
};

/// The way to one endpoint: what is the same for every request to it.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) client: HttpClient,
    pub(super) target: Arc<HttpTarget>,
    /// From the configuration.
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
}

/// An endpoint that is spoken to in one revision, in the legacy era within one session.
pub(super) struct HttpWire {
    door: Door,
    pub(super) version: Version,
    session: RefCell<Option<HeaderValue>>,
    next_id: Cell<u64>,
    inbox: Rc<Inbox>,
}

// === impl HttpWire ===

impl HttpWire {
    pub(super) fn new(door: Door, version: Version, inbox: Rc<Inbox>) -> Self {
        Self {
            door,
            version,
            session: RefCell::new(None),
            next_id: Cell::new(0),
            inbox,
        }
    }

    /// The same endpoint in the revision that was agreed on, in the session that was given.
    pub(super) fn agreed(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Asks and returns the answer.
    pub(super) async fn ask(&self, method: Method, members: &str) -> Result<Message, AskError> {
        let id = self.id();
        let body = handshake::request(&id, method, self.version, members);
        self.in_time(self.exchange(method, &id, body)).await
    }

    /// Says `initialize` and keeps the session that the server gives.
    pub(super) async fn initialize(&self) -> Result<Message, AskError> {
        let id = self.id();
        let body = handshake::initialize(&id);
        self.in_time(self.exchange(Method::Initialize, &id, body))
            .await
    }

    /// Sends a notification or an answer; what comes back is read and forgotten.
    pub(super) async fn tell(&self, method: Method, body: Bytes) -> Result<(), AskError> {
        let tell = async {
            let answer = self.post(method, body).await?;
            match answer.status {
                status if status.is_success() => {
                    let _ = answer.bytes(ANSWER_MAX).await;
                    Ok(())
                }
                status => Err(self.failure(status)),
            }
        };
        self.in_time(tell).await
    }

    /// Opens a stream: the session's own in the legacy era.
    pub(super) async fn get(&self, last_event: Option<&str>) -> Result<HttpAnswer, AskError> {
        let mut headers = self.headers(None);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(Ok(last_event)) = last_event.map(HeaderValue::from_str) {
            headers.insert("last-event-id", last_event);
        }
        let answer = self.send(Verb::GET, headers, Bytes::new()).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            status => Err(self.failure(status)),
        }
    }

    /// Posts a request whose answer is a stream that stays open, and returns its raw JSON id with the answer's head.
    pub(super) async fn open(
        &self,
        method: Method,
        members: &str,
    ) -> Result<(String, HttpAnswer), AskError> {
        let id = self.id();
        let body = handshake::request(&id, method, self.version, members);
        let answer = self.in_time(self.post(method, body)).await?;
        Ok((id, answer))
    }

    /// Ends the session, if there is one. Best effort.
    pub(super) async fn goodbye(&self) {
        let headers = self.headers(None);
        if self.session.take().is_some() {
            let delete = self.send(Verb::DELETE, headers, Bytes::new());
            let _ = tokio::time::timeout(GOODBYE, delete).await;
        }
    }

    /// Takes a message in that is no answer, and answers it where it asks for one.
    pub(super) async fn take(&self, message: &Message) {
        if let Some(reply) = self.inbox.take(message)
            && let Err(error) = self.tell(Method::Other, reply).await
        {
            debug!(%error, "answer to an upstream's request not delivered");
        }
    }

    /// What a status means that is no success.
    pub(super) fn failure(&self, status: StatusCode) -> AskError {
        self.terms().failure(status)
    }

    fn id(&self) -> String {
        let id = self.next_id.get() + 1;
        self.next_id.set(id);
        format!("\"weir-{id}\"")
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        match tokio::time::timeout(self.door.timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(AskError::TimedOut(self.door.timeout)),
        }
    }

    async fn exchange(&self, method: Method, id: &str, body: Bytes) -> Result<Message, AskError> {
        let answer = self.post(method, body).await?;
        let mut terms = self.terms();
        if method == Method::Initialize {
            // Whoever has none cannot lose it.
            terms.session = None;
            if answer.status.is_success() {
                *self.session.borrow_mut() = given_session(&answer);
            }
        }
        let aside = async |message: &Message| self.take(message).await;
        terms.read(id, answer, BOUNDS, aside).await
    }

    async fn post(&self, method: Method, body: Bytes) -> Result<HttpAnswer, AskError> {
        let mut headers = self.headers(Some(method));
        posts(&mut headers);
        self.send(Verb::POST, headers, body).await
    }

    async fn send(
        &self,
        verb: Verb,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, AskError> {
        let sent = self
            .door
            .client
            .send(&self.door.target, verb, headers, body);
        // Boxed: connecting takes much more room than all the rest of an actor.
        Ok(Box::pin(sent).await?)
    }

    fn headers(&self, method: Option<Method>) -> HeaderMap {
        let mut headers = self.door.headers.clone();
        self.terms().write(&mut headers, method);
        headers
    }

    fn terms(&self) -> Terms {
        Terms {
            version: self.version,
            session: self.session.borrow().clone(),
        }
    }
}

impl From<HttpError> for AskError {
    fn from(error: HttpError) -> Self {
        use std::error::Error;

        use super::http::HttpErrorKind::{
            Closed, Connect, Protocol, Refused, Timeout, Tls, TooLarge,
        };
        let text = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        match error.kind {
            Connect | Timeout | Closed | Tls | Refused => Self::Unreachable(text),
            Protocol => Self::Malformed(text),
            TooLarge => Self::TooLarge(text),
        }
    }
}
