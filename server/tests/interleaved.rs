//! Calls of many callers with the same ids at the same time, at one shared child and at one server over HTTP, in both eras:
//! each gets the answer to its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::legacy_server::LegacyServer;
use support::mcp::{LEGACY, LegacyClient, MODERN};
use support::upstream::demo_entry;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Callers, each with a connection and, in the legacy era, a session of its own.
const CALLERS: u64 = 16;

/// Calls of each caller. `WEIR_INTERLEAVED` sets another number.
const CALLS: u64 = 1_250;

/// How many ids there are: every caller uses the same ones, again and again.
const IDS: u64 = 4;

/// One caller.
struct Caller {
    number: u64,
    connection: SendRequest<Full<bytes::Bytes>>,
    host: String,
    path: &'static str,
    /// `None` in the modern era.
    session: Option<LegacyClient>,
}

#[tokio::test]
async fn nobody_gets_anybody_elses_answer() {
    let upstream = LegacyServer::start(LEGACY, |_| None).await;
    let gateway = Gateway::start(&format!(
        "servers:\n  child: {}\n  far: {}\n",
        demo_entry(),
        upstream.entry()
    ))
    .connected()
    .await;
    let calls = std::env::var("WEIR_INTERLEAVED").ok();
    let calls: u64 = calls.map_or(CALLS, |calls| calls.parse().expect("a number"));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let caller = Caller::new(&gateway, number).await;
        callers.spawn(caller.run(calls));
    }
    let mut answered = 0;
    while let Some(count) = callers.join_next().await {
        answered += count.unwrap();
    }
    assert_eq!(answered, CALLERS * calls);
    println!("{answered} calls of {CALLERS} callers, none misrouted");
}

impl Caller {
    async fn new(gateway: &Gateway, number: u64) -> Self {
        // The far server speaks the legacy era alone, so the modern callers go to the child's own endpoint.
        let (path, session) = match number % 2 {
            0 => ("/servers/child/mcp", None),
            _ => {
                let client = LegacyClient::connect(gateway.endpoint(), &[]).await;
                ("/mcp", Some(client.unwrap()))
            }
        };
        let host = gateway.base.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (connection, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Self {
            number,
            connection,
            host,
            path,
            session,
        }
    }

    /// Calls the child and the far server in turns and checks every answer.
    async fn run(mut self, calls: u64) -> u64 {
        for turn in 0..calls {
            let id = turn % IDS;
            let tool = match (&self.session, turn % 2) {
                (None, _) => "echo",
                (Some(_), 0) => "child__echo",
                (Some(_), _) => "far__echo",
            };
            let text = format!("caller {} turn {turn}", self.number);
            let answer = self.call(id, tool, &text).await;
            assert_eq!(answer["id"], id, "{text}: {answer}");
            assert_eq!(answer["result"]["content"][0]["text"], text, "{answer}");
        }
        calls
    }

    async fn call(&mut self, id: u64, tool: &str, text: &str) -> Value {
        let mut params = json!({ "name": tool, "arguments": { "text": text } });
        let mut request = http::Request::post(self.path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        match &self.session {
            Some(client) => {
                request = request
                    .header("mcp-session-id", &client.session)
                    .header("mcp-protocol-version", LEGACY);
            }
            None => {
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                request = request
                    .header("mcp-protocol-version", MODERN)
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", tool);
            }
        }
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let request = request.body(Full::new(body.to_string().into())).unwrap();
        let answer = self.connection.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 200, "{text}: {body:?}");
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error} in {body:?}"))
    }
}
