//! A small MCP client over HTTP: enough to list tools and call one.
//!
//! It speaks the modern era; an endpoint that says it cannot is spoken to in [`legacy`] sessions.

mod legacy;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};
use thiserror::Error;
use weir_actors::upstream::http::{
    AddressRule, HttpAnswer, HttpClient, HttpClientConfig, HttpError, HttpTarget, TlsTrust,
};
use weir_plugin_protocol::Secret;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, ParseError};
use weir_plugin_protocol::mcp::{
    ParamKind, Version, code, encode_header_value, header_annotations,
};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The most pages of a list.
const MAX_PAGES: usize = 1000;

/// A client of one endpoint.
#[derive(Debug)]
pub struct Client {
    target: HttpTarget,
    http: HttpClient,
    token: Option<Secret>,
    timeout: Duration,
    /// The session, once the endpoint turned out to need one.
    session: RefCell<Option<legacy::Session>>,
}

/// One tool of a list.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The tool as it was listed.
    pub raw: Value,
}

/// Why a call did not succeed.
#[derive(Debug, Error)]
pub enum CallError {
    /// The URL is not one.
    #[error("{0}; write a URL such as http://127.0.0.1:8811")]
    Url(String),
    /// Nobody answered.
    #[error("no answer from {endpoint}: {reason}; is the gateway running?")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The answer took too long.
    #[error("no answer in {} s; use --timeout to wait longer", .0.as_secs())]
    Timeout(Duration),
    /// What came back is not MCP.
    #[error("the answer is not MCP: {0}; does the URL name a gateway?")]
    NotMcp(String),
    /// The answer is an error.
    #[error("{message} (code {code}{})", .data.as_ref().map(|data| format!(", data {data}")).unwrap_or_default())]
    Answered {
        /// The JSON-RPC code.
        code: i64,
        /// What it says.
        message: String,
        /// More, if it says more.
        data: Option<Value>,
    },
}

// === impl Client ===

impl Client {
    /// Makes a client; connects at the first request.
    ///
    /// # Errors
    /// The URL cannot be used, or the machine's certificates cannot be read.
    pub fn new(url: &str, token: Option<Secret>, timeout: Duration) -> Result<Self, CallError> {
        // Whoever types a URL means it.
        let target = HttpTarget::parse(url)
            .map_err(|error| CallError::Url(error.to_string()))?
            .under(AddressRule::Any);
        let tls = if target.tls() {
            Some(TlsTrust::native(&[]).map_err(|error| CallError::Url(error.to_string()))?)
        } else {
            None
        };
        let http = HttpClient::new(HttpClientConfig {
            tls,
            ..HttpClientConfig::default()
        });
        Ok(Self {
            target,
            http,
            token,
            timeout,
            session: RefCell::new(None),
        })
    }

    /// Lists the tools, every page of them.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn tools(&self) -> Result<Vec<Tool>, CallError> {
        let mut tools = Vec::new();
        let mut cursor: Option<Value> = None;
        for _ in 0..MAX_PAGES {
            let params = match cursor.take() {
                Some(cursor) => json!({ "cursor": cursor }),
                None => json!({}),
            };
            let result = self
                .request("tools/list", None, params, HeaderMap::new(), |_| {})
                .await?;
            let page = result
                .get("tools")
                .and_then(Value::as_array)
                .ok_or_else(|| CallError::NotMcp("the list has no tools".to_owned()))?;
            tools.extend(page.iter().filter_map(|raw| {
                Some(Tool {
                    name: raw.get("name")?.as_str()?.to_owned(),
                    raw: raw.clone(),
                })
            }));
            cursor = result
                .get("nextCursor")
                .filter(|cursor| cursor.is_string())
                .cloned();
            if cursor.is_none() {
                break;
            }
        }
        Ok(tools)
    }

    /// Calls a tool; `arguments` is a JSON object. `notice` is told of progress and log messages.
    ///
    /// # Errors
    /// See [`CallError`]. A tool's own error is a result with `isError`.
    pub async fn call(
        &self,
        name: &str,
        arguments: &str,
        notice: impl Fn(&str),
    ) -> Result<Value, CallError> {
        let arguments: Value = serde_json::from_str(arguments)
            .map_err(|error| CallError::NotMcp(error.to_string()))?;
        let headers = match self.tools().await?.iter().find(|tool| tool.name == name) {
            Some(tool) => argument_headers(tool, &arguments),
            None => HeaderMap::new(),
        };
        let params =
            json!({ "name": name, "arguments": arguments, "_meta": { "progressToken": 1 } });
        let result = self
            .request("tools/call", Some(name), params, headers, notice)
            .await?;
        match result.get("resultType").and_then(Value::as_str) {
            None | Some("complete") => Ok(result),
            Some(other) => Err(CallError::NotMcp(format!(
                "the tool wants a conversation ({other}), which this client cannot lead"
            ))),
        }
    }

    async fn request(
        &self,
        method: &'static str,
        name: Option<&str>,
        params: Value,
        headers: HeaderMap,
        notice: impl Fn(&str),
    ) -> Result<Value, CallError> {
        if self.session.borrow().is_none() {
            let asked = self.modern(method, name, params.clone(), headers, &notice);
            match asked.await {
                Err(CallError::Answered { code, .. }) if code == code::UNSUPPORTED_VERSION => {
                    let session = self.begin_session().await?;
                    self.session.replace(Some(session));
                }
                answered => return answered,
            }
        }
        self.in_session(method, params, &notice).await
    }

    async fn modern(
        &self,
        method: &'static str,
        name: Option<&str>,
        mut params: Value,
        mut headers: HeaderMap,
        notice: impl Fn(&str),
    ) -> Result<Value, CallError> {
        let version = Version::V2026_07_28.as_str();
        let meta = [
            ("io.modelcontextprotocol/protocolVersion", json!(version)),
            ("io.modelcontextprotocol/clientCapabilities", json!({})),
            ("io.modelcontextprotocol/clientInfo", client_info()),
        ];
        if let Some(params) = params.as_object_mut()
            && let Some(members) = params
                .entry("_meta")
                .or_insert_with(|| json!({}))
                .as_object_mut()
        {
            members.extend(meta.map(|(key, value)| (key.to_owned(), value)));
        }
        headers.insert("mcp-protocol-version", HeaderValue::from_static(version));
        headers.insert("mcp-method", HeaderValue::from_static(method));
        if let Some(value) =
            name.and_then(|name| HeaderValue::from_str(&encode_header_value(name)).ok())
        {
            headers.insert("mcp-name", value);
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let exchange = async {
            let answer = self.post(headers, &body).await?;
            self.read(answer, notice).await
        };
        self.in_time(exchange).await
    }

    /// Posts a message with what every request has.
    async fn post(&self, mut headers: HeaderMap, body: &Value) -> Result<HttpAnswer, CallError> {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        if let Some(token) = &self.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        self.http
            .send(&self.target, Method::POST, headers, body.to_string().into())
            .await
            .map_err(|error| self.unreachable(&error))
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| CallError::Timeout(self.timeout))?
    }

    async fn read(&self, answer: HttpAnswer, notice: impl Fn(&str)) -> Result<Value, CallError> {
        let status = answer.status;
        if !answer.is_event_stream() {
            let body = answer
                .bytes(MAX_ANSWER)
                .await
                .map_err(|error| self.unreachable(&error))?;
            return match Message::parse(body, &Limits::default()) {
                Ok(message) => settle(&message),
                Err(_) if !status.is_success() => {
                    Err(CallError::NotMcp(format!("HTTP status {status}")))
                }
                Err(error) => Err(error.into()),
            };
        }
        let mut events = answer.events(MAX_ANSWER);
        while let Some(event) = events.next().await {
            let data = event.map_err(|error| self.unreachable(&error))?.data;
            if data.is_empty() {
                continue;
            }
            let message = Message::parse(data, &Limits::default())?;
            match message.kind() {
                Kind::Notification => tell(&message, &notice),
                Kind::Request => {}
                Kind::Result | Kind::Error => return settle(&message),
            }
        }
        Err(CallError::NotMcp(
            "the stream ended without an answer".to_owned(),
        ))
    }

    fn unreachable(&self, error: &HttpError) -> CallError {
        let reason = match &error.source {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        CallError::Unreachable {
            endpoint: format!("{}:{}", self.target.host(), self.target.port()),
            reason,
        }
    }
}

fn client_info() -> Value {
    json!({ "name": "weir-call", "version": env!("CARGO_PKG_VERSION") })
}

fn settle(message: &Message) -> Result<Value, CallError> {
    let value = |field: Field| {
        message
            .field(field)
            .and_then(|raw| serde_json::from_str::<Value>(raw).ok())
    };
    match message.kind() {
        Kind::Result => value(Field::Result)
            .ok_or_else(|| CallError::NotMcp("the result is not JSON".to_owned())),
        Kind::Error => Err(CallError::Answered {
            code: value(Field::ErrorCode)
                .and_then(|code| code.as_i64())
                .unwrap_or_default(),
            message: message
                .text(Field::ErrorMessage)
                .unwrap_or_default()
                .into_owned(),
            data: value(Field::ErrorData),
        }),
        Kind::Request | Kind::Notification => Err(CallError::NotMcp(
            "a request instead of an answer".to_owned(),
        )),
    }
}

fn tell(message: &Message, notice: &impl Fn(&str)) {
    let params: Value = message
        .field(Field::Params)
        .and_then(|raw| serde_json::from_str(raw).ok())
        .unwrap_or_default();
    let text = |key: &str| {
        params.get(key).map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    };
    let line = match message.method() {
        "notifications/progress" => text("message").or_else(|| text("progress")),
        "notifications/message" => text("data"),
        _ => None,
    };
    if let Some(line) = line {
        let line: String = line
            .chars()
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        notice(&line);
    }
}

/// The arguments that the tool's schema wants repeated as headers.
fn argument_headers(tool: &Tool, arguments: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let schema = tool
        .raw
        .get("inputSchema")
        .map(Value::to_string)
        .unwrap_or_default();
    for annotation in header_annotations(&schema).unwrap_or_default() {
        let argument = annotation
            .path
            .iter()
            .try_fold(arguments, |value, key| value.get(key));
        let text = match (annotation.kind, argument) {
            (ParamKind::String, Some(Value::String(text))) => text.clone(),
            (ParamKind::Integer, Some(number @ Value::Number(_))) => number.to_string(),
            (ParamKind::Boolean, Some(truth @ Value::Bool(_))) => truth.to_string(),
            _ => continue,
        };
        let name = HeaderName::try_from(annotation.header.as_str());
        let value = HeaderValue::from_str(&encode_header_value(&text));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    headers
}

// === impl CallError ===

impl From<ParseError> for CallError {
    fn from(error: ParseError) -> Self {
        CallError::NotMcp(error.message)
    }
}
