use proptest::prelude::*;
use weir_fuzz::config::holds;

use super::json::{any_text, any_value, cases, damaged};

const EXAMPLE: &str = include_str!("../../../examples/weir.yaml");

/// Some lines of the example, which has every key, without its comments.
fn lines() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = EXAMPLE
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let count = lines.len();
    (
        0..count,
        1..30_usize,
        prop::option::of((0..count, 0..count)),
    )
        .prop_map(move |(start, length, moved)| {
            let mut lines: Vec<&str> = lines.iter().copied().skip(start).take(length).collect();
            if let (Some((from, to)), false) = (moved, lines.is_empty()) {
                let line = lines.remove(from % lines.len());
                lines.insert(to % (lines.len() + 1), line);
            }
            lines.join("\n")
        })
}

/// A value at a key that is there, and of which this may not be the value.
fn misplaced() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "listen",
        "workers",
        "admin",
        "http",
        "servers",
        "plugins",
        "auth",
        "policy",
        "pins",
        "credentials",
        "limits",
        "supervision",
        "audit",
        "sealing",
        "log",
        "drain_timeout",
        "servers: { a: { type: http, url",
        "auth: { providers: [ { type: jwt, issuers",
        "pins: { servers: { a",
        "supervision: { upstreams: { children: { a",
        "limits: { deadline",
        "audit: { path",
    ]);
    let secret = prop::sample::select(vec![
        "${TOKEN}",
        "x${TOKEN}y",
        "${EMPTY}",
        "${PORT}",
        "$${TOKEN}",
        "${NOPE}",
        "${",
        "&a [*a]",
        "!!str x",
        "1e400",
        "~",
    ]);
    let value = prop_oneof![
        any_value().prop_map(|value| value.to_string()),
        secret.prop_map(|text| format!("\"{text}\"")),
        any_text()
    ];
    (key, value).prop_map(|(key, value)| {
        let close: String = key
            .chars()
            .rev()
            .filter_map(|letter| match letter {
                '{' => Some('}'),
                '[' => Some(']'),
                _ => None,
            })
            .collect();
        format!("{key}: {value}{close}\n")
    })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_is_wrong_has_a_place(text in prop_oneof![lines(), misplaced()]) {
        holds(&text);
    }

    #[test]
    fn damage_has_a_place(text in damaged(prop_oneof![lines(), misplaced()].prop_map(String::into_bytes))) {
        holds(&String::from_utf8_lossy(&text));
    }
}

#[test]
fn the_example_is_read() {
    holds(&EXAMPLE.replace("${EVERYTHING_API_KEY}", "${TOKEN}"));
}
