//! Rules as operators write them, and what follows.

use proptest::prelude::*;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Access, Answer, PolicyError, PolicyEvaluator, TargetKind};

use super::*;

fn rules(text: &str) -> Rules {
    Rules::new(&parse(text)).unwrap()
}

fn parse(text: &str) -> Vec<RuleConfig> {
    serde_json::from_str(text).unwrap()
}

fn refused(text: &str) -> String {
    Rules::new(&parse(text)).unwrap_err().to_string()
}

fn alice() -> UserPrincipal {
    let mut alice = UserPrincipal::named("alice");
    alice.tenant_id = Some("acme".to_owned());
    alice.roles = vec!["analyst".to_owned(), "reader".to_owned()];
    alice.groups = vec!["eu".to_owned()];
    alice
}

fn check(rules: &Rules, principal: &UserPrincipal, access: &Access<'_>) -> Result<(), PolicyError> {
    match rules.check_access(principal, access) {
        Answer::Now(verdict) => verdict,
        Answer::Later(_) => panic!("rules never wait"),
    }
}

fn call<'a>(server: &'a str, tool: &'a str) -> Access<'a> {
    Access {
        method: "tools/call",
        server: Some(server),
        kind: TargetKind::Tool,
        name: Some(tool),
        arguments: None,
    }
}

fn open(method: &str) -> Access<'_> {
    Access {
        method,
        server: None,
        kind: TargetKind::None,
        name: None,
        arguments: None,
    }
}

fn may_call(rules: &Rules, tool: &str, arguments: &str) -> bool {
    let access = Access {
        arguments: Some(arguments),
        ..call("files", tool)
    };
    check(rules, &alice(), &access).is_ok()
}

#[test]
fn nothing_is_allowed_by_default() {
    let rules = rules("[]");
    assert_eq!(
        check(&rules, &alice(), &call("a", "b")),
        Err(PolicyError::Denied("no rule allows it".to_owned()))
    );
    assert!(check(&rules, &alice(), &open("initialize")).is_err());
    assert!(!rules.visible(&alice(), "a", TargetKind::Tool, "b"));
    assert!(!rules.unrestricted());
}

#[test]
fn everything_is_allowed_without_rules_and_by_a_rule_without_restriction() {
    assert!(PolicyConfig::default().build().unwrap().unrestricted());
    let rules = rules(r#"[{"name":"all","effect":"allow"}]"#);
    assert!(check(&rules, &alice(), &call("a", "b")).is_ok());
    assert!(check(&rules, &alice(), &open("vendor/extension")).is_ok());
}

#[test]
fn deny_beats_allow_in_any_order() {
    for text in [
        r#"[{"name":"no","effect":"deny","tools":["drop_*"]},{"name":"all","effect":"allow"}]"#,
        r#"[{"name":"all","effect":"allow"},{"name":"no","effect":"deny","tools":["drop_*"]}]"#,
    ] {
        let rules = rules(text);
        assert_eq!(
            check(&rules, &alice(), &call("db", "drop_table")),
            Err(PolicyError::Denied("rule \"no\"".to_owned()))
        );
        assert!(check(&rules, &alice(), &call("db", "read")).is_ok());
        assert!(!rules.visible(&alice(), "db", TargetKind::Tool, "drop_table"));
        assert!(rules.visible(&alice(), "db", TargetKind::Prompt, "drop_table"));
    }
}

#[test]
fn every_key_about_the_principal_must_match() {
    for (keys, allowed) in [
        (r#""principals":["alice"]"#, true),
        (r#""principals":["bob","al*"]"#, true),
        (r#""principals":["bob"]"#, false),
        (
            r#""tenants":["acme"],"roles":["reader"],"groups":["e?"]"#,
            true,
        ),
        (r#""tenants":["other"],"roles":["reader"]"#, false),
        (r#""roles":["admin"]"#, false),
        (r#""groups":["us","*"]"#, true),
    ] {
        let rules = rules(&format!(r#"[{{"name":"a","effect":"allow",{keys}}}]"#));
        assert_eq!(
            check(&rules, &alice(), &call("a", "b")).is_ok(),
            allowed,
            "{keys}"
        );
        assert_eq!(
            check(&rules, &alice(), &open("tools/list")).is_ok(),
            allowed,
            "{keys}"
        );
    }
    let rules = rules(r#"[{"name":"a","effect":"allow","tenants":["*"]}]"#);
    assert!(check(&rules, &UserPrincipal::named("x"), &call("a", "b")).is_err());
}

#[test]
fn every_way_to_a_thing_is_judged() {
    let rules = rules(
        r#"[{"name":"a","effect":"allow","servers":["files"],"tools":["read"],"prompts":["p"],"resources":["file:///data/*"]}]"#,
    );
    let access = |method, kind, name| Access {
        method,
        server: Some("files"),
        kind,
        name: Some(name),
        arguments: None,
    };
    for method in [
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
    ] {
        let allowed = access(method, TargetKind::Resource, "file:///data/x");
        let denied = access(method, TargetKind::Resource, "file:///etc/passwd");
        assert!(check(&rules, &alice(), &allowed).is_ok(), "{method}");
        assert!(check(&rules, &alice(), &denied).is_err(), "{method}");
    }
    for method in ["prompts/get", "completion/complete"] {
        assert!(check(&rules, &alice(), &access(method, TargetKind::Prompt, "p")).is_ok());
        assert!(check(&rules, &alice(), &access(method, TargetKind::Prompt, "q")).is_err());
    }
    assert!(
        check(
            &rules,
            &alice(),
            &access("tools/call", TargetKind::Tool, "p")
        )
        .is_err()
    );
    let elsewhere = Access {
        server: Some("other"),
        ..call("files", "read")
    };
    assert!(check(&rules, &alice(), &elsewhere).is_err());
    assert!(check(&rules, &alice(), &open("vendor/extension")).is_err());
}

#[test]
fn handshakes_are_open_to_those_who_may_do_something_somewhere() {
    let rules = rules(
        r#"[{"name":"a","effect":"allow","servers":["files"],"tools":["x"]},
            {"name":"ban","effect":"deny","principals":["mallory"]},
            {"name":"no","effect":"deny","principals":["alice"],"tools":["*"]}]"#,
    );
    for method in [
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "notifications/initialized",
        "GET",
        "",
    ] {
        assert!(check(&rules, &alice(), &open(method)).is_ok(), "{method}");
        let mallory = UserPrincipal::named("mallory");
        assert!(check(&rules, &mallory, &open(method)).is_err(), "{method}");
        let at_files = Access {
            server: Some("files"),
            ..open(method)
        };
        let at_other = Access {
            server: Some("other"),
            ..open(method)
        };
        assert!(check(&rules, &alice(), &at_files).is_ok(), "{method}");
        assert!(check(&rules, &alice(), &at_other).is_err(), "{method}");
    }
}

#[test]
fn conditions_are_judged_when_a_call_is_made() {
    let rules = rules(
        r#"[{"name":"data","effect":"allow","tools":["read"],"arguments":{"path":"/data/*"}},
            {"name":"any","effect":"allow","tools":["write"]},
            {"name":"etc","effect":"deny","arguments":{"path":"/etc/*"}}]"#,
    );
    for (tool, arguments, allowed) in [
        ("read", r#"{"path":"/data/x","n":1}"#, true),
        ("read", r#"{"path":["/data/x","/data/y"]}"#, true),
        ("read", r#"{"path":["/data/x","/home/y"]}"#, false),
        ("read", r#"{"path":[]}"#, false),
        ("read", r#"{"path":1}"#, false),
        ("read", "{}", false),
        ("read", r#"{"path":"/data/x","path":"/data/y"}"#, false),
        ("read", r#"{"path":"/data/x","Path":"/etc/y"}"#, false),
        ("read", "[]", false),
        ("read", "nonsense", false),
        ("write", r#"{"path":"/data/x"}"#, true),
        ("write", r#"{"path":"/\u0065tc/x"}"#, false),
        ("write", r#"{"path":{"deep":["/home","/etc/x"]}}"#, false),
        ("write", r#"{"PATH":"/etc/x"}"#, false),
        ("write", "{}", true),
    ] {
        assert_eq!(
            may_call(&rules, tool, arguments),
            allowed,
            "{tool} {arguments}"
        );
    }
    assert!(check(&rules, &alice(), &call("files", "read")).is_err());
    assert!(rules.visible(&alice(), "files", TargetKind::Tool, "read"));
    assert!(rules.visible(&alice(), "files", TargetKind::Tool, "write"));
    assert!(!rules.visible(&alice(), "files", TargetKind::Resource, "read"));
}

#[test]
fn conditions_reach_into_objects_by_json_pointer() {
    let rules = rules(
        r#"[{"name":"a","effect":"allow","arguments":{"/query/ta~1ble":"public_*","/query/limit":"1?"}}]"#,
    );
    assert!(may_call(
        &rules,
        "q",
        r#"{"query":{"ta/ble":"public_x","limit":10}}"#
    ));
    assert!(!may_call(
        &rules,
        "q",
        r#"{"query":{"ta/ble":"public_x","limit":100}}"#
    ));
    assert!(!may_call(
        &rules,
        "q",
        r#"{"query":{"ta/ble":"private","limit":10}}"#
    ));
    assert!(!may_call(&rules, "q", r#"{"query":"public_x"}"#));
}

#[test]
fn rules_that_can_never_match_are_refused() {
    for (keys, place) in [
        (r#""tools":[]"#, "rules[0].tools: "),
        (r#""principals":[]"#, "rules[0].principals: "),
        (r#""arguments":{}"#, "rules[0].arguments: "),
        (r#""arguments":{"":"x"}"#, "rules[0].arguments.: "),
        (
            r#""methods":["prompts/get"],"tools":["x"]"#,
            "rules[0].tools: ",
        ),
        (
            r#""methods":["tools/*"],"tools":["x"],"resources":["y"]"#,
            "rules[0].resources: ",
        ),
        (r#""methods":["tool/call"]"#, "rules[0].methods[0]: "),
        (
            r#""methods":["tools/call","ping*x"]"#,
            "rules[0].methods[1]: ",
        ),
        (
            r#""methods":["tools/list","initialize"]"#,
            "rules[0].methods: ",
        ),
        (
            r#""methods":["resources/*"],"arguments":{"a":"b"}"#,
            "rules[0].arguments: ",
        ),
        (
            r#""resources":["*"],"arguments":{"a":"b"}"#,
            "rules[0].arguments: ",
        ),
    ] {
        let text = refused(&format!(r#"[{{"name":"a","effect":"allow",{keys}}}]"#));
        assert!(text.starts_with(place), "{keys}: {text}");
    }
    let twice = r#"[{"name":"a","effect":"allow"},{"name":"a","effect":"deny"}]"#;
    assert!(refused(twice).starts_with("rules[1].name: "));
    for text in [
        r#"[{"name":"a","effect":"permit"}]"#,
        r#"[{"name":"a"}]"#,
        r#"[{"name":"a","effect":"allow","tool":["x"]}]"#,
        r#"[{"name":"a","effect":"allow","tools":[""]}]"#,
    ] {
        assert!(
            serde_json::from_str::<Vec<RuleConfig>>(text).is_err(),
            "{text}"
        );
    }
}

const KINDS: [TargetKind; 4] = [
    TargetKind::Tool,
    TargetKind::Prompt,
    TargetKind::Resource,
    TargetKind::ResourceTemplate,
];

fn list(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 1..3)
        .prop_map(|words| serde_json::to_string(&words).unwrap())
}

fn rule(conditions: bool) -> impl Strategy<Value = String> {
    let key = |name: &'static str, words| {
        prop::option::weighted(0.4, list(words)).prop_map(move |list| {
            list.map(|list| format!(",\"{name}\":{list}"))
                .unwrap_or_default()
        })
    };
    let arguments = prop::sample::select(if conditions {
        vec!["", "x", "y", "*"]
    } else {
        vec![""]
    })
    .prop_map(|pattern| {
        if pattern.is_empty() {
            String::new()
        } else {
            format!(r#","arguments":{{"k":"{pattern}"}}"#)
        }
    });
    (
        prop::sample::select(vec!["allow", "deny"]),
        key("principals", &["a", "b", "?"]),
        key("roles", &["a", "b", "*"]),
        key("servers", &["a", "b", "*"]),
        key(
            "methods",
            &["tools/call", "resources/read", "*/*", "prompts/get"],
        ),
        key("tools", &["a", "b", "*"]),
        key("resources", &["a", "?"]),
        arguments,
    )
        .prop_map(|(effect, a, b, c, d, e, f, g)| {
            format!(r#"{{"name":"N","effect":"{effect}"{a}{b}{c}{d}{e}{f}{g}}}"#)
        })
}

/// The rules that load, with names of their own.
fn loaded(texts: &[String]) -> Vec<RuleConfig> {
    let mut loaded = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let mut rule: RuleConfig = serde_json::from_str(text).unwrap();
        rule.name = index.to_string();
        if Rules::new(std::slice::from_ref(&rule)).is_ok() {
            loaded.push(rule);
        }
    }
    loaded
}

fn principal() -> impl Strategy<Value = UserPrincipal> {
    ("[ab]", prop::collection::vec("[ab]", 0..2)).prop_map(|(name, roles)| {
        let mut principal = UserPrincipal::named(name);
        principal.roles = roles;
        principal
    })
}

proptest! {
    #[test]
    fn lists_show_exactly_what_may_be_called(
        texts in prop::collection::vec(rule(false), 0..6),
        principal in principal(), server in "[ab]", kind in prop::sample::select(KINDS.to_vec()), name in "[ab]",
    ) {
        let rules = Rules::new(&loaded(&texts)).unwrap();
        let access = Access { method: method::method_of(kind), server: Some(&server), kind, name: Some(&name), arguments: Some("{}") };
        prop_assert_eq!(rules.visible(&principal, &server, kind, &name), check(&rules, &principal, &access).is_ok());
    }

    #[test]
    fn what_may_be_called_is_visible_and_order_does_not_matter(
        texts in prop::collection::vec(rule(true), 0..6),
        principal in principal(), server in "[ab]", kind in prop::sample::select(KINDS.to_vec()), name in "[ab]",
        arguments in prop::sample::select(vec!["{}", r#"{"k":"x"}"#, r#"{"k":["x","y"]}"#, r#"{"K":"x"}"#, r#"{"k":"x","k":"x"}"#]),
    ) {
        let mut configs = loaded(&texts);
        let rules = Rules::new(&configs).unwrap();
        let access = Access { method: method::method_of(kind), server: Some(&server), kind, name: Some(&name), arguments: Some(arguments) };
        let verdict = check(&rules, &principal, &access).is_ok();
        if verdict {
            prop_assert!(rules.visible(&principal, &server, kind, &name));
            prop_assert!(check(&rules, &principal, &open("tools/list")).is_ok());
        }
        configs.reverse();
        let reversed = Rules::new(&configs).unwrap();
        prop_assert_eq!(check(&reversed, &principal, &access).is_ok(), verdict);
    }
}
