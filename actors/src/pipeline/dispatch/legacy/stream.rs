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
use weir_plugin_protocol::role::TargetKind;

use super::super::raw::text;
use super::super::standing::Revoked;
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
    Configured,
    Silence,
}

/// Serves a stream until the client closes it, a newer reader takes over, the stream or the session ends, or the gateway
/// stops.
pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    session: Arc<Session>,
    mut grant: Grant,
) -> (Exchange, Outcome) {
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
    exchange.settle_down();
    let opened = exchange.open_stream().is_ok();
    let primer = (primes && log.has_ids()).then(|| log.primer());
    let primed = match primer {
        Some(primer) if opened => exchange.send_frame(primer).await.is_ok(),
        _ => opened,
    };
    let mut outcome = Outcome::ended();
    if primed && let Err(revoked) = carry(desk, &mut exchange, &session, &mut grant, reader).await {
        // Nor does anybody listen to servers for this caller any more.
        session.end_standalone(&log);
        outcome = revoked.outcome();
    }
    desk.sessions.touch(&session);
    (exchange, outcome)
}

/// Carries what is in the log to the client.
async fn carry(
    desk: &Desk,
    exchange: &mut Exchange,
    session: &Arc<Session>,
    grant: &mut Grant,
    mut reader: Reader,
) -> Result<(), Revoked> {
    let mut configured = desk.board.configured();
    desk.judge_again(exchange, grant).await?;
    let mut silence = Instant::now() + KEEP_ALIVE;
    loop {
        desk.sessions.touch(session);
        let woken = tokio::select! {
            biased;
            _ = configured.changed() => Woken::Configured,
            page = reader.next() => Woken::Page(page),
            () = exchange.client_gone() => Woken::ClientGone,
            () = desk.drained() => Woken::Draining,
            () = sleep_until(silence) => Woken::Silence,
        };
        match woken {
            Woken::Page(Ok(Page { frames, over })) => {
                for frame in frames {
                    if exchange.send_frame(frame).await.is_err() {
                        return Ok(());
                    }
                }
                if over {
                    return Ok(());
                }
            }
            Woken::Silence => {
                let comment = Bytes::from_static(b": keep-alive\n\n");
                if exchange.send_frame(comment).await.is_err() {
                    return Ok(());
                }
            }
            // Somebody else reads on, or this client was too slow: its connection ends, and it is told when it asks.
            Woken::Page(Err(OutOfReach)) => {
                desk.metrics.sessions.dropped_frames.inc();
                return Ok(());
            }
            Woken::Configured => desk.judge_again(exchange, grant).await?,
            Woken::ClientGone | Woken::Draining => return Ok(()),
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
        grant: grant.clone(),
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
    grant: Grant,
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
                    Ok(event) => self.take(&event).await,
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

    async fn take(&self, event: &UpstreamEvent) {
        if let Some(frame) = shared(&self.desk, &self.session, &self.grant, event).await {
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
async fn shared(
    desk: &Desk,
    session: &Session,
    grant: &Grant,
    event: &UpstreamEvent,
) -> Option<String> {
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
            // What was allowed when it was asked for may not be any more.
            let now = grant.under(&desk.board.federation());
            if !now.sees(server, TargetKind::Resource, uri).await {
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
