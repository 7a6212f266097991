//! The words of SEP-2624: what an interceptor is asked, and what it answers.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::config::InterceptorKind;
use super::event::Phase;
use crate::plugin::CallError;

/// Messages and suggestions of one answer that are passed on.
const MAX_TOLD: usize = 16;
/// Characters of one message that are passed on.
const MAX_TEXT: usize = 500;
/// Bytes of one suggested value that are passed on; a longer one is left out.
const MAX_VALUE: usize = 1024;

/// What an interceptor says.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing is wrong, or nothing was changed.
    Fine,
    /// Something is not as it should be, but not so that it must be refused.
    Warned,
    /// It must be refused. JSON members for the client: `"messages":[…]`, `"suggestions":[…]`.
    Denied(String),
    /// This is to be sent instead: an object.
    Modified(Bytes),
}

#[derive(Deserialize)]
struct Validation<'a> {
    #[serde(default, borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    phase: Option<Cow<'a, str>>,
    valid: bool,
    #[serde(default)]
    severity: Option<Severity>,
    #[serde(default)]
    messages: Option<Vec<Told>>,
    #[serde(default)]
    suggestions: Option<Vec<Suggested>>,
}

#[derive(Deserialize)]
struct Mutation<'a> {
    #[serde(default, borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    phase: Option<Cow<'a, str>>,
    modified: bool,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Info,
    Warn,
    Error,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    path: Option<String>,
    message: String,
    severity: Severity,
}

#[derive(Deserialize)]
struct Suggested {
    path: String,
    value: Value,
}

/// An answer of a plugin that wraps it: `{"result": …}` or `{"error": …}`.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

/// The parameters of `interceptor/invoke`, but for `payload`.
pub(super) fn invocation(
    name: &str,
    event: &str,
    phase: Phase,
    config: &Map<String, Value>,
    timeout_ms: u64,
    context: &Value,
) -> Map<String, Value> {
    let mut params = Map::with_capacity(7);
    params.insert("name".to_owned(), name.into());
    params.insert("event".to_owned(), event.into());
    params.insert("phase".to_owned(), phase.as_str().into());
    if !config.is_empty() {
        params.insert("config".to_owned(), Value::Object(config.clone()));
    }
    params.insert("timeoutMs".to_owned(), timeout_ms.into());
    params.insert("context".to_owned(), context.clone());
    params
}

/// Reads an answer.
///
/// # Errors
/// The interceptor says that it failed, or the answer is not what the contract says.
pub(super) fn read(
    kind: InterceptorKind,
    phase: Phase,
    answer: &Bytes,
) -> Result<Answer, CallError> {
    let body = unwrapped(answer)?;
    match kind {
        InterceptorKind::Validation => validation(body, phase),
        InterceptorKind::Mutation => mutation(body, phase, answer),
    }
}

fn unwrapped(answer: &[u8]) -> Result<&str, CallError> {
    let text = std::str::from_utf8(answer).map_err(|_| malformed("no UTF-8"))?;
    let text = text.trim_ascii();
    if !text.starts_with('{') {
        return Err(malformed("no object"));
    }
    let wrapped: Wrapped<'_> = serde_json::from_str(text).map_err(malformed)?;
    match (wrapped.error, wrapped.result) {
        (Some(error), _) if error.get() != "null" => Err(CallError::Refused(cut(error.get()))),
        (_, Some(result)) if result.get().starts_with('{') => Ok(result.get()),
        _ => Ok(text),
    }
}

fn validation(body: &str, phase: Phase) -> Result<Answer, CallError> {
    let answer: Validation<'_> = serde_json::from_str(body).map_err(malformed)?;
    agrees(answer.r#type.as_deref(), "validation", "type")?;
    agrees(answer.phase.as_deref(), phase.as_str(), "phase")?;
    if answer.valid {
        return Ok(Answer::Fine);
    }
    // Who does not say how bad it is, means that it is bad.
    if answer.severity.unwrap_or(Severity::Error) != Severity::Error {
        return Ok(Answer::Warned);
    }
    let messages = answer.messages.unwrap_or_default();
    let messages: Vec<Value> = messages.iter().take(MAX_TOLD).map(Told::shown).collect();
    let suggestions = answer.suggestions.unwrap_or_default();
    let suggestions: Vec<Value> = suggestions
        .into_iter()
        .filter(|suggested| suggested.value.to_string().len() <= MAX_VALUE)
        .take(MAX_TOLD)
        .map(|suggested| json!({ "path": cut(&suggested.path), "value": suggested.value }))
        .collect();
    let mut told = String::new();
    for (key, values) in [("messages", messages), ("suggestions", suggestions)] {
        if !values.is_empty() {
            told.push_str(&format!(r#","{key}":{}"#, Value::Array(values)));
        }
    }
    Ok(Answer::Denied(told))
}

fn mutation(body: &str, phase: Phase, whole: &Bytes) -> Result<Answer, CallError> {
    let answer: Mutation<'_> = serde_json::from_str(body).map_err(malformed)?;
    agrees(answer.r#type.as_deref(), "mutation", "type")?;
    agrees(answer.phase.as_deref(), phase.as_str(), "phase")?;
    if !answer.modified {
        return Ok(Answer::Fine);
    }
    match answer.payload.map(RawValue::get) {
        // The very bytes of the answer: nothing is read and written again.
        Some(payload) if payload.starts_with('{') => {
            Ok(Answer::Modified(whole.slice_ref(payload.as_bytes())))
        }
        Some(_) => Err(malformed("`payload` is no object")),
        None => Err(malformed("`modified` without `payload`")),
    }
}

fn agrees(said: Option<&str>, expected: &str, key: &str) -> Result<(), CallError> {
    match said {
        Some(said) if said != expected => Err(malformed(format!("`{key}` is not {expected}"))),
        _ => Ok(()),
    }
}

fn malformed(what: impl ToString) -> CallError {
    CallError::Malformed(what.to_string())
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

// === impl Told ===

impl Told {
    fn shown(&self) -> Value {
        let severity = match self.severity {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Error => "error",
        };
        let mut shown = json!({ "message": cut(&self.message), "severity": severity });
        if let (Some(path), Some(members)) = (&self.path, shown.as_object_mut()) {
            members.insert("path".to_owned(), cut(path).into());
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: InterceptorKind, text: &'static str) -> Result<Answer, CallError> {
        read(kind, Phase::Request, &Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_validation_says_so_or_the_answer_is_none() {
        use InterceptorKind::Validation;
        for fine in [
            r#"{"valid":true}"#,
            r#"{"result":{"interceptor":"a","type":"validation","phase":"request","durationMs":3,"valid":true,"info":{"x":1}}}"#,
            r#"{"valid":true,"severity":null,"messages":null}"#,
        ] {
            assert!(
                matches!(judged(Validation, fine), Ok(Answer::Fine)),
                "{fine}"
            );
        }
        for warned in [
            r#"{"valid":false,"severity":"warn"}"#,
            r#"{"valid":false,"severity":"info"}"#,
        ] {
            assert!(
                matches!(judged(Validation, warned), Ok(Answer::Warned)),
                "{warned}"
            );
        }
        for denied in [
            r#"{"valid":false}"#,
            r#"{"valid":false,"severity":"error","messages":[]}"#,
        ] {
            assert!(
                matches!(judged(Validation, denied), Ok(Answer::Denied(_))),
                "{denied}"
            );
        }
        for broken in [
            "",
            "[]",
            "{}",
            "null",
            "true",
            r#"{"valid":"true"}"#,
            r#"{"valid":1}"#,
            r#"{"valid":null}"#,
            r#"{"valid":true,"valid":false}"#,
            r#"{"valid":true,"severity":"fatal"}"#,
            r#"{"type":"mutation","valid":true}"#,
            r#"{"phase":"response","valid":true}"#,
            r#"{"valid":false,"messages":[{"message":1}]}"#,
            r#"{"result":"ok"}"#,
            r#"{"error":"no","result":{"valid":true}}"#,
            "[null,null,true]",
        ] {
            assert!(judged(Validation, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_mutation_replaces_by_an_object_and_nothing_else() {
        use InterceptorKind::Mutation;
        let modified = judged(
            Mutation,
            r#"{"result":{"modified":true,"payload":{"a":12345678901234567890123}}}"#,
        );
        let Ok(Answer::Modified(payload)) = modified else {
            panic!("{modified:?}")
        };
        assert_eq!(payload, r#"{"a":12345678901234567890123}"#);
        assert!(matches!(
            judged(Mutation, r#"{"modified":false}"#),
            Ok(Answer::Fine)
        ));
        for broken in [
            r#"{"modified":true}"#,
            r#"{"modified":true,"payload":[]}"#,
            r#"{"modified":true,"payload":"x"}"#,
            r#"{"modified":"yes","payload":{}}"#,
            r#"{"payload":{}}"#,
            r#"{"valid":true}"#,
        ] {
            assert!(judged(Mutation, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_is_told_is_bounded() {
        let long = "x".repeat(10_000);
        let messages = vec![json!({ "message": long, "severity": "error", "path": long }); 100];
        let suggestions = vec![
            json!({ "path": long, "value": "y" }),
            json!({ "path": "p", "value": long }),
        ];
        let answer = json!({ "valid": false, "messages": messages, "suggestions": suggestions });
        let answer = Bytes::from(answer.to_string());
        let Ok(Answer::Denied(told)) = read(InterceptorKind::Validation, Phase::Request, &answer)
        else {
            panic!("denied")
        };
        assert!(
            told.len() < MAX_TOLD * (2 * MAX_TEXT + 100) + 1000,
            "{}",
            told.len()
        );
        let told: Value = serde_json::from_str(&format!("{{{}}}", &told[1..])).unwrap();
        assert_eq!(told["messages"].as_array().unwrap().len(), MAX_TOLD);
        assert_eq!(told["suggestions"].as_array().unwrap().len(), 1);
    }
}
