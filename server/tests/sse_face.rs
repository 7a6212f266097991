//! HTTP+SSE of 2024-11-05: one stream for everything, messages posted beside it, and nobody on the stream of another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::upstream::demo_entry;
use support::wire::{self, Answer};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest time until an event has come.
const LIMIT: Duration = Duration::from_secs(20);

/// An open stream.
struct SseClient {
    base: String,
    headers: Vec<(String, String)>,
    /// Where it was told to post.
    endpoint: String,
    body: hyper::body::Incoming,
    text: String,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for SseClient {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl SseClient {
    async fn open(base: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let authority = base.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(authority).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = http::Request::get(path)
            .header("host", authority)
            .header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        if head.status != 200 {
            return Err(head.status.as_u16());
        }
        assert_eq!(head.headers["content-type"], "text/event-stream");
        let headers = headers.iter();
        let mut client = Self {
            base: base.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            endpoint: String::new(),
            body,
            text: String::new(),
            connection,
        };
        let (event, data) = client.event().await.unwrap();
        assert_eq!(event, "endpoint", "the first event");
        client.endpoint = data;
        Ok(client)
    }

    /// The next event, its name and its data; nothing when the stream has ended.
    async fn event(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(|value| value.trim().to_owned())
                };
                let found = field("data:").map(|data| (field("event:").unwrap_or_default(), data));
                self.text = rest.to_owned();
                match found {
                    Some(found) => return Some(found),
                    None => continue,
                }
            }
            let frame = timeout(LIMIT, self.body.frame())
                .await
                .expect("an event in time");
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.text.push_str(std::str::from_utf8(&data).unwrap());
                    }
                }
                _ => return None,
            }
        }
    }

    async fn message(&mut self) -> Value {
        let (event, data) = self.event().await.expect("the stream goes on");
        assert_eq!(event, "message");
        serde_json::from_str(&data).unwrap()
    }

    /// Waits for the answer to a request.
    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.message().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    async fn post(&self, message: &Value) -> Answer {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        post(
            &format!("{}{}", self.base, self.endpoint),
            message,
            &headers,
        )
        .await
    }

    async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        let accepted = self
            .post(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        self.answer(id).await
    }

    async fn shake_hands(&mut self, version: &str) -> Value {
        let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let hello = self.ask(0, "initialize", params).await;
        let told = self
            .post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        assert_eq!(told.status, 202);
        hello["result"].clone()
    }
}

async fn post(url: &str, message: &Value, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    wire::send(http::Method::POST, url, &headers, message.to_string())
        .await
        .unwrap()
}

fn demo() -> String {
    format!("servers:\n  demo: {}\n", demo_entry())
}

fn add(id: u64, a: u64) -> Value {
    let params = json!({ "name": "add", "arguments": { "a": a, "b": 1 } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

#[tokio::test]
async fn an_old_client_is_served_on_its_stream() {
    let gateway = Gateway::start(&demo()).connected().await;
    for (path, version) in [("/sse", "2024-11-05"), ("/servers/demo/sse", "2025-06-18")] {
        let mut client = SseClient::open(&gateway.base, path, &[]).await.unwrap();
        let messages = path.replace("/sse", "/messages?sessionId=");
        assert!(
            client.endpoint.starts_with(&messages),
            "{}",
            client.endpoint
        );
        let early = json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/list" });
        let early = client.post(&early).await;
        assert_eq!(
            (early.status, &early.json()["error"]["code"]),
            (400, &json!(-32600))
        );
        assert_eq!(client.ask(8, "ping", json!({})).await["result"], json!({}));
        let hello = client.shake_hands(version).await;
        assert_eq!(hello["protocolVersion"], version);
        let tools = client.ask(1, "tools/list", json!({})).await;
        assert_eq!(tools["result"]["tools"][0]["name"], "echo");
        assert_eq!(client.post(&add(2, 41)).await.status, 202);
        assert_eq!(client.answer(2).await["result"]["content"][0]["text"], "42");

        let arguments = json!({ "to": 100, "delay_ms": 100 });
        let params = json!({ "name": "slow_count", "arguments": arguments, "_meta": { "progressToken": 7 } });
        client
            .post(&json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params }))
            .await;
        let progress = client.message().await;
        assert_eq!(
            (&progress["method"], &progress["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!(7))
        );
        let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 3 } });
        assert_eq!(client.post(&cancelled).await.status, 202);
        assert_eq!(client.post(&add(4, 1)).await.status, 202);
        loop {
            let message = client.message().await;
            assert_ne!(message["id"], 3, "it was cancelled");
            if message["id"] == 4 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_post_is_said_to_whoever_posts() {
    let gateway = Gateway::start(&format!("{}limits: {{ max_body_bytes: 2000 }}\n", demo()))
        .connected()
        .await;
    let mut client = SseClient::open(&gateway.base, "/sse", &[]).await.unwrap();
    client.shake_hands("2024-11-05").await;
    let url = format!("{}{}", gateway.base, client.endpoint);
    let send = async |url: &str, kind: &str, body: String| {
        let headers = [("content-type", kind)];
        wire::send(http::Method::POST, url, &headers, body)
            .await
            .unwrap()
    };
    let json = "application/json";
    assert_eq!(
        send(&url, json, "garbage".into()).await.json()["error"]["code"],
        -32700
    );
    assert_eq!(send(&url, json, "[]".into()).await.status, 400);
    assert_eq!(
        send(&url, "text/plain", add(1, 1).to_string()).await.status,
        415
    );
    assert_eq!(send(&url, json, "x".repeat(3000)).await.status, 413);
    let modern = support::pipes::modern(1, "tools/list", json!({}));
    assert_eq!(
        send(&url, json, modern.to_string()).await.json()["error"]["code"],
        -32022
    );
    let nobodys = format!(
        "{}/messages?sessionId=0123456789abcdef0123456789abcdef",
        gateway.base
    );
    assert_eq!(
        send(&nobodys, json, add(1, 1).to_string()).await.status,
        404
    );
    assert_eq!(
        send(
            &format!("{}/messages", gateway.base),
            json,
            add(1, 1).to_string()
        )
        .await
        .status,
        404
    );
    let elsewhere = url.replace("/messages", "/servers/demo/messages");
    assert_eq!(
        send(&elsewhere, json, add(1, 1).to_string()).await.status,
        404,
        "a stream has one endpoint"
    );
    // Nothing of that has hurt the stream.
    assert_eq!(client.post(&add(2, 1)).await.status, 202);
    assert_eq!(client.answer(2).await["result"]["content"][0]["text"], "2");

    let foreign = [("host", "evil.example")];
    assert_eq!(post(&url, &add(3, 1), &foreign).await.status, 403);
    for (path, status) in [("/servers/nobody/sse", 404), ("/sse/more", 307)] {
        assert_eq!(
            SseClient::open(&gateway.base, path, &[]).await.err(),
            Some(status),
            "{path}"
        );
    }
    // Streamable HTTP is where it always was.
    let elsewhere = wire::send(
        http::Method::POST,
        &format!("{}/sse", gateway.base),
        &[],
        "{}",
    )
    .await
    .unwrap();
    assert_eq!(
        (elsewhere.status, elsewhere.header("location")),
        (307, "/mcp")
    );
}

#[tokio::test]
async fn only_who_opened_a_stream_may_post_to_it() {
    let key = |user: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["keys", "new", user]);
        let made = support::process::Process::run("weir keys", command, LIMIT);
        let lines = made.stdout.lines().map(str::trim);
        let said = |mark| {
            lines
                .clone()
                .find_map(|line| line.strip_prefix(mark))
                .unwrap()
                .to_owned()
        };
        (
            said("key: "),
            serde_json::from_str::<Value>(&format!("{{{}", said("- {"))).unwrap(),
        )
    };
    let (ada, adas) = key("ada");
    let (bob, bobs) = key("bob");
    let keys = json!([adas, bobs]);
    let auth = json!({ "providers": [{ "type": "api-keys", "keys": keys }] });
    let gateway = Gateway::start(&format!("{}auth: {auth}\n", demo()))
        .connected()
        .await;
    let (adas, bobs) = (format!("Bearer {ada}"), format!("Bearer {bob}"));
    assert_eq!(
        SseClient::open(&gateway.base, "/sse", &[]).await.err(),
        Some(401)
    );
    let mut client = SseClient::open(&gateway.base, "/sse", &[("authorization", &adas)])
        .await
        .unwrap();
    client.shake_hands("2024-11-05").await;
    let url = format!("{}{}", gateway.base, client.endpoint);
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    for message in [add(1, 1), cancel, json!("garbage")] {
        assert_eq!(post(&url, &message, &[]).await.status, 401, "{message}");
        assert_eq!(
            post(&url, &message, &[("authorization", &bobs)])
                .await
                .status,
            404,
            "{message}"
        );
    }
    assert_eq!(client.post(&add(1, 1)).await.status, 202);
    assert_eq!(client.answer(1).await["result"]["content"][0]["text"], "2");
}

#[tokio::test]
async fn a_session_ends_with_its_stream() {
    let gateway = Gateway::start(&demo()).connected().await;
    let permits = async || {
        wire::get(&format!("{}/permits", gateway.admin))
            .await
            .unwrap()
            .json()
    };
    let client = {
        let mut client = SseClient::open(&gateway.base, "/sse", &[]).await.unwrap();
        client.shake_hands("2024-11-05").await;
        client.ask(1, "tools/list", json!({})).await;
        client
    };
    let url = format!("{}{}", gateway.base, client.endpoint);
    assert_eq!(
        permits().await["streams"]["taken"],
        2,
        "the stream, and that of its session"
    );
    drop(client);
    let gone = timeout(LIMIT, async {
        while permits().await["streams"]["taken"] != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    gone.await
        .expect("nothing is held for a client that is gone");
    assert_eq!(post(&url, &add(1, 1), &[]).await.status, 404);
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let gateway = Gateway::start(&format!("{}http: {{ sse: false }}\n", demo()))
        .connected()
        .await;
    assert_eq!(
        SseClient::open(&gateway.base, "/sse", &[]).await.err(),
        Some(307)
    );
    assert_eq!(
        SseClient::open(&gateway.base, "/servers/demo/sse", &[])
            .await
            .err(),
        Some(404)
    );
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_gateway_stops() {
    let gateway = Gateway::start(&demo()).connected().await;
    let mut client = SseClient::open(&gateway.base, "/sse", &[]).await.unwrap();
    client.shake_hands("2024-11-05").await;
    let arguments = json!({ "to": 8, "delay_ms": 100 });
    let params =
        json!({ "name": "slow_count", "arguments": arguments, "_meta": { "progressToken": 7 } });
    client
        .post(&json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params }))
        .await;
    client.message().await;
    gateway.ask_to_stop();
    assert!(client.answer(3).await.get("result").is_some());
    assert_eq!(client.event().await, None, "and then the stream ends");
    assert!(gateway.terminate(LIMIT).success());
}
