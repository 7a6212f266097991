//! Plugins that are MCP servers: the one on the official Python SDK in `plugins/mcp-python`, and servers made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::legacy_server::{LegacyServer, Reply};
use support::mcp_plugin::{LIMIT, Plugin, call, connect, plugins, remote};
use support::wire;
use weir_actors::plugin::{CallError, PluginTls, RemoteServer, Role};
use weir_actors::upstream::config::Protocol;

#[actix_rt::test]
async fn a_server_on_the_sdk_plays_every_role_and_hears_nothing_else() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let plugin = Plugin::start(
        &kit,
        &[
            "--role=auth_provider",
            "--role=credential_storage",
            "--role=auth_proxy",
            "--role=policy_evaluator",
            "--role=audit_sink",
            "--role=telemetry",
            "--deny=bob:files",
        ],
    );
    let mut clients = Vec::new();
    for role in [
        Role::AuthProvider,
        Role::CredentialStorage,
        Role::AuthProxy,
        Role::PolicyEvaluator,
        Role::AuditSink,
        Role::Telemetry,
    ] {
        let client = connect(plugin.remote(), role).await.unwrap();
        client.health().await.unwrap();
        assert_eq!(client.version(), "1.0.0");
        clients.push(client);
    }
    let [auth, storage, proxy, policy, audit, telemetry] = clients.as_slice() else {
        unreachable!("six roles")
    };

    let key = json!({ "type": "api_key", "value": "alice-key" });
    let principal = call(auth, "validate_credential", key).await.unwrap();
    assert_eq!(
        principal,
        json!({ "user_id": "alice", "tenant_id": "acme", "roles": ["admin"], "groups": ["staff"] })
    );
    let wrong = json!({ "type": "api_key", "value": "alice" });
    let refused = call(auth, "validate_credential", wrong).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Refused(text) if text.contains("unknown credential")),
        "{refused:?}"
    );

    let mine = json!({ "user_id": "alice", "mcp_server": "files", "credential_type": "bearer" });
    let mut stored = mine.clone();
    stored["value"] = "s3cret".into();
    call(storage, "store_credential", stored).await.unwrap();
    let found = call(storage, "retrieve_credential", mine.clone()).await;
    assert_eq!(found, Ok(json!({ "value": "s3cret" })));
    let listed = call(storage, "list_credentials", json!({ "user_id": "alice" })).await;
    let listed = listed.unwrap();
    assert_eq!(listed["result"][0]["server"], "files");
    assert_eq!(listed["result"][0]["cred_type"], "bearer");
    // Nobody else's.
    let mut theirs = mine.clone();
    theirs["user_id"] = "bob".into();
    let nothing = call(storage, "retrieve_credential", theirs).await;
    assert!(matches!(nothing, Err(CallError::Refused(_))), "{nothing:?}");
    let listed = call(storage, "list_credentials", json!({ "user_id": "bob" })).await;
    assert_eq!(listed, Ok(json!({ "result": [] })));

    let request = |user: &str| json!({ "user_id": user, "mcp_server": "files", "target_url": "https://h/mcp", "method": "POST", "headers": { "x-a": "b" }, "body": "{}" });
    let injected = call(proxy, "inject_credentials", request("alice")).await;
    assert_eq!(
        injected,
        Ok(json!({ "headers": { "x-a": "b", "Authorization": "Bearer s3cret" }, "body": "{}" }))
    );
    let injected = call(proxy, "inject_credentials", request("bob")).await;
    assert_eq!(injected.unwrap()["headers"], json!({ "x-a": "b" }));
    call(storage, "delete_credential", mine.clone())
        .await
        .unwrap();
    let gone = call(storage, "retrieve_credential", mine).await;
    assert!(matches!(gone, Err(CallError::Refused(_))), "{gone:?}");

    for (user, allowed) in [("alice", true), ("bob", false)] {
        let question = json!({ "user_id": user, "roles": [], "groups": [], "mcp_server": "files" });
        let decision = call(policy, "check_access", question).await.unwrap();
        assert_eq!(decision["allowed"], allowed);
    }

    for number in 0..20 {
        let event = json!({ "event_type": "tool.call", "user_id": "alice", "tool": "t", "metadata": { "n": number } });
        call(audit, "log_event", event).await.unwrap();
    }
    let events = std::fs::read_to_string(plugin.folder.path().join("events.jsonl")).unwrap();
    let numbers: Vec<u64> = events
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["metadata"]["n"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());

    for (method, value) in [
        ("record-counter", json!(2)),
        ("record-counter", json!(3)),
        ("record-histogram", json!(1.5)),
        ("record-gauge", json!(7)),
    ] {
        let params = json!({ "name": "mcp.tool", "value": value, "attributes": { "a": "b" } });
        call(telemetry, method, params).await.unwrap();
    }
    let totals = wire::get(&plugin.url.replace("/mcp", "/totals"))
        .await
        .unwrap();
    assert_eq!(
        totals.json(),
        json!({ "counter mcp.tool{a=b}": 5, "histogram mcp.tool{a=b}": 1.5, "gauge mcp.tool{a=b}": 7 })
    );

    for client in &clients {
        client.close().await.unwrap();
    }
    let asked = plugin.asked(67);
    let count = |what: &str| asked.iter().filter(|asked| *asked == what).count();
    assert_eq!(count("initialize"), 6);
    assert_eq!(count("notifications/initialized"), 6);
    assert_eq!(count("tools/list"), 6);
    assert_eq!(count("ping"), 6);
    assert_eq!(count("DELETE"), 6);
    let calls = asked
        .iter()
        .filter(|asked| asked.starts_with("tools/call "))
        .count();
    assert_eq!(calls + 30, asked.len(), "{asked:?}");
}

#[actix_rt::test]
async fn the_stateless_era_is_spoken_where_it_is_asked_for() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let plugin = Plugin::start(&kit, &["--role=policy_evaluator", "--deny=*:files"]);
    let server = RemoteServer {
        protocol: Protocol::Modern,
        ..plugin.remote()
    };
    let client = connect(server, Role::PolicyEvaluator).await.unwrap();
    let question = json!({ "user_id": "alice", "mcp_server": "files" });
    let decision = call(&client, "check_access", question).await.unwrap();
    assert_eq!(decision["reason"], "alice may not use files");
    client.health().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(
        plugin.asked(4),
        [
            "server/discover",
            "tools/list",
            "tools/call check_access",
            "tools/list"
        ]
    );
}

#[actix_rt::test]
async fn a_server_that_lacks_a_tool_is_named_with_it() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let plugin = Plugin::start(&kit, &["--role=auth_provider"]);
    let lacking = connect(plugin.remote(), Role::PolicyEvaluator).await;
    let lacking = lacking.err().unwrap();
    assert!(lacking.contains("no tool check_access"), "{lacking}");
    plugin.is_asked("DELETE");
}

#[actix_rt::test]
async fn a_server_that_was_started_again_is_greeted_again() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let plugin = Plugin::start(&kit, &["--role=policy_evaluator"]);
    let client = connect(plugin.remote(), Role::PolicyEvaluator)
        .await
        .unwrap();
    let question = || json!({ "user_id": "alice", "mcp_server": "files" });
    call(&client, "check_access", question()).await.unwrap();
    let port = plugin
        .url
        .trim_end_matches("/mcp")
        .rsplit(':')
        .next()
        .unwrap();
    let port = format!("--port={port}");
    let Plugin {
        mut process,
        folder,
        ..
    } = plugin;
    process.kill();
    let gone = call(&client, "check_access", question()).await.unwrap_err();
    assert!(gone.is_retryable(), "{gone:?}");
    let plugin = Plugin::start_in(&kit, folder, &["--role=policy_evaluator", &port]);
    let decision = call(&client, "check_access", question()).await.unwrap();
    assert_eq!(decision["allowed"], true);
    assert_eq!(
        plugin.asked(4),
        [
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call check_access"
        ]
    );
}

#[actix_rt::test]
async fn a_server_behind_tls_is_believed_if_its_authority_is_named() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let home =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../actors/src/upstream/http/testdata");
    let file = |name: &str| home.join(name);
    let (cert, key) = (file("server.pem"), file("server.key"));
    let plugin = Plugin::start(
        &kit,
        &[
            "--role=policy_evaluator",
            "--cert",
            cert.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ],
    );
    assert!(plugin.url.starts_with("https://"));
    let trusting = |ca_file: PathBuf| RemoteServer {
        tls: Some(PluginTls { ca_file }),
        ..plugin.remote()
    };
    let client = connect(trusting(file("ca.pem")), Role::PolicyEvaluator)
        .await
        .unwrap();
    let question = json!({ "user_id": "alice", "mcp_server": "files" });
    call(&client, "check_access", question).await.unwrap();
    let stranger = connect(trusting(file("other-ca.pem")), Role::PolicyEvaluator).await;
    let reason = stranger.err().unwrap();
    assert!(reason.contains("no trusted TLS connection"), "{reason}");
}

#[actix_rt::test]
async fn three_dialects_are_one_answer() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let deny = "--deny=bob:files";
    let structured = Plugin::start(&kit, &["--role=policy_evaluator", deny]);
    let text = Plugin::start(&kit, &["--role=policy_evaluator", deny, "--text"]);
    let bare = LegacyServer::start("2025-06-18", |seen| {
        let result = match seen.body["method"].as_str()? {
            "tools/list" => {
                json!({ "tools": [{ "name": "check_access", "inputSchema": { "type": "object" } }] })
            }
            "tools/call" if seen.body["params"]["arguments"]["user_id"] == "bob" => {
                json!({ "allowed": false, "reason": "bob may not use files" })
            }
            "tools/call" => json!({ "allowed": true, "reason": "" }),
            _ => return None,
        };
        let answer = json!({ "jsonrpc": "2.0", "id": seen.body["id"], "result": result });
        Some(Reply::Json(200, answer))
    });
    let bare = bare.await;
    for (url, dialect) in [
        (&structured.url, "structured"),
        (&text.url, "text"),
        (&bare.url, "bare"),
    ] {
        let client = connect(remote(url), Role::PolicyEvaluator).await.unwrap();
        for (user, decision) in [
            ("alice", json!({ "allowed": true, "reason": "" })),
            (
                "bob",
                json!({ "allowed": false, "reason": "bob may not use files" }),
            ),
        ] {
            let question = json!({ "user_id": user, "mcp_server": "files" });
            let answer = call(&client, "check_access", question).await;
            assert_eq!(answer, Ok(decision), "{dialect}");
        }
    }
}

#[actix_rt::test]
async fn the_gateway_loads_it_and_takes_leave_of_it() {
    let Some(kit) = Kit::find("plugin_mcp") else {
        return;
    };
    let plugin = Plugin::start(&kit, &["--role=telemetry"]);
    let url = &plugin.url;
    let yaml = format!(
        "plugins:\n  telemetry:\n    provider: mcp\n    server: {{ type: remote, endpoint: {url:?} }}\n    headers: {{ X-From: gate }}\nservers: {{}}\n"
    );
    let gateway = Gateway::start(&yaml);
    let shown = plugins(&gateway).await;
    assert_eq!(shown[0]["state"], "active", "{shown:?}");
    assert_eq!(shown[0]["transport"], "mcp");
    assert_eq!(shown[0]["version"], "1.0.0");
    assert!(gateway.terminate(LIMIT).success());
    plugin.is_asked("DELETE");

    let plugin = Plugin::start(&kit, &["--role=audit_sink"]);
    let yaml = yaml.replace(url.as_str(), &plugin.url);
    let gateway = Gateway::start(&yaml);
    let shown = plugins(&gateway).await;
    let error = shown[0]["error"].as_str().unwrap();
    assert!(
        error.contains("no tool record-counter, record-histogram, record-gauge"),
        "{error}"
    );
}
