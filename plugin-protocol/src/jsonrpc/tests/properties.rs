use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::*;
use crate::jsonrpc::level::{FIELDS, Level, PLACES};
use crate::jsonrpc::scan::{MAX_DEPTH, Scanner};
use crate::jsonrpc::{Field, Kind, array_items, object_members};

type Members = Vec<(String, Value)>;

/// Any JSON value, not deep.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Eighths: serde reads most other fractions back a bit changed.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..4)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,12}", "\\PC{0,6}", any::<String>()]
}

/// A member of an object: mostly one of the known ones, in any order.
fn members(level: Level) -> impl Strategy<Value = Members> {
    let known: Vec<&'static str> = PLACES
        .iter()
        .filter(|(field, at, _)| *at == level && field.opens().is_none())
        .map(|place| place.2)
        .collect();
    let key =
        prop_oneof![4 => prop::sample::select(known).prop_map(str::to_owned), 1 => "[x-z]{1,3}"];
    prop::collection::vec((key, any_value()), 0..6)
}

fn any_message() -> impl Strategy<Value = Value> {
    let inner = (
        members(Level::Params),
        prop::option::of(members(Level::Meta)),
    );
    let result = (
        members(Level::Result),
        prop::option::of(members(Level::ResultMeta)),
    );
    let with_meta = |(members, meta): (Members, Option<Members>)| {
        let mut object = Map::from_iter(members);
        if let Some(meta) = meta {
            object.insert("_meta".into(), Map::from_iter(meta).into());
        }
        Value::from(object)
    };
    let id = prop_oneof![
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from)
    ];
    let rest = prop_oneof![
        (any_text(), prop::option::of(inner.prop_map(with_meta))).prop_map(|(method, params)| {
            match params {
                Some(params) => json!({"method": method, "params": params}),
                None => json!({"method": method}),
            }
        }),
        result
            .prop_map(with_meta)
            .prop_map(|result| json!({"result": result})),
        members(Level::Error).prop_map(|error| json!({"error": Map::from_iter(error)})),
    ];
    (id, rest, any::<bool>()).prop_map(|(id, mut rest, notify)| {
        if !(notify && rest.get("method").is_some()) {
            rest["id"] = id;
        }
        rest["jsonrpc"] = json!("2.0");
        rest
    })
}

/// The text of a value in a spelling of its own: compact or pretty.
fn spelled(value: &Value, pretty: bool) -> String {
    if pretty {
        serde_json::to_string_pretty(value).unwrap()
    } else {
        value.to_string()
    }
}

fn any_field() -> impl Strategy<Value = Field> {
    (0..FIELDS).prop_map(|index| PLACES[index].0)
}

/// Where a field is in a value.
fn at(value: &Value, field: Field) -> Option<&Value> {
    match field.level() {
        Level::Top => value.get(field.key()),
        Level::Params => value.get("params")?.get(field.key()),
        Level::Meta => value.get("params")?.get("_meta")?.get(field.key()),
        Level::Result => value.get("result")?.get(field.key()),
        Level::ResultMeta => value.get("result")?.get("_meta")?.get(field.key()),
        Level::Error => value.get("error")?.get(field.key()),
    }
}

fn object_at<'v>(
    value: &'v mut Value,
    path: &[&str],
    make: bool,
) -> Option<&'v mut Map<String, Value>> {
    let mut place = value;
    for key in path {
        let object = place.as_object_mut()?;
        if make && !object.get(*key).is_some_and(Value::is_object) {
            object.insert((*key).to_owned(), json!({}));
        }
        place = object.get_mut(*key)?;
    }
    place.as_object_mut()
}

fn path(field: Field) -> &'static [&'static str] {
    match field.level() {
        Level::Top => &[],
        Level::Params => &["params"],
        Level::Meta => &["params", "_meta"],
        Level::Result => &["result"],
        Level::ResultMeta => &["result", "_meta"],
        Level::Error => &["error"],
    }
}

/// True if the one field is the other or an object around it.
fn contains(outer: Field, inner: Field) -> bool {
    let name = |field: Field| [path(field), &[field.key()]].concat();
    name(inner).starts_with(&name(outer))
}

/// True if the scanner takes the text for JSON.
fn scans(text: &str) -> bool {
    let mut scanner = Scanner::new(text, MAX_DEPTH);
    scanner.blanks();
    let read = scanner.value(0).is_ok();
    scanner.blanks();
    read && scanner.finished()
}

/// A text near a valid one: some bytes replaced, added or gone.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3_u8,
        prop_oneof![
            any::<u8>(),
            prop::sample::select(b"{}[]\",:\\u0-9.eE ".to_vec())
        ],
    );
    let text = prop_oneof![
        any_message().prop_map(|value| value.to_string()),
        Just(CALL.to_owned())
    ];
    (text, prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (index, kind, byte) in edits {
            let index = index.index(bytes.len().max(1));
            match kind {
                0 if index < bytes.len() => bytes[index] = byte,
                1 if index < bytes.len() => drop(bytes.remove(index)),
                _ => bytes.insert(index.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_field_of_a_valid_message_is_found(value in any_message(), pretty: bool) {
        let message = message(&spelled(&value, pretty));
        for (field, ..) in PLACES {
            let found = message.field(field).map(|raw| serde_json::from_str::<Value>(raw).unwrap());
            prop_assert_eq!(found.as_ref(), at(&value, field));
            let slice = message.slice(field);
            prop_assert_eq!(slice.as_deref(), message.field(field).map(str::as_bytes));
        }
        if matches!(message.kind(), Kind::Request | Kind::Notification) {
            prop_assert_eq!(message.method(), value["method"].as_str().unwrap());
        }
        prop_assert_eq!(message.rewrite().finish(), message.raw().clone());
    }

    #[test]
    fn edits_do_what_they_say_and_nothing_else(
        mut value in any_message(),
        pretty: bool,
        edits in prop::collection::vec((any_field(), prop::option::of(any_value())), 1..6),
    ) {
        let message = message(&spelled(&value, pretty));
        let mut rewrite = message.rewrite();
        for (index, (field, new)) in edits.iter().enumerate() {
            rewrite = match new {
                Some(new) => rewrite.set(*field, spelled(new, pretty)),
                None => rewrite.remove(*field),
            };
            let is_undone = edits[index + 1..].iter().any(|(later, _)| contains(*later, *field));
            if is_undone {
                continue;
            }
            match new.clone() {
                Some(new) => {
                    let object = object_at(&mut value, path(*field), true).unwrap();
                    object.insert(field.key().to_owned(), new);
                }
                None => {
                    if let Some(object) = object_at(&mut value, path(*field), false) {
                        object.shift_remove(field.key());
                    }
                }
            }
        }
        let edited: Value = serde_json::from_slice(&rewrite.finish()).unwrap();
        prop_assert_eq!(edited, value);
    }

    #[test]
    fn the_scanner_agrees_with_serde(bytes in mutated()) {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            // Raw values allow lone surrogates, parsed ones refuse numbers beyond f64: ours lies between.
            let (loose, strict) = (serde_json::from_str::<&RawValue>(text).is_ok(), serde_json::from_str::<Value>(text).is_ok());
            let ours = scans(text);
            prop_assert!(!ours || loose, "ours accepts {}", text);
            prop_assert!(!strict || ours, "ours refuses {}", text);
        }
        let parsed = crate::jsonrpc::parse(Bytes::from(bytes.clone()), &Limits::default());
        match parsed {
            Ok(Payload::Single(message)) => {
                let raw: &RawValue = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!(message.as_str(), raw.get());
            }
            Ok(Payload::Batch(_)) => prop_assert!(bytes.trim_ascii_start().starts_with(b"[")),
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                let is_json = std::str::from_utf8(&bytes).is_ok_and(scans);
                // A number beyond all bounds is no JSON for the scanner. As an id it is the message that is wrong, and what
                // comes behind it is not looked at.
                if error.message.starts_with("\"id\" is out of range") {
                    prop_assert!(!is_json && error.code == -32600, "{}", error);
                    return Ok(());
                }
                prop_assert_eq!(error.code == -32600, is_json, "{}", error);
            }
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _ = crate::jsonrpc::parse(Bytes::from(bytes), &Limits::default());
        let _ = crate::jsonrpc::parse(Bytes::from(text.clone()), &Limits::default());
        let _ = array_items(&text).count() + object_members(&text).count();
        let _ = crate::jsonrpc::unquote(&format!("\"{text}\""));
        let quoted = crate::jsonrpc::quote(&text);
        prop_assert_eq!(crate::jsonrpc::unquote(&quoted).unwrap(), text);
    }

    #[test]
    fn walks_agree_with_serde(value in any_value(), pretty: bool) {
        let text = spelled(&value, pretty);
        if let Some(items) = value.as_array() {
            let walked: Vec<Value> = array_items(&text).map(|raw| serde_json::from_str(raw).unwrap()).collect();
            prop_assert_eq!(&walked, items);
        }
        if let Some(members) = value.as_object() {
            let walked: Map<String, Value> = object_members(&text)
                .map(|(key, raw)| (key.into_owned(), serde_json::from_str(raw).unwrap()))
                .collect();
            prop_assert_eq!(&walked, members);
        }
    }
}
