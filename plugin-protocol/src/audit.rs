//! What is recorded of every request that reached the gateway.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// One audit event: one JSON object, one line. Never holds arguments, results or credentials.
///
/// Its texts are borrowed where they can be: there is one event for every request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditEvent<'a> {
    /// UUID version 7 of this event.
    pub event_id: Cow<'a, str>,
    /// When the request arrived, RFC 3339 with microseconds, UTC.
    pub timestamp: Cow<'a, str>,
    /// `mcp.request`, `mcp.shed`, or `gateway.start`, `gateway.stop`, `supervisor.restart`, ….
    pub event_type: &'static str,
    /// The tenant of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<Cow<'a, str>>,
    /// The caller; absent if nobody was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Cow<'a, str>>,
    /// The upstream server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<Cow<'a, str>>,
    /// The tool's own name at its server, for `tools/call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Cow<'a, str>>,
    /// The prompt name or resource URI, where the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Cow<'a, str>>,
    /// `ok`, `tool_error`, `upstream_error`, `denied`, `refused`, `cancelled`, `timeout`, `aborted`.
    pub result: &'static str,
    /// Why, for everything but `ok`: a short machine-readable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// The JSON-RPC or HTTP method: `tools/call`, or `GET`, `DELETE`; empty if it could not be read.
    pub method: Cow<'a, str>,
    /// The JSON-RPC request id as the client wrote it (at most 128 bytes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// The protocol revision of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<Cow<'a, str>>,
    /// The legacy session, by its public number (never the sealed id itself).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Cow<'a, str>>,
    /// Address of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<Cow<'a, str>>,
    /// The HTTP status that the client got.
    pub status: u16,
    /// The JSON-RPC error code, where the answer was an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
    /// From arrival to answer, in microseconds.
    pub duration_us: u64,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub response_bytes: u64,
    /// How many requests this event stands for, where it is not one: `mcp.shed` counts what was refused within a second
    /// because there was too much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The hash of what was approved, for `pin.` events: `sha256:` and 64 digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_sha256: Option<String>,
    /// The hash of what is offered, for `pin.` events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_sha256: Option<String>,
    /// What interceptors said of the request and of the answer, in the order in which they answered.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub interceptors: &'a [Interception],
    /// Free text for operations events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
}

/// What one interceptor said. Never holds what it said it of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interception {
    /// The plugin.
    #[serde(serialize_with = "text")]
    pub plugin: Arc<str>,
    /// `request` or `response`.
    pub phase: &'static str,
    /// `passed`, `warned`, `modified`, `denied`, `failed`, `timeout`; `would_deny` and `would_modify` if it is only
    /// recorded; `failed_passed` and `timeout_passed` if the message went on all the same.
    pub verdict: &'static str,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// One audit event as an audit sink gets it: the parameters of `log_event`. What has no member of its own is in
/// `metadata`, under the names of [`AuditEvent`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogEvent {
    /// When it happened, RFC 3339.
    pub timestamp: String,
    /// What happened: `mcp.request`, `gateway.start`, ….
    pub event_type: String,
    /// The tenant of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The upstream server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<String>,
    /// The tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Everything else, among it `event_id`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}
