use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};
use weir_plugin_protocol::Secret;

use super::scripted::{Reply, Scripted, answer, ok};
use crate::plugin::{Call, CallError, PluginClient, PluginTransport};
use crate::transport::SidecarTransport;
use crate::upstream::http::HttpClientConfig;

const PATIENCE: Duration = Duration::from_secs(5);

fn transport(url: &str, headers: &[(&str, &str)]) -> SidecarTransport {
    let headers: BTreeMap<String, Secret> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
        .collect();
    let transport = SidecarTransport::new(url, &headers, HttpClientConfig::default()).unwrap();
    transport.patience(Duration::from_millis(1500))
}

/// A plugin that answers `script` to calls and is healthy.
async fn plugin(
    script: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> (Scripted, Arc<dyn PluginClient>) {
    let plugin = Scripted::start(move |request| match request.starts_with("GET /health ") {
        true => ok(""),
        false => script(request),
    })
    .await;
    let client = transport(&plugin.url, &[]).connect().await.unwrap();
    (plugin, client)
}

async fn call(client: &dyn PluginClient) -> Result<String, CallError> {
    let params = json!({ "name": "mcp.tool.calls", "value": 1 });
    let call = Call::within(PATIENCE, "record-counter", &params);
    let answer = client.call(call).await?;
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

#[tokio::test]
async fn the_request_is_the_one_of_the_protocol_and_the_answer_is_returned_raw() {
    let plugin = Scripted::start(|_| ok(r#"{ "result" : "ok" }"#)).await;
    let headers = [("X-Plugin-Token", "s3cret"), ("Host", "elsewhere")];
    let transport = transport(&format!("{}/below/", plugin.url), &headers);
    let client = transport.connect().await.unwrap();
    let asked = plugin.last();
    assert!(
        asked.starts_with("GET /below/health HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains("x-plugin-token: s3cret\r\n"), "{asked}");
    let params = json!({ "event_type": "tool.call" });
    let event = Call::within(Duration::from_secs(7), "log_event", &params);
    assert_eq!(client.call(event).await.unwrap(), r#"{ "result" : "ok" }"#);
    let asked = plugin.last();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        r#"{"method":"log-event","params":{"event_type":"tool.call"}}"#
    );
    assert!(head.starts_with("POST /below/call HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.to_owned())
    };
    assert_eq!(header("content-type").unwrap(), "application/json");
    assert_eq!(header("x-plugin-token").unwrap(), "s3cret");
    assert_eq!(
        header("host").unwrap(),
        plugin.url.strip_prefix("http://").unwrap()
    );
    let left: u64 = header("weir-deadline-ms").unwrap().parse().unwrap();
    assert!((6000..=7000).contains(&left), "{left}");
    assert_eq!(*plugin.connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn every_bad_answer_is_an_error_of_its_own() {
    let cases = [
        (
            answer("500 Internal Server Error", "boom\n"),
            "plugin returned error: boom (status 500)",
        ),
        (
            answer("204 No Content", ""),
            "plugin returned error:  (status 204)",
        ),
        (ok(r#"{"error":"x"}"#), "plugin returned error: x"),
        (
            ok(r#"{"error":"unknown method: record-counter"}"#),
            "the plugin has no method record-counter",
        ),
        (
            answer("404 Not Found", "unknown method"),
            "the plugin has no method record-counter",
        ),
        (
            ok("<html>"),
            "the plugin's answer breaks the contract: no JSON: expected value at line 1 column 1",
        ),
        (
            Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n{".to_vec()),
            "the plugin's answer is too long",
        ),
        (
            Reply::Bytes(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_vec(),
            ),
            "the plugin's answer breaks the contract: no usable HTTP: the upstream compressed its answer",
        ),
        (
            Reply::Last(b"SSH-2.0-x\r\n".to_vec()),
            "the plugin's answer breaks the contract: no usable HTTP: invalid HTTP version",
        ),
        (
            Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()),
            "the plugin ended before it answered: it closed the connection",
        ),
        (
            Reply::Last(Vec::new()),
            "the plugin ended before it answered: it closed the connection",
        ),
    ];
    for (reply, error) in cases {
        let (_plugin, client) = plugin(move |_| reply.clone()).await;
        let failed = call(&*client).await.unwrap_err();
        assert_eq!(failed.to_string(), error);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    for (head, error) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "the plugin's answer is too long"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000000\r\n",
            "the plugin's answer is too long",
        ),
        ("HTTP/1.1 500 No\r\n\r\n", "xx… (status 500)"),
    ] {
        let (plugin, client) = plugin(move |_| Reply::Flood(head.as_bytes().to_vec())).await;
        let failed = call(&*client).await.unwrap_err().to_string();
        assert!(failed.contains(error) && failed.len() < 2000, "{failed}");
        let written = *plugin.flooded.lock().unwrap();
        assert!(written < 16 << 20, "{written} bytes were taken");
    }
}

#[tokio::test]
async fn who_gives_no_answer_in_time_is_not_waited_for() {
    let (_plugin, client) = plugin(|_| Reply::Silence).await;
    let params = json!({ "name": "a", "value": 1 });
    let begun = Instant::now();
    let slow = Call::within(Duration::from_millis(50), "record-counter", &params);
    assert_eq!(client.call(slow).await, Err(CallError::Timeout));
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_connection_is_kept_until_the_plugin_ends_it() {
    let served = AtomicUsize::new(0);
    let (plugin, client) = plugin(move |_| match served.fetch_add(1, Ordering::Relaxed) {
        2 => Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
        _ => ok("{}"),
    })
    .await;
    for _ in 0..6 {
        assert_eq!(call(&*client).await.unwrap(), "{}");
    }
    let connections = *plugin.connections.lock().unwrap();
    // The end of the first one may be noticed before the next call or only when nothing could be written.
    assert_eq!(connections, 2);
    let calls = plugin.asked.lock().unwrap().len() - 1;
    assert_eq!(calls, 6, "nothing is sent twice");
}

#[tokio::test]
async fn calls_go_side_by_side_and_on_connections_that_are_there() {
    let (plugin, client) = plugin(|_| ok("{}")).await;
    for _ in 0..3 {
        let calls = (0..8).map(|_| call(&*client));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.unwrap(), "{}");
        }
    }
    let connections = *plugin.connections.lock().unwrap();
    assert!(connections <= 9, "{connections}");
}

#[tokio::test]
async fn health_is_the_status_200_alone_and_may_tell_the_version() {
    let answers = AtomicUsize::new(0);
    let plugin = Scripted::start(move |_| match answers.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => answer("503 Service Unavailable", "warming up"),
        2 => answer("204 No Content", ""),
        _ => ok(r#"{"status":"ok","version":"1.4.0"}"#),
    })
    .await;
    // It is there, though it cannot serve yet.
    let client = transport(&plugin.url, &[]).connect().await.unwrap();
    let sick = client.health().await.unwrap_err().to_string();
    assert_eq!(sick, "plugin returned error: warming up (status 503)");
    assert!(client.health().await.is_err());
    assert_eq!(client.version(), "unknown");
    client.health().await.unwrap();
    assert_eq!(client.version(), "1.4.0");
}

#[tokio::test]
async fn closed_is_closed() {
    let (plugin, client) = plugin(|_| ok("{}")).await;
    call(&*client).await.unwrap();
    client.close().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(call(&*client).await, Err(CallError::Closed));
    assert_eq!(client.health().await, Err(CallError::Closed));
    assert_eq!(plugin.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_absence_is_noticed_with_the_next_call() {
    let (mut plugin, client) = plugin(|_| ok("{}")).await;
    call(&*client).await.unwrap();
    assert!(
        timeout(Duration::from_millis(10), client.ended())
            .await
            .is_err()
    );
    plugin.stop().await;
    let begun = Instant::now();
    let failed = call(&*client).await.unwrap_err();
    assert!(matches!(failed, CallError::Unreachable(_)), "{failed}");
    assert!(failed.is_retryable() && !failed.may_have_been_carried_out());
    assert!(begun.elapsed() < Duration::from_secs(1));
    let how = timeout(PATIENCE, client.ended()).await.unwrap();
    assert!(how.starts_with("no connection: "), "{how}");
    let refused = transport(&plugin.url, &[]).connect().await.err().unwrap();
    assert!(
        refused
            .to_string()
            .starts_with("the plugin cannot be reached: no connection: ")
    );
}

#[tokio::test]
async fn who_is_not_there_yet_is_tried_with_growing_pauses() {
    let tries = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = tries.clone();
    let plugin = Scripted::start(move |_| {
        let mut tries = log.lock().unwrap();
        tries.push(Instant::now());
        match tries.len() {
            5 => ok(""),
            _ => Reply::Last(Vec::new()),
        }
    })
    .await;
    let transport = transport(&plugin.url, &[]).patience(PATIENCE);
    transport.connect().await.unwrap();
    let tries = tries.lock().unwrap();
    let pauses = tries
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64());
    // 100 ms, doubling, each a fifth more or less; a busy machine adds to them.
    for (pause, least) in pauses.zip([0.08, 0.16, 0.32, 0.64]) {
        assert!(pause >= least, "{pause} s after at least {least} s");
    }
}

#[test]
fn addresses_and_headers_are_checked_without_telling_values() {
    let make = |url: &str, name: &str, value: &str| {
        let headers = [(name.to_owned(), Secret::new(value))].into();
        let made = SidecarTransport::new(url, &headers, HttpClientConfig::default());
        made.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(make("http://localhost:8081", "X-Token", "s3cret"), Ok(()));
    for (url, name, value, error) in [
        ("localhost:8081", "a", "b", "not an upstream URL"),
        ("http://localhost/?a=b", "a", "b", "has no query"),
        ("http://localhost", "a b", "c", "the header a b is not"),
        ("http://localhost", "a", "s3cret\n", "the header a is not"),
    ] {
        let failed = make(url, name, value).unwrap_err();
        assert!(
            failed.contains(error) && !failed.contains("s3cret"),
            "{failed}"
        );
    }
}
