//! One `tools/call`: written once as bytes, sent with another id each time, its answer checked.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::target::Target;
use crate::wire::Received;

/// Digits of an id. Ids are JSON strings of one length, so that the next one can be written over the last.
const ID_DIGITS: usize = 12;

/// How the calls speak MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Era {
    /// 2026-07-28, without sessions.
    Modern,
    /// 2025-11-25, one session for each connection.
    Legacy,
}

/// A request ready to be sent.
pub(crate) struct Call {
    bytes: Vec<u8>,
    /// Where in `bytes` the id's digits begin.
    id_at: usize,
    id: [u8; ID_DIGITS],
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// The connection could not be made, broke, or was silent too long.
    Transport,
    /// Another HTTP status than 200.
    Status(u16),
    /// A JSON-RPC error.
    Error(i64),
    /// A tool result with `isError`.
    ToolError,
    /// Not an answer to this call.
    WrongAnswer,
}

#[derive(serde::Deserialize)]
struct Answer<'a> {
    id: Option<&'a str>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<AnswerError>,
}

#[derive(serde::Deserialize)]
struct AnswerError {
    code: i64,
}

// === impl Era ===

impl Era {
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Modern => "2026-07-28",
            Self::Legacy => "2025-11-25",
        }
    }
}

// === impl Call ===

impl Call {
    /// A call of `tool` with a message of so many bytes.
    pub(crate) fn new(
        target: &Target,
        era: Era,
        tool: &str,
        message_bytes: usize,
        headers: &[String],
    ) -> Self {
        let id = [b'0'; ID_DIGITS];
        let mut params =
            json!({ "name": tool, "arguments": { "message": "x".repeat(message_bytes) } });
        let mut own = Vec::new();
        if let (Era::Modern, Some(members)) = (era, params.as_object_mut()) {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": era.version(),
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "weir-loadtest", "version": env!("CARGO_PKG_VERSION") },
            });
            members.insert("_meta".to_owned(), meta);
            own.push("Mcp-Method: tools/call".to_owned());
            own.push(format!("Mcp-Name: {tool}"));
        }
        own.push(format!("MCP-Protocol-Version: {}", era.version()));
        own.extend_from_slice(headers);
        let id_text = String::from_utf8_lossy(&id);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"{id_text}","method":"tools/call","params":{params}}}"#
        );
        let bytes = post(target, &own, &body);
        let id_at = bytes.len() - body.len() + r#"{"jsonrpc":"2.0","id":""#.len();
        Self { bytes, id_at, id }
    }

    /// The request with the next id.
    pub(crate) fn next(&mut self) -> &[u8] {
        for digit in self.id.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        if let Some(place) = self.bytes.get_mut(self.id_at..self.id_at + ID_DIGITS) {
            place.copy_from_slice(&self.id);
        }
        &self.bytes
    }

    /// Whether this is a good answer to the request sent last.
    pub(crate) fn check(&self, received: &Received) -> Result<(), Failure> {
        let status = received.status().unwrap_or_default();
        let streamed = received
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let body = std::str::from_utf8(&received.body).map_err(|_| Failure::WrongAnswer)?;
        let message = if streamed { last_event(body) } else { body };
        let Ok(answer) = serde_json::from_str::<Answer<'_>>(message) else {
            return Err(if status == 200 {
                Failure::WrongAnswer
            } else {
                Failure::Status(status)
            });
        };
        if let Some(error) = answer.error {
            return Err(Failure::Error(error.code));
        }
        if status != 200 {
            return Err(Failure::Status(status));
        }
        let Some(result) = answer.result else {
            return Err(Failure::WrongAnswer);
        };
        if answer.id.map(str::as_bytes) != Some(&self.id) {
            return Err(Failure::WrongAnswer);
        }
        if result.get().contains(r#""isError":true"#) {
            Err(Failure::ToolError)
        } else {
            Ok(())
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport => formatter.write_str("connection failed"),
            Self::Status(status) => write!(formatter, "HTTP {status}"),
            Self::Error(code) => write!(formatter, "error {code}"),
            Self::ToolError => formatter.write_str("tool error"),
            Self::WrongAnswer => formatter.write_str("wrong answer"),
        }
    }
}

/// The handshake of the legacy era: the request, and what follows it once the session is known.
pub(crate) fn handshake(target: &Target, headers: &[String]) -> Vec<u8> {
    let params = json!({
        "protocolVersion": Era::Legacy.version(), "capabilities": {},
        "clientInfo": { "name": "weir-loadtest", "version": env!("CARGO_PKG_VERSION") },
    });
    let body: Value =
        json!({ "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params });
    post(target, headers, &body.to_string())
}

/// The notification that ends the handshake.
pub(crate) fn initialized(target: &Target, headers: &[String]) -> Vec<u8> {
    post(
        target,
        headers,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    )
}

fn post(target: &Target, headers: &[String], body: &str) -> Vec<u8> {
    let mut text = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\n",
        target.path, target.authority
    );
    text += "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
    for header in headers {
        text += header;
        text += "\r\n";
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

fn last_event(stream: &str) -> &str {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .next_back()
        .unwrap_or_default()
        .trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call::new(
            &"http://127.0.0.1:1/mcp".parse().unwrap(),
            Era::Modern,
            "echo",
            4,
            &["X: y".to_owned()],
        )
    }

    #[test]
    fn ids_are_written_over_each_other() {
        let mut call = call();
        let first = String::from_utf8(call.next().to_vec()).unwrap();
        assert!(first.contains(r#""id":"000000000001""#), "{first}");
        for _ in 0..9 {
            call.next();
        }
        let text = String::from_utf8(call.next().to_vec()).unwrap();
        assert!(text.contains(r#""id":"000000000011""#), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len()))
                && head.contains("\r\nX: y\r\n"),
            "{head}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(body).unwrap()["params"]["arguments"]["message"],
            "xxxx"
        );
    }
}
