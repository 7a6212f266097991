//! Canonical JSON: one form for each value, and another one for another value.

use serde_json::Value;
use weir_actors::upstream::pins::Digest;
use weir_plugin_protocol::jsonrpc::canonical;

/// See [`holds`].
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        holds(text);
    }
}

/// Whatever the text is: it has no form, or one that means the same, is its own form, and stays the same when the text is
/// spelled in another way.
pub fn holds(text: &str) {
    let Ok(form) = canonical(text) else {
        return;
    };
    assert_eq!(canonical(&form).as_deref(), Ok(form.as_str()));
    assert_eq!(Digest::of(text.as_bytes()), Digest::of(form.as_bytes()));
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        // A quick reader rounds the largest doubles up, and then there are none.
        Err(error) if error.to_string().starts_with("number out of range") => return,
        Err(error) => panic!("what has a form is JSON: {error}"),
    };
    let meant: Value = serde_json::from_str(&form).expect("a form is JSON");
    if !repeats(text, &value) {
        assert!(alike(&value, &meant), "{text} {form}");
    }
}

/// Two values have the same form exactly if they are equal. They must not have whole numbers beyond 64 bits.
pub fn pair_holds(one: &Value, other: &Value) {
    let forms = [one, other].map(|value| canonical(&value.to_string()).unwrap());
    let [form, other_form] = &forms;
    assert_eq!(form == other_form, same(one, other), "{form} {other_form}");
    for spelling in [respelled(one), serde_json::to_string_pretty(one).unwrap()] {
        assert_eq!(canonical(&spelling).as_ref(), Ok(form), "{spelling}");
        assert_eq!(Digest::of(spelling.as_bytes()), Digest::of(form.as_bytes()));
    }
}

/// Equal, where `1` is `1.0` and the order of members does not count.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i128(), other.as_i128()) {
            (Some(one), Some(other)) => one == other,
            _ => one.as_f64() == other.as_f64(),
        },
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let equal = |(key, value): (&String, &Value)| {
                other.get(key).is_some_and(|found| same(value, found))
            };
            one.len() == other.len() && one.iter().all(equal)
        }
        (one, other) => one == other,
    }
}

/// Equal but for the last digits of doubles, which a quick reader gets wrong.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let [one, other] = [one, other].map(|number| number.as_f64().unwrap());
            (one - other).abs() <= one.abs().max(f64::MIN_POSITIVE) * 1e-14
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let equal = |(key, value): (&String, &Value)| {
                other.get(key).is_some_and(|found| alike(value, found))
            };
            one.len() == other.len() && one.iter().all(equal)
        }
        (one, other) => one == other,
    }
}

/// Writes a value with its members backwards, blanks everywhere and every letter escaped.
fn respelled(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
            let member = |(key, value): (&String, &Value)| {
                format!("\t{} : {}\n", escaped(key), respelled(value))
            };
            let members: Vec<String> = members.into_iter().map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(respelled).collect();
            format!("[{}]", items.join(" , "))
        }
        Value::String(text) => escaped(text),
        Value::Number(number) if number.is_i64() || number.is_u64() => format!("{number}.0"),
        value => value.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
    format!("\"{}\"", units.collect::<String>())
}

/// Whether an object of the text has a member twice, of which a reader sees only one.
fn repeats(text: &str, value: &Value) -> bool {
    fn members(value: &Value) -> usize {
        match value {
            Value::Object(members_of) => {
                members_of.len() + members_of.values().map(members).sum::<usize>()
            }
            Value::Array(items) => items.iter().map(members).sum(),
            _ => 0,
        }
    }
    // Colons outside of strings.
    let (mut colons, mut in_string, mut is_escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons != members(value)
}
