//! What plugins that are MCP servers say is what happens, and what they do not say does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::legacy_server::{LegacyServer, Reply, Seen, Step};
use support::mcp::{ModernClient, Outcome};
use support::mcp_plugin::{Plugin, plugins};
use support::site::Site;

/// A plugin made by hand, with one tool; `answer` makes the HTTP answer of its calls.
async fn by_hand(
    tool: &'static str,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> LegacyServer {
    let serve = move |seen: &Seen| match seen.method() {
        "tools/list" => {
            let tools = json!([{ "name": tool, "inputSchema": { "type": "object" } }]);
            Some(Reply::Json(200, seen.result(json!({ "tools": tools }))))
        }
        "tools/call" => Some(answer(seen)),
        _ => None,
    };
    LegacyServer::start("2025-06-18", serve).await
}

fn entry(role: &str, url: &str) -> String {
    format!(
        "  {role}:\n    provider: mcp\n    server: {url:?}\n    limits: {{ call_timeout: 500ms }}\n"
    )
}

async fn active(yaml: &str) -> Gateway {
    let gateway = Gateway::start(yaml).connected().await;
    let shown = plugins(&gateway).await;
    assert!(
        shown.iter().all(|plugin| plugin["state"] == "active"),
        "{shown:?}"
    );
    gateway
}

#[actix_rt::test]
async fn who_a_plugin_says_is_calling_may_do_what_another_says() {
    let Some(kit) = Kit::find("plugin_mcp_roles") else {
        return;
    };
    let auth = Plugin::start(&kit, &["--role=auth_provider"]);
    let policy = by_hand("check_access", |seen| {
        let server = &seen.body["params"]["arguments"]["mcp_server"];
        let decision = json!({ "allowed": server != "files", "reason": "no files today" });
        Reply::Json(200, seen.result(json!({ "structuredContent": decision })))
    });
    let policy = policy.await;
    let (files, open) = (Site::start(), Site::start());
    let gateway = active(&format!(
        "plugins:\n{}{}servers:\n  files: {}\n  open: {}\n",
        entry("auth_provider", &auth.url),
        entry("policy_evaluator", &policy.url),
        files.entry(),
        open.entry(),
    ))
    .await;

    let stranger = ModernClient::new(gateway.endpoint_of("open"));
    for stranger in [stranger.clone(), stranger.clone().bearer("alice")] {
        let refused = stranger.call("echo", json!({ "text": "x" })).await;
        assert!(
            matches!(refused, Outcome::Error { status: 401, .. }),
            "{refused:?}"
        );
    }
    assert_eq!(
        policy
            .seen()
            .iter()
            .filter(|seen| seen.method() == "tools/call")
            .count(),
        0
    );

    let alice = |server: &str| ModernClient::new(gateway.endpoint_of(server)).bearer("alice-key");
    let echoed = alice("open").call("echo", json!({ "text": "hello" })).await;
    assert_eq!(echoed.text(), "hello");
    let asked = policy
        .has_seen(1, |seen| seen.method() == "tools/call")
        .await;
    let principal = &asked[0].body["params"]["arguments"];
    for (key, value) in [
        ("user_id", json!("alice")),
        ("tenant_id", json!("acme")),
        ("roles", json!(["admin"])),
        ("groups", json!(["staff"])),
        ("mcp_server", json!("open")),
    ] {
        assert_eq!(principal[key], value);
    }
    let denied = alice("files")
        .call("echo", json!({ "text": "hello" }))
        .await;
    assert!(matches!(denied, Outcome::Error { .. }), "{denied:?}");
    assert_eq!(files.calls().len(), 0);
    let all = ModernClient::new(gateway.endpoint()).bearer("alice-key");
    let Outcome::Result(listed) = all.request("tools/list", json!({})).await else {
        panic!("no list")
    };
    let listed = listed["tools"].as_array().unwrap();
    assert_eq!(listed.len(), 4, "{listed:?}");

    let called = |record: &Value| record["mcp_server"] == "open" && record["user_id"] == "alice";
    let records = gateway.records();
    let record = records.iter().find(|record| called(record)).unwrap();
    assert_eq!(record["tenant_id"], "acme");
    assert!(!gateway.log().contains("alice-key"));
}

/// The ways in which a plugin does not answer. `good` is what it would have said.
fn silences(seen: &Seen, way: &str, good: &Value, wrong: &[Value]) -> Reply {
    let text = |text: &str| seen.says(text);
    let ok = |result: Value| Reply::Json(200, seen.result(result));
    match way {
        "good" => ok(json!({ "structuredContent": good })),
        "nothing" => ok(json!({})),
        "empty" => ok(json!({ "structuredContent": {}, "content": [] })),
        "text" => Reply::Json(200, text("yes, of course")),
        "twice" => Reply::Json(200, text(&format!("{good} {good}"))),
        "error" => ok(json!({ "structuredContent": good, "isError": true })),
        "is_error_text" => ok(json!({ "structuredContent": good, "isError": "true" })),
        "rpc_error" => Reply::Json(
            200,
            json!({ "jsonrpc": "2.0", "id": seen.body["id"], "error": { "code": -32603, "message": "db" }, "extra": good }),
        ),
        "other_id" => Reply::Json(200, json!({ "jsonrpc": "2.0", "id": "x", "result": good })),
        "500" => Reply::Json(500, good.clone()),
        "302" => Reply::Json(302, good.clone()),
        "huge" => {
            let mut huge = good.clone();
            huge["reason"] = "x".repeat(5 << 20).into();
            ok(json!({ "structuredContent": huge }))
        }
        "large" => {
            let mut large = good.clone();
            large["reason"] = "x".repeat(2 << 20).into();
            ok(json!({ "structuredContent": large }))
        }
        "never" => Reply::Events(vec![Step::Hang]),
        "crash" => Reply::Nothing,
        number => {
            let number: usize = number.parse().unwrap();
            ok(json!({ "structuredContent": wrong[number] }))
        }
    }
}

const WAYS: [&str; 15] = [
    "nothing",
    "empty",
    "text",
    "twice",
    "error",
    "is_error_text",
    "rpc_error",
    "other_id",
    "500",
    "302",
    "huge",
    "large",
    "never",
    "crash",
    "0",
];

#[actix_rt::test]
async fn an_auth_plugin_that_names_nobody_lets_nobody_in() {
    let way = Arc::new(Mutex::new(String::new()));
    let current = way.clone();
    let auth = by_hand("validate_credential", move |seen| {
        let good = json!({ "user_id": "alice", "roles": ["admin"] });
        let wrong = [
            json!({ "roles": ["admin"] }),
            json!({ "user_id": "" }),
            json!({ "user_id": null }),
            json!({ "user_id": 7 }),
            json!({ "user_id": ["alice"] }),
            json!({ "user_id": "alice", "roles": "admin" }),
            json!(["alice"]),
        ];
        silences(seen, &current.lock().unwrap(), &good, &wrong)
    });
    let auth = auth.await;
    let site = Site::start();
    let gateway = active(&format!(
        "plugins:\n{}servers:\n  up: {}\n",
        entry("auth_provider", &auth.url),
        site.entry()
    ))
    .await;
    let unavailable = "weir_auth_cache_total{outcome=\"unavailable\"}";
    for each in WAYS.into_iter().chain(["1", "2", "3", "4", "5", "6"]) {
        *way.lock().unwrap() = each.to_owned();
        let before = gateway.metric(unavailable).await;
        let client = ModernClient::new(gateway.endpoint_of("up")).bearer(&format!("key-{each}"));
        let refused = client.call("echo", json!({ "text": "x" })).await;
        let Outcome::Error { status, .. } = refused else {
            panic!("{each}: {refused:?}")
        };
        let counted = gateway.metric(unavailable).await - before;
        // What the plugin refuses is refused; where it says nothing of use nobody knows.
        match each {
            "error" | "rpc_error" => assert_eq!((status, counted), (401, 0.0), "{each}"),
            _ => assert_eq!((status, counted), (503, 1.0), "{each}"),
        }
    }
    assert_eq!(site.calls().len(), 0);
    *way.lock().unwrap() = "good".to_owned();
    let client = ModernClient::new(gateway.endpoint_of("up")).bearer("key-good");
    let echoed = client.call("echo", json!({ "text": "hello" })).await;
    assert_eq!(echoed.text(), "hello");
}

#[actix_rt::test]
async fn a_policy_plugin_that_does_not_decide_allows_nothing() {
    let way = Arc::new(Mutex::new(String::new()));
    let current = way.clone();
    let policy = by_hand("check_access", move |seen| {
        let good = json!({ "allowed": true });
        let wrong = [
            json!({ "allowed": "true" }),
            json!({ "allowed": 1 }),
            json!({ "allowed": null }),
            json!({ "allow": true }),
            json!([true]),
            json!({ "result": true }),
        ];
        silences(seen, &current.lock().unwrap(), &good, &wrong)
    });
    let policy = policy.await;
    let site = Site::start();
    let gateway = active(&format!(
        "plugins:\n{}servers:\n  up: {}\n",
        entry("policy_evaluator", &policy.url),
        site.entry()
    ))
    .await;
    let client = ModernClient::new(gateway.endpoint_of("up"));
    for each in WAYS.into_iter().chain(["1", "2", "3", "4", "5"]) {
        *way.lock().unwrap() = each.to_owned();
        let refused = client.call("echo", json!({ "text": "x" })).await;
        assert!(
            matches!(refused, Outcome::Error { .. }),
            "{each}: {refused:?}"
        );
    }
    assert_eq!(site.calls().len(), 0);
    let unavailable = "weir_policy_cache_total{outcome=\"unavailable\"}";
    assert!(gateway.metric(unavailable).await >= 19.0);
    *way.lock().unwrap() = "good".to_owned();
    let echoed = client.call("echo", json!({ "text": "hello" })).await;
    assert_eq!(echoed.text(), "hello");
}
