//! Real servers. They are found through `WEIR_TEST_KIT`, a directory with a Python environment in `py` and node
//! packages in `node`; without it these tests say so and pass.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_plugin_protocol::mcp::Era;

use super::stdio::{SETTLED, Upstream};
use crate::upstream::UpstreamState;

/// What is installed.
struct Kit(PathBuf);

/// A server that runs beside the test.
struct Running(Child);

impl Kit {
    fn find() -> Option<Self> {
        let kit = std::env::var_os("WEIR_TEST_KIT").map(|kit| Self(kit.into()));
        if kit.is_none() {
            println!("skipped: WEIR_TEST_KIT does not name a directory of installed servers");
        }
        kit
    }

    fn python(&self, program: &str, args: &[&str]) -> Value {
        json!({"type": "stdio", "command": self.0.join("py/bin").join(program), "args": args})
    }

    fn node(&self, program: &str, args: &[&str]) -> Value {
        let bin = self.0.join("node/node_modules/.bin");
        let mut all = vec![bin.join(program).display().to_string()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        json!({"type": "stdio", "command": bin.join("node"), "args": all})
    }

    /// Starts what is configured as a process beside the test, on a free port, and says how it is reached.
    fn serve(&self, config: &Value, port_argument: Option<&str>) -> (Value, Running) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        drop(listener);
        let mut command = Command::new(config["command"].as_str().unwrap());
        command.args(
            config["args"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str),
        );
        match port_argument {
            Some(argument) => command.args([argument, &port]),
            None => command.env("PORT", &port),
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let url = format!("http://127.0.0.1:{port}/mcp");
        (json!({"type": "http", "url": url}), Running(child.unwrap()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of both eras, or of one.
fn conformance(kit: &Kit, args: &[&str]) -> Value {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../server/tests/kit/conformance_upstream.py"
    );
    kit.python("python", &[&[script], args].concat())
}

#[test]
fn real_servers_are_one_federation() {
    let Some(kit) = Kit::find() else { return };
    let directory = std::env::temp_dir().display().to_string();
    let servers = [
        ("everything", kit.node("mcp-server-everything", &["stdio"])),
        (
            "filesystem",
            kit.node("mcp-server-filesystem", &[&directory]),
        ),
        ("memory", kit.node("mcp-server-memory", &[])),
        (
            "time",
            kit.python("mcp-server-time", &["--local-timezone", "UTC"]),
        ),
    ];
    Upstream::test(&servers, async |upstream| {
        assert!(upstream.board.settled(SETTLED * 2).await);
        // On a busy machine a server may be too slow for the first probe.
        upstream
            .until("time speaks both eras", |federation| {
                let time = &federation.servers[3];
                time.modern.is_some() && time.legacy.is_some()
            })
            .await;
        for server in &upstream.board.load().servers {
            assert_eq!(server.state, UpstreamState::Ready, "{}", server.name);
            assert!(server.legacy.is_some(), "{}", server.name);
            let modern = server.name.as_str() == "time";
            assert_eq!(server.modern.is_some(), modern, "{}", server.name);
        }
        assert_eq!(upstream.eras(), (false, true));
        assert!(upstream.tools(Era::Legacy) >= 14 + 10 + 9 + 2);
        let sum = r#"{"a":2,"b":3}"#;
        let sum = upstream
            .call(Era::Legacy, "everything__get-sum", sum)
            .await
            .unwrap();
        assert!(String::from_utf8_lossy(sum.raw()).contains('5'));
        let time = r#"{"source_timezone":"UTC","time":"12:00","target_timezone":"UTC"}"#;
        upstream
            .call(Era::Legacy, "time__convert_time", time)
            .await
            .unwrap();
    });
}

#[test]
fn the_eras_of_a_real_server_are_found_over_http_and_stdio() {
    let Some(kit) = Kit::find() else { return };
    for (era, expected) in [
        ("both", (true, true)),
        ("legacy", (false, true)),
        ("modern", (true, false)),
    ] {
        let (http, _running) = kit.serve(&conformance(&kit, &["--era", era]), Some("--port"));
        Upstream::test(&[("site", http)], async |upstream| {
            upstream
                .until("the eras", |federation| {
                    let server = &federation.servers[0];
                    (server.modern.is_some(), server.legacy.is_some()) == expected
                })
                .await;
            assert_eq!(upstream.eras(), expected, "{era} over HTTP");
        });
        let stdio = conformance(&kit, &["--stdio", "--era", era]);
        Upstream::test(&[("child", stdio)], async |upstream| {
            assert!(upstream.board.settled(SETTLED * 2).await);
            upstream
                .until("the eras", |federation| {
                    let server = &federation.servers[0];
                    (server.modern.is_some(), server.legacy.is_some()) == expected
                })
                .await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(upstream.eras(), expected, "{era} over stdio");
        });
    }
}

#[test]
fn a_real_server_over_http_may_come_later() {
    let Some(kit) = Kit::find() else { return };
    let server = kit.node("mcp-server-everything", &["streamableHttp"]);
    let (http, _running) = kit.serve(&server, None);
    Upstream::test(&[("everything", http)], async |upstream| {
        upstream
            .until("ready", |federation| {
                federation.servers[0].state == UpstreamState::Ready
            })
            .await;
        assert_eq!(upstream.eras(), (false, true));
        assert!(upstream.tools(Era::Legacy) >= 14);
    });
}
