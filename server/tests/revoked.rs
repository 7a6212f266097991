//! Streams outlive the rules under which they were opened: when a reload takes the key of a caller or the permission,
//! its streams end, and those of everybody else go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::events::Events;
use support::gateway::Gateway;
use support::keys::{ApiKey, api_keys};
use support::mcp::{LegacyClient, MODERN};
use support::upstream::demo_entry;

/// Longest time until what happened is in the audit log.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

/// Everything that one caller has open.
struct Listener {
    modern: Events,
    standalone: Events,
    sse: Events,
    legacy: LegacyClient,
}

impl Listener {
    async fn start(gateway: &Gateway, key: &ApiKey) -> Self {
        let bearer = format!("Bearer {}", key.key);
        let shown = ("authorization", bearer.as_str());
        let legacy = LegacyClient::connect(gateway.endpoint(), &[shown])
            .await
            .unwrap();
        let mut standalone = legacy.listen(None).await;
        assert_eq!(standalone.status, 200);
        assert!(standalone.next().await.unwrap().id.is_some(), "its name");

        let url = format!("{}/sse", gateway.base);
        let mut sse = Events::open(http::Method::GET, &url, &[shown], "").await;
        let endpoint = sse.next().await.unwrap().data;
        assert!(endpoint.starts_with('/'), "{endpoint}");

        let mut modern = Self::listen(gateway, shown).await;
        let (_, acknowledged) = modern.message().await.unwrap();
        let method = "notifications/subscriptions/acknowledged";
        assert_eq!(acknowledged["method"], method, "{acknowledged}");
        Self {
            modern,
            standalone,
            sse,
            legacy,
        }
    }

    async fn listen(gateway: &Gateway, shown: (&str, &str)) -> Events {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "subscriptions/listen"),
            shown,
        ];
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "_meta": meta, "notifications": { "toolsListChanged": true } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params });
        let url = gateway.endpoint();
        Events::open(http::Method::POST, &url, &headers, body.to_string()).await
    }

    /// All of them end; what is said before is no news.
    async fn cut_off(self) -> LegacyClient {
        for (which, stream) in [
            ("modern", self.modern),
            ("standalone", self.standalone),
            ("sse", self.sse),
        ] {
            let rest: Vec<Value> = stream
                .rest()
                .await
                .into_iter()
                .map(|(_, said)| said)
                .collect();
            let silent = rest.iter().all(|said| said.get("method").is_none());
            assert!(silent, "{which}: {rest:?}");
        }
        self.legacy
    }

    /// The tools have changed, and it is told where it has a session; the others are open as well.
    async fn hears_of_a_change(&mut self, gateway: &Gateway) {
        let (_, said) = self.standalone.message().await.expect("it goes on");
        let method = "notifications/tools/list_changed";
        assert_eq!(said["method"], method, "{said}");
        assert_eq!(gateway.taken("streams").await, 3);
    }
}

fn yaml(auth: &str, more: &str) -> String {
    format!(
        "reload: {{ watch: false }}\nservers:\n  up: {}\n{more}{auth}",
        demo_entry()
    )
}

async fn reload(gateway: &Gateway, yaml: &str) {
    gateway.configure(yaml);
    let report = gateway.reload().await;
    assert_eq!(report.status, 200, "{}", report.json());
}

#[tokio::test]
async fn a_key_that_is_taken_away_ends_the_streams_of_its_caller() {
    let (alice, bob) = (ApiKey::new("alice", &[]), ApiKey::new("bob", &[]));
    let both = api_keys(&[&alice, &bob]);
    let gateway = Gateway::start(&yaml(&both, "")).connected().await;
    let mut alices = Listener::start(&gateway, &alice).await;
    let bobs = Listener::start(&gateway, &bob).await;
    assert_eq!(gateway.taken("streams").await, 6);

    reload(&gateway, &yaml(&api_keys(&[&alice]), "")).await;
    let bob = bobs.cut_off().await;
    assert_eq!(bob.listen(None).await.status, 401, "nor can he come back");

    // Her streams go on, and hear of what has changed since.
    let more = format!("  more: {}\n", demo_entry());
    reload(&gateway, &yaml(&api_keys(&[&alice]), &more)).await;
    alices.hears_of_a_change(&gateway).await;
    let deadline = Instant::now() + RECORDED_WITHIN;
    loop {
        let records = gateway.records();
        let revoked = records
            .iter()
            .filter(|record| record["reason"] == "revoked");
        let count = revoked.count();
        if count == 3 {
            break;
        }
        assert!(count < 3 && Instant::now() < deadline, "{records:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn other_roles_are_another_caller() {
    let (alice, bob) = (ApiKey::new("alice", &[]), ApiKey::new("bob", &["reader"]));
    let gateway = Gateway::start(&yaml(&api_keys(&[&alice, &bob]), ""))
        .connected()
        .await;
    let bobs = Listener::start(&gateway, &bob).await;
    let promoted = ApiKey {
        entry: bob.entry.replace("reader", "writer"),
        key: bob.key.clone(),
    };
    assert_ne!(promoted.entry, bob.entry);
    reload(&gateway, &yaml(&api_keys(&[&alice, &promoted]), "")).await;
    let bob = bobs.cut_off().await;
    assert_eq!(bob.listen(None).await.status, 200, "as who he is now");
}

#[tokio::test]
async fn a_rule_that_forbids_ends_the_streams() {
    let (alice, bob) = (ApiKey::new("alice", &[]), ApiKey::new("bob", &[]));
    let both = api_keys(&[&alice, &bob]);
    let ruled = |rules: &str| yaml(&format!("{both}policy: {{ rules: [{rules}] }}\n"), "");
    let all = "{ name: all, effect: allow }";
    let gateway = Gateway::start(&ruled(all)).connected().await;
    let mut alices = Listener::start(&gateway, &alice).await;
    let bobs = Listener::start(&gateway, &bob).await;
    let not_bob = "{ name: not-bob, effect: deny, principals: [bob] }";
    reload(&gateway, &ruled(&format!("{not_bob}, {all}"))).await;
    bobs.cut_off().await;
    let more = format!("  more: {}\n", demo_entry());
    let later = ruled(&format!("{not_bob}, {all}")).replace("auth:", &format!("{more}auth:"));
    reload(&gateway, &later).await;
    alices.hears_of_a_change(&gateway).await;
}
