use super::*;

fn read(text: &str) -> Result<ServerConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn both_types_are_read() {
    let stdio = read(r#"{"type":"stdio","command":"node","args":["s.js"],"env":{"K":"v"},"cwd":".","protocol":"legacy"}"#).unwrap();
    let ServerConfig::Stdio(stdio) = stdio else {
        panic!("{stdio:?}")
    };
    assert_eq!(
        (stdio.command.as_str(), stdio.protocol, stdio.timeout_ms),
        ("node", Protocol::Legacy, 30_000)
    );
    assert_eq!(stdio.env["K"].expose(), "v");

    let http = read(
        r#"{"type":"http","url":"http://127.0.0.1:1/mcp","headers":{"Authorization":"Bearer x"}}"#,
    )
    .unwrap();
    let ServerConfig::Http(http) = http else {
        panic!("{http:?}")
    };
    assert_eq!(http.header_map()["authorization"], "Bearer x");
    assert!(http.header_map()["authorization"].is_sensitive());
}

#[test]
fn what_is_wrong_is_named() {
    for (text, word) in [
        (
            r#"{"type":"stdio","command":"a","url":"http://b/"}"#,
            "`url`",
        ),
        (r#"{"type":"http","url":"http://b/","args":[]}"#, "`args`"),
        (r#"{"type":"stdio"}"#, "`command`"),
        (r#"{"type":"http"}"#, "`url`"),
        (r#"{"type":"http","url":"ftp://b/"}"#, "url"),
        (r#"{"type":"stdio","command":"a","colour":"red"}"#, "colour"),
        (r#"{"type":"grpc","command":"a"}"#, "grpc"),
        (r#"{"type":"stdio","command":" "}"#, "command"),
        (r#"{"type":"stdio","command":"a","env":{"A=B":"c"}}"#, "A=B"),
        (
            r#"{"type":"http","url":"http://b/","headers":{"Mcp-Session-Id":"x"}}"#,
            "Mcp-Session-Id",
        ),
        (
            r#"{"type":"http","url":"http://b/","headers":{"a b":"x"}}"#,
            "a b",
        ),
        (
            r#"{"type":"http","url":"http://b/","headers":{"a":"x\ny"}}"#,
            "a",
        ),
        (
            r#"{"type":"stdio","command":"a","timeout_ms":0}"#,
            "timeout_ms",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let config = read(r#"{"type":"stdio","command":"a","env":{"K":"hunter2"}}"#).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
}

#[test]
fn the_schema_knows_both_types() {
    let schema = serde_json::to_string(&schemars::schema_for!(ServerConfig)).unwrap();
    assert!(
        schema.contains("stdio") && schema.contains("headers") && schema.contains("timeout_ms")
    );
}
