//! The parts in memory, by the words of the contract.

use std::sync::Arc;

use serde_json::json;
use weir_plugin_protocol::audit::LogEvent;
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::{Credentials, Secret, UserPrincipal};

use super::super::*;
use super::story;
use crate::builtin::Clock;
use crate::builtin::always_allow::AlwaysAllow;
use crate::builtin::audit_lines::{AuditTarget, DiskLines, audit_log};
use crate::builtin::desktop_implicit::DesktopImplicit;
use crate::builtin::noop_telemetry::NoopTelemetry;
use crate::transport::{InMemoryTransport, Part};
use crate::upstream::UpstreamBoard;

#[tokio::test]
async fn closing_twice_is_no_error_and_calling_then_is_one() {
    let parts = [
        Arc::new(InMemoryTransport::new(Part::Telemetry(Arc::new(
            NoopTelemetry,
        )))) as Arc<dyn PluginTransport>,
        Arc::new(MockTransport::ok()),
    ];
    let params = json!({ "name": "a", "value": 1 });
    for transport in parts {
        let client = transport.connect().await.unwrap();
        let call = || Call::within(CALL_DEADLINE, "record-counter", &params);
        assert_eq!(client.call(call()).await.unwrap(), r#"{"result":"ok"}"#);
        client.close().await.unwrap();
        client.close().await.unwrap();
        assert_eq!(client.call(call()).await, Err(CallError::Closed));
    }
}

#[test]
fn parts_in_memory_answer_as_the_contract_says() {
    story(async |site| {
        for (role, part) in [
            (
                Role::AuthProvider,
                Part::Auth(Arc::new(DesktopImplicit::new())),
            ),
            (Role::PolicyEvaluator, Part::Policy(Arc::new(AlwaysAllow))),
            (Role::CredentialStorage, Part::CredentialStorage),
            (Role::AuthProxy, Part::AuthProxy(UpstreamBoard::new([]))),
            (Role::Telemetry, Part::Telemetry(Arc::new(NoopTelemetry))),
        ] {
            let transport = Arc::new(InMemoryTransport::new(part));
            let spec = PluginSpec::new(role.key(), transport);
            assert_eq!(spec.role, Some(role));
            site.loader.load(spec).await.unwrap();
        }
        let registry = site.loader.registry();
        let key = Credentials {
            kind: CredentialKind::ApiKey,
            value: Secret::new("k"),
        };
        let auth = registry.auth_provider().unwrap();
        let user = auth.validate_credential(&key).await.unwrap();
        assert_eq!(user.principal.user_id, "desktop-user");
        let policy = registry.policy_evaluator().unwrap();
        let anybody = UserPrincipal::named("a");
        let decision = policy.check_access(asks(&anybody)).await;
        assert!(decision.unwrap().allowed);
        let ask = async |name: &str, method: &str, params| {
            site.loader.get(name).unwrap().call(method, &params).await
        };
        let list = ask(
            "credential_storage",
            "list_credentials",
            json!({ "user_id": "a" }),
        )
        .await;
        assert_eq!(list.unwrap(), "[]");
        let request = json!({ "user_id": "a", "mcp_server": "s", "target_url": "http://h", "method": "GET", "headers": { "X": "y" }, "body": "b" });
        let injected = ask("auth_proxy", "inject_credentials", request).await;
        let injected: serde_json::Value = serde_json::from_slice(&injected.unwrap()).unwrap();
        assert_eq!(injected, json!({ "headers": { "X": "y" }, "body": "b" }));
        let unknown = ask("telemetry", "log_event", json!({ "event_type": "e" })).await;
        assert_eq!(
            unknown,
            Err(CallError::UnknownMethod("log_event".to_owned()))
        );
    });
}

#[test]
fn events_go_into_the_audit_log() {
    story(async |site| {
        let places = std::num::NonZeroUsize::new(1).unwrap();
        let store = DiskLines::open(&AuditTarget::Stderr).unwrap();
        let (log, writer) = audit_log(store, places, Clock::system());
        let transport = Arc::new(InMemoryTransport::new(Part::Audit(log.clone())));
        let spec = PluginSpec::new("audit_sink", transport);
        site.loader.load(spec).await.unwrap();
        let sink = site.loader.registry().audit_sink().unwrap();
        let event = LogEvent {
            event_type: "tool.called".to_owned(),
            user_id: Some("a".to_owned()),
            result: Some("ok".to_owned()),
            ..LogEvent::default()
        };
        sink.log_event(&event).await.unwrap();
        assert_eq!(log.counters().accepted, 1);
        let full = sink.log_event(&event).await.unwrap_err();
        assert_eq!(
            full,
            CallError::Refused("the audit queue is full".to_owned())
        );
        let nameless = sink.log_event(&LogEvent::default()).await.unwrap_err();
        assert_eq!(
            nameless.to_string(),
            "params.event_type: expected a text that is not empty"
        );
        drop(writer);
    });
}

#[test]
fn an_empty_answer_lets_nobody_in() {
    story(async |site| {
        let empty = MockTransport::new(|_, _| Ok("{}".into()));
        for name in ["auth_provider", "policy_evaluator"] {
            let spec = PluginSpec::new(name, Arc::new(empty.clone()));
            site.loader.load(spec).await.unwrap();
        }
        let key = Credentials {
            kind: CredentialKind::Bearer,
            value: Secret::new("k"),
        };
        let auth = site.loader.registry().auth_provider().unwrap();
        let refused = auth.validate_credential(&key).await.unwrap_err();
        assert!(refused.to_string().contains("user_id"), "{refused}");
        let policy = site.loader.registry().policy_evaluator().unwrap();
        let nobody = UserPrincipal::named("a");
        let refused = policy.check_access(asks(&nobody)).await.unwrap_err();
        assert!(refused.to_string().contains("allowed"), "{refused}");
    });
}

fn asks(principal: &UserPrincipal) -> Question<'_> {
    Question {
        principal,
        mcp_server: "s",
        detail: None,
    }
}
