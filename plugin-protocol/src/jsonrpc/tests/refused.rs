use super::*;

/// Asserts the code, the offset and what the message says.
#[track_caller]
fn refused(text: impl AsRef<[u8]>, code: i64, offset: usize, says: &str) -> Option<String> {
    let error = refusal(text.as_ref());
    let shown = String::from_utf8_lossy(text.as_ref())
        .chars()
        .take(200)
        .collect::<String>();
    assert_eq!(
        (error.code, error.offset),
        (code, offset),
        "{shown}: {}",
        error.message
    );
    assert!(error.message.contains(says), "{shown}: {}", error.message);
    assert!(
        error.message.contains(&format!("at byte {offset}")),
        "{}",
        error.message
    );
    error.id.map(String::from)
}

#[test]
fn what_is_not_json_is_a_parse_error_without_id() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"m""#;
    for (text, offset, says) in [
        (String::new(), 0, "unexpected end"),
        ("  ".into(), 2, "unexpected end"),
        ("nul".into(), 0, "unexpected character"),
        (call.into(), 36, "unexpected end"),
        (format!("{call}}}}}"), 37, "unexpected character"),
        (format!("{call}}}{{"), 37, "unexpected character"),
        (format!("{call},}}"), 37, "unexpected character"),
        (format!("{call},\"a\":01}}"), 42, "unexpected character"),
        (format!("{call},\"a\":1.}}"), 43, "malformed number"),
        (format!("{call},\"a\":-}}"), 42, "malformed number"),
        (format!("{call},\"a\":1e}}"), 43, "malformed number"),
        (format!("{call},\"a\":+1}}"), 41, "unexpected character"),
        (format!("{call},\"a\":NaN}}"), 41, "unexpected character"),
        (format!("{call},\"a\":'b'}}"), 41, "unexpected character"),
        (format!("{call},\"a\":[1,]}}"), 44, "unexpected character"),
        (format!("{call},\"a\":\"\\x\"}}"), 43, "unknown escape"),
        (format!("{call},\"a\":\"\\u12g4\"}}"), 46, "unknown escape"),
        (format!("{call},\"a\":\"x\\ud800\"}}"), 43, "lone surrogate"),
        (
            format!("{call},\"a\":\"\\ud800\\u0041\"}}"),
            42,
            "lone surrogate",
        ),
        (format!("{call},\"a\":\"\\udc00\"}}"), 42, "lone surrogate"),
        (format!("{call},\"\\udc00\":1}}"), 38, "lone surrogate"),
        (format!("{call},\"a\":\"\0\"}}"), 42, "control character"),
        (format!("{call},\"a\":\"\n\"}}"), 42, "control character"),
        (format!("{call},\"a\":\0}}"), 41, "unexpected character"),
        (format!("\u{feff}{call}}}"), 0, "byte order mark"),
        ("[1,2".into(), 4, "unexpected end"),
    ] {
        assert_eq!(refused(&text, -32700, offset, says), None);
    }
    assert_eq!(
        refused(b"{\"jsonrpc\":\"\xff\"}", -32700, 12, "UTF-8"),
        None
    );
    assert_eq!(
        refused(b"{\"a\":\"\xed\xa0\x80\"}", -32700, 6, "UTF-8"),
        None
    );
}

#[test]
fn what_is_no_message_is_an_invalid_request() {
    for (text, offset, says, id) in [
        ("42", 0, "no object", None),
        ("\"x\"", 0, "no object", None),
        ("{}", 0, "jsonrpc", None),
        (r#"{"id":1,"method":"m"}"#, 0, "jsonrpc", Some("1")),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            11,
            "jsonrpc",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":2.0,"id":"x","method":"m"}"#,
            11,
            "jsonrpc",
            Some("\"x\""),
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#, 0, "neither", Some("1")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            33,
            "method",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[]}"#,
            46,
            "params",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":1}"#,
            46,
            "params",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
            33,
            "more than one",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            0,
            "more than one",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":1}"#,
            32,
            "error",
            Some("1"),
        ),
        (r#"{"jsonrpc":"2.0","result":1}"#, 26, "without", None),
        (
            r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
            22,
            "null",
            None,
        ),
    ] {
        assert_eq!(refused(text, -32600, offset, says).as_deref(), id, "{text}");
    }
}

#[test]
fn ids_are_strings_or_integers_of_bounded_length() {
    for (id, says) in [
        ("null".to_owned(), "null"),
        ("{}".into(), "neither a string nor an integer"),
        ("[1]".into(), "neither a string nor an integer"),
        ("true".into(), "neither a string nor an integer"),
        ("1.5".into(), "not an integer"),
        ("1.0".into(), "not an integer"),
        ("1e2".into(), "not an integer"),
        ("1e300".into(), "not an integer"),
        ("9".repeat(300), "too long"),
        ("9".repeat(129), "too long"),
        (format!("\"{}\"", "x".repeat(127)), "too long"),
        (format!("\"{}\"", "x".repeat(1 << 20)), "too long"),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        assert_eq!(refused(text, -32600, 22, says), None);
    }
    message(&format!(
        r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#,
        "x".repeat(126)
    ));
    message(&format!(
        r#"{{"jsonrpc":"2.0","id":{},"method":"m"}}"#,
        "9".repeat(128)
    ));
}

#[test]
fn a_key_stands_once_and_under_its_own_name() {
    for (text, offset, says, id) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            24,
            "duplicate key \"id\"",
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"m"}"#,
            17,
            "duplicate key \"jsonrpc\"",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","method":"n","id":1}"#,
            30,
            "duplicate key \"method\"",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{},"params":{}}"#,
            49,
            "duplicate key \"params\"",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","x":1,"x":2}"#,
            43,
            "duplicate key \"x\"",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","n\u0061me":"b"}}"#,
            58,
            "duplicate",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"xy":"a","\u0078y":"b"}}"#,
            56,
            "duplicate",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"\u0078y":"a","xy":"b"}}"#,
            61,
            "duplicate",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a":1,"a":1}}}"#,
            62,
            "duplicate",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"a":1,"a":1}}}"#,
            49,
            "duplicate",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"code":1}}"#,
            42,
            "duplicate",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"ok","Name":"secret"}}"#,
            59,
            "\"Name\"",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","Params":{}}"#,
            37,
            "case",
            Some("1"),
        ),
        (
            r#"{"JSONRPC":"2.0","id":1,"method":"m"}"#,
            1,
            "case",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","param\u017f":{}}"#,
            37,
            "case",
            Some("1"),
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"param\u{17f}\":{}}",
            37,
            "case",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_META":{}}}"#,
            47,
            "case",
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"iserror":false}}"#,
            34,
            "case",
            Some("1"),
        ),
    ] {
        assert_eq!(refused(text, -32600, offset, says).as_deref(), id, "{text}");
    }
}

#[test]
fn a_fault_does_not_hide_a_text_that_is_not_json() {
    refused(
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m""#,
        -32700,
        43,
        "unexpected end",
    );
    refused(
        r#"[1,{"jsonrpc":"1.0"},nul]"#,
        -32700,
        21,
        "unexpected character",
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let inner = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","x":{inner}}}"#)
    };
    message(&nested(64));
    refused(nested(65), -32600, 41 + 63, "nested too deep");
    refused("[".repeat(100_000), -32600, 64, "nested too deep");
    refused("{\"a\":".repeat(100_000), -32600, 5 * 64, "nested too deep");
    let limits = Limits {
        depth: 2,
        ..Limits::default()
    };
    assert!(Message::parse(Bytes::from(nested(2)), &limits).is_ok());
    assert_eq!(
        Message::parse(Bytes::from(nested(3)), &limits)
            .unwrap_err()
            .code,
        -32600
    );
    let limits = Limits {
        depth: 1000,
        ..Limits::default()
    };
    assert_eq!(
        Message::parse(Bytes::from(nested(65)), &limits)
            .unwrap_err()
            .code,
        -32600
    );
}

#[test]
fn a_batch_is_refused_as_a_whole() {
    let good = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    assert_eq!(refused("[]", -32600, 0, "empty batch"), None);
    assert_eq!(
        refused(format!("[{good},1]"), -32600, 39, "no object"),
        None
    );
    assert_eq!(
        refused(format!("[{good},[]]"), -32600, 39, "no object"),
        None
    );
    assert_eq!(
        refused(
            format!("[{good},{{\"jsonrpc\":\"2.0\",\"id\":3}}]"),
            -32600,
            39,
            "neither"
        ),
        None
    );
    let many = format!("[{}]", [good; 101].join(","));
    assert_eq!(refused(many, -32600, 1 + 38 * 100, "more than 100"), None);
    let alone = Message::parse(Bytes::from(format!("[{good}]")), &Limits::default()).unwrap_err();
    assert_eq!((alone.code, alone.offset), (-32600, 0));
}

#[test]
fn hostile_keys_are_not_echoed_at_length() {
    let key = "ä\u{1b}".repeat(100_000);
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"m","{0}":1,"{0}":2}}"#,
        key.replace('\u{1b}', "\\u001b")
    );
    let error = refusal(text);
    assert!(
        error.message.len() < 400 && !error.message.contains('\u{1b}'),
        "{}",
        error.message
    );
    let keys: Vec<String> = (0..200_000).map(|key| format!("\"k{key}\":1")).collect();
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"m","params":{{{}}}}}"#,
        keys.join(",")
    );
    assert!(refusal(text).message.contains("more than 1024"));
}

#[test]
fn an_id_that_no_parser_can_hold_is_json_and_no_id() {
    for number in ["1e400", &"9".repeat(400)] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"m"}}"#);
        assert_eq!(refused(text, -32600, 22, "\"id\" is out of range"), None);
    }
}

#[test]
fn numbers_that_no_parser_can_hold_are_no_json() {
    for number in ["1e400", "-1E+309", &"9".repeat(310), &"9".repeat(1_000_000)] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":[{number}]}}}}"#
        );
        assert_eq!(refused(text, -32700, 60, "number out of range"), None);
    }
}
