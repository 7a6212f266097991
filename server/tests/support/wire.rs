//! One HTTP request, one answer: enough to see exactly what the gateway says.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest time of one exchange.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// `GET url`.
pub(crate) async fn get(url: &str) -> Result<Answer, String> {
    send(http::Method::GET, url, &[], Bytes::new()).await
}

/// Sends a request on a connection of its own. `Host` is set unless `headers` has one.
pub(crate) async fn send(
    method: http::Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, String> {
    let exchange = exchange(method, url, headers, body.into());
    tokio::time::timeout(LIMIT, exchange)
        .await
        .map_err(|_| format!("no answer from {url} in {LIMIT:?}"))?
}

async fn exchange(
    method: http::Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Answer, String> {
    let uri: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let authority = uri.authority().ok_or("the URL has no host")?.as_str();
    let stream = TcpStream::connect(authority).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request = request.header("host", authority);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).map_err(text)?;
    let (parts, body) = sender
        .send_request(request)
        .await
        .map_err(text)?
        .into_parts();
    let body = body.collect().await.map_err(text)?.to_bytes();
    connection.abort();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

fn text(error: impl std::error::Error) -> String {
    error.to_string()
}

impl Answer {
    /// The body as JSON; of an event stream, the last event's data.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.messages().pop().unwrap_or(serde_json::Value::Null)
    }

    /// Every JSON message of the body: one, or those of an event stream in order.
    pub(crate) fn messages(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8_lossy(&self.body);
        let parse = |json: &str| {
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json:?}"))
        };
        if !self.header("content-type").starts_with("text/event-stream") {
            return if text.is_empty() {
                Vec::new()
            } else {
                vec![parse(&text)]
            };
        }
        let data = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim);
        data.filter(|data| !data.is_empty()).map(parse).collect()
    }

    /// A header's text, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
