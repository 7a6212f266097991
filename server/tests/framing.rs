//! Heads of requests that others might read in another way, or that are for somebody else: refused, and no server hears of
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::raw::{self, Raw, answer_to, assert_none, echo_call, post};
use support::site::Site;

async fn gateway(site: &Site) -> Gateway {
    let yaml = format!("servers:\n  up: {}\n", site.entry());
    Gateway::start(&yaml).connected().await
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
        let heard = answer_to(&gateway.base, bytes).await;
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
        let heard = answer_to(&gateway.base, post(lines, &body)).await;
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
        let heard = answer_to(&gateway.base, raw::head(line, &lines) + &body).await;
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
    let bare_line_ends = String::from_utf8(echo_call(&body))
        .unwrap()
        .replace("\r\n", "\n");
    let extension = post(
        &["Transfer-Encoding: chunked"],
        format!("{size:x};name=value\r\n{body}\r\n0\r\n\r\n"),
    );
    let absolute = String::from_utf8(echo_call(&body)).unwrap();
    let absolute = absolute.replace("POST /mcp", "POST http://localhost/mcp");
    for bytes in [
        bare_line_ends.into_bytes(),
        extension,
        absolute.into_bytes(),
    ] {
        assert_eq!(answer_to(&gateway.base, bytes).await.status(), 200);
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
        let heard = answer_to(&gateway.base, post(&[line, &length], &body)).await;
        assert_eq!(heard.status(), 403, "{line}: {heard:?}");
    }
    assert!(site.calls().is_empty());
    let own = post(&["Origin: http://localhost:6274", &length], &body);
    assert_eq!(answer_to(&gateway.base, own).await.status(), 200);
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
async fn what_the_head_says_is_what_the_body_says() {
    let site = Site::start();
    let gateway = gateway(&site).await;
    // The head names a harmless tool, the body another.
    let secret = raw::call_body("big", json!({ "bytes": 1 }));
    let mismatched = answer_to(&gateway.base, echo_call(&secret)).await;
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
        let heard = answer_to(
            &gateway.base,
            raw::head("POST /mcp HTTP/1.1", &lines) + &body,
        )
        .await;
        assert_eq!(
            (heard.status(), &heard.json()["error"]["code"]),
            (400, &Value::from(-32020)),
            "{line}: {value}: {heard:?}"
        );
    }
    assert!(site.calls().is_empty());
}
