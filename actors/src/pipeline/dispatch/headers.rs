//! The headers of requests to HTTP servers. Everything is made here; nothing the client sent gets through but
//! `Mcp-Param-*`.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use weir_plugin_protocol::mcp::{Version, encode_header_value};

/// `Mcp-Session-Id`.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `MCP-Protocol-Version`.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Last-Event-ID`.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Headers of a POST.
pub(super) fn post(version: Version, credentials: Option<&HeaderMap>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
    add(&mut headers, credentials);
    headers
}

/// Headers of a modern POST: the method and the name are repeated for those who route by them.
pub(super) fn modern(
    version: Version,
    method: &str,
    name: Option<&str>,
    credentials: Option<&HeaderMap>,
) -> HeaderMap {
    let mut headers = post(version, credentials);
    if let Ok(value) = HeaderValue::from_str(method) {
        headers.insert(METHOD, value);
    }
    if let Some(Ok(value)) = name.map(|name| HeaderValue::from_str(&encode_header_value(name))) {
        headers.insert(NAME, value);
    }
    headers
}

/// Headers in a legacy session.
pub(super) fn in_session(
    session: &crate::session::UpstreamSession,
    credentials: Option<&HeaderMap>,
) -> HeaderMap {
    let mut headers = post(session.version, credentials);
    if let Some(id) = &session.id {
        headers.insert(SESSION_ID, id.clone());
    }
    // Older revisions do not know the header.
    if session.version < Version::V2025_06_18 {
        headers.remove(PROTOCOL_VERSION);
    }
    headers
}

/// Headers of a legacy GET.
pub(super) fn stream(
    session: &crate::session::UpstreamSession,
    credentials: Option<&HeaderMap>,
) -> HeaderMap {
    let mut headers = in_session(session, credentials);
    headers.remove(CONTENT_TYPE);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers
}

fn add(headers: &mut HeaderMap, credentials: Option<&HeaderMap>) {
    for (name, value) in credentials.into_iter().flatten() {
        headers.insert(name, value.clone());
    }
}
