//! Who is let in, and what they may see and do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::keys::{ApiKey, api_keys};
use support::kit::Kit;
use support::mcp::{LegacyClient, ModernClient, Outcome, names};
use support::process::Process;
use support::scratch::Scratch;
use support::site::Site;
use support::upstream::{Eras, Upstream, http_entry};
use support::wire;

#[tokio::test]
async fn an_api_key_lets_in_and_nothing_else_does() {
    let Some(kit) = Kit::find("access") else {
        return;
    };
    let upstream = Upstream::echo(&kit, &[]);
    let alice = ApiKey::new("alice", &[]);
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\n{}",
        http_entry(&upstream.url),
        api_keys(&[&alice])
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint_of("up"));

    for wrong in [
        None,
        Some("weir_wrong"),
        Some(""),
        Some(&alice.key[..alice.key.len() - 1]),
    ] {
        let client = wrong.map_or_else(|| client.clone(), |key| client.clone().bearer(key));
        for method in ["server/discover", "tools/list"] {
            let answer = client.answer(method, json!({})).await.unwrap();
            assert_eq!(answer.status, 401, "{wrong:?}: {answer:?}");
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{answer:?}"
            );
        }
        let refused = client.call("echo", json!({})).await;
        assert!(
            matches!(refused, Outcome::Error { status: 401, .. }),
            "{wrong:?}: {refused:?}"
        );
    }
    assert!(
        client
            .clone()
            .bearer(&alice.key)
            .call("echo", json!({ "text": "hello" }))
            .await
            .text()
            .ends_with("hello")
    );
    assert!(
        client
            .clone()
            .header("x-api-key", &alice.key)
            .call("echo", json!({ "text": "hello" }))
            .await
            .text()
            .ends_with("hello")
    );
    let health = wire::get(&format!("{}/health", gateway.base))
        .await
        .unwrap();
    assert_eq!(health.status, 200, "health needs no key");
    assert!(!gateway.log().contains(&alice.key), "the key is in the log");
}

#[tokio::test]
async fn a_token_must_be_ours_in_every_respect() {
    let Some(kit) = Kit::find("access") else {
        return;
    };
    let folder = Scratch::new("tokens");
    let claims =
        json!({ "iss": "https://issuer.example", "aud": "http://127.0.0.1/mcp", "sub": "alice" });
    let with = |key: &str, value: Value| {
        let mut claims = claims.clone();
        claims[key] = value;
        claims
    };
    let order = json!({ "jwks": folder.path().join("jwks.json"), "tokens": {
        "good": { "claims": claims },
        "good_curve": { "claims": claims, "signed": "es256" },
        "one_of_many_audiences": { "claims": with("aud", json!(["https://other.example", "http://127.0.0.1/mcp"])) },
        "expired": { "claims": claims, "expires_in": -3600 },
        "not_yet": { "claims": with("nbf", json!(4_000_000_000_u64)) },
        "other_issuer": { "claims": with("iss", json!("https://issuer.example/")) },
        "other_audience": { "claims": with("aud", json!("https://other.example/mcp")) },
        "no_audience": { "claims": with("aud", Value::Null) },
        "no_user": { "claims": with("sub", Value::Null) },
        "by_a_stranger": { "claims": claims, "signed": "by_a_stranger" },
        "not_signed": { "claims": claims, "signed": "not_at_all" },
        "public_key_as_secret": { "claims": claims, "signed": "with_the_public_key" },
    } });
    let made = Process::run_with_input(
        "tokens.py",
        kit.python("tokens.py"),
        &order.to_string(),
        Duration::from_secs(30),
    );
    let tokens: HashMap<String, String> = serde_json::from_str(&made.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", made.output));

    let site = Site::start();
    let auth = json!({ "resource": "http://127.0.0.1/mcp", "providers": [{ "type": "jwt", "issuers": [{
        "issuer": "https://issuer.example", "jwks": folder.path().join("jwks.json") }] }] });
    let gateway = Gateway::start(&format!("servers:\n  up: {}\nauth: {auth}\n", site.entry()))
        .connected()
        .await;
    let client = ModernClient::new(gateway.endpoint());
    for (name, token) in &tokens {
        let outcome = client
            .clone()
            .bearer(token)
            .call("echo", json!({ "text": "hello" }))
            .await;
        if name.starts_with("good") || name == "one_of_many_audiences" {
            assert!(outcome.text().ends_with("hello"), "{name}");
        } else {
            assert!(
                matches!(outcome, Outcome::Error { status: 401, .. }),
                "{name}: {outcome:?}"
            );
        }
        assert!(
            !gateway.log().contains(token),
            "the token {name} is in the log"
        );
    }

    // Only good ones lead to a server, and none is passed on.
    let good = tokens
        .keys()
        .filter(|name| name.starts_with("good") || *name == "one_of_many_audiences");
    assert_eq!(site.calls().len(), good.count());
    for seen in site.seen() {
        assert!(seen.header("authorization").is_empty(), "{seen:?}");
    }

    let challenge = client.answer("tools/list", json!({})).await.unwrap();
    let challenge = challenge.header("www-authenticate").to_owned();
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
    ] {
        let metadata = wire::get(&format!("{}{path}", gateway.base)).await.unwrap();
        assert_eq!(metadata.status, 200, "{path}");
        assert_eq!(metadata.json()["resource"], "http://127.0.0.1/mcp");
        assert_eq!(
            metadata.json()["authorization_servers"],
            json!(["https://issuer.example"])
        );
    }
}

#[tokio::test]
async fn a_denied_server_is_neither_listed_nor_reached() {
    let Some(kit) = Kit::find("access") else {
        return;
    };
    let open = Upstream::echo(&kit, &[]);
    let vault = Upstream::conformance(&kit, Eras::Both);
    let (alice, bob) = (ApiKey::new("alice", &["keeper"]), ApiKey::new("bob", &[]));
    let rules = json!({ "rules": [
        { "name": "everybody echoes", "effect": "allow", "servers": ["open"] },
        { "name": "keepers see the vault", "effect": "allow", "servers": ["vault"], "roles": ["keeper"] },
        { "name": "nobody greets", "effect": "deny", "servers": ["vault"], "tools": ["greet"] },
    ] });
    let yaml = format!(
        "servers:\n  open: {}\n  vault: {}\npolicy: {rules}\n{}",
        http_entry(&open.url),
        http_entry(&vault.url),
        api_keys(&[&alice, &bob])
    );
    let gateway = Gateway::start(&yaml).connected().await;

    for user in [&alice, &bob] {
        let keeper = user.key == alice.key;
        let bearer = format!("Bearer {}", user.key);
        let modern = ModernClient::new(gateway.endpoint()).bearer(&user.key);
        let legacy = LegacyClient::connect(gateway.endpoint(), &[("authorization", &bearer)])
            .await
            .unwrap();
        for list in [
            modern.request("tools/list", json!({})).await,
            legacy.request("tools/list", json!({})).await,
        ] {
            let tools = names(&list.result(), "tools", "name");
            assert!(tools.iter().any(|tool| tool == "open__echo"), "{tools:?}");
            assert_eq!(
                tools.iter().any(|tool| tool == "vault__test_simple_text"),
                keeper,
                "{tools:?}"
            );
            assert!(
                !tools.iter().any(|tool| tool == "vault__greet"),
                "{tools:?}"
            );
        }
        for (method, kind) in [
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ] {
            for list in [
                modern.request(method, json!({})).await,
                legacy.request(method, json!({})).await,
            ] {
                let list = list.result();
                assert_eq!(
                    list[kind].as_array().unwrap().is_empty(),
                    !keeper,
                    "{method}: {list}"
                );
            }
        }
        let asked = [
            (
                "tools/call",
                json!({ "name": "vault__test_simple_text", "arguments": {} }),
            ),
            (
                "prompts/get",
                json!({ "name": "vault__test_simple_prompt" }),
            ),
            ("resources/read", json!({ "uri": "test://static-text" })),
            ("resources/read", json!({ "uri": "test://template/7/data" })),
        ];
        for (method, params) in asked {
            for outcome in [
                modern.request(method, params.clone()).await,
                legacy.request(method, params.clone()).await,
            ] {
                assert_eq!(
                    outcome.code().is_none(),
                    keeper,
                    "{method} {params}: {outcome:?}"
                );
            }
        }
        for outcome in [
            modern.call("vault__greet", json!({ "name": "x" })).await,
            legacy.call("vault__greet", json!({ "name": "x" })).await,
        ] {
            assert!(outcome.code().is_some(), "{outcome:?}");
        }
        assert!(
            modern
                .call("open__echo", json!({ "text": "hello" }))
                .await
                .text()
                .ends_with("hello")
        );
        assert!(
            legacy
                .call("open__echo", json!({ "text": "hello" }))
                .await
                .text()
                .ends_with("hello")
        );
        let alone = ModernClient::new(gateway.endpoint_of("vault")).bearer(&user.key);
        assert_eq!(
            alone
                .call("test_simple_text", json!({}))
                .await
                .code()
                .is_none(),
            keeper
        );
    }
}

#[tokio::test]
async fn a_session_belongs_to_whoever_began_it() {
    let Some(kit) = Kit::find("access") else {
        return;
    };
    let upstream = Upstream::echo(&kit, &[]);
    let (alice, bob) = (ApiKey::new("alice", &[]), ApiKey::new("bob", &[]));
    let gateway = Gateway::start(&format!(
        "servers:\n  up: {}\n{}",
        http_entry(&upstream.url),
        api_keys(&[&alice, &bob])
    ))
    .connected()
    .await;
    let bearer = format!("Bearer {}", alice.key);
    let mut client = LegacyClient::connect(gateway.endpoint(), &[("authorization", &bearer)])
        .await
        .unwrap();
    assert!(
        client
            .call("echo", json!({ "text": "mine" }))
            .await
            .text()
            .ends_with("mine")
    );
    client.headers = vec![("authorization".to_owned(), format!("Bearer {}", bob.key))];
    let stolen = client.call("echo", json!({ "text": "yours" })).await;
    assert!(
        matches!(stolen, Outcome::Error { status: 404, .. }),
        "{stolen:?}"
    );
    client.headers.clear();
    let bare = client.call("echo", json!({ "text": "whose" })).await;
    assert!(
        matches!(bare, Outcome::Error { status: 401, .. }),
        "{bare:?}"
    );
}
