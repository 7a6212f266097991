//! The official Rust client on each face: lists, calls, progress, cancellation, changed lists, errors and the end of the
//! session, in both eras.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::scratch::Scratch;
use support::upstream::{Eras, Upstream, demo_entry, http_entry};

/// Longest time of the client, and of an audit record to be written.
const LIMIT: Duration = Duration::from_secs(90);

/// Longest time that the client may need to leave. rmcp kills a child that is still there after three seconds.
const LEAVING_MS: u64 = 2_500;

/// Tools of the server that lists its own in pages of fifty.
const MANY: usize = 101;

/// What `kit/rmcp` reports.
#[derive(Debug, Deserialize)]
struct Report {
    /// What the gateway said of itself.
    info: Value,
    tools: Vec<String>,
    pages: usize,
    counted: Vec<f64>,
    cancelled_after: usize,
    echoed: String,
    failed: Option<bool>,
    unknown: Option<i64>,
    unread: Option<i64>,
    changed: Changed,
    end: String,
    end_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Changed {
    heard: String,
    more: usize,
}

/// The servers that the client finds.
struct Servers {
    kit: Kit,
    many: Upstream,
    up: Upstream,
}

#[tokio::test]
async fn over_streamable_http() {
    let Some(servers) = Servers::start("rmcp over HTTP") else {
        return;
    };
    let gateway = Gateway::start(&servers.yaml()).connected().await;
    for mode in ["2026-07-28", "legacy", "auto"] {
        let plan = json!({ "transport": "http", "url": gateway.endpoint(), "mode": mode });
        let before = gateway.records().len();
        let report = Report::of(&servers.kit, &plan);
        report.check(mode);
        let records = || gateway.records().split_off(before);
        is_cancelled(records, mode);
        if mode == "legacy" {
            recorded(records, "DELETE");
        }
        gateway.at_rest().await;
    }
}

/// rmcp has no transport for this face any more: the kit's own carries what rmcp says.
#[tokio::test]
async fn over_http_and_sse() {
    let Some(servers) = Servers::start("rmcp over HTTP+SSE") else {
        return;
    };
    let gateway = Gateway::start(&servers.yaml()).connected().await;
    let url = format!("{}/sse", gateway.base);
    let plan = json!({ "transport": "sse", "url": url, "mode": "legacy" });
    Report::of(&servers.kit, &plan).check("legacy");
    is_cancelled(|| gateway.records(), "sse");
    gateway.at_rest().await;
}

#[test]
fn over_stdio() {
    let Some(servers) = Servers::start("rmcp at the pipes") else {
        return;
    };
    for mode in ["2026-07-28", "legacy", "auto"] {
        let scratch = Scratch::new("rmcp");
        let file = scratch.path().join("audit.jsonl");
        let audit = json!({ "sink": "file", "path": file });
        let config = scratch.write("weir.yaml", &format!("{}audit: {audit}\n", servers.yaml()));
        let command = json!([env!("CARGO_BIN_EXE_weir"), "stdio", "--config", config]);
        let plan = json!({ "transport": "stdio", "command": command, "mode": mode });
        Report::of(&servers.kit, &plan).check(mode);
        is_cancelled(|| lines(&file), mode);
    }
}

/// The call that was cancelled is recorded as such, and only that.
fn is_cancelled(records: impl Fn() -> Vec<Value>, which: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let results: Vec<Value> = records()
            .into_iter()
            .filter(|record| record["tool"] == "slow_count")
            .map(|record| record["result"].clone())
            .collect();
        if results.len() == 2 {
            assert_eq!(results, ["ok", "cancelled"], "{which}");
            return;
        }
        assert!(Instant::now() < deadline, "{which}: {results:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn recorded(records: impl Fn() -> Vec<Value>, method: &str) {
    let deadline = Instant::now() + LIMIT;
    while !records().iter().any(|record| record["method"] == method) {
        assert!(Instant::now() < deadline, "no {method}: {:#?}", records());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

// === impl Servers ===

impl Servers {
    fn start(test: &str) -> Option<Self> {
        let kit = Kit::find(test)?;
        kit.rmcp_client(test)?;
        let many = ["--tools", &MANY.to_string(), "--page", "50"];
        Some(Self {
            many: Upstream::echo(&kit, &many),
            up: Upstream::conformance(&kit, Eras::Both),
            kit,
        })
    }

    fn yaml(&self) -> String {
        let (many, up) = (http_entry(&self.many.url), http_entry(&self.up.url));
        let demo = demo_entry();
        format!("servers:\n  demo: {demo}\n  many: {many}\n  up: {up}\n")
    }
}

// === impl Report ===

impl Report {
    fn of(kit: &Kit, plan: &Value) -> Self {
        let command = kit.rmcp_client("rmcp").expect("it was there before");
        let finished = Process::run_with_input("rmcp client", command, &plan.to_string(), LIMIT);
        assert!(finished.status.success(), "{plan}:\n{}", finished.output);
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}", finished.output))
    }

    fn check(&self, mode: &str) {
        let (version, heard) = match mode {
            "legacy" => ("2025-11-25", "notification"),
            _ => ("2026-07-28", "subscription"),
        };
        assert_eq!(self.info["protocolVersion"], version, "{self:?}");
        let named = |prefix: &str| {
            let of_it = self.tools.iter().filter(|tool| tool.starts_with(prefix));
            of_it.count()
        };
        assert_eq!((named("many__"), named("demo__")), (MANY, 4), "{self:?}");
        assert!(self.pages >= 1);
        assert_eq!(self.counted, [1.0, 2.0, 3.0], "{self:?}");
        assert!(self.cancelled_after >= 1, "{self:?}");
        assert_eq!(self.echoed, "hello");
        assert_eq!(self.failed, Some(true), "a tool's own error is a result");
        assert_eq!(self.unknown, Some(-32602), "{self:?}");
        let no_resource = if version == "2025-11-25" {
            -32002
        } else {
            -32602
        };
        assert_eq!(self.unread, Some(no_resource), "{self:?}");
        assert_eq!(self.changed.heard, heard, "{self:?}");
        // More than one if a client of the other era had it changed before: it was the only one to be told.
        assert!(self.changed.more >= 1, "{self:?}");
        assert_eq!(self.end, "cancelled", "the client ended it: {self:?}");
        assert!(self.end_ms < LEAVING_MS, "{self:?}");
    }
}
