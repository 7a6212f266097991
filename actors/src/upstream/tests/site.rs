//! A small MCP server over HTTP, made by hand, that does what a test tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

use crate::upstream::config::ServerConfig;

/// The server. All clones are the same.
#[derive(Clone)]
pub(super) struct Site(Arc<Shared>);

struct Shared {
    port: u16,
    behaviour: Mutex<Behaviour>,
    /// Frames for every open stream.
    frames: broadcast::Sender<String>,
    /// Every request: verb and method, and the body.
    log: Mutex<Vec<(String, Value)>>,
    changed: watch::Sender<usize>,
}

/// What the server does.
pub(super) struct Behaviour {
    pub(super) legacy: bool,
    pub(super) modern: bool,
    pub(super) tools: Vec<String>,
    /// A tool that comes just before the first stream is opened, so that nobody is told of it.
    pub(super) before_the_stream: Option<String>,
    /// Tools on a page.
    pub(super) page: usize,
    /// Answer everything with this status.
    pub(super) status: Option<u16>,
    /// Answer lists with an error.
    pub(super) lists_fail: bool,
    /// Answer requests with event streams.
    pub(super) streams: bool,
    pub(super) session: u32,
}

struct Request {
    verb: String,
    headers: HashMap<String, String>,
    body: Value,
}

enum Reply {
    Json(u16, Vec<(&'static str, String)>, Value),
    Empty(u16),
    /// A stream that stays open; the first frame, then what is sent to all.
    Stream(Option<String>),
    /// A stream that ends.
    Events(Vec<String>),
}

impl Site {
    /// Starts on a free port.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self(Arc::new(Shared {
            port: listener.local_addr().unwrap().port(),
            behaviour: Mutex::new(Behaviour {
                legacy: true,
                modern: true,
                tools: vec!["echo".into()],
                before_the_stream: None,
                page: 50,
                status: None,
                lists_fail: false,
                streams: false,
                session: 1,
            }),
            frames: broadcast::Sender::new(64),
            log: Mutex::default(),
            changed: watch::Sender::new(0),
        }));
        let serving = site.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(connection));
            }
        });
        site
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.0.behaviour.lock().unwrap());
    }

    pub(super) fn config(&self) -> ServerConfig {
        let url = format!("http://127.0.0.1:{}/mcp", self.0.port);
        let config = json!({"type": "http", "url": url, "headers": {"Authorization": "Bearer x"}, "timeout_ms": 3000});
        serde_json::from_value(config).unwrap()
    }

    /// Sends a frame on every open stream.
    pub(super) fn tell(&self, frame: Value) {
        self.0
            .frames
            .send(frame.to_string())
            .expect("a stream is open");
    }

    /// How often a request was seen: `POST tools/list`, `GET`, `DELETE`.
    pub(super) fn count(&self, request: &str) -> usize {
        self.0
            .log
            .lock()
            .unwrap()
            .iter()
            .filter(|(seen, _)| seen == request)
            .count()
    }

    /// Waits until a request was seen so often and returns the body of the last.
    pub(super) async fn seen(&self, request: &str, times: usize) -> Value {
        let mut changed = self.0.changed.subscribe();
        let wait = async {
            while self.count(request) < times {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .is_err()
        {
            let seen: Vec<String> = self
                .0
                .log
                .lock()
                .unwrap()
                .iter()
                .map(|(seen, _)| seen.clone())
                .collect();
            panic!("{request} was not seen {times} times in {seen:?}");
        }
        self.0
            .log
            .lock()
            .unwrap()
            .iter()
            .rev()
            .find(|(seen, _)| seen == request)
            .unwrap()
            .1
            .clone()
    }

    async fn serve(self, connection: TcpStream) {
        let mut connection = BufReader::new(connection);
        while let Some(request) = read(&mut connection).await {
            let method = request.body["method"]
                .as_str()
                .unwrap_or(if request.body.is_null() { "" } else { "answer" });
            let seen = format!("{} {method}", request.verb).trim_end().to_owned();
            let reply = self.reply(&request, method);
            self.0
                .log
                .lock()
                .unwrap()
                .push((seen, request.body.clone()));
            self.0.changed.send_modify(|count| *count += 1);
            let frames = self.0.frames.subscribe();
            if write(&mut connection, reply, frames).await.is_err() {
                return;
            }
        }
    }

    fn reply(&self, request: &Request, method: &str) -> Reply {
        let mut behaviour = self.0.behaviour.lock().unwrap();
        assert_eq!(
            request.headers.get("authorization").map(String::as_str),
            Some("Bearer x")
        );
        if let Some(status) = behaviour.status {
            return Reply::Empty(status);
        }
        let id = &request.body["id"];
        let error = |status, code: i64| {
            Reply::Json(
                status,
                vec![],
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}),
            )
        };
        let modern = request
            .headers
            .get("mcp-protocol-version")
            .is_some_and(|version| version == "2026-07-28");
        if modern && !behaviour.modern {
            return error(400, -32000);
        }
        if !modern && !behaviour.legacy {
            return if request.verb == "POST" {
                error(400, -32022)
            } else {
                Reply::Empty(405)
            };
        }
        let session = format!("session-{}", behaviour.session);
        if !modern
            && method != "initialize"
            && request.headers.get("mcp-session-id") != Some(&session)
        {
            return Reply::Empty(404);
        }
        if request.verb == "GET" || method == "subscriptions/listen" {
            let late = behaviour.before_the_stream.take();
            behaviour.tools.extend(late);
        }
        match request.verb.as_str() {
            "GET" => return Reply::Stream(None),
            "DELETE" => return Reply::Empty(204),
            _ => {}
        }
        if id.is_null() || request.body["method"].is_null() {
            return Reply::Empty(202);
        }
        if modern {
            assert_eq!(
                request.headers.get("mcp-method").map(String::as_str),
                Some(method)
            );
            assert_eq!(
                request.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
                "2026-07-28"
            );
        }
        let capabilities =
            json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}});
        let result = match method {
            "initialize" => {
                json!({"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": {"name": "site"}})
            }
            "server/discover" => {
                json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities})
            }
            "tools/list" | "resources/list" if behaviour.lists_fail => return error(200, -32603),
            "tools/list" => {
                let from: usize = request.body["params"]["cursor"]
                    .as_str()
                    .map_or(0, |cursor| cursor.parse().unwrap());
                let page: Vec<Value> = behaviour
                    .tools
                    .iter()
                    .skip(from)
                    .take(behaviour.page)
                    .map(|name| json!({"name": name}))
                    .collect();
                let mut result = json!({"tools": page});
                if from + behaviour.page < behaviour.tools.len() {
                    result["nextCursor"] = (from + behaviour.page).to_string().into();
                }
                result
            }
            "resources/list" => json!({"resources": [{"uri": "test://1"}]}),
            "resources/subscribe" | "resources/unsubscribe" => json!({}),
            "subscriptions/listen" => {
                let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}});
                return Reply::Stream(Some(acknowledged.to_string()));
            }
            _ => return error(if modern { 404 } else { 200 }, -32601),
        };
        let headers = if method == "initialize" {
            vec![("mcp-session-id", session)]
        } else {
            vec![]
        };
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
        match behaviour.streams && method.ends_with("/list") {
            true => {
                let ping = json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"});
                Reply::Events(vec![ping.to_string(), answer.to_string()])
            }
            false => Reply::Json(200, headers, answer),
        }
    }
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    connection
        .read_line(&mut line)
        .await
        .ok()
        .filter(|length| *length > 0)?;
    let verb = line.split(' ').next()?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await.ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                let old = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
                assert!(old.is_none(), "{name} came twice");
            }
            None => break,
        }
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    Some(Request {
        verb,
        headers,
        body,
    })
}

async fn write(
    connection: &mut BufReader<TcpStream>,
    reply: Reply,
    mut frames: broadcast::Receiver<String>,
) -> std::io::Result<()> {
    const STREAM: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    match reply {
        Reply::Json(status, headers, body) => {
            let body = body.to_string();
            let headers: String = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
            );
            connection
                .write_all(format!("{head}{body}").as_bytes())
                .await
        }
        Reply::Empty(204) => connection.write_all(b"HTTP/1.1 204 X\r\n\r\n").await,
        Reply::Empty(status) => {
            connection
                .write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes())
                .await
        }
        Reply::Events(events) => {
            let events: String = events
                .iter()
                .map(|event| format!("data: {event}\n\n"))
                .collect();
            connection
                .write_all(format!("{STREAM}{events}").as_bytes())
                .await?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Reply::Stream(first) => {
            let first = first
                .map(|frame| format!("data: {frame}\n\n"))
                .unwrap_or_default();
            connection
                .write_all(format!("{STREAM}{first}").as_bytes())
                .await?;
            let mut nothing = [0; 1];
            loop {
                tokio::select! {
                    frame = frames.recv() => match frame.unwrap().as_str() {
                        "\"close\"" => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                        frame => connection.write_all(format!("data: {frame}\n\n").as_bytes()).await?,
                    },
                    _ = connection.read(&mut nothing) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                }
            }
        }
    }
}
