//! What is sent besides calls, and how a request is written.

use serde_json::{Value, json};

use crate::target::Target;

/// How a client speaks MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Era {
    /// 2026-07-28, without sessions.
    Modern,
    /// 2025-11-25, in sessions.
    Legacy,
}

// === impl Era ===

impl Era {
    /// The revision.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Modern => "2026-07-28",
            Self::Legacy => "2025-11-25",
        }
    }

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }

    /// `_meta` of a modern request.
    pub(crate) fn meta(self) -> Value {
        json!({
            "io.modelcontextprotocol/protocolVersion": self.version(),
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "weir-loadtest", "version": env!("CARGO_PKG_VERSION") },
        })
    }
}

/// The handshake of the legacy era: the request.
pub(crate) fn initialize(target: &Target, headers: &[String]) -> Vec<u8> {
    let params = json!({
        "protocolVersion": Era::Legacy.version(), "capabilities": {},
        "clientInfo": { "name": "weir-loadtest", "version": env!("CARGO_PKG_VERSION") },
    });
    let body = json!({ "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params });
    post(target, headers, &body.to_string())
}

/// The notification that ends the handshake. `headers` name the session.
pub(crate) fn initialized(target: &Target, headers: &[String]) -> Vec<u8> {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    post(target, headers, body)
}

/// The request for a stream of events: `subscriptions/listen`, or GET in the session that `headers` name.
pub(crate) fn listen(target: &Target, era: Era, headers: &[String]) -> Vec<u8> {
    if era == Era::Legacy {
        return request("GET", target, headers, "");
    }
    let body = json!({ "jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen",
        "params": { "notifications": { "toolsListChanged": true }, "_meta": era.meta() } });
    let mut own = vec![
        format!("MCP-Protocol-Version: {}", era.version()),
        "Mcp-Method: subscriptions/listen".to_owned(),
    ];
    own.extend_from_slice(headers);
    post(target, &own, &body.to_string())
}

/// A POST of JSON.
pub(crate) fn post(target: &Target, headers: &[String], body: &str) -> Vec<u8> {
    request("POST", target, headers, body)
}

fn request(method: &str, target: &Target, headers: &[String], body: &str) -> Vec<u8> {
    let mut text = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\n",
        target.path, target.authority
    );
    if method == "GET" {
        text += "Accept: text/event-stream\r\n";
    } else {
        text += "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
    }
    for header in headers {
        text += header;
        text += "\r\n";
    }
    if method == "GET" {
        text += "\r\n";
    } else {
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    }
    text.into_bytes()
}
