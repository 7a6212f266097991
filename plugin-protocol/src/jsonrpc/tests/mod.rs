//! What is accepted, what is refused and how, and that edits touch nothing else.

mod accepted;
mod properties;
mod refused;
mod rewritten;

use bytes::Bytes;

use super::{Limits, Message, ParseError, Payload};

/// A call as clients send it: 382 bytes.
pub(super) const CALL: &str = concat!(
    r#"{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"#,
    r#""2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":"p-1"},"name":"#,
    r#""get_weather","arguments":{"city":"Reykjavík","days":3,"units":"metric","precise":true,"big":"#,
    r#"12345678901234567890123456789,"note":"line\nbreak and \u00fcnicode","tags":["a","b"]}}}"#,
);

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn payload(text: &str) -> Payload {
    super::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn refusal(text: impl AsRef<[u8]>) -> ParseError {
    let body = Bytes::copy_from_slice(text.as_ref());
    let single = Message::parse(body.clone(), &Limits::default()).unwrap_err();
    let error = super::parse(body, &Limits::default()).unwrap_err();
    if !text.as_ref().trim_ascii_start().starts_with(b"[") {
        assert_eq!(single, error);
    }
    assert!(error.message.len() <= 1024 && error.id.as_ref().is_none_or(|id| id.len() <= 128));
    error
}
