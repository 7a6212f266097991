//! The decision sheet of an endpoint, row by row.

mod details;
mod ladder;
mod offers;
mod sheet;

use bytes::Bytes;

use super::*;
use crate::jsonrpc::{Limits, parse};

const BOTH: Offered = Offered {
    modern: true,
    legacy: true,
};
const MODERN: Offered = Offered {
    modern: true,
    legacy: false,
};
const LEGACY: Offered = Offered {
    modern: false,
    legacy: true,
};

/// What a row of the sheet expects.
#[derive(Debug, PartialEq)]
enum Is {
    Modern,
    Legacy,
    Session,
    Refused(u16, i64),
}

/// One request: the version header, `Mcp-Method`, `Mcp-Name`, and the body.
#[derive(Clone, Copy)]
struct Post<'a> {
    version: &'a [&'a str],
    method: &'a [&'a str],
    name: &'a [&'a str],
}

const NONE: Post<'static> = Post {
    version: &[],
    method: &[],
    name: &[],
};

const fn version(version: &'static [&'static str]) -> Post<'static> {
    Post { version, ..NONE }
}

fn headers<'a>(post: &Post<'a>) -> WireHeaders<'a> {
    let values = |list: &'a [&'a str]| list.iter().map(|value| value.as_bytes()).collect();
    WireHeaders {
        protocol_version: values(post.version),
        method: values(post.method),
        name: values(post.name),
        session_id: Values::Absent,
    }
}

fn posted(post: &Post<'_>, body: &str, offered: Offered) -> Class {
    let body = parse(Bytes::copy_from_slice(body.as_bytes()), &Limits::default());
    classify(HttpMethod::Post, &headers(post), body, offered)
}

fn is(class: &Class) -> Is {
    match class {
        Class::Modern(_) => Is::Modern,
        Class::Legacy(_) => Is::Legacy,
        Class::LegacySession => Is::Session,
        Class::Refused(refusal) => Is::Refused(refusal.status, refusal.code),
    }
}

#[track_caller]
fn sheet(offered: Offered, rows: &[(&str, Post<'_>, &str, Is)]) {
    for (row, post, body, expected) in rows {
        let class = posted(post, body, offered);
        assert_eq!(is(&class), *expected, "{row}: {class:?}");
    }
}

/// A request with the claim of a version and capabilities.
fn claim(version: &str, method: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}"_meta":{{
        "io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

const CALL: Post<'static> = Post {
    version: &["2026-07-28"],
    method: &["tools/call"],
    name: &["echo"],
};
const LIST: Post<'static> = Post {
    version: &["2026-07-28"],
    method: &["tools/list"],
    name: &[],
};
const LEGACY_CALL: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}"#;
const INITIALIZE: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
const NOTE: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
