use super::*;

fn answer(text: &str) -> Value {
    answer::unwrap(text.as_bytes()).unwrap()
}

#[test]
fn a_principal_needs_a_name_that_a_record_can_hold() {
    let alice = validated(answer(
        r#"{"user_id":"alice","tenant_id":"t","roles":null,"groups":["g"],"metadata":{"exp":7,"x":1},"expires_at":9}"#,
    ));
    let Validated { principal, until } = alice.unwrap();
    assert_eq!((principal.user_id.as_str(), until), ("alice", Some(7)));
    assert!(principal.roles.is_empty() && principal.groups == ["g"]);
    let long = "x".repeat(257);
    for text in [
        "{}".to_owned(),
        "[]".to_owned(),
        r#""alice""#.to_owned(),
        r#"{"user_id":""}"#.to_owned(),
        r#"{"user_id":null}"#.to_owned(),
        r#"{"user_id":"a","roles":"admin"}"#.to_owned(),
        r#"{"user_id":"a","roles":[1]}"#.to_owned(),
        r#"{"user_id":"a","tenant_id":""}"#.to_owned(),
        r#"{"user_id":"a","tenant_id":1}"#.to_owned(),
        r#"{"user_id":"a","expires_at":"soon"}"#.to_owned(),
        r#"{"user_id":"a","expires_at":-1}"#.to_owned(),
        r#"{"user_id":"a","metadata":[]}"#.to_owned(),
        format!(r#"{{"user_id":"{long}"}}"#),
        format!(r#"{{"user_id":"a","groups":["{long}"]}}"#),
        json!({ "user_id": "a", "roles": vec!["r"; 257] }).to_string(),
    ] {
        let refused = validated(answer(&text)).unwrap_err();
        assert!(
            matches!(refused, CallError::Malformed(_)),
            "{text}: {refused}"
        );
    }
}

#[test]
fn moments_are_numbers_or_texts() {
    assert_eq!(moment(&json!(5)), Some(5));
    assert_eq!(moment(&json!(5.9)), Some(5));
    assert_eq!(moment(&json!("1970-01-01T00:00:05Z")), Some(5));
    assert_eq!(moment(&json!(true)), None);
}

#[test]
fn lists_are_bare_or_wrapped() {
    let one = r#"{"server":"s","cred_type":"bearer","created_at":"2026-01-01T00:00:00Z"}"#;
    for text in [
        format!("[{one}]"),
        format!(r#"{{"result":[{one}]}}"#),
        format!(r#"{{"credentials":[{one}]}}"#),
    ] {
        let list: Vec<CredentialInfo> = items(answer(&text), "credentials").unwrap();
        assert_eq!(list[0].server, "s", "{text}");
    }
    let none: Vec<CredentialInfo> = items(Value::Null, "credentials").unwrap();
    assert!(none.is_empty());
    for text in [
        "{}",
        r#"{"credentials":"x"}"#,
        r#"[{"server":"s"}]"#,
        "true",
    ] {
        let list: Result<Vec<CredentialInfo>, _> = items(answer(text), "credentials");
        assert!(matches!(list, Err(CallError::Malformed(_))), "{text}");
    }
    let many = Value::Array(vec![Value::Null; MAX_ITEMS + 1]);
    assert_eq!(items::<CredentialInfo>(many, "x"), Err(CallError::TooLarge));
}
