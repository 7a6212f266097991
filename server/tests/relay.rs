//! What a server says besides its answers reaches the client: progress, logs, questions, changed lists. Client and server
//! speak the same era; the server is reached over HTTP and over stdio, alone and in a federation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::upstream::{Eras, Upstream, http_entry, stdio_entry};

const CLIENT_LIMIT: Duration = Duration::from_secs(90);

/// What `kit/listening_client.py` heard.
#[derive(Debug, Deserialize)]
struct Report {
    version: String,
    sampled: String,
    elicited: String,
    roots: String,
    list_changed: String,
    resource_updated: String,
    new_tools: usize,
    progress: Vec<f64>,
    logs: Vec<Value>,
    elicitations: Vec<String>,
    samplings: Vec<String>,
}

#[tokio::test]
async fn legacy_over_http() {
    hears_everything("legacy", Eras::Legacy, Way::Http).await;
}

#[tokio::test]
async fn legacy_over_stdio() {
    hears_everything("legacy", Eras::Legacy, Way::Stdio).await;
}

#[tokio::test]
async fn modern_over_http() {
    hears_everything("2026-07-28", Eras::Modern, Way::Http).await;
}

#[tokio::test]
async fn modern_over_stdio() {
    hears_everything("2026-07-28", Eras::Modern, Way::Stdio).await;
}

enum Way {
    Http,
    Stdio,
}

async fn hears_everything(mode: &str, eras: Eras, way: Way) {
    let Some(kit) = Kit::find("relay") else {
        return;
    };
    let (entry, _upstream) = match way {
        Way::Http => {
            let upstream = Upstream::conformance(&kit, eras);
            (http_entry(&upstream.url), Some(upstream))
        }
        Way::Stdio => {
            let script = Kit::script("conformance_upstream.py");
            (
                stdio_entry(
                    &kit.python_program(),
                    &[script.to_str().unwrap(), "--stdio", "--era", eras.as_str()],
                    &[],
                ),
                None,
            )
        }
    };
    let other = Upstream::echo(&kit, &[]);
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {entry}\n  other: {}\n",
        http_entry(&other.url)
    ))
    .connected()
    .await;
    for (url, prefix) in [
        (gateway.endpoint_of("up"), ""),
        (gateway.endpoint(), "up__"),
    ] {
        let report = Report::of(&kit, &url, mode, prefix);
        report.check(mode);
    }
}

// === impl Report ===

impl Report {
    fn of(kit: &Kit, url: &str, mode: &str, prefix: &str) -> Self {
        let plan = json!({ "url": url, "mode": mode, "prefix": prefix }).to_string();
        let finished = Process::run_with_input(
            "listening client",
            kit.python("listening_client.py"),
            &plan,
            CLIENT_LIMIT,
        );
        assert!(
            finished.status.success(),
            "{mode} at {url}:\n{}",
            finished.output
        );
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}", finished.output))
    }

    fn check(&self, mode: &str) {
        let version = if mode == "legacy" { "2025-11-25" } else { mode };
        assert_eq!(self.version, version);
        assert_eq!(self.progress, [0.0, 50.0, 100.0], "{self:?}");
        let lines = [
            "Tool execution started",
            "Tool processing data",
            "Tool execution completed",
        ];
        assert_eq!(self.logs, lines, "{self:?}");
        assert_eq!(
            (self.sampled.as_str(), self.samplings.as_slice()),
            (
                "LLM response: forty-two",
                &["What is the answer?".to_owned()][..]
            )
        );
        assert!(
            self.elicited.contains("action=accept") && self.elicited.contains("ada@example.org"),
            "{self:?}"
        );
        assert_eq!(self.elicitations, ["Who are you?"]);
        assert_eq!(self.roots, "roots: file:///somewhere");
        assert_ne!(self.list_changed, "nothing", "{self:?}");
        assert_ne!(self.resource_updated, "nothing", "{self:?}");
        assert_eq!(self.new_tools, 1, "{self:?}");
    }
}
