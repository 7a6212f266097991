//! A legacy client that loses its connection loses nothing: it reads on in the stream that it names, and in no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::events::Events;
use support::gateway::Gateway;
use support::legacy_server::{LegacyServer, Reply, Seen, Step, event, event_as};
use support::mcp::{LEGACY, LegacyClient};
use support::upstream::demo_entry;
use tokio::sync::Semaphore;

fn call(id: &str, tool: &str) -> Value {
    let params =
        json!({ "name": tool, "arguments": { "text": id }, "_meta": { "progressToken": id } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

fn progress(seen: &Seen, how_far: u64) -> Value {
    let token = &seen.body["params"]["_meta"]["progressToken"];
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": how_far } })
}

fn log_line(text: &str) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": text } })
}

/// A server whose tools say how far they are, and answer when `gate` lets them.
async fn slow(gate: &Arc<Semaphore>) -> LegacyServer {
    let gate = gate.clone();
    LegacyServer::start(LEGACY, move |seen| {
        (seen.method() == "tools/call").then(|| {
            let text = seen.body["params"]["arguments"]["text"]
                .as_str()
                .unwrap_or("?");
            let steps = vec![
                event(&progress(seen, 1)),
                Step::Wait(gate.clone()),
                event(&seen.says(text)),
            ];
            Reply::Events(steps)
        })
    })
    .await
}

async fn gateway(upstream: &LegacyServer, more: &str) -> Gateway {
    let yaml = format!("servers:\n  up: {}\n{more}", upstream.entry());
    Gateway::start(&yaml).connected().await
}

async fn connect(gateway: &Gateway, version: &str) -> LegacyClient {
    LegacyClient::connect_as(gateway.endpoint(), &[], version, json!({}))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_client_that_was_cut_off_gets_its_answer() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = slow(&gate).await;
    let gateway = gateway(&upstream, "").await;
    let client = connect(&gateway, LEGACY).await;

    let mut stream = client.stream(&call("mine", "one")).await;
    let primer = stream.next().await.unwrap();
    assert!(
        primer.data.is_empty() && primer.retry.is_some(),
        "{primer:?}"
    );
    let start = primer.id.unwrap();
    let (heard, message) = stream.message().await.unwrap();
    assert_eq!(message["params"]["progress"], 1, "{message}");
    let heard = heard.id.unwrap();
    drop(stream);

    // It asks before the answer is there, and is cut off again.
    let mut again = client.listen(Some(&start)).await;
    assert!(again.status == 200 && again.is_stream());
    let (event, message) = again.message().await.unwrap();
    assert_eq!(
        (event.id.as_ref(), &message["params"]["progress"]),
        (Some(&heard), &json!(1))
    );
    drop(again);

    let waiting = tokio::spawn({
        let (client, heard) = (client.clone(), heard.clone());
        async move { client.listen(Some(&heard)).await.rest().await }
    });
    gate.add_permits(1);
    let rest = waiting.await.unwrap();
    let [(last, answer)] = rest.as_slice() else {
        panic!("the answer and nothing else: {rest:?}")
    };
    assert_eq!(answer["id"], "mine");
    assert_eq!(answer["result"]["content"][0]["text"], "mine");
    // What was read can be read again, what is over ends.
    let whole = client.listen(Some(&start)).await.rest().await;
    assert_eq!(whole.len(), 2, "{whole:?}");
    let nothing = client.listen(last.id.as_deref()).await.rest().await;
    assert!(nothing.is_empty(), "{nothing:?}");
    // A lost connection is no cancellation.
    let cancelled = |seen: &Seen| seen.method() == "notifications/cancelled";
    assert!(!upstream.seen().iter().any(cancelled));
    assert_eq!(
        upstream
            .seen()
            .iter()
            .filter(|seen| seen.tool() == "one")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_call_that_takes_long_can_be_resumed_before_anything_was_said() {
    let gateway = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
        .connected()
        .await;
    let client = connect(&gateway, LEGACY).await;
    let params = json!({ "name": "slow_count", "arguments": { "to": 2, "delay_ms": 1500 } });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let mut stream = client.stream(&request).await;
    let primer = stream.next().await.unwrap();
    assert!(primer.data.is_empty(), "{primer:?}");
    drop(stream);
    let rest = client.listen(primer.id.as_deref()).await.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].1["result"].is_object(), "{rest:?}");
}

#[tokio::test]
async fn streams_are_told_apart() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = slow(&gate).await;
    let gateway = gateway(&upstream, "").await;
    let client = connect(&gateway, LEGACY).await;
    let mut ids = Vec::new();
    let mut starts = Vec::new();
    for name in ["a", "b", "c"] {
        let mut stream = client.stream(&call(name, "one")).await;
        let primer = stream.next().await.unwrap().id.unwrap();
        let (event, _) = stream.message().await.unwrap();
        ids.extend([primer.clone(), event.id.unwrap()]);
        starts.push((name, primer));
    }
    let mut standalone = client.listen(None).await;
    ids.push(standalone.next().await.unwrap().id.unwrap());
    ids.sort();
    let before = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), before, "ids are unique in the session: {ids:?}");

    gate.add_permits(3);
    for (name, start) in &starts {
        let messages = client.listen(Some(start)).await.rest().await;
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(messages[0].1["params"]["progressToken"], *name);
        assert_eq!(messages[1].1["id"], *name);
    }
    // Another session's id is like one that nobody has given out, and so is one of the session's own future.
    let other = connect(&gateway, LEGACY).await;
    let (stream, _) = starts[0].1.rsplit_once('.').unwrap();
    let future = format!("{stream}.99");
    let mut texts = Vec::new();
    for (client, id) in [
        (&other, starts[0].1.as_str()),
        (&other, "nonsense"),
        (&client, "00000000-1.0"),
        (&client, &future),
        (&client, ""),
        (&client, &"9".repeat(5000)),
    ] {
        let refused = client.listen(Some(id)).await;
        assert_eq!(refused.status, 400, "{id}");
        texts.push(refused.json().await.to_string());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("-32600"), "{texts:?}");
    // Nobody's session has suffered.
    assert_eq!(
        client.listen(Some(&starts[1].1)).await.rest().await.len(),
        2
    );
    drop(standalone);
}

#[tokio::test]
async fn older_clients_are_not_primed() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = slow(&gate).await;
    let gateway = gateway(&upstream, "").await;
    for version in ["2025-03-26", "2025-06-18"] {
        let client = connect(&gateway, version).await;
        let mut stream = client.stream(&call("mine", "one")).await;
        let first = stream.next().await.unwrap();
        assert!(!first.data.is_empty() && first.retry.is_none(), "{first:?}");
        drop(stream);
        gate.add_permits(1);
        let rest = client.listen(first.id.as_deref()).await.rest().await;
        assert_eq!(rest.len(), 1, "{version}: {rest:?}");
        assert_eq!(rest[0].1["id"], "mine");
    }
}

/// A client's standalone stream, and not the one on which the gateway itself listens for changed lists.
fn listens(seen: &Seen) -> bool {
    seen.verb == "GET" && seen.header("mcp-session-id") != Some("s1")
}

/// A server that says a line on its standalone stream for every permit, and then is silent.
async fn talkative(gate: &Arc<Semaphore>, line: impl Fn(usize) -> String) -> LegacyServer {
    let mut steps = Vec::new();
    for number in 0..200 {
        steps.extend([Step::Wait(gate.clone()), event(&log_line(&line(number)))]);
    }
    steps.push(Step::Hang);
    LegacyServer::start(LEGACY, move |seen| {
        listens(seen).then(|| Reply::Events(steps.clone()))
    })
    .await
}

#[tokio::test]
async fn what_is_said_while_nobody_listens_is_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = talkative(&gate, |number| number.to_string()).await;
    let gateway = gateway(&upstream, "").await;
    let client = connect(&gateway, LEGACY).await;

    let mut stream = client.listen(None).await;
    let primer = stream.next().await.unwrap();
    assert!(primer.data.is_empty() && primer.id.is_some(), "{primer:?}");
    gate.add_permits(2);
    let mut last = None;
    for number in 0..2 {
        let (event, message) = stream.message().await.unwrap();
        assert_eq!(message["params"]["data"], number.to_string());
        last = event.id;
    }
    drop(stream);
    gate.add_permits(3);
    let mut stream = client.listen(last.as_deref()).await;
    for number in 2..5 {
        let (event, message) = stream.message().await.unwrap();
        assert_eq!(message["params"]["data"], number.to_string());
        last = event.id;
    }
    // It goes on in the new connection.
    gate.add_permits(1);
    assert_eq!(stream.message().await.unwrap().1["params"]["data"], "5");
    // A newer reader takes over; the old connection ends.
    let mut newer = client.listen(last.as_deref()).await;
    assert_eq!(newer.message().await.unwrap().1["params"]["data"], "5");
    assert!(stream.next().await.is_none());
    // One that begins anew has the stream for itself.
    let mut anew = client.listen(None).await;
    assert!(anew.next().await.unwrap().data.is_empty());
    assert!(newer.next().await.is_none());
    upstream.has_seen(2, listens).await;
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = talkative(&gate, |number| format!("{number}:{}", "x".repeat(500))).await;
    let limits = "limits: { replay_stream_bytes: 5000 }\n";
    let gateway = gateway(&upstream, limits).await;
    let client = connect(&gateway, LEGACY).await;
    let mut stream = client.listen(None).await;
    let start = stream.next().await.unwrap().id.unwrap();
    gate.add_permits(1);
    let first = stream.message().await.unwrap().0.id.unwrap();
    drop(stream);
    gate.add_permits(50);
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = loop {
        let answer = client.listen(Some(&first)).await;
        if answer.status == 400 || Instant::now() > deadline {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(refused.status, 400);
    let text = refused.json().await.to_string();
    assert!(text.contains("Last-Event-ID"), "{text}");
    assert_eq!(client.listen(Some(&start)).await.status, 400);
    // The session goes on, and so does a stream that begins anew.
    client
        .call("echo", json!({ "text": "hello" }))
        .await
        .result();
    let mut anew = client.listen(None).await;
    assert!(anew.next().await.unwrap().data.is_empty());
}

#[tokio::test]
async fn a_server_that_closes_the_stream_of_its_answer_is_asked_for_the_rest() {
    let asked = Mutex::new(Value::Null);
    let upstream = LegacyServer::start(LEGACY, move |seen| {
        let primed = |id: &str| Step::Send(format!("id: {id}\nretry: 20\ndata: \n\n"));
        match (seen.tool(), seen.header("last-event-id")) {
            ("one", _) => {
                *asked.lock().unwrap() = seen.body["id"].clone();
                let early = event_as("up.1", &progress(seen, 1));
                Some(Reply::Events(vec![primed("up.0"), early]))
            }
            ("two", _) => Some(Reply::Events(vec![primed("two.0")])),
            // No id: nothing can be asked for.
            ("three", _) => Some(Reply::Events(vec![event(&progress(seen, 1))])),
            (_, Some("up.1")) => {
                let between = event_as("up.2", &log_line("between"));
                Some(Reply::Events(vec![between]))
            }
            (_, Some("up.2")) => {
                let id = asked.lock().unwrap().clone();
                let answer = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } });
                Some(Reply::Events(vec![event(&answer)]))
            }
            (_, Some("two.0")) => Some(Reply::Json(405, Value::Null)),
            _ => None,
        }
    })
    .await;
    let gateway = gateway(&upstream, "").await;
    let client = connect(&gateway, LEGACY).await;

    let messages = client.stream(&call("mine", "one")).await.rest().await;
    let [(_, early), (_, between), (_, answer)] = messages.as_slice() else {
        panic!("three messages: {messages:?}")
    };
    assert_eq!(early["params"]["progress"], 1);
    assert_eq!(between["params"]["data"], "between");
    assert_eq!(
        (&answer["id"], answer["result"].is_object()),
        (&json!("mine"), true)
    );
    let calls = upstream.has_seen(1, |seen| seen.tool() == "one").await;
    let resumed = upstream
        .has_seen(2, |seen| seen.header("last-event-id").is_some())
        .await;
    let session = calls[0].header("mcp-session-id");
    assert!(
        resumed
            .iter()
            .all(|seen| seen.header("mcp-session-id") == session)
    );

    for tool in ["two", "three"] {
        let messages = client.stream(&call("mine", tool)).await.rest().await;
        let answer = &messages.last().unwrap().1;
        assert_eq!(
            answer["error"]["code"], 502,
            "never an empty success: {answer}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_nobody_up() {
    let line = "y".repeat(1000);
    let upstream = LegacyServer::start(LEGACY, move |seen| {
        let Step::Send(text) = event(&log_line(&line)) else {
            return None;
        };
        listens(seen).then(|| Reply::Events(vec![Step::Flood(text)]))
    })
    .await;
    let gateway = gateway(&upstream, "").await;
    let client = connect(&gateway, LEGACY).await;
    let unread: Events = client.listen(None).await;
    upstream.has_seen(1, listens).await;
    for round in 0..20 {
        let began = Instant::now();
        let text = client
            .call("echo", json!({ "text": round.to_string() }))
            .await
            .text();
        assert_eq!(text, round.to_string());
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    drop(unread);
    drop(gateway);
}
