//! What the MCP servers inside weir answer alike, in both eras.

use bytes::Bytes;
use serde_json::{Value, json};
use weir_plugin_protocol::jsonrpc::{Field, Message};
use weir_plugin_protocol::mcp::{Era, MODERN_VERSIONS, error_response, result_response};

/// Why a request is refused.
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
}

/// Makes the answer of a result; the modern era says more with it. `ttl_ms` is how long everybody may keep it.
pub(crate) fn complete(
    id: &str,
    era: Era,
    mut result: Value,
    server_info: &Value,
    ttl_ms: Option<u64>,
) -> Bytes {
    if let (Era::Modern, Some(members)) = (era, result.as_object_mut()) {
        members.insert("resultType".to_owned(), "complete".into());
        if let Some(ttl_ms) = ttl_ms {
            members.insert("ttlMs".to_owned(), ttl_ms.into());
            members.insert("cacheScope".to_owned(), "public".into());
        }
        members.insert(
            "_meta".to_owned(),
            json!({ "io.modelcontextprotocol/serverInfo": server_info }),
        );
    }
    result_response(id, &result.to_string())
}

/// The arguments of a tool; null if there are none.
pub(crate) fn arguments(message: &Message) -> Value {
    message
        .field(Field::Arguments)
        .and_then(|raw| serde_json::from_str(raw).ok())
        .unwrap_or_default()
}

/// A tool result of one text.
pub(crate) fn text_result(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

/// The result of a tool that failed.
pub(crate) fn tool_error(text: &str) -> Value {
    let mut result = text_result(text);
    if let Some(result) = result.as_object_mut() {
        result.insert("isError".to_owned(), Value::Bool(true));
    }
    result
}

/// The stateless revisions.
pub(crate) fn modern_versions() -> Vec<&'static str> {
    MODERN_VERSIONS
        .iter()
        .map(|version| version.as_str())
        .collect()
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The answer that says so.
    pub(crate) fn answer(&self, id: &str) -> Bytes {
        let data = self.data.as_ref().map(Value::to_string);
        error_response(Some(id), self.code, &self.message, data.as_deref())
    }
}
