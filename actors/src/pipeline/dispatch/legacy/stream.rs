//! The standalone event stream of a legacy session (GET), and reading on in any stream of the session (GET with
//! `Last-Event-ID`).
//!
//! What servers say is gathered into an [`EventLog`] by a task of its own, and a connection reads that log. So a client
//! that loses the connection loses nothing: the task goes on for a while without a reader, and the next connection reads
//! on where the last one ended. Nobody who writes to the log ever waits for a reader.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use weir_plugin_protocol::mcp::Era;

use super::super::raw::text;
use super::super::{Desk, Grant, KEEP_ALIVE};
use super::pump::Pumps;
use crate::pipeline::{Exchange, Outcome, Refusal};
use crate::session::{EventLog, OutOfReach, Page, Reader, Session};
use crate::upstream::{Endpoint, Link, UpstreamEvent};

/// What woke a reader.
enum Woken {
    Page(Result<Page, OutOfReach>),
    ClientGone,
    Draining,
    Silence,
}

/// Serves a stream until the client closes it, a newer reader takes over, the stream or the session ends, or the gateway
/// stops.
pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    session: Arc<Session>,
    grant: Grant,
) -> (Exchange, Outcome) {
    exchange.release_servers();
    let asked = exchange.arrival().last_event_id.as_deref();
    let found = match asked {
        None => Some((begin(desk, &session, &grant, exchange.can_resume()), 0)),
        Some(id) => session.find_log(id),
    };
    let primes = asked.is_none() && session.primes();
    let reader = found.and_then(|(log, seen)| Some((log.read(seen).ok()?, log)));
    let Some((reader, log)) = reader else {
        let outcome = exchange.refusal(Refusal::EventsGone);
        return (exchange, outcome);
    };
    let opened = exchange.open_stream().is_ok();
    let primer = (primes && log.has_ids()).then(|| log.primer());
    drop(log);
    let primed = match primer {
        Some(primer) if opened => exchange.send_frame(primer).await.is_ok(),
        _ => opened,
    };
    if primed {
        carry(desk, &mut exchange, &session, reader).await;
    }
    desk.sessions.touch(&session);
    let outcome = Outcome::ended();
    (exchange, outcome)
}

/// Carries what is in the log to the client.
async fn carry(desk: &Desk, exchange: &mut Exchange, session: &Arc<Session>, mut reader: Reader) {
    let mut silence = Instant::now() + KEEP_ALIVE;
    loop {
        desk.sessions.touch(session);
        let woken = tokio::select! {
            page = reader.next() => Woken::Page(page),
            () = exchange.client_gone() => Woken::ClientGone,
            () = desk.drained() => Woken::Draining,
            () = sleep_until(silence) => Woken::Silence,
        };
        match woken {
            Woken::Page(Ok(Page { frames, over })) => {
                for frame in frames {
                    if exchange.send_frame(frame).await.is_err() {
                        return;
                    }
                }
                if over {
                    return;
                }
            }
            Woken::Silence => {
                let comment = Bytes::from_static(b": keep-alive\n\n");
                if exchange.send_frame(comment).await.is_err() {
                    return;
                }
            }
            // Somebody else reads on, or this client was too slow: its connection ends, and it is told when it asks.
            Woken::Page(Err(OutOfReach)) => return desk.metrics.sessions.dropped_frames.inc(),
            Woken::ClientGone | Woken::Draining => return,
        }
        silence = Instant::now() + KEEP_ALIVE;
    }
}

/// Begins the standalone stream of a session.
fn begin(desk: &Rc<Desk>, session: &Arc<Session>, grant: &Grant, resumable: bool) -> Arc<EventLog> {
    let log = session.open_standalone(resumable);
    let gathering = Gathering {
        events: desk.board.events(),
        _pumps: Pumps::open(desk, session, grant),
        desk: desk.clone(),
        session: session.clone(),
        log: log.clone(),
    };
    actix_rt::spawn(gathering.run());
    log
}

/// Gathers what servers say on the standalone stream of a session. However it ends, so does the stream.
struct Gathering {
    events: broadcast::Receiver<UpstreamEvent>,
    _pumps: Pumps,
    desk: Rc<Desk>,
    session: Arc<Session>,
    log: Arc<EventLog>,
}

// === impl Gathering ===

impl Gathering {
    /// Goes on until the stream is over, or nobody has read it for as long as it is kept.
    async fn run(mut self) {
        let log = self.log.clone();
        let mut unread_since = None;
        loop {
            let changed = log.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if log.is_over() {
                return;
            }
            let give_up = if log.is_read() {
                unread_since = None;
                None
            } else {
                Some(*unread_since.get_or_insert_with(Instant::now) + log.keep())
            };
            let unread = async {
                match give_up {
                    Some(moment) => sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => self.take(&event),
                    // Too slow to follow: everything may have changed.
                    Err(RecvError::Lagged(_)) => {
                        for kind in ["tools", "prompts", "resources"] {
                            self.session.push(list_changed(kind).as_bytes());
                        }
                    }
                    Err(RecvError::Closed) => return,
                },
                () = changed => {}
                () = self.desk.drained() => return,
                () = unread => return,
            }
        }
    }

    fn take(&self, event: &UpstreamEvent) {
        if let Some(frame) = shared(&self.desk, &self.session, event) {
            self.session.push(frame.as_bytes());
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.session.end_standalone(&self.log);
        // It may have been idle all the time: from now on that counts.
        self.desk.sessions.touch(&self.session);
    }
}

/// What a change at a shared child means for this session. HTTP servers tell the session themselves.
fn shared(desk: &Desk, session: &Session, event: &UpstreamEvent) -> Option<String> {
    let (server, frame) = match event {
        UpstreamEvent::Reconfigured { list, servers } => {
            let concerned = match &session.endpoint {
                Endpoint::All => true,
                Endpoint::One(name) => servers.contains(name),
            };
            return concerned.then(|| list_changed(list.as_str()));
        }
        UpstreamEvent::ToolsChanged(server) => (server, list_changed("tools")),
        UpstreamEvent::PromptsChanged(server) => (server, list_changed("prompts")),
        UpstreamEvent::ResourcesChanged(server) => (server, list_changed("resources")),
        UpstreamEvent::ResourceUpdated {
            era: Era::Modern, ..
        } => return None,
        UpstreamEvent::ResourceUpdated {
            era: Era::Legacy,
            server,
            uri,
            params,
        } => {
            if !session.is_subscribed(uri) {
                return None;
            }
            (
                server,
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{}}}"#,
                    text(params)
                ),
            )
        }
    };
    let concerned = match &session.endpoint {
        Endpoint::All => true,
        Endpoint::One(name) => name == server,
    };
    let snapshot = desk.board.federation();
    let face = snapshot.server(server)?.face(Era::Legacy)?;
    (concerned && matches!(face.link, Link::Stdio(_))).then_some(frame)
}

fn list_changed(kind: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{kind}/list_changed"}}"#)
}
