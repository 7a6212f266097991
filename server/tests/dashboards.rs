//! The dashboards and alerting rules speak of metrics that exist.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::LegacyClient;
use support::proc_fs;
use support::upstream::stdio_entry;
use support::wire;

#[tokio::test]
async fn every_metric_they_name_is_there() {
    let Some(kit) = Kit::find("dashboards") else {
        return;
    };
    let script = Kit::script("echo_server.py");
    let server = stdio_entry(&kit.python_program(), &[script.to_str().unwrap()], &[]);
    let gateway = Gateway::start(&format!("servers:\n  up: {server}\n"))
        .connected()
        .await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    client
        .call("echo", json!({ "text": "counted" }))
        .await
        .text();
    // So that restarts are counted too.
    proc_fs::kill(proc_fs::children(gateway.pid())[0].pid);

    let wanted = used();
    assert!(wanted.len() >= 8, "{wanted:?}");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = wire::get(&format!("{}/metrics", gateway.admin))
            .await
            .unwrap();
        let exposed = exposed(std::str::from_utf8(&metrics.body).unwrap());
        let missing: Vec<_> = wanted.difference(&exposed).collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{missing:?} are not among {exposed:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The names of all samples in a Prometheus text.
fn exposed(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// The names in the queries of every dashboard and rule.
fn used() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("weir-overview.json")).unwrap())
            .unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    queries.push(std::fs::read_to_string(folder.join("weir-rules.yml")).unwrap());
    let words = queries.iter().flat_map(|query| {
        query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
    });
    words
        .filter(|word| word.starts_with("weir_"))
        .map(str::to_owned)
        .collect()
}
