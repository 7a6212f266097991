//! A stdio server is killed again and again under load: every call is answered, the server comes back, nothing is left over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, Outcome, outcome};
use support::proc_fs::{self, ChildProcess};
use support::upstream::stdio_entry;
use tokio::task::JoinSet;

/// How often the server is killed.
const KILLS: usize = 20;

/// One call every 5 ms: 200 a second.
const CALL_EVERY: Duration = Duration::from_millis(5);

/// Longest time from a kill to the next good answer. The server itself needs 0.2 s to start.
const HEALTHY_WITHIN: Duration = Duration::from_secs(1);

/// Longest time of any call.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Descriptors that may be open at the end beyond those before: what a worker keeps for its next request.
const SPARE_DESCRIPTORS: usize = 4;

/// One answered call.
struct Answered {
    sent: Instant,
    received: Instant,
    outcome: Outcome,
}

#[tokio::test]
async fn killed_twenty_times_under_load() {
    let Some(kit) = Kit::find("kill_upstream") else {
        return;
    };
    let path = kit.node_path();
    let server = stdio_entry(
        &kit.node_program("mcp-server-everything"),
        &["stdio"],
        &[("PATH", &path)],
    );
    let gateway = Gateway::start(&format!("servers:\n  victim: {server}\n"))
        .connected()
        .await;
    let client = Arc::new(
        LegacyClient::connect(gateway.endpoint_of("victim"), &[])
            .await
            .unwrap(),
    );
    assert_eq!(
        client
            .call("echo", json!({ "message": "hello" }))
            .await
            .text(),
        "Echo: hello"
    );
    let descriptors_before = proc_fs::descriptors(gateway.pid());

    let done = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(Arc::clone(&client), Arc::clone(&done)));
    let kills = kill_again_and_again(gateway.pid(), &client).await;
    done.store(true, Ordering::Relaxed);
    let answers = load.await.unwrap();

    let good = answers
        .iter()
        .filter(|answer| is_good(&answer.outcome))
        .count();
    println!(
        "{} calls, {good} with a result, {} with an error",
        answers.len(),
        answers.len() - good
    );
    assert!(
        good * 2 > answers.len(),
        "most of the time the server is there"
    );
    let slowest = answers
        .iter()
        .map(|answer| answer.received - answer.sent)
        .max()
        .unwrap();
    assert!(slowest < ANSWER_WITHIN, "a call took {slowest:?}");
    for (number, kill) in kills.iter().enumerate() {
        let next_good = answers
            .iter()
            .filter(|answer| answer.sent > *kill && is_good(&answer.outcome))
            .map(|answer| answer.received)
            .min();
        let took = next_good.unwrap_or_else(|| panic!("never healthy after kill {number}")) - *kill;
        assert!(
            took < HEALTHY_WITHIN,
            "healthy {took:?} after kill {number}"
        );
    }

    let pid = gateway.pid();
    assert!(
        proc_fs::eventually(Duration::from_secs(5), || proc_fs::children(pid).len() == 1),
        "{:?}",
        proc_fs::children(pid)
    );
    let limit = descriptors_before + SPARE_DESCRIPTORS;
    let settled = proc_fs::eventually(Duration::from_secs(10), || {
        proc_fs::descriptors(pid) <= limit
    });
    assert!(
        settled,
        "{descriptors_before} descriptors before, {} after",
        proc_fs::descriptors(pid)
    );
    assert_eq!(
        client
            .call("echo", json!({ "message": "still here" }))
            .await
            .text(),
        "Echo: still here"
    );
}

/// Calls at a steady rate, whatever the answers are, until told to stop. Panics if a call is not answered.
async fn load(client: Arc<LegacyClient>, done: Arc<AtomicBool>) -> Vec<Answered> {
    let mut clock = tokio::time::interval(CALL_EVERY);
    let mut calls = JoinSet::new();
    let mut answers = Vec::new();
    let mut number = 0_u64;
    while !done.load(Ordering::Relaxed) {
        clock.tick().await;
        number += 1;
        calls.spawn(call(Arc::clone(&client), number));
        while let Some(answer) = calls.try_join_next() {
            answers.push(answer.unwrap());
        }
    }
    answers.extend(calls.join_all().await);
    answers
}

async fn call(client: Arc<LegacyClient>, number: u64) -> Answered {
    let id = format!("call-{number}");
    let message = format!("number {number}");
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "echo", "arguments": { "message": message } } });
    let sent = Instant::now();
    let answer = client
        .try_post(&request)
        .await
        .unwrap_or_else(|error| panic!("{id} was not answered: {error}"));
    let received = Instant::now();
    assert_eq!(answer.json()["id"], id.as_str(), "{answer:?}");
    let outcome = outcome(&answer);
    if is_good(&outcome) {
        assert_eq!(outcome.clone().text(), format!("Echo: {message}"));
    }
    Answered {
        sent,
        received,
        outcome,
    }
}

fn is_good(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Result(_))
}

/// Kills the server's process, waits until a call works again, and repeats. Returns when each kill happened.
async fn kill_again_and_again(gateway: u32, client: &LegacyClient) -> Vec<Instant> {
    let mut kills = Vec::new();
    let mut killed: Option<ChildProcess> = None;
    for _ in 0..KILLS {
        wait_until_good(client).await;
        // Another process may be there for a moment, asked which eras the server speaks.
        let alone = proc_fs::eventually(Duration::from_secs(5), || {
            proc_fs::children(gateway).len() == 1
        });
        assert!(
            alone,
            "one child was expected: {:?}",
            proc_fs::children(gateway)
        );
        let children = proc_fs::children(gateway);
        let child = &children[0];
        assert_ne!(Some(child), killed.as_ref(), "the kill did not work");
        kills.push(Instant::now());
        proc_fs::kill(child.pid);
        killed = Some(child.clone());
    }
    wait_until_good(client).await;
    kills
}

/// Waits until a call works, and a little longer so that the load sees it too.
async fn wait_until_good(client: &LegacyClient) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_good(&client.call("echo", json!({ "message": "there?" })).await) {
        assert!(Instant::now() < deadline, "the server does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
}
