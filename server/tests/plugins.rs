//! Plugins in memory run under supervision and are shown, and the contract can be used from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::mcp::ModernClient;
use support::wire;
use weir_actors::plugin::{
    BoxFuture, CALL_DEADLINE, Call, CallError, ConnectError, MockPluginClient, PluginClient,
    PluginTransport,
};

const IN_MEMORY: &str = include_str!("config/roles-in-memory.yaml");

async fn read(gateway: &Gateway, path: &str) -> Value {
    let answer = wire::get(&format!("{}{path}", gateway.admin)).await;
    answer.expect("the admin listener answers").json()
}

#[actix_rt::test]
async fn plugins_in_memory_are_supervised_and_shown() {
    let demo = format!(
        "servers:\n  demo: {{ type: stdio, command: {:?}, args: [demo] }}\n# audit: as the plugin says\n",
        env!("CARGO_BIN_EXE_weir")
    );
    let gateway = Gateway::start(&format!("{IN_MEMORY}{demo}"))
        .connected()
        .await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let plugins = loop {
        let plugins = read(&gateway, "/plugins").await;
        let all = plugins.as_array().unwrap();
        if all.iter().all(|plugin| plugin["state"] == "active") {
            break plugins;
        }
        assert!(Instant::now() < deadline, "{plugins}");
    };
    let version = env!("CARGO_PKG_VERSION");
    let shown = |key: &str| {
        json!({
            "name": key, "key": key, "role": key, "transport": "in-memory", "state": "active",
            "generation": 1, "restarts": 0, "quarantined": false, "version": version,
            "in_flight": 0, "waiting": 0, "calls": {},
        })
    };
    assert_eq!(
        plugins,
        json!([shown("audit_sink"), shown("auth_provider")])
    );
    let tree = read(&gateway, "/tree").await;
    let groups = tree["children"].as_array().unwrap();
    let group = groups
        .iter()
        .find(|child| child["name"] == "plugins")
        .unwrap();
    let children = group["supervisor"]["children"].as_array().unwrap();
    let names: Vec<_> = children.iter().map(|child| &child["name"]).collect();
    assert_eq!(names, ["audit_sink", "auth_provider"]);
    assert!(
        children.iter().all(|child| child["state"] == "running"),
        "{children:?}"
    );
    let client = ModernClient::new(gateway.endpoint());
    let echoed = client.call("echo", json!({ "text": "hello" })).await;
    assert_eq!(echoed.text(), "hello");
    gateway.says("\"user_id\":\"desktop-user\"");
    gateway.says("plugin started");
}

/// A plugin as somebody else would mock it.
struct Counting {
    total: Arc<AtomicI64>,
}

impl PluginTransport for Counting {
    fn kind(&self) -> &'static str {
        "counting"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        let total = self.total.clone();
        let client = MockPluginClient::new(move |method, params| match method {
            "record-counter" => {
                total.fetch_add(params["value"].as_i64().unwrap_or(0), Ordering::Relaxed);
                Ok(Bytes::from_static(br#"{"result":"ok"}"#))
            }
            other => Err(CallError::UnknownMethod(other.to_owned())),
        });
        let client: Arc<dyn PluginClient> = Arc::new(client);
        Box::pin(async move { Ok(client) })
    }
}

#[actix_rt::test]
async fn the_contract_can_be_mocked_from_outside() {
    let total = Arc::new(AtomicI64::new(0));
    let transport = Counting {
        total: total.clone(),
    };
    let client = transport.connect().await.unwrap();
    let params = json!({ "name": "mcp.tool.calls", "value": 2, "attributes": { "mcp.tool.name": "docker_ps" } });
    let count = || Call::within(CALL_DEADLINE, "record-counter", &params);
    for _ in 0..3 {
        let answer = client.call(count()).await.unwrap();
        assert_eq!(answer, r#"{"result":"ok"}"#);
    }
    assert_eq!(total.load(Ordering::Relaxed), 6);
    let nothing = json!({});
    let song = Call::within(CALL_DEADLINE, "sing", &nothing);
    let unknown = client.call(song).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the plugin has no method sing");
    client.close().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(client.call(count()).await, Err(CallError::Closed));
}
