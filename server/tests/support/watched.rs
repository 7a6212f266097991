//! A gateway to which everything happens that is counted.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::gateway::Gateway;
use super::mcp::{LegacyClient, ModernClient};
use super::upstream::{demo_entry, http_entry};
use super::{proc_fs, wire};

/// A gateway with an HTTP server and a child process behind it.
pub(crate) struct Watched {
    pub(crate) gateway: Gateway,
    _behind: Gateway,
}

// === impl Watched ===

impl Watched {
    pub(crate) async fn start() -> Self {
        let behind = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
            .connected()
            .await;
        let gateway = Gateway::start(&format!(
            "servers:\n  web: {}\n  child: {}\nlimits:\n  principal: {{ rate: 20/s, burst: 20 }}\n  upstream: {{ max_in_flight: 1, max_wait: 1s }}\nmetrics: {{ stage_sample: 1 }}\nplugins:\n  telemetry: {{ provider: in-memory, implementation: noop }}\n",
            http_entry(&behind.endpoint()),
            demo_entry()
        ))
        .connected()
        .await;
        Self {
            gateway,
            _behind: behind,
        }
    }

    /// Some of everything: calls that succeed, fail, are refused and are too many, in both eras and at both servers.
    pub(crate) async fn load(&self) {
        for server in ["web", "child"] {
            // First of all, while there is room for it.
            let legacy = LegacyClient::connect(self.gateway.endpoint_of(server), &[]).await;
            // It may be too many already.
            let Ok(legacy) = legacy else { continue };
            legacy.call("echo", json!({ "text": "b" })).await;
            let session = [("mcp-session-id", legacy.session.as_str())];
            let ended = wire::send(Method::DELETE, &legacy.endpoint, &session, "").await;
            ended.unwrap();
            let modern = ModernClient::new(self.gateway.endpoint_of(server));
            for _ in 0..5 {
                let call = || modern.call("echo", json!({ "text": "a" }));
                // One has to wait for the others.
                tokio::join!(call(), call(), call());
            }
            modern.call("echo", json!({})).await;
            modern.call("nobody", json!({})).await;
            modern.request("nothing/known", json!({})).await;
        }
        // The bucket fills again meanwhile.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    /// So that there is something to restart.
    pub(crate) fn kill_a_child(&self) {
        proc_fs::kill(proc_fs::children(self.gateway.pid())[0].pid);
    }
}
