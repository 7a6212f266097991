//! `weir stdio`: the rules of the wire on two pipes, and what is left when they are closed: nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::pipes::{Pipes, modern};
use support::proc_fs;
use support::process::Process;
use support::scratch::Scratch;
use support::upstream::demo_entry;

/// Longest time until the process has ended.
const END: Duration = Duration::from_secs(10);

fn demo() -> String {
    format!("servers:\n  demo: {}\n", demo_entry())
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text in {answer}"))
}

fn slow(id: u64, steps: u64) -> Value {
    let arguments = json!({ "to": steps, "delay_ms": 100 });
    let params =
        json!({ "name": "slow_count", "arguments": arguments, "_meta": { "progressToken": "t" } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

#[test]
fn a_legacy_client_is_served_until_it_closes_the_pipe() {
    let mut pipes = Pipes::start(&demo());
    let hello = pipes.shake_hands("2024-11-05");
    assert_eq!(hello["protocolVersion"], "2024-11-05");
    assert_eq!(hello["serverInfo"]["name"], "weir");
    let tools = pipes.ask(1, "tools/list", json!({}));
    assert_eq!(tools["result"]["tools"][0]["name"], "echo");
    let sum = pipes.ask(
        2,
        "tools/call",
        json!({ "name": "add", "arguments": { "a": 1, "b": 2 } }),
    );
    assert_eq!(text(&sum), "3");
    assert_eq!(pipes.ask(3, "ping", json!({}))["result"], json!({}));
    assert_eq!(pipes.ask(4, "no/such", json!({}))["error"]["code"], -32601);

    pipes.close();
    assert_eq!(pipes.process.wait_exit(END).unwrap().code(), Some(0));
    for line in pipes.said() {
        assert!(
            serde_json::from_str::<Value>(&line).is_ok(),
            "standard output is for messages: {line}"
        );
    }
    let records = pipes.records();
    let call = records
        .iter()
        .find(|record| record["tool"] == "add")
        .unwrap();
    assert_eq!(
        (&call["user_id"], &call["mcp_server"]),
        (&json!("desktop-user"), &json!("demo"))
    );
    assert!(call["session"].is_string(), "{call}");
}

#[test]
fn what_is_no_message_is_answered_and_the_stream_goes_on() {
    let mut pipes = Pipes::start(&format!("{}limits: {{ max_body_bytes: 1000 }}\n", demo()));
    let refused = |pipes: &mut Pipes, line: &str, code: i64, known: Value| {
        pipes.write(line);
        pipes.wait(|message| message["error"]["code"] == code && message["id"] == known)
    };
    refused(&mut pipes, "garbage", -32700, Value::Null);
    refused(&mut pipes, "[]", -32600, Value::Null);
    refused(
        &mut pipes,
        r#"{"jsonrpc":"1.0","id":5,"method":"x"}"#,
        -32600,
        json!(5),
    );
    refused(
        &mut pipes,
        &format!(
            r#"{{"jsonrpc":"2.0","id":6,"method":"{}"}}"#,
            "x".repeat(1000)
        ),
        413,
        Value::Null,
    );
    let early = pipes.ask(7, "tools/list", json!({}));
    assert_eq!(early["error"]["code"], -32600, "{early}");
    assert!(
        early["error"]["message"]
            .as_str()
            .unwrap()
            .contains("initialize"),
        "{early}"
    );
    assert_eq!(
        pipes.ask(8, "ping", json!({}))["result"],
        json!({}),
        "in order before the handshake"
    );

    // Nobody answers what is no request, whatever is wrong with it.
    pipes.say(&json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }));
    pipes.say(&json!({ "jsonrpc": "2.0", "id": "nobody-asked", "result": {} }));
    pipes.write("\n  \n");
    pipes.shake_hands("2025-06-18");
    assert!(
        pipes
            .ask(9, "tools/list", json!({}))
            .get("result")
            .is_some()
    );
    let said = pipes.said();
    assert_eq!(
        said.iter()
            .filter(|line| line.contains(r#""id":null"#))
            .count(),
        3,
        "{said:#?}"
    );
    assert!(
        !said.iter().any(|line| line.contains("nobody-asked")),
        "{said:#?}"
    );
}

#[test]
fn a_modern_client_is_served_without_a_handshake() {
    let mut pipes = Pipes::start(&demo());
    let hello = pipes.ask_modern(1, "server/discover", json!({}));
    assert_eq!(hello["result"]["supportedVersions"], json!(["2026-07-28"]));
    let sum = pipes.ask_modern(
        2,
        "tools/call",
        json!({ "name": "add", "arguments": { "a": 1, "b": 2 } }),
    );
    assert_eq!(
        (text(&sum), &sum["result"]["resultType"]),
        ("3", &json!("complete"))
    );
    let code = |answer: Value| answer["error"]["code"].as_i64();
    assert_eq!(
        code(pipes.ask_modern(3, "initialize", json!({}))),
        Some(-32601)
    );
    assert_eq!(
        code(pipes.ask(4, "tools/list", json!({}))),
        Some(-32602),
        "the claim is owed"
    );
    let mut future = modern(5, "tools/list", json!({}));
    future["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2030-01-01".into();
    pipes.say(&future);
    let unsupported = pipes.answer(5);
    assert_eq!(
        unsupported["error"]["data"]["requested"], "2030-01-01",
        "{unsupported}"
    );
    assert_eq!(code(unsupported), Some(-32022));

    pipes.say(&modern(
        6,
        "subscriptions/listen",
        json!({ "notifications": { "toolsListChanged": true } }),
    ));
    let acknowledged =
        pipes.wait(|message| message["method"] == "notifications/subscriptions/acknowledged");
    assert_eq!(
        acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        6
    );
    pipes.close();
    assert_eq!(
        pipes.process.wait_exit(END).unwrap().code(),
        Some(0),
        "a listener holds nothing up"
    );
}

#[test]
fn a_client_that_probes_and_then_shakes_hands_is_legacy() {
    let mut pipes = Pipes::start(&demo());
    pipes.ask_modern(1, "server/discover", json!({}));
    let hello = pipes.shake_hands("2025-11-25");
    assert_eq!(hello["protocolVersion"], "2025-11-25");
    assert!(
        pipes
            .ask(2, "tools/list", json!({}))
            .get("result")
            .is_some()
    );
}

#[test]
fn a_batch_is_answered_in_one_line_where_the_revision_has_them() {
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "ping" },
        { "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "add", "arguments": { "a": 1, "b": 2 } } },
    ]);
    let mut pipes = Pipes::start(&demo());
    pipes.shake_hands("2025-03-26");
    pipes.say(&batch);
    let answers = pipes.wait(Value::is_array);
    let answer = |id| {
        let mut answers = answers.as_array().unwrap().iter();
        answers.find(|answer| answer["id"] == id).unwrap()
    };
    assert_eq!((text(answer(2)), &answer(1)["result"]), ("3", &json!({})));

    let mut pipes = Pipes::start(&demo());
    pipes.shake_hands("2025-06-18");
    pipes.say(&batch);
    pipes.wait(|message| message["error"]["code"] == -32600);
}

#[test]
fn what_is_cancelled_is_not_answered_in_either_era() {
    for era in ["legacy", "modern"] {
        let mut pipes = Pipes::start(&demo());
        let mut call = slow(1, 100);
        if era == "legacy" {
            pipes.shake_hands("2025-11-25");
        } else {
            call = modern(1, "tools/call", call["params"].clone());
        }
        pipes.say(&call);
        let progress = pipes.wait(|message| message["method"] == "notifications/progress");
        assert_eq!(progress["params"]["progressToken"], "t", "{era}");
        pipes.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }));
        let again = if era == "legacy" {
            pipes.ask(2, "tools/list", json!({}))
        } else {
            pipes.ask_modern(2, "tools/list", json!({}))
        };
        assert!(again.get("result").is_some(), "{era}");
        pipes.close();
        assert_eq!(
            pipes.process.wait_exit(END).unwrap().code(),
            Some(0),
            "{era}"
        );
        let said = pipes.said();
        assert!(
            !said.iter().any(|line| line.contains(r#""id":1,"#)),
            "{era}: {said:#?}"
        );
        let records = pipes.records();
        let call = records
            .iter()
            .find(|record| record["tool"] == "slow_count")
            .unwrap();
        assert_eq!(call["result"], "cancelled", "{era}: {call}");
    }
}

#[test]
fn a_call_in_flight_is_answered_after_the_pipe_was_closed() {
    let mut pipes = Pipes::start(&demo());
    pipes.shake_hands("2025-11-25");
    pipes.say(&slow(1, 5));
    pipes.wait(|message| message["method"] == "notifications/progress");
    pipes.close();
    assert!(pipes.answer(1).get("result").is_some());
    assert_eq!(pipes.process.wait_exit(END).unwrap().code(), Some(0));
}

#[test]
fn nothing_is_left_and_nothing_listens() {
    for by_signal in [false, true] {
        let mut pipes = Pipes::start(&demo());
        pipes.shake_hands("2025-11-25");
        let pid = pipes.process.pid();
        let children = proc_fs::children(pid);
        assert!(!children.is_empty());
        assert_eq!(proc_fs::listening(pid), 0, "a desktop is no server");
        if by_signal {
            pipes.process.signal(Signal::TERM);
        } else {
            pipes.close();
        }
        assert_eq!(pipes.process.wait_exit(END).unwrap().code(), Some(0));
        for child in children {
            assert!(!proc_fs::alive(child.pid), "{child:?}");
        }
    }
    let mut watched = Pipes::start_with(&demo(), &["--admin-listen", "127.0.0.1:0"]);
    watched.shake_hands("2025-11-25");
    assert_eq!(
        proc_fs::listening(watched.process.pid()),
        1,
        "it was asked for"
    );
}

#[test]
fn a_client_that_goes_away_ends_the_process() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    let scratch = Scratch::new("gone");
    let audit = json!({ "path": scratch.path().join("audit.jsonl") });
    let config = scratch.write("weir.yaml", &format!("{}audit: {audit}\n", demo()));
    command.arg("stdio").arg("--config").arg(config);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It reads no more, and says something that has to be answered.
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"garbage\n").unwrap();
    let ended = proc_fs::eventually(END, || child.try_wait().unwrap().is_some());
    let status = child.try_wait().unwrap();
    if !ended {
        child.kill().unwrap();
    }
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    drop(stdin);
}

#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    const CALLS: usize = 3000;
    let scratch = Scratch::new("unread");
    let audit = json!({ "path": scratch.path().join("audit.jsonl") });
    let config = scratch.write("weir.yaml", &format!("{}audit: {audit}\n", demo()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("stdio")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    writeln!(
        stdin,
        "{}",
        json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello })
    )
    .unwrap();
    answers.next().unwrap().unwrap();
    let before = proc_fs::resident_kib(pid);
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let writer = std::thread::spawn(move || {
        let long = "x".repeat(32 * 1024);
        for id in 1..=CALLS {
            let params = json!({ "name": "echo", "arguments": { "text": long } });
            let call =
                json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
            writeln!(stdin, "{call}").unwrap();
            counter.store(id, Ordering::Relaxed);
        }
        stdin
    });
    // Nothing more is taken from it when its answers have nowhere to go.
    let mut last = (usize::MAX, 0);
    let stuck = proc_fs::eventually(Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(40));
        let now = written.load(Ordering::Relaxed);
        last = if now == last.0 {
            (now, last.1 + 1)
        } else {
            (now, 0)
        };
        last.1 > 10
    });
    assert!(
        stuck && last.0 < CALLS,
        "it never stopped reading: {last:?}"
    );
    let grown = proc_fs::resident_kib(pid).saturating_sub(before);
    assert!(
        grown < 64 * 1024,
        "{grown} KiB for a client that does not read"
    );
    let mut answered = 0;
    while answered < CALLS {
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        // More in flight than one client may have is refused; nothing is forgotten.
        let refused = answer["error"]["data"]["retryable"] == true;
        assert!(refused || answer.get("result").is_some(), "{answer}");
        answered += 1;
    }
    drop(writer.join().unwrap());
    let ended = proc_fs::eventually(END, || child.try_wait().unwrap().is_some());
    assert!(ended);
}

#[test]
fn several_share_an_audit_file() {
    let scratch = Scratch::new("several");
    let audit = scratch.path().join("audit.jsonl");
    let yaml = format!("{}audit: {}\n", demo(), json!({ "path": audit }));
    let config = scratch.write("weir.yaml", &yaml);
    let mut input = String::new();
    for id in 0..50 {
        let params = json!({ "name": "add", "arguments": { "a": id, "b": 1 } });
        input.push_str(&format!("{}\n", modern(id, "tools/call", params)));
    }
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (config, input) = (config.clone(), input.clone());
            std::thread::spawn(move || {
                let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
                command.arg("stdio").arg("--config").arg(config);
                Process::run_with_input("weir stdio", command, &input, Duration::from_secs(60))
            })
        })
        .collect();
    for client in clients {
        let finished = client.join().unwrap();
        assert_eq!(finished.status.code(), Some(0), "{}", finished.output);
        assert_eq!(finished.stdout.lines().count(), 50, "{}", finished.output);
    }
    let text = std::fs::read_to_string(audit).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(
        records.filter(|record| record["tool"] == "add").count(),
        200
    );
}

#[test]
fn the_user_of_the_configuration_is_who_the_policy_sees() {
    let rules = "policy:\n  rules:\n    - { name: readers add, roles: [reader], methods: [tools/list, tools/call], tools: [add], effect: allow }\n";
    let yaml = format!("{}stdio: {{ user: ada, roles: [reader] }}\n{rules}", demo());
    let mut pipes = Pipes::start(&yaml);
    let sum = pipes.ask_modern(
        1,
        "tools/call",
        json!({ "name": "add", "arguments": { "a": 1, "b": 2 } }),
    );
    assert_eq!(text(&sum), "3");
    let denied = pipes.ask_modern(2, "tools/call", json!({ "name": "now", "arguments": {} }));
    assert_eq!(denied["error"]["code"], 403, "{denied}");
    pipes.close();
    pipes.process.wait_exit(END).unwrap();
    assert!(
        pipes
            .records()
            .iter()
            .all(|record| record["user_id"] == "ada")
    );
}

#[test]
fn one_server_has_its_own_names() {
    let yaml = format!("servers:\n  one: {0}\n  two: {0}\n", demo_entry());
    let first = |answer: Value| answer["result"]["tools"][0]["name"].clone();
    let mut all = Pipes::start(&yaml);
    assert_eq!(
        first(all.ask_modern(1, "tools/list", json!({}))),
        "one__echo"
    );
    let mut one = Pipes::start_with(&yaml, &["--server", "two"]);
    assert_eq!(first(one.ask_modern(1, "tools/list", json!({}))), "echo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["stdio", "--", env!("CARGO_BIN_EXE_weir"), "demo"]);
    command.env("XDG_STATE_HOME", one.scratch.path());
    let input = format!("{}\n", modern(1, "tools/list", json!({})));
    let finished = Process::run_with_input("weir stdio", command, &input, Duration::from_secs(30));
    assert_eq!(
        first(serde_json::from_str(&finished.stdout).unwrap()),
        "echo"
    );
}

#[test]
fn standard_output_takes_no_records() {
    let scratch = Scratch::new("stdout");
    let config = scratch.write(
        "weir.yaml",
        &format!("{}audit: {{ sink: stdout }}\n", demo()),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("stdio").arg("--config").arg(config);
    let finished = Process::run("weir stdio", command, END);
    assert_eq!(finished.status.code(), Some(2));
    assert!(
        finished.output.contains("audit.sink"),
        "{}",
        finished.output
    );
}
