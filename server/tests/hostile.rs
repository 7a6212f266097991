//! Requests that no decent client sends: each gets exactly the answer that is due, and no server hears of it.
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
use support::raw::{self, Heard, Raw};
use support::site::Site;

/// How long an answer to a hostile request may take. A build that is not optimised reads a megabyte more slowly.
const AT_ONCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

async fn gateway(site: &Site) -> Gateway {
    let yaml = format!("servers:\n  up: {}\n", site.entry());
    Gateway::start(&yaml).connected().await
}

/// What these bytes are answered with, on a connection of their own.
async fn answer_to(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Heard {
    let mut client = Raw::connect(&gateway.base).await;
    client.write(bytes).await;
    client.answer().await
}

/// A call of `echo` with other lines in its head.
fn post(lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let usual = raw::call_lines("echo");
    let usual = usual.iter().map(String::as_str);
    let lines: Vec<&str> = usual.chain(lines.iter().copied()).collect();
    let mut bytes = raw::head("POST /mcp HTTP/1.1", &lines).into_bytes();
    bytes.extend_from_slice(body.as_ref());
    bytes
}

/// A call of `echo` with this body.
fn call(body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.as_ref().len());
    post(&[&length], body)
}

/// The body of a call of `echo` with these raw arguments.
fn with_arguments(arguments: &str) -> String {
    raw::call_body("echo", json!("ARGUMENTS")).replace("\"ARGUMENTS\"", arguments)
}

/// The body of a call of `echo` with this raw id.
fn with_id(id: &str) -> String {
    raw::call_body("echo", json!({ "text": "id" })).replace("\"id\":1", &format!("\"id\":{id}"))
}

/// Fails with everything that was answered otherwise.
fn assert_none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    let body = raw::call_body("echo", json!({ "text": "smuggled" }));
    let size = body.len();
    let length = format!("Content-Length: {size}");
    let chunked = format!("{size:x}\r\n{body}\r\n0\r\n\r\n");
    let mut wrong = Vec::new();

    // Each has another request behind it, which must not be taken for one.
    let behind = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let framing: Vec<(&str, Vec<String>)> = vec![
        (
            "length and chunks",
            vec![length.clone(), "Transfer-Encoding: chunked".into()],
        ),
        (
            "chunks and length",
            vec!["Transfer-Encoding: chunked".into(), length.clone()],
        ),
        (
            "two lengths",
            vec![length.clone(), "Content-Length: 1".into()],
        ),
        (
            "the same length twice",
            vec![length.clone(), length.clone()],
        ),
        (
            "a list of lengths",
            vec![format!("Content-Length: {size}, {size}")],
        ),
        (
            "a length with a sign",
            vec![format!("Content-Length: +{size}")],
        ),
        (
            "a negative length",
            vec![format!("Content-Length: -{size}")],
        ),
        (
            "a length in hex",
            vec![format!("Content-Length: 0x{size:x}")],
        ),
        (
            "an endless length",
            vec![format!("Content-Length: {}", "9".repeat(40))],
        ),
        ("identity", vec!["Transfer-Encoding: identity".into()]),
        ("xchunked", vec!["Transfer-Encoding: xchunked".into()]),
        (
            "gzip, chunked",
            vec!["Transfer-Encoding: gzip, chunked".into()],
        ),
        (
            "chunked, gzip",
            vec!["Transfer-Encoding: chunked, gzip".into()],
        ),
        (
            "chunked twice",
            vec![
                "Transfer-Encoding: chunked".into(),
                "Transfer-Encoding: chunked".into(),
            ],
        ),
        (
            "chunked behind a tab",
            vec!["Transfer-Encoding:\tchunked\u{b}".into()],
        ),
        (
            "a space before the colon",
            vec![length.clone(), "Transfer-Encoding : chunked".into()],
        ),
        (
            "a folded line",
            vec![length.clone(), "X-Folded: a\r\n b".into()],
        ),
        (
            "a bare carriage return",
            vec![length.clone(), "X-Bare: a\rb".into()],
        ),
        ("a NUL", vec![length.clone(), "X-Null: a\0b".into()]),
        (
            "a name with a blank",
            vec![length.clone(), "X Blank: a".into()],
        ),
        (
            "two hosts",
            vec![
                length.clone(),
                "Host: localhost".into(),
                "Host: localhost".into(),
            ],
        ),
    ];
    for (what, lines) in &framing {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let content = if lines.iter().any(|line| line.contains("ncoding")) {
            &chunked
        } else {
            &body
        };
        let mut client = Raw::connect(&gateway.base).await;
        client.write(post(&lines, content)).await;
        client.write(behind).await;
        let heard = client.read_for(Duration::from_secs(5)).await;
        if heard.statuses() != [400] || !heard.closed {
            wrong.push(format!(
                "{what}: {:?} closed={}",
                heard.statuses(),
                heard.closed
            ));
        }
    }
    let usual = raw::call_lines("echo").join("\r\n");
    let usual = format!("{usual}\r\nContent-Type: application/json\r\nAccept: */*\r\n{length}");
    let chunks_of_old = format!(
        "POST /mcp HTTP/1.0\r\nHost: localhost\r\n{usual}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
    );
    let no_host = format!("POST /mcp HTTP/1.1\r\n{usual}\r\n\r\n{body}");
    let unreadable = [
        ("chunks of HTTP/1.0", chunks_of_old.as_str()),
        ("no host", no_host.as_str()),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}hello\r\n\r\n"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("a chunk that is no number", ""),
    ];
    for (what, bytes) in unreadable {
        let bytes = match bytes {
            "" => post(&["Transfer-Encoding: chunked"], "zz\r\nx\r\n0\r\n\r\n"),
            bytes => bytes.as_bytes().to_vec(),
        };
        let heard = answer_to(&gateway, bytes).await;
        if heard.statuses() != [400] {
            wrong.push(format!("{what}: {:?}", heard.statuses()));
        }
    }

    // Refused before the body is read: an upgrade waits for nothing.
    for lines in [
        &["Upgrade: websocket", "Connection: Upgrade", length.as_str()] as &[&str],
        &[
            "Upgrade: h2c",
            "Connection: Upgrade, HTTP2-Settings",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            length.as_str(),
        ],
        &[
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Content-Length: 1000000",
        ],
    ] {
        let heard = answer_to(&gateway, post(lines, &body)).await;
        if heard.statuses() != [400] {
            wrong.push(format!("{lines:?}: {:?}", heard.statuses()));
        }
    }
    for (line, host, status) in [
        ("POST /mcp HTTP/1.1", "Host: a/health?x=", 400),
        ("POST /mcp HTTP/1.1", "Host: localhost/health", 400),
        ("POST /mcp HTTP/1.1", "Host: localhost#", 400),
        ("POST /mcp HTTP/1.1", "Host: user@localhost", 400),
        ("POST /mcp HTTP/1.1", "Host: localhost:80:80", 400),
        ("POST /mcp HTTP/1.1", "Host: localhost:port", 400),
        ("POST /mcp HTTP/1.1", "Host: localhost localhost", 400),
        ("POST /mcp HTTP/1.1", "Host: [::1", 400),
        ("POST /mcp HTTP/1.1", "Host: ", 400),
        ("POST http://evil/mcp HTTP/1.1", "Host: localhost", 400),
        ("POST http://localhost/mcp HTTP/1.1", "Host: evil", 400),
        ("POST http://evil/mcp HTTP/1.1", "Host: evil", 403),
        ("POST /mcp HTTP/1.1", "Host: evil.test", 403),
        ("POST /mcp HTTP/1.1", "Host: localhost.evil.test", 403),
        ("POST /mcp HTTP/1.1", "Host: 10.0.0.1", 403),
        ("POST /mcp HTTP/1.1", "Host: 2130706433", 403),
    ] {
        let lines = raw::call_lines("echo");
        let lines: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .chain([host, &length])
            .collect();
        let heard = answer_to(&gateway, raw::head(line, &lines) + &body).await;
        if heard.statuses() != [status] {
            wrong.push(format!(
                "{line} {host}: {:?}, not {status}",
                heard.statuses()
            ));
        }
    }
    assert_none(&wrong);
    assert!(site.calls().is_empty(), "{:?}", site.calls());

    // What is only unusual is taken.
    let bare_line_ends = String::from_utf8(call(&body))
        .unwrap()
        .replace("\r\n", "\n");
    let extension = post(
        &["Transfer-Encoding: chunked"],
        format!("{size:x};name=value\r\n{body}\r\n0\r\n\r\n"),
    );
    let absolute = String::from_utf8(call(&body)).unwrap();
    let absolute = absolute.replace("POST /mcp", "POST http://localhost/mcp");
    for bytes in [
        bare_line_ends.into_bytes(),
        extension,
        absolute.into_bytes(),
    ] {
        assert_eq!(answer_to(&gateway, bytes).await.status(), 200);
    }
    gateway.at_rest().await;
}

#[tokio::test]
async fn a_foreign_page_or_name_gets_nothing() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    let body = raw::call_body("echo", json!({ "text": "rebound" }));
    let length = format!("Content-Length: {}", body.len());
    for line in [
        "Origin: https://evil",
        "Origin: null",
        "Origin: http://localhost.evil.test",
        "Origin: http://localhost@evil.test",
        "Origin: file://",
        "Host: evil.test",
        "Host: evil.test:80",
    ] {
        let heard = answer_to(&gateway, post(&[line, &length], &body)).await;
        assert_eq!(heard.status(), 403, "{line}: {heard:?}");
    }
    assert!(site.calls().is_empty());
    let own = post(&["Origin: http://localhost:6274", &length], &body);
    assert_eq!(answer_to(&gateway, own).await.status(), 200);
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
        let request = call(&body);
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
        let heard = answer_to(&gateway, call(with_arguments(&arguments))).await;
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
        let heard = answer_to(&gateway, call(body)).await;
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
        assert_eq!(answer_to(&gateway, call(&fitting)).await.status(), 200);
    }
    let before = resident(gateway.pid());

    let announced = |length: &str| post(&[&format!("Content-Length: {length}")], "");
    for length in ["4194305", "1000000000000000000", "18446744073709551615"] {
        let heard = answer_to(&gateway, announced(length)).await;
        assert_eq!(heard.status(), 413, "{length}: {heard:?}");
        assert!(heard.after < Duration::from_secs(1), "{length}: {heard:?}");
    }
    // A bomb is not even unpacked.
    for encoding in ["gzip", "br", "deflate", "zstd", "identity", "gzip, gzip"] {
        let lines = [
            &format!("Content-Encoding: {encoding}") as &str,
            "Content-Length: 1000000",
        ];
        let heard = answer_to(&gateway, post(&lines, "")).await;
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
        let small = call(raw::call_body("echo", json!({ "text": "" })));
        assert_eq!(answer_to(&gateway, small).await.status(), 200);
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
        let heard = answer_to(&gateway, head).await;
        assert_eq!(heard.status(), 431, "{what}: {heard:?}");
    }
    let long = raw::head(&format!("GET /{} HTTP/1.1", "x".repeat(1 << 20)), &[]);
    let heard = answer_to(&gateway, long).await;
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
async fn methods_of_http_that_nobody_needs_are_refused() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    let listeners = [gateway.base.as_str(), gateway.admin.as_str()];
    for base in listeners {
        for line in [
            "OPTIONS * HTTP/1.1",
            "TRACE /mcp HTTP/1.1",
            "TRACE /tree HTTP/1.1",
            "CONNECT evil:80 HTTP/1.1",
        ] {
            let mut client = Raw::connect(base).await;
            client.write(raw::head(line, &[])).await;
            let heard = client.answer().await;
            assert!(
                matches!(heard.status(), 400 | 403 | 404 | 405 | 307),
                "{base} {line}: {heard:?}"
            );
            assert!(
                !String::from_utf8_lossy(&heard.bytes).contains("application/json, text"),
                "echoed: {heard:?}"
            );
        }
    }
    // A page cannot have an operator's browser do anything: there is nothing to do with any other method than GET, and
    // the answers are not for other pages.
    for (method, path) in [
        ("POST", "/tree"),
        ("PUT", "/plugins"),
        ("DELETE", "/upstreams"),
        ("POST", "/metrics"),
        ("POST", "/reload"),
        ("POST", "/pins/accept"),
    ] {
        let mut client = Raw::connect(&gateway.admin).await;
        let lines = [
            "Origin: https://evil.test",
            "Content-Type: text/plain",
            "Content-Length: 0",
        ];
        client
            .write(raw::head(&format!("{method} {path} HTTP/1.1"), &lines))
            .await;
        let heard = client.answer().await;
        assert!(
            matches!(heard.status(), 403 | 405),
            "{method} {path}: {heard:?}"
        );
    }
    let mut client = Raw::connect(&gateway.admin).await;
    client
        .write(raw::head(
            "GET /tree HTTP/1.1",
            &["Origin: https://evil.test"],
        ))
        .await;
    let heard = client.answer().await;
    let text = String::from_utf8_lossy(&heard.bytes).to_ascii_lowercase();
    assert!(!text.contains("access-control-allow"), "{text}");
    let mut client = Raw::connect(&gateway.admin).await;
    client
        .write(raw::head("GET /tree HTTP/1.1", &["Host: evil.test"]))
        .await;
    assert_eq!(client.answer().await.status(), 403);
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
        answer_to(&gateway, raw::head("POST /mcp HTTP/1.1", &lines) + &body).await;
        let id = with_id(&json!(forged).to_string());
        answer_to(&gateway, call(id)).await;
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

#[tokio::test]
async fn what_the_head_says_is_what_the_body_says() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    // The head names a harmless tool, the body another.
    let secret = raw::call_body("big", json!({ "bytes": 1 }));
    let mismatched = answer_to(&gateway, call(&secret)).await;
    assert_eq!(mismatched.status(), 400, "{mismatched:?}");
    assert_eq!(mismatched.json()["error"]["code"], -32020);
    for (line, value) in [
        ("Mcp-Method", "tools/list"),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("Mcp-Name", "ECHO"),
        ("Mcp-Name", "echo, big"),
    ] {
        let body = raw::call_body("echo", json!({}));
        let usual = raw::call_lines("echo");
        let mut lines: Vec<String> = usual
            .iter()
            .filter(|usual| !usual.starts_with(&format!("{line}:")))
            .cloned()
            .collect();
        lines.push(format!("{line}: {value}"));
        lines.push(format!("Content-Length: {}", body.len()));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let heard = answer_to(&gateway, raw::head("POST /mcp HTTP/1.1", &lines) + &body).await;
        assert_eq!(
            (heard.status(), &heard.json()["error"]["code"]),
            (400, &Value::from(-32020)),
            "{line}: {value}: {heard:?}"
        );
    }
    assert!(site.calls().is_empty());
}
