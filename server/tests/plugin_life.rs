//! The life of real plugins behind a gateway: killed, hung, replaced and tied together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{ModernClient, Outcome};
use support::scratch::Scratch;
use support::upstream::demo_entry;
use support::{proc_fs, wire};

/// How long a plugin may take to serve: it is written in Python.
const LIMIT: Duration = Duration::from_secs(20);

/// The example plugin as an entry of the configuration.
fn entry(kit: &Kit, script: &Path, more: &str) -> String {
    format!(
        "{{ type: subprocess, subprocess: {{ exec: {:?}, args: [\"-u\", {:?}], env: {{ PLUGIN_KEYS: \"k=alice:caller\" }} }}, {more} }}",
        kit.python_program(),
        script
    )
}

fn flask() -> std::path::PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = repository.join("plugins/python-flask/plugin.py");
    script.canonicalize().unwrap()
}

/// What the gateway shows of its plugins, by name.
async fn plugins(gateway: &Gateway) -> BTreeMap<String, Value> {
    let answer = wire::get(&format!("{}/plugins", gateway.admin)).await;
    let shown = answer.unwrap().json();
    let shown = shown.as_array().unwrap().iter();
    shown
        .map(|plugin| (plugin["name"].as_str().unwrap().to_owned(), plugin.clone()))
        .collect()
}

/// Waits until a plugin is as it should be.
async fn until(gateway: &Gateway, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let plugin = plugins(gateway).await.remove(name).unwrap();
        if is_so(&plugin) {
            return plugin;
        }
        assert!(Instant::now() < deadline, "{plugin}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn serves(generation: u64) -> impl Fn(&Value) -> bool {
    move |plugin| plugin["state"] == "active" && plugin["generation"].as_u64() >= Some(generation)
}

/// The processes of this script below the gateway.
fn processes(gateway: &Gateway, script: &Path) -> Vec<u32> {
    let script = script.to_str().unwrap().as_bytes().to_vec();
    let children = proc_fs::children(gateway.pid()).into_iter();
    let of_script = children.filter(|child| {
        let line = std::fs::read(format!("/proc/{}/cmdline", child.pid)).unwrap_or_default();
        line.windows(script.len()).any(|window| window == script)
    });
    of_script.map(|child| child.pid).collect()
}

async fn with_auth(kit: &Kit, script: &Path, more: &str, rest: &str) -> (Gateway, ModernClient) {
    let plugin = entry(
        kit,
        script,
        &format!("cache: {{ ttl: 0s, negative_ttl: 0s }}, {more}"),
    );
    let gateway = Gateway::start(&format!(
        "servers:\n  demo: {}\nplugins:\n  auth_provider: {plugin}\n{rest}",
        demo_entry()
    ));
    let gateway = gateway.connected().await;
    until(&gateway, "auth_provider", serves(1)).await;
    let client = ModernClient::new(gateway.endpoint()).bearer("k");
    (gateway, client)
}

/// Calls until it is told to stop. Returns how many were answered well, and the errors with how long they took.
async fn keep_calling(client: &ModernClient, stop: &AtomicBool) -> (u64, Vec<(Value, Duration)>) {
    let (mut good, mut bad) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let params = json!({ "name": "echo", "arguments": { "text": "a" } });
        let answer = client.answer("tools/call", params).await;
        let answer = answer.expect("every call has an answer");
        match support::mcp::outcome(&answer) {
            Outcome::Result(_) => good += 1,
            _ => bad.push((answer.json(), begun.elapsed())),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (good, bad)
}

#[tokio::test]
async fn a_plugin_that_is_killed_again_and_again_costs_no_answer() {
    let Some(kit) = Kit::find("plugin_life") else {
        return;
    };
    let script = flask();
    let supervision = "supervision: { intensity: 100, backoff: { reset_after: 100ms } }";
    let (gateway, client) = with_auth(&kit, &script, supervision, "").await;
    let stop = AtomicBool::new(false);
    let kills = async {
        for generation in 2..=6 {
            for process in processes(&gateway, &script) {
                proc_fs::kill(process);
            }
            let killed = Instant::now();
            until(&gateway, "auth_provider", serves(generation)).await;
            assert!(
                killed.elapsed() < Duration::from_secs(5),
                "{:?}",
                killed.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let calls = futures_util::future::join_all((0..4).map(|_| keep_calling(&client, &stop)));
    let (answers, ()) = tokio::join!(calls, kills);
    for (good, bad) in answers {
        assert!(good > 0);
        for (answer, took) in bad {
            assert_eq!(answer["error"]["data"]["retryable"], true, "{answer}");
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    }
    let records = gateway.records();
    let of_type = |event_type: &str| {
        let records = records
            .iter()
            .filter(|record| record["event_type"] == event_type);
        records.count()
    };
    assert_eq!(of_type("plugin.start"), 1);
    assert_eq!(of_type("plugin.restart"), 5);
    assert!(of_type("plugin.error") >= 5);
    let metrics = wire::get(&format!("{}/metrics", gateway.admin))
        .await
        .unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "weir_plugin_restarts_total{plugin=\"auth_provider\"} 5",
        "weir_plugin_up{plugin=\"auth_provider\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_noticed_and_restarted() {
    let Some(kit) = Kit::find("plugin_life") else {
        return;
    };
    let script = flask();
    let health =
        "health: { interval: 300ms, timeout: 300ms, failures: 3 }, limits: { call_timeout: 20s }";
    let (gateway, client) = with_auth(&kit, &script, health, "").await;
    let hung = processes(&gateway, &script);
    for process in &hung {
        let pid = process.to_string();
        let stopped = std::process::Command::new("kill")
            .args(["-STOP", &pid])
            .status();
        assert!(stopped.unwrap().success());
    }
    let begun = Instant::now();
    // A call that is in flight then does not wait for its time.
    let answer = client.call("echo", json!({ "text": "a" })).await;
    assert!(!matches!(answer, Outcome::Result(_)));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    until(&gateway, "auth_provider", serves(2)).await;
    assert_eq!(
        client.call("echo", json!({ "text": "b" })).await.text(),
        "b"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    // It does not obey, and is killed in the end.
    let gone = || hung.iter().all(|process| !proc_fs::alive(*process));
    assert!(proc_fs::eventually(LIMIT, gone));
    gateway.says("a plugin is not healthy");
}

#[tokio::test]
async fn another_file_takes_over_and_no_call_fails() {
    let Some(kit) = Kit::find("plugin_life") else {
        return;
    };
    let scratch = Scratch::new("plugin_life_reload");
    let text = std::fs::read_to_string(flask()).unwrap();
    let script = scratch.write("plugin.py", &text);
    let (gateway, client) = with_auth(&kit, &script, "", "").await;
    let stop = AtomicBool::new(false);
    let replacement = async {
        let next = scratch.write(
            "next.py",
            &text.replace("VERSION = \"1.0.0\"", "VERSION = \"1.1.0\""),
        );
        std::fs::rename(next, &script).unwrap();
        let plugin = until(&gateway, "auth_provider", serves(2)).await;
        assert_eq!(plugin["version"], "1.1.0", "{plugin}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(keep_calling(&client, &stop), replacement);
    assert!(answers.0 > 10);
    assert!(answers.1.is_empty(), "{:?}", answers.1);
    let records = gateway.records();
    for event_type in ["plugin.integrity", "plugin.reload"] {
        assert!(
            records
                .iter()
                .any(|record| record["event_type"] == event_type),
            "{event_type}"
        );
    }
}

#[tokio::test]
async fn another_file_is_not_run_where_it_is_to_be_quarantined() {
    let Some(kit) = Kit::find("plugin_life") else {
        return;
    };
    let scratch = Scratch::new("plugin_life_quarantine");
    let text = std::fs::read_to_string(flask()).unwrap();
    let script = scratch.write("plugin.py", &text);
    let (gateway, client) = with_auth(&kit, &script, "on_change: quarantine", "").await;
    assert_eq!(
        client.call("echo", json!({ "text": "a" })).await.text(),
        "a"
    );
    let ran = scratch.path().join("ran");
    let evil = format!("open({ran:?}, 'w').close()\n{text}");
    std::fs::rename(scratch.write("next.py", &evil), &script).unwrap();
    let plugin = until(&gateway, "auth_provider", |plugin| {
        plugin["quarantined"] == true
    })
    .await;
    assert_eq!(plugin["state"], "error");
    let answer = client.call("echo", json!({ "text": "b" })).await;
    assert!(!matches!(answer, Outcome::Result(_)));
    assert!(processes(&gateway, &script).is_empty());
    assert!(!ran.exists());
    let records = gateway.records();
    let told = records
        .iter()
        .find(|record| record["event_type"] == "plugin.integrity");
    let detail: Value = serde_json::from_str(told.unwrap()["detail"].as_str().unwrap()).unwrap();
    assert!(
        detail["before"].as_str().unwrap().starts_with("sha256:"),
        "{detail}"
    );
    assert!(
        detail["now"].as_str().unwrap().starts_with("sha256:"),
        "{detail}"
    );
    assert_ne!(detail["before"], detail["now"]);
    assert!(
        records
            .iter()
            .any(|record| record["event_type"] == "plugin.quarantined")
    );
}

/// Kills the process of the second of three plugins, and says which have another process afterwards.
async fn restarted_with(kit: &Kit, strategy: &str) -> Vec<String> {
    let scratch = Scratch::new(&format!("plugin_life_{strategy}"));
    let text = std::fs::read_to_string(flask()).unwrap();
    let names = ["a", "b", "c"];
    let scripts = names.map(|name| scratch.write(&format!("{name}.py"), &text));
    let mut yaml = format!("supervision: {{ plugins: {{ strategy: {strategy} }} }}\nplugins:\n");
    for (name, script) in names.iter().zip(&scripts) {
        yaml.push_str(&format!("  {name}: {}\n", entry(kit, script, "")));
    }
    let gateway = Gateway::start(&format!("{yaml}servers:\n  demo: {}\n", demo_entry()));
    let gateway = gateway.connected().await;
    for name in names {
        until(&gateway, name, serves(1)).await;
    }
    let pids = || scripts.each_ref().map(|script| processes(&gateway, script));
    let before = pids();
    for process in &before[1] {
        proc_fs::kill(*process);
    }
    until(&gateway, "b", serves(2)).await;
    for name in names {
        until(&gateway, name, serves(1)).await;
    }
    let after = pids();
    let pairs = names.iter().zip(before.iter().zip(&after));
    pairs
        .filter(|(_, (before, after))| before != after)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

#[tokio::test]
async fn the_end_of_one_plugin_is_the_end_of_others_where_the_operator_says_so() {
    let Some(kit) = Kit::find("plugin_life") else {
        return;
    };
    assert_eq!(restarted_with(&kit, "one_for_one").await, ["b"]);
    assert_eq!(restarted_with(&kit, "rest_for_one").await, ["b", "c"]);
    assert_eq!(restarted_with(&kit, "one_for_all").await, ["a", "b", "c"]);
}
