//! Why a text is not a message.

/// The longest piece of a hostile text that is repeated in an error message, in bytes.
const ECHO_BYTES: usize = 64;

/// A text that was refused, in the words of JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// `-32700` if the text is not JSON, `-32600` if it is JSON but no acceptable message.
    pub code: i64,
    /// What is wrong and where; at most 1 KiB.
    pub message: String,
    /// Where it is wrong, in bytes from the start of the text.
    pub offset: usize,
    /// The raw JSON of the request's id, if it could be read and is within the limits.
    pub id: Option<Box<str>>,
}

// === impl ParseError ===

impl ParseError {
    pub(super) fn not_json(offset: usize, what: &str) -> Self {
        Self {
            code: -32700,
            message: format!("not JSON: {what} at byte {offset}"),
            offset,
            id: None,
        }
    }

    pub(super) fn not_a_message(offset: usize, what: &str) -> Self {
        Self {
            code: -32600,
            message: format!("{what} at byte {offset}"),
            offset,
            id: None,
        }
    }

    pub(super) fn about_key(offset: usize, what: &str, key: &str) -> Self {
        let mut end = key.len().min(ECHO_BYTES);
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        let shown = key.get(..end).unwrap_or_default();
        let more = if end < key.len() { "…" } else { "" };
        Self::not_a_message(offset, &format!("{what} {shown:?}{more}"))
    }
}
