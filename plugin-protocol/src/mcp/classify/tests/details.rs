use super::*;

#[test]
fn unknown_methods_pass_under_a_flag() {
    let skills = Post {
        method: &["skills/list"],
        ..LIST
    };
    let Class::Modern(request) = posted(&skills, &claim("2026-07-28", "skills/list", ""), BOTH)
    else {
        panic!("refused")
    };
    assert_eq!(
        (request.method, request.version),
        (Method::Other, Version::V2026_07_28)
    );
    let refusal = Refusal::method_not_found(&request.message);
    assert_eq!(
        (refusal.status, refusal.code, refusal.id.as_deref()),
        (404, -32601, Some("7"))
    );
    assert!(refusal.message.contains("\"skills/list\""));
}

#[test]
fn modern_notifications_need_not_repeat_themselves() {
    let claimed = NOTE.replace(
        "\"requestId\":7",
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
    );
    let only_version = version(&["2026-07-28"]);
    sheet(
        BOTH,
        &[
            ("claim", only_version, &claimed, Is::Modern),
            ("claim, no header", NONE, &claimed, Is::Refused(400, -32020)),
            ("other method", CALL, &claimed, Is::Refused(400, -32020)),
            (
                "no claim, other method",
                CALL,
                NOTE,
                Is::Refused(400, -32020),
            ),
            (
                "same method",
                Post {
                    method: &["notifications/cancelled"],
                    ..only_version
                },
                NOTE,
                Is::Modern,
            ),
            (
                "unknown",
                only_version,
                r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
                Is::Modern,
            ),
            (
                "removed",
                only_version,
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                Is::Modern,
            ),
        ],
    );
}

#[test]
fn refusals_carry_the_id_and_little_of_the_request() {
    let version = "v".repeat(100_000);
    let sent = [version.as_str()];
    let post = Post {
        version: &sent,
        ..LIST
    };
    let Class::Refused(refusal) = posted(&post, &claim(&version, "tools/list", ""), BOTH) else {
        panic!("not refused")
    };
    assert_eq!((refusal.code, refusal.id.as_deref()), (-32022, Some("7")));
    assert!(refusal.message.len() < 200 && refusal.data.is_some_and(|data| data.len() < 200));
    let Class::Refused(refusal) = posted(&post, LEGACY_CALL, BOTH) else {
        panic!("not refused")
    };
    assert_eq!(refusal.id.as_deref(), Some("7"));
    assert!(refusal.message.len() < 200);
    let Class::Refused(refusal) = posted(&LIST, ANSWER, BOTH) else {
        panic!("not refused")
    };
    assert_eq!(refusal.id, None);
    let Class::Refused(refusal) = posted(
        &NONE,
        r#"{"jsonrpc":"2.0","id":"x","method":"m","method":"m"}"#,
        BOTH,
    ) else {
        panic!("not refused")
    };
    assert_eq!(refusal.id.as_deref(), Some("\"x\""));
}
