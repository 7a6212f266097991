//! The load generator against its own server: both eras, both loops, both kinds of report, and what it refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

mod support;

use support::{Upstream, program, report};

#[test]
fn both_eras_are_measured() {
    let upstream = Upstream::start(&["--threads", "2"]);
    let pid = upstream.child.id().to_string();
    for era in ["modern", "legacy"] {
        let output = upstream.run(&[
            "--json",
            "--connections",
            "8",
            "--threads",
            "2",
            "--sessions",
            "3",
            "--era",
            era,
            "--pid",
            &pid,
        ]);
        assert!(output.status.success(), "{output:?}");
        let report = report(&output);
        assert!(report["calls"].as_u64().unwrap() > 100, "{report}");
        let process = &report["process"];
        let per_call = |name: &str| process[name].as_f64().unwrap();
        assert!(per_call("cpu_microseconds_per_call") > 0.0, "{report}");
        let parts =
            per_call("user_microseconds_per_call") + per_call("system_microseconds_per_call");
        assert!(
            (parts - per_call("cpu_microseconds_per_call")).abs() < 0.01,
            "{report}"
        );
        assert!(
            process["resident_kib"].as_u64() <= process["peak_kib"].as_u64(),
            "{report}"
        );
        let latency = &report["latency_microseconds"];
        assert!(
            latency["p50"].as_f64() <= latency["p99"].as_f64()
                && latency["p99"].as_f64() <= latency["max"].as_f64(),
            "{report}"
        );
    }
}

#[test]
fn a_wrong_answer_is_a_failure() {
    let upstream = Upstream::start(&[]);
    let output = upstream.run(&["--tool", "other", "--connections", "2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("calls failed: error -32602"), "{text}");
}

#[test]
fn nobody_else_is_loaded() {
    for url in ["http://192.0.2.1:80/mcp", "http://example.org:80/mcp"] {
        let output = program().args(["run", "--url", url]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}

/// One connection to a server that takes 100 ms cannot do more than 10 of 40 calls in a second. A closed loop would report 100 ms
/// for each; the calls were due long before.
#[test]
fn the_open_loop_counts_from_when_a_call_was_due() {
    let upstream = Upstream::start(&["--delay-ms", "100"]);
    let rate = ["--json", "--rate", "40", "--connections", "1"];
    let output = upstream.run(&[&rate[..], &["--max-connections", "1"]].concat());
    let queued = report(&output);
    assert_eq!(queued["connections"], 1, "{queued}");
    assert_eq!(queued["calls"], 40, "{queued}");
    let milliseconds = |name: &str| queued["latency_microseconds"][name].as_f64().unwrap() / 1e3;
    // The 20th is answered 2 s after the start at the earliest and was due after half a second, the last 4 s and 1 s.
    assert!(milliseconds("p50") >= 1_300.0, "{queued}");
    assert!(milliseconds("max") >= 2_900.0, "{queued}");
    let late = queued["sent_late_microseconds"]["max"].as_f64().unwrap() / 1e3;
    assert!(late >= 2_800.0, "{queued}");

    let closed = report(&upstream.run(&["--json", "--connections", "1"]));
    let calls = closed["calls"].as_u64().unwrap();
    assert!((1..=10).contains(&calls), "{closed}");
}

#[test]
fn the_open_loop_opens_connections_when_all_wait() {
    let upstream = Upstream::start(&["--delay-ms", "100"]);
    let output = upstream.run(&["--json", "--rate", "100", "--connections", "1"]);
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["calls"], 100, "{report}");
    // Ten are in flight at any time.
    assert!(report["connections"].as_u64().unwrap() >= 10, "{report}");
}

#[test]
fn calls_that_nobody_could_send_are_counted() {
    let upstream = Upstream::start(&["--hang"]);
    let output = upstream.run(&[
        "--json",
        "--rate",
        "20",
        "--connections",
        "2",
        "--max-connections",
        "2",
        "--answer-limit-seconds",
        "1",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    let failures = report["failures"].as_object().unwrap();
    let failed: u64 = failures.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((failed, &report["calls"]), (20, &0.into()), "{report}");
    assert!(failures["no answer"].as_u64().unwrap() >= 2, "{report}");
    assert!(failures["never sent"].as_u64().unwrap() >= 2, "{report}");
}

#[test]
fn somebody_elses_answer_is_noticed_by_its_mark() {
    let upstream = Upstream::start(&["--misroute-every", "7"]);
    let unmarked = upstream.run(&["--connections", "4"]);
    assert!(unmarked.status.success(), "{unmarked:?}");
    let marked = upstream.run(&["--json", "--connections", "4", "--mark", "mine"]);
    assert_eq!(marked.status.code(), Some(1), "{marked:?}");
    let report = report(&marked);
    let wrong = report["failures"]["somebody else's answer"].as_u64();
    assert!(wrong.unwrap() > 0, "{report}");
}

#[test]
fn a_process_is_measured_with_what_it_started() {
    // A shell that does nothing but wait for the server that it started.
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", r#""$0" upstream --leash; exit 1"#])
        .arg(program().get_program());
    let upstream = Upstream::spawn(command);
    let pid = upstream.child.id().to_string();
    let report = report(&upstream.run(&["--json", "--connections", "4", "--pid", &pid]));
    assert_eq!(report["process"]["processes"], 2, "{report}");
    assert!(
        report["process"]["cpu_seconds"].as_f64().unwrap() > 0.0,
        "{report}"
    );
}

#[test]
fn answers_have_the_size_that_was_asked_for() {
    let upstream = Upstream::start(&["--answer-bytes", "300000"]);
    for era in ["modern", "legacy"] {
        let output = upstream.run(&["--json", "--connections", "2", "--mark", "a", "--era", era]);
        assert!(output.status.success(), "{output:?}");
        assert!(report(&output)["calls"].as_u64().unwrap() > 0);
    }
}
