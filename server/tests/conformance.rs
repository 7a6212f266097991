//! The official conformance suite through the gateway: client and upstream of the same era, one server's own endpoint.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::scratch::Scratch;
use support::upstream::{Eras, Upstream, http_entry};

/// Scenarios of 2026-07-28 that must pass, of 37.
const MODERN_FLOOR: usize = 37;

/// Scenarios of 2025-11-25 that must pass, of 30.
const LEGACY_FLOOR: usize = 30;

/// Scenarios of 2025-11-25 that do not count, and that a server may pass all the same.
const LEGACY_UNSCORED: [&str; 3] = [
    "server-session-lifecycle",
    "json-schema-2020-12",
    "server-sse-polling",
];

/// Longest time of one whole run; direct runs take 2 to 11 seconds.
const RUN_LIMIT: Duration = Duration::from_secs(240);

#[tokio::test]
async fn modern_client_and_modern_upstream() {
    conforms("2026-07-28", Eras::Modern, 37, MODERN_FLOOR).await;
}

#[tokio::test]
async fn legacy_client_and_legacy_upstream() {
    conforms("2025-11-25", Eras::Legacy, 30, LEGACY_FLOOR).await;
}

#[tokio::test]
async fn legacy_scenarios_that_do_not_count() {
    let Some(kit) = Kit::find("conformance") else {
        return;
    };
    let upstream = Upstream::conformance(&kit, Eras::Legacy);
    let yaml = format!("servers:\n  up: {}\n", http_entry(&upstream.url));
    let gateway = Gateway::start(&yaml).connected().await;
    for scenario in LEGACY_UNSCORED {
        let scratch = Scratch::new("conformance");
        let mut command = kit.node("conformance");
        command
            .args(["server", "--url", &gateway.endpoint_of("up")])
            .args(["--scenario", scenario, "--spec-version", "2025-11-25", "-o"])
            .arg(scratch.path());
        let run = Process::run("conformance", command, RUN_LIMIT);
        // Here a warning is a failure too: it is what these scenarios say of a stream that cannot be resumed.
        let complaints = complaints(scratch.path(), scenario, &["FAILURE", "WARNING"]);
        assert!(
            complaints.is_empty(),
            "{scenario}: {complaints:#?}\n{}\nweir said:\n{}",
            run.output,
            gateway.log()
        );
    }
}

/// The scored scenarios of one run.
struct Verdict {
    passed: Vec<String>,
    /// Scenario to what its failed checks said.
    failed: BTreeMap<String, Vec<String>>,
}

async fn conforms(revision: &str, eras: Eras, scored: usize, floor: usize) {
    let Some(kit) = Kit::find("conformance") else {
        return;
    };
    let upstream = Upstream::conformance(&kit, eras);
    if std::env::var_os("WEIR_CONFORMANCE_DIRECT").is_some() {
        Verdict::of(&kit, &upstream.url, revision).report(&format!("{revision} direct"));
    }
    let yaml = format!("servers:\n  up: {}\n", http_entry(&upstream.url));
    let gateway = Gateway::start(&yaml).connected().await;
    let verdict = Verdict::of(&kit, &gateway.endpoint_of("up"), revision);
    verdict.report(&format!("{revision} through weir"));
    assert_eq!(
        verdict.passed.len() + verdict.failed.len(),
        scored,
        "the suite's scored set changed"
    );
    assert!(
        verdict.passed.len() >= floor,
        "{} of {scored} passed, {floor} must; weir said:\n{}",
        verdict.passed.len(),
        gateway.log()
    );
}

// === impl Verdict ===

impl Verdict {
    /// Runs the suite and reads what it wrote about each scored scenario.
    fn of(kit: &Kit, url: &str, revision: &str) -> Self {
        let scratch = Scratch::new("conformance");
        let mut command = kit.node("conformance");
        command
            .args(["server", "--url", url, "--requirements", revision, "-o"])
            .arg(scratch.path());
        let run = Process::run("conformance", command, RUN_LIMIT);
        let mut verdict = Self {
            passed: Vec::new(),
            failed: BTreeMap::new(),
        };
        for scenario in scored_scenarios(kit, revision) {
            let complaints = complaints(scratch.path(), &scenario, &["FAILURE"]);
            if complaints.is_empty() {
                verdict.passed.push(scenario);
            } else {
                verdict.failed.insert(scenario, complaints);
            }
        }
        assert_eq!(
            run.status.success(),
            verdict.failed.is_empty(),
            "the suite's exit code and its files disagree:\n{}",
            run.output
        );
        verdict
    }

    /// Says which scenarios failed, past the test harness, so that a run above the floor shows them too.
    fn report(&self, title: &str) {
        let mut text = format!(
            "{title}: {} of {} scored scenarios\n",
            self.passed.len(),
            self.passed.len() + self.failed.len()
        );
        for (scenario, complaints) in &self.failed {
            text += &format!("  {scenario}\n");
            for complaint in complaints {
                text += &format!("    {complaint}\n");
            }
        }
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
}

/// The server scenarios that count for a revision, as the suite lists them.
fn scored_scenarios(kit: &Kit, revision: &str) -> Vec<String> {
    let mut command = kit.node("conformance");
    command.args(["list", "--requirements", revision]);
    let list = Process::run("conformance list", command, Duration::from_secs(30)).stdout;
    let from_servers = list
        .lines()
        .skip_while(|line| !line.starts_with("Server scenarios"))
        .skip(1);
    let scenarios = from_servers.map_while(|line| line.trim().strip_prefix("- "));
    scenarios
        .map(|scenario| scenario.split_whitespace().next().unwrap().to_owned())
        .collect()
}

/// The checks of one scenario that ended like this; nothing if it passed.
fn complaints(folder: &Path, scenario: &str, bad: &[&str]) -> Vec<String> {
    let prefix = format!("server-{scenario}-20");
    let mut results = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let Some(result) = results.next() else {
        return vec!["did not run".to_owned()];
    };
    let text = std::fs::read_to_string(result.path().join("checks.json")).unwrap_or_default();
    let Ok(Value::Array(checks)) = serde_json::from_str(&text) else {
        return vec!["left no checks".to_owned()];
    };
    let failed = checks
        .iter()
        .filter(|check| bad.iter().any(|bad| check["status"] == *bad));
    failed
        .map(|check| {
            format!(
                "{}: {}",
                check["id"].as_str().unwrap_or("?"),
                check["errorMessage"].as_str().unwrap_or_default()
            )
        })
        .collect()
}
