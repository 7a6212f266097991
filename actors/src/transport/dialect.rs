//! The words of protocol version 1, which plugins speak over HTTP and on pipes: `{"method", "params"}`, and back
//! `{"result"}` or `{"error"}`.
//!
//! The gateway's own names of methods are those of MCP tools, with `_`; plugins of this protocol spell the methods of the
//! roles with `-`, as they always spelled `record-counter`.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::plugin::CallError;
use crate::upstream::stdio::lines::printable;

/// How much of a plugin's own words an error repeats, in bytes.
const EXCERPT_BYTES: usize = 1024;

/// JSON-RPC's code for a method that is not there; plugins may use it.
const METHOD_NOT_FOUND: i64 = -32601;

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    params: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
}

/// An answer, as far as it matters whether it is an error.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// An error that says more than a text.
#[derive(Deserialize)]
struct Detailed {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Option<String>,
}

/// How a method is spelled on the wire.
pub(super) fn spelled(method: &str) -> &str {
    match method {
        "validate_credential" => "validate-credential",
        "check_access" => "check-access",
        "inject_credentials" => "inject-credentials",
        "store_credential" => "store-credential",
        "retrieve_credential" => "retrieve-credential",
        "delete_credential" => "delete-credential",
        "list_credentials" => "list-credentials",
        "log_event" => "log-event",
        other => other,
    }
}

/// The body of a call over HTTP.
pub(super) fn body(method: &str, params: &Value) -> Result<Bytes, CallError> {
    write(&Request {
        method: spelled(method),
        params,
        deadline_ms: None,
    })
}

/// The line of a call on a pipe, without its id and its end.
pub(super) fn line(method: &str, params: &Value, deadline_ms: u64) -> Result<Bytes, CallError> {
    write(&Request {
        method: spelled(method),
        params,
        deadline_ms: Some(deadline_ms),
    })
}

/// Looks whether an answer is JSON, and no error.
///
/// # Errors
/// It is not, or it is one.
pub(super) fn check(method: &str, answer: &[u8]) -> Result<(), CallError> {
    let malformed = |error: serde_json::Error| CallError::Malformed(format!("no JSON: {error}"));
    // A list would be taken for the members of the struct in their order.
    if !answer.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice::<IgnoredAny>(answer)
            .map(drop)
            .map_err(malformed);
    }
    let answer: Answer<'_> = serde_json::from_slice(answer).map_err(malformed)?;
    match answer.error.map(RawValue::get) {
        None => Ok(()),
        Some(error) => Err(refusal(method, error)),
    }
}

/// What an answer with another status than 200 means.
pub(super) fn failure(method: &str, status: u16, body: &[u8]) -> CallError {
    let unknown = match serde_json::from_slice(body) {
        Ok(Answer { error: Some(error) }) => is_unknown_method(error.get()),
        _ => says_unknown(&String::from_utf8_lossy(body)),
    };
    match unknown {
        true => CallError::UnknownMethod(method.to_owned()),
        false => CallError::Refused(format!("{} (status {status})", excerpt(body))),
    }
}

/// A plugin's own words, so short and so clean that they can be repeated.
pub(super) fn excerpt(words: &[u8]) -> String {
    printable(words.trim_ascii(), EXCERPT_BYTES)
}

fn write(request: &Request<'_>) -> Result<Bytes, CallError> {
    match serde_json::to_vec(request) {
        Ok(body) => Ok(body.into()),
        Err(error) => Err(CallError::Malformed(error.to_string())),
    }
}

fn refusal(method: &str, error: &str) -> CallError {
    if is_unknown_method(error) {
        return CallError::UnknownMethod(method.to_owned());
    }
    let text = match serde_json::from_str(error) {
        Ok(Value::String(text)) => text,
        Ok(Value::Object(_)) => match serde_json::from_str(error) {
            Ok(Detailed {
                message: Some(message),
                ..
            }) => message,
            _ => error.to_owned(),
        },
        _ => error.to_owned(),
    };
    CallError::Refused(excerpt(text.as_bytes()))
}

fn is_unknown_method(error: &str) -> bool {
    if let Ok(text) = serde_json::from_str::<String>(error) {
        return says_unknown(&text);
    }
    match serde_json::from_str(error) {
        Ok(Detailed { code, message }) => {
            code.as_i64() == Some(METHOD_NOT_FOUND)
                || message.is_some_and(|message| says_unknown(&message))
        }
        Err(_) => false,
    }
}

fn says_unknown(text: &str) -> bool {
    let text = text.trim_start().as_bytes();
    let said = text.get(.."unknown method".len());
    said.is_some_and(|said| said.eq_ignore_ascii_case(b"unknown method"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn methods_of_roles_are_spelled_with_hyphens_and_others_as_they_are() {
        for (method, wire) in [
            ("validate_credential", "validate-credential"),
            ("check_access", "check-access"),
            ("list_credentials", "list-credentials"),
            ("log_event", "log-event"),
            ("record-counter", "record-counter"),
            ("provision", "provision"),
            ("my_own", "my_own"),
        ] {
            assert_eq!(spelled(method), wire);
        }
    }

    #[test]
    fn the_request_is_the_one_of_the_protocol() {
        let params = json!({ "name": "mcp.tool.calls", "value": 1, "attributes": { "mcp.tool.name": "docker_ps" } });
        assert_eq!(
            body("record-counter", &params).unwrap(),
            r#"{"method":"record-counter","params":{"name":"mcp.tool.calls","value":1,"attributes":{"mcp.tool.name":"docker_ps"}}}"#
        );
        assert_eq!(
            line("log_event", &json!({ "event_type": "a\nb" }), 30).unwrap(),
            r#"{"method":"log-event","params":{"event_type":"a\nb"},"deadline_ms":30}"#
        );
    }

    #[test]
    fn what_an_answer_means() {
        let refused = |text: &str| Err(CallError::Refused(text.to_owned()));
        let unknown = || Err(CallError::UnknownMethod("sing".to_owned()));
        for (answer, means) in [
            (r#"{"result":"ok"}"#, Ok(())),
            (
                r#" {"result":{"error":"of the caller"},"error":null}"#,
                Ok(()),
            ),
            (r#"{"allowed":true}"#, Ok(())),
            (r#"[{"error":"x"}]"#, Ok(())),
            ("\"ok\"", Ok(())),
            (r#"{"error":"x"}"#, refused("x")),
            (r#"{"result":"ok","error":"x"}"#, refused("x")),
            (
                r#"{"error":{"code":1,"message":"no\u0007"}}"#,
                refused("no\\u{7}"),
            ),
            (r#"{"error":{"why":1}}"#, refused(r#"{"why":1}"#)),
            (r#"{"error":false}"#, refused("false")),
            (r#"{"error":""}"#, refused("")),
            (r#"{"error":"Unknown method: sing"}"#, unknown()),
            (r#"{"error":{"code":-32601}}"#, unknown()),
            (
                r#"{"error":{"code":"x","message":"unknown method"}}"#,
                unknown(),
            ),
        ] {
            assert_eq!(check("sing", answer.as_bytes()), means, "{answer}");
        }
        for malformed in [
            "",
            "ok",
            "{",
            r#"{"result":"ok"} x"#,
            r#"{"error":"x","error":null}"#,
            "[1",
        ] {
            let error = check("sing", malformed.as_bytes()).unwrap_err();
            assert!(
                matches!(error, CallError::Malformed(_)),
                "{malformed}: {error}"
            );
        }
    }

    #[test]
    fn a_failure_repeats_a_little_of_the_body() {
        assert_eq!(
            failure("sing", 500, b"out of tune\n").to_string(),
            "plugin returned error: out of tune (status 500)"
        );
        let long = failure("sing", 502, &[b'x'; 5000]).to_string();
        assert!(
            long.len() < 1100 && long.ends_with("x… (status 502)"),
            "{long}"
        );
        for unknown in [
            &b"unknown method: sing"[..],
            br#"{"error":"unknown method"}"#,
        ] {
            assert_eq!(
                failure("sing", 404, unknown),
                CallError::UnknownMethod("sing".to_owned())
            );
        }
    }
}
