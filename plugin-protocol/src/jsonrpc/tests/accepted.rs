use std::borrow::Cow;

use super::*;
use crate::jsonrpc::{Field, Kind};

#[test]
fn a_call_is_read_without_copies() {
    let body = Bytes::from_static(CALL.as_bytes());
    let message = Message::parse(body.clone(), &Limits::default()).unwrap();
    assert_eq!(message.kind(), Kind::Request);
    assert_eq!(message.id(), Some("42"));
    assert_eq!(message.method(), "tools/call");
    assert_eq!(
        message.text(Field::Name),
        Some(Cow::Borrowed("get_weather"))
    );
    assert_eq!(message.text(Field::MetaVersion).unwrap(), "2026-07-28");
    assert_eq!(
        message.field(Field::MetaCapabilities),
        Some(r#"{"elicitation":{}}"#)
    );
    assert_eq!(message.field(Field::MetaProgressToken), Some(r#""p-1""#));
    assert_eq!(message.field(Field::Cursor), None);
    assert_eq!(message.text(Field::Arguments), None);
    let arguments = message.slice(Field::Arguments).unwrap();
    assert!(arguments.starts_with(b"{\"city\"") && arguments.ends_with(b"]}"));
    assert!(body.as_ptr_range().contains(&arguments.as_ptr()));
    assert_eq!(message.raw().as_ptr(), body.as_ptr());
}

#[test]
fn every_kind_is_told_apart() {
    for (text, kind, id, method) in [
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
            Kind::Request,
            Some("\"a\""),
            "ping",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"","method":"ping"}"#,
            Kind::Request,
            Some("\"\""),
            "ping",
        ),
        (
            r#"{"method":"ping","params":null,"id":-0,"jsonrpc":"2.0"}"#,
            Kind::Request,
            Some("-0"),
            "ping",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications\/x"}"#,
            Kind::Notification,
            None,
            "notifications/x",
        ),
        (
            r#"{"jsonrpc":"2.0","id":18446744073709551616,"result":{}}"#,
            Kind::Result,
            Some("18446744073709551616"),
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            Kind::Result,
            Some("1"),
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#,
            Kind::Error,
            Some("1"),
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"x"}}"#,
            Kind::Error,
            None,
            "",
        ),
        (
            r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"x"}}"#,
            Kind::Error,
            None,
            "",
        ),
    ] {
        let message = message(text);
        assert_eq!(
            (message.kind(), message.id(), message.method()),
            (kind, id, method),
            "{text}"
        );
    }
}

#[test]
fn every_level_is_looked_into() {
    let answer = message(
        r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"},
        "io.modelcontextprotocol\/subscriptionId":7},"resultType":"complete","isError":false,"nextCursor":""}}"#,
    );
    assert_eq!(
        answer.field(Field::ResultMetaServerInfo),
        Some(r#"{"name":"s"}"#)
    );
    assert_eq!(answer.field(Field::ResultMetaSubscriptionId), Some("7"));
    assert_eq!(answer.field(Field::IsError), Some("false"));
    assert_eq!(answer.text(Field::NextCursor).unwrap(), "");
    assert_eq!(answer.field(Field::MetaSubscriptionId), None);
    let error = message(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no\u0020such","data":{"uri":"x"}}}"#,
    );
    assert_eq!(error.field(Field::ErrorCode), Some("-32602"));
    assert_eq!(error.text(Field::ErrorMessage).unwrap(), "no such");
    assert_eq!(error.field(Field::ErrorData), Some(r#"{"uri":"x"}"#));
}

#[test]
fn what_we_do_not_act_on_is_not_judged() {
    for arguments in [
        r#"{"a":1,"a":2,"A":3}"#,
        "[1e300,-0.0E-0,123456789012345678901234567890]",
        r#""\u0000 \ud83d\ude00""#,
        "{\"\":{\"name\":1,\"Name\":2}}",
    ] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{arguments},"x":1,"X":2}}}}"#
        );
        assert_eq!(message(&text).field(Field::Arguments), Some(arguments));
    }
    let deep = format!("{}{}", "[".repeat(62), "]".repeat(62));
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{deep}}}}}"#);
    assert_eq!(message(&text).field(Field::Arguments), Some(&*deep));
    let long = "9".repeat(300);
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"arguments":{long}}}}}"#);
    assert_eq!(message(&text).field(Field::Arguments), Some(&*long));
}

#[test]
fn blanks_around_a_message_are_not_part_of_it() {
    let spaced = message(
        " \r\n\t{ \"jsonrpc\" : \"2.0\" ,\n\"id\" : 1 , \"method\" : \"ping\" , \"params\" : { } } \n",
    );
    assert!(spaced.raw().starts_with(b"{") && spaced.raw().ends_with(b"}"));
    assert_eq!(
        (spaced.id(), spaced.method(), spaced.field(Field::Params)),
        (Some("1"), "ping", Some("{ }"))
    );
}

#[test]
fn a_batch_shares_its_body() {
    let body = r#" [ {"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x"}} , {"jsonrpc":"2.0","method":"b"} ] "#;
    let Payload::Batch(messages) = payload(body) else {
        panic!("not a batch")
    };
    assert_eq!(messages.len(), 2);
    assert_eq!(
        (messages[0].id(), messages[0].text(Field::Name)),
        (Some("1"), Some(Cow::Borrowed("x")))
    );
    assert_eq!(
        (messages[1].kind(), messages[1].method()),
        (Kind::Notification, "b")
    );
    assert_eq!(messages[1].raw(), r#"{"jsonrpc":"2.0","method":"b"}"#);
    assert_eq!(
        messages[1].rewrite().set(Field::Name, "1").finish(),
        r#"{"params":{"name":1},"jsonrpc":"2.0","method":"b"}"#
    );
    let hundred = format!("[{}]", [r#"{"jsonrpc":"2.0","method":"m"}"#; 100].join(","));
    assert!(matches!(payload(&hundred), Payload::Batch(messages) if messages.len() == 100));
}

#[test]
fn many_unknown_keys_are_fine() {
    let keys: Vec<String> = (0..1000).map(|key| format!("\"k{key}\":{key}")).collect();
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"m","params":{{{}}}}}"#,
        keys.join(",")
    );
    assert!(message(&text).field(Field::Params).is_some());
}
