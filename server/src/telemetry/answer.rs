//! Its methods.

use bytes::Bytes;
use serde_json::{Value, json};
use weir_actors::pipeline::metrics::recorded::{Recorded, Recording};
use weir_actors::plugin::call;
use weir_plugin_protocol::jsonrpc::{Field, Message};
use weir_plugin_protocol::mcp::{Era, Method, code, negotiate};

use crate::reply::{self, Refusal, arguments, text_result, tool_error};

/// How long the list of tools may be kept, in milliseconds: it never changes.
const LIST_TTL_MS: u64 = 3_600_000;

/// The tools, what they record, and what they say of themselves.
const TOOLS: [(&str, Recording, &str, &str); 3] = [
    (
        "record-counter",
        Recording::Counter,
        "integer",
        "Adds to a counter.",
    ),
    (
        "record-histogram",
        Recording::Histogram,
        "number",
        "Records one observation.",
    ),
    ("record-gauge", Recording::Gauge, "integer", "Sets a gauge."),
];

/// Answers a request.
pub(super) fn answer(message: &Message, id: &str, era: Era, recorded: &Recorded) -> Bytes {
    let complete = |result, ttl_ms| reply::complete(id, era, result, &server_info(), ttl_ms);
    match Method::parse(message.method()) {
        Method::Initialize => {
            let asked = message.text(Field::ProtocolVersion).unwrap_or_default();
            let version = negotiate(&asked);
            let hello = json!({ "protocolVersion": version.as_str(), "capabilities": { "tools": {} }, "serverInfo": server_info() });
            complete(hello, None)
        }
        Method::Discover if era == Era::Modern => {
            let versions = reply::modern_versions();
            let hello = json!({ "supportedVersions": versions, "capabilities": { "tools": {} } });
            complete(hello, Some(LIST_TTL_MS))
        }
        Method::Ping if era == Era::Legacy => complete(json!({}), None),
        Method::ToolsList => complete(json!({ "tools": tools() }), Some(LIST_TTL_MS)),
        Method::ToolsCall => {
            let name = message.text(Field::Name).unwrap_or_default();
            let Some((_, kind, ..)) = TOOLS.iter().find(|(known, ..)| *known == name) else {
                let text =
                    "unknown tool; there are record-counter, record-histogram and record-gauge";
                return Refusal::new(code::INVALID_PARAMS, text).answer(id);
            };
            let result = match record(&name, *kind, &arguments(message), recorded) {
                Ok(()) => text_result("recorded"),
                Err(text) => tool_error(&text),
            };
            complete(result, None)
        }
        _ => Refusal::new(code::METHOD_NOT_FOUND, "there are tools here, nothing else").answer(id),
    }
}

fn record(
    tool: &str,
    kind: Recording,
    arguments: &Value,
    recorded: &Recorded,
) -> Result<(), String> {
    call::check(tool, arguments).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let name = arguments.get("name").map(text).unwrap_or_default();
    let value = arguments.get("value").and_then(Value::as_f64);
    let value = value.ok_or("params.value: expected a finite number")?;
    let attributes = arguments.get("attributes").and_then(Value::as_object);
    let attributes = attributes.into_iter().flatten();
    let attributes =
        attributes.filter_map(|(key, value)| value.as_str().map(|value| (key.as_str(), value)));
    recorded
        .record(kind, &name, value, attributes)
        .map_err(|error| error.to_string())
}

fn tools() -> Vec<Value> {
    let tool = |(name, _, number, description): (&str, Recording, &str, &str)| {
        json!({
            "name": name,
            "description": description,
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": { "type": "string", "description": "What is measured, such as mcp.tool.calls." },
                    "value": { "type": number },
                    "attributes": { "type": "object", "additionalProperties": { "type": "string" } },
                },
                "required": ["name", "value"],
            },
        })
    };
    TOOLS.map(tool).to_vec()
}

fn server_info() -> Value {
    json!({ "name": "weir-telemetry", "version": env!("CARGO_PKG_VERSION") })
}
