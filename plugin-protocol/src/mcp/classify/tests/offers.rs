use super::*;

#[test]
fn a_modern_only_endpoint_names_what_it_takes() {
    let call = claim("2026-07-28", "tools/call", r#""name":"echo","#);
    sheet(
        MODERN,
        &[
            ("claim", CALL, &call, Is::Modern),
            ("no claim", NONE, LEGACY_CALL, Is::Refused(400, -32022)),
            (
                "no claim, legacy header",
                version(&["2025-06-18"]),
                LEGACY_CALL,
                Is::Refused(400, -32022),
            ),
            (
                "no claim, unknown header",
                version(&["x"]),
                LEGACY_CALL,
                Is::Refused(400, -32022),
            ),
            (
                "no claim, modern header",
                CALL,
                LEGACY_CALL,
                Is::Refused(400, -32602),
            ),
            ("initialize", NONE, INITIALIZE, Is::Refused(400, -32022)),
            ("notification", NONE, NOTE, Is::Refused(400, -32022)),
            (
                "notification, modern header",
                version(&["2026-07-28"]),
                NOTE,
                Is::Modern,
            ),
            ("answer", NONE, ANSWER, Is::Refused(400, -32022)),
            (
                "answer, modern header",
                LIST,
                ANSWER,
                Is::Refused(400, -32600),
            ),
            (
                "batch",
                NONE,
                &format!("[{NOTE}]"),
                Is::Refused(400, -32022),
            ),
            (
                "batch, modern header",
                LIST,
                &format!("[{NOTE}]"),
                Is::Refused(400, -32600),
            ),
            ("empty batch", NONE, "[]", Is::Refused(400, -32600)),
        ],
    );
    let Class::Refused(refusal) = posted(&NONE, INITIALIZE, MODERN) else {
        panic!("not refused")
    };
    assert_eq!(
        refusal.data.as_deref(),
        Some(r#"{"supported":["2026-07-28"],"requested":"2025-06-18"}"#)
    );
    assert_eq!(refusal.id.as_deref(), Some("7"));
}

#[test]
fn a_legacy_only_endpoint_names_what_it_takes() {
    let call = claim("2026-07-28", "tools/call", r#""name":"echo","#);
    sheet(
        LEGACY,
        &[
            ("claim", CALL, &call, Is::Refused(400, -32022)),
            ("claim, no headers", NONE, &call, Is::Refused(400, -32022)),
            ("modern header", CALL, LEGACY_CALL, Is::Refused(400, -32022)),
            (
                "notification, modern header",
                version(&["2026-07-28"]),
                NOTE,
                Is::Refused(400, -32022),
            ),
            ("legacy", NONE, LEGACY_CALL, Is::Legacy),
            ("initialize", NONE, INITIALIZE, Is::Legacy),
        ],
    );
    let Class::Refused(refusal) = posted(&CALL, &call, LEGACY) else {
        panic!("not refused")
    };
    assert_eq!(
        refusal.data.as_deref(),
        Some(r#"{"supported":["2025-03-26","2025-06-18","2025-11-25"],"requested":"2026-07-28"}"#)
    );
}

#[test]
fn other_http_methods_are_for_sessions_or_nobody() {
    let nothing = || parse(Bytes::new(), &Limits::default());
    let refused = Is::Refused(405, -32600);
    for (method, post, offered, expected) in [
        (HttpMethod::Get, NONE, BOTH, &Is::Session),
        (
            HttpMethod::Delete,
            version(&["2025-06-18"]),
            BOTH,
            &Is::Session,
        ),
        (
            HttpMethod::Get,
            version(&["x"]),
            BOTH,
            &Is::Refused(400, -32600),
        ),
        (HttpMethod::Get, version(&["2026-07-28"]), BOTH, &refused),
        (HttpMethod::Get, NONE, MODERN, &refused),
        (HttpMethod::Delete, NONE, MODERN, &refused),
        (HttpMethod::Get, NONE, LEGACY, &Is::Session),
        (HttpMethod::Other, NONE, BOTH, &refused),
    ] {
        let class = classify(method, &headers(&post), nothing(), offered);
        assert_eq!(is(&class), *expected, "{method:?}: {class:?}");
    }
}
