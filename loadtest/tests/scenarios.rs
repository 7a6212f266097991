//! The scenarios against the generator's own server: they work, and they notice what they are there for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

mod support;

use std::process::Output;

use support::{Upstream, finding, program, report};

fn scenario(name: &str, upstream: &Upstream, arguments: &[&str]) -> Output {
    program()
        .args([name, "--json", "--url", &upstream.url])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn tenants_get_their_own_answers() {
    let upstream = Upstream::start(&["--jitter-ms", "3"]);
    for era in ["modern", "legacy"] {
        let output = scenario("tenants", &upstream, &["--calls", "2000", "--era", era]);
        let report = report(&output);
        assert!(output.status.success(), "{report}");
        assert_eq!(finding(&report, "calls answered well"), 2000.0);
    }
}

#[test]
fn tenants_notice_a_misrouted_answer() {
    let upstream = Upstream::start(&["--misroute-every", "1000"]);
    let output = scenario("tenants", &upstream, &["--calls", "3000"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert_eq!(finding(&report, "somebody else's answer"), 3.0, "{report}");
    assert_eq!(finding(&report, "calls answered well"), 2997.0, "{report}");
}

#[test]
fn streams_are_opened_and_counted() {
    let upstream = Upstream::start(&["--streams"]);
    let pid = upstream.child.id().to_string();
    for era in ["modern", "legacy"] {
        let wanted = ["--streams", "300", "--seconds", "1", "--era", era];
        let output = scenario(
            "streams",
            &upstream,
            &[&wanted[..], &["--pid", &pid]].concat(),
        );
        let report = report(&output);
        assert_eq!(finding(&report, "open"), 300.0, "{report}");
        assert_eq!(finding(&report, "closed by the gateway"), 0.0, "{report}");
        assert!(finding(&report, "resident with all open") > 0.0, "{report}");
    }
    let deaf = Upstream::start(&[]);
    let output = scenario("streams", &deaf, &["--streams", "10", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(finding(&report(&output), "could not be opened"), 10.0);
}

#[test]
fn sessions_are_started() {
    let upstream = Upstream::start(&[]);
    let output = scenario(
        "sessions",
        &upstream,
        &["--sessions", "500", "--seconds", "0"],
    );
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(finding(&report, "started"), 500.0, "{report}");
}

/// A server that is killed cannot answer: the scenario must not overlook that.
#[test]
fn a_killed_process_leaves_calls_unanswered() {
    let upstream = Upstream::start(&["--delay-ms", "20"]);
    let pid = upstream.child.id().to_string();
    let kill = ["--victim", &pid, "--kills", "1", "--connections", "8"];
    let output = scenario(
        "kill",
        &upstream,
        &[&kill[..], &["--interval-ms", "100"]].concat(),
    );
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert_eq!(finding(&report, "processes killed"), 1.0, "{report}");
    assert!(
        finding(&report, "calls without an answer") > 0.0,
        "{report}"
    );
}

#[test]
fn reloads_are_what_the_command_says() {
    let upstream = Upstream::start(&[]);
    for (command, wrong) in [("true", 0.0), ("sh -c 'exit 3'", 5.0)] {
        let reloads = ["--reloads", "5", "--interval-ms", "1", "--command", command];
        let output = scenario("reloads", &upstream, &reloads);
        let report = report(&output);
        assert_eq!(output.status.success(), wrong == 0.0, "{report}");
        assert_eq!(
            finding(&report, "wrong answers to a reload"),
            wrong,
            "{report}"
        );
        assert_eq!(finding(&report, "calls failed"), 0.0, "{report}");
        assert!(finding(&report, "calls answered well") > 0.0, "{report}");
    }
}

/// The server does not refuse anything and is bounded by its delay alone, so four times as many connections do four times as
/// much: the scenario has to offer what it says.
#[test]
fn overload_offers_four_times_the_capacity() {
    let upstream = Upstream::start(&["--delay-ms", "50"]);
    let bounded = ["--seconds", "2", "--max-connections", "128"];
    let bounded = [&bounded[..], &["--rest-seconds", "0"]].concat();
    let report = report(&scenario("overload", &upstream, &bounded));
    let (capacity, offered) = (finding(&report, "capacity"), finding(&report, "offered"));
    assert!(
        capacity > 0.0 && (offered / capacity - 4.0).abs() < 1e-6,
        "{report}"
    );
    assert!(finding(&report, "goodput") > 0.0, "{report}");
    assert!(
        finding(&report, "calls without an answer") == 0.0,
        "{report}"
    );
}
