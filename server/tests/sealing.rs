//! Gateways with the same sealing key are one gateway for the sessions of their clients; without one, each is alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use serde_json::json;
use support::gateway::Gateway;
use support::mcp::{LegacyClient, Outcome, names};
use support::upstream::demo_entry;
use weir_actors::seal::SealKey;

fn key() -> String {
    SealKey::random().unwrap().encode()
}

/// A replica whose environment has these keys, the newest first.
async fn replica<const KEYS: usize>(keys: [&str; KEYS]) -> Gateway {
    let names = ["WEIR_SEAL_KEY", "WEIR_OLD_SEAL_KEY"];
    let listed: Vec<String> = names
        .iter()
        .take(KEYS)
        .map(|name| format!("\"${{{name}}}\""))
        .collect();
    let yaml = format!(
        "servers:\n  demo: {}\nsealing: {{ keys: [{}] }}\n",
        demo_entry(),
        listed.join(", ")
    );
    let gateway = Gateway::start_with(&yaml, |command| {
        command.envs(names.iter().zip(keys));
    });
    gateway.connected().await
}

/// The same client, at another gateway.
fn at(client: &LegacyClient, gateway: &Gateway) -> LegacyClient {
    LegacyClient {
        endpoint: gateway.endpoint(),
        ..client.clone()
    }
}

#[tokio::test]
async fn a_session_is_good_at_every_replica_with_the_key() {
    let key = key();
    let (one, other) = tokio::join!(replica([&key]), replica([&key]));
    let client = LegacyClient::connect(one.endpoint(), &[]).await.unwrap();
    assert!(!client.session.is_empty());
    let list = at(&client, &other).request("tools/list", json!({})).await;
    let tools = names(&list.result(), "tools", "name");
    assert!(tools.iter().any(|tool| tool == "echo"), "{tools:?}");
    let moved = at(&client, &other);
    let answer = moved.call("echo", json!({ "text": "moved" })).await;
    assert_eq!(answer.text(), "moved");

    // A process that starts later takes it too.
    drop((one, other));
    let next = replica([&key]).await;
    let moved = at(&client, &next);
    let answer = moved.call("echo", json!({ "text": "still here" })).await;
    assert_eq!(answer.text(), "still here");
}

#[tokio::test]
async fn an_old_key_still_opens_and_a_removed_one_does_not() {
    let (old, new) = (key(), key());
    let (before, during, after) =
        tokio::join!(replica([&old]), replica([&new, &old]), replica([&new]));
    let early = LegacyClient::connect(before.endpoint(), &[]).await.unwrap();
    let late = LegacyClient::connect(during.endpoint(), &[]).await.unwrap();
    at(&early, &during)
        .request("tools/list", json!({}))
        .await
        .result();
    at(&late, &after)
        .request("tools/list", json!({}))
        .await
        .result();
    assert_unknown(&at(&early, &after)).await;
    assert_unknown(&at(&late, &before)).await;
}

#[tokio::test]
async fn without_keys_every_process_is_alone() {
    let (one, other) = tokio::join!(replica([]), replica([]));
    let client = LegacyClient::connect(one.endpoint(), &[]).await.unwrap();
    client.request("tools/list", json!({})).await.result();
    assert_unknown(&at(&client, &other)).await;
}

async fn assert_unknown(client: &LegacyClient) {
    let answer = client.request("tools/list", json!({})).await;
    assert!(
        matches!(answer, Outcome::Error { status: 404, .. }),
        "{answer:?}"
    );
}
