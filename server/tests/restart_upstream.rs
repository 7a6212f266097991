//! An HTTP server restarts in the middle of a client's session: an answer is right or an error, never an empty success.
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
use support::kit::Kit;
use support::mcp::{LegacyClient, ModernClient, Outcome};
use support::upstream::{Eras, Upstream, http_entry};

/// Longest time until calls work again once the server is back.
const HEALTHY_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_legacy_session_survives_the_restart() {
    let Some(kit) = Kit::find("restart_upstream") else {
        return;
    };
    let mut server = Upstream::conformance(&kit, Eras::Legacy);
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", http_entry(&server.url)))
        .connected()
        .await;
    let client = LegacyClient::connect(gateway.endpoint_of("up"), &[])
        .await
        .unwrap();
    let call = async || client.call("greet", json!({ "name": "Ada" })).await;
    assert_eq!(call().await.text(), "Hello, Ada!");

    for _ in 0..3 {
        let port = server.port();
        server.kill();
        for _ in 0..5 {
            assert_ne!(call().await.code(), None, "nobody was there to answer");
        }
        server = Upstream::conformance_at(&kit, Eras::Legacy, port);
        works_again(&call).await;
    }
}

#[tokio::test]
async fn a_modern_client_hardly_notices() {
    let Some(kit) = Kit::find("restart_upstream") else {
        return;
    };
    let mut server = Upstream::conformance(&kit, Eras::Modern);
    let gateway = Gateway::start(&format!("servers:\n  up: {}\n", http_entry(&server.url)))
        .connected()
        .await;
    let client = ModernClient::new(gateway.endpoint_of("up"));
    let call = async || client.call("greet", json!({ "name": "Ada" })).await;
    assert_eq!(call().await.text(), "Hello, Ada!");

    let port = server.port();
    server.kill();
    let refused = call().await;
    assert!(
        matches!(
            refused,
            Outcome::Error {
                status: 502..=504,
                ..
            }
        ),
        "{refused:?}"
    );
    let _server = Upstream::conformance_at(&kit, Eras::Modern, port);
    works_again(&call).await;
}

/// Calls until the answer is good. Whatever comes before must be an error that says so.
async fn works_again(call: &impl AsyncFn() -> Outcome) {
    let deadline = Instant::now() + HEALTHY_WITHIN;
    loop {
        match call().await {
            good @ Outcome::Result(_) => {
                assert_eq!(good.text(), "Hello, Ada!");
                return;
            }
            Outcome::Error { message, .. } => assert!(!message.is_empty()),
        }
        assert!(
            Instant::now() < deadline,
            "not healthy {HEALTHY_WITHIN:?} after the restart"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
