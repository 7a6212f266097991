use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{
    Access, Answer, Look, PolicyError, PolicyEvaluator, Sight, TargetKind,
};

use super::*;
use crate::plugin::Role;

fn wants<'a>(server: Option<&'a str>, tool: &'a str) -> Access<'a> {
    Access {
        method: "tools/call",
        server,
        kind: TargetKind::Tool,
        name: Some(tool),
        arguments: None,
    }
}

async fn may(stage: &Stage, principal: &UserPrincipal, server: &str) -> Result<(), PolicyError> {
    let policy = stage.ensemble.policy();
    policy
        .check_access(principal, &wants(Some(server), "t"))
        .come()
        .await
}

async fn look(stage: &Stage, principal: &UserPrincipal, items: &[(&str, &str)]) -> Sight {
    let items = || {
        let items = items.iter();
        let items =
            items.map(|(server, name)| (server.to_string(), TargetKind::Tool, name.to_string()));
        items.collect()
    };
    match stage.ensemble.policy().look(principal, &items) {
        Look::Judged(sight) => sight.come().await,
        Look::Visible => panic!("it does not know at once"),
    }
}

fn judge() -> Scripted {
    Scripted::new(|method, params| {
        assert_eq!(method, "check_access");
        let denied = params["mcp_server"] == "secret" || params["tool"] == "rm";
        Ok(json!({ "allowed": !denied, "reason": "not yours" }))
    })
}

#[test]
fn a_server_is_allowed_or_denied_for_calls_and_lists_alike() {
    story(async |stage| {
        let plugin = judge();
        stage.cast("policy_evaluator", &plugin).await;
        let alice = UserPrincipal::named("alice");
        may(&stage, &alice, "open").await.unwrap();
        let denied = may(&stage, &alice, "secret").await.unwrap_err();
        assert_eq!(denied, PolicyError::Denied("not yours".to_owned()));
        let sight = look(
            &stage,
            &alice,
            &[("open", "rm"), ("secret", "t"), ("new", "t")],
        )
        .await;
        assert!(sight("open", TargetKind::Tool, "rm") && sight("new", TargetKind::Tool, "t"));
        assert!(!sight("secret", TargetKind::Tool, "t") && !sight("other", TargetKind::Tool, "t"));
        assert_eq!(plugin.calls(), 3, "each server once");
        let asked = &plugin.heard()[0];
        let expected =
            json!({ "user_id": "alice", "roles": [], "groups": [], "mcp_server": "open" });
        assert_eq!(*asked, expected);
        let policy = stage.ensemble.policy();
        let handshake = policy.check_access(&alice, &wants(None, ""));
        assert!(matches!(handshake, Answer::Now(Ok(()))));
    });
}

#[test]
fn asked_closely_it_decides_on_every_tool() {
    story(async |stage| {
        let direction = Direction {
            decides: Decides::Target,
            ..Direction::default()
        };
        stage.ensemble.direct(Role::PolicyEvaluator, direction);
        let plugin = judge();
        stage.cast("policy_evaluator", &plugin).await;
        let alice = UserPrincipal::named("alice");
        let policy = stage.ensemble.policy();
        let removing = policy.check_access(&alice, &wants(Some("open"), "rm"));
        assert!(removing.come().await.is_err());
        let names: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
        let items: Vec<(&str, &str)> = names.iter().map(|name| ("open", name.as_str())).collect();
        let items = [items, vec![("open", "rm")]].concat();
        let sight = look(&stage, &alice, &items).await;
        for (_, name) in &items {
            assert_eq!(
                sight("open", TargetKind::Tool, name),
                *name != "rm",
                "{name}"
            );
        }
        assert_eq!(plugin.calls(), 101);
        assert_eq!(plugin.heard()[0]["method"], "tools/call");
        assert_eq!(plugin.heard()[0]["tool"], "rm");
        look(&stage, &alice, &items).await;
        assert_eq!(plugin.calls(), 101, "all are remembered");
    });
}

#[test]
fn whoever_has_other_roles_is_asked_about_again() {
    story(async |stage| {
        let plugin = Scripted::new(|_, params| {
            let is_admin = params["roles"]
                .as_array()
                .unwrap()
                .contains(&"admin".into());
            Ok(json!({ "allowed": is_admin && params["tenant_id"] == "a" }))
        });
        stage.cast("policy_evaluator", &plugin).await;
        let principal = |tenant: &str, role: &str| UserPrincipal {
            tenant_id: Some(tenant.to_owned()),
            roles: vec![role.to_owned()],
            ..UserPrincipal::named("alice")
        };
        assert!(may(&stage, &principal("a", "admin"), "s").await.is_ok());
        assert!(may(&stage, &principal("b", "admin"), "s").await.is_err());
        assert!(may(&stage, &principal("a", "user"), "s").await.is_err());
        assert!(may(&stage, &principal("a", "admin"), "s").await.is_ok());
        assert_eq!(plugin.calls(), 3);
        stage.ensemble.forget(Some(("alice", Some("a"))));
        assert!(may(&stage, &principal("b", "admin"), "s").await.is_err());
        assert_eq!(plugin.calls(), 3);
        assert!(may(&stage, &principal("a", "admin"), "s").await.is_ok());
        assert_eq!(plugin.calls(), 4);
    });
}

#[test]
fn nothing_is_allowed_or_shown_by_anything_but_an_answer() {
    for (name, script, _) in misdeeds() {
        story(async |stage| {
            let alice = UserPrincipal::named("alice");
            assert!(may(&stage, &alice, "open").await.is_err(), "nobody plays");
            let plugin = judge();
            stage.cast("policy_evaluator", &plugin).await;
            plugin.says(move |method, params| script(method, params));
            let refused = may(&stage, &alice, "open").await.unwrap_err();
            assert!(
                matches!(refused, PolicyError::Unavailable(_)),
                "{name}: {refused}"
            );
            let sight = look(&stage, &alice, &[("open", "t")]).await;
            assert!(!sight("open", TargetKind::Tool, "t"), "{name}");
            let policy = stage.ensemble.policy();
            assert!(
                !policy.visible(&alice, "open", TargetKind::Tool, "t"),
                "{name}"
            );
        });
    }
}
