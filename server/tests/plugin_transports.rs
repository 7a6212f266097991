//! One story, told over every transport.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::kit::Kit;
use support::plugins::{by_hand, story};
use support::process::Process;
use support::upstream::free_port;
use tokio::time::{sleep, timeout};
use weir_actors::plugin::{Call, CallError, MockTransport, PluginClient, PluginTransport};
use weir_actors::transport::{SidecarTransport, StdioTransport, SubprocessTransport};
use weir_actors::upstream::http::HttpClientConfig;

const PATIENCE: Duration = Duration::from_secs(20);

type Client = Arc<dyn PluginClient>;

async fn call(client: &Client, method: &str, params: Value) -> Result<Value, CallError> {
    within(PATIENCE, client, method, params).await
}

async fn within(
    patience: Duration,
    client: &Client,
    method: &str,
    params: Value,
) -> Result<Value, CallError> {
    let answer = client.call(Call::within(patience, method, &params)).await?;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    Ok(answer["result"].clone())
}

/// Connects, and returns how often the plugin said that it cannot serve yet.
async fn connected(transport: &dyn PluginTransport) -> (Client, u32) {
    let client = timeout(PATIENCE, transport.connect())
        .await
        .unwrap()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut ill = 0;
    while let Err(error) = client.health().await {
        assert!(error.to_string().contains("not ready"), "{error}");
        assert!(Instant::now() < deadline);
        ill += 1;
        sleep(Duration::from_millis(10)).await;
    }
    (client, ill)
}

/// What every transport must do alike. The plugin says first that it is not ready.
async fn told(transport: &dyn PluginTransport) -> Client {
    let (client, ill) = connected(transport).await;
    assert!(ill >= 1, "it was ready at once");
    assert_eq!(client.version(), "3.2.1");

    let params = json!({ "text": "zeile\n\u{1F980}", "number": 1 });
    assert_eq!(call(&client, "echo", params.clone()).await.unwrap(), params);
    let unknown = call(&client, "sing", json!({})).await.unwrap_err();
    assert_eq!(unknown, CallError::UnknownMethod("sing".to_owned()));
    let refused = call(&client, "fail", json!({})).await.unwrap_err();
    assert_eq!(refused, CallError::Refused("on purpose".to_owned()));
    let huge = call(&client, "huge", json!({})).await.unwrap_err();
    assert_eq!(huge, CallError::TooLarge);
    assert_eq!(call(&client, "echo", params.clone()).await.unwrap(), params);

    let numbers = (0..20).map(|number| call(&client, "echo", json!({ "number": number })));
    for (number, answer) in join_all(numbers).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap()["number"], number);
    }

    let begun = Instant::now();
    let patience = Duration::from_millis(100);
    let slow = within(patience, &client, "slow", json!({ "seconds": 0.6 })).await;
    assert_eq!(slow, Err(CallError::Timeout));
    assert!(begun.elapsed() < Duration::from_millis(500));
    assert_eq!(call(&client, "echo", params.clone()).await.unwrap(), params);
    client
}

async fn closed(client: Client) {
    client.close().await.unwrap();
    client.close().await.unwrap();
    let late = call(&client, "echo", json!({})).await;
    assert_eq!(late, Err(CallError::Closed));
    assert_eq!(client.health().await, Err(CallError::Closed));
}

/// A plugin that ends while it is asked.
async fn crashed(transport: &dyn PluginTransport, how: &str) {
    let (client, _) = connected(transport).await;
    let (slow, crash) = tokio::join!(call(&client, "slow", json!({ "seconds": 30 })), async {
        sleep(Duration::from_millis(100)).await;
        call(&client, "crash", json!({})).await
    });
    for lost in [slow.unwrap_err(), crash.unwrap_err()] {
        assert!(lost.is_retryable(), "{lost}");
    }
    // Whoever only connects to it learns from a call that nobody is there. While it ends, connections are still taken.
    let late = async {
        loop {
            match call(&client, "echo", json!({})).await.unwrap_err() {
                CallError::Lost(_) => sleep(Duration::from_millis(5)).await,
                late => return late,
            }
        }
    };
    let late = timeout(PATIENCE, late).await.unwrap();
    assert!(matches!(late, CallError::Unreachable(_)), "{late}");
    let ended = timeout(PATIENCE, client.ended()).await.unwrap();
    assert!(ended.contains(how), "{ended}");
    client.close().await.unwrap();
}

#[actix_rt::test]
async fn over_http_to_a_process_of_ours() {
    let Some(kit) = Kit::find("the story over subprocess") else {
        return;
    };
    let transport = |arguments: &[&str]| {
        SubprocessTransport::new(story(&kit, arguments), HttpClientConfig::default())
    };
    closed(told(&transport(&["--ill", "2"])).await).await;
    crashed(&transport(&[]), "exit status: 3").await;
    // Wherever it listens, it is asked on the loopback.
    closed(connected(&transport(&["--any-address"])).await.0).await;
}

#[actix_rt::test]
async fn over_http_to_a_process_of_somebody_else() {
    let Some(kit) = Kit::find("the story over sidecar") else {
        return;
    };
    let start = |arguments: &[&str]| -> (Process, SidecarTransport) {
        let port = free_port().to_string();
        let arguments = [&["--port", &port], arguments].concat();
        let process = by_hand(&story(&kit, &[]), &arguments);
        let url = format!("http://localhost:{port}");
        let transport =
            SidecarTransport::new(&url, &BTreeMap::new(), HttpClientConfig::default()).unwrap();
        (process, transport)
    };
    // The first time it is asked while it is connected to.
    let (mut sidecar, transport) = start(&["--ill", "3"]);
    closed(told(&transport).await).await;
    assert!(
        sidecar.wait_exit(Duration::ZERO).is_none(),
        "it is not ours to end"
    );
    let (_sidecar, transport) = start(&[]);
    crashed(&transport, "no connection").await;
}

#[actix_rt::test]
async fn over_pipes_by_id_and_in_order() {
    let Some(kit) = Kit::find("the story over stdio") else {
        return;
    };
    let transport = |arguments: &[&str]| {
        let arguments = [&["--pipes"], arguments].concat();
        StdioTransport::new(story(&kit, &arguments))
    };
    closed(told(&transport(&["--ill", "2"])).await).await;
    closed(told(&transport(&["--ill", "2", "--in-order"])).await).await;
    crashed(&transport(&[]), "exit status: 3").await;
}

#[actix_rt::test]
async fn over_nothing_to_a_mock() {
    let mock = MockTransport::new(|method, params| match method {
        "echo" => Ok(json!({ "result": params }).to_string().into()),
        "fail" => Err(CallError::Refused("on purpose".to_owned())),
        other => Err(CallError::UnknownMethod(other.to_owned())),
    });
    mock.ail(2);
    let client = mock.connect().await.unwrap();
    assert!(client.health().await.is_err() && client.health().await.is_err());
    client.health().await.unwrap();
    let params = json!({ "number": 1 });
    assert_eq!(call(&client, "echo", params.clone()).await.unwrap(), params);
    let unknown = call(&client, "sing", json!({})).await.unwrap_err();
    assert_eq!(unknown, CallError::UnknownMethod("sing".to_owned()));
    let refused = call(&client, "fail", json!({})).await.unwrap_err();
    assert_eq!(refused, CallError::Refused("on purpose".to_owned()));
    client.close().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(call(&client, "echo", params).await, Err(CallError::Closed));
}
