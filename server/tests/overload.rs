//! Too much for a server, and a server that is not there: quick refusals, nobody else disturbed, nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::mcp::ModernClient;
use support::scratch::Scratch;
use support::scripted::Scripted;
use support::wire::{self, Answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that a test waits for something that should happen at once.
const SOON: Duration = Duration::from_secs(15);

async fn call(client: &ModernClient, tool: &str, arguments: Value) -> (Answer, Duration) {
    let sent = Instant::now();
    let params = json!({ "name": tool, "arguments": arguments });
    let answer = client.answer("tools/call", params).await.unwrap();
    (answer, sent.elapsed())
}

/// Checks a refusal of overload.
fn refused(answer: &Answer, reason: &str) {
    let body = answer.json();
    let error = &body["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (503, &503.into()),
        "{answer:?}"
    );
    assert_eq!(error["data"]["reason"], reason, "{answer:?}");
    assert_eq!(error["data"]["retryable"], true, "{answer:?}");
    let after = error["data"]["retry_after_ms"].as_u64().unwrap();
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(seconds, after.div_ceil(1_000), "{answer:?}");
}

async fn page(gateway: &Gateway, path: &str) -> Value {
    let answer = wire::get(&format!("{}{path}", gateway.admin))
        .await
        .unwrap();
    answer.json()
}

async fn upstream(gateway: &Gateway, name: &str) -> Value {
    let servers = page(gateway, "/upstreams").await;
    let servers = servers.as_array().unwrap();
    servers
        .iter()
        .find(|server| server["name"] == name)
        .unwrap()
        .clone()
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_server_has_so_many_calls_and_a_short_line_before_it() {
    let (slow, quick) = (Scripted::start().await, Scripted::start().await);
    let gateway = Gateway::start(&format!(
        "servers:\n  slow: {}\n  quick: {}\n",
        slow.entry(json!({ "max_in_flight": 4 })),
        quick.entry(json!({})),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    let all = join_all((0..40).map(|number| {
        let client = &client;
        async move {
            // First those that run, then the rest.
            if number >= 4 {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            call(client, "slow__sleep", json!({ "ms": 3_000 })).await
        }
    }));
    let others = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        for _ in 0..20 {
            assert_eq!(call(&client, "quick__echo", json!({})).await.0.status, 200);
        }
    };
    let (answers, ()) = tokio::join!(all, others);
    assert_eq!(slow.most(), 4, "no more than four at once");
    let (served, shed): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(answer, _)| answer.status == 200);
    assert_eq!((served.len(), slow.calls()), (4, 4));
    assert_eq!(shed.len(), 36);
    for (answer, _) in &shed {
        refused(answer, "upstream_queue");
    }
    // Eight stood in line for a tenth of a second, the others were told at once.
    let mut waits: Vec<_> = shed.iter().map(|(_, wait)| *wait).collect();
    waits.sort();
    let waited = waits
        .iter()
        .filter(|wait| **wait >= Duration::from_millis(95))
        .count();
    assert!(waited >= 8, "{waits:?}");
    assert!(waits[waits.len() - 1] < Duration::from_secs(2), "{waits:?}");
    let slow = upstream(&gateway, "slow").await;
    assert_eq!(
        (&slow["in_flight"], &slow["waiting"]),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn a_hanging_server_costs_its_callers_their_deadline_and_then_nothing() {
    let (ill, well) = (Scripted::start().await, Scripted::start().await);
    let folder = Scratch::new("circuit");
    let path = folder.path().join("audit.jsonl");
    let gateway = Gateway::start(&format!(
        "servers:\n  ill: {}\n  well: {}\naudit: {}\n",
        ill.entry(json!({ "deadline": "500ms" })),
        well.entry(json!({})),
        json!({ "sink": "file", "path": path }),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    ill.hang(true);
    let begun = Instant::now();
    let mut times = Vec::new();
    for _ in 0..5 {
        let (answer, time) = call(&client, "ill__echo", json!({})).await;
        assert_eq!(answer.status, 504, "{answer:?}");
        assert_eq!(answer.json()["error"]["data"]["reason"], "upstream_timeout");
        assert_eq!(call(&client, "well__echo", json!({})).await.0.status, 200);
        times.push(time);
    }
    assert!(
        times.iter().all(|time| *time >= Duration::from_millis(500)),
        "{times:?}"
    );
    // A busy machine may be late now and then, but not always.
    assert!(
        times.iter().any(|time| *time <= Duration::from_millis(700)),
        "{times:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
    until("calls are given up at the server", async || {
        ill.cut_off() == 5
    })
    .await;

    let (answer, time) = call(&client, "ill__echo", json!({})).await;
    refused(&answer, "circuit_open");
    assert!(time < Duration::from_millis(450), "{time:?}");
    assert_eq!(ill.calls(), 5, "it is left alone");
    assert_eq!(upstream(&gateway, "ill").await["circuit"]["state"], "open");
    assert_eq!(
        upstream(&gateway, "well").await["circuit"]["state"],
        "closed"
    );
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("weir_upstream_circuit{server=\"ill\"} 1"),
        "{metrics}"
    );

    // It is tried again, in vain, and left alone for longer; then it works, and one call finds out.
    until("a trial", async || {
        call(&client, "ill__echo", json!({})).await;
        ill.calls() == 6
    })
    .await;
    ill.hang(false);
    until("it works again", async || {
        call(&client, "ill__echo", json!({})).await.0.status == 200
    })
    .await;
    assert_eq!(
        upstream(&gateway, "ill").await["circuit"]["state"],
        "closed"
    );
    for _ in 0..10 {
        assert_eq!(call(&client, "ill__echo", json!({})).await.0.status, 200);
    }
    let recorded = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let count = |word: &str| {
            text.matches(&format!("\"event_type\":\"circuit.{word}\""))
                .count()
        };
        (count("open"), count("closed"))
    };
    until("it is recorded", async || recorded() == (2, 1)).await;
}

#[tokio::test]
async fn half_of_the_calls_is_too_many_to_fail() {
    let server = Scripted::start().await;
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", server.entry(json!({}))))
        .connected()
        .await;
    let client = ModernClient::new(gateway.endpoint());
    // Half of twenty calls are cut: not in a row, but too many.
    let mut open = 0;
    for number in 0..24 {
        let tool = if number % 2 == 0 { "echo" } else { "cut" };
        let (answer, _) = call(&client, tool, json!({})).await;
        let reason = answer.json()["error"]["data"]["reason"].clone();
        match (number, answer.status) {
            (0..20, 200) => assert_eq!(tool, "echo"),
            (0..20, 503) => assert_eq!(reason, "upstream_restarting", "{answer:?}"),
            (_, 503) => open += usize::from(reason == "circuit_open"),
            _ => panic!("{number}: {answer:?}"),
        }
    }
    assert_eq!(open, 4);
}

#[tokio::test]
async fn everything_that_was_taken_is_given_back() {
    let server = Scripted::start().await;
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\nlimits: {{ upstream: {{ max_wait: 5s }}, rules: [{{ name: t, tools: [\"*\"], in_flight: 60 }}] }}\n",
        server.entry(json!({ "max_in_flight": 2 })),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    let hung = || {
        let client = client.clone();
        tokio::spawn(async move { call(&client, "hang", json!({})).await })
    };
    let running = [hung(), hung()];
    until("two run", async || server.running() == 2).await;
    let waiting = [hung(), hung(), hung()];
    until("three wait", async || {
        upstream(&gateway, "up").await["waiting"] == 3
    })
    .await;
    let flood = {
        let client = client.clone();
        tokio::spawn(async move { call(&client, "flood", json!({ "bytes": 1_000 })).await })
    };
    until("four wait", async || {
        upstream(&gateway, "up").await["waiting"] == 4
    })
    .await;
    // One after the other they go away: in line, under way, in the middle of their answer.
    for one in &waiting {
        one.abort();
    }
    until("one waits", async || {
        upstream(&gateway, "up").await["waiting"] == 1
    })
    .await;
    for one in &running {
        one.abort();
    }
    until("two are given up", async || server.cut_off() == 2).await;
    until("the flood runs", async || server.calls() == 3).await;
    flood.abort();
    until("nothing runs", async || server.running() == 0).await;
    until("nothing is taken", async || {
        let up = upstream(&gateway, "up").await;
        let permits = page(&gateway, "/permits").await;
        up["in_flight"] == 0 && up["waiting"] == 0 && permits["requests"]["taken"] == 0
    })
    .await;
    // That clients went away says nothing against the server.
    assert_eq!(upstream(&gateway, "up").await["circuit"]["state"], "closed");
    let all = join_all((0..20).map(|_| call(&client, "echo", json!({})))).await;
    assert!(
        all.iter()
            .all(|(answer, _)| answer.status == 200 || answer.status == 503)
    );
    assert_eq!(call(&client, "echo", json!({})).await.0.status, 200);
}

#[tokio::test]
async fn only_what_the_operator_calls_harmless_is_sent_twice() {
    let (one, other) = (Scripted::start().await, Scripted::start().await);
    let gateway = Gateway::start(&format!(
        "servers:\n  one: {}\n  other: {}\n",
        one.entry(json!({ "idempotent": ["cu?"] })),
        other.entry(json!({ "idempotent": ["echo"] })),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    for (name, server, calls) in [("one", &one, 2), ("other", &other, 1)] {
        let (answer, _) = call(&client, &format!("{name}__cut"), json!({})).await;
        assert_eq!(
            answer.json()["error"]["data"]["reason"],
            "upstream_restarting",
            "{answer:?}"
        );
        assert_eq!(server.calls(), calls, "{name}");
    }
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = "weir_upstream_retries_total{result=\"sent\",server=\"one\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn an_answer_is_cut_off_where_it_gets_too_large() {
    let server = Scripted::start().await;
    let entry = server.entry(json!({ "max_answer_bytes": 100_000 }));
    let gateway = Gateway::start(&format!("servers:\n  up: {entry}\n"))
        .connected()
        .await;
    let client = ModernClient::new(gateway.endpoint());
    assert_eq!(
        call(&client, "blob", json!({ "bytes": 90_000 }))
            .await
            .0
            .status,
        200
    );
    let (answer, _) = call(&client, "blob", json!({ "bytes": 110_000 })).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&502.into(), &"answer_too_large".into())
    );
    // Many small events are one answer too; the error is the last of them.
    let (answer, _) = call(&client, "flood", json!({ "bytes": 1_000 })).await;
    assert_eq!(answer.status, 200);
    let messages = answer.messages();
    assert!((80..110).contains(&messages.len()), "{}", messages.len());
    let last = messages.last().unwrap();
    assert_eq!(
        last["error"]["data"]["reason"], "answer_too_large",
        "{last}"
    );
    until("the server is told", async || server.cut_off() == 1).await;
}

#[tokio::test]
async fn without_memory_nothing_new_is_begun_but_health_is_told() {
    let server = Scripted::start().await;
    let folder = Scratch::new("memory");
    let path = folder.path().join("audit.jsonl");
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\nlimits: {{ max_memory_bytes: 1048576 }}\naudit: {}\n",
        server.entry(json!({})),
        json!({ "sink": "file", "path": path }),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    for _ in 0..30 {
        let (answer, _) = call(&client, "echo", json!({})).await;
        refused(&answer, "memory");
        assert_eq!(answer.header("connection"), "close");
    }
    let accept = [("accept", "text/event-stream")];
    let answer = wire::send(Method::GET, &gateway.endpoint(), &accept, "")
        .await
        .unwrap();
    refused(&answer, "memory");
    assert_eq!(server.calls(), 0);
    for page in [
        format!("{}/health", gateway.base),
        format!("{}/ready", gateway.base),
        format!("{}/health", gateway.admin),
        format!("{}/metrics", gateway.admin),
        format!("{}/upstreams", gateway.admin),
    ] {
        assert_eq!(wire::get(&page).await.unwrap().status, 200, "{page}");
    }
    let counted = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let shed = events.filter(|event| event["event_type"] == "mcp.shed");
        shed.map(|event| {
            assert_eq!(
                (&event["reason"], &event["status"]),
                (&"memory".into(), &503.into())
            );
            assert_eq!(event["client_address"], "127.0.0.1");
            event["count"].as_u64().unwrap()
        })
        .sum::<u64>()
    };
    until("all are counted", async || counted() >= 31).await;
    assert_eq!(counted(), 31);
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_its_body_is_there() {
    let server = Scripted::start().await;
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\nlimits: {{ max_in_flight: 2 }}\n",
        server.entry(json!({})),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    let running: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "hang", json!({})).await })
        })
        .collect();
    until("two run", async || server.running() == 2).await;
    let authority = gateway.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: 100000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    let reading = stream.read_to_string(&mut text);
    tokio::time::timeout(SOON, reading).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(text.contains("\"reason\":\"in_flight\""), "{text}");
    for one in running {
        one.abort();
    }
    until("it serves again", async || {
        call(&client, "echo", json!({})).await.0.status == 200
    })
    .await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let gateway = Gateway::start("servers: {}\nlimits: { max_connections_per_address: 3 }\n");
    let authority = gateway.base.strip_prefix("http://").unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(authority).await.unwrap());
    }
    until("three are counted", async || {
        page(&gateway, "/permits").await["connections"]["taken"] == 3
    })
    .await;
    let mut fourth = TcpStream::connect(authority).await.unwrap();
    let mut text = String::new();
    let reading = fourth.read_to_string(&mut text);
    tokio::time::timeout(SOON, reading).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(
        text.contains("\"reason\":\"connections_of_address\""),
        "{text}"
    );
    assert!(
        text.to_ascii_lowercase().contains("retry-after: "),
        "{text}"
    );
    held.pop();
    until("there is room again", async || {
        matches!(wire::get(&format!("{}/health", gateway.base)).await, Ok(answer) if answer.status == 200)
    })
    .await;
    // Operators have a door of their own.
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("weir_shed_total{reason=\"connections_of_address\"} "),
        "{metrics}"
    );
}
