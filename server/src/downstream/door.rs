//! Which requests are looked at at all: the `Host` must be ours, and the `Origin`, if there is one, must be allowed.
//! Without these checks any web page could reach a gateway on this machine (DNS rebinding).

use std::net::Ipv6Addr;

use actix_web::HttpRequest;
use actix_web::http::header;
use weir_actors::pipeline::Refusal;
use weir_actors::settings::Doors;

/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// Bytes of names and values of all headers together.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Refuses what is for somebody else or from a page that is not allowed.
pub(super) fn check(doors: &Doors, request: &HttpRequest) -> Result<(), Refusal> {
    let headers = request.headers();
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Refusal::HeadersTooLarge);
    }
    if headers.contains_key(&header::UPGRADE) {
        return Err(Refusal::BadHead("no other protocol is spoken here"));
    }
    let host = single(request, header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let authority = request
        .uri()
        .authority()
        .map_or(host, |authority| authority.as_str());
    if authority != host {
        let what = "the request target and the Host header name different hosts";
        return Err(Refusal::BadHead(what));
    }
    if !doors.hosts.allow(host) {
        return Err(match is_host(host) {
            true => Refusal::HostRefused(host.chars().take(200).collect()),
            false => Refusal::BadHead("the Host header is no host with or without a port"),
        });
    }
    if !request.headers().contains_key(&header::ORIGIN) {
        return Ok(());
    }
    match single(request, header::ORIGIN).and_then(|origin| origin.to_str().ok()) {
        Some(origin) if doors.allow_origin(origin) => Ok(()),
        origin => Err(Refusal::OriginRefused(
            origin.unwrap_or_default().chars().take(200).collect(),
        )),
    }
}

/// Whether a text is a host and perhaps a port (RFC 9110, section 7.2): others might find a path or a user in it.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let in_name = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$')
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    !host.is_empty() && host.bytes().all(in_name) && port_ok
}

fn single(request: &HttpRequest, name: header::HeaderName) -> Option<&header::HeaderValue> {
    let mut values = request.headers().get_all(name);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}
