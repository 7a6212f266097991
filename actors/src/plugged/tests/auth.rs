use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};

use super::*;
use crate::builtin::rfc3339;
use crate::plugin::Role;

async fn who(stage: &Stage, token: &str) -> Result<Arc<UserPrincipal>, AuthError> {
    let auth = stage.ensemble.auth();
    auth.validate_credential(Some(&bearer(token))).come().await
}

/// Whether the answer was there at once.
fn known(stage: &Stage, token: &str) -> bool {
    let auth = stage.ensemble.auth();
    let answer = auth.validate_credential(Some(&bearer(token)));
    matches!(answer, Answer::Now(Ok(_) | Err(AuthError::Invalid(_))))
}

fn doorman() -> Scripted {
    Scripted::new(|method, params| {
        assert_eq!(method, "validate_credential");
        match params["value"].as_str().unwrap() {
            "bad" => Err(CallError::Refused("no such key".to_owned())),
            name => Ok(
                json!({ "result": { "user_id": name, "tenant_id": "t", "roles": ["r"], "groups": null } }),
            ),
        }
    })
}

#[test]
fn a_verdict_is_asked_for_once_and_holds_for_its_time() {
    story(async |stage| {
        stage.ensemble.direct(Role::AuthProvider, cache(60, 5));
        let plugin = doorman();
        stage.cast("auth_provider", &plugin).await;
        let everybody = join_all((0..50).map(|_| who(&stage, "alice"))).await;
        assert!(everybody.iter().all(|verdict| {
            let principal = verdict.as_ref().unwrap();
            principal.user_id == "alice" && principal.tenant_id.as_deref() == Some("t")
        }));
        assert_eq!(plugin.calls(), 1);
        assert!(known(&stage, "alice"));
        let bad = who(&stage, "bad").await.unwrap_err();
        assert_eq!(bad, AuthError::Invalid("no such key".to_owned()));
        assert!(known(&stage, "bad"));
        assert_eq!(plugin.calls(), 2);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(known(&stage, "alice") && !known(&stage, "bad"));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!known(&stage, "alice"));
        let text = stage.metrics.text();
        assert!(
            text.contains("weir_auth_cache_total{outcome=\"hit\"} 3"),
            "{text}"
        );
    });
}

#[test]
fn another_kind_of_credential_is_another_credential() {
    story(async |stage| {
        let plugin = Scripted::new(|_, params| match params["type"].as_str() {
            Some("bearer") => Ok(json!({ "user_id": "bearer" })),
            _ => Err(CallError::Refused("no".to_owned())),
        });
        stage.cast("auth_provider", &plugin).await;
        assert_eq!(who(&stage, "k").await.unwrap().user_id, "bearer");
        let key = Credentials {
            kind: CredentialKind::ApiKey,
            value: Secret::new("k"),
        };
        let auth = stage.ensemble.auth();
        let refused = auth.validate_credential(Some(&key)).come().await;
        assert!(matches!(refused, Err(AuthError::Invalid(_))));
        let nobody = auth.validate_credential(None).come().await;
        assert_eq!(nobody, Err(AuthError::Missing));
        assert_eq!(plugin.calls(), 2);
    });
}

#[test]
fn a_reload_and_a_restart_and_an_operator_end_what_was_said() {
    story(async |stage| {
        let plugin = doorman();
        stage.cast("auth_provider", &plugin).await;
        who(&stage, "alice").await.unwrap();
        stage.loader.reload("auth_provider").await.unwrap();
        assert!(!known(&stage, "alice"), "after a reload");
        who(&stage, "alice").await.unwrap();
        stage.loader.unload("auth_provider").await.unwrap();
        assert!(known(&stage, "alice"), "while it is away");
        stage.cast("auth_provider", &plugin).await;
        assert!(!known(&stage, "alice"), "after a start");
        who(&stage, "alice").await.unwrap();
        who(&stage, "bob").await.unwrap();
        stage.ensemble.forget(Some(("alice", None)));
        assert!(!known(&stage, "alice") && known(&stage, "bob"));
        stage.ensemble.forget(None);
        assert!(!known(&stage, "bob"));
    });
}

#[test]
fn what_is_revoked_while_it_is_asked_is_not_kept() {
    story(async |stage| {
        let plugin = doorman();
        let (open, gate) = tokio::sync::watch::channel(false);
        plugin.says(move |_, _| {
            let mut gate = gate.clone();
            Box::pin(async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok(r#"{"user_id":"alice"}"#.into())
            })
        });
        stage.cast("auth_provider", &plugin).await;
        let auth = stage.ensemble.auth();
        let Answer::Later(coming) = auth.validate_credential(Some(&bearer("alice"))) else {
            panic!("known before it was asked");
        };
        tokio::task::yield_now().await;
        stage.ensemble.forget(Some(("alice", None)));
        open.send_replace(true);
        assert!(coming.await.is_ok());
        assert!(!known(&stage, "alice"));
    });
}

#[test]
fn a_credential_is_good_no_longer_than_the_plugin_says() {
    story(async |stage| {
        let plugin = Scripted::new(|_, params| {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap();
            let now = now.as_secs();
            Ok(match params["value"].as_str().unwrap() {
                "soon" => json!({ "user_id": "u", "expires_at": rfc3339::format(now + 20, 0) }),
                "exp" => json!({ "user_id": "u", "metadata": { "exp": now + 20 } }),
                "over" => json!({ "user_id": "u", "expires_at": now - 1 }),
                _ => json!({ "user_id": "u", "expires_at": "tomorrow" }),
            })
        });
        stage.cast("auth_provider", &plugin).await;
        for token in ["soon", "exp"] {
            who(&stage, token).await.unwrap();
            assert!(known(&stage, token));
        }
        assert!(matches!(
            who(&stage, "over").await,
            Err(AuthError::Invalid(_))
        ));
        assert!(matches!(
            who(&stage, "when").await,
            Err(AuthError::Unavailable(_))
        ));
        tokio::time::advance(Duration::from_secs(21)).await;
        assert!(!known(&stage, "soon") && !known(&stage, "exp"));
    });
}

#[test]
fn nobody_is_let_in_by_anything_but_an_answer() {
    for (name, script, refuses) in misdeeds() {
        story(async |stage| {
            let nobody = who(&stage, "alice").await.unwrap_err();
            assert!(matches!(nobody, AuthError::Unavailable(_)), "nobody plays");
            let plugin = doorman();
            stage.cast("auth_provider", &plugin).await;
            plugin.says(move |method, params| script(method, params));
            let refused = who(&stage, "alice").await.unwrap_err();
            match refuses {
                true => assert!(
                    matches!(refused, AuthError::Invalid(_)),
                    "{name}: {refused}"
                ),
                false => {
                    assert!(
                        matches!(refused, AuthError::Unavailable(_)),
                        "{name}: {refused}"
                    );
                    assert!(!known(&stage, "alice"), "{name}");
                }
            }
        });
    }
}
