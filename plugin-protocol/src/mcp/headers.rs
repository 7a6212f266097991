//! The headers that repeat the body, and how a value that is no plain ASCII is written in one.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// All values of one header, so that a repeated one is seen. Surrounding blanks are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values<'a> {
    /// The header is not there.
    #[default]
    Absent,
    /// It is there once.
    One(&'a [u8]),
    /// It is there more than once; the first value.
    Repeated(&'a [u8]),
}

/// The headers of MCP over HTTP, as they arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireHeaders<'a> {
    /// `MCP-Protocol-Version`
    pub protocol_version: Values<'a>,
    /// `Mcp-Method`
    pub method: Values<'a>,
    /// `Mcp-Name`
    pub name: Values<'a>,
    /// `Mcp-Session-Id`
    pub session_id: Values<'a>,
}

/// Why a header value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderValueError {
    /// A byte outside 0x20 to 0x7E.
    #[error("header value has a character outside visible ASCII")]
    NotAscii,
    /// Marked as base64 but it is not, or not in its one canonical spelling.
    #[error("header value is marked as base64 but is not base64")]
    NotBase64,
    /// The base64 is of something that is not UTF-8.
    #[error("header value is base64 of bytes that are not UTF-8")]
    NotUtf8,
}

const MARK: &str = "=?base64?";
const END_MARK: &str = "?=";

/// Reads a header value: plain, or marked `=?base64?…?=`. Surrounding blanks are cut.
///
/// # Errors
/// Characters outside visible ASCII, wrong base64, wrong UTF-8.
pub fn decode_header_value(value: &[u8]) -> Result<Cow<'_, str>, HeaderValueError> {
    let value = trim_blanks(value);
    if !value.iter().all(is_plain) {
        return Err(HeaderValueError::NotAscii);
    }
    let text = str::from_utf8(value).map_err(|_| HeaderValueError::NotAscii)?;
    let Some(encoded) = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.strip_suffix(END_MARK))
    else {
        return Ok(Cow::Borrowed(text));
    };
    let decoded = STANDARD
        .decode(encoded)
        .map_err(|_| HeaderValueError::NotBase64)?;
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| HeaderValueError::NotUtf8)
}

/// Writes a text as a header value: as it is where that is safe, else marked `=?base64?…?=`.
pub fn encode_header_value(text: &str) -> Cow<'_, str> {
    let looks_marked = text.starts_with(MARK) && text.ends_with(END_MARK);
    let is_safe =
        text.as_bytes().iter().all(is_plain) && !text.starts_with(' ') && !text.ends_with(' ');
    if is_safe && !looks_marked {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{MARK}{}{END_MARK}", STANDARD.encode(text)))
}

/// Cuts the blanks that HTTP allows around a value.
fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_plain(byte: &u8) -> bool {
    matches!(byte, 0x20..=0x7E)
}

// === impl Values ===

impl<'a> Values<'a> {
    /// The first value.
    pub fn first(self) -> Option<&'a [u8]> {
        match self {
            Self::Absent => None,
            Self::One(value) | Self::Repeated(value) => Some(value),
        }
    }
}

impl<'a> FromIterator<&'a [u8]> for Values<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(values: I) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(only), None) => Self::One(trim_blanks(only)),
            (Some(first), Some(_)) => Self::Repeated(trim_blanks(first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_plain_or_marked() {
        for (header, text) in [
            ("us-west1", "us-west1"),
            ("", ""),
            ("  two words\t", "two words"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
            ("=?base64??=", ""),
            ("=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
            ("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
            ("SGVsbG8=", "SGVsbG8="),
        ] {
            assert_eq!(
                decode_header_value(header.as_bytes()).as_deref(),
                Ok(text),
                "{header}"
            );
        }
        for (header, error) in [
            (&b"caf\xc3\xa9"[..], HeaderValueError::NotAscii),
            (b"a\tb", HeaderValueError::NotAscii),
            (b"a\x7f", HeaderValueError::NotAscii),
            (b"a\r\n", HeaderValueError::NotAscii),
            (b"=?base64?SGVsbG8?=", HeaderValueError::NotBase64),
            (b"=?base64?SGVs!!!bG8=?=", HeaderValueError::NotBase64),
            (b"=?base64?SGVsbG9=?=", HeaderValueError::NotBase64),
            (b"=?base64?SGVs bG8=?=", HeaderValueError::NotBase64),
            (b"=?base64?/w==?=", HeaderValueError::NotUtf8),
        ] {
            assert_eq!(
                decode_header_value(header),
                Err(error),
                "{}",
                String::from_utf8_lossy(header)
            );
        }
    }

    #[test]
    fn only_unsafe_texts_are_marked() {
        assert!(matches!(
            encode_header_value("get_weather {x}"),
            Cow::Borrowed("get_weather {x}")
        ));
        assert_eq!(encode_header_value(" a"), "=?base64?IGE=?=");
        assert_eq!(encode_header_value("a\r\nX: y"), "=?base64?YQ0KWDogeQ==?=");
        assert_eq!(
            encode_header_value("=?base64?YQ==?="),
            "=?base64?PT9iYXNlNjQ/WVE9PT89?="
        );
    }

    #[test]
    fn repetition_is_seen() {
        let values = |list: &[&'static str]| -> Values<'static> {
            list.iter().map(|value| value.as_bytes()).collect()
        };
        assert_eq!(values(&[]), Values::Absent);
        assert_eq!(values(&[" a "]), Values::One(b"a"));
        assert_eq!(values(&["a", "a"]), Values::Repeated(b"a"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_text_survives_a_header(text: String) {
            let header = encode_header_value(&text);
            prop_assert!(header.bytes().all(|byte| is_plain(&byte)));
            prop_assert_eq!(decode_header_value(header.as_bytes()).unwrap(), text.as_str());
        }
    }
}
