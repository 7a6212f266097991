//! The one stream of an HTTP+SSE client (2024-11-05): it says where to post, and then everything that the client is told.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::standing::Revoked;
use super::super::{Desk, Grant, KEEP_ALIVE};
use crate::pipeline::{ClientGone, Exchange, Outcome, Refusal, SseStream};

/// How often it is looked whether the last answers are on the stream, when the gateway stops.
const LAST_ANSWERS: Duration = Duration::from_millis(20);

/// Serves the stream until the client closes it or the gateway stops; then its session is over.
pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    stream: &SseStream,
    mut grant: Grant,
) -> (Exchange, Outcome) {
    let Some(mut frames) = stream.open(grant.principal.key()) else {
        let outcome = exchange.refusal(Refusal::Aborted { dispatched: false });
        return (exchange, outcome);
    };
    exchange.settle_down();
    let outcome = match serve(desk, &mut exchange, stream, &mut grant, &mut frames).await {
        // Either way there is nothing more to say.
        Ok(Ok(())) | Err(ClientGone) => Outcome::ended(),
        Ok(Err(revoked)) => revoked.outcome(),
    };
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
    (exchange, outcome)
}

async fn serve(
    desk: &Rc<Desk>,
    exchange: &mut Exchange,
    stream: &SseStream,
    grant: &mut Grant,
    frames: &mut mpsc::Receiver<Bytes>,
) -> Result<Result<(), Revoked>, ClientGone> {
    let mut configured = desk.board.configured();
    if let Err(revoked) = desk.judge_again(exchange, grant).await {
        return Ok(Err(revoked));
    }
    exchange.open_stream()?;
    let endpoint = format!("event: endpoint\ndata: {}\n\n", stream.endpoint());
    exchange.send_frame(endpoint.into()).await?;
    let mut silence = Instant::now() + KEEP_ALIVE;
    loop {
        tokio::select! {
            biased;
            _ = configured.changed() => {
                if let Err(revoked) = desk.judge_again(exchange, grant).await {
                    return Ok(Err(revoked));
                }
            }
            message = frames.recv() => match message {
                Some(message) => exchange.send(&message).await?,
                None => return Ok(Ok(())),
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
                None => return Ok(Ok(())),
            },
            () = exchange.client_gone() => return Err(ClientGone),
            () = sleep(LAST_ANSWERS), if frames.is_empty() => {
                if stream.is_idle() && frames.is_empty() {
                    return Ok(Ok(()));
                }
            }
        }
    }
}
