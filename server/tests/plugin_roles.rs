//! The roles of the pipeline played by the plugin on the official Python SDK in `plugins/mcp-python`, and by plugins that
//! misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::legacy_server::{LegacyServer, Reply, Seen};
use support::mcp::{LegacyClient, ModernClient, Outcome, names};
use support::process::Process;
use support::scratch::Scratch;
use support::upstream::demo_entry;
use support::wire;
use weir_actors::builtin::outside::Disk;
use weir_actors::plugin::{Call, PluginTransport, RemoteServer, Role};
use weir_actors::transport::McpTransport;
use weir_actors::upstream::config::Protocol;
use weir_actors::upstream::http::{AddressRule, HttpClientConfig};

const LIMIT: Duration = Duration::from_secs(30);

/// The SHA-256 of `alice-key`, `globex-key` and `bob-key`. Two tenants have an `alice`.
const KEYS: &str = r#"[
    {"sha256":"72ee9d4355ccb9d3a4c9dbf37382e38e75c1b1a225b5bd1f729ee91bbda30c20","user_id":"alice","tenant_id":"acme","roles":["admin"],"groups":["staff"]},
    {"sha256":"f2a455b59b858a04c51108416af2042203cb6ac35fa4141fba4148bc856e78d4","user_id":"alice","tenant_id":"globex"},
    {"sha256":"9b94dc1a51a38769f135edf04033ad7f2f487b6c25929be7a861cfc1ab10cf98","user_id":"bob"}
]"#;

/// `plugins/mcp-python`, running.
struct Plugin {
    url: String,
    process: Process,
    folder: Scratch,
}

impl Plugin {
    fn start(kit: &Kit, arguments: &[&str]) -> Self {
        let folder = Scratch::new("roles");
        folder.write("keys.json", KEYS);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/mcp-python/plugin.py");
        let mut command = std::process::Command::new(kit.python_program());
        command.arg(script).args(arguments);
        command.current_dir(folder.path());
        let process = Process::start("mcp plugin", command);
        let url = process.wait_line(LIMIT, |line| {
            line.strip_prefix("plugin ready ").map(str::to_owned)
        });
        Self {
            url,
            process,
            folder,
        }
    }

    /// How often it was asked this so far.
    fn asked(&self, what: &str) -> usize {
        let line = format!("asked {what}");
        let log = self.process.log();
        log.lines().filter(|said| *said == line).count()
    }

    /// Stores a credential, as whoever keeps it for a user does.
    async fn store(&self, owner: &str, server: &str, value: &str) {
        let server_reference = RemoteServer {
            url: self.url.clone(),
            headers: [].into(),
            tls: None,
            protocol: Protocol::Auto,
            addresses: AddressRule::Auto,
        };
        let http = HttpClientConfig::default();
        let role = Some(Role::CredentialStorage);
        let transport = McpTransport::new(server_reference, role, http, Arc::new(Disk::default()));
        let client = transport.unwrap().connect().await.unwrap();
        let params = json!({ "user_id": owner, "mcp_server": server, "credential_type": "bearer", "value": value });
        let call = Call::within(LIMIT, "store_credential", &params);
        client.call(call).await.unwrap();
        client.close().await.unwrap();
    }
}

/// The `plugins` block with these roles at one address.
fn plugins(url: &str, roles: &[&str]) -> String {
    let entry = |role: &&str| format!("  {role}: {{ provider: mcp, server: {url:?} }}\n");
    let entries: String = roles.iter().map(entry).collect();
    format!("plugins:\n{entries}")
}

async fn active(gateway: &Gateway) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let shown = wire::get(&format!("{}/plugins", gateway.admin)).await;
        let shown = shown.expect("the admin listener answers").json();
        let all = shown.as_array().unwrap();
        if all.iter().all(|plugin| plugin["state"] == "active") {
            return;
        }
        assert!(Instant::now() < deadline, "{shown}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server with one tool, which answers with its argument.
async fn files() -> LegacyServer {
    LegacyServer::start("2025-06-18", |seen| {
        let result = match seen.body["method"].as_str()? {
            "tools/list" => {
                json!({ "tools": [{ "name": "read", "inputSchema": { "type": "object" } }] })
            }
            "tools/call" => {
                let text = seen.body["params"]["arguments"]["text"].as_str()?;
                json!({ "content": [{ "type": "text", "text": text }] })
            }
            _ => return None,
        };
        Some(Reply::Json(
            200,
            json!({ "jsonrpc": "2.0", "id": seen.body["id"], "result": result }),
        ))
    })
    .await
}

fn calls(seen: &Seen) -> bool {
    seen.body["method"] == "tools/call"
}

fn code(outcome: &Outcome) -> (Option<i64>, String) {
    match outcome {
        Outcome::Error { code, data, .. } => (
            Some(*code),
            data["reason"].as_str().unwrap_or_default().to_owned(),
        ),
        Outcome::Result(_) => (None, String::new()),
    }
}

async fn legacy(gateway: &Gateway, key: &str) -> LegacyClient {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    LegacyClient::connect(gateway.endpoint(), &headers)
        .await
        .unwrap()
}

#[actix_rt::test]
async fn a_plugin_says_who_is_calling_and_who_may_use_what() {
    let Some(kit) = Kit::find("plugin_roles") else {
        return;
    };
    let arguments = [
        "--role=auth_provider",
        "--role=policy_evaluator",
        "--deny=bob:demo",
    ];
    let plugin = Plugin::start(&kit, &arguments);
    let block = plugins(&plugin.url, &["auth_provider", "policy_evaluator"]);
    let servers = format!("servers:\n  demo: {}\n", demo_entry());
    let gateway = Gateway::start(&format!("{block}{servers}"))
        .connected()
        .await;
    active(&gateway).await;

    let alice = ModernClient::new(gateway.endpoint()).bearer("alice-key");
    let bob = ModernClient::new(gateway.endpoint()).bearer("bob-key");
    for _ in 0..20 {
        assert_eq!(alice.call("echo", json!({ "text": "a" })).await.text(), "a");
    }
    assert_eq!(plugin.asked("tools/call validate_credential"), 1);
    assert_eq!(plugin.asked("tools/call check_access"), 1);
    assert_eq!(
        gateway
            .metric("weir_auth_cache_total{outcome=\"hit\"}")
            .await,
        19.0
    );

    // Strangers, and those who bring nothing, are nobody: not the user of this machine.
    let stranger = ModernClient::new(gateway.endpoint()).bearer("other-key");
    assert_eq!(code(&stranger.call("echo", json!({})).await).0, Some(401));
    let nobody = ModernClient::new(gateway.endpoint());
    assert_eq!(code(&nobody.call("echo", json!({})).await).0, Some(401));

    // A server that is denied is in no list and refused everywhere.
    let tools = alice.request("tools/list", json!({})).await.result();
    assert!(!names(&tools, "tools", "name").is_empty());
    for (method, kind) in [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        let list = bob.request(method, json!({})).await.result();
        assert_eq!(list[kind], json!([]), "{method}");
        let seen = alice.request(method, json!({})).await.result();
        let seen = seen[kind].as_array().unwrap().clone();
        let old = legacy(&gateway, "bob-key").await;
        let list = old.request(method, json!({})).await.result();
        assert_eq!(list[kind], json!([]), "{method}");
        // What there is of this kind is refused by name.
        let Some(first) = seen.first() else { continue };
        let refused = match kind {
            "tools" => bob.call(first["name"].as_str().unwrap(), json!({})).await,
            "prompts" => {
                bob.request("prompts/get", json!({ "name": first["name"] }))
                    .await
            }
            "resources" => {
                bob.request("resources/read", json!({ "uri": first["uri"] }))
                    .await
            }
            _ => continue,
        };
        assert_eq!(code(&refused).0, Some(403), "{method}: {refused:?}");
        let Outcome::Error { message, .. } = refused else {
            unreachable!()
        };
        assert_eq!(message, "access denied: bob may not use demo");
    }

    // Everything is recorded, with the principal that the plugin named.
    let deadline = Instant::now() + LIMIT;
    let records = loop {
        let records = gateway.records();
        let of = |user: &str| {
            let theirs = records.iter().filter(|record| record["user_id"] == user);
            theirs.count()
        };
        if of("alice") >= 24 && of("bob") >= 15 {
            break records;
        }
        assert!(Instant::now() < deadline, "{records:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut denials = records
        .iter()
        .filter(|record| record["result"] == "denied" && record["user_id"] == "bob");
    assert!(denials.clone().count() >= 3);
    assert!(denials.all(|record| record["reason"] == "policy_denied"));

    // An operator ends what was said; the plugin is asked anew.
    let forget = format!("{}/plugins/forget", gateway.admin);
    let json_type = [("content-type", "application/json")];
    let forgotten = wire::send(
        http::Method::POST,
        &forget,
        &json_type,
        r#"{"user_id":"alice"}"#,
    )
    .await;
    assert_eq!(forgotten.unwrap().status, 200);
    alice.call("echo", json!({ "text": "a" })).await.text();
    let asked = plugin.asked("tools/call validate_credential");
    assert_eq!(asked, 4, "alice, bob, the stranger, and alice again");
}

#[actix_rt::test]
async fn callers_of_two_tenants_never_get_each_others_credentials() {
    let Some(kit) = Kit::find("plugin_roles") else {
        return;
    };
    let roles = ["auth_provider", "credential_storage"];
    let plugin = Plugin::start(&kit, &["--role=auth_provider", "--role=credential_storage"]);
    plugin.store("acme/alice", "files", "of-acme").await;
    plugin.store("globex/alice", "files", "of-globex").await;
    let upstream = files().await;
    let yaml = format!(
        "{}servers:\n  files: {}\ncredentials: {{ servers: {{ files: {{ from: plugin, type: bearer }} }} }}\n",
        plugins(&plugin.url, &roles),
        upstream.entry(),
    );
    let gateway = Gateway::start(&yaml).connected().await;
    active(&gateway).await;
    let acme = legacy(&gateway, "alice-key").await;
    let globex = legacy(&gateway, "globex-key").await;
    // Not more at once than the server takes.
    for wave in 0..10 {
        let both = (0..10).map(|turn| {
            let (client, text) = match (wave + turn) % 2 {
                0 => (&acme, "acme"),
                _ => (&globex, "globex"),
            };
            async move {
                let answer = client.call("read", json!({ "text": text })).await;
                assert_eq!(answer.text(), text);
            }
        });
        join_all(both).await;
    }
    let seen = upstream.has_seen(100, calls).await;
    for call in &seen {
        let whose = call.body["params"]["arguments"]["text"].as_str().unwrap();
        let authorization = call.headers["authorization"].as_str();
        assert_eq!(authorization, format!("Bearer of-{whose}"), "{call:?}");
    }
    // Also what the gateway says to the server in a caller's session before its first call.
    let greeted = |seen: &Seen| {
        seen.body["method"] == "initialize" && seen.headers.contains_key("authorization")
    };
    assert_eq!(upstream.has_seen(2, greeted).await.len(), 2);
    assert_eq!(plugin.asked("tools/call retrieve_credential"), 2);

    // Who has none is told so, and nothing is sent.
    let bob = legacy(&gateway, "bob-key").await;
    let refused = bob.call("read", json!({ "text": "bob" })).await;
    assert_eq!(code(&refused), (Some(401), "credential_missing".to_owned()));
    assert_eq!(
        upstream.seen().iter().filter(|seen| calls(seen)).count(),
        100
    );
    let log = gateway.log();
    assert!(!log.contains("of-acme") && !log.contains("of-globex"));
}

#[actix_rt::test]
async fn an_auth_proxy_changes_what_the_server_sees_and_the_client_does_not() {
    let Some(kit) = Kit::find("plugin_roles") else {
        return;
    };
    let plugin = Plugin::start(
        &kit,
        &[
            "--role=auth_provider",
            "--role=auth_proxy",
            "--role=credential_storage",
        ],
    );
    plugin.store("alice", "files", "s3cret").await;
    let upstream = files().await;
    let yaml = format!(
        "{}servers:\n  files: {}\n",
        plugins(&plugin.url, &["auth_provider", "auth_proxy"]),
        upstream.entry(),
    );
    let gateway = Gateway::start(&yaml).connected().await;
    active(&gateway).await;
    let alice = legacy(&gateway, "alice-key").await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "read", "arguments": { "text": "x" } } });
    let answer = alice.post(&body).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "x");
    let shown = format!("{answer:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let seen = upstream.has_seen(1, calls).await;
    assert_eq!(seen[0].headers["authorization"], "Bearer s3cret");

    // Without the proxy nothing is sent.
    drop(plugin);
    let refused = alice.call("read", json!({ "text": "y" })).await;
    assert_eq!(code(&refused).0, Some(503), "{refused:?}");
    assert_eq!(upstream.seen().iter().filter(|seen| calls(seen)).count(), 1);
}

#[actix_rt::test]
async fn audit_and_telemetry_plugins_are_told_everything_once() {
    let Some(kit) = Kit::find("plugin_roles") else {
        return;
    };
    let plugin = Plugin::start(&kit, &["--role=audit_sink", "--role=telemetry"]);
    let yaml = format!(
        "{}servers:\n  demo: {}\n",
        plugins(&plugin.url, &["audit_sink", "telemetry"]),
        demo_entry(),
    );
    let gateway = Gateway::start(&yaml).connected().await;
    active(&gateway).await;
    let client = ModernClient::new(gateway.endpoint());
    for turn in 0..50 {
        client
            .call("echo", json!({ "text": turn.to_string() }))
            .await
            .text();
    }
    client.call("nothing", json!({})).await;
    let records = gateway.records();
    assert!(gateway.terminate(LIMIT).success());
    drop(records);

    let events = std::fs::read_to_string(plugin.folder.path().join("events.jsonl")).unwrap();
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let echoes = events.iter().filter(|event| event["tool"] == "echo");
    let mut ids: Vec<_> = echoes
        .map(|event| {
            assert_eq!(event["user_id"], "desktop-user");
            assert_eq!(event["mcp_server"], "demo");
            assert_eq!(event["result"], "ok");
            event["metadata"]["event_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 50);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);

    let totals = wire::get(&plugin.url.replace("/mcp", "/totals"))
        .await
        .unwrap()
        .json();
    let labels = "{mcp.server.name=demo,mcp.tool.name=echo}";
    assert_eq!(totals[format!("counter mcp.tool.calls{labels}")], 50);
    assert!(
        totals[format!("histogram mcp.tool.duration{labels}")]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert_eq!(totals["counter mcp.gateway.starts{}"], 1);
    assert!(
        totals["gauge mcp.tools.discovered{mcp.server.name=demo}"]
            .as_i64()
            .unwrap()
            > 0
    );
}

/// What a plugin may do instead of answering. `None` is no answer at all.
fn misdeeds() -> Vec<(&'static str, Option<Reply>)> {
    let result = |result: Value| {
        Some(Reply::Json(
            200,
            json!({ "jsonrpc": "2.0", "result": result }),
        ))
    };
    let text = |text: String| json!({ "content": [{ "type": "text", "text": text }] });
    vec![
        (
            "500",
            Some(Reply::Json(
                500,
                json!({ "user_id": "root", "allowed": true }),
            )),
        ),
        ("nothing", result(json!({}))),
        ("an empty text", result(text("{}".to_owned()))),
        (
            "wrong types",
            result(text(r#"{"allowed":"true","user_id":["root"]}"#.to_owned())),
        ),
        (
            "isError",
            result(
                json!({ "isError": true, "structuredContent": { "allowed": true, "user_id": "root" }, "content": [] }),
            ),
        ),
        ("huge", result(text("x".repeat(3 << 20)))),
        ("a crash", Some(Reply::Nothing)),
    ]
}

#[actix_rt::test]
async fn nobody_gets_through_a_plugin_that_misbehaves() {
    for role in ["auth_provider", "policy_evaluator"] {
        for (name, reply) in misdeeds() {
            let plugin = LegacyServer::start("2025-06-18", move |seen| {
                let tool = match role {
                    "auth_provider" => "validate_credential",
                    _ => "check_access",
                };
                match seen.body["method"].as_str()? {
                    "tools/list" => {
                        let tools = json!({ "tools": [{ "name": tool, "inputSchema": { "type": "object" } }] });
                        let answer = json!({ "jsonrpc": "2.0", "id": seen.body["id"], "result": tools });
                        Some(Reply::Json(200, answer))
                    }
                    "tools/call" => match reply.clone()? {
                        Reply::Json(status, mut body) => {
                            body["id"] = seen.body["id"].clone();
                            Some(Reply::Json(status, body))
                        }
                        other => Some(other),
                    },
                    _ => None,
                }
            })
            .await;
            let yaml = format!(
                "{}servers:\n  demo: {}\n",
                plugins(&plugin.url, &[role]),
                demo_entry(),
            );
            let gateway = Gateway::start(&yaml).connected().await;
            active(&gateway).await;
            let client = ModernClient::new(gateway.endpoint()).bearer("key");
            let refused = client.call("echo", json!({ "text": "x" })).await;
            let code = code(&refused)
                .0
                .unwrap_or_else(|| panic!("{role}, {name}: let through"));
            let expected: &[i64] = match role {
                "auth_provider" => &[401, 503],
                _ => &[403, 503],
            };
            assert!(expected.contains(&code), "{role}, {name}: {refused:?}");
            if role == "policy_evaluator" {
                let list = client.request("tools/list", json!({})).await.result();
                assert_eq!(list["tools"], json!([]), "{name}");
            }
            let deadline = Instant::now() + LIMIT;
            let is_denied =
                |record: &Value| record["result"] == "denied" && record["method"] == "tools/call";
            while !gateway.records().iter().any(is_denied) {
                assert!(Instant::now() < deadline, "{role}, {name}: not recorded");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
