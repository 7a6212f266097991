//! The one stream of an HTTP+SSE client (2024-11-05): it says where to post, and then everything that the client is told.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{Desk, Grant, KEEP_ALIVE};
use crate::pipeline::{ClientGone, Exchange, Outcome, Refusal, SseStream};

/// How often it is looked whether the last answers are on the stream, when the gateway stops.
const LAST_ANSWERS: Duration = Duration::from_millis(20);

/// Serves the stream until the client closes it or the gateway stops; then its session is over.
pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    stream: &SseStream,
    grant: &Grant,
) -> (Exchange, Outcome) {
    let Some(mut frames) = stream.open(grant.principal.key()) else {
        let outcome = exchange.refusal(Refusal::Aborted { dispatched: false });
        return (exchange, outcome);
    };
    exchange.release_servers();
    // Either way there is nothing more to say.
    let (Ok(()) | Err(ClientGone)) = serve(desk, &mut exchange, stream, &mut frames).await;
    // Nobody can answer on it any more, so nobody shall try.
    drop(frames);
    let endpoint = &exchange.arrival().endpoint;
    let session = stream
        .session()
        .and_then(|id| desk.sessions.find(&id, &grant.principal, endpoint));
    if let Some(session) = session {
        exchange.facts_mut().session = Some(session.public_number());
        desk.sessions.end(&session);
    }
    (exchange, Outcome::ended())
}

async fn serve(
    desk: &Rc<Desk>,
    exchange: &mut Exchange,
    stream: &SseStream,
    frames: &mut mpsc::Receiver<Bytes>,
) -> Result<(), ClientGone> {
    exchange.open_stream()?;
    let endpoint = format!("event: endpoint\ndata: {}\n\n", stream.endpoint());
    exchange.send_frame(endpoint.into()).await?;
    let mut silence = Instant::now() + KEEP_ALIVE;
    loop {
        tokio::select! {
            message = frames.recv() => match message {
                Some(message) => exchange.send(&message).await?,
                None => return Ok(()),
            },
            () = exchange.client_gone() => return Err(ClientGone),
            () = desk.drained() => break,
            () = sleep_until(silence) => {
                exchange.send_frame(Bytes::from_static(b": keep-alive\n\n")).await?;
            }
        }
        silence = Instant::now() + KEEP_ALIVE;
    }
    // The gateway stops: what is under way is still answered here, and the drain timeout bounds it.
    loop {
        tokio::select! {
            message = frames.recv() => match message {
                Some(message) => exchange.send(&message).await?,
                None => return Ok(()),
            },
            () = exchange.client_gone() => return Err(ClientGone),
            () = sleep(LAST_ANSWERS), if frames.is_empty() => {
                if stream.is_idle() && frames.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}
