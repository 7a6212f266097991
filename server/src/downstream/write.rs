//! From the pipeline's answer to HTTP.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use weir_actors::pipeline::{Refusal, Response, ResponseBody};

/// Frames as they come. Dropping it, because the client has gone, is noticed by whoever sends them.
struct Frames(mpsc::Receiver<Bytes>);

impl Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
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
        ResponseBody::Whole(body) => builder
            .content_type(HeaderValue::from_static("application/json"))
            .body(body),
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
            .streaming(Frames(frames)),
    }
}

/// The one answer that leaves no record, because none can be written.
pub(super) fn unrecorded() -> HttpResponse {
    let outcome = Refusal::AuditUnavailable.outcome(None);
    response(Response {
        status: outcome.status,
        headers: outcome.headers,
        body: ResponseBody::Whole(outcome.body),
    })
}
