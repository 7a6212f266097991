//! The way back to the client: one whole answer, or a stream of server-sent events with the answer as its last.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Outcome;
use super::frames::{FrameSender, Frames, frames};
use crate::session::EventLog;

/// Frames that may wait for a slow reader of a stream before the sender waits too.
const STREAM_FRAMES: usize = 64;

/// What the HTTP face writes.
#[derive(Debug)]
pub struct Response {
    /// The status line.
    pub status: u16,
    /// Headers besides `Content-Type` and `Content-Length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: ResponseBody,
    /// What stays taken until the body has been written or its reader is given up. Drop it then.
    pub held: Held,
}

/// The permit of a request that is answered, but whose answer is still being written.
#[derive(Debug, Default)]
pub struct Held(#[expect(dead_code, reason = "kept for its drop")] HeldKind);

#[derive(Debug, Default)]
#[expect(dead_code, reason = "kept for its drop")]
enum HeldKind {
    #[default]
    Nothing,
    Permit(OwnedSemaphorePermit),
    /// Comes when the request is settled; until then the request holds it.
    Later(oneshot::Receiver<OwnedSemaphorePermit>),
}

/// The body of a [`Response`].
#[derive(Debug)]
pub enum ResponseBody {
    /// One JSON message; empty: no body at all.
    Whole(Bytes),
    /// Server-sent events, already framed. The stream ends when the sender is dropped.
    Events(Frames),
}

/// The sending half, owned by the baton.
#[derive(Debug)]
pub(super) enum Reply {
    Pending(oneshot::Sender<Response>),
    Streaming {
        frames: FrameSender,
        held: oneshot::Sender<OwnedSemaphorePermit>,
        /// Where the events are kept, for a client that loses the connection.
        log: Option<Arc<EventLog>>,
    },
    /// The client lost the connection, or reads on in another; the stream goes on.
    Detached(Arc<EventLog>),
    Done,
}

/// The client has gone away.
#[derive(Clone, Copy, Debug)]
pub struct ClientGone;

// === impl Reply ===

impl Reply {
    pub(super) fn new() -> (Self, oneshot::Receiver<Response>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Pending(sender), receiver)
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    pub(super) fn is_streaming(&self) -> bool {
        matches!(self, Self::Streaming { .. } | Self::Detached(_))
    }

    /// Where the events of the stream are kept, if they are.
    pub(super) fn log(&self) -> Option<&Arc<EventLog>> {
        match self {
            Self::Streaming { log, .. } => log.as_ref(),
            Self::Detached(log) => Some(log),
            Self::Pending(_) | Self::Done => None,
        }
    }

    /// Closes the connection of a stream that is kept. True if it is.
    pub(super) fn detach(&mut self) -> bool {
        let Some(log) = self.log().cloned() else {
            return false;
        };
        *self = Self::Detached(log);
        true
    }

    /// Commits to a stream. The last frame always has room, so that settling never waits.
    pub(super) fn open(
        &mut self,
        headers: Vec<(HeaderName, HeaderValue)>,
        log: Option<Arc<EventLog>>,
    ) -> Result<(), ClientGone> {
        let Self::Pending(head) = std::mem::replace(self, Self::Done) else {
            return Ok(());
        };
        let (frames, receiver) = frames(STREAM_FRAMES);
        let (held, later) = oneshot::channel();
        *self = Self::Streaming { frames, held, log };
        let response = Response {
            status: 200,
            headers,
            body: ResponseBody::Events(receiver),
            held: Held(HeldKind::Later(later)),
        };
        head.send(response).map_err(|_| {
            // Nobody knows of this stream, so nobody will ask for it.
            *self = Self::Done;
            ClientGone
        })
    }

    pub(super) fn frames(&mut self) -> Option<&mut FrameSender> {
        match self {
            Self::Streaming { frames, .. } => Some(frames),
            _ => None,
        }
    }

    /// Resolves when the client has gone away; never, once the answer was given.
    pub(super) async fn gone(&mut self) {
        match self {
            Self::Pending(head) => head.closed().await,
            Self::Streaming { frames, .. } => frames.closed().await,
            Self::Detached(_) | Self::Done => std::future::pending().await,
        }
    }

    /// Gives the answer, and with it the permit: both end where the answer is written.
    pub(super) fn settle(&mut self, outcome: Outcome, permit: Option<OwnedSemaphorePermit>) {
        match std::mem::replace(self, Self::Done) {
            Self::Pending(head) => {
                let response = Response {
                    status: outcome.status,
                    headers: outcome.headers,
                    body: ResponseBody::Whole(outcome.body),
                    held: Held(permit.map_or(HeldKind::Nothing, HeldKind::Permit)),
                };
                let _client_gone = head.send(response);
            }
            Self::Streaming { frames, held, log } => {
                if let Some(permit) = permit {
                    let _client_gone = held.send(permit);
                }
                let newer = log.as_ref().is_some_and(|log| log.readers() > 0);
                frames.finish(last_event(&outcome.body, log.as_ref()).filter(|_| !newer));
            }
            Self::Detached(log) => {
                let _kept = last_event(&outcome.body, Some(&log));
            }
            Self::Done => {}
        }
    }
}

/// The answer as the last event of its stream.
fn last_event(body: &[u8], log: Option<&Arc<EventLog>>) -> Option<Bytes> {
    let frame = (!body.is_empty()).then(|| event(body));
    let Some(log) = log else { return frame };
    let frame = frame.map(|frame| log.append(&frame));
    log.end();
    frame
}

/// Frames one JSON-RPC message as a server-sent event (WHATWG HTML, section 9.2).
///
/// A line break in JSON text can only be white space between tokens, so it becomes a space.
pub fn event(message: &[u8]) -> Bytes {
    const HEAD: &[u8] = b"event: message\ndata: ";
    let mut frame = BytesMut::with_capacity(HEAD.len() + message.len() + 2);
    frame.put_slice(HEAD);
    if message.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        frame.extend(message.iter().map(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        }));
    } else {
        frame.put_slice(message);
    }
    frame.put_slice(b"\n\n");
    frame.freeze()
}

/// The message of a framed event, without a copy; nothing of a comment or of an event without data. The other way round
/// than [`event`]: there is one line of data.
pub fn message_of(frame: &Bytes) -> Option<Bytes> {
    const DATA: &[u8] = b"data:";
    let mut start = 0;
    for line in frame.split_inclusive(|byte| *byte == b'\n') {
        if let Some(data) = line.strip_prefix(DATA) {
            let begin = start + line.len() - data.trim_ascii_start().len();
            let data = data.trim_ascii();
            return (!data.is_empty()).then(|| frame.slice(begin..begin + data.len()));
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_message_is_found_again() {
        assert_eq!(message_of(&event(b"{\n\"a\":1}")).unwrap(), "{ \"a\":1}");
        let numbered = Bytes::from_static(b"id: 7\nevent: message\ndata: {}\n\n");
        assert_eq!(message_of(&numbered).unwrap(), "{}");
        for silent in [": keep-alive\n\n", "id: 1\ndata: \n\n", "retry: 5\n\n", ""] {
            assert_eq!(
                message_of(&Bytes::from_static(silent.as_bytes())),
                None,
                "{silent:?}"
            );
        }
    }

    #[test]
    fn line_breaks_between_tokens_do_not_end_the_event() {
        assert_eq!(
            &event(b"{\n\"a\":1}")[..],
            b"event: message\ndata: { \"a\":1}\n\n"
        );
    }

    #[tokio::test]
    async fn the_last_frame_always_has_room() {
        let (mut reply, head) = Reply::new();
        reply.open(Vec::new(), None).unwrap();
        let ResponseBody::Events(mut frames) = head.await.unwrap().body else {
            panic!("a stream")
        };
        while reply
            .frames()
            .unwrap()
            .try_send(Bytes::from_static(b"x"))
            .is_ok()
        {}
        reply.settle(Outcome::ok(Bytes::from_static(b"{}")), None);
        let mut last = Bytes::new();
        while let Some(frame) = frames.recv().await {
            last = frame;
        }
        assert_eq!(&last[..], b"event: message\ndata: {}\n\n");
    }

    #[tokio::test]
    async fn the_permit_lasts_as_long_as_the_answer() {
        let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(2));
        let (mut whole, head) = Reply::new();
        let permit = permits.clone().try_acquire_owned().unwrap();
        whole.settle(Outcome::ok(Bytes::from_static(b"{}")), Some(permit));
        let whole = head.await.unwrap();

        let (mut stream, head) = Reply::new();
        stream.open(Vec::new(), None).unwrap();
        let permit = permits.clone().try_acquire_owned().unwrap();
        stream.settle(Outcome::ok(Bytes::from_static(b"{}")), Some(permit));
        let stream = head.await.unwrap();

        assert_eq!(permits.available_permits(), 0, "neither has been written");
        drop(whole);
        assert_eq!(permits.available_permits(), 1);
        drop(stream);
        assert_eq!(permits.available_permits(), 2);
    }
}
