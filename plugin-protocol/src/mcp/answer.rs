//! Answers that the gateway makes itself.

use std::fmt::Write;

use bytes::Bytes;

use crate::jsonrpc::quote;

/// An error answer. `id` and `data` are raw JSON; without an id it is null.
pub fn error_response(id: Option<&str>, code: i64, message: &str, data: Option<&str>) -> Bytes {
    let mut text = String::with_capacity(80 + message.len() + data.map_or(0, str::len));
    let id = id.unwrap_or("null");
    let message = quote(message);
    let _ = write!(
        text,
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}"#
    );
    if let Some(data) = data {
        let _ = write!(text, r#","data":{data}"#);
    }
    text.push_str("}}");
    text.into()
}

/// A result answer. Both are raw JSON.
pub fn result_response(id: &str, result_raw: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result_raw}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::{Field, Kind, Limits, Message};

    #[test]
    fn answers_are_messages() {
        let error = error_response(Some("\"a\""), -32602, "no \"x\"\n", Some(r#"{"uri":"x"}"#));
        assert_eq!(
            error,
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"no \"x\"\n","data":{"uri":"x"}}}"#
        );
        let nobody =
            Message::parse(error_response(None, -32700, "x", None), &Limits::default()).unwrap();
        assert_eq!(
            (nobody.kind(), nobody.id(), nobody.field(Field::ErrorData)),
            (Kind::Error, None, None)
        );
        assert_eq!(
            result_response("7", "{}"),
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#
        );
    }
}
