//! The client face: HTTP in, HTTP out, and everything between is the pipeline's.
//!
//! Read in this order: [`admission`] is what a request needs before anything is done for it, [`door`] which hosts and
//! origins are served, [`read`] turns HTTP into a request of MCP, [`write`] turns the answer into HTTP, [`worker`]
//! gives every worker thread its own pipeline.

pub mod admission;
mod door;
pub(crate) mod metadata;
mod read;
mod worker;
mod write;

use std::time::SystemTime;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::time::Instant;
use weir_actors::pipeline::{Arrival, ClientRequest, Exchange, Refusal};
use weir_actors::upstream::{Endpoint, ServerName};
use weir_plugin_protocol::jsonrpc::{Limits, Payload};
use weir_plugin_protocol::mcp::{self, Class, Offered, classify};

pub use admission::Admission;
pub use door::DoorRules;
pub use worker::{Face, OnPipeline, Workers};

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
    let Some(slot) = face.admission.reserve_record() else {
        return write::unrecorded();
    };
    let wall = SystemTime::now();
    let at = Instant::now();
    let (endpoint, parsed, request_bytes) = match (face.rules.check(&request), endpoint) {
        (Ok(()), Ok(endpoint)) => {
            let (parsed, bytes) = understand(&request, body, face, &endpoint).await;
            (endpoint, parsed, bytes)
        }
        (Err(refusal), _) | (_, Err(refusal)) => {
            (Endpoint::All, ClientRequest::Refused(refusal), 0)
        }
    };
    // A body that takes its time holds up nobody: the permit is taken when it is here.
    let admitted = match &parsed {
        ClientRequest::Refused(_) => Ok(None),
        parsed if waits(parsed) => face.admission.take_stream().map(Some),
        _ => face.admission.take_permit().map(Some),
    };
    let (permit, parsed) = match admitted {
        Ok(permit) => (permit, parsed),
        Err(refusal) => (None, ClientRequest::Refused(refusal)),
    };
    let arrival = Arrival {
        at,
        wall,
        deadline: at + face.limits.deadline.0,
        endpoint,
        request: parsed,
        credentials: read::credentials(&request),
        peer: request.peer_addr().map(|address| address.ip()),
        session_id: read::session_id(&request),
        parameters: read::parameters(&request),
        request_bytes,
    };
    let (exchange, answer) = Exchange::admit(arrival, permit, slot, face.metrics.clone());
    face.door.enter(exchange);
    match answer.await {
        Ok(response) => write::response(response),
        // The exchange answers when it is dropped, so this cannot happen; if it does, it is no silence either.
        Err(_) => write::unrecorded(),
    }
}

/// Requests that stay open until something happens are counted apart.
fn waits(request: &ClientRequest) -> bool {
    match request {
        ClientRequest::OpenStream => true,
        ClientRequest::Modern(request) => request.method == mcp::Method::Listen,
        _ => false,
    }
}

/// Reads the body and sorts the request by the rules of the wire.
async fn understand(
    request: &HttpRequest,
    body: web::Payload,
    face: &Face,
    endpoint: &Endpoint,
) -> (ClientRequest, usize) {
    let http_method = match *request.method() {
        Method::POST => mcp::HttpMethod::Post,
        Method::GET => mcp::HttpMethod::Get,
        Method::DELETE => mcp::HttpMethod::Delete,
        _ => {
            return (
                ClientRequest::Refused(Refusal::MethodNotAllowed("GET, POST, DELETE")),
                0,
            );
        }
    };
    if let Err(refusal) = read::negotiable(request, http_method) {
        return (ClientRequest::Refused(refusal), 0);
    }
    let raw = match http_method {
        mcp::HttpMethod::Post => match read::body(request, body, &face.limits).await {
            Ok(raw) => raw,
            Err(refusal) => return (ClientRequest::Refused(refusal), 0),
        },
        _ => bytes::Bytes::new(),
    };
    let size = raw.len();
    let limits = Limits {
        depth: face.limits.max_json_depth,
        ..Limits::default()
    };
    let payload = weir_plugin_protocol::jsonrpc::parse(raw, &limits);
    let offered: Offered = face.board.load().eras(endpoint);
    let class = classify(
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
    (parsed, size)
}
