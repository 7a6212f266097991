//! Batches: clients of 2025-03-26 send several messages at once, and each is treated like one that came alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::legacy_server::{LegacyServer, Reply, Seen, Step, event};
use support::mcp::LegacyClient;
use support::scratch::Scratch;
use tokio::sync::Semaphore;

const BATCHES: &str = "2025-03-26";

fn call(id: impl Into<Value>, tool: &str, text: &str) -> Value {
    let params =
        json!({ "name": tool, "arguments": { "text": text }, "_meta": { "progressToken": text } });
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params })
}

fn ping(id: impl Into<Value>) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "ping" })
}

/// `one` says how far it is before it answers; the others answer at once.
async fn server() -> LegacyServer {
    LegacyServer::start("2025-11-25", |seen| {
        (seen.tool() == "one").then(|| {
            let token = &seen.body["params"]["_meta"]["progressToken"];
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": 1 } });
            Reply::Events(vec![event(&progress), event(&seen.says("one"))])
        })
    })
    .await
}

async fn connect(gateway: &Gateway, version: &str) -> LegacyClient {
    LegacyClient::connect_as(gateway.endpoint(), &[], version, json!({}))
        .await
        .unwrap()
}

#[tokio::test]
async fn every_request_of_a_batch_is_answered_in_one_array() {
    let scratch = Scratch::new("batch");
    let log = scratch.path().join("audit.jsonl");
    let upstream = server().await;
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\npolicy:\n  rules:\n    - {{ name: most, effect: allow }}\n    - {{ name: not-two, effect: deny, tools: [two] }}\naudit: {}\n",
        upstream.entry(),
        json!({ "sink": "file", "path": log }),
    ))
    .connected()
    .await;
    let client = connect(&gateway, BATCHES).await;
    let batch = json!([
        call("a", "echo", "first"),
        { "jsonrpc": "2.0", "method": "notifications/roots/list_changed" },
        ping(7),
        call(8, "echo", "second"),
        { "jsonrpc": "2.0", "id": "weir-99", "result": {} },
        call("denied", "two", "third"),
        call("nobody's", "nothing", "fourth"),
        { "jsonrpc": "2.0", "id": 9, "method": "tools/list" },
    ]);
    let answer = client.post(&batch).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let answers = answer.json();
    let answers = answers.as_array().unwrap();
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(
        ids,
        [
            &json!("a"),
            &json!(7),
            &json!(8),
            &json!("denied"),
            &json!("nobody's"),
            &json!(9)
        ]
    );
    assert_eq!(answers[0]["result"]["content"][0]["text"], "first");
    assert_eq!(answers[1]["result"], json!({}));
    assert_eq!(answers[2]["result"]["content"][0]["text"], "second");
    assert_eq!(answers[3]["error"]["code"], 403);
    assert_eq!(answers[4]["error"]["code"], -32602);
    assert!(answers[5]["result"]["tools"].is_array());
    assert!(!upstream.seen().iter().any(|seen| seen.tool() == "two"));

    // Each leaves a record of its own, and the batch one of itself.
    drop(gateway);
    let records = std::fs::read_to_string(&log).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |method: &str| {
        records
            .iter()
            .filter(|record| record["method"] == method)
            .count()
    };
    assert_eq!(
        (of("tools/call"), of("ping"), of("tools/list"), of("batch")),
        (4, 1, 1, 1)
    );
    let denied = records
        .iter()
        .find(|record| record["request_id"] == "\"denied\"")
        .unwrap();
    assert_eq!(denied["result"], "denied");
}

#[tokio::test]
async fn nothing_is_said_to_notifications_and_answers() {
    let upstream = server().await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry()))
        .connected()
        .await;
    let client = connect(&gateway, BATCHES).await;
    let answer = client
        .post(&json!([
            { "jsonrpc": "2.0", "method": "notifications/initialized" },
            { "jsonrpc": "2.0", "id": "weir-1", "result": {} },
            { "jsonrpc": "2.0", "id": 3, "error": { "code": 1, "message": "no" } },
        ]))
        .await;
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
}

#[tokio::test]
async fn what_is_said_on_the_way_makes_it_a_stream_that_can_be_resumed() {
    let upstream = server().await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry()))
        .connected()
        .await;
    let client = connect(&gateway, BATCHES).await;
    let batch = json!([
        ping(1),
        call(2, "one", "t2"),
        call(3, "echo", "plain"),
        call(4, "one", "t4")
    ]);
    let messages = client.stream(&batch).await.rest().await;
    let mut answered: Vec<u64> = messages
        .iter()
        .filter_map(|(_, message)| message["id"].as_u64())
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4], "{messages:?}");
    let tokens = messages
        .iter()
        .filter(|(_, message)| message["method"] == "notifications/progress")
        .count();
    assert_eq!(tokens, 2, "{messages:?}");
    // The events of one batch are one stream.
    let first = messages[0].0.id.clone().unwrap();
    let stream = |id: &str| id.rsplit_once('.').unwrap().0.to_owned();
    assert!(
        messages
            .iter()
            .all(|(event, _)| stream(event.id.as_deref().unwrap()) == stream(&first))
    );
    let rest = client.listen(Some(&first)).await.rest().await;
    let read = |messages: &[(support::events::Event, Value)]| -> Vec<Value> {
        messages
            .iter()
            .map(|(_, message)| message.clone())
            .collect()
    };
    assert_eq!(read(&rest), read(&messages[1..]));
}

#[tokio::test]
async fn what_is_no_batch_of_the_session_is_refused() {
    let upstream = server().await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", upstream.entry()))
        .connected()
        .await;
    let old = connect(&gateway, BATCHES).await;
    let initialize = json!({ "jsonrpc": "2.0", "id": 2, "method": "initialize", "params": { "protocolVersion": BATCHES, "capabilities": {} } });
    let many = |count: u64| Value::Array((0..count).map(ping).collect());
    let stranger = LegacyClient {
        session: "s".into(),
        ..old.clone()
    };
    let nobody = LegacyClient {
        session: String::new(),
        ..old.clone()
    };
    for (what, client, batch, status) in [
        ("empty", &old, json!([]), 400),
        ("initialize", &old, json!([ping(1), initialize]), 400),
        (
            "the same id twice",
            &old,
            json!([ping(1), ping("1"), ping(1)]),
            400,
        ),
        ("65 messages", &old, many(65), 400),
        ("101 messages", &old, many(101), 400),
        ("no message", &old, json!([ping(1), 7]), 400),
        ("no session", &nobody, many(2), 400),
        ("an unknown session", &stranger, many(2), 404),
    ] {
        let answer = client.post(&batch).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_i64()),
            (status, Some(-32600)),
            "{what}"
        );
    }
    assert_eq!(
        old.post(&many(64)).await.json().as_array().unwrap().len(),
        64
    );
    assert_eq!(
        old.post(&json!([ping(1), ping("1")]))
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for version in ["2025-06-18", "2025-11-25"] {
        let new = connect(&gateway, version).await;
        let mut unnamed = new.clone();
        unnamed.hello["protocolVersion"] = BATCHES.into();
        for client in [new, unnamed] {
            let answer = client.post(&many(2)).await;
            assert_eq!(
                (answer.status, answer.json()["error"]["code"].as_i64()),
                (400, Some(-32600)),
                "{version}"
            );
        }
    }
}

#[tokio::test]
async fn a_batch_takes_no_more_than_its_callers_share() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let upstream = LegacyServer::start("2025-11-25", move |seen| {
        (seen.tool() == "one")
            .then(|| Reply::Events(vec![Step::Wait(waiting.clone()), event(&seen.says("done"))]))
    })
    .await;
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\nlimits: {{ principal: {{ in_flight: 2 }} }}\n",
        upstream.entry()
    ))
    .connected()
    .await;
    let client = connect(&gateway, BATCHES).await;
    let calls: Vec<Value> = (0..6).map(|id| call(id, "one", "x")).collect();
    let answering = tokio::spawn({
        let client = client.clone();
        async move { client.post(&Value::Array(calls)).await.messages() }
    });
    let is_call = |seen: &Seen| seen.tool() == "one";
    for released in 0..6 {
        let expected = (released + 2).min(6);
        let seen = upstream.has_seen(expected, is_call).await.len();
        assert!(
            seen <= released + 2,
            "{seen} calls at the server, {released} were done"
        );
        gate.add_permits(1);
    }
    let messages = answering.await.unwrap();
    let answers = messages.iter().flat_map(|message| match message {
        Value::Array(answers) => answers.clone(),
        answer => vec![answer.clone()],
    });
    let done = answers
        .filter(|answer| answer["result"]["content"][0]["text"] == "done")
        .count();
    assert_eq!(done, 6, "{messages:?}");
    assert_eq!(client.request("ping", json!({})).await.result(), json!({}));
}
