//! Real plugins, as processes: what they are given, how they are kept, how they end.
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

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::plugins::{Shelf, by_hand, flask, go, story};
use support::upstream::free_port;
use support::wire;
use tokio::time::{sleep, timeout};
use weir::config::load_text;
use weir_actors::plugin::{CallError, PluginHandle, PluginSpec, PluginState, PluginTransport};
use weir_actors::process::Program;
use weir_actors::transport::{SidecarTransport, SubprocessTransport};
use weir_actors::upstream::http::HttpClientConfig;
use weir_plugin_protocol::Secret;

const PATIENCE: Duration = Duration::from_secs(20);

fn subprocess(program: Program) -> SubprocessTransport {
    SubprocessTransport::new(program, HttpClientConfig::default())
}

fn sidecar(port: u16, headers: &[(&str, &str)]) -> SidecarTransport {
    let headers: BTreeMap<String, Secret> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
        .collect();
    let url = format!("http://127.0.0.1:{port}");
    SidecarTransport::new(&url, &headers, HttpClientConfig::default()).unwrap()
}

fn named(name: &str, transport: impl PluginTransport) -> PluginSpec {
    PluginSpec::new(name, Arc::new(transport))
}

async fn call(plugin: &PluginHandle, method: &str, params: Value) -> Result<Value, CallError> {
    let answer = plugin.call(method, &params).await?;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    Ok(answer["result"].clone())
}

fn is_alive(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Everything that a role asks for, and what is answered.
async fn every_role(plugin: &PluginHandle) -> Vec<Result<Value, String>> {
    let place = json!({ "user_id": "ann", "mcp_server": "mail", "credential_type": "bearer" });
    let mut stored = place.clone();
    stored["value"] = json!("t0p");
    let access = |server: &str| json!({ "user_id": "ann", "roles": ["dev"], "mcp_server": server });
    let counted = json!({ "name": "calls", "value": 2, "attributes": { "tool": "a" } });
    let asked = [
        ("record-counter", counted.clone()),
        ("record-counter", counted),
        ("record-histogram", json!({ "name": "took", "value": 0.5 })),
        ("record-gauge", json!({ "name": "open", "value": -3 })),
        ("totals", json!({})),
        (
            "validate_credential",
            json!({ "type": "api_key", "value": "k1" }),
        ),
        (
            "validate_credential",
            json!({ "type": "api_key", "value": "k2" }),
        ),
        ("check_access", access("mail")),
        ("check_access", access("bank")),
        ("store_credential", stored),
        ("list_credentials", json!({ "user_id": "ann" })),
        ("retrieve_credential", place.clone()),
        (
            "inject_credentials",
            json!({ "user_id": "ann", "mcp_server": "mail", "target_url": "http://m/", "method": "POST", "headers": { "A": "b" }, "body": "x" }),
        ),
        ("delete_credential", place.clone()),
        ("retrieve_credential", place),
        (
            "log_event",
            json!({ "event_type": "tool.call", "user_id": "ann" }),
        ),
        ("events", json!({})),
        (
            "provision",
            json!({ "server": { "name": "mail", "endpoint": "http://m/" }, "user_id": "ann" }),
        ),
        ("list", json!({ "user_id": "ann" })),
        ("deprovision", json!({ "server_id": "mail-ann" })),
        ("deprovision", json!({ "server_id": "mail-ann" })),
        ("sing", json!({})),
    ];
    let mut answers = Vec::new();
    for (method, params) in asked {
        let answer = call(plugin, method, params).await;
        answers.push(answer.map_err(|error| error.to_string()));
    }
    answers
}

#[actix_rt::test]
async fn the_example_plugins_play_every_role_alike() {
    let Some(kit) = Kit::find("the example plugins") else {
        return;
    };
    let shelf = Shelf::new().await;
    let mut transcripts = Vec::new();
    for (name, mut program) in [("flask", flask(&kit)), ("go", go(&kit))] {
        program.env = vec![
            ("PLUGIN_KEYS".into(), "k0=bob:ops,k1=ann:dev+ops".into()),
            ("PLUGIN_ALLOW".into(), "dev@mail".into()),
        ];
        let begun = Instant::now();
        let plugin = shelf
            .loader
            .load(named(name, subprocess(program)))
            .await
            .unwrap();
        println!("{name} ready after {:?}", begun.elapsed());
        assert_eq!(shelf.loader.info(name).unwrap().version, "1.0.0");
        transcripts.push(every_role(&plugin).await);
    }
    assert_eq!(transcripts[0], transcripts[1]);
    let said = &transcripts[0];
    assert_eq!(
        said[4].as_ref().unwrap()["counters"],
        json!({ "calls{tool=a}": 4 })
    );
    assert_eq!(
        said[5],
        Ok(json!({ "user_id": "ann", "roles": ["dev", "ops"] }))
    );
    assert_eq!(
        said[6],
        Err("plugin returned error: unknown credential".to_owned())
    );
    assert_eq!(said[7].as_ref().unwrap()["allowed"], true);
    assert_eq!(said[8].as_ref().unwrap()["allowed"], false);
    assert_eq!(said[11], Ok(json!({ "value": "t0p" })));
    let injected = json!({ "headers": { "A": "b", "Authorization": "Bearer t0p" }, "body": "x" });
    assert_eq!(said[12], Ok(injected));
    assert_eq!(
        said[16],
        Ok(json!([{ "event_type": "tool.call", "user_id": "ann" }]))
    );
    assert_eq!(said[18].as_ref().unwrap()[0]["status"], "running");
    assert_eq!(said[21], Err("the plugin has no method sing".to_owned()));
    shelf.end().await;
}

#[actix_rt::test]
async fn one_program_hears_the_same_as_subprocess_and_as_sidecar() {
    let Some(kit) = Kit::find("the transcript") else {
        return;
    };
    let port = free_port();
    let _process = by_hand(&story(&kit, &[]), &["--port", &port.to_string()]);
    let shelf = Shelf::new().await;
    let mut heard = Vec::new();
    for spec in [
        named("started", subprocess(story(&kit, &[]))),
        named("found", sidecar(port, &[])),
    ] {
        let plugin = shelf.loader.load(spec).await.unwrap();
        let params = json!({ "name": "mcp.tool.calls", "value": 1, "attributes": { "mcp.tool.name": "docker_ps" } });
        let _unknown = call(&plugin, "record-counter", params).await.unwrap_err();
        let _unknown = call(&plugin, "log_event", json!({ "event_type": "x" }))
            .await
            .unwrap_err();
        let wrong = call(
            &plugin,
            "record-counter",
            json!({ "name": "a", "value": "1" }),
        )
        .await;
        assert!(matches!(wrong, Err(CallError::Invalid(_))), "{wrong:?}");
        heard.push(call(&plugin, "transcript", json!({})).await.unwrap());
    }
    assert_eq!(heard[0], heard[1]);
    let golden = r#"{"method":"record-counter","params":{"name":"mcp.tool.calls","value":1,"attributes":{"mcp.tool.name":"docker_ps"}}}"#;
    assert_eq!(
        heard[0][0],
        json!(["POST", "/call", "application/json", golden])
    );
    let event = r#"{"method":"log-event","params":{"event_type":"x"}}"#;
    assert_eq!(heard[0][1][3], event);
    assert_eq!(
        heard[0].as_array().unwrap().len(),
        2,
        "what is wrong is not sent"
    );
    shelf.end().await;
}

#[actix_rt::test]
async fn a_process_gets_what_is_declared_and_nothing_else_and_ends_as_a_whole() {
    let Some(kit) = Kit::find("arguments and environment") else {
        return;
    };
    let folder = std::fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut program = go(&kit);
    program.args = vec![
        "-port".into(),
        "0".into(),
        "two words".into(),
        "$HOME;*".into(),
    ];
    program.env = vec![("PLUGIN_LEVEL".into(), "debug $HOME".into())];
    program.workdir = Some(folder.clone());
    let client = subprocess(program).connect().await.unwrap();
    let nothing = json!({});
    let ask = || weir_actors::plugin::Call::within(PATIENCE, "process", &nothing);
    let answer: Value = serde_json::from_slice(&client.call(ask()).await.unwrap()).unwrap();
    let process = &answer["result"];
    assert_eq!(
        process["args"],
        json!(["-port", "0", "two words", "$HOME;*"])
    );
    assert_eq!(process["cwd"], folder.to_str().unwrap());
    let names: Vec<&str> = process["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable.as_str().unwrap())
        .inspect(|variable| assert!(!variable.starts_with("CARGO"), "{variable}"))
        .collect();
    assert!(names.contains(&"PLUGIN_LEVEL=debug $HOME"), "{names:?}");
    assert!(is_alive(&process["pid"]));
    client.close().await.unwrap();
    assert!(!is_alive(&process["pid"]));
    client.close().await.unwrap();
    assert_eq!(client.call(ask()).await, Err(CallError::Closed));

    let mut stubborn = go(&kit);
    stubborn.args = vec!["-ignore-term".into()];
    let grace = Duration::from_millis(500);
    let client = subprocess(stubborn).grace(grace).connect().await.unwrap();
    let answer: Value = serde_json::from_slice(&client.call(ask()).await.unwrap()).unwrap();
    let begun = Instant::now();
    client.close().await.unwrap();
    assert!(begun.elapsed() >= grace);
    assert!(!is_alive(&answer["result"]["pid"]));
}

#[actix_rt::test]
async fn a_flood_of_words_keeps_nobody_waiting() {
    let Some(kit) = Kit::find("floods") else {
        return;
    };
    let shelf = Shelf::new().await;
    let loader = &shelf.loader;
    let plugin = loader
        .load(named("loud", subprocess(story(&kit, &[]))))
        .await
        .unwrap();
    for _ in 0..3 {
        let said = call(&plugin, "flood", json!({ "bytes": 10 << 20 }))
            .await
            .unwrap();
        assert_eq!(said, "ok");
    }
    assert_eq!(
        call(&plugin, "echo", json!({ "a": 1 })).await.unwrap(),
        json!({ "a": 1 })
    );
    shelf.end().await;
}

#[actix_rt::test]
async fn who_is_killed_is_started_again() {
    let Some(kit) = Kit::find("kill -9") else {
        return;
    };
    let shelf = Shelf::new().await;
    let plugin = shelf
        .loader
        .load(named("telemetry", subprocess(go(&kit))))
        .await
        .unwrap();
    let process = call(&plugin, "process", json!({})).await.unwrap();
    let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let begun = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    shelf
        .diary
        .says("restart telemetry 1", Duration::from_secs(5))
        .await;
    println!("killed and serving again after {:?}", begun.elapsed());
    shelf
        .diary
        .says(
            "error telemetry the plugin ended: signal: 9 (SIGKILL)",
            PATIENCE,
        )
        .await;
    let again = call(&plugin, "process", json!({})).await.unwrap();
    assert_ne!(again["pid"], process["pid"]);
    shelf.loader.unload("telemetry").await.unwrap();
    assert!(!is_alive(&again["pid"]));
    let diary = shelf.diary.lines();
    assert_eq!(diary.first().unwrap(), "start telemetry subprocess 1.0.0");
    assert_eq!(diary.last().unwrap(), "stop telemetry None");
    shelf.end().await;
}

#[actix_rt::test]
async fn a_sidecar_may_come_and_go() {
    let Some(kit) = Kit::find("sidecars") else {
        return;
    };
    let shelf = Shelf::new().await;
    let port = free_port();
    let arguments = ["--port", &port.to_string()];
    let mut program = flask(&kit);
    program.env = vec![("PLUGIN_TOKEN".into(), "s3cret".into())];
    // It comes when it was looked for in vain for a while.
    let late = async {
        sleep(Duration::from_secs(1)).await;
        by_hand(&program, &arguments)
    };
    let spec = named("telemetry", sidecar(port, &[("X-Plugin-Token", "s3cret")]));
    let (loaded, mut process) = tokio::join!(shelf.loader.load(spec), late);
    let plugin = loaded.unwrap();
    let count = || {
        call(
            &plugin,
            "record-counter",
            json!({ "name": "a", "value": 1 }),
        )
    };
    assert_eq!(count().await.unwrap(), "ok");

    process.kill();
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    while plugin.state() == PluginState::Active {
        let _either = count().await;
        assert!(Instant::now() < deadline);
    }
    for _ in 0..10 {
        let asked = Instant::now();
        assert!(count().await.unwrap_err().is_retryable());
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "calls fail fast"
        );
    }
    let process = by_hand(&program, &arguments);
    let back = async {
        while count().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("it is found again");
    let stranger = sidecar(port, &[("X-Plugin-Token", "guess")]);
    let stranger = stranger.connect().await.unwrap();
    let refused = stranger.health().await.unwrap_err().to_string();
    assert!(
        refused.contains("missing or wrong") && refused.contains("401"),
        "{refused}"
    );
    shelf.end().await;
    drop(process);
}

#[actix_rt::test]
async fn the_gateway_keeps_its_own_processes_and_leaves_those_of_others() {
    let Some(kit) = Kit::find("plugins of a gateway") else {
        return;
    };
    let port = free_port();
    let mut theirs = by_hand(&go(&kit), &["-port", &port.to_string()]);
    let program = go(&kit).exec;
    let text = format!(
        "plugins:\n  telemetry: {{ type: subprocess, subprocess: {{ exec: {program:?} }} }}\n  notes: {{ type: stdio, subprocess: {{ exec: /bin/sh, args: [\"-c\", \"while read -r line; do echo '{{\\\"result\\\":\\\"ok\\\"}}'; done\"] }} }}\n  found: {{ type: sidecar, sidecar: {{ url: \"http://localhost:{port}\" }} }}\n"
    );
    let gateway = Gateway::start(&text);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let plugins = wire::get(&format!("{}/plugins", gateway.admin))
            .await
            .unwrap()
            .json();
        let plugins = plugins.as_array().unwrap().clone();
        if plugins.iter().all(|plugin| plugin["state"] == "active") {
            let carried: Vec<_> = plugins.iter().map(|plugin| &plugin["transport"]).collect();
            assert_eq!(carried, ["sidecar", "stdio", "subprocess"]);
            break;
        }
        assert!(Instant::now() < deadline, "{plugins:?}\n{}", gateway.log());
        sleep(Duration::from_millis(20)).await;
    }
    gateway.says("go plugin 1.0.0 is ready");
    let started = |plugin: &str, after: usize| {
        let lines: Vec<Value> = gateway
            .log()
            .lines()
            .filter_map(|line| serde_json::from_str(line.trim_start_matches("! ")).ok())
            .filter(|line: &Value| {
                line["message"] == "plugin process started" && line["plugin"] == plugin
            })
            .collect();
        lines.get(after).map(|line| line["pid"].clone())
    };
    let first = started("telemetry", 0).unwrap();
    let pid = i32::try_from(first.as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    gateway.says("plugin restarted");
    let second = started("telemetry", 1).unwrap();
    let notes = started("notes", 0).unwrap();
    assert!(gateway.terminate(PATIENCE).success());
    assert!(
        ![first, second, notes].iter().any(is_alive),
        "they are ours to end"
    );
    assert!(
        theirs.wait_exit(Duration::ZERO).is_none(),
        "it is not ours to end"
    );
}

#[test]
fn a_header_without_its_variable_and_an_address_elsewhere_are_errors_of_the_configuration() {
    let text = "plugins:\n  telemetry:\n    type: sidecar\n    sidecar:\n      url: http://localhost:8081\n      headers: { X-Plugin-Token: \"${PLUGIN_TOKEN}\" }\n";
    let missing = load_text(text, "weir.yaml", &|_| None)
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("the environment variable PLUGIN_TOKEN is not set"),
        "{missing}"
    );
    let token = |name: &str| (name == "PLUGIN_TOKEN").then(|| "s3cret".to_owned());
    let loaded = load_text(text, "weir.yaml", &token).expect("it is set");
    assert!(!format!("{loaded:?}").contains("s3cret"));
    let elsewhere = text.replace("localhost", "plugins.example.com");
    let refused = load_text(&elsewhere, "weir.yaml", &token)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("plugins.example.com is not this machine"),
        "{refused}"
    );
    let meant = elsewhere.replace("    sidecar:\n", "    sidecar:\n      allow_remote: true\n");
    load_text(&meant, "weir.yaml", &token).expect("it is meant");
}
