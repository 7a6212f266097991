//! One event as one line that no terminal, pager or log reader can take for anything else.

use serde_json::Value;
use weir_plugin_protocol::audit::AuditEvent;

/// A longer line has its texts cut, in bytes.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Room for a line, in bytes: nearly all fit.
const TYPICAL_LINE_BYTES: usize = 640;
/// What remains of each text in a line that was too long, in bytes.
const CUT_TEXT_BYTES: usize = 512;

/// Writes `event` as JSON without a line end. Control characters, line separators and characters that change the
/// direction or the look of a text are escaped.
pub(super) fn write(event: &AuditEvent<'_>) -> String {
    let mut json = Vec::with_capacity(TYPICAL_LINE_BYTES);
    let json = match serde_json::to_writer(&mut json, event) {
        Ok(()) => String::from_utf8(json).unwrap_or_else(|_| UNREADABLE.to_owned()),
        Err(_) => UNREADABLE.to_owned(),
    };
    if json.len() <= MAX_LINE_BYTES {
        return escape(json);
    }
    let cut = serde_json::to_value(event).map(|mut value| {
        shorten(&mut value);
        value.to_string()
    });
    escape(cut.unwrap_or_else(|_| UNREADABLE.to_owned()))
}

/// Stands for an event that could not be written as JSON, which its types make impossible.
const UNREADABLE: &str = r#"{"event_type":"audit.unreadable","result":"aborted"}"#;

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > CUT_TEXT_BYTES => {
            text.truncate(text.floor_char_boundary(CUT_TEXT_BYTES));
            text.push('…');
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

/// `serde_json` escapes the characters below U+0020; outside of strings JSON is ASCII, so everything replaced here is
/// inside of one.
fn escape(json: String) -> String {
    let is_plain = json.is_ascii() && memchr::memchr(DELETE, json.as_bytes()).is_none();
    if is_plain || !json.chars().any(is_deceptive) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_deceptive(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The one ASCII character that is deceptive and that `serde_json` leaves as it is.
const DELETE: u8 = 0x7f;

/// Returns true for characters that are not seen, or that change how others are: controls, line separators, directions.
pub fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{7f}'..='\u{9f}'             // DEL and C1 controls, among them the one-byte CSI
        | '\u{ad}'                      // soft hyphen
        | '\u{61c}'                     // Arabic letter mark
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'       // zero width and direction marks
        | '\u{2028}'..='\u{202e}'       // line and paragraph separators, direction overrides
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}') // tags: invisible ASCII
}
