//! Real clients through the gateway to real servers, federated: every client sees the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::{Finished, Process};
use support::scratch::Scratch;
use support::upstream::{Eras, Upstream, http_entry, stdio_entry};

/// Longest time of one client.
const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// A resource of server-everything.
const DOCUMENT: &str = "demo://resource/static/document/features.md";

/// server-everything twice, filesystem, memory and time behind one gateway.
struct Federation {
    kit: Kit,
    gateway: Gateway,
    folder: Scratch,
    _remote: Upstream,
}

/// What a client is to do: see `kit/client.py`.
struct Plan {
    url: String,
    mode: &'static str,
    calls: Vec<(&'static str, Value)>,
    read: Option<&'static str>,
    prompt: Option<(&'static str, Value)>,
    unknown: Option<&'static str>,
}

/// What a client got.
#[derive(Debug, Deserialize)]
struct Report {
    version: Option<String>,
    tools: Vec<String>,
    texts: BTreeMap<String, Option<String>>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    prompts: Vec<String>,
    read: Option<String>,
    prompt: Option<String>,
    #[serde(default)]
    unknown: Value,
}

#[tokio::test]
async fn the_python_client_in_its_auto_mode() {
    let Some(federation) = Federation::start().await else {
        return;
    };
    let report = federation.plan("auto").run_python(&federation.kit);
    assert_eq!(
        report.version.as_deref(),
        Some("2025-11-25"),
        "legacy-only servers take part"
    );
    federation.check(&report);
    assert_eq!(report.unknown["code"], -32602, "{report:?}");
}

#[tokio::test]
async fn the_typescript_client_in_its_auto_mode() {
    let Some(federation) = Federation::start().await else {
        return;
    };
    let report = federation.plan("auto").run_typescript(&federation.kit);
    assert_eq!(
        report.version.as_deref(),
        Some("2025-11-25"),
        "legacy-only servers take part"
    );
    federation.check(&report);
    assert_eq!(report.unknown["code"], -32602, "{report:?}");
}

#[tokio::test]
async fn the_inspector_in_its_legacy_and_auto_modes() {
    let Some(federation) = Federation::start().await else {
        return;
    };
    for mode in ["legacy", "auto"] {
        federation.check(&federation.plan(mode).run_inspector(&federation.kit));
    }
}

#[tokio::test]
async fn every_client_in_its_modern_mode() {
    let Some(kit) = Kit::find("modern clients") else {
        return;
    };
    let modern = Upstream::conformance(&kit, Eras::Modern);
    let time = kit.python_tool("mcp-server-time");
    let time = stdio_entry(&time, &["--local-timezone", "UTC"], &[]);
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\n  time: {time}\n",
        http_entry(&modern.url)
    ))
    .connected()
    .await;
    let plan = |mode| Plan {
        url: gateway.endpoint(),
        mode,
        calls: vec![
            ("up__test_simple_text", json!({})),
            ("time__convert_time", noon()),
        ],
        read: Some("test://static-text"),
        prompt: Some(("up__test_simple_prompt", json!({}))),
        unknown: Some("up__no_such_tool"),
    };
    let check = |report: &Report| {
        assert!(
            report
                .tools
                .iter()
                .any(|tool| tool == "time__get_current_time"),
            "{report:?}"
        );
        assert_eq!(
            report.text("up__test_simple_text"),
            "This is a simple text response for testing."
        );
        assert!(
            report.text("time__convert_time").contains("21:00"),
            "{report:?}"
        );
        assert_eq!(
            report.read.as_deref(),
            Some("This is the content of the static text resource.")
        );
        assert_eq!(
            report.prompt.as_deref(),
            Some("This is a simple prompt for testing.")
        );
    };
    for mode in ["auto", "2026-07-28"] {
        for report in [plan(mode).run_python(&kit), plan(mode).run_typescript(&kit)] {
            assert_eq!(report.version.as_deref(), Some("2026-07-28"), "{mode}");
            check(&report);
            assert_eq!(report.unknown["code"], -32602, "{report:?}");
        }
    }
    check(&plan("modern").run_inspector(&kit));
}

fn noon() -> Value {
    json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" })
}

// === impl Federation ===

impl Federation {
    async fn start() -> Option<Self> {
        let kit = Kit::find("clients")?;
        let folder = Scratch::new("files");
        folder.write("note.txt", "written by the test");
        let remote = Upstream::everything(&kit);
        let path = kit.node_path();
        let node = |program: &str, arguments: &[&str], environment: &[(&str, &str)]| {
            let environment = [&[("PATH", path.as_str())], environment].concat();
            stdio_entry(&kit.node_program(program), arguments, &environment)
        };
        let files = folder.path().to_str().unwrap();
        let graph = folder.path().join("graph.jsonl");
        let servers = [
            ("everything", node("mcp-server-everything", &["stdio"], &[])),
            ("remote", http_entry(&remote.url)),
            ("files", node("mcp-server-filesystem", &[files], &[])),
            (
                "memory",
                node(
                    "mcp-server-memory",
                    &[],
                    &[("MEMORY_FILE_PATH", graph.to_str().unwrap())],
                ),
            ),
            (
                "time",
                stdio_entry(
                    &kit.python_tool("mcp-server-time"),
                    &["--local-timezone", "UTC"],
                    &[],
                ),
            ),
        ];
        let yaml: String = servers
            .iter()
            .map(|(name, entry)| format!("  {name}: {entry}\n"))
            .collect();
        let gateway = Gateway::start(&format!("servers:\n{yaml}"))
            .connected()
            .await;
        Some(Self {
            kit,
            gateway,
            folder,
            _remote: remote,
        })
    }

    fn plan(&self, mode: &'static str) -> Plan {
        Plan {
            url: self.gateway.endpoint(),
            mode,
            calls: vec![
                ("everything__get-sum", json!({ "a": 2, "b": 3 })),
                ("remote__echo", json!({ "message": "over http" })),
                (
                    "files__list_directory",
                    json!({ "path": self.folder.path() }),
                ),
                ("memory__read_graph", json!({})),
                ("time__convert_time", noon()),
            ],
            read: Some(DOCUMENT),
            prompt: Some(("everything__args-prompt", json!({ "city": "Bern" }))),
            unknown: Some("nobody__no_such_tool"),
        }
    }

    fn check(&self, report: &Report) {
        let count = |server: &str| {
            report
                .tools
                .iter()
                .filter(|tool| tool.starts_with(&format!("{server}__")))
                .count()
        };
        // server-everything offers more tools to clients that declare roots, sampling or elicitation.
        assert!(
            count("everything") >= 13 && count("remote") >= 13,
            "{:?}",
            report.tools
        );
        assert_eq!(
            (count("files"), count("memory"), count("time")),
            (14, 9, 2),
            "{:?}",
            report.tools
        );
        assert_eq!(
            report
                .tools
                .iter()
                .filter(|tool| !tool.contains("__"))
                .count(),
            0,
            "{:?}",
            report.tools
        );

        assert_eq!(
            report.text("everything__get-sum"),
            "The sum of 2 and 3 is 5."
        );
        assert_eq!(report.text("remote__echo"), "Echo: over http");
        assert!(
            report
                .text("files__list_directory")
                .contains("[FILE] note.txt"),
            "{report:?}"
        );
        assert!(
            report.text("memory__read_graph").contains("entities"),
            "{report:?}"
        );
        assert!(
            report.text("time__convert_time").contains("21:00"),
            "{report:?}"
        );

        assert!(
            report.resources.iter().any(|uri| uri == DOCUMENT),
            "{:?}",
            report.resources
        );
        assert!(
            report
                .read
                .as_deref()
                .unwrap()
                .starts_with("# Everything Server"),
            "{report:?}"
        );
        for prompt in ["everything__simple-prompt", "remote__simple-prompt"] {
            assert!(
                report.prompts.iter().any(|name| name == prompt),
                "{:?}",
                report.prompts
            );
        }
        assert!(
            report.prompt.as_deref().unwrap().contains("Bern"),
            "{report:?}"
        );
    }
}

// === impl Plan ===

impl Plan {
    fn run_python(&self, kit: &Kit) -> Report {
        self.run("client.py", kit.python("client.py"))
    }

    fn run_typescript(&self, kit: &Kit) -> Report {
        self.run("client.mjs", kit.javascript("client.mjs"))
    }

    fn run(&self, name: &str, command: std::process::Command) -> Report {
        let finished =
            Process::run_with_input(name, command, &self.to_json().to_string(), CLIENT_LIMIT);
        assert!(
            finished.status.success(),
            "{name} in mode {}:\n{}",
            self.mode,
            finished.output
        );
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{name}: {error}:\n{}", finished.output))
    }

    fn to_json(&self) -> Value {
        let mut plan = json!({ "url": self.url, "mode": self.mode, "calls": self.calls });
        if let Some(uri) = self.read {
            plan["read"] = uri.into();
        }
        if let Some((name, arguments)) = &self.prompt {
            plan["prompt"] = json!([name, arguments]);
        }
        if let Some(tool) = self.unknown {
            plan["unknown"] = tool.into();
        }
        plan
    }

    /// The Inspector's command line does one thing a run.
    fn run_inspector(&self, kit: &Kit) -> Report {
        let list = |method: &str, kind: &str, key: &str| {
            support::mcp::names(&self.inspect(kit, method, &[]), kind, key)
        };
        let mut report = Report {
            version: None,
            tools: list("tools/list", "tools", "name"),
            texts: BTreeMap::new(),
            resources: list("resources/list", "resources", "uri"),
            prompts: list("prompts/list", "prompts", "name"),
            read: None,
            prompt: None,
            unknown: Value::Null,
        };
        for (tool, arguments) in &self.calls {
            let result = self.inspect(
                kit,
                "tools/call",
                &[
                    "--tool-name",
                    tool,
                    "--tool-args-json",
                    &arguments.to_string(),
                ],
            );
            report.texts.insert(
                (*tool).to_owned(),
                result["content"][0]["text"].as_str().map(str::to_owned),
            );
        }
        if let Some(uri) = self.read {
            report.read =
                self.inspect(kit, "resources/read", &["--uri", uri])["contents"][0]["text"]
                    .as_str()
                    .map(str::to_owned);
        }
        if let Some((name, arguments)) = &self.prompt {
            let given: Vec<String> = arguments
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
                .collect();
            let mut words = vec!["--prompt-name", name];
            for argument in &given {
                words.extend(["--prompt-args", argument]);
            }
            report.prompt =
                self.inspect(kit, "prompts/get", &words)["messages"][0]["content"]["text"]
                    .as_str()
                    .map(str::to_owned);
        }
        if let Some(tool) = self.unknown {
            let refused = self.try_inspect(
                kit,
                "tools/call",
                &["--tool-name", tool, "--tool-args-json", "{}"],
            );
            assert!(
                !refused.status.success(),
                "{tool} exists?\n{}",
                refused.output
            );
        }
        report
    }

    fn inspect(&self, kit: &Kit, method: &str, words: &[&str]) -> Value {
        let finished = self.try_inspect(kit, method, words);
        assert!(
            finished.status.success(),
            "inspector {} {method} {words:?}:\n{}",
            self.mode,
            finished.output
        );
        let answer: Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}", finished.output));
        answer["result"].clone()
    }

    fn try_inspect(&self, kit: &Kit, method: &str, words: &[&str]) -> Finished {
        let mut command = kit.node("mcp-inspector");
        command.args([
            "--cli",
            "--stored-auth-only",
            "-q",
            "--format",
            "json",
            "--transport",
            "http",
        ]);
        command
            .args([
                "--server-url",
                &self.url,
                "--protocol-era",
                self.mode,
                "--method",
                method,
            ])
            .args(words);
        Process::run("inspector", command, CLIENT_LIMIT)
    }
}

// === impl Report ===

impl Report {
    fn text(&self, tool: &str) -> &str {
        let text = self.texts.get(tool).and_then(Option::as_deref);
        text.unwrap_or_else(|| panic!("no answer of {tool} in {self:?}"))
    }
}
