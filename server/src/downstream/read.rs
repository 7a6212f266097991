//! From HTTP to MCP: headers and body, each within its bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::time::{Instant, timeout_at};
use weir_actors::pipeline::{LimitsConfig, Refusal};
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::mcp::{Era, HttpMethod, Values, Version, WireHeaders};
use weir_plugin_protocol::{Credentials, Secret};

use super::intake::{Intake, Upload};

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
/// What the specification has clients send: recognised without taking it apart.
const USUAL_ACCEPT: &str = "application/json, text/event-stream";
const BEARER: &[u8] = b"bearer";
static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");
static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
static TIMING: HeaderName = HeaderName::from_static("weir-timing");
/// `Mcp-Param-*` headers that are passed on.
const MAX_PARAMETERS: usize = 32;
/// How long a body may be waited for, and how large it may get meanwhile, before it takes a place among the uploads.
const SHORT: Duration = Duration::from_millis(100);
const SMALL: usize = 64 * 1024;

/// The routing headers, as they arrived.
pub(crate) struct HeaderView<'a>(WireHeaders<'a>);

// === impl HeaderView ===

impl<'a> HeaderView<'a> {
    pub(crate) fn view(&self) -> WireHeaders<'a> {
        self.0
    }
}

/// The headers that repeat the body.
pub(crate) fn wire_headers(request: &HttpRequest) -> HeaderView<'_> {
    let values = |name: &'static HeaderName| -> Values<'_> {
        request
            .headers()
            .get_all(name)
            .map(header::HeaderValue::as_bytes)
            .collect()
    };
    HeaderView(WireHeaders {
        protocol_version: values(&PROTOCOL_VERSION),
        method: values(&METHOD),
        name: values(&NAME),
        session_id: values(&SESSION_ID),
    })
}

/// What the client presents: a bearer token, or an API key.
pub(super) fn credentials(request: &HttpRequest) -> Option<Credentials> {
    let several = |name: &HeaderName| request.headers().get_all(name).count() > 1;
    if several(&header::AUTHORIZATION) || several(&API_KEY) {
        // Which of them counts is not for us to guess: none does.
        return Some(Credentials {
            kind: CredentialKind::Bearer,
            value: Secret::new(""),
        });
    }
    if let Some(value) = request.headers().get(&header::AUTHORIZATION) {
        // Any other scheme is a credential too, one that is not valid.
        return Some(Credentials {
            kind: CredentialKind::Bearer,
            value: Secret::new(bearer_token(value.as_bytes()).unwrap_or_default()),
        });
    }
    let value = request
        .headers()
        .get(&API_KEY)?
        .to_str()
        .unwrap_or_default();
    Some(Credentials {
        kind: CredentialKind::ApiKey,
        value: Secret::new(value.trim()),
    })
}

/// The token of an `Authorization` header of the scheme `Bearer` (RFC 6750).
fn bearer_token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && token.first() == Some(&b' ');
    str::from_utf8(token.trim_ascii())
        .ok()
        .filter(|_| is_bearer)
}

/// `Mcp-Session-Id`, if there is exactly one.
pub(super) fn session_id(request: &HttpRequest) -> Option<String> {
    let mut values = request.headers().get_all(&SESSION_ID);
    let first = values.next()?;
    match values.next() {
        None => Some(first.to_str().unwrap_or_default().to_owned()),
        Some(_) => Some(String::new()),
    }
}

/// Whether the client wants to know where the time of its request goes: `Weir-Timing: 1`.
pub(super) fn asks_for_timing(request: &HttpRequest) -> bool {
    let asked = request.headers().get(&TIMING);
    asked.is_some_and(|value| value == "1")
}

/// The legacy revision that `MCP-Protocol-Version` names.
pub(super) fn legacy_version(request: &HttpRequest) -> Option<Version> {
    let value = request.headers().get(&PROTOCOL_VERSION)?;
    let version = Version::parse(value.to_str().ok()?)?;
    (version.era() == Era::Legacy).then_some(version)
}

/// `Last-Event-ID`. What is no text, or there more than once, is an id that nobody has given out.
pub(super) fn last_event_id(request: &HttpRequest) -> Option<String> {
    let mut values = request.headers().get_all(&LAST_EVENT_ID);
    let first = values.next()?;
    match values.next() {
        None => Some(first.to_str().unwrap_or_default().to_owned()),
        Some(_) => Some(String::new()),
    }
}

/// The `Mcp-Param-*` headers, which are passed on to the server that understands them.
pub(super) fn parameters(request: &HttpRequest) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let parameters = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("mcp-param-"));
    let parameters = parameters.filter_map(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, http::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    parameters.take(MAX_PARAMETERS).collect()
}

/// Checks that the client sends what MCP is made of and takes what MCP answers with.
pub(super) fn negotiable(request: &HttpRequest, method: HttpMethod) -> Result<(), Refusal> {
    let headers = request.headers();
    let accepts = |wanted: &str| {
        let mut accept = headers
            .get_all(&header::ACCEPT)
            .filter_map(|value| value.to_str().ok())
            .peekable();
        // Without the header everything is acceptable (RFC 9110, section 12.5.1).
        accept.peek().is_none()
            || accept
                .flat_map(|value| value.split(','))
                .any(|range| covers(range, wanted))
    };
    match method {
        HttpMethod::Post => {
            json(request)?;
            let usual = headers
                .get(&header::ACCEPT)
                .is_some_and(|value| value == USUAL_ACCEPT);
            if !(usual || accepts(JSON) && accepts(EVENT_STREAM)) {
                return Err(Refusal::NotAcceptable);
            }
        }
        HttpMethod::Get if !accepts(EVENT_STREAM) => return Err(Refusal::NotAcceptable),
        _ => {}
    }
    Ok(())
}

/// Checks that the body is said to be JSON as it is.
pub(super) fn json(request: &HttpRequest) -> Result<(), Refusal> {
    let headers = request.headers();
    let kind = headers
        .get(&header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().split(|byte| *byte == b';').next());
    let is_json = kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes()));
    if is_json && !headers.contains_key(&header::CONTENT_ENCODING) {
        Ok(())
    } else {
        Err(Refusal::UnsupportedMediaType)
    }
}

fn covers(range: &str, wanted: &str) -> bool {
    let range = range.split(';').next().unwrap_or_default().trim();
    let (kind, _) = wanted.split_once('/').unwrap_or((wanted, ""));
    range == "*/*"
        || range.eq_ignore_ascii_case(wanted)
        || range
            .strip_suffix("/*")
            .is_some_and(|range| range.eq_ignore_ascii_case(kind))
}

/// Whether a body is waited for. Many clients write head and body apart, so a short wait is nothing special.
enum Waiting {
    Not,
    Since(Instant),
    Long(Upload),
}

// === impl Waiting ===

impl Waiting {
    /// How long to wait now.
    fn deadline(&mut self, limits: &LimitsConfig) -> Instant {
        if let Self::Not = self {
            *self = Self::Since(Instant::now());
        }
        match self {
            Self::Long(upload) => upload.deadline(limits),
            Self::Since(since) => *since + SHORT,
            Self::Not => Instant::now(),
        }
    }

    /// What happens when the wait was not the last: it begins to count, and then it has been too long.
    fn goes_on(
        &mut self,
        request: &HttpRequest,
        intake: &Intake,
        here: usize,
        limits: &LimitsConfig,
    ) -> Result<(), Refusal> {
        let since = match self {
            Self::Long(_) => return Err(Refusal::BodyTooSlow),
            Self::Since(since) => *since,
            Self::Not => Instant::now(),
        };
        let peer = request.peer_addr().map(|peer| peer.ip());
        let mut upload = intake.begin(peer, since, limits)?;
        upload.grow(here, limits)?;
        *self = Self::Long(upload);
        Ok(())
    }
}

/// Reads the body within its bounds of size, time and rate.
pub(super) async fn body(
    request: &HttpRequest,
    mut payload: web::Payload,
    limits: &LimitsConfig,
    intake: &Intake,
) -> Result<Bytes, Refusal> {
    let cap = limits.max_body_bytes;
    let announced = request.headers().get(&header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > cap as u64) {
        return Err(Refusal::BodyTooLarge(cap));
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut waiting = Waiting::Not;
    loop {
        // Nearly always the whole body is there already, and nobody waits.
        let ready = poll_fn(|context| Poll::Ready(Pin::new(&mut payload).poll_next(context)));
        let chunk = match ready.await {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => {
                let here = first.len() + whole.len();
                let mut next = poll_fn(|context| Pin::new(&mut payload).poll_next(context));
                loop {
                    let until = waiting.deadline(limits);
                    match timeout_at(until, &mut next).await {
                        Ok(chunk) => break chunk,
                        Err(_) => waiting.goes_on(request, intake, here, limits)?,
                    }
                }
            }
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|_| Refusal::BodyUnreadable)?;
        let here = first.len() + whole.len() + chunk.len();
        if here > cap {
            return Err(Refusal::BodyTooLarge(cap));
        }
        match &mut waiting {
            Waiting::Long(upload) => upload.grow(chunk.len(), limits)?,
            Waiting::Since(_) if here > SMALL => waiting.goes_on(request, intake, here, limits)?,
            Waiting::Since(_) | Waiting::Not => {}
        }
        // Nearly always there is one chunk, and it is not copied.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
            continue;
        }
        if whole.capacity() < here {
            // At once as large as it will get: nothing is moved again, and memory that is not written to costs none.
            let expected = match announced {
                Some(length) => usize::try_from(length).unwrap_or(cap),
                None if here > SMALL => cap,
                None => here,
            };
            whole.reserve(expected.max(here) - whole.len());
        }
        if whole.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}
