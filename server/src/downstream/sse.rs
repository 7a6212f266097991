//! HTTP+SSE as of 2024-11-05: the client opens a stream with GET, is told where to post its messages, and gets every
//! answer on the stream.
//!
//! Both requests carry the client's credentials, and only who opened a stream may post to it. The client's legacy session
//! ends with its stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;
use weir_actors::pipeline::{
    Arrival, ClientRequest, Exchange, Refusal, ResponseBody, SseStream, Transport,
};
use weir_actors::upstream::{Endpoint, ServerName};
use weir_plugin_protocol::mcp::{self, HttpMethod, MODERN_VERSIONS};

use super::conversation::{Caller, Conversation};
use super::sorted::Sorted;
use super::{Face, door, read, write};

/// Messages that may wait for a stream; answers wait for room, and a stream that nobody reads is closed.
const OUTBOX: usize = 64;

/// The open streams of all workers, by the name that their clients were told. Each holds the permit of a stream, so there
/// are never more than `limits.max_streams`.
#[derive(Clone, Default)]
pub struct SseTable(Arc<Mutex<HashMap<String, Arc<Conversation>>>>);

// === impl SseTable ===

impl SseTable {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Conversation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Conversation>> {
        self.lock().get(name).cloned()
    }

    /// Keeps a conversation as long as somebody reads it.
    fn keep(&self, name: String, conversation: Arc<Conversation>) {
        self.lock().insert(name.clone(), conversation.clone());
        let table = self.clone();
        actix_rt::spawn(async move {
            conversation.over().await;
            table.lock().remove(&name);
        });
    }
}

/// The routes. Who comes with another method is sent where all others are: a client of Streamable HTTP finds `/mcp`.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    for (path, route) in [
        ("/sse", web::get().to(open_all)),
        ("/messages", web::post().to(post_all)),
        ("/servers/{name}/sse", web::get().to(open_one)),
        ("/servers/{name}/messages", web::post().to(post_one)),
    ] {
        let elsewhere = web::route().to(super::elsewhere);
        config.service(web::resource(path).route(route).default_service(elsewhere));
    }
}

/// `/sse`: all servers as one.
async fn open_all(request: HttpRequest, face: web::Data<Face>) -> HttpResponse {
    open(&request, &face, Ok(Endpoint::All)).await
}

/// `/servers/{name}/sse`: one server with its own names.
async fn open_one(
    request: HttpRequest,
    face: web::Data<Face>,
    name: web::Path<String>,
) -> HttpResponse {
    open(&request, &face, endpoint_of(&request, &name)).await
}

/// `/messages`: a message for the stream that the query names.
async fn post_all(request: HttpRequest, body: web::Payload, face: web::Data<Face>) -> HttpResponse {
    post(&request, body, &face, Ok(Endpoint::All)).await
}

/// `/servers/{name}/messages`.
async fn post_one(
    request: HttpRequest,
    body: web::Payload,
    face: web::Data<Face>,
    name: web::Path<String>,
) -> HttpResponse {
    let endpoint = endpoint_of(&request, &name);
    post(&request, body, &face, endpoint).await
}

fn endpoint_of(request: &HttpRequest, name: &str) -> Result<Endpoint, Refusal> {
    ServerName::new(name)
        .map(Endpoint::One)
        .map_err(|_| Refusal::UnknownEndpoint(request.path().chars().take(200).collect()))
}

async fn open(
    request: &HttpRequest,
    face: &Face,
    endpoint: Result<Endpoint, Refusal>,
) -> HttpResponse {
    let Some(slot) = face.admission.reserve_record() else {
        return write::unrecorded();
    };
    let wall = SystemTime::now();
    let at = Instant::now();
    let snapshot = face.board.federation();
    let checked = door::check(&snapshot.settings.doors, request).and(endpoint);
    let checked =
        checked.and_then(|endpoint| read::negotiable(request, HttpMethod::Get).map(|()| endpoint));
    let permit = match &checked {
        Ok(_) => face.admission.take_stream().map(Some),
        Err(_) => Ok(None),
    };
    let (endpoint, permit, sorted) = match (checked, permit) {
        (Ok(endpoint), Ok(permit)) if snapshot.eras(&endpoint).legacy => {
            (endpoint, permit, ClientRequest::OpenStream)
        }
        (Ok(endpoint), Ok(permit)) => {
            let refusal = mcp::Refusal::unsupported_version("2024-11-05", MODERN_VERSIONS);
            (endpoint, permit, ClientRequest::Malformed(refusal))
        }
        (Err(refusal), _) | (_, Err(refusal)) => {
            (Endpoint::All, None, ClientRequest::Refused(refusal))
        }
    };
    let name = Uuid::new_v4().simple().to_string();
    let (outbox, frames) = mpsc::channel(OUTBOX);
    let stream = Arc::new(SseStream::new(posting_to(&endpoint, &name), frames));
    let deadline = at + snapshot.settings.limits.deadline.0;
    let arrival = Arrival {
        snapshot,
        at,
        wall,
        upload: Duration::ZERO,
        deadline,
        transport: Transport::SseStream(stream.clone()),
        endpoint: endpoint.clone(),
        request: sorted,
        credentials: read::credentials(request),
        peer: request.peer_addr().map(|address| address.ip()),
        session_id: None,
        legacy_version: None,
        last_event_id: None,
        in_batch: false,
        parameters: Vec::new(),
        request_bytes: 0,
        tell_timing: false,
    };
    let (exchange, answer) = Exchange::admit(arrival, permit, slot, face.meter.clone());
    face.door.enter(exchange);
    let Ok(response) = answer.await else {
        return write::unrecorded();
    };
    if matches!(response.body, ResponseBody::Events(_)) {
        let transport = Transport::SsePost(Some(stream));
        let conversation = Conversation::new(endpoint, transport, outbox);
        face.sse.keep(name, conversation);
    }
    write::response(response)
}

/// Where the messages of a stream are posted.
fn posting_to(endpoint: &Endpoint, name: &str) -> String {
    match endpoint {
        Endpoint::All => format!("/messages?sessionId={name}"),
        Endpoint::One(server) => format!("/servers/{server}/messages?sessionId={name}"),
    }
}

async fn post(
    request: &HttpRequest,
    body: web::Payload,
    face: &Arc<Face>,
    endpoint: Result<Endpoint, Refusal>,
) -> HttpResponse {
    let at_the_door = face.board.federation();
    let checked = door::check(&at_the_door.settings.doors, request).and(endpoint);
    let checked = checked.and_then(|endpoint| read::json(request).map(|()| endpoint));
    let (endpoint, refused) = match checked {
        Ok(endpoint) => (endpoint, None),
        Err(refusal) => (Endpoint::All, Some(refusal)),
    };
    let found = named(request).and_then(|name| face.sse.find(name));
    let conversation = found
        .filter(|conversation| refused.is_none() && conversation.endpoint == endpoint)
        .unwrap_or_else(|| nobodys(endpoint));
    let read = match refused {
        Some(refusal) => Err(refusal),
        None => read::body(request, body, &at_the_door.settings.limits, &face.intake).await,
    };
    // What counts is what holds now that the body is here.
    let snapshot = face.board.federation();
    let read = read.and_then(|raw| {
        if !Arc::ptr_eq(&snapshot.settings, &at_the_door.settings) {
            door::check(&snapshot.settings.doors, request)?;
        }
        Ok(raw)
    });
    let headers = read::wire_headers(request);
    let sorted = match read {
        Ok(raw) => Sorted::posted(raw, &headers.view(), snapshot, &conversation),
        Err(refusal) => Sorted::unread(refusal, snapshot),
    };
    let caller = Caller {
        credentials: read::credentials(request),
        peer: request.peer_addr().map(|address| address.ip()),
    };
    let mut submitted = match conversation.submit(face, sorted, &caller) {
        Ok(submitted) => submitted,
        Err(_) => return write::unrecorded(),
    };
    tokio::select! {
        biased;
        Ok(()) = &mut submitted.known => {
            conversation.accept(face, &caller, &mut submitted);
            actix_rt::spawn(conversation.deliver(submitted));
            HttpResponse::Accepted()
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .body("Accepted")
        }
        answer = &mut submitted.answer => match answer {
            Ok(response) => write::response(response),
            Err(_) => write::unrecorded(),
        },
    }
}

/// The name of the stream in the query.
fn named(request: &HttpRequest) -> Option<&str> {
    request.query_string().split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        matches!(key, "sessionId" | "session_id").then_some(value)
    })
}

/// Stands for a stream that is not there: nobody owns it, so whoever is authenticated is told that it is not known.
fn nobodys(endpoint: Endpoint) -> Arc<Conversation> {
    let (outbox, _) = mpsc::channel(1);
    Conversation::new(endpoint, Transport::SsePost(None), outbox)
}
