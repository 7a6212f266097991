//! Bodies that no decent client sends: each gets exactly the answer that is due, and no server hears of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::gateway::Gateway;
use support::raw::{self, Raw, answer_to, assert_none, echo_call, post};
use support::site::Site;

/// How long an answer to a hostile request may take. A build that is not optimised reads a megabyte more slowly.
const AT_ONCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

async fn gateway(site: &Site) -> Gateway {
    let yaml = format!("servers:\n  up: {}\n", site.entry());
    Gateway::start(&yaml).connected().await
}

/// The body of a call of `echo` with these raw arguments.
fn with_arguments(arguments: &str) -> String {
    raw::call_body("echo", json!("ARGUMENTS")).replace("\"ARGUMENTS\"", arguments)
}

/// The body of a call of `echo` with this raw id.
fn with_id(id: &str) -> String {
    raw::call_body("echo", json!({ "text": "id" })).replace("\"id\":1", &format!("\"id\":{id}"))
}

#[tokio::test]
async fn texts_that_are_not_json_or_too_much_of_it_are_refused_at_once() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let mut bom = vec![0xef, 0xbb, 0xbf];
    bom.extend_from_slice(raw::call_body("echo", json!({})).as_bytes());
    let mut not_utf8 = with_arguments("{\"text\":\"?\"}").into_bytes();
    let position = not_utf8.iter().position(|byte| *byte == b'?').unwrap();
    not_utf8[position] = 0xff;
    let mut overlong = with_arguments("{\"text\":\"??\"}").into_bytes();
    overlong[position..position + 2].copy_from_slice(&[0xc0, 0xaf]);

    let table: Vec<(&str, Vec<u8>)> = vec![
        ("depth 65", with_arguments(&nested(65)).into_bytes()),
        (
            "100,000 arrays",
            with_arguments(&nested(100_000)).into_bytes(),
        ),
        (
            "100,000 arrays that stay open",
            "[".repeat(100_000).into_bytes(),
        ),
        ("1e400", with_arguments("{\"n\":1e400}").into_bytes()),
        ("-1e400", with_arguments("{\"n\":-1E+400}").into_bytes()),
        (
            "a million digits",
            with_arguments(&format!("{{\"n\":{}}}", "7".repeat(1_000_000))).into_bytes(),
        ),
        (
            "a lone surrogate",
            with_arguments("{\"text\":\"\\ud800\"}").into_bytes(),
        ),
        (
            "surrogates in the wrong order",
            with_arguments("{\"text\":\"\\udc00\\ud800\"}").into_bytes(),
        ),
        (
            "a NUL in a string",
            with_arguments("{\"text\":\"\0\"}").into_bytes(),
        ),
        (
            "a NUL behind it",
            format!("{}\0", raw::call_body("echo", json!({}))).into_bytes(),
        ),
        (
            "a line break in a string",
            with_arguments("{\"text\":\"a\nb\"}").into_bytes(),
        ),
        ("a byte order mark", bom),
        ("bytes that are not UTF-8", not_utf8),
        ("an overlong slash", overlong),
        (
            "the name twice",
            raw::call_body("echo", json!({}))
                .replace("\"name\":\"echo\"", "\"name\":\"echo\",\"name\":\"big\"")
                .into_bytes(),
        ),
        (
            "the name in two spellings",
            raw::call_body("echo", json!({}))
                .replace("\"name\":\"echo\"", "\"name\":\"echo\",\"Name\":\"big\"")
                .into_bytes(),
        ),
        (
            "the method in escapes, twice",
            raw::call_body("echo", json!({}))
                .replace("\"method\":", "\"m\\u0065thod\":\"ping\",\"method\":")
                .into_bytes(),
        ),
        ("a comment", with_arguments("{/* no */}").into_bytes()),
        ("NaN", with_arguments("{\"n\":NaN}").into_bytes()),
        (
            "a number with a zero in front",
            with_arguments("{\"n\":01}").into_bytes(),
        ),
        (
            "two messages",
            raw::call_body("echo", json!({})).repeat(2).into_bytes(),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, body) in table {
        let request = echo_call(&body);
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            let mut client = Raw::connect(&gateway.base).await;
            let began = Instant::now();
            client.write(&request).await;
            let heard = client.answer().await;
            fastest = fastest.min(began.elapsed());
            let code = heard.json()["error"]["code"].as_i64();
            if heard.statuses() != [400] || !matches!(code, Some(-32700 | -32600)) {
                wrong.push(format!("{what}: {:?} {code:?}", heard.statuses()));
                break;
            }
            if heard.bytes.len() > 1024 {
                wrong.push(format!("{what}: {} bytes in return", heard.bytes.len()));
            }
        }
        if fastest > AT_ONCE {
            wrong.push(format!("{what}: {fastest:?} at best"));
        }
    }
    assert_none(&wrong);
    assert!(site.calls().is_empty());
    // The limits themselves are taken, and what they contain arrives unchanged.
    for arguments in [
        "{\"n\":123456789012345678901234567890,\"m\":1.0e5,\"z\":-0}".to_owned(),
        nested(60),
        "{\"text\":\"\\u0000\\ud83d\\ude00\"}".to_owned(),
    ] {
        let heard = answer_to(&gateway.base, echo_call(with_arguments(&arguments))).await;
        assert_eq!(heard.status(), 200, "{arguments}: {heard:?}");
    }
}

#[tokio::test]
async fn messages_that_are_no_requests_are_refused_and_not_repeated() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    let long = format!("\"{}\"", "i".repeat(1 << 20));
    let notification =
        raw::call_body("echo", json!({})).replace("tools/call", "notifications/cancelled");
    let answer = |part: &str| format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{part}}}");
    let table: Vec<(&str, String)> = vec![
        ("id null", with_id("null")),
        ("id object", with_id("{}")),
        ("id array", with_id("[1]")),
        ("id truth value", with_id("true")),
        ("id 1.5", with_id("1.5")),
        ("id 1e3", with_id("1e3")),
        (
            "id of 400 digits",
            with_id(&format!("1{}", "0".repeat(400))),
        ),
        ("id 1 MiB", with_id(&long)),
        (
            "a batch",
            format!("[{}]", raw::call_body("echo", json!({}))),
        ),
        ("an empty batch", "[]".to_owned()),
        ("a notification with an id", notification),
        ("a result", answer("\"result\":{}")),
        (
            "an error",
            answer("\"error\":{\"code\":1,\"message\":\"no\"}"),
        ),
        (
            "a result and an error",
            answer("\"result\":{},\"error\":{\"code\":1,\"message\":\"no\"}"),
        ),
        (
            "a result and a method",
            answer("\"result\":{},\"method\":\"ping\""),
        ),
        (
            "no jsonrpc",
            raw::call_body("echo", json!({})).replace("\"jsonrpc\":\"2.0\",", ""),
        ),
        (
            "jsonrpc 3.0",
            raw::call_body("echo", json!({})).replace("2.0", "3.0"),
        ),
        ("a method that is no text", answer("\"method\":7")),
        (
            "params that are a text",
            answer("\"method\":\"tools/call\",\"params\":\"x\""),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, body) in table {
        let heard = answer_to(&gateway.base, echo_call(body)).await;
        let code = heard.json()["error"]["code"].as_i64();
        if heard.statuses() != [400] || code != Some(-32600) || heard.bytes.len() > 1024 {
            let size = heard.bytes.len();
            wrong.push(format!(
                "{what}: {:?} {code:?}, {size} bytes",
                heard.statuses()
            ));
        }
    }
    assert_none(&wrong);
    assert!(site.calls().is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_here() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    // Exactly the limit is not too large. Often enough that every worker has what it needs anyway.
    let body = raw::call_body("echo", json!({ "text": "" }));
    let fitting = format!("{body}{}", " ".repeat((4 << 20) - body.len()));
    for _ in 0..8 {
        assert_eq!(
            answer_to(&gateway.base, echo_call(&fitting)).await.status(),
            200
        );
    }
    let before = resident(gateway.pid());

    let announced = |length: &str| post(&[&format!("Content-Length: {length}")], "");
    for length in ["4194305", "1000000000000000000", "18446744073709551615"] {
        let heard = answer_to(&gateway.base, announced(length)).await;
        assert_eq!(heard.status(), 413, "{length}: {heard:?}");
        assert!(heard.after < Duration::from_secs(1), "{length}: {heard:?}");
    }
    // A bomb is not even unpacked.
    for encoding in ["gzip", "br", "deflate", "zstd", "identity", "gzip, gzip"] {
        let lines = [
            &format!("Content-Encoding: {encoding}") as &str,
            "Content-Length: 1000000",
        ];
        let heard = answer_to(&gateway.base, post(&lines, "")).await;
        assert_eq!(heard.status(), 415, "{encoding}: {heard:?}");
    }
    // One more is too large also in pieces that say nothing of the whole.
    let mut client = Raw::connect(&gateway.base).await;
    client
        .write(post(&["Transfer-Encoding: chunked"], ""))
        .await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    while sent < 64 << 20 && client.write(&chunk).await {
        sent += 0x10000;
    }
    assert!(sent < 64 << 20, "taken without end");
    assert!(matches!(client.read_to_end().await.status(), 0 | 413));
    // What is free is given back to the system a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let grown = resident(gateway.pid()).saturating_sub(before);
        if grown <= 8 << 20 {
            break;
        }
        assert!(Instant::now() < deadline, "{grown} bytes");
        let small = echo_call(raw::call_body("echo", json!({ "text": "" })));
        assert_eq!(answer_to(&gateway.base, small).await.status(), 200);
    }

    for (what, head) in [
        (
            "200 headers",
            raw::head("GET /mcp HTTP/1.1", &vec!["X-One: 1"; 200]),
        ),
        (
            "65 headers",
            raw::head("GET /mcp HTTP/1.1", &vec!["X-One: 1"; 65]),
        ),
        (
            "64 KiB of a header",
            raw::head(
                "GET /mcp HTTP/1.1",
                &[&format!("X-One: {}", "x".repeat(64 << 10))],
            ),
        ),
        (
            "1 MiB of a header",
            raw::head(
                "GET /mcp HTTP/1.1",
                &[&format!("Mcp-Session-Id: {}", "x".repeat(1 << 20))],
            ),
        ),
    ] {
        let heard = answer_to(&gateway.base, head).await;
        assert_eq!(heard.status(), 431, "{what}: {heard:?}");
    }
    let long = raw::head(&format!("GET /{} HTTP/1.1", "x".repeat(1 << 20)), &[]);
    let heard = answer_to(&gateway.base, long).await;
    assert!(matches!(heard.status(), 400 | 414 | 431), "{heard:?}");
    gateway.at_rest().await;
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

#[tokio::test]
async fn nothing_of_a_request_can_forge_a_record_or_a_line() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    let forged = "\n{\"event\":\"fake\"}\u{1b}[2J\u{2028}\u{85}\0\r";
    let name = format!("no-such{forged}");
    let body = raw::call_body(&name, json!({ "text": forged }));
    let encoded = format!("Mcp-Name: =?base64?{}?=", raw::base64(name.as_bytes()));
    let lines = [
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        &encoded,
        "User-Agent: \t{\"event\":\"fake\"}\u{1b}[2J",
        &format!("Content-Length: {}", body.len()),
    ];
    let mut count = 0;
    for _ in 0..10 {
        answer_to(
            &gateway.base,
            raw::head("POST /mcp HTTP/1.1", &lines) + &body,
        )
        .await;
        let id = with_id(&json!(forged).to_string());
        answer_to(&gateway.base, echo_call(id)).await;
        count += 2;
    }
    gateway.at_rest().await;
    let records = gateway.records();
    let requests = records
        .iter()
        .filter(|record| record["event_type"] == "mcp.request" || record.get("method").is_some());
    assert!(requests.count() <= count);
    assert!(
        records.iter().all(|record| record["event"] != "fake"),
        "{records:?}"
    );
    let calls = records
        .iter()
        .filter(|record| record["method"] == "tools/call")
        .count();
    assert!(calls >= 10, "{records:?}");
    for line in gateway.log().lines() {
        let line = line.strip_prefix("! ").unwrap_or(line);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!line.starts_with("{\"event\""), "{line:?}");
    }
}

#[tokio::test]
async fn a_configuration_with_a_placeholder_for_a_secret_does_not_start() {
    let check = |yaml: &str| {
        let folder = support::scratch::Scratch::new("placeholder");
        let file = folder.write("weir.yaml", yaml);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("check").arg("--config").arg(file);
        let done = support::process::Process::run("weir check", command, Duration::from_secs(10));
        (done.status.code(), done.output)
    };
    let well_known = weir_actors::builtin::api_keys::hash_key("changeme");
    for yaml in [
        format!("sealing: {{ keys: [{}] }}\n", "A".repeat(43)),
        "sealing: { keys: [changeme] }\n".to_owned(),
        format!(
            "auth: {{ providers: [{{ type: api-keys, keys: [{{ id: a, user: a, hash: {well_known:?} }}] }}] }}\n"
        ),
        "servers: { up: { type: http, url: \"http://0x7f.1/mcp\" } }\n".to_owned(),
        "servers: { up: { type: http, url: \"http://2130706433/mcp\" } }\n".to_owned(),
        "servers: { up: { type: http, url: \"http://user:pass@localhost/mcp\" } }\n".to_owned(),
    ] {
        let (code, output) = check(&yaml);
        assert_eq!(code, Some(2), "{yaml}: {output}");
    }
}
