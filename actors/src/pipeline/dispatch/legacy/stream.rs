//! The standalone event stream of a legacy session (GET).

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use weir_plugin_protocol::mcp::Era;

use super::super::raw::text;
use super::super::{Desk, Grant, KEEP_ALIVE};
use super::pump::Pumps;
use crate::pipeline::{Exchange, Outcome};
use crate::session::Session;
use crate::upstream::{Endpoint, Link, UpstreamEvent};

enum Woken {
    Frame(Option<Bytes>),
    Event(Result<UpstreamEvent, RecvError>),
    ClientGone,
    Draining,
    Silence,
}

/// Serves the stream until the client closes it, a newer one takes over, the session ends or the gateway stops.
pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    session: Arc<Session>,
    grant: Grant,
) -> (Exchange, Outcome) {
    let mut events = desk.board.events();
    exchange.release_servers();
    let mut outlet = session.open_outlet();
    if exchange.open_stream().is_err() {
        let outcome = Outcome::ended();
        return (exchange, outcome);
    }
    let _pumps = Pumps::open(desk, &session, &grant);
    let mut silence = Instant::now() + KEEP_ALIVE;
    loop {
        desk.sessions.touch(&session);
        let woken = tokio::select! {
            frame = outlet.frames.recv() => Woken::Frame(frame),
            event = events.recv() => Woken::Event(event),
            () = exchange.client_gone() => Woken::ClientGone,
            () = desk.drained() => Woken::Draining,
            () = sleep_until(silence) => Woken::Silence,
        };
        let sent = match woken {
            Woken::Frame(Some(frame)) => exchange.send(&frame).await,
            Woken::Event(Ok(event)) => match shared(desk, &session, &event) {
                Some(frame) => exchange.send(frame.as_bytes()).await,
                None => continue,
            },
            // Too slow to follow: everything may have changed.
            Woken::Event(Err(RecvError::Lagged(_))) => {
                let mut sent = Ok(());
                for kind in ["tools", "prompts", "resources"] {
                    sent = sent.and(exchange.send(list_changed(kind).as_bytes()).await);
                }
                sent
            }
            Woken::Silence => {
                exchange
                    .send_frame(Bytes::from_static(b": keep-alive\n\n"))
                    .await
            }
            Woken::Frame(None)
            | Woken::Event(Err(RecvError::Closed))
            | Woken::ClientGone
            | Woken::Draining => break,
        };
        if sent.is_err() {
            break;
        }
        silence = Instant::now() + KEEP_ALIVE;
    }
    let outcome = Outcome::ended();
    (exchange, outcome)
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
