//! The answer of a role in what a tool returned, in the three dialects that there are:
//!
//! | the result has | the answer is |
//! |---|---|
//! | `structuredContent` | that |
//! | `content` | the text of its first block, which must be JSON |
//! | neither, nor `isError` | the result itself |
//!
//! Without `structuredContent` SDKs write a list as one block for each of its elements.
//!
//! Nothing is guessed: what is none of these is malformed, and a tool that says `isError` has refused, whatever else it
//! says.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use weir_plugin_protocol::jsonrpc::{Field, Message};

use crate::plugin::CallError;
use crate::upstream::catalog::shorten;

/// How much of a refusal is repeated, in characters.
const REFUSAL_MAX: usize = 200;

/// The methods that need no answer: that there is a result says enough.
const UNANSWERED: [&str; 7] = [
    "store_credential",
    "delete_credential",
    "log_event",
    "deprovision",
    "record-counter",
    "record-histogram",
    "record-gauge",
];

/// The methods whose answer is a list.
const LISTS: [&str; 2] = ["list_credentials", "list"];

/// What a method returns that needs no answer.
const DONE: &[u8] = br#"{"result":"ok"}"#;

/// What a tool returned. A member that is there twice is an error, as readers differ over which counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow)]
    structured_content: Option<&'a RawValue>,
    content: Option<Vec<Block>>,
    is_error: Option<bool>,
    result_type: Option<String>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
}

/// The role's answer in the result of a tool.
pub(super) fn of(method: &str, result: &Bytes) -> Result<Bytes, CallError> {
    if result.starts_with(b"[") {
        return Ok(result.clone());
    }
    let Ok(returned) = serde_json::from_slice::<ToolResult<'_>>(result) else {
        return Err(malformed("what the tool returned is no result of a tool"));
    };
    if returned.is_error == Some(true) {
        let text = returned.first_text().unwrap_or("the tool has failed");
        return Err(CallError::Refused(shorten(text, REFUSAL_MAX)));
    }
    match returned.result_type.as_deref() {
        None | Some("complete") => {}
        Some(other) => {
            let other = shorten(other, 32);
            let text = format!("the result is of the type {other:?}, and a plugin must answer");
            return Err(CallError::Malformed(text));
        }
    }
    if let Some(structured) = returned.structured_content {
        return match structured.get().as_bytes().first() {
            Some(b'{' | b'[') => Ok(result.slice_ref(structured.get().as_bytes())),
            _ => Err(malformed("`structuredContent` is no object")),
        };
    }
    if returned.content.is_none() && returned.is_error.is_none() {
        return Ok(result.clone());
    }
    if LISTS.contains(&method)
        && let Some(list) = returned.blocks_as_list()
    {
        return Ok(list);
    }
    let text = returned.first_text().unwrap_or_default();
    match serde_json::from_str::<&RawValue>(text) {
        Ok(answer) => Ok(Bytes::copy_from_slice(answer.get().as_bytes())),
        Err(_) if UNANSWERED.contains(&method) => Ok(Bytes::from_static(DONE)),
        Err(_) => Err(malformed(
            "there is no `structuredContent`, and the text of `content` is no JSON",
        )),
    }
}

/// What an answer says that is an error.
pub(super) fn refusal(answer: &Message) -> CallError {
    let text = answer.text(Field::ErrorMessage).unwrap_or_default();
    let code = answer.field(Field::ErrorCode).unwrap_or("no code");
    CallError::Refused(format!(
        "{} ({})",
        shorten(&text, REFUSAL_MAX),
        shorten(code, 20)
    ))
}

fn malformed(text: &str) -> CallError {
    CallError::Malformed(text.to_owned())
}

// === impl ToolResult ===

impl ToolResult<'_> {
    fn first_text(&self) -> Option<&str> {
        self.content.as_ref()?.first()?.text()
    }

    /// The list whose elements are the blocks, if these are objects.
    fn blocks_as_list(&self) -> Option<Bytes> {
        let objects = self.content.as_ref()?.iter().map(|block| {
            let object = serde_json::from_str::<&RawValue>(block.text()?).ok()?;
            object.get().starts_with('{').then_some(object)
        });
        let objects: Vec<&RawValue> = objects.collect::<Option<_>>()?;
        serde_json::to_vec(&objects).ok().map(Bytes::from)
    }
}

// === impl Block ===

impl Block {
    fn text(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.r#type == "text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, result: &str) -> Result<String, CallError> {
        let answer = of(method, &Bytes::copy_from_slice(result.as_bytes()))?;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }

    #[test]
    fn three_dialects_say_the_same() {
        let said = r#"{"allowed":true,"reason":"a \"friend\""}"#;
        let text = serde_json::to_string(said).unwrap();
        for result in [
            format!(r#"{{"content":[],"structuredContent":{said}}}"#),
            format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":false}}"#),
            format!(
                r#"{{"content":[{{"type":"text","text":{text}}},{{"type":"text","text":"x"}}]}}"#
            ),
            format!(r#"{{"resultType":"complete","structuredContent":{said},"_meta":{{"a":1}}}}"#),
            said.to_owned(),
        ] {
            assert_eq!(
                read("check_access", &result).as_deref(),
                Ok(said),
                "{result}"
            );
        }
        let list = r#"[{"server":"a","cred_type":"t"}]"#;
        assert_eq!(read("list_credentials", list).as_deref(), Ok(list));
        let wrapped = format!(r#"{{"result":{list}}}"#);
        let structured = format!(r#"{{"content":[],"structuredContent":{wrapped}}}"#);
        assert_eq!(read("list_credentials", &structured), Ok(wrapped));
    }

    #[test]
    fn a_tool_that_failed_has_refused_whatever_else_it_says() {
        for result in [
            r#"{"isError":true,"structuredContent":{"allowed":true}}"#,
            r#"{"isError":true,"content":[{"type":"text","text":"{\"allowed\":true}"}]}"#,
            r#"{"isError":true,"allowed":true}"#,
        ] {
            let refused = read("check_access", result).unwrap_err();
            assert!(matches!(refused, CallError::Refused(_)), "{result}");
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for result in [
            r#""yes""#,
            "true",
            "null",
            r#"{"content":[]}"#,
            r#"{"content":[{"type":"text","text":"allowed"}]}"#,
            r#"{"content":[{"type":"text","text":"{\"allowed\":true} and more"}]}"#,
            r#"{"content":[{"type":"image","text":"{\"allowed\":true}"}]}"#,
            r#"{"content":{"type":"text","text":"{\"allowed\":true}"}}"#,
            r#"{"structuredContent":"{\"allowed\":true}"}"#,
            r#"{"structuredContent":true}"#,
            r#"{"isError":"true","structuredContent":{"allowed":true}}"#,
            r#"{"isError":false,"allowed":true}"#,
            r#"{"isError":true,"isError":false,"structuredContent":{"allowed":true}}"#,
            r#"{"structuredContent":{"allowed":false},"structuredContent":{"allowed":true}}"#,
            r#"{"resultType":"input_required","structuredContent":{"allowed":true}}"#,
            r#"{"resultType":"task","allowed":true}"#,
        ] {
            let malformed = read("check_access", result).unwrap_err();
            assert!(matches!(malformed, CallError::Malformed(_)), "{result}");
        }
    }

    #[test]
    fn a_list_may_be_one_text_or_one_for_each_element() {
        for (result, list) in [
            (r#"{"content":[]}"#, "[]"),
            (
                r#"{"content":[{"type":"text","text":"{ \"a\":1}"},{"type":"text","text":"{}"}]}"#,
                r#"[{ "a":1},{}]"#,
            ),
            (r#"{"content":[{"type":"text","text":"[{}]"}]}"#, "[{}]"),
            (
                r#"{"content":[{"type":"text","text":"{}"}],"structuredContent":{"result":[]}}"#,
                r#"{"result":[]}"#,
            ),
        ] {
            let read = read("list_credentials", result);
            assert_eq!(read.as_deref(), Ok(list), "{result}");
        }
        let mixed = r#"{"content":[{"type":"text","text":"{}"},{"type":"image"}]}"#;
        assert_eq!(read("list_credentials", mixed).as_deref(), Ok("{}"));
    }

    #[test]
    fn what_needs_no_answer_may_say_anything() {
        for result in [
            r#"{"content":[{"type":"text","text":"recorded"}]}"#,
            r#"{"content":[]}"#,
        ] {
            assert_eq!(
                read("record-counter", result).as_deref(),
                Ok(r#"{"result":"ok"}"#)
            );
            assert!(read("check_access", result).is_err());
        }
    }
}
