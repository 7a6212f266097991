use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::CredentialError;

use super::*;
use crate::builtin::static_credentials::CredentialsConfig;
use crate::plugged::outfit::{Hop, Outfit};
use crate::plugged::owner_of;

const BODY: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;

fn config(server: Value) -> CredentialsConfig {
    serde_json::from_value(json!({ "servers": { "s": server } })).unwrap()
}

/// What a request is like when the proxy has answered this.
async fn injected(stage: &Stage) -> Result<(HeaderMap, Bytes), CredentialError> {
    let outfit = Outfit::default().with_proxy(stage.ensemble.proxy());
    let mut secret = HeaderValue::from_static("gateway-secret");
    secret.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert("x-own", secret);
    let mut body = Bytes::from_static(BODY.as_bytes());
    let principal = UserPrincipal::named("alice");
    let hop = Hop {
        principal: &principal,
        server: "s",
        url: "http://h/mcp",
        method: &http::Method::POST,
    };
    outfit.inject(hop, &mut headers, &mut body).await?;
    Ok((headers, body))
}

#[test]
fn a_proxy_sets_headers_and_another_body_of_the_same_request() {
    story(async |stage| {
        let other = BODY.replace("\"t\"", "\"t\",\"arguments\":{}");
        let answer = json!({ "headers": { "Accept": "application/json", "Authorization": "Bearer s" }, "body": other });
        let plugin = Scripted::new(move |_, _| Ok(answer.clone()));
        assert!(injected(&stage).await.is_err(), "nobody plays");
        stage.cast("auth_proxy", &plugin).await;
        let (headers, body) = injected(&stage).await.unwrap();
        assert_eq!(headers["authorization"], "Bearer s");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers["x-own"], "gateway-secret");
        assert!(std::str::from_utf8(&body).unwrap().contains("arguments"));
        let asked = &plugin.heard()[0];
        assert_eq!(asked["headers"], json!({ "accept": "application/json" }));
        assert_eq!(
            (&asked["body"], &asked["user_id"]),
            (&json!(BODY), &json!("alice"))
        );
    });
}

#[test]
fn what_a_proxy_may_not_do_stops_the_request() {
    let other = |from: &str, to: &str| json!({ "headers": {}, "body": BODY.replace(from, to) });
    for answer in [
        json!({ "body": BODY }),
        json!({ "headers": { "Host": "evil" } }),
        json!({ "headers": { "content-length": "1" } }),
        json!({ "headers": { "Connection": "close" } }),
        json!({ "headers": { "Transfer-Encoding": "chunked" } }),
        json!({ "headers": { "Mcp-Session-Id": "other" } }),
        json!({ "headers": { "accept": "text/html" } }),
        json!({ "headers": { "x": "a\r\nb: c" } }),
        json!({ "headers": { "x y": "a" } }),
        json!({ "headers": { "x": 1 } }),
        json!({ "headers": {}, "body": "" }),
        json!({ "headers": {}, "body": "no JSON" }),
        other("7", "8"),
        other("tools/call", "tools/list"),
        other("\"id\":7,", ""),
    ] {
        story(async |stage| {
            let said = answer.clone();
            let plugin = Scripted::new(move |_, _| Ok(said.clone()));
            stage.cast("auth_proxy", &plugin).await;
            let refused = injected(&stage).await.err();
            assert!(
                matches!(refused, Some(CredentialError::Unavailable(_))),
                "{answer}: {refused:?}"
            );
        });
    }
}

#[test]
fn a_caller_gets_its_own_credential_or_none() {
    story(async |stage| {
        let plugin = Scripted::new(|_, params| match params["user_id"].as_str().unwrap() {
            "acme/alice" => Ok(json!({ "value": "of-acme" })),
            "alice" => Ok(json!({ "value": "a\nb" })),
            "bob" => Ok(json!({ "value": "" })),
            "carol" => Err(CallError::Refused("no such credential".to_owned())),
            _ => Ok(json!({})),
        });
        stage.cast("credential_storage", &plugin).await;
        let outfit = Outfit::new(&config(json!({ "from": "plugin", "type": "api_key" })));
        let outfit = outfit.unwrap().with_storage(stage.ensemble.storage());
        let own = async |tenant: Option<&str>, user: &str| {
            let principal = UserPrincipal {
                tenant_id: tenant.map(str::to_owned),
                ..UserPrincipal::named(user)
            };
            let own = outfit.own(&principal, "s").unwrap().come().await;
            own.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        };
        assert_eq!(
            own(Some("acme"), "alice").await.unwrap(),
            "x-api-key: of-acme"
        );
        assert_eq!(
            own(Some("acme"), "alice").await.unwrap(),
            "x-api-key: of-acme"
        );
        assert_eq!(plugin.calls(), 1);
        for missing in ["bob", "carol"] {
            let refused = own(None, missing).await.unwrap_err();
            assert!(matches!(refused, CredentialError::Missing(_)), "{missing}");
        }
        for broken in ["alice", "dave"] {
            let refused = own(None, broken).await.unwrap_err();
            assert!(
                matches!(refused, CredentialError::Unavailable(_)),
                "{broken}"
            );
        }
        assert!(
            outfit
                .own(&UserPrincipal::named("alice"), "other")
                .is_none()
        );
    });
}

proptest::proptest! {
    #[test]
    fn no_two_callers_have_one_name_in_the_storage(
        one in ("[a/%2F]{0,4}", proptest::option::of("[a/%2F]{1,4}")),
        other in ("[a/%2F]{0,4}", proptest::option::of("[a/%2F]{1,4}")),
    ) {
        let principal = |(user, tenant_id): &(String, Option<String>)| UserPrincipal {
            tenant_id: tenant_id.clone(),
            ..UserPrincipal::named(user)
        };
        let same = owner_of(&principal(&one)) == owner_of(&principal(&other));
        proptest::prop_assert_eq!(same, one == other);
    }
}

#[test]
fn keys_that_do_not_fit_together_are_refused_by_name() {
    for (server, key) in [
        (json!({ "type": "bearer" }), "servers.s.type"),
        (json!({ "header": "X-A" }), "servers.s.header"),
        (json!({ "from": "plugin" }), "servers.s.type"),
        (
            json!({ "from": "plugin", "type": "header" }),
            "servers.s.header",
        ),
        (
            json!({ "from": "plugin", "type": "header", "header": "Host" }),
            "servers.s.header",
        ),
        (
            json!({ "from": "plugin", "type": "bearer", "header": "X-A" }),
            "servers.s.header",
        ),
        (
            json!({ "from": "plugin", "type": "bearer", "credential_type": "" }),
            "servers.s.credential_type",
        ),
    ] {
        let refused = Outfit::new(&config(server.clone())).err().unwrap();
        assert_eq!(refused.key, key, "{server}");
    }
}
