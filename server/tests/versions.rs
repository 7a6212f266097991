//! Revisions: what is agreed on, what the version header may say, and how servers of older revisions are spoken to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::legacy_server::{LegacyServer, Reply, Seen, event};
use support::mcp::{LEGACY, LegacyClient, MODERN};
use support::upstream::demo_entry;
use support::wire;

const JSON: (&str, &str) = ("content-type", "application/json");
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

async fn connect(gateway: &Gateway, version: &str) -> LegacyClient {
    LegacyClient::connect_as(gateway.endpoint(), &[], version, json!({}))
        .await
        .unwrap()
}

async fn demo(more: &str) -> Gateway {
    let yaml = format!("servers:\n  demo: {}\n{more}", demo_entry());
    Gateway::start(&yaml).connected().await
}

#[tokio::test]
async fn initialize_answers_with_the_revision_that_was_asked_for_or_the_newest_with_a_handshake() {
    let gateway = demo("").await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-10-07", LEGACY),
        ("2027-01-01", LEGACY),
        ("2026-07-28", LEGACY),
        ("yesterday", LEGACY),
        ("", LEGACY),
    ] {
        let client = connect(&gateway, asked).await;
        assert_eq!(client.hello["protocolVersion"], agreed, "{asked}");
        let text = client.call("echo", json!({ "text": asked })).await.text();
        assert_eq!(text, asked);
    }
}

/// `tools/list` in a session, with these version headers.
async fn with_headers(client: &LegacyClient, versions: &[&str]) -> (u16, Option<i64>) {
    let mut headers = vec![JSON, ACCEPT, ("mcp-session-id", client.session.as_str())];
    headers.extend(
        versions
            .iter()
            .map(|version| ("mcp-protocol-version", *version)),
    );
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let answer = wire::send(http::Method::POST, &client.endpoint, &headers, body)
        .await
        .unwrap();
    (answer.status, answer.json()["error"]["code"].as_i64())
}

#[tokio::test]
async fn the_version_header_names_the_revision_of_the_session() {
    let gateway = demo("").await;
    let newest = connect(&gateway, "2025-11-25").await;
    let invalid = (400, Some(-32600));
    for (versions, expected) in [
        (&[][..], (200, None)),
        (&["2025-11-25"], (200, None)),
        (&["2025-06-18"], invalid),
        (&["2025-03-26"], invalid),
        (&["2024-11-05"], invalid),
        (&["2023-01-01"], invalid),
        (&["latest"], invalid),
        (&["2025-11-25", "2025-11-25"], invalid),
        (&[MODERN], (400, Some(-32602))),
    ] {
        assert_eq!(
            with_headers(&newest, versions).await,
            expected,
            "{versions:?}"
        );
    }
    // A revision that does not know the header cannot be contradicted by it.
    for version in ["2024-11-05", "2025-03-26"] {
        let old = connect(&gateway, version).await;
        for named in [&[][..], &["2025-03-26"], &["2025-11-25"]] {
            assert_eq!(
                with_headers(&old, named).await,
                (200, None),
                "{version}: {named:?}"
            );
        }
        assert_eq!(with_headers(&old, &["latest"]).await, invalid);
    }
    // The stream and the end of a session go by the same rule.
    for method in [http::Method::GET, http::Method::DELETE] {
        let headers = [
            ACCEPT,
            ("mcp-session-id", newest.session.as_str()),
            ("mcp-protocol-version", "2025-06-18"),
        ];
        let answer = wire::send(method, &newest.endpoint, &headers, "")
            .await
            .unwrap();
        assert_eq!(answer.status, 400);
    }
    assert_eq!(
        with_headers(&newest, &[]).await,
        (200, None),
        "the session lives on"
    );
}

#[tokio::test]
async fn servers_are_spoken_to_by_the_rules_of_their_revision() {
    for (version, named) in [
        ("2024-11-05", None),
        ("2025-03-26", None),
        ("2025-06-18", Some("2025-06-18")),
        ("2025-11-25", Some("2025-11-25")),
    ] {
        // What it says before the answer, it says together with the answer.
        let upstream = LegacyServer::start(version, |seen| {
            (seen.tool() == "one").then(|| {
                let line = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "line" } });
                Reply::Events(vec![event(&json!([line, seen.says("one")]))])
            })
        })
        .await;
        let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry()))
            .connected()
            .await;
        let client = connect(&gateway, LEGACY).await;
        assert_eq!(
            client.hello["protocolVersion"], LEGACY,
            "what the server speaks is not the client's business"
        );
        client.call("echo", json!({ "text": "x" })).await.result();
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "one" } });
        let messages = client.post(&request).await.messages();
        assert_eq!(messages.len(), 2, "{version}: {messages:?}");
        assert_eq!(
            (&messages[0]["params"]["data"], &messages[1]["id"]),
            (&json!("line"), &json!(1))
        );
        client.end().await;
        upstream.has_seen(1, |seen| seen.verb == "DELETE").await;
        let seen = upstream.seen();
        let (hello, later): (Vec<Seen>, Vec<Seen>) = seen
            .into_iter()
            .partition(|seen| seen.method() == "initialize");
        assert!(
            hello
                .iter()
                .all(|seen| seen.header("mcp-protocol-version").is_none()),
            "{hello:?}"
        );
        for seen in later {
            assert_eq!(
                seen.header("mcp-protocol-version"),
                named,
                "{version}: {seen:?}"
            );
            assert!(!seen.body.is_array(), "nobody is sent batches");
        }
    }
}

/// A modern call, with these routing headers.
async fn modern(gateway: &Gateway, headers: &[(&str, &str)]) -> (u16, Option<i64>) {
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} });
    let params = json!({ "name": "echo", "arguments": { "text": "x" }, "_meta": meta });
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let headers = [&[JSON, ACCEPT], headers].concat();
    let answer = wire::send(http::Method::POST, &gateway.endpoint(), &headers, body)
        .await
        .unwrap();
    (answer.status, answer.json()["error"]["code"].as_i64())
}

#[tokio::test]
async fn a_legacy_header_beside_a_modern_body_is_refused_unless_it_is_to_be_tolerated() {
    let strict = demo("").await;
    let tolerant = demo("http: { protocol_headers: tolerant }\n").await;
    let version = |version| ("mcp-protocol-version", version);
    let method = |method| ("mcp-method", method);
    let name = |name| ("mcp-name", name);
    let mismatch = (400, Some(-32020));
    let fine = (200, None);
    for (headers, strictly, tolerantly) in [
        (
            vec![version(MODERN), method("tools/call"), name("echo")],
            fine,
            fine,
        ),
        (
            vec![version(LEGACY), method("tools/call"), name("echo")],
            mismatch,
            fine,
        ),
        (vec![version(LEGACY)], mismatch, fine),
        (vec![version("2025-03-26"), name("echo")], mismatch, fine),
        (
            vec![version(LEGACY), method("tools/list")],
            mismatch,
            mismatch,
        ),
        (
            vec![version(LEGACY), method("tools/call"), name("add")],
            mismatch,
            mismatch,
        ),
        (vec![version(LEGACY), version(LEGACY)], mismatch, mismatch),
        (
            vec![version("2030-01-01"), method("tools/call"), name("echo")],
            mismatch,
            mismatch,
        ),
        (vec![version(MODERN)], mismatch, mismatch),
        (vec![], mismatch, mismatch),
    ] {
        assert_eq!(
            modern(&strict, &headers).await,
            strictly,
            "strict: {headers:?}"
        );
        assert_eq!(
            modern(&tolerant, &headers).await,
            tolerantly,
            "tolerant: {headers:?}"
        );
    }
    let client = connect(&tolerant, LEGACY).await;
    assert_eq!(with_headers(&client, &["2025-06-18"]).await, fine);
    let metrics = wire::get(&format!("{}/metrics", tolerant.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("\nweir_tolerated_headers_total 4\n"),
        "{metrics}"
    );
    let said = tolerant.log().matches("is overlooked").count();
    assert_eq!(said, 1, "once for each caller:\n{}", tolerant.log());
    let _: Value = client.hello;
}
