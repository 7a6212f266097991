//! A server made by hand on one side, the transport on the other.

mod server;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use weir_plugin_protocol::Secret;

use super::*;
use crate::builtin::outside::Disk;
use crate::plugin::call::MAX_ANSWER_BYTES;
use crate::plugin::{Call, CallError};
use crate::upstream::config::Protocol;
use server::{Reply, Server, tool};

const PATIENCE: Duration = Duration::from_secs(10);

struct Client(Arc<dyn PluginClient>);

impl Client {
    async fn check(&self) -> Result<Bytes, CallError> {
        self.within(PATIENCE).await
    }

    async fn within(&self, patience: Duration) -> Result<Bytes, CallError> {
        let params = json!({ "user_id": "ann", "mcp_server": "files" });
        self.0
            .call(Call::within(patience, "check_access", &params))
            .await
    }
}

fn remote(url: String) -> RemoteServer {
    RemoteServer {
        url,
        headers: [("Authorization".to_owned(), Secret::new("Bearer gate"))].into(),
        tls: None,
        protocol: Protocol::Auto,
        addresses: crate::upstream::http::AddressRule::Auto,
    }
}

fn at(server: &Server) -> RemoteServer {
    remote(format!("http://127.0.0.1:{}/mcp", server.port()))
}

fn transport(server: RemoteServer) -> McpTransport {
    let http = HttpClientConfig::default();
    let files = Arc::new(Disk::default());
    McpTransport::new(server, Some(Role::PolicyEvaluator), http, files).unwrap()
}

async fn connect(server: RemoteServer) -> Result<Client, String> {
    let connected = transport(server).connect().await;
    connected.map(Client).map_err(|error| error.to_string())
}

fn text(answer: Result<Bytes, CallError>) -> String {
    String::from_utf8(answer.unwrap().to_vec()).unwrap()
}

#[actix_rt::test]
async fn in_the_handshake_era_a_session_is_opened_used_and_ended() {
    let server = Server::start().await;
    server.change(|manner| manner.modern = true);
    let client = connect(at(&server)).await.unwrap();
    assert_eq!(client.0.version(), "1.2.3");
    client.0.health().await.unwrap();
    assert_eq!(text(client.check().await), r#"{"allowed":true}"#);
    let nothing = json!({});
    let sing = Call::within(PATIENCE, "sing", &nothing);
    let unknown = client.0.call(sing).await;
    assert_eq!(unknown, Err(CallError::UnknownMethod("sing".to_owned())));
    client.0.close().await.unwrap();
    client.0.close().await.unwrap();
    assert_eq!(client.check().await, Err(CallError::Closed));
    assert_eq!(client.0.health().await, Err(CallError::Closed));
    assert_eq!(
        server.log(),
        [
            "initialize",
            "notifications/initialized",
            "tools/list",
            "ping",
            "tools/call",
            "DELETE"
        ]
    );
    let seen = server.seen();
    assert_eq!(seen[0].body["params"]["capabilities"], json!({}));
    assert!(!seen[0].headers.contains_key("mcp-protocol-version"));
    for seen in &seen {
        assert_eq!(seen.headers["authorization"], "Bearer gate");
        if seen.what != "DELETE" {
            let accept = "application/json, text/event-stream";
            assert_eq!(seen.headers["accept"], accept);
            assert_eq!(seen.headers["content-type"], "application/json");
        }
    }
    for seen in &seen[1..] {
        assert_eq!(seen.headers["mcp-session-id"], "s1");
        assert_eq!(seen.headers["mcp-protocol-version"], "2025-06-18");
    }
    let call = &seen[4];
    assert_eq!(
        call.body["params"],
        json!({ "name": "check_access", "arguments": { "user_id": "ann", "mcp_server": "files" } })
    );
    let left: u64 = call.headers["weir-deadline-ms"].parse().unwrap();
    assert!((5_000..=10_000).contains(&left), "{left}");
}

#[actix_rt::test]
async fn in_the_stateless_era_every_request_says_everything() {
    for protocol in [Protocol::Auto, Protocol::Modern] {
        let server = Server::start().await;
        server.change(|manner| {
            (manner.modern, manner.legacy) = (true, protocol == Protocol::Modern);
            let mut annotated = tool("check_access");
            annotated["inputSchema"]["properties"] =
                json!({ "mcp_server": { "type": "string", "x-mcp-header": "Server" } });
            manner.tools = vec![annotated];
        });
        let client = connect(RemoteServer {
            protocol,
            ..at(&server)
        });
        let client = client.await.unwrap();
        client.0.health().await.unwrap();
        assert_eq!(text(client.check().await), r#"{"allowed":true}"#);
        client.0.close().await.unwrap();
        let mut log = server.log();
        if protocol == Protocol::Auto {
            assert_eq!(log.remove(0), "initialize");
        }
        assert_eq!(
            log,
            ["server/discover", "tools/list", "tools/list", "tools/call"]
        );
        let call = server.asked("tools/call").await;
        for (name, value) in [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "check_access"),
            ("mcp-param-server", "files"),
        ] {
            assert_eq!(call.headers[name], value);
        }
        assert!(!call.headers.contains_key("mcp-session-id"));
        let meta = &call.body["params"]["_meta"];
        assert_eq!(
            meta["io.modelcontextprotocol/protocolVersion"],
            "2026-07-28"
        );
        let capabilities = &meta["io.modelcontextprotocol/clientCapabilities"];
        assert_eq!(capabilities, &json!({}));
    }
}

#[actix_rt::test]
async fn a_server_without_a_tool_of_the_role_is_no_plugin() {
    let server = Server::start().await;
    server.change(|manner| {
        manner.page = 2;
        manner.tools = ["a", "b", "c", "d"].map(tool).to_vec();
    });
    let lacking = connect(at(&server)).await.err().unwrap();
    assert!(lacking.contains("no tool check_access"), "{lacking}");
    assert_eq!(server.log()[2..], ["tools/list", "tools/list", "DELETE"]);
    // On the last page it is found.
    server.change(|manner| manner.tools.push(tool("check_access")));
    connect(at(&server)).await.unwrap();
    // Of several, those that are missing.
    let role = Some(Role::CredentialStorage);
    let http = HttpClientConfig::default();
    let storage = McpTransport::new(at(&server), role, http, Arc::new(Disk::default())).unwrap();
    server.change(|manner| manner.tools = vec![tool("list_credentials"), tool("store_credential")]);
    let lacking = storage.connect().await.err().unwrap().to_string();
    assert!(
        lacking.contains("no tool retrieve_credential, delete_credential,"),
        "{lacking}"
    );
}

#[actix_rt::test]
async fn a_lost_session_is_opened_again_once_and_calls_are_carried_out_once() {
    let server = Server::start().await;
    let client = connect(at(&server)).await.unwrap();
    server.change(|manner| manner.session = 2);
    let calls = (0..8).map(|_| client.check());
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(text(answer), r#"{"allowed":true}"#);
    }
    assert_eq!(server.count("initialize"), 2);
    let calls = server.seen().into_iter();
    let carried_out = calls
        .filter(|seen| seen.what == "tools/call" && seen.headers["mcp-session-id"] == "s2")
        .count();
    assert_eq!(carried_out, 8);
    // A probe finds it out as well.
    server.change(|manner| manner.session = 3);
    client.0.health().await.unwrap();
    assert_eq!(server.count("initialize"), 3);
    // Whoever gives sessions and forgets them is not asked for ever.
    server.answer("tools/call", |_| Reply::Text(404, String::new()));
    let forgotten = client.check().await;
    assert!(
        matches!(forgotten, Err(CallError::Lost(_))),
        "{forgotten:?}"
    );
    assert_eq!(server.count("initialize"), 4);
    // And whoever has another tool now than the role needs is not called.
    server.change(|manner| {
        manner.script = Box::new(|_| None);
        manner.session = 4;
        manner.tools = vec![tool("sing")];
    });
    let lacking = client.check().await;
    assert!(
        matches!(&lacking, Err(CallError::Unreachable(reason)) if reason.contains("no tool check_access")),
        "{lacking:?}"
    );
}

#[actix_rt::test]
async fn a_call_that_may_have_been_carried_out_is_not_repeated() {
    let server = Server::start().await;
    let client = connect(at(&server)).await.unwrap();
    server.answer("tools/call", |_| Reply::Nothing);
    let lost = client.check().await.unwrap_err();
    assert!(matches!(lost, CallError::Lost(_)) && lost.is_retryable());
    assert_eq!(server.count("tools/call"), 1);
}

#[actix_rt::test]
async fn what_nobody_waits_for_is_taken_back() {
    let server = Server::start().await;
    server.change(|manner| manner.modern = true);
    for protocol in [Protocol::Legacy, Protocol::Modern] {
        for given_up in [false, true] {
            let server = Server::start().await;
            server.change(|manner| manner.modern = true);
            let client = connect(RemoteServer {
                protocol,
                ..at(&server)
            });
            let client = client.await.unwrap();
            server.answer("tools/call", |_| Reply::Silence);
            if given_up {
                let call = client.check();
                futures_util::pin_mut!(call);
                let asked = server.asked("tools/call");
                futures_util::pin_mut!(asked);
                futures_util::future::select(call, asked).await;
            } else {
                let patience = Duration::from_millis(200);
                let late = client.within(patience).await;
                assert_eq!(late, Err(CallError::Timeout));
            }
            server.asked("closed").await;
            let call = server.asked("tools/call").await;
            if protocol == Protocol::Legacy {
                let cancelled = server.asked("notifications/cancelled").await;
                assert_eq!(cancelled.body["params"]["requestId"], call.body["id"]);
                assert_eq!(cancelled.headers["mcp-session-id"], "s1");
            } else {
                assert_eq!(server.count("notifications/cancelled"), 0);
            }
        }
    }
    // What is too late already is not sent.
    let client = connect(at(&server)).await.unwrap();
    let late = client.within(Duration::ZERO).await;
    assert_eq!(late, Err(CallError::Timeout));
    assert_eq!(server.count("tools/call"), 0);
}

#[actix_rt::test]
async fn answers_may_come_as_events() {
    let server = Server::start().await;
    let client = connect(at(&server)).await.unwrap();
    server.answer("tools/call", |seen| {
        let id = &seen.body["id"];
        Reply::Events(vec![
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} }),
            json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" }),
            json!({ "jsonrpc": "2.0", "id": 8, "method": "sampling/createMessage", "params": {} }),
            json!({ "jsonrpc": "2.0", "id": "else", "result": {} }),
            json!({ "jsonrpc": "2.0", "id": id, "result": { "structuredContent": { "allowed": false } } }),
        ])
    });
    assert_eq!(text(client.check().await), r#"{"allowed":false}"#);
    let replies = server
        .seen()
        .into_iter()
        .filter(|seen| seen.what == "answer");
    let replies: Vec<Value> = replies.map(|seen| seen.body).collect();
    assert_eq!(
        replies[0],
        json!({ "jsonrpc": "2.0", "id": 7, "result": {} })
    );
    assert_eq!(replies[1]["error"]["code"], -32601);
    // Who only talks does not answer.
    server.answer("tools/call", |_| {
        let talk = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
        Reply::Events(vec![talk; 300])
    });
    let talk = client.check().await;
    assert!(matches!(talk, Err(CallError::Malformed(_))), "{talk:?}");
}

#[actix_rt::test]
async fn what_is_no_answer_is_an_error() {
    let server = Server::start().await;
    let client = connect(at(&server)).await.unwrap();
    let reply = |status: u16, body: &str| {
        let body = body.to_owned();
        server.answer("tools/call", move |seen| {
            let id = seen.body["id"].to_string();
            Reply::Text(status, body.replace("ID", &id))
        });
    };
    type Right = fn(&CallError) -> bool;
    let refused: Right = |error| matches!(error, CallError::Refused(_));
    let malformed: Right = |error| matches!(error, CallError::Malformed(_));
    let lost: Right = |error| matches!(error, CallError::Lost(_));
    let huge = format!(
        r#"{{"jsonrpc":"2.0","id":ID,"result":{{"reason":"{}"}}}}"#,
        "x".repeat(5 * MAX_ANSWER_BYTES)
    );
    let large: Right = |error| matches!(error, CallError::TooLarge);
    for (status, body, right) in [
        (500, "oh", lost),
        (401, "", malformed),
        (403, r#"{"allowed":true}"#, malformed),
        (503, "", lost),
        (200, "", malformed),
        (202, "", malformed),
        (200, r#"{"allowed":true}"#, malformed),
        (200, r#"{"result":{"allowed":true}}"#, malformed),
        (
            200,
            r#"{"jsonrpc":"2.0","id":"x","result":{"allowed":true}}"#,
            malformed,
        ),
        (
            200,
            r#"[{"jsonrpc":"2.0","id":ID,"result":{"allowed":true}}]"#,
            malformed,
        ),
        (200, r#"{"jsonrpc":"2.0","id":ID,"result":true}"#, malformed),
        (
            200,
            r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}"#,
            malformed,
        ),
        (
            200,
            r#"{"jsonrpc":"2.0","id":ID,"result":{"isError":true,"allowed":true}}"#,
            refused,
        ),
        (
            200,
            r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,"message":"db"}}"#,
            refused,
        ),
        (200, &huge, large),
    ] {
        reply(status, body);
        let error = client.check().await.unwrap_err();
        let body: String = body.chars().take(80).collect();
        assert!(right(&error), "{status} {body}: {error:?}");
    }
    let elsewhere = Server::start().await;
    let to = format!("http://127.0.0.1:{}/mcp", elsewhere.port());
    server.answer("tools/call", move |_| Reply::Redirect(to.clone()));
    assert!(malformed(&client.check().await.unwrap_err()));
    assert_eq!(elsewhere.log(), Vec::<String>::new());
}

#[actix_rt::test]
async fn a_probe_tells_the_sick_from_the_well() {
    let server = Server::start().await;
    let client = connect(at(&server)).await.unwrap();
    let error = |code: i64| {
        move |seen: &server::Seen| {
            let id = &seen.body["id"];
            let error = json!({ "code": code, "message": "no" });
            Reply::Text(
                200,
                json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string(),
            )
        }
    };
    // Not everybody knows `ping`.
    server.answer("ping", error(-32601));
    client.0.health().await.unwrap();
    assert_eq!(server.count("tools/list"), 2);
    server.answer("ping", error(-32603));
    let sick = client.0.health().await;
    assert!(matches!(sick, Err(CallError::Refused(_))), "{sick:?}");
    server.answer("ping", |_| Reply::Text(503, String::new()));
    let sick = client.0.health().await;
    assert!(matches!(sick, Err(CallError::Lost(_))), "{sick:?}");
}

#[actix_rt::test]
async fn nobody_at_the_address_is_nothing_sent() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let nobody = connect(remote(format!("http://127.0.0.1:{port}/mcp"))).await;
    let reason = nobody.err().unwrap();
    assert!(
        reason.contains("cannot connect to the upstream"),
        "{reason}"
    );
    // A name may lead where names of its kind lead.
    let named = connect(remote(format!(
        "http://plugin.localhost.example.com:{port}/mcp"
    )))
    .await;
    assert!(named.is_err());
    let server = Server::start().await;
    server.change(|manner| (manner.legacy, manner.modern) = (false, false));
    let mute = connect(at(&server)).await.err().unwrap();
    assert!(mute.contains("it speaks no MCP"), "{mute}");
}

#[actix_rt::test]
async fn only_the_named_authority_may_vouch_for_the_server() {
    let home = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/upstream/http/testdata"
    ));
    let server = Server::start_tls().await;
    let url = format!("https://127.0.0.1:{}/mcp", server.port());
    let trusting = |ca_file: PathBuf| RemoteServer {
        tls: Some(crate::plugin::PluginTls { ca_file }),
        ..remote(url.clone())
    };
    let client = connect(trusting(home.join("ca.pem"))).await.unwrap();
    assert_eq!(text(client.check().await), r#"{"allowed":true}"#);
    // Another authority, those of this machine, and none.
    let seen = server.log().len();
    for other in [
        connect(trusting(home.join("other-ca.pem"))).await,
        connect(remote(url.clone())).await,
    ] {
        let reason = other.err().unwrap();
        assert!(reason.contains("no trusted TLS connection"), "{reason}");
    }
    let missing = connect(trusting(home.join("nobody.pem"))).await;
    let reason = missing.err().unwrap();
    assert!(
        reason.contains("tls.ca_file: ") && reason.contains("nobody.pem"),
        "{reason}"
    );
    assert_eq!(server.log().len(), seen);
}
