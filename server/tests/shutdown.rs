//! How the process starts and stops: exit codes, draining, no children left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{ModernClient, Outcome};
use support::proc_fs;
use support::process::{Finished, Process};
use support::scratch::Scratch;
use support::upstream::{Upstream, http_entry, stdio_entry};

#[test]
fn a_wrong_configuration_is_exit_code_2_with_file_line_and_key() {
    let finished = serve(
        "listen: 127.0.0.1:0\nservers:\n  files: { type: stdio, comand: npx }\n",
        &[],
    );
    assert_eq!(finished.status.code(), Some(2), "{}", finished.output);
    for part in ["weir.yaml", "3", "comand", "command"] {
        assert!(
            finished.output.contains(part),
            "{part:?} is not in:\n{}",
            finished.output
        );
    }
}

#[test]
fn a_missing_variable_is_named() {
    let finished = serve(
        "servers:\n  one: { type: http, url: \"${WEIR_TEST_NOBODY_SET_THIS}\" }\n",
        &[],
    );
    assert_eq!(finished.status.code(), Some(2), "{}", finished.output);
    assert!(
        finished.output.contains("WEIR_TEST_NOBODY_SET_THIS"),
        "{}",
        finished.output
    );
}

#[test]
fn a_taken_address_is_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = serve(
        "servers: {}\n",
        &["--listen", &address, "--admin-listen", "127.0.0.1:0"],
    );
    assert_eq!(finished.status.code(), Some(2), "{}", finished.output);
    assert!(finished.output.contains(&address), "{}", finished.output);
}

#[tokio::test]
async fn asked_to_stop_it_finishes_what_it_has_and_leaves_nobody_behind() {
    let Some(kit) = Kit::find("shutdown") else {
        return;
    };
    let slow = Upstream::conformance(&kit, support::upstream::Eras::Modern);
    let path = kit.node_path();
    let child = stdio_entry(
        &kit.node_program("mcp-server-everything"),
        &["stdio"],
        &[("PATH", &path)],
    );
    let yaml = format!(
        "servers:\n  slow: {}\n  child: {child}\n",
        http_entry(&slow.url)
    );
    let gateway = Gateway::start(&yaml).connected().await;
    // Another process may be there for a moment, asked which eras the server speaks.
    let pid = gateway.pid();
    let alone = proc_fs::eventually(Duration::from_secs(5), || proc_fs::children(pid).len() == 1);
    let children = proc_fs::children(pid);
    assert!(alone, "{children:?}");

    let client = ModernClient::new(gateway.endpoint_of("slow"));
    let waiting =
        tokio::spawn(async move { client.call("slow_compute", json!({ "seconds": 1.5 })).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let late = ModernClient::new(gateway.endpoint_of("slow"));
    let asked = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || gateway.terminate(Duration::from_secs(10)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = late.answer("tools/list", json!({})).await;
    assert!(
        refused.as_ref().is_err_and(|_| true)
            || refused.as_ref().is_ok_and(|answer| answer.status == 503),
        "{refused:?}"
    );
    assert!(
        waiting.await.unwrap().text().contains("1.5"),
        "the call in flight is finished"
    );
    assert_eq!(stopped.await.unwrap().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
    assert!(proc_fs::eventually(Duration::from_secs(5), || !children
        .iter()
        .any(|child| proc_fs::alive(child.pid))));
}

#[tokio::test]
async fn asked_twice_it_stops_at_once() {
    let Some(kit) = Kit::find("shutdown") else {
        return;
    };
    let slow = Upstream::conformance(&kit, support::upstream::Eras::Modern);
    let gateway = Gateway::start(&format!("servers:\n  slow: {}\n", http_entry(&slow.url)))
        .connected()
        .await;
    let client = ModernClient::new(gateway.endpoint());
    let waiting = tokio::spawn(async move {
        client
            .answer(
                "tools/call",
                json!({ "name": "slow_compute", "arguments": { "seconds": 30 } }),
            )
            .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked_again = Instant::now();
    let status = tokio::task::spawn_blocking(move || gateway.terminate(Duration::from_secs(10)))
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(
        asked_again.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked_again.elapsed()
    );
    // Cut off, or answered with an error: both are an answer, a result is not.
    if let Ok(answer) = waiting.await.unwrap() {
        assert!(
            matches!(support::mcp::outcome(&answer), Outcome::Error { .. }),
            "{answer:?}"
        );
    }
}

/// Runs `weir serve` on a configuration that cannot work.
fn serve(yaml: &str, arguments: &[&str]) -> Finished {
    let scratch = Scratch::new("serve");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .arg("serve")
        .arg("--config")
        .arg(scratch.write("weir.yaml", yaml))
        .args(arguments);
    Process::run("weir serve", command, Duration::from_secs(20))
}
