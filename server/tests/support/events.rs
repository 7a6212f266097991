//! One HTTP request whose answer is read event by event, on a connection that can be dropped in between.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest time until the head of an answer, or an event, has come.
const LIMIT: Duration = Duration::from_secs(15);

/// An answer under way. Dropping it cuts the connection.
pub(crate) struct Events {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    body: Incoming,
    unread: String,
    connection: JoinHandle<hyper::Result<()>>,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: String,
}

impl Events {
    /// Sends a request on a connection of its own and waits for the head of the answer.
    pub(crate) async fn open(
        method: http::Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Self {
        let uri: http::Uri = url.parse().expect("a URL");
        let authority = uri.authority().expect("the URL has a host").as_str();
        let stream = TcpStream::connect(authority).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        let connection = tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri.path())
            .header("host", authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(body.into()))
            .expect("a good request");
        let answer = timeout(LIMIT, sender.send_request(request))
            .await
            .unwrap_or_else(|_| panic!("no answer from {url} in {LIMIT:?}"))
            .expect("an answer");
        let (parts, body) = answer.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            unread: String::new(),
            connection,
        }
    }

    /// The next event; nothing at the end of the stream. Comments are skipped.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let event = Event::parse(block);
                self.unread = rest.to_owned();
                if event != Event::default() {
                    return Some(event);
                }
            }
            let frame = timeout(LIMIT, self.body.frame())
                .await
                .unwrap_or_else(|_| panic!("no event in {LIMIT:?}; unread: {:?}", self.unread))?;
            let Ok(frame) = frame else { return None };
            let data = frame.into_data().unwrap_or_default();
            self.unread += std::str::from_utf8(&data).expect("UTF-8");
        }
    }

    /// The next event with data.
    pub(crate) async fn message(&mut self) -> Option<(Event, Value)> {
        loop {
            let event = self.next().await?;
            if !event.data.is_empty() {
                let value = serde_json::from_str(&event.data)
                    .unwrap_or_else(|error| panic!("{error} in {event:?}"));
                return Some((event, value));
            }
        }
    }

    /// All that follows, up to the end of the stream.
    pub(crate) async fn rest(mut self) -> Vec<(Event, Value)> {
        let mut rest = Vec::new();
        while let Some(message) = self.message().await {
            rest.push(message);
        }
        rest
    }

    /// The whole body, of an answer that is no stream.
    pub(crate) async fn json(mut self) -> Value {
        let mut text = String::new();
        while let Some(Ok(frame)) = self.body.frame().await {
            text += std::str::from_utf8(&frame.into_data().unwrap_or_default()).expect("UTF-8");
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    pub(crate) fn is_stream(&self) -> bool {
        let kind = self.headers.get("content-type");
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        let mut data = Vec::new();
        for line in block.lines() {
            match line.split_once(':') {
                Some(("id", value)) => event.id = Some(value.trim().to_owned()),
                Some(("retry", value)) => event.retry = value.trim().parse().ok(),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                _ => {}
            }
        }
        event.data = data.join("\n");
        event
    }
}
