use super::*;

#[test]
fn the_sheet_for_both_eras() {
    let call = claim("2026-07-28", "tools/call", r#""name":"echo","#);
    let list = claim("2026-07-28", "tools/list", "");
    let initialize = claim("2026-07-28", "initialize", "");
    let named = Post {
        method: &["initialize"],
        ..CALL
    };
    let unknown = claim("2027-01-01", "tools/list", "");
    let old = claim("2025-11-25", "tools/list", "");
    let batch = |inner: &str| format!("[{LEGACY_CALL},{inner}]");
    sheet(
        BOTH,
        &[
            ("claim + headers ok", CALL, &call, Is::Modern),
            ("claim + headers ok, no name", LIST, &list, Is::Modern),
            (
                "claim, no version header",
                Post {
                    version: &[],
                    ..CALL
                },
                &call,
                Is::Refused(400, -32020),
            ),
            ("no claim, no version", NONE, LEGACY_CALL, Is::Legacy),
            (
                "no claim, legacy version",
                version(&["2025-06-18"]),
                LEGACY_CALL,
                Is::Legacy,
            ),
            (
                "no claim, first version",
                version(&["2024-11-05"]),
                LEGACY_CALL,
                Is::Legacy,
            ),
            (
                "no claim, unknown version",
                version(&["2025-06-19"]),
                LEGACY_CALL,
                Is::Refused(400, -32600),
            ),
            (
                "no claim, empty version",
                version(&[""]),
                LEGACY_CALL,
                Is::Refused(400, -32600),
            ),
            (
                "no claim, two versions",
                version(&["2025-06-18", "2025-06-18"]),
                LEGACY_CALL,
                Is::Refused(400, -32600),
            ),
            (
                "no claim, routing headers",
                Post {
                    version: &[],
                    ..CALL
                },
                LEGACY_CALL,
                Is::Legacy,
            ),
            ("initialize without claim", NONE, INITIALIZE, Is::Legacy),
            (
                "initialize, unknown header",
                version(&["1.0"]),
                INITIALIZE,
                Is::Legacy,
            ),
            (
                "initialize with claim",
                named,
                &initialize,
                Is::Refused(404, -32601),
            ),
            (
                "initialize, modern header only",
                version(&["2026-07-28"]),
                INITIALIZE,
                Is::Refused(400, -32020),
            ),
            (
                "modern header, no claim",
                CALL,
                LEGACY_CALL,
                Is::Refused(400, -32602),
            ),
            (
                "header and claim differ",
                Post {
                    version: &["2025-11-25"],
                    ..LIST
                },
                &list,
                Is::Refused(400, -32020),
            ),
            (
                "claim, two versions",
                Post {
                    version: &["2026-07-28"; 2],
                    ..LIST
                },
                &list,
                Is::Refused(400, -32020),
            ),
            (
                "no claim, two modern versions",
                version(&["2026-07-28"; 2]),
                LEGACY_CALL,
                Is::Refused(400, -32020),
            ),
            (
                "claim with unknown version",
                Post {
                    version: &["2027-01-01"],
                    ..LIST
                },
                &unknown,
                Is::Refused(400, -32022),
            ),
            (
                "claim with legacy version",
                Post {
                    version: &["2025-11-25"],
                    ..LIST
                },
                &old,
                Is::Refused(400, -32022),
            ),
            ("empty batch", NONE, "[]", Is::Refused(400, -32600)),
            (
                "batch with a modern element",
                NONE,
                &batch(&call),
                Is::Refused(400, -32600),
            ),
            (
                "batch with an invalid element",
                NONE,
                &batch("1"),
                Is::Refused(400, -32600),
            ),
            (
                "batch with a notification that has an id",
                NONE,
                &batch(&NOTE.replace("\"method\"", "\"id\":1,\"method\"")),
                Is::Refused(400, -32600),
            ),
            ("batch, all legacy", NONE, &batch(ANSWER), Is::Legacy),
            (
                "batch, all legacy, 2025-03-26",
                version(&["2025-03-26"]),
                &batch(NOTE),
                Is::Legacy,
            ),
            (
                "batch, all legacy, later",
                version(&["2025-06-18"]),
                &batch(NOTE),
                Is::Refused(400, -32600),
            ),
            (
                "batch, modern header",
                version(&["2026-07-28"]),
                &batch(NOTE),
                Is::Refused(400, -32600),
            ),
            ("posted answer", NONE, ANSWER, Is::Legacy),
            (
                "posted answer, legacy header",
                version(&["2025-06-18"]),
                ANSWER,
                Is::Legacy,
            ),
            (
                "posted answer, modern header",
                version(&["2026-07-28"]),
                ANSWER,
                Is::Refused(400, -32600),
            ),
            (
                "notification, modern header",
                version(&["2026-07-28"]),
                NOTE,
                Is::Modern,
            ),
            ("notification, no header", NONE, NOTE, Is::Legacy),
            (
                "notification, unknown header",
                version(&["x"]),
                NOTE,
                Is::Refused(400, -32600),
            ),
            (
                "notification with an id",
                NONE,
                &NOTE.replace("\"method\"", "\"id\":1,\"method\""),
                Is::Refused(400, -32600),
            ),
            (
                "object that is no message",
                NONE,
                r#"{"a":1}"#,
                Is::Refused(400, -32600),
            ),
            (
                "object that is no message, modern header",
                LIST,
                r#"{"a":1}"#,
                Is::Refused(400, -32600),
            ),
            ("not JSON", NONE, "{", Is::Refused(400, -32700)),
            (
                "not JSON, modern header",
                LIST,
                "{",
                Is::Refused(400, -32700),
            ),
        ],
    );
}
