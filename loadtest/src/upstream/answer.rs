//! What the server says to a message, whatever carried it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::behaviour::State;
use crate::message::Era;

/// What the tool list says.
const TOOLS: &str = r#""tools":[{"name":"echo","description":"Answers with the message.","inputSchema":{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}}]"#;

/// Who we are.
const SERVER_INFO: &str = concat!(
    r#"{"name":"weir-loadtest","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// What modern results carry.
const MODERN_MEMBERS: &str = r#""resultType":"complete","#;

/// A message of a client.
#[derive(Deserialize)]
pub(super) struct Request<'a> {
    /// As it was written; absent in notifications.
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    /// As it was written: a JSON string keeps its quotes.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

/// A JSON-RPC answer and the HTTP status that goes with it.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) body: String,
}

/// The HTTP status, code and text of an error.
type Problem = (&'static str, i64, &'static str);

// === impl Answer ===

impl Answer {
    /// To what is no request at all.
    pub(super) fn unreadable() -> Self {
        Self {
            status: "400 Bad Request",
            body:
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not a request"}}"#
                    .to_owned(),
        }
    }
}

// === impl Request ===

impl Request<'_> {
    /// Whether it asks for a stream of events in the modern era.
    pub(super) fn is_listen(&self) -> bool {
        self.method == "subscriptions/listen" && self.claim().is_some()
    }

    /// The first message of such a stream.
    pub(super) fn acknowledgement(&self) -> String {
        let id = self.id.map_or("null", RawValue::get);
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{"toolsListChanged":true}},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    }

    /// The answer; none to a notification.
    pub(super) async fn answer(&self, state: &State) -> Option<Answer> {
        let id = self.id?.get();
        let result = match self.call() {
            Some(message) => {
                let other = state.receive(message).await;
                Ok(self.echo(other.as_deref().unwrap_or(message), state.answer_bytes()))
            }
            None => self.result(),
        };
        Some(match result {
            Ok(result) => Answer {
                status: "200 OK",
                body: format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            },
            Err((status, code, message)) => Answer {
                status,
                body: format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#
                ),
            },
        })
    }

    /// The message of a call that is as it should be, a JSON string as it was written.
    fn call(&self) -> Option<&str> {
        let params = self.params.as_ref()?;
        let message = params.arguments.as_ref()?.message?.get();
        let echo = self.method == "tools/call" && params.name.as_deref() == Some("echo");
        (echo && message.starts_with('"') && self.known_version()).then_some(message)
    }

    fn echo(&self, message: &str, more: usize) -> String {
        let modern = self.claim().map_or("", |_| MODERN_MEMBERS);
        if more == 0 {
            return format!(r#"{{{modern}"content":[{{"type":"text","text":{message}}}]}}"#);
        }
        let more = "x".repeat(more);
        format!(
            r#"{{{modern}"content":[{{"type":"text","text":{message}}},{{"type":"text","text":"{more}"}}]}}"#
        )
    }

    /// The result of everything but a good call.
    fn result(&self) -> Result<String, Problem> {
        if !self.known_version() {
            return Err(("400 Bad Request", -32022, "unsupported protocol version"));
        }
        let claims = self.claim().is_some();
        let fault = |status: &'static str| if claims { status } else { "200 OK" };
        match self.method.as_ref() {
            "tools/call" => Err((
                fault("400 Bad Request"),
                -32602,
                "the only tool is echo, its argument a message",
            )),
            "tools/list" if claims => Ok(format!(
                r#"{{{MODERN_MEMBERS}"ttlMs":60000,"cacheScope":"public",{TOOLS}}}"#
            )),
            "tools/list" => Ok(format!("{{{TOOLS}}}")),
            "server/discover" if claims => Ok(format!(
                r#"{{{MODERN_MEMBERS}"supportedVersions":["{}"],"capabilities":{{"tools":{{}}}},"ttlMs":60000,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER_INFO}}}}}"#,
                Era::Modern.version()
            )),
            "initialize" if !claims => Ok(self.hello()),
            "ping" if !claims => Ok("{}".to_owned()),
            _ => Err((fault("404 Not Found"), -32601, "method not found")),
        }
    }

    fn hello(&self) -> String {
        let known = ["2025-03-26", "2025-06-18", "2025-11-25"];
        let asked = self
            .params
            .as_ref()
            .and_then(|params| params.protocol_version.as_deref());
        let version = asked
            .filter(|version| known.contains(version))
            .unwrap_or(Era::Legacy.version());
        format!(
            r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{SERVER_INFO}}}"#
        )
    }

    /// The revision that a modern request names.
    fn claim(&self) -> Option<&str> {
        let meta = self.params.as_ref()?.meta.as_ref()?;
        meta.version.as_deref()
    }

    fn known_version(&self) -> bool {
        self.claim()
            .is_none_or(|version| version == Era::Modern.version())
    }
}
