//! What the death of one server's process means for the others is the operator's choice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::gateway::Gateway;
use support::proc_fs;

const SERVERS: [&str; 3] = ["one", "two", "three"];

/// The processes of the servers, by name.
fn pids(gateway: &Gateway) -> BTreeMap<String, u32> {
    let children = proc_fs::children(gateway.pid());
    let named = children.iter().filter_map(|child| {
        let environment = std::fs::read(format!("/proc/{}/environ", child.pid)).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let name = environment
            .split('\0')
            .find_map(|variable| variable.strip_prefix("SERVER="))?;
        Some((name.to_owned(), child.pid))
    });
    named.collect()
}

/// Kills the process of the second server and says which servers have another process afterwards.
async fn restarted_with(strategy: &str) -> Vec<String> {
    let mut yaml = format!("supervision: {{ upstreams: {{ strategy: {strategy} }} }}\nservers:\n");
    for name in SERVERS {
        yaml.push_str(&format!(
            "  {name}: {{ type: stdio, command: {:?}, args: [demo], env: {{ SERVER: {name} }}, protocol: modern }}\n",
            env!("CARGO_BIN_EXE_weir")
        ));
    }
    let gateway = Gateway::start(&yaml).connected().await;
    let all_there = || pids(&gateway).len() == SERVERS.len();
    assert!(
        proc_fs::eventually(Duration::from_secs(10), all_there),
        "{}",
        gateway.log()
    );
    let before = pids(&gateway);
    proc_fs::kill(before["two"]);
    let settled = || {
        let now = pids(&gateway);
        now.len() == SERVERS.len() && now["two"] != before["two"]
    };
    assert!(
        proc_fs::eventually(Duration::from_secs(10), settled),
        "{}",
        gateway.log()
    );
    let after = pids(&gateway);
    SERVERS
        .into_iter()
        .filter(|name| before[*name] != after[*name])
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn one_for_one_restarts_the_dead_one() {
    assert_eq!(restarted_with("one_for_one").await, ["two"]);
}

#[tokio::test]
async fn rest_for_one_restarts_those_after_it() {
    assert_eq!(restarted_with("rest_for_one").await, ["two", "three"]);
}

#[tokio::test]
async fn one_for_all_restarts_all() {
    assert_eq!(restarted_with("one_for_all").await, ["one", "two", "three"]);
}
