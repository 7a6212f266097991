//! From the pipeline's answer to HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::Stream;
use weir_actors::pipeline::{Frames, Held, Refusal, Response, ResponseBody};

/// What is handed over at once. The next piece is asked for when this one has been written, so this is what a reader
/// that stops reading holds without a permit, besides what the system buffers.
const PIECE: usize = 64 * 1024;

/// Frames as they come. Dropping it, because the client has gone, is noticed by whoever sends them.
struct Events {
    frames: Frames,
    /// The rest of a large one.
    rest: Bytes,
    _held: Held,
}

/// A large answer, piece by piece.
struct Pieces {
    rest: Bytes,
    _held: Held,
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.rest.is_empty() {
            match self.frames.poll_recv(context) {
                Poll::Ready(Some(frame)) => self.rest = frame,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Some(Ok(piece(&mut self.rest))))
    }
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let left = !self.rest.is_empty();
        Poll::Ready(left.then(|| Ok(piece(&mut self.rest))))
    }
}

/// Takes the next piece off.
fn piece(rest: &mut Bytes) -> Bytes {
    if rest.len() <= PIECE {
        std::mem::take(rest)
    } else {
        rest.split_to(PIECE)
    }
}

/// Writes an answer.
pub(super) fn response(answer: Response) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            builder.insert_header((name, value));
        }
    }
    match answer.body {
        ResponseBody::Whole(body) if body.is_empty() => builder.finish(),
        ResponseBody::Whole(body) => {
            builder.content_type(HeaderValue::from_static("application/json"));
            if body.len() <= PIECE {
                builder.body(body)
            } else {
                builder.body(Pieces {
                    rest: body,
                    _held: answer.held,
                })
            }
        }
        ResponseBody::Events(frames) => builder
            .content_type(HeaderValue::from_static("text/event-stream"))
            .insert_header((
                header::CACHE_CONTROL,
                HeaderValue::from_static("no-cache, no-transform"),
            ))
            .insert_header((
                HeaderName::from_static("x-accel-buffering"),
                HeaderValue::from_static("no"),
            ))
            .streaming(Events {
                frames,
                rest: Bytes::new(),
                _held: answer.held,
            }),
    }
}

/// The one answer that leaves no record, because none can be written.
pub(super) fn unrecorded() -> HttpResponse {
    refused(Refusal::AuditUnavailable)
}

/// Writes an answer and closes the connection after it.
pub(super) fn last(answer: Response) -> HttpResponse {
    closing(response(answer))
}

fn closing(mut response: HttpResponse) -> HttpResponse {
    let head = response.head_mut();
    head.set_connection_type(actix_http::ConnectionType::Close);
    response
}

/// Writes a refusal of a request whose body was not read, and closes the connection after it.
pub(super) fn refused_and_closed(refusal: Refusal) -> HttpResponse {
    closing(refused(refusal))
}

/// A refusal as it is sent on a connection that nobody serves.
pub(super) fn on_the_wire(refusal: Refusal) -> Vec<u8> {
    let outcome = refusal.outcome(None);
    let length = outcome.body.len();
    let mut text = format!(
        "HTTP/1.1 {} Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n",
        outcome.status
    )
    .into_bytes();
    for (name, value) in &outcome.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&outcome.body);
    text
}

/// Writes a refusal that the pipeline is not waited for with.
pub(super) fn refused(refusal: Refusal) -> HttpResponse {
    let outcome = refusal.outcome(None);
    response(Response {
        status: outcome.status,
        headers: outcome.headers,
        body: ResponseBody::Whole(outcome.body),
        held: Held::default(),
    })
}
