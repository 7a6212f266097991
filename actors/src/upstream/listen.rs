//! The stream on which a server tells of changes: `subscriptions/listen` in the modern era, the session's own stream
//! in the legacy one. A child process needs none in the legacy era: it just writes.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, quote};
use weir_plugin_protocol::mcp::{Era, Method};

use super::catalog::ListKind;
use super::face::Face;
use super::handshake;
use super::http::EventStream;
use super::http_wire::{ANSWER_MAX, HttpWire};
use super::stdio::StdioCall;
use super::wire::{AskError, StdioWire, Wire};

/// The delays between tries to open a stream.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long an opened stream may stay silent before it is acknowledged.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);
/// A stream that lasted this long was no failure.
const LASTING: Duration = Duration::from_secs(10);
/// Subscriptions that change within this time of each other are told at once.
const COALESCE: Duration = Duration::from_millis(50);

/// How a stream ended.
enum End {
    /// The server will not open one: do without.
    Refused,
    /// It closed, or the wish for it changed.
    Closed,
    /// The server is lost.
    Lost(AskError),
}

/// Waits longer from failure to failure.
struct Retry {
    delay: Duration,
    opened: Option<Instant>,
    /// What the server asked for with `retry:`.
    asked: Option<Duration>,
}

// === impl Face ===

impl Face {
    /// Keeps the stream open. Returns when the server is lost.
    pub(super) async fn keep_stream(&self) -> AskError {
        let end = match (&self.wire, self.era) {
            (Wire::Http(http), Era::Legacy) => self.keep_session_stream(http).await,
            (Wire::Http(http), Era::Modern) => {
                self.keep_listening(|members| self.listen_http(http, members))
                    .await
            }
            (Wire::Stdio(stdio), Era::Modern) => {
                self.keep_listening(|members| self.listen_stdio(stdio, members))
                    .await
            }
            (Wire::Stdio(_), Era::Legacy) => std::future::pending().await,
        };
        match end {
            End::Lost(error) => error,
            End::Refused | End::Closed => {
                // Without a stream the lists get old by themselves.
                self.announces.set(false);
                self.inbox().mark_all();
                std::future::pending().await
            }
        }
    }

    async fn keep_session_stream(&self, http: &HttpWire) -> End {
        let mut retry = Retry::new();
        let mut last_event: Option<String> = None;
        let mut again = false;
        loop {
            match http.get(last_event.as_deref()).await {
                Ok(answer) if answer.is_event_stream() => {
                    if last_event.is_none() {
                        self.missed(again);
                    }
                    again = true;
                    retry.opened();
                    let mut events = answer.events(ANSWER_MAX);
                    while let Some(Ok(event)) = events.next().await {
                        if let Some(id) = event.id {
                            last_event = Some(id.into_string()).filter(|id| !id.is_empty());
                        }
                        retry.ask(event.retry);
                        if !event.data.is_empty()
                            && let Ok(message) = Message::parse(event.data, &Limits::default())
                        {
                            http.take(&message).await;
                        }
                    }
                }
                Ok(_) => return End::Refused,
                Err(AskError::Status(status)) if refuses(status) => return End::Refused,
                Err(error) if error.is_loss() => return End::Lost(error),
                Err(_) => last_event = None,
            }
            retry.wait().await;
        }
    }

    /// Listens for everything that is wanted; when that changes, opens the new stream before the old one is closed.
    async fn keep_listening<S, F>(&self, open: impl Fn(String) -> F) -> End
    where
        S: Listening,
        F: Future<Output = Result<S, End>>,
    {
        let mut changes = self.home.desk.wanted_changes();
        let mut retry = Retry::new();
        let mut current: Option<S> = None;
        let mut again = false;
        loop {
            let count = *changes.borrow_and_update();
            let Some(members) = self.wanted() else {
                current = None;
                let _ = changes.changed().await;
                continue;
            };
            let opening = open(members);
            tokio::pin!(opening);
            let opened = loop {
                tokio::select! {
                    opened = &mut opening => break opened,
                    going_on = next(&mut current, self) => if !going_on { current = None },
                }
            };
            match opened {
                Ok(stream) => {
                    // A stream that replaces one that still stands has missed nothing.
                    if current.is_none() {
                        self.missed(again);
                    }
                    again = true;
                    self.home.desk.hears(Era::Modern, count);
                    retry.opened();
                    current = Some(stream);
                    if self.follow(&mut current, &mut changes).await {
                        continue;
                    }
                    current = None;
                }
                Err(End::Lost(error)) => return End::Lost(error),
                Err(End::Refused) if current.is_none() => return End::Refused,
                // What is heard by now is heard on.
                Err(End::Refused | End::Closed) => {}
            }
            let pause = retry.wait();
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    going_on = next(&mut current, self) => if !going_on { current = None },
                }
            }
        }
    }

    /// Has read again what may have changed while no stream was open. Before the first one, that is between the first
    /// reading of the lists and now, a server has told nobody; it can only have changed what it says it tells of.
    fn missed(&self, again: bool) {
        let missed: Vec<ListKind> = ListKind::ALL
            .into_iter()
            .filter(|kind| again || self.hello.has_flag(kind.capability(), "listChanged"))
            .collect();
        if !missed.is_empty() {
            self.inbox().mark(&missed);
        }
    }

    /// Takes in what comes. True: the wish changed; false: the stream ended.
    async fn follow<S: Listening>(
        &self,
        current: &mut Option<S>,
        changes: &mut watch::Receiver<u64>,
    ) -> bool {
        loop {
            tokio::select! {
                going_on = next(current, self) => if !going_on { return false },
                _ = changes.changed() => {
                    tokio::time::sleep(COALESCE).await;
                    return true;
                }
            }
        }
    }

    /// The members of `params` of `subscriptions/listen`; `None`: there is nothing to listen for.
    fn wanted(&self) -> Option<String> {
        let mut wanted = Vec::new();
        for (capability, name) in [
            ("tools", "toolsListChanged"),
            ("prompts", "promptsListChanged"),
            ("resources", "resourcesListChanged"),
        ] {
            if self.hello.has_flag(capability, "listChanged") {
                wanted.push(format!(r#""{name}":true"#));
            }
        }
        if self.hello.has_flag("resources", "subscribe") {
            let uris: Vec<String> = self
                .home
                .desk
                .wanted()
                .iter()
                .map(|uri| quote(uri))
                .collect();
            if !uris.is_empty() {
                wanted.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
            }
        }
        (!wanted.is_empty()).then(|| format!(r#""notifications":{{{}}}"#, wanted.join(",")))
    }

    async fn listen_http<'a>(
        &self,
        http: &'a HttpWire,
        members: String,
    ) -> Result<HttpListening<'a>, End> {
        let (id, answer) = match http.open(Method::Listen, &members).await {
            Ok(opened) => opened,
            Err(AskError::Status(status)) if refuses(status) => return Err(End::Refused),
            Err(error) if error.is_loss() => return Err(End::Lost(error)),
            Err(_) => return Err(End::Closed),
        };
        match answer.status {
            status if status.is_success() && answer.is_event_stream() => {}
            status if refuses(status) => return Err(End::Refused),
            status if !status.is_success() => return Err(End::Closed),
            _ => {
                let body = answer.bytes(ANSWER_MAX).await.map_err(|_| End::Closed)?;
                let answer = Message::parse(body, &Limits::default()).map_err(|_| End::Closed)?;
                let unknown = answer.field(Field::ErrorCode) == Some("-32601");
                return Err(if unknown { End::Refused } else { End::Closed });
            }
        }
        let mut listening = HttpListening {
            http,
            id,
            events: answer.events(ANSWER_MAX),
        };
        // The acknowledgement comes first. Whatever comes instead is taken in just the same.
        let first = tokio::time::timeout(ACKNOWLEDGED, listening.message()).await;
        match first.unwrap_or_default() {
            Some(first) if first.kind() == Kind::Error => {
                let unknown = first.field(Field::ErrorCode) == Some("-32601");
                Err(if unknown { End::Refused } else { End::Closed })
            }
            Some(first) => {
                http.take(&first).await;
                Ok(listening)
            }
            None => Err(End::Closed),
        }
    }

    async fn listen_stdio(&self, stdio: &StdioWire, members: String) -> Result<StdioCall, End> {
        let id = stdio.link.next_id();
        let frame = handshake::request(id.json(), Method::Listen, stdio.version, &members);
        stdio
            .link
            .call_own(id, frame)
            .await
            .map_err(|error| match AskError::from(error) {
                error if error.is_loss() => End::Lost(error),
                _ => End::Closed,
            })
    }
}

/// A stream that stands.
trait Listening {
    /// Takes the next message in. False: the stream ended. Cancel safe.
    async fn next(&mut self, face: &Face) -> bool;
}

struct HttpListening<'a> {
    http: &'a HttpWire,
    /// The raw JSON id of the listen request.
    id: String,
    events: EventStream,
}

// === impl HttpListening ===

impl HttpListening<'_> {
    async fn message(&mut self) -> Option<Message> {
        loop {
            let event = self.events.next().await?.ok()?;
            if !event.data.is_empty() {
                return Message::parse(event.data, &Limits::default()).ok();
            }
        }
    }
}

impl Listening for HttpListening<'_> {
    async fn next(&mut self, face: &Face) -> bool {
        match self.message().await {
            // The result ends the stream in good order.
            Some(message) if message.id() == Some(&self.id) => false,
            Some(message) => {
                // A modern server asks nothing, so there is nothing to answer.
                face.inbox().take(&message);
                let _ = self.http;
                true
            }
            None => false,
        }
    }
}

impl Listening for StdioCall {
    async fn next(&mut self, _face: &Face) -> bool {
        // What the server tells comes the way of everything that belongs to no call; only the end comes here.
        matches!(StdioCall::next(self).await, Some(Ok(message)) if !message.method().is_empty())
    }
}

async fn next<S: Listening>(current: &mut Option<S>, face: &Face) -> bool {
    match current {
        Some(stream) => stream.next(face).await,
        None => std::future::pending().await,
    }
}

/// Whether a status says that there is no such stream, now or ever.
fn refuses(status: http::StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status.as_u16(),
            401 | 403 | 408 | 413 | 414 | 421 | 425 | 429 | 431
        )
}

// === impl Retry ===

impl Retry {
    fn new() -> Self {
        Self {
            delay: RETRY_MIN,
            opened: None,
            asked: None,
        }
    }

    fn opened(&mut self) {
        self.opened = Some(Instant::now());
    }

    fn ask(&mut self, milliseconds: Option<u64>) {
        if let Some(milliseconds) = milliseconds {
            self.asked = Some(Duration::from_millis(milliseconds).min(RETRY_MAX));
        }
    }

    async fn wait(&mut self) {
        if self
            .opened
            .take()
            .is_some_and(|opened| opened.elapsed() >= LASTING)
        {
            self.delay = RETRY_MIN;
        }
        tokio::time::sleep(self.asked.unwrap_or_default().max(self.delay)).await;
        self.delay = (self.delay * 2).min(RETRY_MAX);
    }
}
