//! `requestState` of multi round-trip requests: the server's own text travels to the client and back inside an
//! envelope that only weir can make.
//!
//! The envelope is bound to the principal, the server and the request (method, name and arguments), and it expires:
//! a state that was altered, is somebody else's or belongs to another call is refused before any server sees it.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use weir_plugin_protocol::jsonrpc::{Field, Message, array_items, object_members, quote, unquote};

use super::{Desk, Grant};
use crate::upstream::ServerName;

/// Seconds that a client has for its answer.
const GOOD_FOR: u64 = 3600;

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "x")]
    expires: u64,
    #[serde(rename = "s")]
    state: String,
}

/// Wraps the state (raw JSON) that a server answered with.
pub(super) fn wrap(
    desk: &Desk,
    grant: &Grant,
    server: &ServerName,
    request: &Message,
    state: &str,
) -> Option<String> {
    let envelope = Envelope {
        expires: now() + GOOD_FOR,
        state: state.to_owned(),
    };
    let plain = serde_json::to_vec(&envelope).ok()?;
    Some(desk.sealer.seal(&binding(grant, server, request), &plain))
}

/// Unwraps the state that a client sent back. Nothing: refuse it.
pub(super) fn unwrap(
    desk: &Desk,
    grant: &Grant,
    server: &ServerName,
    request: &Message,
) -> Option<String> {
    let sealed = request.text(Field::RequestState)?;
    let plain = desk
        .sealer
        .open(&binding(grant, server, request), &sealed)?;
    still_good(&plain, now())
}

fn still_good(plain: &[u8], now: u64) -> Option<String> {
    let envelope: Envelope = serde_json::from_slice(plain).ok()?;
    (envelope.expires >= now).then_some(envelope.state)
}

fn binding(grant: &Grant, server: &ServerName, request: &Message) -> Vec<u8> {
    let mut binding = format!(
        "state\0{server}\0{}\0{}\0",
        grant.principal.key(),
        request.method()
    )
    .into_bytes();
    let name = request
        .text(Field::Name)
        .or_else(|| request.text(Field::Uri));
    binding.extend_from_slice(name.as_deref().unwrap_or_default().as_bytes());
    binding.push(0);
    let mut canonical = String::new();
    write_sorted(
        request.field(Field::Arguments).unwrap_or("{}"),
        &mut canonical,
    );
    binding.extend_from_slice(digest(&SHA256, canonical.as_bytes()).as_ref());
    binding
}

/// Writes raw JSON with sorted keys and without blanks: a client that repeats its request may order and space it anew.
/// Numbers stay as they are spelled. The text was checked when it arrived, so its depth is bounded.
fn write_sorted(raw: &str, out: &mut String) {
    let raw = raw.trim();
    match raw.as_bytes().first() {
        Some(b'{') => {
            let mut members: Vec<_> = object_members(raw).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            out.push('{');
            for (key, value) in members {
                out.push_str(&quote(&key));
                out.push(':');
                write_sorted(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for item in array_items(raw) {
                write_sorted(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Some(b'"') => {
            out.push_str(&unquote(raw).map_or_else(|| raw.to_owned(), |text| quote(&text)))
        }
        _ => out.push_str(raw),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_state_is_none() {
        let envelope = Envelope {
            expires: 1_000,
            state: "\"s\"".to_owned(),
        };
        let plain = serde_json::to_vec(&envelope).unwrap();
        assert_eq!(still_good(&plain, 1_000).as_deref(), Some("\"s\""));
        assert_eq!(still_good(&plain, 1_001), None);
        assert_eq!(still_good(b"{}", 0), None);
    }
}
