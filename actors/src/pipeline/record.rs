//! The audit record of a request.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use uuid::fmt::Hyphenated;
use weir_plugin_protocol::audit::AuditEvent;
use weir_plugin_protocol::mcp::{Era, Method};

use super::arrival::{Arrival, Facts};
use super::event_id::event_id;
use super::{ClientRequest, Outcome};
use crate::builtin::audit_lines::{AuditSlot, Shed};
use crate::builtin::rfc3339;

/// Bytes of a request id that are recorded.
const REQUEST_ID_BYTES: usize = 128;

/// Bytes of the longest address: IPv6 with an embedded IPv4 address.
const ADDRESS_BYTES: usize = 45;

/// Writes down what became of a request. `sent` is the number of bytes of the answer.
pub(super) fn write(
    slot: AuditSlot,
    arrival: &Arrival,
    facts: &Facts,
    outcome: &Outcome,
    sent: usize,
) {
    let message = match &arrival.request {
        ClientRequest::Modern(request) => Some(&request.message),
        ClientRequest::Legacy(message) => Some(message),
        _ => None,
    };
    let principal = facts.principal.as_deref();
    let target = facts.target.as_deref().map(Cow::Borrowed);
    let is_tool = arrival.request.method() == Method::ToolsCall;
    let mut id = [0; Hyphenated::LENGTH];
    let timestamp = rfc3339(arrival.wall);
    let mut address = [0; ADDRESS_BYTES];
    slot.record(&AuditEvent {
        event_id: Cow::Borrowed(
            facts
                .event_id
                .unwrap_or_else(|| event_id(arrival.wall))
                .hyphenated()
                .encode_lower(&mut id),
        ),
        timestamp: Cow::Borrowed(timestamp.as_str()),
        event_type: "mcp.request",
        tenant_id: principal
            .and_then(|principal| principal.tenant_id.as_deref().map(Cow::Borrowed)),
        user_id: principal.map(|principal| Cow::Borrowed(principal.user_id.as_str())),
        mcp_server: facts
            .server
            .as_ref()
            .map(|server| Cow::Borrowed(server.as_str())),
        tool: target.clone().filter(|_| is_tool),
        target: target.filter(|_| !is_tool),
        result: outcome.verdict.as_str(),
        reason: outcome.reason.as_deref().map(Cow::Borrowed),
        method: Cow::Borrowed(cut(arrival.request.method_name(), REQUEST_ID_BYTES)),
        request_id: message
            .and_then(|message| message.id())
            .map(|id| Cow::Borrowed(cut(id, REQUEST_ID_BYTES))),
        protocol_version: match &arrival.request {
            ClientRequest::Modern(request) => Some(Cow::Borrowed(request.version.as_str())),
            request => request
                .era()
                .filter(|era| *era == Era::Legacy)
                .map(|_| Cow::Borrowed("legacy")),
        },
        session: facts.session.as_deref().map(Cow::Borrowed),
        client_address: arrival.peer.map(|peer| text(peer, &mut address)),
        status: outcome.status,
        error_code: outcome.error_code,
        duration_us: u64::try_from(arrival.at.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_bytes: arrival.request_bytes as u64,
        response_bytes: sent as u64,
        count: None,
        pinned_sha256: None,
        current_sha256: None,
        detail: None,
        interceptors: &facts.interceptions,
    });
}

/// What requests that were too much are counted by.
pub(super) fn shed(arrival: &Arrival, facts: &Facts, outcome: &Outcome) -> Shed {
    let principal = facts.principal.as_ref();
    let known = principal.is_some() && !facts.anonymous;
    Shed {
        tenant_id: principal.and_then(|principal| principal.tenant_id.clone()),
        user_id: principal.map(|principal| principal.user_id.clone()),
        address: arrival.peer.filter(|_| !known),
        server: facts.server.as_ref().map(ToString::to_string),
        reason: outcome.reason.as_deref().unwrap_or_default().to_owned(),
        status: outcome.status,
    }
}

/// An address as text in `room`.
fn text(address: IpAddr, room: &mut [u8; ADDRESS_BYTES]) -> Cow<'_, str> {
    let mut rest = room.as_mut_slice();
    if write!(rest, "{address}").is_err() {
        return Cow::Owned(address.to_string());
    }
    let written = ADDRESS_BYTES - rest.len();
    Cow::Borrowed(
        room.get(..written)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default(),
    )
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

pub(crate) fn rfc3339(time: SystemTime) -> rfc3339::Written {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339::write(since.as_secs(), since.subsec_micros())
}
