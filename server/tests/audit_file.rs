//! The audit log is a file unless somebody says otherwise: found again, shared, moved away and full.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::mcp::ModernClient;
use support::scratch::Scratch;
use support::upstream::demo_entry;
use support::wire;

/// Longest time from an answer to its record.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

/// A gateway for a user whose programs keep their state in `state`.
async fn gateway_of(state: &Path, home: &Path, audit: &str) -> Gateway {
    let yaml = format!("servers:\n  demo: {}\naudit: {audit}\n", demo_entry());
    let gateway = Gateway::start_with(&yaml, |command| {
        command.env("XDG_STATE_HOME", state).env("HOME", home);
    });
    gateway.connected().await
}

async fn call(gateway: &Gateway, text: &str) {
    let client = ModernClient::new(gateway.endpoint());
    let answer = client.call("echo", json!({ "text": text })).await;
    assert_eq!(answer.text(), text);
}

/// The whole lines of some files that are calls of tools, once there are `count`.
async fn calls(files: &[PathBuf], count: usize) -> Vec<Value> {
    let deadline = Instant::now() + RECORDED_WITHIN;
    loop {
        let found: Vec<Value> = files
            .iter()
            .flat_map(|file| records(file))
            .filter(|record| record["method"] == "tools/call")
            .collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{} of {count}", found.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let record =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(record).collect()
}

#[tokio::test]
async fn by_default_it_is_in_the_state_of_this_user() {
    let scratch = Scratch::new("audit-default");
    let state = scratch.path().join("state");
    let gateway = gateway_of(&state, scratch.path(), "{}").await;
    let file = state.join("weir/audit.jsonl");
    gateway.says(file.to_str().unwrap());
    call(&gateway, "hello").await;
    assert_eq!(calls(std::slice::from_ref(&file), 1).await.len(), 1);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Whoever started it reads where it is, and where its admin listener is if that took any port, and may forget the pipe.
    let log = gateway.log();
    let printed: Vec<&str> = log.lines().filter(|line| !line.starts_with("! ")).collect();
    assert_eq!(printed.len(), 2, "{printed:?}");
    assert!(printed[0].starts_with("weir ready http://"), "{printed:?}");
    assert!(printed[1].starts_with("weir admin http://"), "{printed:?}");
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named_and_the_next_is_taken() {
    let scratch = Scratch::new("audit-next");
    let state = scratch.write("state", "this is no directory");
    let gateway = gateway_of(&state, scratch.path(), "{ sink: file }").await;
    gateway.says("audit records are not where they were expected");
    call(&gateway, "hello").await;
    calls(&[scratch.path().join(".local/state/weir/audit.jsonl")], 1).await;
}

#[tokio::test]
async fn gateways_share_the_default_file() {
    let scratch = Scratch::new("audit-shared");
    let state = scratch.path().join("state");
    let (one, other) = tokio::join!(
        gateway_of(&state, scratch.path(), "{}"),
        gateway_of(&state, scratch.path(), "{}")
    );
    for _ in 0..20 {
        tokio::join!(call(&one, "one"), call(&other, "other"));
    }
    let file = state.join("weir/audit.jsonl");
    assert_eq!(calls(std::slice::from_ref(&file), 40).await.len(), 40);
    let starts = records(&file)
        .iter()
        .filter(|record| record["event_type"] == "gateway.start")
        .count();
    assert_eq!(starts, 2);
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_on_sighup() {
    let scratch = Scratch::new("audit-hangup");
    let file = scratch.path().join("audit.jsonl");
    let moved = scratch.path().join("moved.jsonl");
    let gateway = gateway_of(
        scratch.path(),
        scratch.path(),
        &json!({ "path": file }).to_string(),
    )
    .await;
    call(&gateway, "before").await;
    calls(std::slice::from_ref(&file), 1).await;

    std::fs::rename(&file, &moved).unwrap();
    call(&gateway, "between").await;
    calls(std::slice::from_ref(&moved), 2).await;
    gateway.hang_up();
    gateway.says("audit file opened again");
    call(&gateway, "after").await;
    assert_eq!(calls(&[file], 1).await.len(), 1);
    assert_eq!(calls(&[moved], 2).await.len(), 2);
}

#[tokio::test]
async fn a_full_file_gets_a_number_and_no_record_is_lost() {
    const CALLS: usize = 300;
    let scratch = Scratch::new("audit-full");
    let file = scratch.path().join("audit.jsonl");
    let audit = json!({ "path": file, "rotate_bytes": 65536, "keep": 0 });
    let gateway = gateway_of(scratch.path(), scratch.path(), &audit.to_string()).await;
    for _ in 0..CALLS {
        call(&gateway, "again").await;
    }
    let mut files = vec![file.clone()];
    files.extend((1..10).map(|number| PathBuf::from(format!("{}.{number}", file.display()))));
    assert_eq!(calls(&files, CALLS).await.len(), CALLS);
    let full = files.iter().filter(|file| file.exists()).count() - 1;
    assert!(full > 0, "no file was full");
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = format!("weir_audit_rotations_total{{result=\"done\"}} {full}");
    assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
}
