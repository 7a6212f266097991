//! An MCP server made by hand, that does what a test tells it and remembers what it was told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// The server. All clones are the same.
#[derive(Clone)]
pub(super) struct Server(Arc<Shared>);

struct Shared {
    port: u16,
    manner: Mutex<Manner>,
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
}

type Script = Box<dyn Fn(&Seen) -> Option<Reply> + Send + Sync>;

/// What the server does.
pub(super) struct Manner {
    pub(super) legacy: bool,
    pub(super) modern: bool,
    pub(super) tools: Vec<Value>,
    /// Tools on a page.
    pub(super) page: usize,
    /// The result of every call.
    pub(super) result: Value,
    /// The session that there is; another number is another session.
    pub(super) session: u32,
    /// Has the first word.
    pub(super) script: Script,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The method of the message, or the verb if there is no message.
    pub(super) what: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Value,
}

pub(super) enum Reply {
    Text(u16, String),
    /// An event stream that ends.
    Events(Vec<Value>),
    Redirect(String),
    /// The connection is closed.
    Nothing,
    /// Until the client closes the connection.
    Silence,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::run(None).await
    }

    /// The same behind TLS, with a certificate of the authority in `ca.pem`.
    pub(super) async fn start_tls() -> Self {
        let home = concat!(env!("CARGO_MANIFEST_DIR"), "/src/upstream/http/testdata");
        let read = |name: &str| std::fs::read(format!("{home}/{name}")).unwrap();
        let certificates = CertificateDer::pem_slice_iter(&read("server.pem"))
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        Self::run(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn run(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self(Arc::new(Shared {
            port: listener.local_addr().unwrap().port(),
            manner: Mutex::new(Manner {
                legacy: true,
                modern: false,
                tools: vec![tool("check_access")],
                page: 50,
                result: json!({ "structuredContent": { "allowed": true }, "content": [] }),
                session: 1,
                script: Box::new(|_| None),
            }),
            seen: Mutex::default(),
            count: watch::Sender::new(0),
        }));
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    let _closed = match tls {
                        None => server.converse(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.converse(stream).await,
                            Err(_) => None,
                        },
                    };
                });
            }
        });
        server
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.0.manner.lock().unwrap());
    }

    /// Has every message with this method answered so, while others are answered as usual.
    pub(super) fn answer(
        &self,
        what: &'static str,
        reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) {
        self.change(|manner| {
            manner.script = Box::new(move |seen| (seen.what == what).then(|| reply(seen)));
        });
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    /// What was asked, in order.
    pub(super) fn log(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.what).collect()
    }

    pub(super) fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|seen| *seen == what).count()
    }

    /// Waits until something was asked, and returns it.
    pub(super) async fn asked(&self, what: &str) -> Seen {
        let mut count = self.0.count.subscribe();
        let wait = async {
            loop {
                let found = self.seen().into_iter().find(|seen| seen.what == what);
                if let Some(found) = found {
                    return found;
                }
                count.changed().await.unwrap();
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(10), wait).await;
        asked.unwrap_or_else(|_| panic!("{what} is not in {:?}", self.log()))
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let seen = read(&mut stream).await?;
            self.0.seen.lock().unwrap().push(seen.clone());
            self.0.count.send_modify(|count| *count += 1);
            let (status, extra, body) = match self.reply(&seen) {
                (Reply::Text(status, text), extra) => (status, extra, text),
                (Reply::Redirect(to), _) => (307, format!("location: {to}\r\n"), String::new()),
                (Reply::Events(events), _) => {
                    let events = events.iter().map(|event| format!("data: {event}\n\n"));
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                    let text: String = [head.to_owned()].into_iter().chain(events).collect();
                    stream.write_all(text.as_bytes()).await.ok()?;
                    stream.flush().await.ok()?;
                    return stream.shutdown().await.ok();
                }
                (Reply::Nothing, _) => return None,
                (Reply::Silence, _) => {
                    let _end = stream.read_u8().await;
                    self.0.seen.lock().unwrap().push(Seen {
                        what: "closed".to_owned(),
                        ..seen
                    });
                    self.0.count.send_modify(|count| *count += 1);
                    return None;
                }
            };
            let text = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(text.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
        }
    }

    fn reply(&self, seen: &Seen) -> (Reply, String) {
        let manner = self.0.manner.lock().unwrap();
        if let Some(reply) = (manner.script)(seen) {
            return (reply, String::new());
        }
        let id = &seen.body["id"];
        let plain = |reply| (reply, String::new());
        let result = |result: Value| {
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            Reply::Text(200, answer.to_string())
        };
        let error = |status: u16, code: i64| {
            let error = json!({ "code": code, "message": "no" });
            let answer = json!({ "jsonrpc": "2.0", "id": id, "error": error });
            Reply::Text(status, answer.to_string())
        };
        let modern = seen.body["params"]["_meta"].is_object();
        let session = format!("s{}", manner.session);
        let info = json!({ "name": "hand", "version": "1.2.3" });
        if modern && !manner.modern || seen.what == "initialize" && !manner.legacy {
            return plain(error(400, -32601));
        }
        let in_session = seen.headers.get("mcp-session-id") == Some(&session);
        if !modern && seen.what != "initialize" && !in_session {
            return plain(error(404, -32600));
        }
        match seen.what.as_str() {
            "initialize" => {
                let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} }, "serverInfo": info });
                (result(hello), format!("mcp-session-id: {session}\r\n"))
            }
            "server/discover" => plain(result(
                json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "serverInfo": info }),
            )),
            "tools/list" => {
                let begin = seen.body["params"]["cursor"].as_str();
                let begin: usize = begin.map_or(0, |cursor| cursor.parse().unwrap());
                let end = (begin + manner.page).min(manner.tools.len());
                let mut page = json!({ "tools": manner.tools.get(begin..end) });
                if end < manner.tools.len() {
                    page["nextCursor"] = end.to_string().into();
                }
                plain(result(page))
            }
            "tools/call" => plain(result(manner.result.clone())),
            "ping" if !modern => plain(result(json!({}))),
            "DELETE" => plain(Reply::Text(200, String::new())),
            other if other.starts_with("notifications/") || other == "answer" => {
                plain(Reply::Text(202, String::new()))
            }
            _ => plain(error(200, -32601)),
        }
    }
}

pub(super) fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Seen> {
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    let verb = line.split(' ').next()?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let what = match (&body["method"], body.is_object()) {
        (Value::String(method), _) => method.clone(),
        (_, true) => "answer".to_owned(),
        (_, false) => verb,
    };
    Some(Seen {
        what,
        headers,
        body,
    })
}
