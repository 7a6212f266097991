//! After many clients have come and gone, the process table and the descriptors are what they were.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::gateway::Gateway;
use support::mcp::{LegacyClient, ModernClient};
use support::pipes::Pipes;
use support::proc_fs;
use support::scratch::Scratch;
use support::upstream::demo_entry;

const CLIENTS: u64 = 10;
const CALLS: u64 = 100;

/// Longest time of one client, and until nothing of it is left.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn ten_clients_with_a_hundred_calls_each_over_http() {
    let gateway = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
        .connected()
        .await;
    // Whatever is opened once is open now.
    let first = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    first.call("add", json!({ "a": 0, "b": 0 })).await.result();
    let pid = gateway.pid();
    let before = (proc_fs::children(pid), proc_fs::descriptors(pid));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let endpoint = gateway.endpoint();
        clients.spawn(async move {
            let legacy = match client % 2 {
                0 => None,
                _ => Some(LegacyClient::connect(endpoint.clone(), &[]).await.unwrap()),
            };
            let stateless = ModernClient::new(endpoint);
            for call in 0..CALLS {
                let arguments = json!({ "a": client, "b": call });
                let answer = match &legacy {
                    Some(legacy) => legacy.call("add", arguments).await,
                    None => stateless.call("add", arguments).await,
                };
                assert_eq!(answer.text(), (client + call).to_string());
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let now = || (proc_fs::children(pid), proc_fs::descriptors(pid));
    let settled = proc_fs::eventually(LIMIT, || {
        let now = now();
        now.0 == before.0 && now.1 <= before.1
    });
    let after = now();
    assert!(settled, "before {before:?}, after {after:?}");
    let children: Vec<u32> = before.0.iter().map(|child| child.pid).collect();
    assert!(gateway.terminate(LIMIT).success());
    assert!(
        children.iter().all(|child| !proc_fs::alive(*child)),
        "{children:?}"
    );
}

#[test]
fn ten_clients_with_a_hundred_calls_each_over_stdio() {
    let scratch = Scratch::new("table");
    // The servers of this test can be told from all others.
    let mark = scratch.path().to_str().unwrap().to_owned();
    let demo = json!({ "type": "stdio", "command": env!("CARGO_BIN_EXE_weir"), "args": ["demo"], "env": { "MARK": mark } });
    let yaml = format!("servers:\n  demo: {demo}\n");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (yaml, mark) = (yaml.clone(), mark.clone());
            std::thread::spawn(move || {
                let mut pipes = Pipes::start(&yaml);
                for id in 0..CALLS {
                    let params = json!({ "name": "add", "arguments": { "a": client, "b": id } });
                    let answer = pipes.ask_modern(id, "tools/call", params);
                    let sum = answer["result"]["content"][0]["text"].as_str();
                    assert_eq!(sum, Some((client + id).to_string().as_str()), "{answer}");
                }
                assert!(!proc_fs::marked(&mark).is_empty(), "the mark is seen");
                pipes.close();
                let ended = pipes.process.wait_exit(LIMIT);
                assert_eq!(ended.and_then(|status| status.code()), Some(0));
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let left = || proc_fs::marked(&mark);
    assert!(
        proc_fs::eventually(LIMIT, || left().is_empty()),
        "{:?}",
        left()
    );
}
