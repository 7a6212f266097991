//! The program under test, and the server it is aimed at.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test uses what it needs of it"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The load generator.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir-loadtest"))
}

/// The echo server, killed when dropped.
pub struct Upstream {
    pub child: Child,
    pub url: String,
}

impl Upstream {
    /// Starts one with these options.
    pub fn start(options: &[&str]) -> Self {
        let mut command = program();
        command.arg("upstream").args(options);
        Self::spawn(command)
    }

    /// Starts one by a command line of its own.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().strip_prefix("upstream ready ").unwrap();
        Self {
            child,
            url: url.to_owned(),
        }
    }

    /// `weir-loadtest run` for a second.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command
            .args(["run", "--url", &self.url])
            .args(["--seconds", "1", "--warmup-seconds", "0"])
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

/// The one JSON object that a command printed.
pub fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A value of a scenario's findings.
pub fn finding(report: &Value, what: &str) -> f64 {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["what"] == what);
    found.unwrap_or_else(|| panic!("no {what:?} in {report}"))["value"]
        .as_f64()
        .unwrap()
}
