//! What legacy HTTP servers say without being asked, carried to the standalone stream of a session.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message, Payload, parse};
use weir_plugin_protocol::mcp::{Era, Method};

use super::super::hop::Way;
use super::super::upcall::answer_limits;
use super::super::{Desk, Grant, headers};
use super::{handshake, upward};
use crate::session::{AskRoute, Session, UpstreamSession};
use crate::upstream::http::{EventStream, HttpTarget};
use crate::upstream::{Link, ServerName};

/// Events that a talkative server may say before the worker's other requests have their turn.
const EVENTS_A_TURN: u32 = 16;

/// The pause before a server's stream that has ended is opened again; it doubles up to [`REOPEN_MAX`].
const REOPEN_MIN: Duration = Duration::from_secs(1);
const REOPEN_MAX: Duration = Duration::from_secs(30);

/// The streams of all legacy HTTP servers behind a session's endpoint, as the configuration has them at any time.
/// They are closed when this is dropped.
pub(super) struct Pumps {
    _keeper: Running,
}

/// A task that ends with its handle.
struct Running(tokio::task::JoinHandle<()>);

/// The stream of one server.
struct Pump {
    desk: Rc<Desk>,
    session: Arc<Session>,
    server: ServerName,
    target: Arc<HttpTarget>,
    grant: Grant,
}

/// Why there is no stream.
enum NoStream {
    /// The server has none.
    Never,
    /// It has none now.
    NotNow,
    /// It has none after the event that was named.
    NotAfter,
    /// It does not know our session.
    Unknown(Arc<UpstreamSession>),
}

// === impl Pumps ===

impl Pumps {
    pub(super) fn open(desk: &Rc<Desk>, session: &Arc<Session>, grant: &Grant) -> Self {
        let keeping = keep(desk.clone(), session.clone(), grant.clone());
        let keeper = Running(actix_rt::spawn(keeping));
        Self { _keeper: keeper }
    }
}

/// Keeps one pump at each server: those of servers that are gone or were replaced end.
async fn keep(desk: Rc<Desk>, session: Arc<Session>, grant: Grant) {
    let mut configured = desk.board.configured();
    let mut pumps: Vec<(ServerName, Arc<HttpTarget>, Running)> = Vec::new();
    loop {
        let federation = desk.board.federation();
        let grant = grant.under(&federation);
        let servers = federation.behind(&session.endpoint);
        let servers = grant.reached(servers, |server| &server.name, "GET").await;
        let wanted = servers.into_iter().filter_map(|server| {
            let Link::Http(target) = &server.face(Era::Legacy)?.link else {
                return None;
            };
            Some((server.name.clone(), target.clone()))
        });
        let wanted: Vec<_> = wanted.collect();
        drop(federation);
        pumps.retain(|(server, target, _)| {
            let same = |(name, place): &(ServerName, Arc<HttpTarget>)| {
                name == server && Arc::ptr_eq(place, target)
            };
            wanted.iter().any(same)
        });
        for (server, target) in wanted {
            if pumps.iter().all(|(known, ..)| *known != server) {
                let pump = Pump {
                    desk: desk.clone(),
                    session: session.clone(),
                    server: server.clone(),
                    target: target.clone(),
                    grant: grant.clone(),
                };
                // Boxed, so that nothing of it stays when it is over: a server may have no such stream.
                let running = Running(actix_rt::spawn(Box::pin(pump.run())));
                pumps.push((server, target, running));
            }
        }
        // The board, which the desk holds, keeps the sender.
        let _ = configured.changed().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Pump ===

impl Pump {
    /// Nothing here waits for the client: what it does not read is dropped and counted.
    async fn run(self) {
        let mut pause = REOPEN_MIN;
        let mut worked = false;
        let mut last = None;
        loop {
            // Boxed, because opening needs more room than all the time that the stream is open.
            match Box::pin(self.open(last.as_ref())).await {
                Ok((upstream, events)) => {
                    (worked, pause) = (true, REOPEN_MIN);
                    self.carry(upstream, events, &mut last).await;
                }
                // What followed is lost there; what comes now is not.
                Err(NoStream::NotAfter) => {
                    last = None;
                    continue;
                }
                Err(NoStream::Never) => return,
                // A server without such a stream may say 404 as well: only one that had it has lost the session.
                Err(NoStream::Unknown(_)) if !worked => return,
                Err(NoStream::Unknown(lost)) => {
                    (worked, last) = (false, None);
                    self.session.lost_upstream(&self.server, &lost).await;
                }
                Err(NoStream::NotNow) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REOPEN_MAX);
        }
    }

    /// Opens the stream, after the last event that was seen of it.
    async fn open(
        &self,
        last: Option<&HeaderValue>,
    ) -> Result<(Arc<UpstreamSession>, EventStream), NoStream> {
        let Self {
            desk,
            session,
            server,
            target,
            grant,
        } = self;
        let upstream = handshake::upstream(desk, session, server, target, grant).await;
        let upstream = upstream.map_err(|_| NoStream::NotNow)?;
        let mut head = headers::stream(&upstream, grant.headers_for(server));
        if let Some(last) = last {
            head.insert(headers::LAST_EVENT_ID, last.clone());
        }
        let way = Way {
            grant,
            server,
            target,
        };
        let opening = desk.send(way, http::Method::GET, head, Bytes::new());
        let answer = opening.await.map_err(|_| NoStream::NotNow)?;
        match answer.status {
            StatusCode::METHOD_NOT_ALLOWED => Err(NoStream::Never),
            StatusCode::NOT_FOUND => Err(NoStream::Unknown(upstream)),
            StatusCode::BAD_REQUEST | StatusCode::GONE if last.is_some() => Err(NoStream::NotAfter),
            status if status.is_success() && answer.is_event_stream() => Ok((
                upstream,
                answer.events(grant.settings.limits.max_answer_bytes),
            )),
            _ => Err(NoStream::NotNow),
        }
    }

    async fn carry(
        &self,
        upstream: Arc<UpstreamSession>,
        mut events: EventStream,
        last: &mut Option<HeaderValue>,
    ) {
        let route = AskRoute::Http {
            target: self.target.clone(),
            session: upstream,
        };
        let mut turn = 0;
        while let Some(Ok(event)) = events.next().await {
            turn = u32::wrapping_add(turn, 1);
            if turn % EVENTS_A_TURN == 0 {
                tokio::task::yield_now().await;
            }
            if let Some(id) = &event.id {
                *last = HeaderValue::from_str(id).ok().filter(|id| !id.is_empty());
            }
            if event.data.is_empty() {
                continue;
            }
            match parse(event.data, &answer_limits()) {
                Ok(Payload::Single(message)) => self.deliver(&route, &message),
                Ok(Payload::Batch(messages)) => {
                    for message in &messages {
                        self.deliver(&route, message);
                    }
                }
                Err(error) => {
                    tracing::warn!(server = %self.server, error = error.message, "event is not JSON-RPC");
                }
            }
        }
    }

    fn deliver(&self, route: &AskRoute, message: &Message) {
        let Self {
            desk,
            session,
            server,
            grant,
            ..
        } = self;
        let frame = match message.kind() {
            Kind::Request => match session.ask(server, message, route.clone(), None) {
                Some(frame) => frame,
                None => return upward::decline(desk, grant, server, route, message),
            },
            Kind::Notification
                if Method::parse(message.method()) == Method::NotificationCancelled =>
            {
                let id = message.field(Field::RequestId);
                let Some(ours) = id.and_then(|id| session.withdraw_ask(server, id)) else {
                    return;
                };
                message.rewrite().set(Field::RequestId, ours).finish()
            }
            // Progress belongs on the stream of its request; what comes here is late, or nobody's.
            Kind::Notification
                if Method::parse(message.method()) == Method::NotificationProgress
                    && !session.awaits_progress(message) =>
            {
                return;
            }
            Kind::Notification => message.raw().clone(),
            Kind::Result | Kind::Error => return,
        };
        if !session.push(&frame) {
            desk.metrics.sessions.dropped_frames.inc();
        }
    }
}
