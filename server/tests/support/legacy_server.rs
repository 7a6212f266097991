//! A legacy MCP server that does exactly what a test tells it, over Streamable HTTP. It needs nothing installed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Longest time until the server has been sent something.
const LIMIT: Duration = Duration::from_secs(20);

/// A request that the server has read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The HTTP method.
    pub(crate) verb: String,
    pub(crate) headers: HashMap<String, String>,
    /// Null without a body.
    pub(crate) body: Value,
}

/// What the server answers.
#[derive(Clone)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// An event stream: texts of events with their blank line, and pauses.
    Events(Vec<Step>),
    /// The connection is closed without a word.
    Nothing,
}

#[derive(Clone)]
pub(crate) enum Step {
    Send(String),
    /// Goes on when a permit is added.
    Wait(Arc<Semaphore>),
    /// Goes on sending this text until the client closes the connection; nobody waits for it.
    Flood(String),
    /// Waits for ever.
    Hang,
}

type Script = dyn Fn(&Seen) -> Option<Reply> + Send + Sync;

/// The running server. Sessions are `s1`, `s2`, ...; a request in a session that it does not know is answered 404.
#[derive(Clone)]
pub(crate) struct LegacyServer {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    version: String,
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    sessions: Mutex<Vec<String>>,
    next: AtomicU64,
}

impl LegacyServer {
    /// Starts a server that agrees to no newer revision than `version`. What the script has no reply for is answered as
    /// usual.
    pub(crate) async fn start(
        version: &str,
        script: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("a socket");
        let shared = Arc::new(Shared {
            version: version.to_owned(),
            script: Box::new(script),
            seen: Mutex::default(),
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
        });
        let accepting = shared.clone();
        // On a thread of its own: tests wait for processes without letting go of theirs.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = accepting.clone();
                    tokio::spawn(async move {
                        let _closed = shared.converse(stream).await;
                    });
                }
            });
        });
        Self {
            url: format!("http://127.0.0.1:{port}/mcp"),
            shared,
        }
    }

    /// Its `servers:` entry.
    pub(crate) fn entry(&self) -> String {
        json!({ "type": "http", "url": self.url, "protocol": "legacy" }).to_string()
    }

    /// Everything that it has read.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no reader panicked").clone()
    }

    /// Waits until as many requests as `count` were like this, and returns them.
    pub(crate) async fn has_seen(&self, count: usize, like: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found: Vec<Seen> = self.seen().into_iter().filter(|seen| like(seen)).collect();
            if found.len() >= count {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "only {} of {count}: {:#?}",
                found.len(),
                self.seen()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The sessions that it knows.
    pub(crate) fn sessions(&self) -> Vec<String> {
        self.shared
            .sessions
            .lock()
            .expect("no reader panicked")
            .clone()
    }

    /// Forgets every session, as a server does that was restarted.
    pub(crate) fn lose_sessions(&self) {
        self.shared
            .sessions
            .lock()
            .expect("no reader panicked")
            .clear();
    }
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The tool that is called.
    pub(crate) fn tool(&self) -> &str {
        self.body["params"]["name"].as_str().unwrap_or_default()
    }

    /// A result for this request.
    pub(crate) fn result(&self, result: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": self.body["id"], "result": result })
    }

    /// The result of a tool that says this.
    pub(crate) fn says(&self, text: &str) -> Value {
        self.result(json!({ "content": [{ "type": "text", "text": text }] }))
    }
}

/// An event without an id.
pub(crate) fn event(message: &Value) -> Step {
    Step::Send(format!("data: {message}\n\n"))
}

/// An event with one.
pub(crate) fn event_as(id: &str, message: &Value) -> Step {
    Step::Send(format!("id: {id}\ndata: {message}\n\n"))
}

impl Shared {
    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let Some(seen) = read(&mut stream).await? else {
                return Ok(());
            };
            let reply = self.reply(&seen);
            let session = match (&reply, seen.method()) {
                (Reply::Json(200, _), "initialize") => {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    let session = format!("s{number}");
                    self.sessions.lock().expect("sound").push(session.clone());
                    format!("Mcp-Session-Id: {session}\r\n")
                }
                _ => String::new(),
            };
            self.seen.lock().expect("sound").push(seen);
            let stream = stream.get_mut();
            match reply {
                Reply::Nothing => return Ok(()),
                Reply::Json(status, body) => {
                    let body = if body.is_null() {
                        String::new()
                    } else {
                        body.to_string()
                    };
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{session}Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).await?;
                }
                Reply::Events(steps) => {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                    stream.write_all(head.as_bytes()).await?;
                    for step in steps {
                        step.take(stream).await?;
                    }
                    stream.write_all(b"0\r\n\r\n").await?;
                }
            }
        }
    }

    fn reply(&self, seen: &Seen) -> Reply {
        let session = seen.header("mcp-session-id");
        let is_known = |session: &str| -> bool {
            self.sessions
                .lock()
                .expect("sound")
                .iter()
                .any(|known| known == session)
        };
        if session.is_some_and(|session| !is_known(session)) {
            return Reply::Json(
                404,
                json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32001, "message": "Session not found" } }),
            );
        }
        if let Some(reply) = (self.script)(seen) {
            return reply;
        }
        match (seen.verb.as_str(), seen.method()) {
            ("GET", _) => Reply::Json(405, Value::Null),
            ("DELETE", _) => {
                let mut sessions = self.sessions.lock().expect("sound");
                sessions.retain(|known| Some(known.as_str()) != session);
                Reply::Json(200, Value::Null)
            }
            (_, "initialize") => {
                let asked = seen.body["params"]["protocolVersion"]
                    .as_str()
                    .unwrap_or_default();
                let agreed = asked.min(self.version.as_str());
                Reply::Json(
                    200,
                    seen.result(json!({
                        "protocolVersion": agreed,
                        "capabilities": { "tools": {}, "logging": {} },
                        "serverInfo": { "name": "scripted", "version": "1" },
                    })),
                )
            }
            (_, "tools/list") => {
                let tools: Vec<Value> = ["echo", "one", "two", "three"]
                    .iter()
                    .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }))
                    .collect();
                Reply::Json(200, seen.result(json!({ "tools": tools })))
            }
            (_, "tools/call") => {
                let text = seen.body["params"]["arguments"]["text"]
                    .as_str()
                    .unwrap_or("called");
                Reply::Json(200, seen.says(text))
            }
            _ if seen.body["id"].is_null() || seen.method().is_empty() => {
                Reply::Json(202, Value::Null)
            }
            _ => Reply::Json(200, seen.result(json!({}))),
        }
    }
}

impl Step {
    async fn take(self, stream: &mut TcpStream) -> io::Result<()> {
        match self {
            Self::Send(text) => chunk(stream, &text).await,
            Self::Wait(gate) => {
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
                Ok(())
            }
            Self::Flood(text) => {
                let mut many = String::new();
                for _ in 0..100 {
                    many += &text;
                }
                loop {
                    chunk(stream, &many).await?;
                }
            }
            Self::Hang => {
                // Until the other side closes.
                let mut byte = [0];
                let _ = stream.read(&mut byte).await?;
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

async fn chunk(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let mut chunk = String::new();
    let _ = write!(chunk, "{:x}\r\n{text}\r\n", text.len());
    stream.write_all(chunk.as_bytes()).await
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let verb = line.split(' ').next().unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Seen {
        verb,
        headers,
        body,
    }))
}
