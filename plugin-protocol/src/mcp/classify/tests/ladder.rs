use super::*;

#[test]
fn the_ladder_fails_at_the_first_rung() {
    let meta = |meta: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{{"_meta":{{{meta}}}}}}}"#
        )
    };
    let version_key = r#""io.modelcontextprotocol/protocolVersion""#;
    let capabilities_key = r#""io.modelcontextprotocol/clientCapabilities""#;
    let read = |uri: &str| claim("2026-07-28", "resources/read", &format!(r#""uri":{uri},"#));
    let reads = Post {
        method: &["resources/read"],
        name: &["file:///ä"],
        ..CALL
    };
    let method = |name: &str| claim("2026-07-28", name, "");
    let task = |name: &str| claim("2026-07-28", name, r#""taskId":"t1","#);
    sheet(
        BOTH,
        &[
            (
                "no capabilities",
                NONE,
                &meta(&format!(r#"{version_key}:"1.0""#)),
                Is::Refused(400, -32602),
            ),
            (
                "capabilities no object",
                LIST,
                &meta(&format!(
                    r#"{version_key}:"2026-07-28",{capabilities_key}:[]"#
                )),
                Is::Refused(400, -32602),
            ),
            (
                "version no string",
                LIST,
                &meta(&format!(
                    r#"{version_key}:20260728,{capabilities_key}:{{}}"#
                )),
                Is::Refused(400, -32602),
            ),
            (
                "version null",
                LIST,
                &meta(&format!(r#"{version_key}:null,{capabilities_key}:{{}}"#)),
                Is::Refused(400, -32602),
            ),
            (
                "capabilities only",
                LIST,
                &meta(&format!(r#"{capabilities_key}:{{}}"#)),
                Is::Refused(400, -32602),
            ),
            (
                "wrong version and wrong method",
                Post {
                    version: &["2027-01-01"],
                    ..CALL
                },
                &claim("2027-01-01", "tools/list", ""),
                Is::Refused(400, -32020),
            ),
            (
                "no method header",
                Post {
                    method: &[],
                    ..LIST
                },
                &method("tools/list"),
                Is::Refused(400, -32020),
            ),
            (
                "other method header",
                Post {
                    method: &["tools/List"],
                    ..LIST
                },
                &method("tools/list"),
                Is::Refused(400, -32020),
            ),
            (
                "two method headers",
                Post {
                    method: &["tools/list"; 2],
                    ..LIST
                },
                &method("tools/list"),
                Is::Refused(400, -32020),
            ),
            (
                "no name header",
                Post { name: &[], ..CALL },
                &claim("2026-07-28", "tools/call", r#""name":"echo","#),
                Is::Refused(400, -32020),
            ),
            (
                "other name header",
                Post {
                    name: &["safe"],
                    ..CALL
                },
                &claim("2026-07-28", "tools/call", r#""name":"secret","#),
                Is::Refused(400, -32020),
            ),
            (
                "two name headers",
                Post {
                    name: &["echo"; 2],
                    ..CALL
                },
                &claim("2026-07-28", "tools/call", r#""name":"echo","#),
                Is::Refused(400, -32020),
            ),
            (
                "name header for no name",
                CALL,
                &claim("2026-07-28", "tools/call", ""),
                Is::Refused(400, -32020),
            ),
            (
                "neither name",
                Post { name: &[], ..CALL },
                &claim("2026-07-28", "tools/call", ""),
                Is::Modern,
            ),
            (
                "name where none is routed",
                Post {
                    name: &["x"],
                    ..LIST
                },
                &method("tools/list"),
                Is::Modern,
            ),
            (
                "name with blanks around",
                Post {
                    name: &[" echo\t"],
                    ..CALL
                },
                &claim("2026-07-28", "tools/call", r#""name":"echo","#),
                Is::Modern,
            ),
            (
                "name with escapes",
                CALL,
                &claim("2026-07-28", "tools/call", r#""name":"\u0065cho","#),
                Is::Modern,
            ),
            (
                "name marked base64",
                Post {
                    name: &["=?base64?ZWNobw==?="],
                    ..CALL
                },
                &claim("2026-07-28", "tools/call", r#""name":"echo","#),
                Is::Modern,
            ),
            (
                "uri marked base64",
                Post {
                    name: &["=?base64?ZmlsZTovLy/DpA==?="],
                    ..reads
                },
                &read("\"file:///ä\""),
                Is::Modern,
            ),
            (
                "uri not ASCII, as it is in the body",
                reads,
                &read("\"file:///ä\""),
                Is::Modern,
            ),
            (
                "uri not ASCII and another than in the body",
                reads,
                &read("\"file:///ö\""),
                Is::Refused(400, -32020),
            ),
            (
                "wrong base64",
                Post {
                    name: &["=?base64?ZWNobw?="],
                    ..CALL
                },
                &claim("2026-07-28", "tools/call", r#""name":"echo","#),
                Is::Refused(400, -32020),
            ),
            (
                "unmarked base64",
                Post {
                    name: &["ZWNobw=="],
                    ..CALL
                },
                &claim("2026-07-28", "tools/call", r#""name":"echo","#),
                Is::Refused(400, -32020),
            ),
            (
                "prompt",
                Post {
                    method: &["prompts/get"],
                    ..CALL
                },
                &claim("2026-07-28", "prompts/get", r#""name":"echo","#),
                Is::Modern,
            ),
            (
                "task of another name",
                Post {
                    method: &["tasks/get"],
                    ..CALL
                },
                &task("tasks/get"),
                Is::Refused(400, -32020),
            ),
            (
                "task",
                Post {
                    method: &["tasks/get"],
                    name: &["t1"],
                    ..CALL
                },
                &task("tasks/get"),
                Is::Modern,
            ),
            (
                "task update",
                Post {
                    method: &["tasks/update"],
                    name: &["t1"],
                    ..CALL
                },
                &task("tasks/update"),
                Is::Modern,
            ),
            (
                "task cancel",
                Post {
                    method: &["tasks/cancel"],
                    name: &["t1"],
                    ..CALL
                },
                &task("tasks/cancel"),
                Is::Modern,
            ),
            (
                "removed: ping",
                Post {
                    method: &["ping"],
                    ..LIST
                },
                &method("ping"),
                Is::Refused(404, -32601),
            ),
            (
                "removed: logging",
                Post {
                    method: &["logging/setLevel"],
                    ..LIST
                },
                &method("logging/setLevel"),
                Is::Refused(404, -32601),
            ),
            (
                "removed: subscribe",
                Post {
                    method: &["resources/subscribe"],
                    ..LIST
                },
                &method("resources/subscribe"),
                Is::Refused(404, -32601),
            ),
            (
                "removed: task list",
                Post {
                    method: &["tasks/list"],
                    ..LIST
                },
                &method("tasks/list"),
                Is::Refused(404, -32601),
            ),
            (
                "removed: task result",
                Post {
                    method: &["tasks/result"],
                    ..LIST
                },
                &method("tasks/result"),
                Is::Refused(404, -32601),
            ),
            (
                "of servers: sampling",
                Post {
                    method: &["sampling/createMessage"],
                    ..LIST
                },
                &method("sampling/createMessage"),
                Is::Refused(404, -32601),
            ),
            (
                "discover",
                Post {
                    method: &["server/discover"],
                    ..LIST
                },
                &method("server/discover"),
                Is::Modern,
            ),
            (
                "listen",
                Post {
                    method: &["subscriptions/listen"],
                    ..LIST
                },
                &method("subscriptions/listen"),
                Is::Modern,
            ),
        ],
    );
}
