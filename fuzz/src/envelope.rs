//! JSON-RPC envelopes: what is parsed means the same to everybody, and an edit changes nothing but what it says.

use bytes::Bytes;
use serde_json::Value;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, Payload, parse};

/// Where some fields are, and under which names.
const FIELDS: [(Field, &[&str]); 10] = [
    (Field::Id, &["id"]),
    (Field::Params, &["params"]),
    (Field::Result, &["result"]),
    (Field::Error, &["error"]),
    (Field::Name, &["params", "name"]),
    (Field::Uri, &["params", "uri"]),
    (Field::Arguments, &["params", "arguments"]),
    (Field::Meta, &["params", "_meta"]),
    (
        Field::MetaProgressToken,
        &["params", "_meta", "progressToken"],
    ),
    (Field::NextCursor, &["result", "nextCursor"]),
];

/// See [`holds`].
pub fn run(data: &[u8]) {
    holds(data);
}

/// Whatever the bytes are: they are refused with a code of JSON-RPC and a short text, or every reader of JSON finds in them
/// what the gateway finds. Unedited, a message is the bytes that came; with another id, all bytes but those of the id are.
pub fn holds(body: &[u8]) {
    let limits = Limits::default();
    match parse(Bytes::copy_from_slice(body), &limits) {
        Err(error) => {
            assert!(matches!(error.code, -32700 | -32600), "{error:?}");
            assert!(error.message.len() <= 1024, "{error:?}");
            let id = error.id.as_deref().unwrap_or("0");
            assert!(id.len() <= limits.id_bytes, "{error:?}");
            assert!(serde_json::from_str::<Value>(id).is_ok(), "{error:?}");
        }
        Ok(Payload::Single(message)) => {
            let raw = message.as_str();
            assert_eq!(trimmed(body), raw.as_bytes());
            message_holds(&message);
        }
        Ok(Payload::Batch(messages)) => {
            let values: Vec<Value> = serde_json::from_slice(body).unwrap();
            assert_eq!(values.len(), messages.len());
            for (message, value) in messages.iter().zip(values) {
                assert_eq!(
                    serde_json::from_str::<Value>(message.as_str()).unwrap(),
                    value
                );
                message_holds(message);
            }
        }
    }
}

fn message_holds(message: &Message) {
    let raw = message.as_str();
    let value: Value = serde_json::from_str(raw).expect("what is parsed is JSON");
    assert_eq!(value["jsonrpc"], "2.0");
    assert_eq!(
        value["method"].as_str().unwrap_or_default(),
        message.method()
    );
    let kind = match (value.get("method"), value.get("id"), value.get("error")) {
        (Some(_), Some(_), _) => Kind::Request,
        (Some(_), None, _) => Kind::Notification,
        (None, _, Some(_)) => Kind::Error,
        (None, _, None) => Kind::Result,
    };
    assert_eq!(message.kind(), kind, "{raw}");
    for (field, path) in FIELDS {
        let expected = path.iter().try_fold(&value, |value, key| value.get(*key));
        let found = message
            .field(field)
            .map(|raw| serde_json::from_str::<Value>(raw).unwrap());
        assert_eq!(found.as_ref(), expected, "{field:?} of {raw}");
    }

    assert_eq!(message.rewrite().finish(), raw.as_bytes());
    // What is deep already may not take another level.
    let again = |edited: Bytes| {
        serde_json::from_slice::<Value>(&edited)
            .unwrap_or_else(|error| panic!("{error}: {edited:?}"))
    };
    let edited = message.rewrite().set(Field::Id, "\"w-1\"").finish();
    if let Some(id) = message.field(Field::Id) {
        let start = id.as_ptr() as usize - raw.as_ptr() as usize;
        let spliced = [&raw[..start], "\"w-1\"", &raw[start + id.len()..]].concat();
        assert_eq!(edited, spliced.as_bytes());
        let back = Message::parse(edited, &Limits::default()).unwrap();
        assert_eq!(back.rewrite().set(Field::Id, id).finish(), raw.as_bytes());
        let without = again(message.rewrite().remove(Field::Id).finish());
        let mut expected = value.clone();
        expected.as_object_mut().unwrap().shift_remove("id");
        assert_eq!(without, expected);
    } else {
        let mut expected = value.clone();
        expected["id"] = "w-1".into();
        assert_eq!(again(edited), expected);
    }
    if value.get("method").is_some() && value.get("params").is_none_or(Value::is_object) {
        let edited = message
            .rewrite()
            .set(Field::MetaProgressToken, "7")
            .finish();
        let mut expected = value.clone();
        if !expected["params"]["_meta"].is_object() {
            expected["params"]["_meta"] = serde_json::json!({});
        }
        expected["params"]["_meta"]["progressToken"] = 7.into();
        assert_eq!(again(edited), expected, "{raw}");
    }
}

fn trimmed(body: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = body.iter().take_while(|byte| is_blank(byte)).count();
    let end = body.iter().rev().take_while(|byte| is_blank(byte)).count();
    &body[start..body.len() - end]
}
