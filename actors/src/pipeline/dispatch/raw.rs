//! Raw JSON put together from pieces that were checked when they were read.

use bytes::Bytes;

/// Raw JSON as text; it was text when it was read.
pub(super) fn text(raw: &[u8]) -> &str {
    std::str::from_utf8(raw).unwrap_or("null")
}

/// Joins raw JSON values with commas.
pub(super) fn join(out: &mut String, items: &[Bytes]) {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(text(item));
    }
}
