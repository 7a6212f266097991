//! What a caller may do at most: exactly that, for each caller alone, and a flood costs nobody else anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::keys::{ApiKey, api_keys};
use support::mcp::{LegacyClient, ModernClient, Outcome};
use support::proc_fs::eventually;
use support::scratch::Scratch;
use support::scripted::Scripted;
use support::wire::{self, Answer};

async fn call(client: &ModernClient, tool: &str, arguments: Value) -> Answer {
    let params = json!({ "name": tool, "arguments": arguments });
    client.answer("tools/call", params).await.unwrap()
}

/// Checks a refusal and returns when to come again, in milliseconds.
fn refused(answer: &Answer, status: u16, reason: &str) -> u64 {
    let body = answer.json();
    let error = &body["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (status, &status.into()),
        "{answer:?}"
    );
    assert_eq!(error["data"]["reason"], reason, "{answer:?}");
    assert_eq!(error["data"]["retryable"], true, "{answer:?}");
    assert!(!body["id"].is_null(), "{answer:?}");
    let after = error["data"]["retry_after_ms"].as_u64().unwrap();
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(seconds, after.div_ceil(1_000), "{answer:?}");
    after
}

fn audit(folder: &Scratch) -> (std::path::PathBuf, String) {
    let path = folder.path().join("audit.jsonl");
    let block = format!("audit: {}\n", json!({ "sink": "file", "path": path }));
    (path, block)
}

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_exactly_when_to_come_again() {
    let upstream = Scripted::start().await;
    let (ann, bob) = (ApiKey::new("ann", &[]), ApiKey::new("bob", &["fast"]));
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\n{}limits:\n  principal: {{ rate: 6/m, burst: 3 }}\n  rules: [{{ name: fast, roles: [fast], rate: 600/s }}]\n",
        upstream.entry(json!({})),
        api_keys(&[&ann, &bob]),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    let (ann, bob) = (client.clone().bearer(&ann.key), client.bearer(&bob.key));
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(call(&ann, "echo", json!({})).await.status, 200);
    }
    for _ in 0..5 {
        let answer = call(&ann, "echo", json!({})).await;
        let after = refused(&answer, 429, "principal_rate");
        // One call every ten seconds, counted from the first.
        let spent = u64::try_from(begun.elapsed().as_millis()).unwrap();
        assert!(
            after <= 10_000 && after + spent + 50 >= 10_000,
            "{after} {spent}"
        );
    }
    for _ in 0..50 {
        assert_eq!(call(&bob, "echo", json!({})).await.status, 200);
    }
    assert_eq!(upstream.calls(), 53, "what is refused goes nowhere");
}

#[tokio::test]
async fn a_tool_can_be_dearer_than_others() {
    let upstream = Scripted::start().await;
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\nlimits:\n  rules:\n    - {{ name: dear, tools: [\"ech?\"], rate: 2/h }}\n    - {{ name: one, servers: [up], tools: [sleep], in_flight: 1, shared: true }}\n",
        upstream.entry(json!({})),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    for _ in 0..2 {
        assert_eq!(call(&client, "echo", json!({})).await.status, 200);
    }
    let answer = call(&client, "echo", json!({})).await;
    let after = refused(&answer, 429, "tool_rate");
    assert!((1_795_000..=1_800_000).contains(&after), "{after}");
    assert_eq!(
        call(&client, "blob", json!({ "bytes": 1 })).await.status,
        200
    );

    let legacy = LegacyClient::connect(gateway.endpoint(), &[]).await;
    assert!(legacy.is_err(), "the server speaks the modern era only");

    let slow = call(&client, "sleep", json!({ "ms": 500 }));
    let second = async {
        let deadline = Instant::now() + Duration::from_secs(10);
        while upstream.running() == 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        call(&client, "sleep", json!({ "ms": 0 })).await
    };
    let (first, second) = tokio::join!(slow, second);
    assert_eq!(first.status, 200);
    refused(&second, 429, "tool_in_flight");
    assert_eq!(call(&client, "sleep", json!({ "ms": 0 })).await.status, 200);
}

#[tokio::test]
async fn a_noisy_caller_disturbs_nobody_and_fills_no_log() {
    let upstream = Scripted::start().await;
    let folder = Scratch::new("noisy");
    let (path, audit) = audit(&folder);
    let (noisy, quiet) = (ApiKey::new("noisy", &[]), ApiKey::new("quiet", &["vip"]));
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\n{}limits: {{ principal: {{ rate: 50/s, burst: 10 }}, rules: [{{ name: vip, roles: [vip], in_flight: 8 }}] }}\n{audit}",
        upstream.entry(json!({})),
        api_keys(&[&noisy, &quiet]),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    let (noisy, quiet) = (client.clone().bearer(&noisy.key), client.bearer(&quiet.key));
    let begun = Instant::now();
    let flood = join_all((0..8).map(|_| async {
        let mut seen = BTreeMap::<u16, usize>::new();
        while begun.elapsed() < Duration::from_secs(3) {
            *seen
                .entry(call(&noisy, "echo", json!({})).await.status)
                .or_default() += 1;
        }
        seen
    }));
    let calm = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..40 {
            let sent = Instant::now();
            assert_eq!(call(&quiet, "echo", json!({})).await.status, 200);
            slowest = slowest.max(sent.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest
    };
    let (flood, slowest) = tokio::join!(flood, calm);
    let mut seen = BTreeMap::<u16, usize>::new();
    for (status, count) in flood.into_iter().flatten() {
        *seen.entry(status).or_default() += count;
    }
    let (served, shed) = (seen[&200], seen[&429]);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(served <= 10 + 50 * 4 && shed > served, "{seen:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");

    // Exactly as many are recorded as were refused, in one line a second.
    let told = |user: &str| {
        let events = events(&path);
        let of = |event: &&Value| event["event_type"] == "mcp.shed" && event["user_id"] == user;
        let lines: Vec<Value> = events.iter().filter(of).cloned().collect();
        let count: u64 = lines
            .iter()
            .map(|line| line["count"].as_u64().unwrap())
            .sum();
        (lines, usize::try_from(count).unwrap())
    };
    assert!(
        eventually(Duration::from_secs(10), || told("noisy").1 >= shed),
        "{:?} of {shed}",
        told("noisy")
    );
    let (lines, count) = told("noisy");
    assert_eq!(count, shed);
    assert!(lines.len() <= 6, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line["reason"] == "principal_rate" && line["status"] == 429)
    );
    assert_eq!(told("quiet").1, 0);
    let single = events(&path)
        .iter()
        .filter(|event| event["result"] == "ok" && event["user_id"] == "noisy")
        .count();
    assert_eq!(single, served);
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains(&format!(
            "weir_shed_total{{reason=\"principal_rate\"}} {shed}"
        )),
        "{metrics}"
    );
}

#[tokio::test]
async fn guessing_credentials_is_no_faster_than_calling() {
    let ann = ApiKey::new("ann", &[]);
    let gateway = Gateway::start(&format!(
        "servers: {{}}\n{}limits: {{ principal: {{ rate: 3/m }} }}\n",
        api_keys(&[&ann]),
    ));
    let client = ModernClient::new(gateway.endpoint());
    let wrong = client.clone().bearer("weir_wrong");
    for _ in 0..3 {
        assert_eq!(
            wrong.answer("tools/list", json!({})).await.unwrap().status,
            401
        );
    }
    let answer = wrong.answer("tools/list", json!({})).await.unwrap();
    assert_eq!(answer.status, 429, "{answer:?}");
    // Neither who asks how to prove itself nor who can is held up by that.
    assert_eq!(
        client.answer("tools/list", json!({})).await.unwrap().status,
        401
    );
    let ann = client.bearer(&ann.key);
    assert!(matches!(
        ann.request("tools/list", json!({})).await,
        Outcome::Result(_)
    ));
}
