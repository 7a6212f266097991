//! The load generator against its own server: both eras, both kinds of report, and what it refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The echo server, killed when dropped.
struct Upstream {
    child: Child,
    url: String,
}

impl Upstream {
    fn start(threads: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
        command
            .args(["upstream", "--threads", threads])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("upstream ready ")
            .unwrap()
            .to_owned();
        Self { child, url }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
        command
            .args([
                "run",
                "--url",
                &self.url,
                "--seconds",
                "1",
                "--warmup-seconds",
                "0",
            ])
            .args(arguments);
        command.output().unwrap()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn both_eras_are_measured() {
    let upstream = Upstream::start("2");
    let pid = upstream.child.id().to_string();
    for era in ["modern", "legacy"] {
        let output = upstream.run(&[
            "--json",
            "--connections",
            "8",
            "--threads",
            "2",
            "--era",
            era,
            "--pid",
            &pid,
        ]);
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["calls"].as_u64().unwrap() > 100, "{report}");
        assert!(
            report["process"]["cpu_microseconds_per_call"]
                .as_f64()
                .unwrap()
                > 0.0,
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
    let upstream = Upstream::start("1");
    let output = upstream.run(&["--tool", "other", "--connections", "2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("calls failed: error -32602"), "{text}");
}

#[test]
fn nobody_else_is_loaded() {
    for url in ["http://192.0.2.1:80/mcp", "http://example.org:80/mcp"] {
        let output = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"))
            .args(["run", "--url", url])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}
