//! The client face: HTTP in, HTTP out, and everything between is the pipeline's.
//!
//! Read in this order: [`connections`] are counted, [`watch`] cuts connections that make no progress, [`admission`] is what a request needs before
//! anything is done for it, [`door`] which hosts and origins are served, [`intake`] how bodies may come in, [`read`]
//! turns HTTP into a request of MCP, [`write`] turns the answer into HTTP, [`worker`] gives every worker thread its own
//! pipeline. A client that sends message after message on one stream has a
//! [`conversation`], in which each message is [`sorted`]: over HTTP+SSE ([`sse`]) or over the pipes of this process
//! ([`stdio`]).

pub mod admission;
pub mod connections;
mod conversation;
mod door;
pub mod intake;
pub(crate) mod memory;
pub(crate) mod metadata;
mod read;
mod sorted;
pub(crate) mod sse;
pub mod stdio;
pub(crate) mod watch;
mod worker;
mod write;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use arc_swap::Guard;
use tokio::time::Instant;
use weir_actors::admission::Pressure;
use weir_actors::pipeline::metrics::timed;
use weir_actors::pipeline::{Arrival, ClientRequest, Exchange, Refusal, Transport};
use weir_actors::upstream::{Endpoint, Federation, ServerName};
use weir_plugin_protocol::jsonrpc::{Limits, Payload};
use weir_plugin_protocol::mcp::{self, Class, Offered, classify_by};

pub use admission::Admission;
pub use connections::Connections;
pub use intake::Intake;
pub use sse::SseTable;
pub use worker::{Face, OnPipeline, Workers};

pub(crate) use read::wire_headers;

/// `/mcp`: all servers as one.
pub(crate) async fn all(
    request: HttpRequest,
    body: web::Payload,
    face: web::Data<Face>,
) -> HttpResponse {
    serve(request, body, &face, Ok(Endpoint::All)).await
}

/// `/servers/{name}/mcp`: one server with its own names.
pub(crate) async fn one(
    request: HttpRequest,
    body: web::Payload,
    face: web::Data<Face>,
    name: web::Path<String>,
) -> HttpResponse {
    let endpoint = ServerName::new(&name)
        .map(Endpoint::One)
        .map_err(|_| Refusal::UnknownEndpoint(request.path().chars().take(200).collect()));
    serve(request, body, &face, endpoint).await
}

/// Everything else is sent to `/mcp`, except where clients look for documents that are not here.
pub(crate) async fn elsewhere(
    request: HttpRequest,
    body: web::Payload,
    face: web::Data<Face>,
) -> HttpResponse {
    let path = request.path();
    let refusal = if path.starts_with("/.well-known/") || path.starts_with("/servers/") {
        Refusal::UnknownEndpoint(path.chars().take(200).collect())
    } else {
        Refusal::Elsewhere("/mcp")
    };
    serve(request, body, &face, Err(refusal)).await
}

async fn serve(
    request: HttpRequest,
    body: web::Payload,
    face: &Face,
    endpoint: Result<Endpoint, Refusal>,
) -> HttpResponse {
    // What cannot be recorded is not even read. The place itself is taken when the body is here: one that takes its time
    // keeps no place from anybody.
    if !face.admission.can_record() {
        return write::unrecorded();
    }
    let wall = SystemTime::now();
    let at = Instant::now();
    let pressure = face.admission.pressure(at);
    // Nor is what cannot be served.
    if let Some(refusal) = face.admission.shed(request.method(), pressure) {
        let peer = request.peer_addr().map(|address| address.ip());
        return face.shed(refusal, peer);
    }
    let at_the_door = face.board.federation();
    let mut upload = Duration::ZERO;
    let (snapshot, endpoint, parsed, request_bytes) =
        match (door::check(&at_the_door.settings.doors, &request), endpoint) {
            (Ok(()), Ok(endpoint)) => {
                let understanding =
                    understand(&request, body, face, &endpoint, at_the_door, &mut upload);
                let (snapshot, parsed, bytes) = understanding.await;
                (snapshot, endpoint, parsed, bytes)
            }
            (Err(refusal), _) | (_, Err(refusal)) => {
                let refused = ClientRequest::Refused(refusal);
                (at_the_door, Endpoint::All, refused, 0)
            }
        };
    let Some(slot) = face.admission.reserve_record() else {
        return write::unrecorded();
    };
    // For the same reason the permit is taken only now.
    let admitted = match &parsed {
        ClientRequest::Refused(_) => Ok(None),
        parsed if parsed.stays_open() => face.admission.take_stream().map(Some),
        _ => face.admission.take_permit().map(Some),
    };
    let (permit, parsed) = match admitted {
        Ok(permit) => (permit, parsed),
        Err(refusal) => (None, ClientRequest::Refused(refusal)),
    };
    let deadline = at + snapshot.settings.limits.deadline.0;
    let arrival = Arrival {
        snapshot,
        at,
        wall,
        upload,
        deadline,
        transport: Transport::Http,
        endpoint,
        request: parsed,
        credentials: read::credentials(&request),
        peer: request.peer_addr().map(|address| address.ip()),
        session_id: read::session_id(&request),
        legacy_version: read::legacy_version(&request),
        last_event_id: read::last_event_id(&request),
        in_batch: false,
        parameters: read::parameters(&request),
        request_bytes,
        tell_timing: face.meter.tells_timing(|| read::asks_for_timing(&request)),
    };
    // When the framing of a body is broken, the connection ends with what is answered now.
    let at_once = match &arrival.request {
        ClientRequest::Refused(Refusal::BodyUnreadable) => Some(Refusal::BodyUnreadable),
        _ => None,
    };
    let (exchange, answer) = Exchange::admit(arrival, permit, slot, face.meter.clone());
    face.door.enter(exchange);
    if let Some(refusal) = at_once {
        return write::refused(refusal);
    }
    match answer.await {
        Ok(response) if pressure == Pressure::None => write::response(response),
        Ok(response) => write::last(response),
        // The exchange answers when it is dropped, so this cannot happen; if it does, it is no silence either.
        Err(_) => write::unrecorded(),
    }
}

/// Reads the body and sorts the request by the rules of the wire. Returns the snapshot that the request goes by: the one
/// of when it was complete, and its rules held for the head as well.
async fn understand(
    request: &HttpRequest,
    body: web::Payload,
    face: &Face,
    endpoint: &Endpoint,
    at_the_door: Arc<Federation>,
    upload: &mut Duration,
) -> (Arc<Federation>, ClientRequest, usize) {
    let refuse = |snapshot, refusal| (snapshot, ClientRequest::Refused(refusal), 0);
    let http_method = match *request.method() {
        Method::POST => mcp::HttpMethod::Post,
        Method::GET => mcp::HttpMethod::Get,
        Method::DELETE => mcp::HttpMethod::Delete,
        _ => {
            let refusal = Refusal::MethodNotAllowed("GET, POST, DELETE");
            return refuse(at_the_door, refusal);
        }
    };
    if let Err(refusal) = read::negotiable(request, http_method) {
        return refuse(at_the_door, refusal);
    }
    let raw = match http_method {
        mcp::HttpMethod::Post => {
            // The head is handed over first, the body that came with it next. To wait for that with a timer would wake the
            // whole thread for every request.
            tokio::task::yield_now().await;
            let limits = &at_the_door.settings.limits;
            match timed(read::body(request, body, limits, &face.intake), upload).await {
                Ok(raw) => raw,
                Err(refusal) => return refuse(at_the_door, refusal),
            }
        }
        _ => bytes::Bytes::new(),
    };
    let snapshot = match face.board.load() {
        now if Arc::ptr_eq(&now, &at_the_door) => at_the_door.clone(),
        now => Guard::into_inner(now),
    };
    if !Arc::ptr_eq(&snapshot.settings, &at_the_door.settings)
        && let Err(refusal) = door::check(&snapshot.settings.doors, request)
    {
        return refuse(snapshot, refusal);
    }
    let size = raw.len();
    let limits = Limits {
        depth: snapshot.settings.limits.max_json_depth,
        ..Limits::default()
    };
    let payload = weir_plugin_protocol::jsonrpc::parse(raw, &limits);
    let offered: Offered = snapshot.eras(endpoint);
    let class = classify_by(
        snapshot.settings.doors.protocol_headers.into(),
        http_method,
        &read::wire_headers(request).view(),
        payload,
        offered,
    );
    let parsed = match class {
        Class::Modern(request) => ClientRequest::Modern(request),
        Class::Legacy(Payload::Single(message)) => ClientRequest::Legacy(message),
        Class::Legacy(Payload::Batch(messages)) => ClientRequest::LegacyBatch(messages),
        Class::LegacySession if http_method == mcp::HttpMethod::Get => ClientRequest::OpenStream,
        Class::LegacySession => ClientRequest::EndSession,
        Class::Refused(refusal) => ClientRequest::Malformed(refusal),
    };
    (snapshot, parsed, size)
}
