//! Callers that want what is not theirs: other users' sessions, states and answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::mcp::{LegacyClient, ModernClient, Outcome};
use support::raw::{self, Raw};
use support::site::Site;
use support::upstream::demo_entry;
use support::wire;
use weir_actors::builtin::api_keys::hash_key;

/// The key of a user; long enough to be taken for a random one.
fn key(user: &str) -> String {
    format!("weir_{user}_0123456789abcdef0123456789abcdef0123456789abcdef")
}

/// The `auth:` block that knows these users, each in a tenant of their own.
fn keys(users: &[&str]) -> String {
    let keys = users.iter().map(|user| {
        json!({ "id": user, "hash": hash_key(&key(user)), "user": user, "tenant": format!("tenant-{user}") })
    });
    let keys: Vec<Value> = keys.collect();
    let auth = json!({ "resource": "http://127.0.0.1/mcp", "providers": [{ "type": "api-keys", "keys": keys }] });
    format!("auth: {auth}\n")
}

async fn gateway(site: &Site, more: &str) -> Gateway {
    let yaml = format!("servers:\n  up: {}\n{more}", site.entry());
    Gateway::start(&yaml).connected().await
}

#[tokio::test]
async fn whoever_shows_nothing_good_gets_a_challenge_at_once() {
    let site = Site::start();
    let gateway = gateway(&site, &keys(&["alice"])).await;
    let long = "x".repeat(16 * 1024);
    let almost = &key("alice")[1..];
    for token in [
        None,
        Some("junk"),
        Some(""),
        Some(almost),
        Some(&long),
        Some("a.b.c"),
        Some("é"),
    ] {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let mut client = ModernClient::new(gateway.endpoint());
            if let Some(token) = token {
                client = client.bearer(token);
            }
            let began = Instant::now();
            let answer = client
                .answer("tools/call", json!({ "name": "echo" }))
                .await
                .unwrap();
            fastest = fastest.min(began.elapsed());
            assert_eq!(answer.status, 401, "{token:?}: {answer:?}");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("resource_metadata="), "{challenge}");
        }
        assert!(
            fastest < Duration::from_millis(50),
            "{token:?}: {fastest:?} at best"
        );
    }
    // Two credentials are none: which of them counts is not for us to guess.
    let both = ModernClient::new(gateway.endpoint())
        .bearer(&key("alice"))
        .bearer(&key("alice"));
    assert!(matches!(
        both.call("echo", json!({})).await,
        Outcome::Error { status: 401, .. }
    ));
    assert!(site.calls().is_empty());
    let alice = ModernClient::new(gateway.endpoint()).bearer(&key("alice"));
    assert_eq!(
        alice.call("echo", json!({ "text": "hello" })).await.text(),
        "hello"
    );
}

#[tokio::test]
async fn a_server_sees_nothing_of_what_the_client_brought() {
    let site = Site::start();
    let gateway = gateway(&site, &keys(&["alice"])).await;
    let canary = "canary-5f0c";
    let body = raw::call_body("echo", json!({ "text": "hello" }));
    let mut lines = raw::call_lines("echo").to_vec();
    lines.extend([
        format!("Authorization: Bearer {}", key("alice")),
        format!("Cookie: session={canary}"),
        format!("X-Weir-User: {canary}"),
        format!("Weir-Tenant: {canary}"),
        format!("X-Forwarded-For: {canary}"),
        format!("X-Forwarded-User: {canary}"),
        format!("Forwarded: for={canary}"),
        format!("X-Real-IP: {canary}"),
        format!("Proxy-Authorization: Basic {canary}"),
        "Connection: keep-alive, X-Hop".to_owned(),
        format!("X-Hop: {canary}"),
        "Keep-Alive: timeout=5".to_owned(),
        "TE: trailers".to_owned(),
        format!("Mcp-Session-Id: {canary}"),
        format!("Last-Event-ID: {canary}"),
        format!("X-Anything: {canary}"),
        format!("User-Agent: {canary}"),
        format!("Origin: http://localhost:{}", 1),
        format!("Content-Length: {}", body.len()),
    ]);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut client = Raw::connect(&gateway.base).await;
    client
        .write(raw::head("POST /mcp HTTP/1.1", &lines) + &body)
        .await;
    let heard = client.answer().await;
    assert_eq!(heard.status(), 200, "{heard:?}");
    let calls = site.calls();
    assert_eq!(calls.len(), 1);
    let allowed = [
        "host",
        "content-length",
        "content-type",
        "accept",
        "user-agent",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "traceparent",
        "tracestate",
    ];
    for (name, value) in &calls[0].headers {
        assert!(allowed.contains(&name.as_str()), "{name}: {value}");
        assert!(
            !value.contains(canary) && !value.contains("alice"),
            "{name}: {value}"
        );
    }
    assert!(!calls[0].message.to_string().contains(canary));
}

#[tokio::test]
async fn a_session_is_not_guessed_nor_taken_over() {
    let yaml = format!(
        "servers:\n  demo: {}\n{}",
        demo_entry(),
        keys(&["alice", "bob"])
    );
    let gateway = Gateway::start(&yaml).connected().await;
    let bearer = |user: &str| format!("Bearer {}", key(user));
    let alice = bearer("alice");
    let client = LegacyClient::connect(gateway.endpoint(), &[("authorization", &alice)])
        .await
        .unwrap();
    let mut thief = client.clone();
    thief.headers = vec![("authorization".to_owned(), bearer("bob"))];
    for method in ["tools/list", "ping", "resources/list"] {
        let stolen = thief.request(method, json!({})).await;
        assert!(
            matches!(stolen, Outcome::Error { status: 404, .. }),
            "{stolen:?}"
        );
    }
    let mut flipped = client.session.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let longer = format!("{}A", client.session);
    let shorter = &client.session[..client.session.len() - 1];
    let huge = "A".repeat(24 * 1024);
    for guess in [
        "0",
        "1",
        "00000000-0000-0000-0000-000000000000",
        &flipped,
        &longer,
        shorter,
        &huge,
        "../1",
        "%0d%0aX: y",
    ] {
        let mut guesser = client.clone();
        guesser.session = guess.to_owned();
        let answer = guesser.request("tools/list", json!({})).await;
        assert!(
            matches!(
                answer,
                Outcome::Error {
                    status: 403 | 404,
                    ..
                }
            ),
            "{guess}: {answer:?}"
        );
        let headers = [("authorization", alice.as_str()), ("mcp-session-id", guess)];
        let ended = wire::send(http::Method::DELETE, &gateway.endpoint(), &headers, "")
            .await
            .unwrap();
        assert!(matches!(ended.status, 403 | 404), "{guess}: {ended:?}");
    }
    // A line break in the value ends the line, and what is left is no session.
    let lines = [
        &format!("Authorization: {alice}") as &str,
        "MCP-Protocol-Version: 2025-11-25",
        "Mcp-Session-Id: guess\r\nX: y",
        "Content-Length: 40",
    ];
    let mut raw_client = Raw::connect(&gateway.base).await;
    raw_client
        .write(
            raw::head("POST /mcp HTTP/1.1", &lines) + r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        )
        .await;
    assert_eq!(raw_client.answer().await.status(), 404);
    client.request("tools/list", json!({})).await.result();
}

#[tokio::test]
async fn sessions_have_ids_that_nobody_guesses() {
    let yaml = format!("servers:\n  demo: {}\n", demo_entry());
    let gateway = Gateway::start(&yaml).connected().await;
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let hello = hello.to_string();
    let length = format!("Content-Length: {}", hello.len());
    let request = raw::head("POST /mcp HTTP/1.1", &[&length]) + &hello;
    let mut ids = HashSet::new();
    let mut client = Raw::connect(&gateway.base).await;
    for _ in 0..10_000 {
        client.write(&request).await;
        let heard = client.answer().await;
        let text = String::from_utf8_lossy(&heard.bytes).into_owned();
        let id = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id")
                .then(|| value.trim().to_owned())
        });
        assert!(
            ids.insert(id.unwrap_or_else(|| panic!("{text}"))),
            "one id twice"
        );
    }
    // What differs from id to id, position by position, is at least 128 bits.
    let length = ids.iter().map(String::len).min().unwrap();
    let mut bits = 0.0;
    for position in 0..length {
        let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
        for id in &ids {
            *counts.entry(id.as_bytes()[position]).or_default() += 1;
        }
        for count in counts.into_values() {
            let share = count as f64 / ids.len() as f64;
            bits -= share * share.log2();
        }
    }
    assert!(bits >= 128.0, "{bits} bits");
}

#[tokio::test]
async fn a_state_is_good_for_one_user_and_one_request() {
    let site = Site::start();
    let gateway = gateway(&site, &keys(&["alice", "bob"])).await;
    let client = |user: &str| ModernClient::new(gateway.endpoint()).bearer(&key(user));
    let asked = client("alice")
        .call("ask", json!({ "topic": "a" }))
        .await
        .result();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let state = asked["requestState"].as_str().unwrap().to_owned();
    assert!(!state.contains("state of the site"));
    let before = site.calls().len();

    let answer_with = async |user: &str, tool: &str, topic: &str, state: &str| {
        let params = json!({ "name": tool, "arguments": { "topic": topic }, "requestState": state,
            "inputResponses": { "name": { "action": "accept", "content": {} } } });
        client(user).request("tools/call", params).await
    };
    let mut refused = Vec::new();
    for bit in 0..state.len() {
        let mut flipped = state.clone().into_bytes();
        flipped[bit] ^= 1;
        if let Ok(flipped) = String::from_utf8(flipped) {
            refused.push(answer_with("alice", "ask", "a", &flipped).await);
        }
    }
    refused.push(answer_with("bob", "ask", "a", &state).await);
    refused.push(answer_with("alice", "beg", "a", &state).await);
    refused.push(answer_with("alice", "ask", "b", &state).await);
    refused.push(answer_with("alice", "ask", "a", "state of the site").await);
    refused.push(answer_with("alice", "ask", "a", "").await);
    for outcome in refused {
        assert!(
            matches!(
                outcome,
                Outcome::Error {
                    status: 400 | 403,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
    assert_eq!(site.calls().len(), before, "the server was asked");
    let done = answer_with("alice", "ask", "a", &state).await.result();
    assert_eq!(done["resultType"], "complete", "{done}");
    let last = site.calls().pop().unwrap();
    assert_eq!(last.message["params"]["requestState"], "state of the site");
}

/// 16 tenants with the same ids at the same time, over connections that are kept.
#[tokio::test]
async fn nobody_gets_the_answer_of_another() {
    let site = Site::start();
    let users: Vec<String> = (0..16).map(|number| format!("user{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let gateway = gateway(&site, &keys(&users)).await;
    let mut tasks = Vec::new();
    for user in &users {
        for connection in 0..2 {
            let (user, base) = ((*user).to_owned(), gateway.base.clone());
            tasks.push(tokio::spawn(async move {
                let mut client = Raw::connect(&base).await;
                for id in 0..100 {
                    let text = format!("{user} {connection} {id}");
                    let body = raw::call_body("echo", json!({ "text": text }))
                        .replace("\"id\":1", &format!("\"id\":{id}"));
                    let mut lines = raw::call_lines("echo").to_vec();
                    lines.push(format!("Authorization: Bearer {}", key(&user)));
                    lines.push(format!("Content-Length: {}", body.len()));
                    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                    client
                        .write(raw::head("POST /mcp HTTP/1.1", &lines) + &body)
                        .await;
                    let answer = client.answer().await.json();
                    assert_eq!(answer["id"], id, "{answer}");
                    assert_eq!(answer["result"]["content"][0]["text"], text, "{answer}");
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    // Towards the server no two requests share an id, whoever sent them.
    let ids: HashSet<String> = site
        .calls()
        .iter()
        .map(|call| call.message["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 3200);
    gateway.at_rest().await;
}
