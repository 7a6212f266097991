//! A modern MCP server over HTTP whose tools misbehave on demand, with counts of what reached it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::mcp::MODERN;

/// The tools: `echo` answers with `text`; `sleep` answers after `ms`; `hang` never answers; `cut` closes the connection
/// instead of answering; `flood` answers with events of `bytes` bytes each for ever; `blob` answers with `bytes` bytes.
const TOOLS: [&str; 6] = ["echo", "sleep", "hang", "cut", "flood", "blob"];

/// The server. It ends with the test.
pub(crate) struct Scripted {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    cut_off: AtomicUsize,
    hangs: AtomicBool,
}

/// Counts a call while it runs.
struct Running(Arc<Seen>);

impl Scripted {
    /// Listens on loopback.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::<Seen>::default();
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = shared.clone();
                tokio::spawn(async move { converse(stream, &seen).await });
            }
        });
        Self {
            url: format!("http://{address}/mcp"),
            seen,
        }
    }

    /// The `servers:` entry, with more keys.
    pub(crate) fn entry(&self, more: Value) -> String {
        let mut entry = json!({ "type": "http", "url": self.url, "protocol": "modern" });
        if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), more) {
            entry.extend(more);
        }
        entry.to_string()
    }

    /// From now on no tool answers, or all do again.
    pub(crate) fn hang(&self, hangs: bool) {
        self.seen.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Calls of tools that reached it.
    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    /// Calls that run now.
    pub(crate) fn running(&self) -> usize {
        self.seen.running.load(Ordering::SeqCst)
    }

    /// The most calls that ran at the same time.
    pub(crate) fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }

    /// Calls that the gateway gave up by closing the connection.
    pub(crate) fn cut_off(&self) -> usize {
        self.seen.cut_off.load(Ordering::SeqCst)
    }
}

impl Running {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.calls.fetch_add(1, Ordering::SeqCst);
        let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(running, Ordering::SeqCst);
        Self(seen.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn converse(mut stream: TcpStream, seen: &Arc<Seen>) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    loop {
        let request = receive(&mut stream, &mut bytes).await?;
        let id = request["id"].clone();
        let params = &request["params"];
        let method = request["method"].as_str().unwrap_or_default();
        let result = match method {
            "server/discover" => {
                json!({ "supportedVersions": [MODERN], "capabilities": { "tools": {} },
                "ttlMs": 600_000, "cacheScope": "public" })
            }
            "tools/list" => {
                let schema = json!({ "type": "object" });
                let tools = TOOLS.map(|name| json!({ "name": name, "inputSchema": schema }));
                json!({ "tools": tools, "ttlMs": 600_000, "cacheScope": "public" })
            }
            "tools/call" => {
                let running = Running::new(seen);
                let called = call(&mut stream, seen, params, &id);
                let text = called.await?;
                drop(running);
                json!({ "content": [{ "type": "text", "text": text }] })
            }
            _ => Value::Null,
        };
        let mut answer = json!({ "jsonrpc": "2.0", "id": id });
        if result.is_null() {
            answer["error"] = json!({ "code": -32601, "message": "unknown method" });
        } else {
            answer["result"] = result;
            answer["result"]["resultType"] = "complete".into();
        }
        let body = answer.to_string();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .ok()?;
    }
}

/// Does what the tool is for. Nothing: the connection is over.
async fn call(
    stream: &mut TcpStream,
    seen: &Arc<Seen>,
    params: &Value,
    id: &Value,
) -> Option<String> {
    let arguments = &params["arguments"];
    let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
    let tool = params["name"].as_str().unwrap_or_default();
    match tool {
        _ if seen.hangs.load(Ordering::SeqCst) => given_up(stream, seen).await,
        "hang" => given_up(stream, seen).await,
        "cut" => None,
        "sleep" => {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(number("ms"))) => Some(String::new()),
                nothing = given_up(stream, seen) => nothing,
            }
        }
        "blob" => Some("x".repeat(usize::try_from(number("bytes")).ok()?)),
        "flood" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            let text = "x".repeat(usize::try_from(number("bytes")).ok()?);
            let _ = id;
            let notification = json!({ "jsonrpc": "2.0", "method": "notifications/message",
                "params": { "level": "info", "data": text } });
            let event = format!("data: {notification}\n\n");
            loop {
                if stream.write_all(event.as_bytes()).await.is_err() {
                    seen.cut_off.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
            }
        }
        _ => Some(arguments["text"].as_str().unwrap_or_default().to_owned()),
    }
}

/// Waits until the gateway closes the connection.
async fn given_up(stream: &mut TcpStream, seen: &Arc<Seen>) -> Option<String> {
    let mut nothing = [0; 64];
    while stream.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
    seen.cut_off.fetch_add(1, Ordering::SeqCst);
    None
}

/// Reads one request and returns its body as JSON.
async fn receive(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Value> {
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(Ok(0), |length| length.trim().parse::<usize>())
        .ok()?;
    while bytes.len() < end + length {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    let request = serde_json::from_slice(bytes.get(end..end + length)?).unwrap_or(Value::Null);
    bytes.drain(..end + length);
    Some(request)
}
