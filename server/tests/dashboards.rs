//! The dashboards and alerting rules speak of metrics that exist.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::watched::Watched;
use support::wire;

#[tokio::test]
async fn every_metric_they_name_is_there() {
    let site = Watched::start().await;
    // So that restarts are counted too.
    site.kill_a_child();

    let wanted = used();
    assert!(wanted.len() >= 8, "{wanted:?}");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        site.load().await;
        let metrics = wire::get(&format!("{}/metrics", site.gateway.admin))
            .await
            .unwrap();
        let exposed = exposed(std::str::from_utf8(&metrics.body).unwrap());
        let missing: Vec<_> = wanted.difference(&exposed).collect();
        if missing.is_empty() {
            check_groups(std::str::from_utf8(&metrics.body).unwrap());
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{missing:?} are not among {exposed:?}"
        );
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

/// Panics if a panel groups by a label that its metrics do not have.
fn check_groups(exposed: &str) {
    let mut groups = 0;
    for query in panel_queries() {
        let labels: BTreeSet<&str> = exposed
            .lines()
            .filter(|line| {
                let name = line.split(['{', ' ']).next().unwrap();
                metrics(&query).any(|metric| metric == name)
            })
            .flat_map(|line| line.split(['{', ',']).skip(1))
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        for group in query.split("by (").skip(1) {
            for label in group.split(')').next().unwrap().split(", ") {
                // Prometheus adds where it found a series.
                let known = label == "instance" || labels.contains(label);
                assert!(known, "{label} of {query}: {labels:?}");
                groups += 1;
            }
        }
    }
    assert!(groups >= 8, "{groups}");
}

/// The names in the queries of every dashboard and rule.
fn used() -> BTreeSet<String> {
    let mut queries = panel_queries();
    queries.push(std::fs::read_to_string(folder().join("weir-rules.yml")).unwrap());
    queries
        .iter()
        .flat_map(|query| metrics(query))
        .map(str::to_owned)
        .collect()
}

fn panel_queries() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("weir-overview.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

/// The metrics that a query names.
fn metrics(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| {
            // `mcp_` and `process_` begin labels too, but no label has a unit.
            let ours = ["weir_", "mcp_", "process_"];
            let is_metric = [
                "_total", "_seconds", "_count", "_sum", "_bucket", "_bytes", "_fds",
            ];
            word.starts_with("weir_")
                || ours.iter().any(|prefix| word.starts_with(prefix))
                    && is_metric.iter().any(|suffix| word.ends_with(suffix))
        })
}
