//! Nothing happens unseen: an audit line for each request, refusals included, stage counters that add up, and never a value
//! that a caller sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, ModernClient};
use support::proc_fs::eventually;
use support::scratch::Scratch;
use support::upstream::{Upstream, http_entry};
use support::wire;

/// Stands for what only caller and server may know.
const CANARY: &str = "canary-7f3a91";

const STAGES: [&str; 6] = [
    "auth",
    "policy",
    "credential",
    "dispatch",
    "telemetry",
    "audit",
];

#[tokio::test]
async fn every_request_leaves_one_line() {
    let Some(kit) = Kit::find("observed") else {
        return;
    };
    let upstream = Upstream::echo(&kit, &[]);
    let folder = Scratch::new("audit");
    let path = folder.path().join("audit.jsonl");
    let audit = json!({ "sink": "file", "path": path });
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\naudit: {audit}\n",
        http_entry(&upstream.url)
    ))
    .connected()
    .await;

    let modern = ModernClient::new(gateway.endpoint());
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..20 {
        assert!(
            modern
                .call("echo", json!({ "text": CANARY }))
                .await
                .text()
                .ends_with(CANARY)
        );
    }
    *expected.entry("ok").or_default() += 20;
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    *expected.entry("ok").or_default() += 2;
    for _ in 0..5 {
        legacy.call("echo", json!({ "text": CANARY })).await.text();
    }
    *expected.entry("ok").or_default() += 5;
    assert_eq!(
        modern
            .call("nothing", json!({ "secret": CANARY }))
            .await
            .code(),
        Some(-32602)
    );
    for (method, path, headers, body) in [
        (
            Method::POST,
            "/mcp",
            vec![("origin", "https://evil.example")],
            "{}",
        ),
        (Method::POST, "/mcp", vec![], "not json canary-7f3a91"),
        (Method::PUT, "/mcp", vec![], "{}"),
        (Method::POST, "/servers/nobody/mcp", vec![], "{}"),
    ] {
        let headers = [
            &[
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
            ][..],
            &headers,
        ]
        .concat();
        let answer = wire::send(method, &format!("{}{path}", gateway.base), &headers, body)
            .await
            .unwrap();
        assert!(answer.status >= 400, "{answer:?}");
    }
    *expected.entry("refused").or_default() += 5;

    let total: usize = expected.values().sum();
    assert!(
        eventually(Duration::from_secs(10), || events(&path).len() >= total),
        "{} of {total} lines",
        events(&path).len()
    );
    let events = events(&path);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        *seen.entry(event["result"].as_str().unwrap()).or_default() += 1;
        assert!(
            event["timestamp"].as_str().unwrap().starts_with("20"),
            "{event}"
        );
        assert!(event["status"].as_u64().unwrap() >= 200, "{event}");
        assert_eq!(
            event["result"] == "ok",
            event["reason"].is_null(),
            "{event}"
        );
    }
    assert_eq!(seen, expected);
    let ids: HashSet<&str> = events
        .iter()
        .map(|event| event["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), events.len());
    let calls = events
        .iter()
        .filter(|event| event["method"] == "tools/call" && event["result"] == "ok");
    assert_eq!(
        calls
            .filter(|event| event["mcp_server"] == "up" && event["tool"] == "echo")
            .count(),
        25
    );

    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    for text in [
        std::fs::read_to_string(&path).unwrap(),
        gateway.log(),
        String::from_utf8(metrics.body.to_vec()).unwrap(),
    ] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn every_request_passes_every_stage_once() {
    let Some(kit) = Kit::find("observed") else {
        return;
    };
    let upstream = Upstream::echo(&kit, &[]);
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", http_entry(&upstream.url)))
        .connected()
        .await;
    let before = stages(&gateway).await;
    let modern = ModernClient::new(gateway.endpoint());
    for number in 0..40 {
        modern
            .call("echo", json!({ "text": number.to_string() }))
            .await
            .text();
    }
    let after = stages(&gateway).await;
    for stage in STAGES {
        assert_eq!(
            after[stage] - before[stage],
            40,
            "{stage}: {before:?} {after:?}"
        );
    }
}

/// The request events of an audit file.
fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let events = whole.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    events
        .filter(|event| event["event_type"] == "mcp.request")
        .collect()
}

/// Messages handled by each stage.
async fn stages(gateway: &Gateway) -> BTreeMap<&'static str, u64> {
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    assert_eq!(metrics.status, 200);
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let count = |stage: &str| {
        let name = format!("weir_stage_messages_total{{stage=\"{stage}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    };
    STAGES.map(|stage| (stage, count(stage))).into()
}
