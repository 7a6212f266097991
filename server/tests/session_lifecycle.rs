//! Legacy sessions from their beginning to their end, at the client and at the servers behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::HashSet;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::keys::{ApiKey, api_keys};
use support::legacy_server::{LegacyServer, Reply, Seen};
use support::mcp::{LEGACY, LegacyClient, Outcome};
use support::wire;

async fn server() -> LegacyServer {
    LegacyServer::start(LEGACY, |_| None).await
}

async fn gateway(upstream: &LegacyServer, more: &str) -> Gateway {
    let yaml = format!("servers:\n  up: {}\n{more}", upstream.entry());
    Gateway::start(&yaml).connected().await
}

/// Status and code of `tools/list`; nothing if it is answered.
async fn list(client: &LegacyClient) -> Option<(u16, i64)> {
    match client.request("tools/list", json!({})).await {
        Outcome::Result(_) => None,
        Outcome::Error { status, code, .. } => Some((status, code)),
    }
}

/// The session at the server in which a tool was called with this text.
fn session_of(seen: &[Seen], text: &str) -> String {
    let call = seen
        .iter()
        .find(|seen| seen.body["params"]["arguments"]["text"] == text);
    call.unwrap().header("mcp-session-id").unwrap().to_owned()
}

#[tokio::test]
async fn requests_need_a_session_that_lives_and_is_theirs() {
    let (alice, bob) = (ApiKey::new("alice", &[]), ApiKey::new("bob", &[]));
    let upstream = server().await;
    let gateway = gateway(&upstream, &api_keys(&[&alice, &bob])).await;
    let bearer = |key: &ApiKey| format!("Bearer {}", key.key);
    let (hers, his) = (bearer(&alice), bearer(&bob));
    let client = LegacyClient::connect(gateway.endpoint(), &[("authorization", &hers)])
        .await
        .unwrap();
    assert_eq!(list(&client).await, None);

    let with = |session: &str| LegacyClient {
        session: session.to_owned(),
        ..client.clone()
    };
    assert_eq!(list(&with("")).await, Some((400, -32600)), "none");
    let mut forged = client.session.clone();
    let flipped = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(flipped);
    for id in ["1", "not-ours", &forged, &"x".repeat(4000)] {
        assert_eq!(list(&with(id)).await, Some((404, -32600)), "{id}");
    }
    // Somebody else's token with her session: there is no such session, whatever is tried with it.
    let thief = LegacyClient {
        headers: vec![("authorization".to_owned(), his)],
        ..client.clone()
    };
    assert_eq!(list(&thief).await, Some((404, -32600)));
    assert_eq!(thief.listen(None).await.status, 404);
    assert_eq!(thief.listen(Some("x.1")).await.status, 404);
    assert_eq!(thief.end().await.status, 404);
    let stolen = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert_eq!(thief.post(&stolen).await.status, 404);
    // Without a token it is not even looked up; at another endpoint it is another thing.
    let nobody = LegacyClient {
        headers: Vec::new(),
        ..client.clone()
    };
    assert_eq!(nobody.post(&stolen).await.status, 401);
    let elsewhere = LegacyClient {
        endpoint: gateway.endpoint_of("up"),
        ..client.clone()
    };
    assert_eq!(list(&elsewhere).await, Some((404, -32600)));
    assert_eq!(list(&client).await, None, "hers lives on");
}

#[tokio::test]
async fn ids_cannot_be_guessed() {
    let gateway = Gateway::start("servers: {}\n");
    let mut ids = HashSet::new();
    for _ in 0..200 {
        let client = LegacyClient::connect(gateway.endpoint(), &[])
            .await
            .unwrap();
        assert!(client.session.len() >= 22, "{}", client.session);
        assert!(
            client
                .session
                .bytes()
                .all(|byte| (0x21..=0x7e).contains(&byte))
        );
        assert!(ids.insert(client.session), "each is new");
    }
}

#[tokio::test]
async fn what_the_client_ends_is_over_everywhere() {
    let upstream = server().await;
    let gateway = gateway(&upstream, "").await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let other = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    client
        .call("echo", json!({ "text": "hers" }))
        .await
        .result();
    other.call("echo", json!({ "text": "his" })).await.result();
    let mut stream = client.listen(None).await;
    let primer = stream.next().await.unwrap().id.unwrap();

    let ended = client.end().await;
    assert!((200..300).contains(&ended.status), "{ended:?}");
    let told = upstream.has_seen(1, |seen| seen.verb == "DELETE").await;
    assert_eq!(
        told[0].header("mcp-session-id").unwrap(),
        session_of(&upstream.seen(), "hers")
    );
    assert!(stream.next().await.is_none(), "the stream ends");
    assert_eq!(list(&client).await, Some((404, -32600)));
    assert_eq!(client.end().await.status, 404);
    assert_eq!(client.listen(None).await.status, 404);
    assert_eq!(client.listen(Some(&primer)).await.status, 404);
    other
        .call("echo", json!({ "text": "again" }))
        .await
        .result();
    assert_eq!(
        upstream
            .seen()
            .iter()
            .filter(|seen| seen.verb == "DELETE")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_session_that_was_idle_is_over_and_its_servers_know() {
    let upstream = server().await;
    let gateway = gateway(&upstream, "limits: { session_idle: 1s }\n").await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    client
        .call("echo", json!({ "text": "mine" }))
        .await
        .result();
    let told = upstream.has_seen(1, |seen| seen.verb == "DELETE").await;
    assert_eq!(
        told[0].header("mcp-session-id").unwrap(),
        session_of(&upstream.seen(), "mine")
    );
    assert_eq!(list(&client).await, Some((404, -32600)));
    assert_eq!(
        list(&client).await,
        Some((404, -32600)),
        "it does not come back"
    );
    // The client begins another one.
    let again = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    again
        .call("echo", json!({ "text": "again" }))
        .await
        .result();
}

#[tokio::test]
async fn a_session_that_the_server_lost_is_begun_again_and_the_call_is_made_once() {
    let upstream = server().await;
    let gateway = gateway(&upstream, "").await;
    let client = LegacyClient::connect_as(gateway.endpoint(), &[], LEGACY, json!({ "roots": {} }))
        .await
        .unwrap();
    let level = json!({ "level": "warning" });
    client
        .request("logging/setLevel", level.clone())
        .await
        .result();
    let hers = |seen: &Seen| {
        seen.method() == "initialize"
            && seen.body["params"]["capabilities"] == json!({ "roots": {} })
    };
    for round in 0..3 {
        let text = format!("round {round}");
        upstream.lose_sessions();
        assert_eq!(
            client.call("echo", json!({ "text": text })).await.text(),
            text
        );
        let seen = upstream.seen();
        let made: Vec<&Seen> = seen
            .iter()
            .filter(|seen| seen.body["params"]["arguments"]["text"] == text.as_str())
            .collect();
        assert_eq!(
            made.len(),
            2,
            "once in the lost session, where it is refused, and once in the new one"
        );
        assert_ne!(
            made[0].header("mcp-session-id"),
            made[1].header("mcp-session-id")
        );
        assert_eq!(seen.iter().filter(|seen| hers(seen)).count(), round + 2);
        // The new session hears what the old one knew.
        let levels = |seen: &&Seen| {
            seen.method() == "logging/setLevel"
                && seen.header("mcp-session-id") == made[1].header("mcp-session-id")
        };
        let levels: Vec<&Seen> = seen.iter().filter(levels).collect();
        assert_eq!(levels.len(), 1, "{seen:#?}");
        assert_eq!(levels[0].body["params"], level);
    }
    upstream.lose_sessions();
    client
        .request("logging/setLevel", json!({ "level": "debug" }))
        .await
        .result();
    let told = |seen: &Seen| {
        seen.method() == "logging/setLevel" && seen.body["params"]["level"] == "debug"
    };
    upstream.has_seen(2, told).await;
}

#[tokio::test]
async fn a_server_that_forgets_at_once_is_an_error_and_never_an_empty_success() {
    let upstream = LegacyServer::start(LEGACY, |seen| {
        (seen.method() == "tools/call").then(|| match seen.tool() {
            // Whatever the session, it is not known; or there is no answer at all.
            "one" => Reply::Json(404, json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32001, "message": "Session not found" } })),
            "two" => Reply::Json(202, Value::Null),
            "three" => Reply::Json(200, Value::Null),
            _ => Reply::Nothing,
        })
    })
    .await;
    let gateway = gateway(&upstream, "").await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    for (tool, tries) in [("one", 2), ("two", 1), ("three", 1), ("echo", 1)] {
        let outcome = client.call(tool, json!({})).await;
        assert!(
            matches!(outcome.code(), Some(502 | 503)),
            "{tool}: {outcome:?}"
        );
        let made = upstream
            .seen()
            .iter()
            .filter(|seen| seen.tool() == tool)
            .count();
        assert_eq!(made, tries, "{tool}");
    }
    let ready = wire::get(&format!("{}/health", gateway.base))
        .await
        .unwrap();
    assert_eq!(ready.status, 200);
}
