//! Servers that want to be taken for others: names that deceive or shadow, and redirects to where nobody else may go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::gateway::Gateway;
use support::mcp::{ModernClient, Outcome, names};
use support::raw::{self, Raw};
use support::site::{Site, tool};
use support::upstream::http_entry;

#[tokio::test]
async fn names_that_deceive_are_not_shown_and_not_called() {
    let good = tool("good");
    let deceiving = [
        "a/b",
        "../good",
        "line\r\nbreak",
        "nul\0",
        "right\u{202e}to left",
        "zero\u{200b}width",
        "g\u{3bf}od",
        "ｇood",
        " padded",
        "padded ",
        "",
    ];
    let long = "x".repeat(10 * 1024);
    let mut tools = vec![good, tool(&long)];
    tools.extend(deceiving.iter().map(|name| tool(name)));
    tools.push(tool("good"));
    let site = Site::offering(tools);
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", site.entry()));
    let gateway = gateway.connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let list = client.request("tools/list", json!({})).await.result();
    assert_eq!(names(&list, "tools", "name"), ["good"]);
    let log = gateway.log();
    assert!(
        log.contains("\"WARN\"") || log.contains("WARN"),
        "a warning: {log}"
    );
    for name in deceiving.iter().copied().chain([long.as_str()]) {
        // A client writes what a header cannot carry in base64; a longer one does not fit into the head.
        let body = raw::call_body(name, json!({}));
        let mut lines = raw::call_lines("good").to_vec();
        lines.pop();
        lines.push(format!(
            "Mcp-Name: =?base64?{}?=",
            raw::base64(name.as_bytes())
        ));
        lines.push(format!("Content-Length: {}", body.len()));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut client = Raw::connect(&gateway.base).await;
        client
            .write(raw::head("POST /mcp HTTP/1.1", &lines) + &body)
            .await;
        let heard = client.answer().await;
        assert!(matches!(heard.status(), 400 | 404), "{name:?}: {heard:?}");
        assert!(
            heard.bytes.len() < 2048,
            "{name:?}: {} bytes",
            heard.bytes.len()
        );
    }
    assert!(site.calls().is_empty());
    assert_eq!(client.call("good", json!({})).await.text(), "called good");
}

#[tokio::test]
async fn a_second_server_does_not_shadow_the_first() {
    let one = Site::offering(vec![tool("echo"), tool("two__secret"), tool("one__echo")]);
    let two = Site::offering(vec![tool("echo"), tool("secret"), tool("one__echo")]);
    let yaml = format!("servers:\n  one: {}\n  two: {}\n", one.entry(), two.entry());
    let gateway = Gateway::start(&yaml).connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let list = client.request("tools/list", json!({})).await.result();
    let shown = names(&list, "tools", "name");
    let different: HashSet<&String> = shown.iter().collect();
    assert_eq!(different.len(), shown.len(), "{shown:?}");
    for (name, at_one) in [
        ("one__echo", true),
        ("two__echo", false),
        ("two__secret", false),
    ] {
        let (before, beside) = (one.calls().len(), two.calls().len());
        client.call(name, json!({ "text": "x" })).await.result();
        let moved = (one.calls().len() - before, two.calls().len() - beside);
        assert_eq!(moved, if at_one { (1, 0) } else { (0, 1) }, "{name}");
    }
    for name in [
        "echo",
        "secret",
        "ONE__echo",
        "one__Echo",
        "one_echo",
        "three__echo",
    ] {
        let outcome = client.call(name, json!({})).await;
        assert!(
            matches!(outcome, Outcome::Error { .. }),
            "{name}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_sends_elsewhere_is_not_followed() {
    // Somebody listens inside; nobody may come.
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    std::thread::spawn(move || {
        for _ in inside.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let redirecting = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = redirecting.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in redirecting.incoming().map_while(Result::ok) {
            let mut some = [0; 8192];
            let _ = stream.read(&mut some);
            seen.fetch_add(1, Ordering::SeqCst);
            let number = seen.load(Ordering::SeqCst);
            let status = ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"][number % 4];
            let _ = stream.write_all(
                format!("HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{port}/mcp\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
            );
        }
    });
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\n",
        http_entry(&format!("http://{front}/mcp"))
    ));
    let deadline = Instant::now() + Duration::from_secs(15);
    while asked.load(Ordering::SeqCst) < 4 && Instant::now() < deadline {
        let outcome = ModernClient::new(gateway.endpoint_of("up"))
            .call("echo", json!({}))
            .await;
        assert!(matches!(outcome, Outcome::Error { .. }), "{outcome:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(asked.load(Ordering::SeqCst) >= 1, "the server was asked");
    assert_eq!(visits.load(Ordering::SeqCst), 0, "somebody came in");
}
