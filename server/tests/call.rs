//! `weir call` reaches servers of both eras through the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::process::Command;
use std::time::Duration;

use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::upstream::stdio_entry;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_server_that_only_knows_sessions() {
    let Some(kit) = Kit::find("call") else {
        return;
    };
    let path = kit.node_path();
    let everything = stdio_entry(
        &kit.node_program("mcp-server-everything"),
        &["stdio"],
        &[("PATH", &path)],
    );
    let gateway = Gateway::start(&format!("servers:\n  old: {everything}\n"))
        .connected()
        .await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["call", "--url", &gateway.base, "old", "echo"]);
    command.arg(r#"{"message": "hello"}"#);
    let finished = Process::run("weir call", command, LIMIT);
    assert!(
        finished.output.contains("Echo: hello"),
        "{}",
        finished.output
    );
}
