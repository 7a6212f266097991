//! One request carried to a server, and everything the server says back carried to the client.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message};
use weir_plugin_protocol::mcp::Method;

use super::upcall::{Reply, Said, Upcall};
use super::{Desk, Grant, KEEP_ALIVE};
use crate::pipeline::{ClientGone, Exchange, LimitsConfig, Outcome, Refusal, Transport, Verdict};
use crate::session::{AskRoute, CallGuard, Session, same_token};
use crate::upstream::ServerName;

/// A request on its way, with what is needed to translate what comes back.
pub(super) struct Relay {
    pub(super) desk: Rc<Desk>,
    pub(super) grant: Grant,
    pub(super) server: ServerName,
    /// The client's request.
    pub(super) request: Message,
    /// The raw JSON progress token that the server was given instead of the client's.
    pub(super) token: Option<String>,
    /// When the server was first spoken to.
    pub(super) began: Instant,
    /// The legacy session, if there is one.
    pub(super) legacy: Option<LegacySide>,
}

/// What a legacy request has besides.
pub(super) struct LegacySide {
    pub(super) session: Arc<Session>,
    pub(super) call: CallGuard,
    /// The way back for requests of the server that arrive on the request's own stream.
    pub(super) route: AskRoute,
    /// The request at an HTTP server, to be cancelled there if nobody waits for it any more.
    pub(super) posted: Option<super::legacy::Posted>,
}

/// A legacy call that takes longer than this gets a stream with a name, so that a client which loses the connection can
/// come back for the answer.
const PRIME_AFTER: Duration = Duration::from_secs(1);

/// What woke the relay.
enum Woken {
    Said(Result<Said, Refusal>),
    Injected(Bytes),
    ClientGone,
    Cancelled,
    Deadline,
    Silence,
}

/// How long a request may take. While its server waits for the client it may take longer, and then the server has its
/// time again.
struct Patience {
    deadline: Instant,
    while_asked: Instant,
    again: Duration,
    asked: bool,
}

// === impl Patience ===

impl Patience {
    fn new(exchange: &Exchange, limits: &LimitsConfig) -> Self {
        Self {
            deadline: exchange.arrival().deadline,
            while_asked: exchange.arrival().at + limits.ask_deadline.0,
            again: exchange.arrival().deadline - exchange.arrival().at,
            asked: false,
        }
    }

    fn until(&mut self, asked: bool) -> Instant {
        if asked {
            self.asked = true;
            return self.while_asked;
        }
        if std::mem::take(&mut self.asked) {
            let again = Instant::now() + self.again;
            self.deadline = self.deadline.max(again.min(self.while_asked));
        }
        self.deadline
    }
}

// === impl LegacySide ===

impl LegacySide {
    fn is_asked(&self) -> bool {
        self.session.is_asked_for(self.call.id())
    }

    /// Whether the client has cancelled the request. True once.
    fn is_cancelled(&self) -> bool {
        self.call.cancel.notified().now_or_never().is_some()
    }
}

// === impl Relay ===

impl Relay {
    /// Carries on until the answer is there, the client is gone or the deadline has passed.
    pub(super) async fn run(
        mut self,
        mut exchange: Exchange,
        mut upcall: Upcall,
    ) -> (Exchange, Outcome) {
        let mut silence = Instant::now() + self.first_silence(&exchange);
        let settings = self.grant.settings.clone();
        let mut patience = Patience::new(&exchange, &settings.limits);
        let mut left = settings.servers.of(&self.server).max_answer_bytes;
        let mut gone = false;
        let mut arrived = None;
        let outcome = loop {
            let asked = self.legacy.as_ref().is_some_and(LegacySide::is_asked);
            let deadline = patience.until(asked);
            let woken = tokio::select! {
                biased;
                said = upcall.next() => Woken::Said(said),
                woken = aside(&mut self.legacy) => woken,
                () = exchange.client_gone(), if !gone => Woken::ClientGone,
                () = sleep_until(deadline) => Woken::Deadline,
                () = sleep_until(silence) => Woken::Silence,
            };
            if let Woken::Said(Ok(said)) = &woken {
                let Some(rest) = left.checked_sub(said.len()) else {
                    break exchange.refusal(Refusal::AnswerTooLarge {
                        server: self.server.to_string(),
                    });
                };
                left = rest;
            }
            let sent = match woken {
                Woken::Said(Ok(Said::Answer(reply))) => {
                    arrived = Some(reply.arrived);
                    // What the server said before its answer comes before its answer.
                    for frame in self.waiting() {
                        if self.send(&mut exchange, &frame).await.is_err() {
                            break;
                        }
                    }
                    break self.answer(&exchange, *reply);
                }
                Woken::Said(Ok(Said::Notification(message))) => {
                    self.notification(&mut exchange, *message).await
                }
                Woken::Said(Ok(Said::Request(message))) => self.ask(&mut exchange, *message).await,
                // The server's stream has a name; so shall the client's.
                Woken::Said(Ok(Said::Primed)) if self.primes(&exchange) => {
                    self.open(&mut exchange).await
                }
                Woken::Said(Ok(Said::Primed)) => Ok(()),
                Woken::Said(Err(refusal)) => break exchange.refusal(refusal),
                Woken::Injected(frame) => self.send(&mut exchange, &frame).await,
                Woken::Silence => match self.open(&mut exchange).await {
                    Ok(()) => {
                        exchange
                            .send_frame(Bytes::from_static(b": keep-alive\n\n"))
                            .await
                    }
                    gone => gone,
                },
                // A lost connection cancels nothing in the legacy era of Streamable HTTP.
                Woken::ClientGone if self.outlives(&exchange) => {
                    gone = true;
                    exchange.detach();
                    Ok(())
                }
                Woken::ClientGone | Woken::Cancelled => break exchange.refusal(Refusal::Cancelled),
                Woken::Deadline => {
                    break exchange.refusal(Refusal::UpstreamTimeout {
                        server: self.server.to_string(),
                    });
                }
            };
            if sent.is_err() {
                if !self.outlives(&exchange) {
                    break exchange.refusal(Refusal::Cancelled);
                }
                gone = true;
            }
            // A server that always has something to say is waited for no longer than a silent one.
            let now = Instant::now();
            if self.legacy.as_ref().is_some_and(LegacySide::is_cancelled) {
                break exchange.refusal(Refusal::Cancelled);
            }
            let asked = self.legacy.as_ref().is_some_and(LegacySide::is_asked);
            if now >= patience.until(asked) {
                break exchange.refusal(Refusal::UpstreamTimeout {
                    server: self.server.to_string(),
                });
            }
            silence = now + KEEP_ALIVE;
        };
        let waited = arrived.unwrap_or_else(Instant::now) - self.began;
        exchange.facts_mut().upstream_time = waited;
        if let Some(legacy) = self.legacy.as_ref().filter(|_| waited > KEEP_ALIVE) {
            self.desk.sessions.touch(&legacy.session);
        }
        if matches!(outcome.verdict, Verdict::Cancelled | Verdict::Timeout)
            && let Some(posted) = self.legacy.take().and_then(|legacy| legacy.posted)
        {
            posted.cancel(&self.desk, &self.grant, &self.server);
        }
        (exchange, outcome)
    }

    /// Whether the request goes on without the connection that it came on.
    fn outlives(&self, exchange: &Exchange) -> bool {
        self.legacy.is_some() && matches!(exchange.arrival().transport, Transport::Http)
    }

    /// Whether the client is to learn the name of the answer's stream before anything happens in it.
    fn primes(&self, exchange: &Exchange) -> bool {
        let legacy = self.legacy.as_ref();
        legacy.is_some_and(|legacy| legacy.session.primes()) && exchange.can_resume()
    }

    fn first_silence(&self, exchange: &Exchange) -> Duration {
        if self.primes(exchange) {
            PRIME_AFTER
        } else {
            KEEP_ALIVE
        }
    }

    /// Begins the stream of the answer. That of a legacy client is kept, so that it can read on in it.
    async fn open(&self, exchange: &mut Exchange) -> Result<(), ClientGone> {
        if exchange.is_streaming() {
            return Ok(());
        }
        let legacy = self.legacy.as_ref().filter(|_| exchange.can_resume());
        let Some((session, log)) =
            legacy.and_then(|legacy| Some((&legacy.session, legacy.session.open_log()?)))
        else {
            return exchange.open_stream();
        };
        let primer = session.primes().then(|| log.primer());
        exchange.open_kept_stream(log)?;
        match primer {
            Some(primer) => exchange.send_frame(primer).await,
            None => Ok(()),
        }
    }

    async fn send(&self, exchange: &mut Exchange, message: &[u8]) -> Result<(), ClientGone> {
        self.open(exchange).await?;
        exchange.send(message).await
    }

    /// The frames that wait beside the server's own stream.
    fn waiting(&mut self) -> Vec<Bytes> {
        let Some(legacy) = &mut self.legacy else {
            return Vec::new();
        };
        let frames = &mut legacy.call.frames;
        let waiting = frames.len();
        std::iter::from_fn(|| frames.try_recv().ok())
            .take(waiting)
            .collect()
    }

    /// Turns the server's answer into the client's.
    fn answer(&self, exchange: &Exchange, reply: Reply) -> Outcome {
        let Reply {
            message, status, ..
        } = reply;
        let id = self.request.id().unwrap_or("null");
        let mut rewrite = message.rewrite().set(Field::Id, id);
        if message.kind() == Kind::Error {
            let code = message
                .field(Field::ErrorCode)
                .and_then(|code| code.parse().ok())
                .unwrap_or(0);
            return Outcome::upstream_error(
                self.error_status(status, code),
                code,
                rewrite.finish(),
            );
        }
        if self.request.method() == Method::ToolsCall.as_str() {
            let principal = &self.grant.principal;
            self.desk.tasks.note(principal, &self.server, &message);
        }
        let asks_back = message.text(Field::ResultType).as_deref() == Some("input_required");
        if asks_back && let Some(state) = message.field(Field::ResultState) {
            let Some(sealed) =
                super::state::wrap(&self.desk, &self.grant, &self.server, &self.request, state)
            else {
                return exchange.refusal(super::upcall::broken(
                    &self.server,
                    "its requestState is too large".into(),
                ));
            };
            rewrite = rewrite.set(
                Field::ResultState,
                weir_plugin_protocol::jsonrpc::quote(&sealed),
            );
        }
        let body = rewrite.finish();
        match message.field(Field::IsError) {
            Some("true") => Outcome::tool_error(body),
            _ => Outcome::ok(body),
        }
    }

    /// The HTTP status of an error. A child process has none to pass on, so the code decides in the modern era.
    fn error_status(&self, status: u16, code: i64) -> u16 {
        use weir_plugin_protocol::mcp::code;
        if self.legacy.is_some() {
            return 200;
        }
        match code {
            _ if (400..500).contains(&status) => status,
            code::METHOD_NOT_FOUND => 404,
            code::PARSE_ERROR
            | code::INVALID_REQUEST
            | code::INVALID_PARAMS
            | code::HEADER_MISMATCH
            | code::MISSING_CAPABILITY
            | code::UNSUPPORTED_VERSION => 400,
            _ => 200,
        }
    }

    async fn notification(
        &self,
        exchange: &mut Exchange,
        message: Message,
    ) -> Result<(), ClientGone> {
        match Method::parse(message.method()) {
            Method::NotificationProgress => {
                let Some(theirs) = self.request.field(Field::MetaProgressToken) else {
                    return Ok(());
                };
                let named = message.field(Field::ProgressToken).unwrap_or_default();
                match &self.token {
                    Some(ours) if named == ours => {
                        let frame = message.rewrite().set(Field::ProgressToken, theirs).finish();
                        self.send(exchange, &frame).await
                    }
                    None if same_token(named, theirs) => self.send(exchange, message.raw()).await,
                    // It is about another request.
                    Some(_) | None => Ok(()),
                }
            }
            Method::NotificationCancelled => match self.withdrawn(&message) {
                Some(frame) => self.send(exchange, &frame).await,
                None => Ok(()),
            },
            _ => self.send(exchange, message.raw()).await,
        }
    }

    /// The server gives up a request it sent to the client.
    fn withdrawn(&self, message: &Message) -> Option<Bytes> {
        let session = &self.legacy.as_ref()?.session;
        let ours = session.withdraw_ask(&self.server, message.field(Field::RequestId)?)?;
        Some(message.rewrite().set(Field::RequestId, ours).finish())
    }

    /// A request of the server to the client. In the modern era there are none: what is not asked for is dropped.
    async fn ask(&self, exchange: &mut Exchange, message: Message) -> Result<(), ClientGone> {
        let Some(legacy) = &self.legacy else {
            tracing::warn!(server = %self.server, method = message.method(), "server sent a request in an answer stream of the modern era");
            return Ok(());
        };
        let session = &legacy.session;
        let asked = session.ask(
            &self.server,
            &message,
            legacy.route.clone(),
            Some(legacy.call.id()),
        );
        let sent = match &asked {
            Some(frame) => self.send(exchange, frame).await,
            None => Ok(()),
        };
        let heard = match &asked {
            Some(frame) => sent.is_ok() || session.push(frame),
            None => false,
        };
        if !heard {
            if let Some(id) = message.id().filter(|_| asked.is_some()) {
                session.withdraw_ask(&self.server, id);
            }
            super::legacy::decline(
                &self.desk,
                &self.grant,
                &self.server,
                &legacy.route,
                &message,
            );
        }
        sent
    }
}

/// What reaches a legacy request besides the server's answer: frames that the server sent without saying for whom, and
/// the client's cancellation.
async fn aside(legacy: &mut Option<LegacySide>) -> Woken {
    let Some(LegacySide { call, .. }) = legacy else {
        return std::future::pending().await;
    };
    tokio::select! {
        Some(frame) = call.frames.recv() => Woken::Injected(frame),
        () = call.cancel.notified() => Woken::Cancelled,
    }
}
