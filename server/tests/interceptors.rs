//! Interceptors: real plugin processes that judge and change what passes through a real gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, ModernClient, Outcome};
use support::pipes::Pipes;
use support::upstream::demo_entry;
use support::watching::Watching;

/// A gateway before the demo server, with these interceptors at one plugin.
async fn site(plugin: &Watching, interceptors: &[(&str, Value)], more: &str) -> Gateway {
    Gateway::start(&config(plugin, interceptors, more))
        .connected()
        .await
}

fn config(plugin: &Watching, interceptors: &[(&str, Value)], more: &str) -> String {
    let entries: String = interceptors
        .iter()
        .map(|(name, block)| {
            format!(
                "  {name}: {}\n",
                plugin.entry(json!({ "interceptor": block }))
            )
        })
        .collect();
    format!(
        "servers:\n  demo: {}\nplugins:\n{entries}{more}",
        demo_entry()
    )
}

fn does(kind: &str, what: &str, more: Value) -> Value {
    let mut block = json!({ "type": kind, "events": ["tools/call"], "timeout": "10s", "config": { "do": what } });
    for (key, value) in more.as_object().unwrap() {
        block[key] = value.clone();
    }
    block
}

fn error(outcome: Outcome) -> (u16, i64, Value) {
    match outcome {
        Outcome::Error {
            status, code, data, ..
        } => (status, code, data),
        result => panic!("expected an error, got {result:?}"),
    }
}

/// What the audit log says that interceptors said of the last call.
async fn verdicts(gateway: &Gateway) -> Vec<String> {
    gateway.at_rest().await;
    let records = gateway.records();
    let mut calls = records
        .iter()
        .filter(|record| record["method"] == "tools/call");
    let last = calls.next_back().unwrap();
    let said = last["interceptors"].as_array().cloned().unwrap_or_default();
    let word = |one: &Value| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        format!("{} {} {}", text("plugin"), text("phase"), text("verdict"))
    };
    said.iter().map(word).collect()
}

#[actix_rt::test]
async fn a_redactor_changes_requests_and_answers_on_every_face() {
    let Some(kit) = Kit::find("interceptors") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let interceptors = [
        ("redactor", does("mutation", "redact", json!({}))),
        (
            "after",
            does(
                "mutation",
                "append",
                json!({ "priority": 5, "phase": "request" }),
            ),
        ),
        (
            "before",
            does(
                "mutation",
                "append",
                json!({ "priority": -5, "phase": "request" }),
            ),
        ),
    ];
    let gateway = site(&plugin, &interceptors, "").await;
    let modern = ModernClient::new(gateway.endpoint());
    assert_eq!(
        modern
            .call("echo", json!({ "text": "my secret" }))
            .await
            .text(),
        "my [redacted]"
    );
    assert_eq!(
        verdicts(&gateway).await,
        [
            "before request passed",
            "redactor request modified",
            "after request passed",
            "redactor response passed",
        ]
    );
    let echoed = modern.call("echo", json!({ "text": "order:" })).await;
    assert_eq!(
        echoed.text(),
        "order:afterbefore",
        "the one that comes first was pushed back by the second"
    );
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    assert_eq!(
        legacy
            .call("echo", json!({ "text": "my secret" }))
            .await
            .text(),
        "my [redacted]"
    );

    // What the plugin is told.
    let heard = plugin.heard().await;
    let asked = heard.iter().map(|one| &one["params"]);
    let asked: Vec<_> = asked
        .filter(|params| params["name"] == "redactor")
        .collect();
    let first = asked[0];
    assert_eq!(first["event"], "tools/call");
    assert_eq!(first["phase"], "request");
    assert_eq!(first["timeoutMs"], 10_000);
    assert_eq!(
        first["payload"]["arguments"],
        json!({ "text": "my secret" })
    );
    assert_eq!(first["context"]["principal"]["type"], "anonymous");
    assert_eq!(asked[1]["phase"], "response");
    assert_eq!(asked[1]["payload"]["content"][0]["text"], "my [redacted]");
    let session = asked.last().unwrap()["context"]["sessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        asked[asked.len() - 2]["context"]["sessionId"],
        session.as_str()
    );
    assert!(
        gateway
            .records()
            .iter()
            .any(|record| record["session"] == session.as_str())
    );
    let modified =
        r#"weir_interceptor_total{phase="request",plugin="redactor",verdict="modified"}"#;
    assert!(gateway.metric(modified).await >= 2.0);
    let timed = r#"weir_interceptor_seconds_count{plugin="redactor",phase="response"}"#;
    assert!(gateway.metric(timed).await >= 3.0);
}

#[actix_rt::test]
async fn answers_that_end_a_stream_and_those_on_pipes_are_changed_too() {
    let Some(kit) = Kit::find("interceptors") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let interceptors = [(
        "redactor",
        does("mutation", "redact", json!({ "phase": "response" })),
    )];
    let gateway = site(&plugin, &interceptors, "").await;
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let call = json!({
        "jsonrpc": "2.0", "id": 77, "method": "tools/call",
        "params": { "name": "slow_count", "arguments": { "to": 2, "delay_ms": 10 }, "_meta": { "progressToken": "secret" } },
    });
    let mut events = legacy.stream(&call).await;
    let mut progress = 0;
    let answer = loop {
        let (_, message) = events.message().await.expect("the stream goes on");
        if message["id"] == 77 {
            break message;
        }
        progress += 1;
    };
    assert!(progress >= 1, "it is a stream");
    assert!(answer["result"]["content"].is_array(), "{answer}");
    assert_eq!(verdicts(&gateway).await, ["redactor response passed"]);

    let mut pipes = Pipes::start(&config(&plugin, &interceptors, ""));
    pipes.shake_hands("2025-11-25");
    let params = json!({ "name": "echo", "arguments": { "text": "a secret on a pipe" } });
    // The demo may still be starting.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut id = 100;
    let answer = loop {
        id += 1;
        let answer = pipes.ask(id, "tools/call", params.clone());
        if answer.get("result").is_some() || Instant::now() > deadline {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(
        answer["result"]["content"][0]["text"], "a [redacted] on a pipe",
        "{answer}"
    );
    let answer = pipes.ask_modern(500, "tools/call", params);
    assert_eq!(
        answer["error"].is_null(),
        answer["result"]["content"][0]["text"] == "a [redacted] on a pipe",
        "{answer}"
    );
}

#[actix_rt::test]
async fn a_validation_refuses_and_says_why_as_far_as_it_may() {
    let Some(kit) = Kit::find("interceptors") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let interceptors = [
        (
            "guard",
            does("validation", "deny", json!({ "phase": "request" })),
        ),
        (
            "watcher",
            does(
                "validation",
                "deny",
                json!({ "mode": "audit", "events": ["*"] }),
            ),
        ),
    ];
    let gateway = site(&plugin, &interceptors, "").await;
    let modern = ModernClient::new(gateway.endpoint());
    let (status, code, data) = error(modern.call("echo", json!({ "text": "deny me" })).await);
    assert_eq!((status, code), (403, -32602));
    assert_eq!(
        data,
        json!({
            "reason": "interceptor_denied", "retryable": false, "phase": "request", "interceptor": "guard",
            "messages": [{ "message": "no such words here", "severity": "error", "path": "arguments.text" }],
            "suggestions": [{ "path": "arguments.text", "value": "please" }],
        })
    );
    gateway.at_rest().await;
    let records = gateway.records();
    let last = records.last().unwrap();
    assert_eq!(
        (&last["result"], &last["reason"]),
        (&json!("denied"), &json!("interceptor_denied"))
    );
    assert!(
        !last.to_string().contains("no such words"),
        "nothing of what was said is recorded"
    );
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let (status, code, _) = error(legacy.call("echo", json!({ "text": "deny me" })).await);
    assert_eq!((status, code), (200, -32602));
    assert_eq!(
        modern.call("echo", json!({ "text": "fine" })).await.text(),
        "fine"
    );
    let mut said = verdicts(&gateway).await;
    said.sort();
    assert_eq!(
        said,
        [
            "guard request passed",
            "watcher request passed",
            "watcher response passed"
        ]
    );

    // The same only recorded.
    let silent = [(
        "watcher",
        does("validation", "deny", json!({ "mode": "audit" })),
    )];
    gateway.configure(&config(&plugin, &silent, ""));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(
        modern
            .call("echo", json!({ "text": "deny me" }))
            .await
            .text(),
        "deny me"
    );
    assert_eq!(
        verdicts(&gateway).await,
        ["watcher request would_deny", "watcher response would_deny"]
    );

    // An answer that is refused was given.
    let late = [(
        "late",
        does(
            "validation",
            "deny",
            json!({ "phase": "response", "disclose": "nothing" }),
        ),
    )];
    gateway.configure(&config(&plugin, &late, ""));
    assert_eq!(gateway.reload().await.status, 200);
    let (status, code, data) = error(modern.call("echo", json!({ "text": "deny me" })).await);
    assert_eq!((status, code), (403, -32602));
    assert_eq!(
        data,
        json!({ "reason": "interceptor_denied", "retryable": false, "phase": "response" })
    );
}

#[actix_rt::test]
async fn lists_are_judged_and_never_everybodys() {
    let Some(kit) = Kit::find("interceptors") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let interceptors = [(
        "all",
        does("mutation", "redact", json!({ "events": ["*"] })),
    )];
    let gateway = site(&plugin, &interceptors, "").await;
    let modern = ModernClient::new(gateway.endpoint());
    for method in ["tools/list", "prompts/list", "resources/list"] {
        let list = modern.request(method, json!({})).await.result();
        assert_eq!(list["cacheScope"], "private", "{method}");
    }
    let heard = plugin.heard().await;
    let events: Vec<_> = heard
        .iter()
        .map(|one| one["params"]["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "tools/list",
            "tools/list",
            "prompts/list",
            "prompts/list",
            "resources/list",
            "resources/list"
        ]
    );
}

#[actix_rt::test]
async fn what_was_changed_is_judged_by_the_policy_again() {
    let Some(kit) = Kit::find("interceptors") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let interceptors = [(
        "smuggler",
        does("mutation", "smuggle", json!({ "phase": "request" })),
    )];
    let rules = json!({ "rules": [
        { "name": "all", "effect": "allow", "principals": ["*"] },
        { "name": "not that", "effect": "deny", "principals": ["*"], "tools": ["echo"], "arguments": { "text": "forbidden" } },
    ] });
    let gateway = site(&plugin, &interceptors, &format!("policy: {rules}\n")).await;
    let modern = ModernClient::new(gateway.endpoint());
    assert_eq!(
        modern.call("echo", json!({ "text": "fine" })).await.text(),
        "fine"
    );
    let (status, _, data) = error(modern.call("echo", json!({ "text": "forbidden" })).await);
    assert_eq!((status, &data["reason"]), (403, &json!("policy_denied")));
    let (status, _, data) = error(modern.call("echo", json!({ "text": "innocent" })).await);
    assert_eq!((status, &data["reason"]), (403, &json!("policy_denied")));
    assert_eq!(verdicts(&gateway).await, ["smuggler request modified"]);
}

#[actix_rt::test]
async fn trouble_refuses_unless_it_may_pass() {
    let Some(kit) = Kit::find("interceptors") else {
        return;
    };
    let (mut closed, mut open) = (Watching::start(&kit, 0.0), Watching::start(&kit, 0.0));
    let block = |more: Value| does("validation", "trouble", more);
    let closed_block = block(json!({ "phase": "request", "timeout": "200ms" }));
    let open_block = block(json!({ "phase": "request", "timeout": "200ms", "failOpen": true }));
    let open_entry = open.entry(json!({ "interceptor": open_block }));
    let text = format!(
        "servers:\n  demo: {}\nplugins:\n  closed: {}\n  open: {}\n",
        demo_entry(),
        closed.entry(json!({ "interceptor": closed_block })),
        open_entry,
    );
    let gateway = Gateway::start(&text).connected().await;
    let modern = ModernClient::new(gateway.endpoint());
    assert_eq!(
        modern.call("echo", json!({ "text": "fine" })).await.text(),
        "fine"
    );
    let began = Instant::now();
    let (status, code, data) = error(modern.call("echo", json!({ "text": "sleep" })).await);
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((status, code), (503, -32000));
    assert_eq!(
        (&data["reason"], &data["timeoutMs"], &data["retryable"]),
        (&json!("interceptor_timeout"), &json!(200), &json!(true))
    );
    let (status, code, data) = error(modern.call("echo", json!({ "text": "nonsense" })).await);
    assert_eq!(
        (status, code, &data["reason"]),
        (503, -32603, &json!("interceptor_failed"))
    );
    // Without the one that refuses the other lets everything pass, also when it is gone.
    let only = format!(
        "servers:\n  demo: {}\nplugins:\n  open: {}\n",
        demo_entry(),
        open_entry,
    );
    gateway.configure(&only);
    assert_eq!(gateway.reload().await.status, 200);
    for (text, verdict) in [("nonsense", "failed_passed"), ("sleep", "timeout_passed")] {
        assert_eq!(
            modern.call("echo", json!({ "text": text })).await.text(),
            text
        );
        assert_eq!(
            verdicts(&gateway).await,
            [format!("open request {verdict}")]
        );
    }
    open.kill();
    assert_eq!(
        modern
            .call("echo", json!({ "text": "nobody there" }))
            .await
            .text(),
        "nobody there"
    );
    assert_eq!(verdicts(&gateway).await, ["open request failed_passed"]);
    // Gone and not to be passed: refused at once.
    closed.kill();
    gateway.configure(&text);
    gateway.reload().await;
    let began = Instant::now();
    let (status, code, _) = error(modern.call("echo", json!({ "text": "fine" })).await);
    assert_eq!((status, code), (503, -32603));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}
