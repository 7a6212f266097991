//! Progress and cancellation: each reaches the request that it is about, and no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::events::Events;
use support::gateway::Gateway;
use support::legacy_server::{LegacyServer, Reply, Step, event};
use support::mcp::{LEGACY, LegacyClient, MODERN};
use support::proc_fs::eventually;
use support::scripted::Scripted;
use support::upstream::demo_entry;
use tokio::sync::Semaphore;

fn call(id: impl Into<Value>, tool: &str, arguments: Value, token: impl Into<Value>) -> Value {
    let params =
        json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token.into() } });
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params })
}

fn progress(token: &Value, how_far: u64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": how_far } })
}

#[tokio::test]
async fn clients_with_the_same_ids_and_tokens_share_a_child_and_hear_their_own() {
    let gateway = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
        .connected()
        .await;
    let counting = (0..8_u64).map(|number| {
        let endpoint = gateway.endpoint();
        async move {
            let client = LegacyClient::connect(endpoint, &[]).await.unwrap();
            // A number and a string are different tokens, and what looks alike is not the same.
            let token = match number % 3 {
                0 => json!(1),
                1 => json!("1"),
                _ => json!("w1-1"),
            };
            let steps = number + 2;
            let arguments = json!({ "to": steps, "delay_ms": 5 });
            let messages = client
                .stream(&call(1, "slow_count", arguments, token.clone()))
                .await
                .rest()
                .await;
            let (answer, said) = messages.split_last().unwrap();
            assert_eq!(answer.1["id"], 1);
            assert!(answer.1["result"].is_object(), "{answer:?}");
            assert_eq!(said.len() as u64, steps, "{said:?}");
            for (_, message) in said {
                assert_eq!(message["params"]["progressToken"], token, "{message}");
                assert_eq!(message["params"]["total"], steps, "{message}");
            }
        }
    });
    join_all(counting).await;
}

#[tokio::test]
async fn progress_about_another_request_or_after_the_answer_is_dropped() {
    let late = Arc::new(Semaphore::new(0));
    let waiting = late.clone();
    let upstream = LegacyServer::start(LEGACY, move |seen| {
        let token = &seen.body["params"]["_meta"]["progressToken"];
        if seen.tool() == "one" {
            return Some(Reply::Events(vec![
                event(&progress(&json!("somebody else's"), 1)),
                event(&progress(token, 1)),
                // It need not grow.
                event(&progress(token, 0)),
                event(&seen.says("done")),
                event(&progress(token, 9)),
            ]));
        }
        let listens = seen.verb == "GET" && seen.header("mcp-session-id") != Some("s1");
        listens.then(|| {
            Reply::Events(vec![
                Step::Wait(waiting.clone()),
                event(&progress(&json!("mine"), 8)),
                event(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "last" } })),
                Step::Hang,
            ])
        })
    })
    .await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry()))
        .connected()
        .await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let mut stream = client.listen(None).await;
    let messages = client
        .stream(&call(1, "one", json!({}), "mine"))
        .await
        .rest()
        .await;
    let heard: Vec<&Value> = messages.iter().map(|(_, message)| message).collect();
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(
        (
            &heard[0]["params"]["progress"],
            &heard[1]["params"]["progress"]
        ),
        (&json!(1), &json!(0))
    );
    assert_eq!(heard[2]["id"], 1);
    // The request is over: what is said about it on the other stream is late.
    late.add_permits(1);
    let (_, next) = stream.message().await.unwrap();
    assert_eq!(next["params"]["data"], "last");
}

#[tokio::test]
async fn a_cancellation_reaches_the_server_under_its_own_id() {
    let upstream = LegacyServer::start(LEGACY, |seen| {
        (seen.tool() == "one").then(|| {
            let token = &seen.body["params"]["_meta"]["progressToken"];
            Reply::Events(vec![event(&progress(token, 1)), Step::Hang])
        })
    })
    .await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry()))
        .connected()
        .await;
    let alice = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let bob = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let cancel = |id: Value| json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });

    let mut hers = alice.stream(&call("same", "one", json!({}), 7)).await;
    let mut his = bob.stream(&call("same", "one", json!({}), 7)).await;
    assert_eq!(
        hers.message().await.unwrap().1["params"]["progressToken"],
        7
    );
    assert_eq!(his.message().await.unwrap().1["params"]["progressToken"], 7);
    let calls = upstream.has_seen(2, |seen| seen.tool() == "one").await;
    let ids: HashSet<String> = calls
        .iter()
        .map(|seen| seen.body["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 2, "each has an id of the gateway's: {ids:?}");

    // What nobody asked is nobody's.
    for id in [json!("other"), json!(1), json!(null)] {
        assert!(matches!(bob.post(&cancel(id)).await.status, 202 | 400));
    }
    assert_eq!(alice.post(&cancel(json!("same"))).await.status, 202);
    let told = upstream
        .has_seen(1, |seen| seen.method() == "notifications/cancelled")
        .await;
    assert_eq!(told.len(), 1);
    let session = told[0].header("mcp-session-id");
    let cancelled = calls
        .iter()
        .find(|seen| seen.header("mcp-session-id") == session)
        .unwrap();
    assert_eq!(told[0].body["params"]["requestId"], cancelled.body["id"]);
    let rest = hers.rest().await;
    assert!(
        rest.iter()
            .all(|(_, message)| message.get("result").is_none()),
        "{rest:?}"
    );
    // His goes on.
    bob.post(&cancel(json!("same"))).await;
    upstream
        .has_seen(2, |seen| seen.method() == "notifications/cancelled")
        .await;
}

#[tokio::test]
async fn in_the_modern_era_closing_the_connection_cancels() {
    let upstream = Scripted::start().await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry(json!({}))))
        .connected()
        .await;
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "hang", "_meta": meta } });
    let endpoint = gateway.endpoint();
    let calling = tokio::spawn(async move {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "hang"),
        ];
        Events::open(http::Method::POST, &endpoint, &headers, body.to_string()).await
    });
    let limit = std::time::Duration::from_secs(10);
    while upstream.running() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    calling.abort();
    let _ = calling.await;
    let waiting = tokio::time::timeout(limit, async {
        while upstream.cut_off() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert!(waiting.await.is_ok(), "the server was not told");
    assert!(eventually(limit, || upstream.running() == 0));
}
