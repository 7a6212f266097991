use super::*;
use crate::jsonrpc::{Field, Rewrite};

#[track_caller]
fn edited<'a>(message: &'a Message, edit: impl FnOnce(Rewrite<'a>) -> Rewrite<'a>) -> String {
    String::from_utf8(edit(message.rewrite()).finish().to_vec()).unwrap()
}

#[test]
fn values_are_replaced_in_place() {
    let call = message(CALL);
    let text = edited(&call, |edits| {
        edits
            .set(Field::Name, "\"other\"")
            .set(Field::Id, "\"w1-7\"".to_owned())
    });
    assert_eq!(
        text,
        CALL.replace("\"get_weather\"", "\"other\"")
            .replace("\"id\":42", "\"id\":\"w1-7\"")
    );
    assert_eq!(call.rewrite().finish().as_ptr(), call.raw().as_ptr());
}

#[test]
fn missing_members_and_objects_are_added() {
    for (before, after) in [
        (
            r#""params":{"a":1}"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4},"a":1}"#,
        ),
        (
            r#""params":{ }"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4} }"#,
        ),
        (
            r#""params":null"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4}}"#,
        ),
        (
            r#""params":{"_meta":{}}"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4}}"#,
        ),
        (
            r#""params":{"_meta":{"x":1}}"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4,"x":1}}"#,
        ),
        (
            r#""params":{"_meta":null}"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4}}"#,
        ),
        (
            r#""params":{"cursor":"","_meta":{"traceparent":"","x":1}}"#,
            r#""params":{"cursor":2,"_meta":{"progressToken":3,"traceparent":4,"x":1}}"#,
        ),
    ] {
        let wrap = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m",{params}}}"#);
        let before = message(&wrap(before));
        let text = edited(&before, |edits| {
            edits
                .set(Field::Cursor, "2")
                .set(Field::MetaProgressToken, "3")
                .set(Field::MetaTraceparent, "4")
        });
        assert_eq!(text, wrap(after));
    }
    let bare = message(r#"{"jsonrpc":"2.0","method":"m"}"#);
    assert_eq!(
        edited(&bare, |edits| edits
            .set(Field::Id, "1")
            .set(Field::MetaProgressToken, "2")),
        r#"{"id":1,"params":{"_meta":{"progressToken":2}},"jsonrpc":"2.0","method":"m"}"#
    );
}

#[test]
fn members_are_taken_away_with_one_comma() {
    let wrap =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
    for (before, after) in [
        (r#"{"name":1}"#, r#"{}"#),
        (r#"{ "name" : 1 }"#, r#"{  }"#),
        (r#"{"name":1 , "x":2}"#, r#"{"x":2}"#),
        (r#"{"x":2 , "name":1}"#, r#"{"x":2}"#),
        (r#"{"x":2,"name":1,"y":3}"#, r#"{"x":2,"y":3}"#),
        (r#"{"name":1,"uri":2,"x":3}"#, r#"{"x":3}"#),
        (r#"{"x":3,"name":1,"uri":2}"#, r#"{"x":3}"#),
        (r#"{"name":1,"x":3,"uri":2}"#, r#"{"x":3}"#),
        (r#"{"name":1,"uri":2}"#, r#"{}"#),
        (r#"{"n\u0061me":"\"}","x":3}"#, r#"{"x":3}"#),
        (r#"{"x":3}"#, r#"{"x":3}"#),
        ("null", "null"),
    ] {
        let before = message(&wrap(before));
        assert_eq!(
            edited(&before, |edits| edits
                .remove(Field::Name)
                .remove(Field::Uri)),
            wrap(after)
        );
    }
    let before = message(&wrap(r#"{"name":1}"#));
    assert_eq!(
        edited(&before, |edits| edits
            .remove(Field::Name)
            .set(Field::Uri, "2")),
        wrap(r#"{"uri":2}"#)
    );
    let before = message(&wrap(r#"{"_meta":{"progressToken":1},"x":1}"#));
    assert_eq!(
        edited(&before, |edits| edits.remove(Field::Meta)),
        wrap(r#"{"x":1}"#)
    );
    assert_eq!(
        edited(&before, |edits| edits.remove(Field::MetaProgressToken)),
        wrap(r#"{"_meta":{},"x":1}"#)
    );
}

#[test]
fn a_later_edit_wins() {
    let call =
        message(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","_meta":{"x":1}}}"#);
    let wrap =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
    assert_eq!(
        edited(&call, |edits| edits
            .set(Field::Name, "1")
            .set(Field::Name, "2")),
        wrap(r#"{"name":2,"_meta":{"x":1}}"#)
    );
    assert_eq!(
        edited(&call, |edits| edits
            .set(Field::Name, "1")
            .set(Field::Params, "{}")),
        wrap("{}")
    );
    assert_eq!(
        edited(&call, |edits| edits
            .set(Field::Params, r#" {"y":1,"name":0} "#)
            .set(Field::Name, "1")),
        wrap(r#"{"y":1,"name":1}"#)
    );
    assert_eq!(
        edited(&call, |edits| edits
            .set(Field::Params, r#"{"_meta":{"z":[1]},"name":0}"#)
            .remove(Field::Name)
            .set(Field::MetaLogLevel, "1")),
        wrap(r#"{"_meta":{"io.modelcontextprotocol/logLevel":1,"z":[1]}}"#)
    );
    assert_eq!(
        edited(&call, |edits| edits
            .remove(Field::Params)
            .set(Field::MetaProgressToken, "1")),
        wrap(r#"{"_meta":{"progressToken":1}}"#)
    );
    assert_eq!(
        edited(&call, |edits| edits
            .remove(Field::Params)
            .remove(Field::Name)),
        r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#
    );
    assert_eq!(
        edited(&call, |edits| edits
            .set(Field::Params, "null")
            .remove(Field::Name)),
        wrap("null")
    );
}

#[test]
fn answers_are_edited_too() {
    let result = message(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#);
    assert_eq!(
        edited(&result, |edits| edits
            .set(Field::ResultType, "\"complete\"")
            .set(Field::ResultMetaServerInfo, "{}")),
        concat!(
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","#,
            r#""_meta":{"io.modelcontextprotocol/serverInfo":{}},"tools":[]}}"#
        )
    );
    let error = message(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32002,"message":"x"}}"#);
    assert_eq!(
        edited(&error, |edits| edits
            .set(Field::ErrorCode, "-32602")
            .set(Field::Id, "4")),
        r#"{"jsonrpc":"2.0","id":4,"error":{"code":-32602,"message":"x"}}"#
    );
}
