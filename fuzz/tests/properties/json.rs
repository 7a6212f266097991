//! JSON to build other inputs of.

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use serde_json::{Map, Value, json};

/// So many cases, and where the seeds of failures are kept.
pub(super) fn cases(cases: u32) -> Config {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.regressions");
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..Config::default()
    }
}

pub(super) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_/.-]{0,12}", "\\PC{0,6}", any::<String>()]
}

/// Any JSON value, not deep. Numbers that are not whole are eighths, which every reader reads alike.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..4)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

/// A message of JSON-RPC as MCP uses it, with members that nobody knows.
pub(super) fn any_message() -> impl Strategy<Value = Value> {
    let id = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any_text().prop_map(Value::from)
    ];
    let method = prop_oneof![
        prop::sample::select(vec![
            "tools/call",
            "tools/list",
            "prompts/get",
            "resources/read",
            "tasks/get",
            "initialize",
            "ping",
            "server/discover",
            "notifications/cancelled",
            "notifications/initialized",
        ])
        .prop_map(str::to_owned),
        any_text(),
    ];
    let version = prop_oneof![3 => Just("2026-07-28".to_owned()), 1 => Just("2025-11-25".to_owned()), 1 => any_text()];
    let key = prop::sample::select(vec![
        "name",
        "uri",
        "taskId",
        "arguments",
        "cursor",
        "x",
        "Name",
        "_meta",
    ]);
    let params = prop::collection::vec(
        (
            key,
            prop_oneof![any_text().prop_map(Value::from), any_value()],
        ),
        0..5,
    );
    let request = (
        prop::option::of(id.clone()),
        method,
        params,
        prop::option::of(version),
    )
        .prop_map(|(id, method, params, version)| {
            let params = params
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value));
            let mut params = Value::from(Map::from_iter(params));
            if let Some(version) = version {
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": version,
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
            }
            let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
            if let Some(id) = id {
                message["id"] = id;
            }
            message
        });
    let answer = (id, any_value(), any::<bool>()).prop_map(|(id, value, good)| match good {
        true => json!({ "jsonrpc": "2.0", "id": id, "result": { "content": value } }),
        false => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": 1, "message": "no", "data": value } }),
    });
    prop_oneof![4 => request, 1 => answer]
}

/// The text of a message: compact, pretty, or with some bytes of it changed.
pub(super) fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let spelled = || {
        (any_message(), any::<bool>()).prop_map(|(message, pretty)| match pretty {
            true => serde_json::to_vec_pretty(&message).unwrap(),
            false => serde_json::to_vec(&message).unwrap(),
        })
    };
    prop_oneof![2 => spelled(), 2 => damaged(spelled()), 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// The same with up to four places changed: another byte, a piece twice, a piece gone.
pub(super) fn damaged(whole: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    const BYTES: &[u8] = b"{}[]\",:\\ 0e.-\n\r\0\x7f\xc3ndtu";
    let change = (
        any::<prop::sample::Index>(),
        0..4_u8,
        1..12_usize,
        prop::sample::select(BYTES),
    );
    (whole, prop::collection::vec(change, 1..4)).prop_map(|(mut text, changes)| {
        for (at, what, length, byte) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            match what {
                0 => text.insert(at, byte),
                1 => {
                    text.drain(at..end);
                }
                2 => {
                    let piece = text[at..end].to_vec();
                    text.splice(at..at, piece);
                }
                _ => text[at..end]
                    .iter_mut()
                    .take(1)
                    .for_each(|place| *place = byte),
            }
        }
        text
    })
}
