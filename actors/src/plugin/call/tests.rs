use serde_json::json;

use super::*;

fn refusal(method: &str, params: &Value) -> String {
    check(method, params).unwrap_err().to_string()
}

#[test]
fn the_calls_of_every_role_pass() {
    for (method, params) in [
        (
            "record-counter",
            json!({ "name": "mcp.tool.calls", "value": 1, "attributes": { "mcp.tool.name": "docker_ps" } }),
        ),
        (
            "record-histogram",
            json!({ "name": "duration", "value": 0.5 }),
        ),
        ("record-gauge", json!({ "name": "tools", "value": -3 })),
        (
            "validate_credential",
            json!({ "type": "api_key", "value": "" }),
        ),
        (
            "check_access",
            json!({ "user_id": "a", "tenant_id": "t", "roles": ["r"], "groups": [], "mcp_server": "s" }),
        ),
        (
            "log_event",
            json!({ "timestamp": "", "event_type": "e", "metadata": {} }),
        ),
        (
            "store_credential",
            json!({ "user_id": "a", "mcp_server": "s", "credential_type": "t", "value": "v" }),
        ),
        ("list_credentials", json!({ "user_id": "a" })),
        (
            "inject_credentials",
            json!({ "user_id": "a", "mcp_server": "s", "target_url": "http://h", "method": "GET" }),
        ),
        ("anything_else-2", json!({ "x": [1, null] })),
    ] {
        assert_eq!(check(method, &params), Ok(()), "{method}");
    }
}

#[test]
fn method_names_are_bounded() {
    let longest = format!("a{}", "b".repeat(63));
    assert_eq!(check(&longest, &json!({})), Ok(()));
    for method in [
        "",
        "A",
        "1a",
        "-a",
        "a b",
        "a\n",
        "é",
        "a/b",
        &format!("{longest}c"),
    ] {
        assert!(
            refusal(method, &json!({})).starts_with("method: "),
            "{method}"
        );
    }
}

#[test]
fn parameters_are_a_bounded_object() {
    for params in [json!([]), json!(null), json!("x"), json!(1)] {
        assert_eq!(refusal("ping", &params), "params: expected an object");
    }
    // {"x":"…"} is the text and eight bytes.
    let fits = json!({ "x": "y".repeat(MAX_PARAMS_BYTES - 8) });
    assert_eq!(check("ping", &fits), Ok(()));
    let over = json!({ "x": "y".repeat(MAX_PARAMS_BYTES - 7) });
    assert_eq!(refusal("ping", &over), "params: longer than 1 MiB of JSON");
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!({ "x": deep });
    }
    assert_eq!(
        refusal("ping", &deep),
        "params: nested deeper than 32 levels"
    );
}

#[test]
fn wrong_types_are_named_by_their_key() {
    for (params, text) in [
        (json!({ "value": 1 }), "params.name: missing"),
        (
            json!({ "name": "a b", "value": 1 }),
            "params.name: expected a letter",
        ),
        (
            json!({ "name": "x".repeat(129), "value": 1 }),
            "params.name: expected a letter",
        ),
        (
            json!({ "name": "a", "value": f64::NAN }),
            "params.value: expected a finite number",
        ),
        (
            json!({ "name": "a", "value": f64::INFINITY }),
            "params.value: expected a finite number",
        ),
        (
            json!({ "name": "a", "value": "1" }),
            "params.value: expected a finite number",
        ),
        (
            json!({ "name": "a", "value": 1, "attributes": [] }),
            "params.attributes: expected an object of texts",
        ),
        (
            json!({ "name": "a", "value": 1, "attributes": { "k": 1 } }),
            "params.attributes.k: expected a text",
        ),
        (
            json!({ "name": "a", "value": 1, "attributes": { "k": "x".repeat(1025) } }),
            "params.attributes.k: longer than 1024 bytes",
        ),
        (
            json!({ "name": "a", "value": 1, "attributes": { "": "" } }),
            "params.attributes: an attribute's key",
        ),
    ] {
        let refusal = refusal("record-histogram", &params);
        assert!(refusal.starts_with(text), "{refusal}");
    }
    let fraction = json!({ "name": "a", "value": 0.5 });
    assert_eq!(
        refusal("record-counter", &fraction),
        "params.value: expected a whole number of 64 bits"
    );
    let nobody = json!({ "user_id": "", "mcp_server": "s" });
    assert_eq!(
        refusal("check_access", &nobody),
        "params.user_id: expected a text that is not empty"
    );
    let roles = json!({ "user_id": "a", "mcp_server": "s", "roles": [1] });
    assert_eq!(
        refusal("check_access", &roles),
        "params.roles: expected a list of texts"
    );
}
