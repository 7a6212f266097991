//! What operators do with plugins that run: look at them, replace them, have them need each other, and try one out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::process::Process;
use support::upstream::free_port;
use support::wire;

const PATIENCE: Duration = Duration::from_secs(30);

/// A plugin that somebody else runs. It says that it is version 3.2.1.
fn sidecar(kit: &Kit, port: u16) -> Process {
    let mut command = kit.python("story_plugin.py");
    command.args(["--port", &port.to_string()]);
    let process = Process::start("sidecar", command);
    process.wait_line(PATIENCE, |line| line.starts_with("PORT=").then_some(()));
    process
}

fn entry(port: u16, more: &str) -> String {
    format!("{{ type: sidecar, sidecar: {{ url: 'http://127.0.0.1:{port}' }}{more} }}")
}

/// A configuration with these plugins and no server.
fn yaml(plugins: &[(&str, String)]) -> String {
    let entries: Vec<String> = plugins
        .iter()
        .map(|(name, entry)| format!("  {name}: {entry}\n"))
        .collect();
    format!("servers: {{}}\nplugins:\n{}", entries.concat())
}

async fn plugin(gateway: &Gateway, name: &str) -> Value {
    let url = format!("{}/plugins/{name}", gateway.admin);
    wire::get(&url).await.unwrap().json()
}

/// Waits until a plugin is as `is` says.
async fn until(gateway: &Gateway, name: &str, is: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let plugin = plugin(gateway, name).await;
        if is(&plugin) {
            return plugin;
        }
        assert!(Instant::now() < deadline, "{plugin}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn active(gateway: &Gateway, name: &str) -> Value {
    until(gateway, name, |plugin| plugin["state"] == "active").await
}

/// Runs `weir plugins …`; returns its exit code and what it said on both outputs.
fn weir(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("plugins").args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn the_command_line_lists_explains_reloads_and_restarts() {
    let Some(kit) = Kit::find("plugin_operations") else {
        return;
    };
    let (port, nobody) = (free_port(), free_port());
    let _weather = sidecar(&kit, port);
    let secret = ", health: { interval: 1s }";
    let url = format!("http://127.0.0.1:{port}");
    let with_token = format!(
        "{{ type: sidecar, sidecar: {{ url: '{url}', headers: {{ X-Plugin-Token: s3cret-canary }} }}{secret} }}"
    );
    let gateway = Gateway::start(&yaml(&[
        ("weather", with_token),
        ("gone", entry(nobody, "")),
    ]));
    active(&gateway, "weather").await;
    until(&gateway, "gone", |plugin| plugin["error"].is_string()).await;
    let admin = gateway.admin.as_str();

    let (code, table, _) = weir(&["list", "--admin", admin]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        (code, rows[0].join(" ").as_str()),
        (
            0,
            "NAME ROLE TRANSPORT VERSION STATE GENERATION RESTARTS LAST ERROR"
        )
    );
    assert_eq!(rows[1][0], "gone");
    assert_eq!(
        rows[2],
        ["weather", "-", "sidecar", "3.2.1", "active", "1", "0", "-"]
    );
    let (_, json, _) = weir(&["list", "--json", "--admin", admin]);
    let page: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(page[1]["url"], *url);
    assert!(!json.contains("s3cret"), "{json}");

    let (code, block, _) = weir(&["status", "--admin", admin]);
    assert_eq!(code, 1, "{block}");
    assert!(block.contains("next step"), "{block}");
    let (code, block, _) = weir(&["status", "weather", "--admin", admin]);
    assert_eq!(code, 0, "{block}");
    assert!(block.starts_with("weather: active\n"), "{block}");

    let (code, said, _) = weir(&["reload", "weather", "--admin", admin]);
    assert_eq!(
        (code, said.as_str()),
        (0, "weather reloaded: instance 2 serves, version 3.2.1\n")
    );
    let (code, said, _) = weir(&["restart", "weather", "--admin", admin]);
    assert_eq!(
        (code, said.as_str()),
        (0, "weather restarted: instance 3 serves, version 3.2.1\n")
    );
    let (code, _, said) = weir(&["restart", "gone", "--admin", admin]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("weir plugins test"), "{said}");
    let (code, _, said) = weir(&["reload", "nobody", "--admin", admin]);
    assert_eq!(
        (code, said.as_str()),
        (
            1,
            "there is no plugin \"nobody\"\n  there are: gone, weather\n"
        )
    );
    let (code, _, said) = weir(&["list", "--admin", &format!("http://127.0.0.1:{nobody}")]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("start one with `weir serve`"), "{said}");
}

#[tokio::test]
async fn no_web_page_restarts_a_plugin() {
    let Some(kit) = Kit::find("plugin_operations") else {
        return;
    };
    let port = free_port();
    let _weather = sidecar(&kit, port);
    let gateway = Gateway::start(&yaml(&[("weather", entry(port, ""))]));
    active(&gateway, "weather").await;
    for word in ["reload", "restart"] {
        let url = format!("{}/plugins/weather/{word}", gateway.admin);
        for header in [
            ("origin", "http://localhost"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let answer = wire::send(Method::POST, &url, &[header], "").await.unwrap();
            assert_eq!(answer.status, 403, "{answer:?}");
        }
        let foreign = ("host", "evil.test");
        let answer = wire::send(Method::POST, &url, &[foreign], "")
            .await
            .unwrap();
        assert_eq!(answer.status, 403, "{answer:?}");
        for method in [Method::GET, Method::PUT, Method::OPTIONS] {
            let answer = wire::send(method, &url, &[], "").await.unwrap();
            assert_eq!(answer.status, 405, "{answer:?}");
        }
    }
    assert_eq!(plugin(&gateway, "weather").await["generation"], 1);
    let none = wire::get(&format!("{}/plugins/none", gateway.admin)).await;
    let none = none.unwrap();
    assert_eq!(
        (none.status, none.json()),
        (
            404,
            json!({ "error": "there is no plugin \"none\"", "plugins": ["weather"] })
        )
    );
}

#[tokio::test]
async fn a_reload_touches_only_the_plugins_that_are_different() {
    let Some(kit) = Kit::find("plugin_operations") else {
        return;
    };
    let (before, after, nobody) = (free_port(), free_port(), free_port());
    let (_before, _after) = (sidecar(&kit, before), sidecar(&kit, after));
    let same = ("same", entry(before, ""));
    let gateway = Gateway::start(&yaml(&[same.clone(), ("moved", entry(before, ""))]));
    active(&gateway, "same").await;
    active(&gateway, "moved").await;

    gateway.configure(&yaml(&[
        same.clone(),
        ("moved", entry(after, "")),
        ("fresh", entry(after, "")),
    ]));
    let report = gateway.reload().await.json();
    assert_eq!(
        report["plugins"],
        json!({ "added": ["fresh"], "replaced": ["moved"], "removed": [] }),
        "{report}"
    );
    let moved = plugin(&gateway, "moved").await;
    assert_eq!(
        (&moved["state"], &moved["generation"], &moved["restarts"]),
        (&json!("active"), &json!(2), &json!(0))
    );
    assert_eq!(plugin(&gateway, "same").await["generation"], 1);
    assert_eq!(plugin(&gateway, "fresh").await["state"], "active");

    // Nobody is at the new address: the instance before goes on.
    gateway.configure(&yaml(&[same.clone(), ("moved", entry(nobody, ""))]));
    let report = gateway.reload().await.json();
    assert_eq!(report["plugins"]["removed"], json!(["fresh"]), "{report}");
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(
        warning.ends_with("the instance before goes on"),
        "{warning}"
    );
    let moved = plugin(&gateway, "moved").await;
    assert_eq!(
        (&moved["state"], &moved["generation"]),
        (&json!("active"), &json!(2))
    );
    assert_eq!(
        wire::get(&format!("{}/plugins/fresh", gateway.admin))
            .await
            .unwrap()
            .status,
        404
    );

    // A circle is refused as a whole.
    let needs = |name: &str| format!(", requires: {{ plugins: {{ {name}: '*' }} }}");
    gateway.configure(&yaml(&[
        ("a", entry(before, &needs("b"))),
        ("b", entry(before, &needs("a"))),
    ]));
    let answer = gateway.reload().await;
    assert_eq!(answer.status, 422);
    let problem = answer.json()["problems"][0]["problem"].to_string();
    assert!(problem.contains("in a circle: a -> b -> a"), "{problem}");
    assert_eq!(plugin(&gateway, "same").await["generation"], 1);
}

#[tokio::test]
async fn a_mounted_config_map_moves_a_plugin() {
    let Some(kit) = Kit::find("plugin_operations") else {
        return;
    };
    let (before, after) = (free_port(), free_port());
    let (_before, _after) = (sidecar(&kit, before), sidecar(&kit, after));
    let gateway = Gateway::start(&yaml(&[("weather", entry(before, ""))]));
    active(&gateway, "weather").await;
    let mount = gateway.config.parent().unwrap().to_owned();
    let link = |to: &str, name: &str| {
        symlink(to, mount.join("draft")).unwrap();
        std::fs::rename(mount.join("draft"), mount.join(name)).unwrap();
    };
    let version = |name: &str, port: u16| {
        std::fs::create_dir(mount.join(name)).unwrap();
        let text = gateway.whole(&yaml(&[("weather", entry(port, ""))]));
        std::fs::write(mount.join(name).join("weir.yaml"), text).unwrap();
        link(name, "..data");
    };
    version("..1", before);
    link("..data/weir.yaml", "weir.yaml");
    gateway.says("nothing is different");
    version("..2", after);
    let address = format!("http://127.0.0.1:{after}");
    let moved = until(&gateway, "weather", |plugin| plugin["url"] == *address).await;
    assert_eq!(
        (&moved["state"], &moved["generation"], &moved["restarts"]),
        (&json!("active"), &json!(2), &json!(0))
    );
}

#[tokio::test]
async fn a_plugin_stops_with_what_it_needs_and_comes_back_with_it() {
    let Some(kit) = Kit::find("plugin_operations") else {
        return;
    };
    let (first, second) = (free_port(), free_port());
    let needs = |range: &str, loss: &str| {
        format!(", requires: {{ plugins: {{ zed: '{range}' }}, on_loss: {loss} }}")
    };
    let plugins = yaml(&[
        ("bound", entry(first, &needs(">=3.2", "stop"))),
        ("loose", entry(first, &needs("*", "degrade"))),
        ("newer", entry(first, &needs(">=4", "degrade"))),
        ("old", entry(first, ", requires: { version: '>=4' }")),
        ("zed", entry(second, "")),
    ]);
    let _first = sidecar(&kit, first);
    let gateway = Gateway::start(&plugins);
    let waits = |plugin: &Value| plugin["waits_for"] == "plugin zed does not serve";
    let bound = until(&gateway, "bound", waits).await;
    assert_eq!(bound["generation"], 0, "{bound}");

    let mut zed = sidecar(&kit, second);
    active(&gateway, "zed").await;
    active(&gateway, "bound").await;
    active(&gateway, "loose").await;
    let newer = until(&gateway, "newer", |plugin| {
        plugin["waits_for"] == "plugin zed is version 3.2.1, and >=4 is required"
    });
    assert_eq!(newer.await["generation"], 0);
    let old = until(&gateway, "old", |plugin| plugin["error"].is_string()).await;
    let error = old["error"].as_str().unwrap();
    assert!(
        error.contains("it is version 3.2.1, and >=4 is required"),
        "{error}"
    );

    zed.kill();
    let bound = until(&gateway, "bound", |plugin| plugin["state"] == "stopped").await;
    assert_eq!(bound["waits_for"], "plugin zed does not serve");
    let loose = until(&gateway, "loose", |plugin| plugin["degraded"].is_string()).await;
    assert_eq!(
        (&loose["state"], &loose["generation"]),
        (&json!("active"), &json!(1))
    );

    let _zed = sidecar(&kit, second);
    let bound = active(&gateway, "bound").await;
    assert_eq!(bound["generation"], 2);
    let loose = until(&gateway, "loose", |plugin| plugin["degraded"].is_null()).await;
    assert_eq!(loose["generation"], 1);
}

#[tokio::test]
async fn a_plugin_is_tried_out_without_a_gateway() {
    let Some(kit) = Kit::find("plugin_operations") else {
        return;
    };
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let (code, said, _) = weir(&["test", &url]);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("FAILED   start"), "{said}");
    let _weather = sidecar(&kit, port);
    let (code, said, complaint) = weir(&["test", &url]);
    assert_eq!(code, 0, "{said}{complaint}");
    assert!(said.ends_with("it keeps to the contract\n"), "{said}");
    assert!(said.contains("version 3.2.1, protocol 1"), "{said}");
    let (code, said, _) = weir(&["test", "--json", "--role", "policy", &url]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["passed"]), (1, &json!(false)), "{report}");
    let findings = report["findings"].as_array().unwrap();
    let access = findings
        .iter()
        .find(|finding| finding["check"] == "check_access");
    assert_eq!(access.unwrap()["result"], "failed");
    let python = kit.python_program();
    let script = Kit::script("story_plugin.py");
    let (python, script) = (python.to_str().unwrap(), script.to_str().unwrap());
    for (transport, more) in [("subprocess", vec![]), ("stdio", vec!["--pipes"])] {
        let mut arguments = vec!["test", "--transport", transport, python, "-u", script];
        arguments.extend(more);
        let (code, said, complaint) = weir(&arguments);
        assert_eq!(code, 0, "{said}{complaint}");
        assert!(said.contains("ok       end "), "{said}");
    }
    let (code, said, _) = weir(&["test", "/bin/true"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("; print PORT=<n> as the first line"),
        "{said}"
    );
    let (code, _, said) = weir(&["test", "--role", "singer", &url]);
    assert_eq!(code, 2);
    assert!(said.contains("use one of auth_provider, "), "{said}");
}
