//! Several servers as one: names, order, every page.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, ModernClient, names};
use support::upstream::{Upstream, http_entry, stdio_entry};

#[tokio::test]
async fn two_servers_with_the_same_tool() {
    let Some(kit) = Kit::find("federation") else {
        return;
    };
    let east = Upstream::echo(&kit, &["--name", "east"]);
    let west = stdio_echo(&kit, &["--name", "west", "--tools", "2"]);
    let gateway = Gateway::start(&format!(
        "servers:\n  west: {west}\n  east: {}\n",
        http_entry(&east.url)
    ))
    .connected()
    .await;

    let modern = ModernClient::new(gateway.endpoint());
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let expected = ["west__echo", "west__tool_1", "east__echo"];
    for _ in 0..3 {
        assert_eq!(
            names(
                &modern.request("tools/list", json!({})).await.result(),
                "tools",
                "name"
            ),
            expected
        );
        assert_eq!(
            names(
                &legacy.request("tools/list", json!({})).await.result(),
                "tools",
                "name"
            ),
            expected
        );
    }
    for server in ["east", "west"] {
        let tool = format!("{server}__echo");
        let arguments = json!({ "text": "hello" });
        assert!(
            modern
                .call(&tool, arguments.clone())
                .await
                .text()
                .starts_with(&format!("{server} echo "))
        );
        assert!(
            legacy
                .call(&tool, arguments)
                .await
                .text()
                .starts_with(&format!("{server} echo "))
        );
    }
    for nobodys in ["echo", "east__tool_1", "north__echo", "west__echo__echo"] {
        assert_eq!(
            modern.call(nobodys, json!({})).await.code(),
            Some(-32602),
            "{nobodys}"
        );
        assert_eq!(
            legacy.call(nobodys, json!({})).await.code(),
            Some(-32602),
            "{nobodys}"
        );
    }
}

#[tokio::test]
async fn a_server_on_its_own_keeps_its_names() {
    let Some(kit) = Kit::find("federation") else {
        return;
    };
    let east = Upstream::echo(&kit, &["--name", "east"]);
    let west = stdio_echo(&kit, &["--name", "west"]);
    let gateway = Gateway::start(&format!(
        "servers:\n  west: {west}\n  east: {}\n",
        http_entry(&east.url)
    ))
    .connected()
    .await;
    for server in ["east", "west"] {
        let client = ModernClient::new(gateway.endpoint_of(server));
        assert_eq!(
            names(
                &client.request("tools/list", json!({})).await.result(),
                "tools",
                "name"
            ),
            ["echo"]
        );
        assert!(
            client
                .call("echo", json!({}))
                .await
                .text()
                .starts_with(server)
        );
        assert_eq!(
            client
                .call(&format!("{server}__echo"), json!({}))
                .await
                .code(),
            Some(-32602)
        );
    }
}

#[tokio::test]
async fn every_page_of_a_long_list() {
    let Some(kit) = Kit::find("federation") else {
        return;
    };
    let paged = ["--tools", "101", "--page", "50"];
    let far = Upstream::echo(&kit, &paged);
    let near = stdio_echo(&kit, &paged);
    let gateway = Gateway::start(&format!(
        "servers:\n  far: {}\n  near: {near}\n",
        http_entry(&far.url)
    ))
    .connected()
    .await;

    let modern = ModernClient::new(gateway.endpoint());
    let legacy = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let mut expected = Vec::new();
    for server in ["far", "near"] {
        expected.push(format!("{server}__echo"));
        expected.extend((1..101).map(|number| format!("{server}__tool_{number}")));
    }
    let mut listed = Vec::new();
    let mut params = json!({});
    loop {
        let page = modern.request("tools/list", params).await.result();
        listed.extend(names(&page, "tools", "name"));
        let Some(cursor) = page.get("nextCursor").filter(|cursor| !cursor.is_null()) else {
            break;
        };
        assert!(listed.len() < 1000, "the list does not end");
        params = json!({ "cursor": cursor });
    }
    assert_eq!(listed, expected);
    let whole: Value = legacy.request("tools/list", json!({})).await.result();
    assert!(names(&whole, "tools", "name").len() >= 101, "{whole}");
    assert!(
        modern
            .call("near__tool_100", json!({ "text": "last" }))
            .await
            .text()
            .ends_with("last")
    );
    assert!(
        legacy
            .call("far__tool_100", json!({ "text": "last" }))
            .await
            .text()
            .ends_with("last")
    );
}

fn stdio_echo(kit: &Kit, arguments: &[&str]) -> String {
    let script = Kit::script("echo_server.py");
    let words = [&[script.to_str().unwrap()], arguments].concat();
    stdio_entry(&kit.python_program(), &words, &[])
}
