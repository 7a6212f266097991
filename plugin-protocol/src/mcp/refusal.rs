//! Answers that refuse, before anything was done.

use super::{Version, code};
use crate::jsonrpc::{Kind, Message, ParseError, quote};

/// An answer that refuses: an HTTP status and a JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The JSON-RPC error code.
    pub code: i64,
    /// What is wrong; at most 1 KiB.
    pub message: String,
    /// The error's `data`, raw JSON.
    pub data: Option<String>,
    /// The raw JSON of the request's id, if it is known.
    pub id: Option<Box<str>>,
}

/// The most bytes of a client's text that a refusal repeats.
const ECHO_BYTES: usize = 64;

// === impl Refusal ===

impl Refusal {
    /// 400 and a code, about nothing in particular.
    pub fn bad_request(code: i64, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            message: message.into(),
            data: None,
            id: None,
        }
    }

    /// 404, `-32601`: a request for a method that does not exist.
    pub fn method_not_found(message: &Message) -> Self {
        let method = quote(clip(message.method()));
        Self {
            status: 404,
            ..Self::bad_request(
                code::METHOD_NOT_FOUND,
                format!("method not found: {method}"),
            )
        }
        .answering(message)
    }

    /// 405, `-32600`: this endpoint has no such HTTP method.
    pub fn method_not_allowed() -> Self {
        Self {
            status: 405,
            ..Self::bad_request(code::INVALID_REQUEST, "HTTP method not allowed")
        }
    }

    /// 400, `-32020`: a header contradicts the body.
    pub fn header_mismatch(message: impl Into<String>) -> Self {
        Self::bad_request(code::HEADER_MISMATCH, message)
    }

    /// 400, `-32022`: another revision would do.
    pub fn unsupported_version(requested: &str, supported: &[Version]) -> Self {
        let requested = quote(clip(requested));
        let supported: Vec<String> = supported
            .iter()
            .map(|version| quote(version.as_str()))
            .collect();
        let data = format!(
            r#"{{"supported":[{}],"requested":{requested}}}"#,
            supported.join(",")
        );
        let refusal = Self::bad_request(
            code::UNSUPPORTED_VERSION,
            format!("unsupported protocol version {requested}"),
        );
        Self {
            data: Some(data),
            ..refusal
        }
    }

    /// The same, as the answer to a message: with its id if it is a request.
    pub fn answering(self, message: &Message) -> Self {
        let is_request = message.kind() == Kind::Request;
        Self {
            id: message.id().filter(|_| is_request).map(Into::into),
            ..self
        }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self {
            status: 400,
            code: error.code,
            message: error.message,
            data: None,
            id: error.id,
        }
    }
}

/// The beginning of a text that may be long.
pub(super) fn clip(text: &str) -> &str {
    let mut end = text.len().min(ECHO_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
