//! A real Prometheus takes what the gateway shows, finds no fault with it, and every panel of the dashboard has data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::scratch::Scratch;
use support::upstream::free_port;
use support::watched::Watched;
use support::wire;

/// Longest time until every panel has data. Prometheus alone takes about six seconds to begin.
const LIMIT: Duration = Duration::from_secs(90);

/// How often the gateway is scraped, and the time that rates are taken of.
const INTERVAL: &str = "500ms";
const RATES_OVER: &str = "15s";

#[tokio::test]
async fn promtool_finds_no_fault() {
    let Some(kit) = Kit::find("prometheus") else {
        return;
    };
    let Some(promtool) = kit.debian_program("prometheus", "promtool") else {
        return;
    };
    let site = Watched::start().await;
    site.load().await;
    let metrics = wire::get(&format!("{}/metrics", site.gateway.admin))
        .await
        .unwrap();
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let mut check = Command::new(&promtool);
    check.args(["check", "metrics"]);
    let checked = Process::run_with_input("promtool", check, &text, Duration::from_secs(30));
    assert!(checked.status.success(), "{}", checked.output);
    assert_eq!(checked.output, "", "promtool has something to say");

    let mut check = Command::new(&promtool);
    check
        .args(["check", "rules"])
        .arg(dashboards().join("weir-rules.yml"));
    let checked = Process::run("promtool", check, Duration::from_secs(30));
    assert!(checked.status.success(), "{}", checked.output);
}

#[tokio::test]
async fn every_panel_has_data_under_load() {
    let Some(kit) = Kit::find("prometheus") else {
        return;
    };
    let Some(program) = kit.debian_program("prometheus", "prometheus") else {
        return;
    };
    let site = Watched::start().await;
    let prometheus = Prometheus::start(&program, &site.gateway);
    site.kill_a_child();

    let mut waiting: Vec<String> = panel_queries();
    assert!(waiting.len() >= 35, "{waiting:?}");
    let deadline = Instant::now() + LIMIT;
    while !waiting.is_empty() {
        assert!(
            Instant::now() < deadline,
            "no data for {waiting:#?}\n{}",
            prometheus.process.log()
        );
        site.load().await;
        let mut without = Vec::new();
        for query in waiting {
            if !prometheus.has_data(&query).await {
                without.push(query);
            }
        }
        waiting = without;
    }

    // The alerting rules are in force and none of them cannot be evaluated.
    let rules = prometheus.get("/api/v1/rules").await;
    let groups = rules["data"]["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() >= 7, "{rules:?}");
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }
    let targets = prometheus.get("/api/v1/targets").await;
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&"up".into(), &"".into()),
        "{target}"
    );
}

/// A running Prometheus that scrapes a gateway.
struct Prometheus {
    process: Process,
    base: String,
    _data: Scratch,
}

// === impl Prometheus ===

impl Prometheus {
    fn start(program: &Path, gateway: &Gateway) -> Self {
        let data = Scratch::new("prometheus");
        let target = gateway.admin.trim_start_matches("http://");
        let rules = dashboards().join("weir-rules.yml");
        let config = json!({
            "global": { "scrape_interval": INTERVAL, "evaluation_interval": INTERVAL },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "weir", "static_configs": [{ "targets": [target] }] }],
        });
        let config = data.write("prometheus.yml", &config.to_string());
        let listen = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                data.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={listen}"));
        let process = Process::start("prometheus", command);
        process.wait_line(Duration::from_secs(30), |line| {
            line.contains("Server is ready").then_some(())
        });
        Self {
            process,
            base: format!("http://{listen}"),
            _data: data,
        }
    }

    /// Whether a query has a result that is a number.
    async fn has_data(&self, query: &str) -> bool {
        let answer = self
            .get(&format!("/api/v1/query?query={}", encoded(query)))
            .await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        result.iter().any(|series| series["value"][1] != "NaN")
    }

    async fn get(&self, path: &str) -> Value {
        let answer = wire::get(&format!("{}{path}", self.base)).await.unwrap();
        answer.json()
    }
}

/// The queries of every panel, as Grafana would send them.
fn panel_queries() -> Vec<String> {
    let text = std::fs::read_to_string(dashboards().join("weir-overview.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| {
        let query = target["expr"].as_str().unwrap();
        query
            .replace("$__rate_interval", RATES_OVER)
            .replace("$instance", ".*")
    });
    queries.collect()
}

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

/// Percent-encodes everything but letters and digits.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}
