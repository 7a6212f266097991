//! MCP requests as a client of each era writes them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::events::Events;
use super::wire::{self, Answer};

/// The newest revision.
pub(crate) const MODERN: &str = "2026-07-28";

/// The newest revision with a handshake.
pub(crate) const LEGACY: &str = "2025-11-25";

/// What a modern client accepts.
const ACCEPT: &str = "application/json, text/event-stream";

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Result(Value),
    Error {
        status: u16,
        code: i64,
        message: String,
        data: Value,
    },
}

/// A client without a session.
#[derive(Clone, Debug)]
pub(crate) struct ModernClient {
    pub(crate) endpoint: String,
    /// More headers, such as `authorization`.
    pub(crate) headers: Vec<(String, String)>,
}

/// A client with a session.
#[derive(Clone, Debug)]
pub(crate) struct LegacyClient {
    pub(crate) endpoint: String,
    pub(crate) headers: Vec<(String, String)>,
    /// The session, and what the server said to `initialize`.
    pub(crate) session: String,
    pub(crate) hello: Value,
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

// === impl ModernClient ===

impl ModernClient {
    pub(crate) fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same client with a key or token.
    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sends a request and takes its answer apart.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Outcome {
        outcome(
            &self
                .answer(method, params)
                .await
                .unwrap_or_else(|error| panic!("{method}: {error}")),
        )
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Outcome {
        self.request(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        )
        .await
    }

    /// Sends a request and gives the whole answer.
    pub(crate) async fn answer(&self, method: &str, mut params: Value) -> Result<Answer, String> {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        params["_meta"]["io.modelcontextprotocol/clientInfo"] =
            json!({ "name": "weir-tests", "version": "1" });
        let name = params
            .get("name")
            .or_else(|| params.get("uri"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let body = json!({ "jsonrpc": "2.0", "id": next_id(), "method": method, "params": params });
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", ACCEPT),
            ("mcp-protocol-version", MODERN),
            ("mcp-method", method),
        ];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        wire::send(
            http::Method::POST,
            &self.endpoint,
            &headers,
            body.to_string(),
        )
        .await
    }
}

// === impl LegacyClient ===

impl LegacyClient {
    /// Shakes hands.
    pub(crate) async fn connect(
        endpoint: impl Into<String>,
        headers: &[(&str, &str)],
    ) -> Result<Self, Outcome> {
        Self::connect_as(endpoint, headers, LEGACY, json!({})).await
    }

    /// Shakes hands and asks for this revision, with these capabilities.
    pub(crate) async fn connect_as(
        endpoint: impl Into<String>,
        headers: &[(&str, &str)],
        version: &str,
        capabilities: Value,
    ) -> Result<Self, Outcome> {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut client = Self {
            endpoint: endpoint.into(),
            headers,
            session: String::new(),
            hello: Value::Null,
        };
        let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": { "name": "weir-tests", "version": "1" } });
        let answer = client.post(&json!({ "jsonrpc": "2.0", "id": next_id(), "method": "initialize", "params": params })).await;
        match outcome(&answer) {
            Outcome::Result(hello) => client.hello = hello,
            error @ Outcome::Error { .. } => return Err(error),
        }
        client.session = answer.header("mcp-session-id").to_owned();
        client
            .post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        Ok(client)
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Outcome {
        outcome(&self.post(&json!({ "jsonrpc": "2.0", "id": next_id(), "method": method, "params": params })).await)
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Outcome {
        self.request(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        )
        .await
    }

    /// Sends any message.
    pub(crate) async fn post(&self, message: &Value) -> Answer {
        self.try_post(message)
            .await
            .unwrap_or_else(|error| panic!("{message}: {error}"))
    }

    /// The headers of a request in the session.
    pub(crate) fn in_session(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![("content-type", "application/json"), ("accept", ACCEPT)];
        if !self.session.is_empty() {
            headers.extend([
                ("mcp-session-id", self.session.as_str()),
                (
                    "mcp-protocol-version",
                    self.hello["protocolVersion"].as_str().unwrap_or(LEGACY),
                ),
            ]);
        }
        headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        headers
    }

    /// Sends a message and reads what comes event by event.
    pub(crate) async fn stream(&self, message: &Value) -> Events {
        let headers = self.in_session();
        let body = message.to_string();
        Events::open(http::Method::POST, &self.endpoint, &headers, body).await
    }

    /// Opens the standalone stream, or reads on after an event.
    pub(crate) async fn listen(&self, after: Option<&str>) -> Events {
        let mut headers = self.in_session();
        headers.extend(after.map(|id| ("last-event-id", id)));
        Events::open(http::Method::GET, &self.endpoint, &headers, "").await
    }

    /// Ends the session.
    pub(crate) async fn end(&self) -> Answer {
        let headers = self.in_session();
        wire::send(http::Method::DELETE, &self.endpoint, &headers, "")
            .await
            .unwrap_or_else(|error| panic!("DELETE: {error}"))
    }

    pub(crate) async fn try_post(&self, message: &Value) -> Result<Answer, String> {
        let headers = self.in_session();
        wire::send(
            http::Method::POST,
            &self.endpoint,
            &headers,
            message.to_string(),
        )
        .await
    }
}

// === impl Outcome ===

impl Outcome {
    /// The result; panics on an error.
    pub(crate) fn result(self) -> Value {
        match self {
            Self::Result(result) => result,
            error => panic!("expected a result, got {error:?}"),
        }
    }

    /// The text of a tool's first content block; panics on an error.
    pub(crate) fn text(self) -> String {
        let result = self.result();
        result["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {result}"))
            .to_owned()
    }

    /// The error's code, or `None` for a result.
    pub(crate) fn code(&self) -> Option<i64> {
        match self {
            Self::Result(_) => None,
            Self::Error { code, .. } => Some(*code),
        }
    }
}

/// Takes an answer apart. Panics if it is neither result nor error: silence is not a possible outcome.
pub(crate) fn outcome(answer: &Answer) -> Outcome {
    let message = answer.json();
    if let Some(result) = message.get("result") {
        return Outcome::Result(result.clone());
    }
    let Some(error) = message.get("error") else {
        panic!("neither result nor error: {answer:?}")
    };
    Outcome::Error {
        status: answer.status,
        code: error["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("error without code: {answer:?}")),
        message: error["message"].as_str().unwrap_or_default().to_owned(),
        data: error.get("data").cloned().unwrap_or(Value::Null),
    }
}

/// The names in a list result.
pub(crate) fn names(list: &Value, kind: &str, key: &str) -> Vec<String> {
    let items = list[kind]
        .as_array()
        .unwrap_or_else(|| panic!("no {kind} in {list}"));
    items
        .iter()
        .map(|item| {
            item[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} in {item}"))
                .to_owned()
        })
        .collect()
}
