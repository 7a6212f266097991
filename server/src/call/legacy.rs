//! The client in the legacy era: `initialize`, then requests in a session.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use weir_plugin_protocol::mcp::Version;

use super::{CallError, Client, client_info};

/// A session of the endpoint.
#[derive(Debug)]
pub(super) struct Session {
    headers: HeaderMap,
}

// === impl Client ===

impl Client {
    pub(super) async fn begin_session(&self) -> Result<Session, CallError> {
        let version = Version::V2025_11_25.as_str();
        let params =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client_info() });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let exchange = async {
            let answer = self.post(HeaderMap::new(), &body).await?;
            let id = answer.headers.get("mcp-session-id").cloned();
            let hello = self.read(answer, |_| {}).await?;
            let agreed = hello.get("protocolVersion").and_then(Value::as_str);
            let agreed = agreed.and_then(Version::parse).ok_or_else(|| {
                CallError::NotMcp("initialize was answered without a version".to_owned())
            })?;
            let mut headers = HeaderMap::new();
            headers.insert(
                "mcp-protocol-version",
                HeaderValue::from_static(agreed.as_str()),
            );
            if let Some(id) = id {
                headers.insert("mcp-session-id", id);
            }
            let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
            self.post(headers.clone(), &ready).await?;
            Ok(Session { headers })
        };
        self.in_time(exchange).await
    }

    pub(super) async fn in_session(
        &self,
        method: &'static str,
        params: Value,
        notice: impl Fn(&str),
    ) -> Result<Value, CallError> {
        let headers = {
            let session = self.session.borrow();
            session.as_ref().map(|session| session.headers.clone())
        };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let exchange = async {
            let answer = self.post(headers.unwrap_or_default(), &body).await?;
            self.read(answer, notice).await
        };
        self.in_time(exchange).await
    }
}
