//! Message plugins: what real plugin processes are told of real sessions, and that they hold nobody up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, MODERN, ModernClient};
use support::pipes::{Pipes, modern};
use support::process::Process;
use support::upstream::demo_entry;
use support::watching::Watching;
use support::wire;

fn config(plugins: &[(&str, &Watching, Value)], more: &str) -> String {
    let entries: String = plugins
        .iter()
        .map(|(name, plugin, how)| {
            format!("  {name}: {}\n", plugin.entry(json!({ "messages": how })))
        })
        .collect();
    format!(
        "servers:\n  demo: {}\n{more}plugins:\n{entries}",
        demo_entry()
    )
}

fn messages(heard: &[Value]) -> Vec<&Value> {
    let messages = heard.iter().filter(|one| one["method"] == "handle-message");
    messages.map(|one| &one["params"]).collect()
}

/// Messages as text, by direction.
fn texts(heard: &[Value], direction: &str) -> Vec<String> {
    let messages = messages(heard);
    let way = messages
        .iter()
        .filter(|message| message["direction"] == direction);
    way.map(|message| message["data"].as_str().unwrap().to_owned())
        .collect()
}

/// Checks that every request has its answer under the same id, after it.
fn pairs(heard: &[Value]) -> usize {
    let mut open: BTreeMap<String, Value> = BTreeMap::new();
    let mut paired = 0;
    for message in messages(heard) {
        let correlation = message["correlation_id"].as_str().unwrap().to_owned();
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        if data.get("method").is_some() && data.get("id").is_some() {
            assert!(open.insert(correlation, data["id"].clone()).is_none());
        } else if data.get("method").is_none() {
            let asked = open.remove(&correlation);
            assert_eq!(asked.as_ref(), Some(&data["id"]), "{message}");
            paired += 1;
        }
    }
    assert!(open.is_empty(), "without an answer: {open:?}");
    paired
}

#[actix_rt::test]
async fn every_message_is_told_byte_for_byte_over_http() {
    let Some(kit) = Kit::find("messages") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let gateway = Gateway::start(&config(&[("monitor", &plugin, json!(true))], ""));
    let gateway = gateway.connected().await;
    // The modern era: odd blanks, an unknown member, a number that no float holds.
    let body = format!(
        "{{ \"jsonrpc\" : \"2.0\",\n \"id\":\"odd 1\", \"x\": 12345678901234567890123, \"method\":\"tools/call\", \"params\":{{\"name\":\"echo\",\"arguments\":{{\"text\":\"caf\\u00e9 ☕\"}},\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{MODERN}\",\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}} }}"
    );
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    let answer = wire::send(
        http::Method::POST,
        &gateway.endpoint(),
        &headers,
        body.clone(),
    )
    .await
    .unwrap();
    assert_eq!(answer.status, 200);
    let heard = plugin.until(|heard| messages(heard).len() == 2).await;
    assert_eq!(texts(&heard, "inbound"), [body]);
    assert_eq!(
        texts(&heard, "outbound"),
        [String::from_utf8(answer.body.to_vec()).unwrap()]
    );
    assert_eq!(pairs(&heard), 1);
    let record = gateway.records().pop().unwrap();
    assert_eq!(
        record["event_id"], heard[0]["params"]["correlation_id"],
        "it is the audit record's"
    );
    assert!(heard[0]["params"].get("session_id").is_none());

    // A session with a stream: everything that comes is told, in order.
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let call = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"slow_count","arguments":{"to":3,"delay_ms":5},"_meta":{"progressToken":"p"}}}"#;
    let events = legacy.stream(&serde_json::from_str(call).unwrap()).await;
    let sent: Vec<String> = events
        .rest()
        .await
        .into_iter()
        .map(|(event, _)| event.data)
        .collect();
    assert!(sent.len() > 1, "progress, then the answer");
    legacy.end().await;
    let closed = |heard: &[Value]| {
        heard.iter().any(|one| {
            one["method"] == "handle-stream-event"
                && one["params"]["type"] == "end"
                && one["params"]["data"]["stream"] == "session"
        })
    };
    let heard = plugin.until(closed).await;
    let outbound = texts(&heard, "outbound");
    assert!(outbound.ends_with(&sent), "{outbound:?} {sent:?}");
    assert_eq!(pairs(&heard), 3, "the modern call, initialize and the call");
    let start = heard
        .iter()
        .find(|one| one["method"] == "handle-stream-event")
        .unwrap();
    assert_eq!(
        (&start["params"]["type"], &start["params"]["data"]["stream"]),
        (&json!("start"), &json!("session"))
    );
    let session = start["params"]["session_id"].as_str().unwrap();
    let last = messages(&heard).pop().unwrap().clone();
    assert_eq!(last["session_id"], session);
    let outcome = r#"weir_plugin_messages_total{outcome="delivered",plugin="monitor"}"#;
    assert!(gateway.metric(outcome).await >= 8.0);
    let shown = wire::get(&format!("{}/plugins", gateway.admin))
        .await
        .unwrap()
        .json();
    assert!(
        shown[0]["messages"]["delivered"].as_u64().unwrap() >= 8,
        "{shown}"
    );
    assert_eq!(shown[0]["messages"]["dropped"], 0);
}

#[actix_rt::test]
async fn sessions_of_the_python_client_pair_up_on_each_face() {
    let Some(kit) = Kit::find("messages") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let gateway = Gateway::start(&config(
        &[("monitor", &plugin, json!(true))],
        "http: { sse: true }\n",
    ));
    let gateway = gateway.connected().await;
    let mut before = 0;
    for (mode, transport, url, requests) in [
        ("legacy", "http", gateway.endpoint(), 3),
        (MODERN, "http", gateway.endpoint(), 2),
        ("legacy", "sse", format!("{}/sse", gateway.base), 3),
    ] {
        let plan = json!({ "url": url, "transport": transport, "mode": mode, "headers": {}, "calls": [["echo", { "text": "hello" }]] });
        let done = Process::run_with_input(
            "client",
            kit.python("client.py"),
            &plan.to_string(),
            Duration::from_secs(60),
        );
        assert!(done.status.success(), "{mode} {url}: {}", done.output);
        let heard = plugin
            .until(|heard| {
                let outbound = texts(heard, "outbound");
                outbound
                    .iter()
                    .filter(|text| text.contains("\"result\""))
                    .count()
                    >= before + requests
            })
            .await;
        let paired = pairs(&heard);
        assert!(paired >= before + requests, "{mode} {url}: {paired}");
        before = paired;
    }
}

#[actix_rt::test]
async fn what_is_said_on_pipes_is_told_too() {
    let Some(kit) = Kit::find("messages") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let mut pipes = Pipes::start(&config(&[("monitor", &plugin, json!(true))], ""));
    pipes.shake_hands("2025-11-25");
    pipes.ask(1, "tools/list", json!({}));
    let line = modern(2, "tools/list", json!({})).to_string();
    pipes.write(&line);
    pipes.answer(2);
    let heard = plugin.until(|heard| messages(heard).len() >= 7).await;
    assert!(texts(&heard, "inbound").contains(&line));
    let said = pipes.said();
    for text in texts(&heard, "outbound") {
        assert!(said.contains(&text), "{text} is not in {said:?}");
    }
    assert_eq!(pairs(&heard), 3);
}

#[actix_rt::test]
async fn a_server_that_fails_is_told_of_once() {
    let Some(kit) = Kit::find("messages") else {
        return;
    };
    let plugin = Watching::start(&kit, 0.0);
    let nobody = support::upstream::free_port();
    let text = format!(
        "servers:\n  gone: {{ type: http, url: 'http://127.0.0.1:{nobody}/mcp', protocol: modern }}\n  slow: {}\nplugins:\n  monitor: {}\nlimits: {{ deadline: 300ms }}\n",
        demo_entry(),
        plugin.entry(json!({ "messages": true })),
    );
    let gateway = Gateway::start(&text);
    let client = ModernClient::new(gateway.endpoint_of("slow"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while client
        .call("echo", json!({ "text": "x" }))
        .await
        .code()
        .is_some()
    {
        assert!(Instant::now() < deadline, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let errors = |heard: &[Value]| -> Vec<Value> {
        let errors = heard.iter().filter(|one| one["method"] == "handle-error");
        errors.map(|one| one["params"].clone()).collect()
    };
    let before = errors(&plugin.heard().await).len();
    let slow = client
        .call("slow_count", json!({ "to": 100, "delay_ms": 100 }))
        .await;
    assert_eq!(slow.code(), Some(504));
    let heard = plugin.until(|heard| errors(heard).len() > before).await;
    // An answer of the server that is an error is none of its failures.
    let wrong = client.call("echo", json!({})).await;
    assert!(wrong.code().is_some() || wrong.result()["isError"] == true);
    let errors = errors(&heard);
    assert_eq!(errors.len(), before + 1);
    assert_eq!(errors[before]["error_type"], "upstream_timeout");
    let correlation = &errors[before]["correlation_id"];
    let about = messages(&heard)
        .into_iter()
        .filter(|message| message["correlation_id"] == *correlation);
    assert_eq!(about.count(), 2, "the request and its answer");
}

#[actix_rt::test]
async fn a_sleeping_plugin_and_a_dead_one_hold_nobody_up() {
    let Some(kit) = Kit::find("messages") else {
        return;
    };
    let (sleeping, quick) = (Watching::start(&kit, 0.2), Watching::start(&kit, 0.0));
    let mut dead = Watching::start(&kit, 0.0);
    let plugins = [
        ("sleeping", &sleeping, json!(true)),
        ("quick", &quick, json!(true)),
        ("dead", &dead, json!({ "queue": 8, "timeout": "100ms" })),
    ];
    let gateway = Gateway::start(&config(&plugins, "")).connected().await;
    dead.kill();
    let client = ModernClient::new(gateway.endpoint());
    client.call("echo", json!({ "text": "warm" })).await.text();
    let began = Instant::now();
    for number in 0..20 {
        assert_eq!(
            client
                .call("echo", json!({ "text": number.to_string() }))
                .await
                .text(),
            number.to_string()
        );
    }
    let took = began.elapsed();
    let heard = quick.until(|heard| messages(heard).len() == 42).await;
    println!(
        "20 calls in {took:?}; all told to the quick one after {:?}",
        began.elapsed()
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(pairs(&heard), 21);
    assert!(sleeping.heard().await.len() < 42, "it is still at it");
    let counted = |outcome: &str| {
        format!(r#"weir_plugin_messages_total{{outcome="{outcome}",plugin="dead"}}"#)
    };
    let lost = gateway.metric(&counted("failed")).await + gateway.metric(&counted("dropped")).await;
    assert!(lost > 0.0);
    let heard = sleeping.until(|heard| messages(heard).len() == 42).await;
    assert_eq!(pairs(&heard), 21);
}
