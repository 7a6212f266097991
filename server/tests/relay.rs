//! What a server says besides its answers reaches the client: progress, logs, questions, changed lists. Client and server
//! speak the same era; the server is reached over HTTP, stdio and HTTP+SSE, alone and in a federation; and so is the gateway
//! by the client.
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
use support::scratch::Scratch;
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
async fn legacy_over_sse() {
    hears_everything("legacy", Eras::Legacy, Way::Sse).await;
}

#[tokio::test]
async fn modern_over_http() {
    hears_everything("2026-07-28", Eras::Modern, Way::Http).await;
}

#[tokio::test]
async fn modern_over_stdio() {
    hears_everything("2026-07-28", Eras::Modern, Way::Stdio).await;
}

#[tokio::test]
async fn an_old_client_over_http() {
    let Some(kit) = Kit::find("relay to old clients") else {
        return;
    };
    let (gateway, _servers) = gateway(&kit, Eras::Legacy, Way::Http).await;
    let urls = ["/servers/up/sse", "/sse"].map(|path| format!("{}{path}", gateway.base));
    for (url, prefix) in urls.iter().zip(["", "up__"]) {
        let plan = json!({ "url": url, "transport": "sse", "mode": "legacy", "prefix": prefix });
        Report::of(&kit, &plan).check("legacy");
    }
}

#[tokio::test]
async fn an_old_client_and_a_child() {
    let Some(kit) = Kit::find("relay to old clients") else {
        return;
    };
    let (gateway, _servers) = gateway(&kit, Eras::Legacy, Way::Stdio).await;
    let url = format!("{}/sse", gateway.base);
    let plan = json!({ "url": url, "transport": "sse", "mode": "legacy", "prefix": "up__" });
    Report::of(&kit, &plan).check("legacy");
}

#[test]
fn a_legacy_client_at_the_pipes() {
    at_the_pipes("legacy", Eras::Legacy);
}

#[test]
fn a_modern_client_at_the_pipes() {
    at_the_pipes("2026-07-28", Eras::Modern);
}

/// The client starts the gateway, which starts the server or reaches it over HTTP.
fn at_the_pipes(mode: &str, eras: Eras) {
    let Some(kit) = Kit::find("relay at the pipes") else {
        return;
    };
    for way in [Way::Http, Way::Stdio] {
        let (entry, _upstream) = entry(&kit, eras, way);
        let scratch = Scratch::new("pipes");
        let audit = json!({ "path": scratch.path().join("audit.jsonl") });
        let yaml = format!("servers:\n  up: {entry}\naudit: {audit}\n");
        let config = scratch.write("weir.yaml", &yaml);
        let command = json!([env!("CARGO_BIN_EXE_weir"), "stdio", "--config", config]);
        let plan = json!({ "transport": "stdio", "command": command, "mode": mode, "prefix": "" });
        Report::of(&kit, &plan).check(mode);
    }
}

#[derive(Clone, Copy)]
enum Way {
    Http,
    Stdio,
    Sse,
}

async fn hears_everything(mode: &str, eras: Eras, way: Way) {
    let Some(kit) = Kit::find("relay") else {
        return;
    };
    let (gateway, _servers) = gateway(&kit, eras, way).await;
    for (url, prefix) in [
        (gateway.endpoint_of("up"), ""),
        (gateway.endpoint(), "up__"),
    ] {
        let plan = json!({ "url": url, "mode": mode, "prefix": prefix });
        Report::of(&kit, &plan).check(mode);
    }
}

/// A gateway before the server `up` and another, and what must be kept while it runs.
async fn gateway(kit: &Kit, eras: Eras, way: Way) -> (Gateway, (Option<Upstream>, Upstream)) {
    let (entry, upstream) = entry(kit, eras, way);
    let other = Upstream::echo(kit, &[]);
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {entry}\n  other: {}\n",
        http_entry(&other.url)
    ))
    .connected()
    .await;
    (gateway, (upstream, other))
}

/// The configuration of the server that says everything there is to say.
fn entry(kit: &Kit, eras: Eras, way: Way) -> (String, Option<Upstream>) {
    match way {
        Way::Http => {
            let upstream = Upstream::conformance(kit, eras);
            (http_entry(&upstream.url), Some(upstream))
        }
        Way::Stdio => {
            let script = Kit::script("conformance_upstream.py");
            let words = [script.to_str().unwrap(), "--stdio", "--era", eras.as_str()];
            (stdio_entry(&kit.python_program(), &words, &[]), None)
        }
        Way::Sse => {
            let upstream = Upstream::conformance_sse(kit);
            let entry = json!({ "type": "sse", "url": upstream.url });
            (entry.to_string(), Some(upstream))
        }
    }
}

// === impl Report ===

impl Report {
    fn of(kit: &Kit, plan: &Value) -> Self {
        let finished = Process::run_with_input(
            "listening client",
            kit.python("listening_client.py"),
            &plan.to_string(),
            CLIENT_LIMIT,
        );
        assert!(finished.status.success(), "{plan}:\n{}", finished.output);
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
