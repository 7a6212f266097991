//! Real clients on the faces besides Streamable HTTP: they start the gateway themselves, or speak HTTP+SSE to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::scratch::Scratch;
use support::upstream::stdio_entry;

/// Longest time of one client.
const CLIENT_LIMIT: Duration = Duration::from_secs(90);

/// Servers of both eras, and one of the legacy era only.
struct Servers {
    kit: Kit,
    scratch: Scratch,
}

impl Servers {
    fn new(test: &str) -> Option<Self> {
        Some(Self {
            kit: Kit::find(test)?,
            scratch: Scratch::new("faces"),
        })
    }

    fn time(&self) -> String {
        let time = self.kit.python_tool("mcp-server-time");
        format!(
            "  time: {}\n",
            stdio_entry(&time, &["--local-timezone", "UTC"], &[])
        )
    }

    fn everything(&self) -> String {
        let path = self.kit.node_path();
        let everything = self.kit.node_program("mcp-server-everything");
        format!(
            "  everything: {}\n",
            stdio_entry(&everything, &["stdio"], &[("PATH", &path)])
        )
    }

    /// A configuration for a gateway that a client starts.
    fn config(&self, servers: &str) -> PathBuf {
        let audit = json!({ "path": self.scratch.path().join("audit.jsonl") });
        self.scratch
            .write("weir.yaml", &format!("servers:\n{servers}audit: {audit}\n"))
    }

    fn python(&self, plan: &Value) -> Value {
        report("client.py", self.kit.python("client.py"), plan)
    }

    fn typescript(&self, plan: &Value) -> Value {
        report("client.mjs", self.kit.javascript("client.mjs"), plan)
    }

    /// One request of the Inspector's command line; `words` say how to get there.
    fn inspector(&self, words: &[&str], request: &[&str], target: &[&str]) -> Value {
        let mut command = self.kit.node("mcp-inspector");
        command.args(["--cli", "--stored-auth-only", "-q", "--format", "json"]);
        command.args(words).args(request).args(target);
        let finished = Process::run("inspector", command, CLIENT_LIMIT);
        assert!(
            finished.status.success(),
            "{words:?} {request:?}:\n{}",
            finished.output
        );
        let answer: Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}", finished.output));
        answer["result"].clone()
    }
}

fn report(name: &str, command: Command, plan: &Value) -> Value {
    let finished = Process::run_with_input(name, command, &plan.to_string(), CLIENT_LIMIT);
    assert!(
        finished.status.success(),
        "{name} {plan}:\n{}",
        finished.output
    );
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{name}: {error}:\n{}", finished.output))
}

fn noon() -> Value {
    json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" })
}

fn check(report: &Value, version: &str, tool: &str, contains: &str) {
    assert_eq!(report["version"], version, "{report}");
    let text = report["texts"][tool].as_str();
    assert!(text.is_some_and(|text| text.contains(contains)), "{report}");
    assert_eq!(report["unknown"]["code"], -32602, "{report}");
}

#[test]
fn clients_that_start_the_gateway() {
    let Some(servers) = Servers::new("clients at the pipes") else {
        return;
    };
    let config = servers.config(&servers.time());
    let command = json!([env!("CARGO_BIN_EXE_weir"), "stdio", "--config", config]);
    for (mode, version) in [
        ("auto", "2026-07-28"),
        ("2026-07-28", "2026-07-28"),
        ("legacy", "2025-11-25"),
    ] {
        let plan = json!({
            "transport": "stdio", "command": command, "mode": mode,
            "calls": [["convert_time", noon()]], "unknown": "no_such_tool",
        });
        check(&servers.python(&plan), version, "convert_time", "21:00");
        check(&servers.typescript(&plan), version, "convert_time", "21:00");
    }
    let arguments = noon().to_string();
    let call = [
        "--method",
        "tools/call",
        "--tool-name",
        "convert_time",
        "--tool-args-json",
        &arguments,
    ];
    let target = [
        "--",
        env!("CARGO_BIN_EXE_weir"),
        "stdio",
        "--config",
        config.to_str().unwrap(),
    ];
    for era in ["legacy", "modern"] {
        let answer = servers.inspector(&["--protocol-era", era], &call, &target);
        assert!(
            answer["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("21:00"),
            "{era}: {answer}"
        );
    }
}

#[test]
fn clients_that_start_a_gateway_before_a_legacy_server() {
    let Some(servers) = Servers::new("legacy servers at the pipes") else {
        return;
    };
    let config = servers.config(&format!("{}{}", servers.everything(), servers.time()));
    let command = json!([env!("CARGO_BIN_EXE_weir"), "stdio", "--config", config]);
    let plan = json!({
        "transport": "stdio", "command": command, "mode": "auto",
        "calls": [["everything__get-sum", { "a": 2, "b": 3 }], ["time__convert_time", noon()]],
        "unknown": "no_such_tool", "prompt": ["everything__args-prompt", { "city": "Bern" }],
    });
    for report in [servers.python(&plan), servers.typescript(&plan)] {
        check(
            &report,
            "2025-11-25",
            "everything__get-sum",
            "The sum of 2 and 3 is 5.",
        );
        check(&report, "2025-11-25", "time__convert_time", "21:00");
        assert!(
            report["prompt"].as_str().unwrap().contains("Bern"),
            "{report}"
        );
    }
}

#[tokio::test]
async fn old_clients_over_http() {
    let Some(servers) = Servers::new("clients of HTTP+SSE") else {
        return;
    };
    let yaml = format!("servers:\n{}{}", servers.everything(), servers.time());
    let gateway = Gateway::start(&yaml).connected().await;
    let url = format!("{}/sse", gateway.base);
    let plan = json!({
        "transport": "sse", "url": url, "mode": "legacy",
        "calls": [["everything__get-sum", { "a": 2, "b": 3 }], ["time__convert_time", noon()]],
        "unknown": "no_such_tool", "prompt": ["everything__args-prompt", { "city": "Bern" }],
    });
    for report in [servers.python(&plan), servers.typescript(&plan)] {
        check(
            &report,
            "2025-11-25",
            "everything__get-sum",
            "The sum of 2 and 3 is 5.",
        );
        check(&report, "2025-11-25", "time__convert_time", "21:00");
        assert!(
            report["prompt"].as_str().unwrap().contains("Bern"),
            "{report}"
        );
    }
    let one = format!("{}/servers/time/sse", gateway.base);
    let words = ["--transport", "sse", "--server-url", &one];
    let tools = servers.inspector(&words, &["--method", "tools/list"], &[]);
    assert_eq!(
        support::mcp::names(&tools, "tools", "name"),
        ["get_current_time", "convert_time"]
    );
    let arguments = noon().to_string();
    let call = [
        "--method",
        "tools/call",
        "--tool-name",
        "convert_time",
        "--tool-args-json",
        &arguments,
    ];
    let answer = servers.inspector(&words, &call, &[]);
    assert!(
        answer["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("21:00"),
        "{answer}"
    );
}
