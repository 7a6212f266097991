//! The demo's methods, in both eras. A request that names a revision in `_meta` is of the modern era.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weir_plugin_protocol::jsonrpc::{Field, Message};
use weir_plugin_protocol::mcp::{Era, Method, code, negotiate};

use super::offer;
use crate::reply::{self, Refusal, arguments, tool_error};

/// How long the lists may be kept, in milliseconds: they never change.
const LIST_TTL_MS: u64 = 3_600_000;

/// What happens to a request.
pub(super) enum Reply {
    /// The answer is here.
    Now(Bytes),
    /// The answer takes time.
    Later(Work),
}

/// Work that takes time. Dropping its future cancels it: no answer is sent.
pub(super) enum Work {
    /// Counts and reports progress.
    Count {
        /// The id of the request.
        id: String,
        /// Its era.
        era: Era,
        /// What to call the progress, if the client wants to hear of it.
        token: Option<String>,
        /// How far to count.
        to: u64,
        /// How long each step takes.
        delay: Duration,
    },
    /// A subscription to changes, of which there are none.
    Listen {
        /// The id of the request.
        id: String,
    },
}

/// Answers a request.
pub(super) fn answer(message: &Message) -> Reply {
    let id = message.id().unwrap_or("null");
    let outcome = era(message).and_then(|era| perform(message, id, era));
    match outcome {
        Ok(reply) => reply,
        Err(refusal) => Reply::Now(refusal.answer(id)),
    }
}

fn era(message: &Message) -> Result<Era, Refusal> {
    let Some(requested) = message.text(Field::MetaVersion) else {
        return Ok(Era::Legacy);
    };
    let supported = reply::modern_versions();
    if !supported.contains(&&*requested) {
        let data = json!({ "supported": supported, "requested": requested });
        return Err(Refusal {
            data: Some(data),
            ..Refusal::new(code::UNSUPPORTED_VERSION, "unsupported protocol version")
        });
    }
    if message.field(Field::MetaCapabilities).is_none() {
        return Err(Refusal::new(
            code::INVALID_PARAMS,
            "_meta lacks io.modelcontextprotocol/clientCapabilities",
        ));
    }
    Ok(Era::Modern)
}

fn perform(message: &Message, id: &str, era: Era) -> Result<Reply, Refusal> {
    let method = Method::parse(message.method());
    if !method.exists_in(era) {
        return Err(Refusal::new(
            code::METHOD_NOT_FOUND,
            format!("unknown method: {}", message.method()),
        ));
    }
    let text = |field: Field, name: &str| {
        message.text(field).ok_or_else(|| {
            Refusal::new(
                code::INVALID_PARAMS,
                format!("params.{name} must be a text"),
            )
        })
    };
    let now = |result: Value| Ok(Reply::Now(complete(id, era, result, None)));
    let list = |key: &str, items: Value| {
        Ok(Reply::Now(complete(
            id,
            era,
            json!({ key: items }),
            Some(LIST_TTL_MS),
        )))
    };
    match method {
        Method::Initialize => {
            let version = negotiate(&text(Field::ProtocolVersion, "protocolVersion")?);
            now(hello(
                json!({ "protocolVersion": version.as_str(), "serverInfo": server_info() }),
            ))
        }
        Method::Discover => {
            let supported = reply::modern_versions();
            Ok(Reply::Now(complete(
                id,
                era,
                hello(json!({ "supportedVersions": supported })),
                Some(LIST_TTL_MS),
            )))
        }
        Method::Ping => now(json!({})),
        Method::ToolsList => list("tools", offer::tools()),
        Method::PromptsList => list("prompts", offer::prompts()),
        Method::ResourcesList => list("resources", offer::resources()),
        Method::ResourcesTemplatesList => list("resourceTemplates", offer::templates()),
        Method::ToolsCall => call(message, id, era, &text(Field::Name, "name")?),
        Method::PromptsGet => {
            let name = text(Field::Name, "name")?;
            now(offer::prompt(&name, &arguments(message))
                .map_err(|text| Refusal::new(code::INVALID_PARAMS, text))?)
        }
        Method::ResourcesRead => {
            let uri = text(Field::Uri, "uri")?;
            match offer::resource(&uri) {
                Some(result) => Ok(Reply::Now(complete(id, era, result, Some(LIST_TTL_MS)))),
                None => {
                    let code = if era == Era::Modern {
                        code::INVALID_PARAMS
                    } else {
                        code::RESOURCE_NOT_FOUND
                    };
                    Err(Refusal {
                        data: Some(json!({ "uri": uri })),
                        ..Refusal::new(code, "resource not found")
                    })
                }
            }
        }
        Method::Listen => Ok(Reply::Later(Work::Listen { id: id.to_owned() })),
        _ => Err(Refusal::new(
            code::METHOD_NOT_FOUND,
            format!("unknown method: {}", message.method()),
        )),
    }
}

fn call(message: &Message, id: &str, era: Era, name: &str) -> Result<Reply, Refusal> {
    let arguments = arguments(message);
    if name == "slow_count" {
        let whole = |key: &str, default: u64, limit: u64| match arguments.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|number| *number <= limit)
                .ok_or_else(|| format!("`{key}` must be a whole number up to {limit}")),
        };
        return Ok(
            match (whole("to", 5, 1000), whole("delay_ms", 200, 10_000)) {
                (Ok(to), Ok(delay_ms)) => Reply::Later(Work::Count {
                    id: id.to_owned(),
                    era,
                    token: message.field(Field::MetaProgressToken).map(str::to_owned),
                    to,
                    delay: Duration::from_millis(delay_ms),
                }),
                (Err(text), _) | (_, Err(text)) => {
                    Reply::Now(complete(id, era, tool_error(&text), None))
                }
            },
        );
    }
    let is_known = offer::tools().as_array().is_some_and(|tools| {
        tools
            .iter()
            .any(|tool| tool.get("name").is_some_and(|known| known == name))
    });
    match offer::call(name, &arguments) {
        Ok(result) => Ok(Reply::Now(complete(id, era, result, None))),
        Err(text) if is_known => Ok(Reply::Now(complete(id, era, tool_error(&text), None))),
        Err(text) => Err(Refusal::new(code::INVALID_PARAMS, text)),
    }
}

fn server_info() -> Value {
    json!({ "name": "weir-demo", "title": "weir's demo server", "version": env!("CARGO_PKG_VERSION") })
}

fn hello(mut result: Value) -> Value {
    if let Some(members) = result.as_object_mut() {
        members.insert(
            "capabilities".to_owned(),
            json!({ "tools": {}, "prompts": {}, "resources": {} }),
        );
        members.insert(
            "instructions".to_owned(),
            "A demo: echo, add, slow_count and now.".into(),
        );
    }
    result
}

fn complete(id: &str, era: Era, result: Value, ttl_ms: Option<u64>) -> Bytes {
    reply::complete(id, era, result, &server_info(), ttl_ms)
}

// === impl Work ===

impl Work {
    /// Does the work and sends what comes of it. Ends early if nobody reads.
    pub(super) async fn run(self, lines: mpsc::Sender<Bytes>) {
        match self {
            Work::Count {
                id,
                era,
                token,
                to,
                delay,
            } => {
                for step in 1..=to {
                    tokio::time::sleep(delay).await;
                    if let Some(token) = &token
                        && lines.send(progress(token, step, to)).await.is_err()
                    {
                        return;
                    }
                }
                let result = reply::text_result(&format!("counted to {to}"));
                let _ = lines.send(complete(&id, era, result, None)).await;
            }
            Work::Listen { id } => {
                let acknowledged = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{}},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
                );
                let _ = lines.send(acknowledged.into()).await;
                std::future::pending::<()>().await;
            }
        }
    }
}

fn progress(token: &str, step: u64, to: u64) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":{to},"message":"{step} of {to}"}}}}"#
    )
    .into()
}
