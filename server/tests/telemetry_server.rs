//! Who plays the telemetry role where nobody says: a server that is built in, or the one that the command line names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use serde_json::json;
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp_plugin::{Plugin, call, connect, plugins, remote};
use support::wire;
use weir_actors::plugin::{CallError, RemoteServer, Role};
use weir_actors::upstream::config::Protocol;

fn listening(gateway: &Gateway) -> Option<String> {
    let log = gateway.log();
    let line = log
        .lines()
        .find(|line| line.contains("telemetry server listening"))?;
    let url = line.split("http://").nth(1)?;
    let end = url.find("/mcp")?;
    Some(format!("http://{}/mcp", &url[..end]))
}

#[actix_rt::test]
async fn it_is_built_in() {
    let gateway = Gateway::start("servers: {}\n");
    gateway.says("telemetry server listening");
    let url = listening(&gateway).unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    for (protocol, total) in [(Protocol::Legacy, 2), (Protocol::Modern, 4)] {
        let server = RemoteServer {
            protocol,
            ..remote(&url)
        };
        let client = connect(server, Role::Telemetry).await.unwrap();
        client.health().await.unwrap();
        for (method, value) in [
            ("record-counter", json!(2)),
            ("record-gauge", json!(total)),
            ("record-histogram", json!(0.5)),
        ] {
            let name = format!("test.{}", method.replace('-', "."));
            let params = json!({ "name": name, "value": value, "attributes": { "a.b": "c" } });
            assert_eq!(
                call(&client, method, params).await,
                Ok(json!({ "result": "ok" }))
            );
        }
        let wrong = json!({ "name": "test.record.gauge", "value": 1 });
        let wrong = call(&client, "record-histogram", wrong).await;
        assert!(matches!(wrong, Err(CallError::Refused(_))), "{wrong:?}");
        for (metric, value) in [
            (
                "recorded_test_record_counter_total{a_b=\"c\"}",
                f64::from(total),
            ),
            ("recorded_test_record_gauge{a_b=\"c\"}", f64::from(total)),
            (
                "recorded_test_record_histogram_sum{a_b=\"c\"}",
                f64::from(total) / 4.0,
            ),
        ] {
            assert_eq!(gateway.metric(metric).await, value, "{metric}");
        }
    }
    // Its answer, as it is on the wire; and who is not answered.
    let ask = async |headers: &[(&str, &str)], body: &str| {
        let sent = wire::send(http::Method::POST, &url, headers, body.to_owned()).await;
        sent.unwrap()
    };
    let json = ("content-type", "application/json");
    let record = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"record-counter","arguments":{"name":"n","value":1}}}"#;
    let answer = ask(&[json], record).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "recorded");
    assert_eq!(
        ask(&[json, ("origin", "http://localhost")], record)
            .await
            .status,
        403
    );
    assert_eq!(
        ask(&[json, ("host", "evil.test")], record).await.status,
        403
    );
    let long = format!("{record}{}", " ".repeat(100_000));
    assert_eq!(ask(&[json], &long).await.status, 413);
    assert_eq!(wire::get(&url).await.unwrap().status, 405);
    let error = ask(
        &[json],
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sing"}}"#,
    )
    .await;
    assert_eq!(error.json()["error"]["code"], -32602);
}

#[actix_rt::test]
async fn the_command_line_names_another() {
    let Some(kit) = Kit::find("telemetry_server") else {
        return;
    };
    let plugin = Plugin::start(&kit, &["--role=telemetry"]);
    let port = plugin
        .url
        .trim_end_matches("/mcp")
        .rsplit(':')
        .next()
        .unwrap();
    let gateway = Gateway::start_with("servers: {}\n", |command| {
        command.args(["--telemetry-mcp-server-host", "127.0.0.1"]);
        command.args(["--telemetry-mcp-server-port", port]);
    });
    let shown = plugins(&gateway).await;
    assert_eq!(shown[0]["name"], "telemetry");
    assert_eq!(shown[0]["state"], "active", "{shown:?}");
    assert_eq!(shown[0]["transport"], "mcp");
    plugin.is_asked("tools/list");
    assert_eq!(listening(&gateway), None);
}
