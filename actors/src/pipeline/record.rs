//! The audit record of a request.

use std::time::SystemTime;

use uuid::Uuid;
use weir_plugin_protocol::audit::AuditEvent;
use weir_plugin_protocol::mcp::{Era, Method};

use super::exchange::{Arrival, Facts};
use super::{ClientRequest, Outcome};
use crate::builtin::audit_lines::Shed;
use crate::builtin::rfc3339;

/// Bytes of a request id that are recorded.
const REQUEST_ID_BYTES: usize = 128;

/// Writes down what became of a request.
pub(super) fn event(
    arrival: &Arrival,
    facts: &Facts,
    outcome: &Outcome,
    sent: usize,
) -> AuditEvent {
    let message = match &arrival.request {
        ClientRequest::Modern(request) => Some(&request.message),
        ClientRequest::Legacy(message) => Some(message),
        _ => None,
    };
    let target = facts.target.clone();
    let is_tool = arrival.request.method() == Method::ToolsCall;
    AuditEvent {
        event_id: Uuid::now_v7().to_string(),
        timestamp: rfc3339(arrival.wall),
        event_type: "mcp.request",
        tenant_id: facts
            .principal
            .as_ref()
            .and_then(|principal| principal.tenant_id.clone()),
        user_id: facts
            .principal
            .as_ref()
            .map(|principal| principal.user_id.clone()),
        mcp_server: facts.server.as_ref().map(ToString::to_string),
        tool: target.clone().filter(|_| is_tool),
        target: target.filter(|_| !is_tool),
        result: outcome.verdict.as_str(),
        reason: outcome.reason.as_ref().map(ToString::to_string),
        method: cut(arrival.request.method_name(), REQUEST_ID_BYTES),
        request_id: message
            .and_then(|message| message.id())
            .map(|id| cut(id, REQUEST_ID_BYTES)),
        protocol_version: match &arrival.request {
            ClientRequest::Modern(request) => Some(request.version.as_str().to_owned()),
            request => request
                .era()
                .filter(|era| *era == Era::Legacy)
                .map(|_| "legacy".to_owned()),
        },
        session: facts.session.clone(),
        client_address: arrival.peer.map(|peer| peer.to_string()),
        status: outcome.status,
        error_code: outcome.error_code,
        duration_us: u64::try_from(arrival.at.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_bytes: arrival.request_bytes as u64,
        response_bytes: sent as u64,
        count: None,
        detail: None,
    }
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

fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn rfc3339(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339::format(since.as_secs(), since.subsec_micros())
}
