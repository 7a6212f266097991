//! Pieces of JSON text that were checked before: walked, quoted and unquoted without being understood.

use std::borrow::Cow;

use bytes::Bytes;

use super::scan::{MAX_DEPTH, Scanner};

/// A walk through the elements of an array or the members of an object.
pub(super) struct Walk<'a> {
    scanner: Scanner<'a>,
    close: u8,
    /// True while another element may come.
    more: bool,
}

/// A member of an object and where it is.
pub(super) struct Step<'a> {
    /// The raw key without its quotes; empty in an array.
    pub(super) key: &'a str,
    pub(super) key_escaped: bool,
    /// Where the key, or the element, begins.
    pub(super) start: usize,
    /// Where the value ends.
    pub(super) end: usize,
    pub(super) value: &'a str,
}

/// The raw elements of an array, in order. Nothing if the text is no array; stops where the text stops making sense.
pub fn array_items(raw: &str) -> impl Iterator<Item = &str> {
    Walk::through(raw, b'[', b']').map(|step| step.value)
}

/// The members of an object, in order: the key unescaped, the value raw. Nothing if the text is no object; stops where
/// the text stops making sense.
pub fn object_members(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    members(raw).map(|step| (step.unescaped_key(), step.value))
}

/// The raw value of the first member with this key.
pub fn member<'a>(raw: &'a str, key: &str) -> Option<&'a str> {
    members(raw)
        .find(|step| step.has_key(key))
        .map(|step| step.value)
}

/// The text of a JSON string; `None` if it is no JSON string.
pub fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut letters = escape.chars();
        match letters.next()? {
            letter @ ('"' | '\\' | '/') => text.push(letter),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => text.push(code_point(&mut letters)?),
            _ => return None,
        }
        rest = letters.as_str();
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

/// A text as a JSON string, quotes included.
pub fn quote(text: &str) -> String {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..' ' => {
                json.push_str("\\u00");
                json.push(if letter < '\u{10}' { '0' } else { '1' });
                json.push(HEX.get(letter as usize % 16).copied().unwrap_or('0'));
            }
            _ => json.push(letter),
        }
    }
    json.push('"');
    json
}

/// The same JSON text without line breaks, as line framing needs it. Costs nothing where there are none: between tokens
/// a break is a blank, and inside a string it cannot stand.
pub fn single_line(json: Bytes) -> Bytes {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if !json.iter().any(is_break) {
        return json;
    }
    json.iter()
        .map(|byte| if is_break(byte) { b' ' } else { *byte })
        .collect()
}

/// The members of an object with their positions.
pub(super) fn members(raw: &str) -> Walk<'_> {
    Walk::through(raw, b'{', b'}')
}

/// Reads the digits behind `\u`, and the second half of a pair.
fn code_point(letters: &mut std::str::Chars<'_>) -> Option<char> {
    let first = code_unit(letters)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    if !(letters.next()? == '\\' && letters.next()? == 'u') {
        return None;
    }
    let second = code_unit(letters)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn code_unit(letters: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + letters.next()?.to_digit(16)?;
    }
    Some(unit)
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn through(raw: &'a str, open: u8, close: u8) -> Self {
        let mut scanner = Scanner::new(raw, MAX_DEPTH);
        scanner.blanks();
        let mut more = scanner.expect(open).is_ok();
        scanner.blanks();
        more &= scanner.peek() != close;
        Self {
            scanner,
            close,
            more,
        }
    }

    fn step(&mut self) -> Option<Step<'a>> {
        let start = self.scanner.at();
        let (key, key_escaped) = if self.close == b'}' {
            self.scanner.key().ok()?
        } else {
            ("", false)
        };
        let value_at = self.scanner.at();
        self.scanner.value(1).ok()?;
        let end = self.scanner.at();
        self.scanner.blanks();
        if self.scanner.peek() == b',' {
            self.scanner.step();
            self.scanner.blanks();
            self.more = true;
        }
        Some(Step {
            key,
            key_escaped,
            start,
            end,
            value: self.scanner.between(value_at, end),
        })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if !std::mem::take(&mut self.more) {
            return None;
        }
        self.step()
    }
}

// === impl Step ===

impl<'a> Step<'a> {
    pub(super) fn unescaped_key(&self) -> Cow<'a, str> {
        if !self.key_escaped {
            return Cow::Borrowed(self.key);
        }
        Cow::Owned(
            unquote(&format!("\"{}\"", self.key))
                .unwrap_or_default()
                .into_owned(),
        )
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        if self.key_escaped {
            self.unescaped_key() == key
        } else {
            self.key == key
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_objects_are_walked_without_being_understood() {
        let items: Vec<&str> = array_items(r#" [1, "a,]" , {"x":[ ]},[[]] , 1e300 ] "#).collect();
        assert_eq!(items, ["1", r#""a,]""#, r#"{"x":[ ]}"#, "[[]]", "1e300"]);
        let members: Vec<(String, &str)> = object_members(r#"{ "a":1 ,"b\/c" : [2] }"#)
            .map(|(key, value)| (key.into_owned(), value))
            .collect();
        assert_eq!(members, [("a".to_owned(), "1"), ("b/c".to_owned(), "[2]")]);
        assert_eq!(member(r#"{"a":1,"b":"x"}"#, "b"), Some(r#""x""#));
        assert_eq!(member(r#"{"a":1,"b":"x"}"#, "c"), None);
    }

    #[test]
    fn what_makes_no_sense_has_no_parts() {
        for raw in [
            "", "[", "{", "[]", "{}", "[ ]", "1", "null", "[,]", "{,}", "{1:2}", "[x",
        ] {
            assert_eq!(
                array_items(raw).count() + object_members(raw).count(),
                0,
                "{raw}"
            );
        }
        assert_eq!(array_items("[1,]").count(), 1);
        assert_eq!(array_items("[1 2]").count(), 1);
    }

    #[test]
    fn quoting_and_unquoting_agree_with_serde() {
        for text in [
            "",
            "plain",
            "\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}",
            "ä€😀\u{2028}",
            "=?base64?",
        ] {
            let json = quote(text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert_eq!(unquote(&json).unwrap(), text);
            assert_eq!(
                unquote(&serde_json::to_string(text).unwrap()).unwrap(),
                text
            );
        }
        assert_eq!(unquote(r#""\ud83d\ude00\u00e4\/""#).unwrap(), "😀ä/");
        for wrong in [
            "1",
            "\"",
            "",
            r#""\""#,
            r#""\x""#,
            r#""\ud83d""#,
            r#""\ud83d\u0041""#,
            r#""\u12""#,
        ] {
            assert_eq!(unquote(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn line_breaks_become_blanks() {
        let json = Bytes::from_static(b"{\r\n \"a\\n\":1}\n");
        assert_eq!(single_line(json), Bytes::from_static(b"{   \"a\\n\":1} "));
    }
}
