//! What the gateway says to requests that it does not carry: status and code of each, as a client reads them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use http::Method;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LEGACY, LegacyClient, MODERN};
use support::upstream::{Upstream, http_entry};
use support::wire::{self, Answer};

/// What it is, headers, body, and the status and error code that are due.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Value, u16, Option<i64>);

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");
const NOW: (&str, &str) = ("mcp-protocol-version", MODERN);
const THEN: (&str, &str) = ("mcp-protocol-version", LEGACY);

#[tokio::test]
async fn hosts_origins_and_endpoints() {
    let gateway = Gateway::start("servers: {}\n");
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let headers = [&[ACCEPT, JSON], headers].concat();
        wire::send(method, &format!("{}{path}", gateway.base), &headers, "{}")
            .await
            .unwrap()
    };
    for path in ["/mcp", "/servers/up/mcp", "/nowhere"] {
        assert_eq!(
            ask(Method::POST, path, &[("host", "evil.example")])
                .await
                .status,
            403,
            "{path}"
        );
        assert_eq!(
            ask(Method::POST, path, &[("origin", "https://evil.example")])
                .await
                .status,
            403,
            "{path}"
        );
        assert_eq!(
            ask(Method::POST, path, &[("origin", "null")]).await.status,
            403,
            "{path}"
        );
    }
    assert_eq!(
        ask(
            Method::POST,
            "/mcp",
            &[("host", "localhost"), ("origin", "http://localhost:6274")]
        )
        .await
        .status,
        400
    );
    for path in [
        "/servers/up",
        "/servers/up/mcp/more",
        "/servers/no__name/mcp",
        "/.well-known/other",
    ] {
        let answer = ask(Method::POST, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.json()["error"]["message"]
                .as_str()
                .unwrap()
                .contains("/mcp"),
            "{answer:?}"
        );
    }
    for path in ["/", "/sse", "/nowhere", "/mcp/more"] {
        let answer = ask(Method::POST, path, &[]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (307, "/mcp"),
            "{path}"
        );
    }
    for method in [Method::PUT, Method::PATCH, Method::HEAD] {
        let answer = ask(method, "/mcp", &[]).await;
        assert_eq!(
            (answer.status, answer.header("allow").is_empty()),
            (405, false),
            "{answer:?}"
        );
    }
    let health = wire::get(&format!("{}/health", gateway.base))
        .await
        .unwrap();
    assert_eq!(health.status, 200);
}

#[tokio::test]
async fn bodies_and_media_types() {
    let gateway = Gateway::start("servers: {}\n");
    let url = gateway.endpoint();
    let post = async |headers: &[(&str, &str)], body: &str| {
        let answer = wire::send(Method::POST, &url, headers, body.to_owned())
            .await
            .unwrap();
        (answer.status, answer.json()["error"]["code"].as_i64())
    };
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(post(&[ACCEPT], ping).await.0, 415);
    assert_eq!(
        post(&[ACCEPT, ("content-type", "text/plain")], ping)
            .await
            .0,
        415
    );
    assert_eq!(post(&[JSON, ("accept", "text/html")], ping).await.0, 406);
    assert_eq!(
        post(&[JSON, ("accept", "application/json")], ping).await.0,
        406
    );
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let table: [(&str, i64); 9] = [
        ("", -32700),
        ("not json", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping""#, -32700),
        ("7", -32600),
        ("[]", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
    ];
    for (body, code) in table {
        assert_eq!(
            post(&[ACCEPT, JSON], body).await,
            (400, Some(code)),
            "{body}"
        );
    }
    let (status, code) = post(&[ACCEPT, JSON], &deep).await;
    assert!(
        status == 400 && matches!(code, Some(-32600 | -32700)),
        "{status} {code:?}"
    );
}

#[tokio::test]
async fn which_era_a_request_belongs_to() {
    let Some(kit) = Kit::find("refusals") else {
        return;
    };
    let upstream = Upstream::echo(&kit, &[]);
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", http_entry(&upstream.url)))
        .connected()
        .await;
    let url = gateway.endpoint_of("up");
    let post = async |headers: &[(&str, &str)], body: Value| {
        let headers = [&[ACCEPT, JSON], headers].concat();
        let answer = wire::send(Method::POST, &url, &headers, body.to_string())
            .await
            .unwrap();
        (
            answer.status,
            answer.json()["error"]["code"].as_i64(),
            answer,
        )
    };
    let claim = |version: &str| json!({ "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {} });
    let request = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": "a-1", "method": method, "params": params });
    let modern_list = request("tools/list", json!({ "_meta": claim(MODERN) }));
    let modern_call = request(
        "tools/call",
        json!({ "name": "echo", "arguments": {}, "_meta": claim(MODERN) }),
    );
    let handshake = request(
        "initialize",
        json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } }),
    );
    let claimed_handshake = request(
        "initialize",
        json!({ "protocolVersion": LEGACY, "capabilities": {}, "_meta": claim(MODERN) }),
    );
    let incomplete = request(
        "tools/list",
        json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": MODERN } }),
    );
    let unheard_of = request("tools/list", json!({ "_meta": claim("2031-01-01") }));
    let future: (&str, &str) = ("mcp-protocol-version", "2031-01-01");
    let list: (&str, &str) = ("mcp-method", "tools/list");
    let call: (&str, &str) = ("mcp-method", "tools/call");

    let table: Vec<Case> = vec![
        (
            "claim and headers agree",
            vec![NOW, list],
            modern_list.clone(),
            200,
            None,
        ),
        (
            "claim without version header",
            vec![list],
            modern_list.clone(),
            400,
            Some(-32020),
        ),
        (
            "claim and version header differ",
            vec![THEN, list],
            modern_list.clone(),
            400,
            Some(-32020),
        ),
        (
            "no method header",
            vec![NOW],
            modern_list.clone(),
            400,
            Some(-32020),
        ),
        (
            "another method header",
            vec![NOW, call],
            modern_list.clone(),
            400,
            Some(-32020),
        ),
        (
            "no name header",
            vec![NOW, call],
            modern_call.clone(),
            400,
            Some(-32020),
        ),
        (
            "another name header",
            vec![NOW, call, ("mcp-name", "Echo")],
            modern_call.clone(),
            400,
            Some(-32020),
        ),
        (
            "two name headers",
            vec![NOW, call, ("mcp-name", "echo"), ("mcp-name", "echo")],
            modern_call.clone(),
            400,
            Some(-32020),
        ),
        (
            "the right name, encoded",
            vec![NOW, call, ("mcp-name", "=?base64?ZWNobw==?=")],
            modern_call,
            200,
            None,
        ),
        ("handshake", vec![], handshake.clone(), 200, None),
        (
            "handshake with a claim",
            vec![NOW, ("mcp-method", "initialize")],
            claimed_handshake,
            404,
            Some(-32601),
        ),
        (
            "handshake with a modern header",
            vec![NOW],
            handshake,
            400,
            Some(-32020),
        ),
        (
            "claim without capabilities",
            vec![NOW, list],
            incomplete,
            400,
            Some(-32602),
        ),
        (
            "modern header without claim",
            vec![NOW, list],
            request("tools/list", json!({})),
            400,
            Some(-32602),
        ),
        (
            "unheard-of version",
            vec![future, list],
            unheard_of,
            400,
            Some(-32022),
        ),
        (
            "unknown method",
            vec![NOW, ("mcp-method", "tools/burn")],
            request("tools/burn", json!({ "_meta": claim(MODERN) })),
            404,
            Some(-32601),
        ),
        (
            "removed method",
            vec![NOW, ("mcp-method", "ping")],
            request("ping", json!({ "_meta": claim(MODERN) })),
            404,
            Some(-32601),
        ),
        (
            "batch with a claim",
            vec![NOW, list],
            json!([modern_list]),
            400,
            Some(-32600),
        ),
        (
            "posted answer under a modern header",
            vec![NOW],
            json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
            400,
            Some(-32600),
        ),
        (
            "legacy request without a session",
            vec![THEN],
            request("tools/list", json!({})),
            400,
            Some(-32600),
        ),
    ];
    for (what, headers, body, status, code) in table {
        let (got_status, got_code, answer) = post(&headers, body).await;
        assert_eq!((got_status, got_code), (status, code), "{what}: {answer:?}");
        assert_eq!(
            answer.header("mcp-session-id").is_empty(),
            what != "handshake",
            "{what}"
        );
    }
    let (_, _, unsupported) = post(
        &[future, list],
        request("tools/list", json!({ "_meta": claim("2031-01-01") })),
    )
    .await;
    assert_eq!(
        unsupported.json()["error"]["data"]["requested"],
        "2031-01-01"
    );
    assert!(
        unsupported.json()["error"]["data"]["supported"]
            .as_array()
            .unwrap()
            .contains(&MODERN.into()),
        "{unsupported:?}"
    );
    assert_eq!(unsupported.json()["id"], "a-1");
}

#[tokio::test]
async fn sessions_begin_and_end() {
    let Some(kit) = Kit::find("refusals") else {
        return;
    };
    let upstream = Upstream::echo(&kit, &[]);
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", http_entry(&upstream.url)))
        .connected()
        .await;
    let url = gateway.endpoint_of("up");
    let client = LegacyClient::connect(&url, &[]).await.unwrap();
    assert!(
        client
            .session
            .bytes()
            .all(|byte| (0x21..=0x7e).contains(&byte))
            && client.session.len() >= 16,
        "{}",
        client.session
    );
    assert!(
        client
            .call("echo", json!({ "text": "in session" }))
            .await
            .text()
            .ends_with("in session")
    );

    let with = async |method: Method, session: &str| -> Answer {
        let headers = [ACCEPT, JSON, THEN, ("mcp-session-id", session)];
        let body = if method == Method::POST {
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#
        } else {
            ""
        };
        wire::send(method, &url, &headers, body).await.unwrap()
    };
    assert_eq!(with(Method::POST, &client.session).await.status, 200);
    let mut forged = client.session.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for session in ["unknown", forged.as_str()] {
        assert_eq!(with(Method::POST, session).await.status, 404, "{session}");
        assert_eq!(with(Method::DELETE, session).await.status, 404, "{session}");
    }
    assert!(matches!(
        with(Method::DELETE, &client.session).await.status,
        200 | 202 | 204
    ));
    assert_eq!(with(Method::POST, &client.session).await.status, 404);
    assert_eq!(with(Method::DELETE, &client.session).await.status, 404);
}
