//! What comes back: a head, and a body that is read as a whole or as events.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::error::{HttpError, HttpErrorKind};
use super::framing::Framing;
use super::head::AnswerHead;
use super::pool::Lease;
use crate::upstream::sse::{SseEvent, SseParser};

/// The head of an answer and the right to read its body. Dropping it before the end of the body closes the connection.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status. Redirects are not followed.
    pub status: StatusCode,
    /// Those of the headers that mean something to the gateway. There may be 100 in at most 128 KiB.
    pub headers: HeaderMap,
    body: AnswerBody,
}

/// The events of an answer. Dropping it before the end closes the connection.
#[derive(Debug)]
pub struct EventStream {
    parser: SseParser,
    /// `None`: the end was reached or reading failed.
    body: Option<AnswerBody>,
}

/// A body and the connection it arrives on.
#[derive(Debug)]
struct AnswerBody {
    framing: Framing,
    /// The connection is good for more after the body.
    keep_alive: bool,
    /// `None`: the end was reached or reading failed.
    lease: Option<Lease>,
}

// === impl HttpAnswer ===

impl HttpAnswer {
    pub(super) fn new(head: AnswerHead, lease: Lease) -> Self {
        Self {
            status: head.status,
            headers: head.headers,
            body: AnswerBody {
                framing: head.framing,
                keep_alive: head.keep_alive,
                lease: Some(lease),
            },
        }
    }

    /// True if the body is `text/event-stream`, with whatever parameters.
    pub fn is_event_stream(&self) -> bool {
        let value = self.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        let media_type = value.and_then(|value| value.split(|&byte| byte == b';').next());
        media_type.is_some_and(|media_type| {
            media_type
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    }

    /// Reads the body; more than `cap` bytes are [`TooLarge`](HttpErrorKind::TooLarge). The caller bounds the time.
    pub async fn bytes(mut self, cap: usize) -> Result<Bytes, HttpError> {
        let announced = self.body.framing.at_least();
        let too_large = || HttpError::new(HttpErrorKind::TooLarge, true);
        if announced > cap as u64 {
            return Err(too_large());
        }
        let Some(first) = self.body.chunk().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > cap {
            return Err(too_large());
        }
        let Some(second) = self.body.chunk().await? else {
            return Ok(first);
        };
        let expected = usize::try_from(announced).unwrap_or(cap);
        let mut whole = BytesMut::with_capacity(expected.max(first.len() + second.len()).min(cap));
        whole.extend_from_slice(&first);
        let mut chunk = Some(second);
        while let Some(piece) = chunk {
            if whole.len() + piece.len() > cap {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
            chunk = self.body.chunk().await?;
        }
        Ok(whole.freeze())
    }

    /// Reads the body as events of at most `cap` bytes each; the number of events is not bounded.
    pub fn events(self, cap: usize) -> EventStream {
        EventStream {
            parser: SseParser::new(cap),
            body: Some(self.body),
        }
    }
}

// === impl EventStream ===

impl EventStream {
    /// The next event; `None` after the orderly end and after an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<SseEvent, HttpError>> {
        loop {
            match self.parser.next() {
                Some(Ok(event)) => return Some(Ok(event)),
                Some(Err(error)) => {
                    self.body.take()?;
                    let kind = HttpErrorKind::TooLarge;
                    return Some(Err(HttpError::because(kind, true, error)));
                }
                None => match self.body.as_mut()?.chunk().await {
                    Ok(Some(chunk)) => self.parser.push(chunk),
                    Ok(None) => self.body = None,
                    Err(error) => {
                        self.body = None;
                        return Some(Err(error));
                    }
                },
            }
        }
    }
}

// === impl AnswerBody ===

impl AnswerBody {
    /// The next bytes; `None` at the end, where the connection is given back. Trailers are skipped. Cancel safe.
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Some(lease) = &mut self.lease else {
            return Ok(None);
        };
        match lease.connection.piece(&mut self.framing).await {
            Ok(Some(piece)) => Ok(Some(piece)),
            Ok(None) => {
                self.give_back();
                Ok(None)
            }
            Err(error) => {
                self.lease = None;
                Err(error)
            }
        }
    }

    /// Parts with the connection: it is kept if the answer has ended and said nothing against it.
    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.keep_alive
            && self.framing.is_done()
        {
            lease.give_back();
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.give_back();
    }
}
