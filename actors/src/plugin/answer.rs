//! What a plugin answered, taken out of its wrapping and read as strictly as it is needed: an answer that lacks what it
//! must have is an error, so that nobody is let in by an empty one.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::client::CallError;
use crate::builtin::strict_json;

/// The longest text of a plugin's error that is passed on, in bytes.
const MAX_ERROR_BYTES: usize = 1024;

/// Takes the role's JSON out of an answer: `{"result": X}` is X, anything else is itself. `{"error": …}` and
/// `"isError": true` are refusals.
///
/// # Errors
/// The plugin refuses, or what it says is no JSON.
pub(crate) fn unwrap(answer: &[u8]) -> Result<Value, CallError> {
    let value = strict_json::value(answer)
        .map_err(|_| CallError::Malformed("it is not JSON, or has a key twice".to_owned()))?;
    let Value::Object(mut members) = value else {
        return Ok(value);
    };
    if let Some(error) = members.get("error").filter(|error| !error.is_null()) {
        return Err(CallError::Refused(text_of(error)));
    }
    refuse_error(&members)?;
    let Some(result) = members.remove("result") else {
        return Ok(Value::Object(members));
    };
    if let Value::Object(inner) = &result {
        refuse_error(inner)?;
    }
    Ok(result)
}

/// Reads the answer of a role. The first key that is wrong is named; no value is.
///
/// # Errors
/// As [`unwrap`], or the answer is not of this type.
pub(crate) fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, CallError> {
    object(unwrap(answer)?)
}

/// Reads an object that was unwrapped. A list is none, even if its elements are the values in their order.
///
/// # Errors
/// It is not of this type.
pub(crate) fn object<T: DeserializeOwned>(value: Value) -> Result<T, CallError> {
    match value.is_object() {
        true => typed(value),
        false => Err(CallError::Malformed("it is no object".to_owned())),
    }
}

/// Reads what was unwrapped.
///
/// # Errors
/// It is not of this type.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CallError> {
    serde_json::from_value(value).map_err(|error| CallError::Malformed(without_values(&error)))
}

/// Checks that something was answered that is no refusal.
///
/// # Errors
/// As [`unwrap`].
pub(crate) fn acknowledged(answer: &[u8]) -> Result<(), CallError> {
    unwrap(answer).map(drop)
}

fn refuse_error(members: &Map<String, Value>) -> Result<(), CallError> {
    match members.get("isError") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(()),
        Some(_) => {
            let said = members.get("content").and_then(|content| content.get(0));
            let said = said.and_then(|block| block.get("text"));
            let text = said.map_or_else(|| "isError".to_owned(), text_of);
            Err(CallError::Refused(text))
        }
    }
}

/// An error as text: a text itself, the `message` of an object.
fn text_of(error: &Value) -> String {
    let text = match error {
        Value::String(text) => text.clone(),
        Value::Object(members) => match members.get("message") {
            Some(Value::String(text)) => text.clone(),
            _ => "an error without a message".to_owned(),
        },
        _ => "an error without a message".to_owned(),
    };
    match text.len() {
        0..=MAX_ERROR_BYTES => text,
        _ => {
            let end = text.floor_char_boundary(MAX_ERROR_BYTES);
            format!("{}…", text.get(..end).unwrap_or_default())
        }
    }
}

/// The errors of serde quote values, which may be secrets: only keys are said.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quotes = text.starts_with("invalid type") || text.starts_with("invalid value");
    let expected = text.rsplit_once(", expected ").map(|(_, what)| what);
    match (quotes, expected) {
        (false, _) => text,
        (true, Some(what)) => format!("expected {what}"),
        (true, None) => "a value of the wrong type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_plugin_protocol::policy::Decision;

    use super::*;

    #[test]
    fn the_wrappings_mean_the_same() {
        for answer in [
            r#"{"allowed":true,"reason":"why"}"#,
            r#"{"result":{"allowed":true,"reason":"why"}}"#,
            r#"{"result":{"allowed":true,"reason":"why"},"error":null}"#,
            r#"{"isError":false,"result":{"allowed":true,"reason":"why"}}"#,
        ] {
            let decision: Decision = read(answer.as_bytes()).unwrap();
            assert!(decision.allowed && decision.reason == "why", "{answer}");
        }
        for answer in [&b"[1]"[..], br#"{"result":[1]}"#] {
            let list: Vec<u8> = typed(unwrap(answer).unwrap()).unwrap();
            assert_eq!(list, [1]);
        }
        // Values in the right order are no object.
        for answer in [&b"[true]"[..], br#"{"result":[true,"why"]}"#] {
            let malformed = read::<Decision>(answer).unwrap_err();
            assert!(matches!(malformed, CallError::Malformed(_)));
        }
        acknowledged(br#"{"result":"ok"}"#).unwrap();
        acknowledged(b"null").unwrap();
    }

    #[test]
    fn errors_are_refusals_and_the_rest_is_malformed() {
        for answer in [
            r#"{"error":"no"}"#,
            r#"{"error":{"code":1,"message":"no"},"result":{"allowed":true}}"#,
            r#"{"isError":true,"content":[{"type":"text","text":"no"}],"allowed":true}"#,
            r#"{"result":{"isError":true,"content":[{"type":"text","text":"no"}]}}"#,
        ] {
            let refused = read::<Decision>(answer.as_bytes()).unwrap_err();
            assert_eq!(refused, CallError::Refused("no".to_owned()), "{answer}");
        }
        for answer in [
            "",
            "{",
            "{}",
            "[]",
            "true",
            r#"{"result":"ok"}"#,
            r#"{"result":{}}"#,
            r#"{"allowed":"true"}"#,
            r#"{"allowed":1}"#,
            r#"{"allowed":null}"#,
            r#"{"allowed":false,"allowed":true}"#,
            r#"{"result":{"result":{"allowed":true}}}"#,
        ] {
            let refused = read::<Decision>(answer.as_bytes()).unwrap_err();
            assert!(matches!(refused, CallError::Malformed(_)), "{answer}");
        }
        let strange = read::<Decision>(br#"{"isError":"yes","allowed":true}"#).unwrap_err();
        assert!(matches!(strange, CallError::Refused(_)));
    }

    #[test]
    fn no_value_is_repeated() {
        let canary = json!({ "allowed": "canary-77" }).to_string();
        let error = read::<Decision>(canary.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
        let long = json!({ "error": "é".repeat(5_000) }).to_string();
        assert!(
            read::<Decision>(long.as_bytes())
                .unwrap_err()
                .to_string()
                .len()
                < 1_100
        );
    }
}
