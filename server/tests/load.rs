//! The gateway under load of every kind that `weir-loadtest` knows, small: nothing is lost, mixed up or forgotten. What is
//! measured in time and memory is not judged here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::kit::skip;
use support::process::Process;

/// Longer than any of them takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a scenario against a gateway that it starts; nothing if the generator was not built.
fn scenario(name: &str, arguments: &[&str]) -> Option<Value> {
    let weir = Path::new(env!("CARGO_BIN_EXE_weir"));
    let generator = weir.with_file_name("weir-loadtest");
    if !generator.exists() {
        let hint = "run `cargo build -p weir-loadtest`";
        skip(&format!("{name}: no {}, {hint}", generator.display()));
        return None;
    }
    let mut command = Command::new(generator);
    command.args([name, "--json", "--weir"]).arg(weir);
    command.args(arguments);
    let finished = Process::run(name, command, LIMIT);
    let report = serde_json::from_str(&finished.stdout);
    Some(report.unwrap_or_else(|error| panic!("{error}: {}", finished.output)))
}

fn finding(report: &Value, what: &str) -> f64 {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["what"] == what);
    let found = found.unwrap_or_else(|| panic!("no {what:?} in {report:#}"));
    found["value"].as_f64().unwrap()
}

/// That none of these happened.
fn assert_none(report: &Value, what: &[&str]) {
    for what in what {
        assert_eq!(finding(report, what), 0.0, "{what}: {report:#}");
    }
}

#[test]
fn no_call_fails_while_the_configuration_is_reloaded() {
    for era in ["modern", "legacy"] {
        let reloads = ["--reloads", "20", "--interval-ms", "50", "--era", era];
        let Some(report) = scenario("reloads", &reloads) else {
            return;
        };
        assert_eq!(finding(&report, "accepted"), 18.0, "{report:#}");
        assert_eq!(finding(&report, "refused"), 2.0, "{report:#}");
        assert_none(&report, &["wrong answers to a reload", "calls failed"]);
        assert!(finding(&report, "calls answered well") > 0.0);
    }
}

#[test]
fn no_tenant_gets_anothers_answer() {
    for era in ["modern", "legacy"] {
        let overtaking = [
            "--calls",
            "10000",
            "--upstream-jitter-ms",
            "2",
            "--era",
            era,
        ];
        let Some(report) = scenario("tenants", &overtaking) else {
            return;
        };
        assert_eq!(report["met"], true, "{report:#}");
        assert_eq!(finding(&report, "calls answered well"), 10_000.0);
    }
}

#[test]
fn every_call_to_a_killed_server_is_answered() {
    for era in ["modern", "legacy"] {
        let Some(report) = scenario("kill", &["--kills", "8", "--era", era]) else {
            return;
        };
        assert!(finding(&report, "processes killed") > 0.0, "{report:#}");
        let lost = ["calls without an answer", "children that it forgot"];
        assert_none(&report, &lost);
        assert_none(&report, &["afterwards: calls failed"]);
        assert!(finding(&report, "afterwards: calls/s") > 0.0, "{report:#}");
    }
}

#[test]
fn streams_stay_open() {
    for era in ["modern", "legacy"] {
        let many = ["--streams", "300", "--seconds", "1", "--era", era];
        let Some(report) = scenario("streams", &many) else {
            return;
        };
        assert_eq!(finding(&report, "open"), 300.0, "{report:#}");
        assert_none(&report, &["could not be opened", "closed by the gateway"]);
    }
}

#[test]
fn sick_servers_cost_the_others_no_call() {
    let few = ["--servers", "20", "--rounds", "1", "--seconds", "4"];
    let slow = [
        "--rate",
        "100",
        "--sick-rate",
        "20",
        "--deadline-seconds",
        "2",
    ];
    let Some(report) = scenario("many", &[few, slow].concat()) else {
        return;
    };
    assert_none(
        &report,
        &["all well: calls failed", "two sick: calls failed"],
    );
    let lost = [
        "hangs: calls without an answer",
        "crashes: calls without an answer",
    ];
    assert_none(&report, &lost);
    assert_eq!(finding(&report, "hangs: calls answered well"), 0.0);
}
