//! Servers that only know HTTP+SSE (2024-11-05): configured as such, or found out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, names};
use support::process::Process;
use support::upstream::free_port;
use support::wire;

/// Longest time until a server is there, or back.
const LIMIT: Duration = Duration::from_secs(30);

/// server-everything over HTTP+SSE.
fn everything(kit: &Kit, port: u16) -> Process {
    let mut command = kit.node("mcp-server-everything");
    command.arg("sse").env("PORT", port.to_string());
    let process = Process::start("server-everything sse", command);
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(
            Instant::now() < deadline,
            "it does not listen:\n{}",
            process.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

#[tokio::test]
async fn an_old_server_is_one_among_others() {
    let Some(kit) = Kit::find("servers of HTTP+SSE") else {
        return;
    };
    let port = free_port();
    let mut server = everything(&kit, port);
    let url = format!("http://127.0.0.1:{port}/sse");
    let said = json!({ "type": "sse", "url": url });
    let found_out = json!({ "type": "http", "url": url });
    let gateway = Gateway::start(&format!("servers:\n  said: {said}\n  found: {found_out}\n"));
    let gateway = gateway.connected().await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let tools = client.request("tools/list", json!({})).await.result();
    let tools = names(&tools, "tools", "name");
    for server in ["said", "found"] {
        assert!(tools.contains(&format!("{server}__get-sum")), "{tools:?}");
        let sum = client
            .call(&format!("{server}__get-sum"), json!({ "a": 2, "b": 3 }))
            .await;
        assert_eq!(sum.text(), "The sum of 2 and 3 is 5.");
        let message = json!({ "message": "ä".repeat(100_000) });
        let echo = client
            .call(&format!("{server}__echo"), message)
            .await
            .text();
        assert_eq!(echo.chars().count(), "Echo: ".len() + 100_000);
    }
    let unknown = client.call("said__no-such-tool", json!({})).await;
    assert_eq!(unknown.code(), Some(-32602));

    // What the server says besides its answer comes too, on the stream of the call.
    let arguments = json!({ "duration": 1, "steps": 3 });
    let params = json!({ "name": "said__trigger-long-running-operation", "arguments": arguments, "_meta": { "progressToken": "p" } });
    let answer = client
        .post(&json!({ "jsonrpc": "2.0", "id": "long", "method": "tools/call", "params": params }))
        .await;
    let messages = answer.messages();
    let progress = messages
        .iter()
        .filter(|message| message["method"] == "notifications/progress");
    assert!(progress.clone().count() >= 2, "{messages:?}");
    assert!(
        progress
            .clone()
            .all(|message| message["params"]["progressToken"] == "p")
    );
    assert!(messages.last().unwrap().get("result").is_some());

    // It dies and comes back.
    server.kill();
    let status = async || {
        let answer = wire::get(&format!("{}/upstreams", gateway.admin))
            .await
            .unwrap();
        answer.json()[0]["status"]["state"].clone()
    };
    let deadline = Instant::now() + LIMIT;
    while status().await == "ready" {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = client
        .call("said__get-sum", json!({ "a": 2, "b": 3 }))
        .await;
    assert_eq!(refused.code(), Some(503), "{refused:?}");
    let _server = everything(&kit, port);
    loop {
        let answer = client
            .call("said__get-sum", json!({ "a": 2, "b": 3 }))
            .await;
        if answer.code().is_none() {
            assert_eq!(answer.text(), "The sum of 2 and 3 is 5.");
            break;
        }
        assert!(
            Instant::now() < deadline + LIMIT,
            "{answer:?}\n{}",
            gateway.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nothing_is_posted_to_another_place() {
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let there = elsewhere.local_addr().unwrap();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/sse", server.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in server.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let _ = write!(
                stream,
                "{head}event: endpoint\ndata: http://{there}/messages\n\n"
            );
        }
    });
    let entry =
        json!({ "type": "sse", "url": url, "headers": { "authorization": "Bearer secret" } });
    let gateway = Gateway::start(&format!("servers:\n  evil: {entry}\n"));
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = wire::get(&format!("{}/upstreams", gateway.admin))
            .await
            .unwrap();
        if answer.json().to_string().contains("another origin") {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{:?}\n{}",
            answer.json(),
            gateway.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(elsewhere.accept().is_err(), "nobody has connected");
}
