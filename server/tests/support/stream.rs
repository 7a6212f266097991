//! A client that keeps a stream open and hears what is said on it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::mcp::{LEGACY, MODERN};

/// Longest time until something is said.
const LIMIT: Duration = Duration::from_secs(30);

/// An open stream of events.
pub(crate) struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    /// `subscriptions/listen`.
    pub(crate) async fn listen(endpoint: &str, mut params: Value) -> Self {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let method = "subscriptions/listen";
        let body = json!({ "jsonrpc": "2.0", "id": "listen", "method": method, "params": params });
        let headers = [
            ("content-type", "application/json"),
            ("mcp-protocol-version", MODERN),
            ("mcp-method", method),
        ];
        Self::open(http::Method::POST, endpoint, &headers, body.to_string()).await
    }

    /// The standalone stream of a legacy session.
    pub(crate) async fn standalone(endpoint: &str, session: &str) -> Self {
        let headers = [
            ("mcp-protocol-version", LEGACY),
            ("mcp-session-id", session),
        ];
        Self::open(http::Method::GET, endpoint, &headers, String::new()).await
    }

    async fn open(
        method: http::Method,
        endpoint: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Self {
        let uri: http::Uri = endpoint.parse().expect("a URL");
        let authority = uri.authority().expect("a host").as_str();
        let stream = TcpStream::connect(authority).await.expect("it listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("it speaks HTTP");
        tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri.path())
            .header("host", authority)
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        Self {
            body: answer.into_body(),
            text: String::new(),
        }
    }

    /// Waits for a notification; others are dropped.
    pub(crate) async fn next(&mut self, notification: &str) -> Value {
        let wanted = format!("notifications/{notification}");
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                while let Some((event, rest)) = self.text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data:"));
                    let message = data.and_then(|data| serde_json::from_str::<Value>(data).ok());
                    self.text = rest.to_owned();
                    if let Some(message) = message
                        && message["method"] == wanted.as_str()
                    {
                        return message;
                    }
                }
                let frame = self.body.frame().await.expect("the stream goes on");
                if let Ok(data) = frame.expect("the stream goes on").into_data() {
                    self.text.push_str(&String::from_utf8_lossy(&data));
                }
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("{wanted} did not come; last: {:?}", self.text))
    }
}
