//! What is recorded of every request that reached the gateway.

use serde::Serialize;

/// One audit event: one JSON object, one line. Never holds arguments, results or credentials.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditEvent {
    /// UUID version 7 of this event.
    pub event_id: String,
    /// When the request arrived, RFC 3339 with microseconds, UTC.
    pub timestamp: String,
    /// `mcp.request`, `mcp.shed`, or `gateway.start`, `gateway.stop`, `supervisor.restart`, ….
    pub event_type: &'static str,
    /// The tenant of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The caller; absent if nobody was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The upstream server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<String>,
    /// The tool's own name at its server, for `tools/call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The prompt name or resource URI, where the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `ok`, `tool_error`, `upstream_error`, `denied`, `refused`, `cancelled`, `timeout`, `aborted`.
    pub result: &'static str,
    /// Why, for everything but `ok`: a short machine-readable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The JSON-RPC or HTTP method: `tools/call`, or `GET`, `DELETE`; empty if it could not be read.
    pub method: String,
    /// The JSON-RPC request id as the client wrote it (at most 128 bytes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The protocol revision of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// The legacy session, by its public number (never the sealed id itself).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Address of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<String>,
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
    /// Free text for operations events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
