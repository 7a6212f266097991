//! Clients that take their time, or take it from others: each is cut within its bound, gives back what it held, and is
//! noticed by nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use support::gateway::Gateway;
use support::mcp::{ModernClient, Outcome};
use support::raw::{self, Raw};
use support::site::Site;
use tokio::io::AsyncReadExt;

/// More than the systems of both ends buffer.
const LARGE: usize = 24 * 1024 * 1024;

/// What a busy machine adds to a bound.
const SLACK: Duration = Duration::from_secs(4);

async fn gateway(site: &Site, limits: &str) -> Gateway {
    let yaml = format!("servers:\n  up: {}\nlimits: {limits}\n", site.entry());
    Gateway::start(&yaml).connected().await
}

async fn echo(gateway: &Gateway, text: &str) -> Outcome {
    let client = ModernClient::new(gateway.endpoint());
    client.call("echo", json!({ "text": text })).await
}

fn posting(lines: &[&str]) -> String {
    let usual = raw::call_lines("echo");
    let usual = usual.iter().map(String::as_str);
    let lines: Vec<&str> = usual.chain(lines.iter().copied()).collect();
    raw::head("POST /mcp HTTP/1.1", &lines)
}

/// Waits until the gateway says so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_reader_that_stops_keeps_its_permit_until_it_is_cut() {
    let site = Site::start();
    let gateway = gateway(&site, "{ max_in_flight: 1, write_timeout: 2s }").await;
    let mut reader = Raw::reading_little(&gateway.base).await;
    reader
        .write(raw::call("big", json!({ "bytes": LARGE })))
        .await;
    let mut head = [0; 15];
    reader.stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    // The answer is under way, and nobody takes it: what it occupies is still counted.
    assert_eq!(gateway.taken("requests").await, 1);
    let crowded = echo(&gateway, "meanwhile").await;
    assert!(
        matches!(crowded, Outcome::Error { status: 503, .. }),
        "{crowded:?}"
    );
    let since = Instant::now();
    until("the permit is free", async || {
        gateway.taken("requests").await == 0
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(2) + SLACK);
    assert_eq!(echo(&gateway, "afterwards").await.text(), "afterwards");
    let rest = reader.read_to_end().await;
    assert!(
        rest.closed && rest.bytes.len() < LARGE,
        "{}",
        rest.bytes.len()
    );
}

#[tokio::test]
async fn a_slow_reader_that_reads_gets_everything() {
    let site = Site::start();
    let gateway = gateway(&site, "{ write_timeout: 3s }").await;
    let mut reader = Raw::with_window(&gateway.base, Some(512 * 1024)).await;
    reader
        .write(raw::call("big", json!({ "bytes": LARGE })))
        .await;
    let mut read = 0;
    let mut some = vec![0; 256 * 1024];
    while read < LARGE {
        // Several times longer than the bound, altogether.
        tokio::time::sleep(Duration::from_millis(80)).await;
        match reader.stream.read(&mut some).await {
            Ok(0) | Err(_) => break,
            Ok(count) => read += count,
        }
    }
    assert!(
        read >= LARGE,
        "{read} bytes in {:?}",
        reader.read_for(Duration::ZERO).await.after
    );
}

#[tokio::test]
async fn heads_bodies_and_leftovers_that_trickle_are_cut() {
    let site = Site::start();
    let gateway = gateway(&site, "{}").await;
    let second = Duration::from_secs(1);

    let first_head = async {
        let mut client = Raw::connect(&gateway.base).await;
        client.write("POST /mcp HTTP/1.1\r\nHost: loc").await;
        let heard = client.drip(b"a", second, Duration::from_secs(20)).await;
        assert!(
            heard.closed && matches!(heard.status(), 0 | 408),
            "{heard:?}"
        );
        assert!(heard.after <= Duration::from_secs(10) + SLACK, "{heard:?}");
    };
    let later_head = async {
        let mut client = Raw::connect(&gateway.base).await;
        client
            .write(raw::call("echo", json!({ "text": "first" })))
            .await;
        assert_eq!(client.answer().await.status(), 200);
        client.write("POST /mcp HTTP/1.1\r\nHost: loc").await;
        let heard = client.drip(b"a", second, Duration::from_secs(20)).await;
        assert!(
            heard.closed && matches!(heard.status(), 0 | 408),
            "{heard:?}"
        );
        assert!(heard.after <= Duration::from_secs(10) + SLACK, "{heard:?}");
    };
    let later_head_and_silence = async {
        let mut client = Raw::connect(&gateway.base).await;
        client
            .write(raw::call("echo", json!({ "text": "first" })))
            .await;
        assert_eq!(client.answer().await.status(), 200);
        client.write("POST /mcp HTTP/1.1\r\nHost: loc").await;
        let heard = client.read_for(Duration::from_secs(20)).await;
        assert!(
            heard.closed && matches!(heard.status(), 0 | 408),
            "{heard:?}"
        );
    };
    let body = async |lines: &[&str], piece: &[u8]| {
        let mut client = Raw::connect(&gateway.base).await;
        client.write(posting(lines)).await;
        let heard = client
            .drip(piece, second / 2, Duration::from_secs(40))
            .await;
        assert_eq!((heard.status(), heard.closed), (408, true), "{heard:?}");
        assert!(heard.after <= Duration::from_secs(9) + SLACK, "{heard:?}");
        assert_eq!(heard.json()["error"]["data"]["reason"], "body_too_slow");
    };
    let endless = async {
        let mut client = Raw::connect(&gateway.base).await;
        client.write(posting(&["Transfer-Encoding: chunked"])).await;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let deadline = Instant::now() + Duration::from_secs(20);
        while client.write(&chunk).await && Instant::now() < deadline {}
        assert!(Instant::now() < deadline, "still taken");
        let heard = client.read_for(second).await;
        // The answer may be lost to the reset that follows it.
        assert!(matches!(heard.status(), 0 | 413), "{heard:?}");
    };
    tokio::join!(
        first_head,
        later_head,
        later_head_and_silence,
        body(&["Content-Length: 1000"], b" "),
        body(&["Transfer-Encoding: chunked"], b"1\r\n \r\n"),
        endless,
    );
    gateway.at_rest().await;
    let heads = gateway
        .metric("weir_connections_cut_total{reason=\"slow_head\"}")
        .await;
    assert!(heads >= 2.0, "{heads} heads");
    let slow = gateway.records();
    let slow = slow
        .iter()
        .filter(|record| record["reason"] == "body_too_slow");
    assert_eq!(slow.count(), 2, "each has its record");
    assert!(
        site.calls()
            .iter()
            .all(|call| call.message["params"]["arguments"]["text"] == "first")
    );
}

#[tokio::test]
async fn bodies_that_are_waited_for_keep_no_place_in_the_audit_log() {
    let site = Site::start();
    let audit = json!({ "sink": "file", "path": "audit.jsonl", "queue": 4 });
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\nlimits: {{ max_streams: 4 }}\naudit: {audit}\n",
        site.entry()
    ))
    .connected()
    .await;
    let mut strangers = Vec::new();
    for _ in 0..64 {
        let mut stranger = Raw::connect(&gateway.base).await;
        stranger.write(posting(&["Content-Length: 1000"])).await;
        strangers.push(stranger);
    }
    until("all are waited for", async || {
        gateway.taken("uploads").await == 64
    })
    .await;
    for turn in ["one", "two", "three"] {
        assert_eq!(echo(&gateway, turn).await.text(), turn);
    }
    drop(strangers);
    gateway.at_rest().await;
}

#[tokio::test]
async fn bodies_that_are_waited_for_are_counted() {
    let site = Site::start();
    let limits = "{ max_uploads: 8, max_upload_bytes: 40000 }";
    let gateway = gateway(&site, limits).await;
    let slow = async |bytes: usize| {
        let mut client = Raw::connect(&gateway.base).await;
        client.write(posting(&["Content-Length: 100000"])).await;
        client.write(" ".repeat(bytes)).await;
        client
    };
    // One machine gets half of the places.
    let mut waiting = Vec::new();
    for count in 1..=4 {
        waiting.push(slow(1).await);
        until("it has a place", async || {
            gateway.taken("uploads").await == count
        })
        .await;
    }
    let heard = slow(1).await.answer().await;
    assert!(heard.after < Duration::from_secs(2), "{heard:?}");
    assert_eq!(heard.status(), 503, "{heard:?}");
    assert_eq!(heard.json()["error"]["data"]["reason"], "uploads");
    assert_eq!(heard.json()["error"]["data"]["retryable"], true);
    // A body that is there soon needs none.
    assert_eq!(echo(&gateway, "at once").await.text(), "at once");
    drop(waiting);
    gateway.at_rest().await;

    let heard = slow(39_000).await.answer().await;
    assert_eq!(
        heard.status(),
        503,
        "half of the room for one machine: {heard:?}"
    );
    gateway.at_rest().await;
    // They are counted in one line a second.
    until("both are recorded", async || {
        let records = gateway.records();
        let refused = records
            .iter()
            .filter(|record| record["reason"] == "uploads");
        let counts = refused.map(|record| record["count"].as_u64().unwrap_or(1));
        counts.sum::<u64>() == 2
    })
    .await;
}

/// 2,000 of all kinds at once.
#[tokio::test]
async fn nobody_notices_two_thousand_of_them() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let site = Site::start();
    let gateway = gateway(&site, "{ write_timeout: 5s, max_in_flight: 256 }").await;
    let mut crowd = Vec::new();
    for number in 0..2000 {
        let base = gateway.base.clone();
        crowd.push(tokio::spawn(async move {
            let mut client = Raw::reading_little(&base).await;
            match number % 100 {
                // Readers of large answers hold memory and permits; there are fewer of them.
                0 => {
                    client
                        .write(raw::call("big", json!({ "bytes": 10 << 20 })))
                        .await;
                    let mut head = [0; 15];
                    client.stream.read_exact(&mut head).await.unwrap();
                    tokio::time::sleep(Duration::from_secs(12)).await;
                    client.read_to_end().await
                }
                odd if odd % 2 == 1 => {
                    client.write("POST /mcp HTTP/1.1\r\nHost: loc").await;
                    let heard = client.drip(b"a", Duration::from_secs(1), Duration::from_secs(40));
                    heard.await
                }
                _ => {
                    client.write(posting(&["Content-Length: 1000"])).await;
                    let heard = client.drip(b" ", Duration::from_secs(1), Duration::from_secs(40));
                    heard.await
                }
            }
        }));
    }
    let mut served = 0;
    while !crowd.iter().all(tokio::task::JoinHandle::is_finished) {
        let text = format!("call {served}");
        assert_eq!(echo(&gateway, &text).await.text(), text);
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (number, client) in crowd.into_iter().enumerate() {
        let heard = client.await.unwrap();
        let size = heard.bytes.len();
        assert!(
            heard.closed,
            "{number}: {size} bytes, still connected after {:?}",
            heard.after
        );
        match number % 100 {
            0 => assert!(size < 10 << 20, "{number}: {size} bytes"),
            odd if odd % 2 == 1 => {
                assert!(matches!(heard.status(), 0 | 408), "{number}: {heard:?}")
            }
            _ => assert_eq!(heard.status(), 408, "{number}: {heard:?}"),
        }
    }
    assert!(served >= 100, "{served} calls beside them");
    gateway.at_rest().await;
}
