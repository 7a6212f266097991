use proptest::prelude::*;
use serde_json::Value;
use weir_fuzz::ladder::{Posted, holds};
use weir_plugin_protocol::mcp::encode_header_value;

use super::json::{any_body, any_message, any_text, cases};

/// How a header stands to the body.
#[derive(Clone, Debug)]
enum Header {
    /// It says the same.
    Same,
    /// It says the same in another case or with blanks around it.
    Nearly,
    /// It says something else.
    Other(String),
    Absent,
    Twice,
}

fn header() -> impl Strategy<Value = Header> {
    prop_oneof![
        6 => Just(Header::Same),
        1 => Just(Header::Nearly),
        1 => any_text().prop_map(Header::Other),
        1 => Just(Header::Absent),
        1 => Just(Header::Twice),
    ]
}

fn values(header: &Header, said: Option<&str>, encoded: bool) -> Vec<Vec<u8>> {
    let said = said.unwrap_or_default();
    let text = if encoded {
        encode_header_value(said).into_owned()
    } else {
        said.to_owned()
    };
    match header {
        Header::Same => vec![text.into_bytes()],
        Header::Nearly => vec![text.to_uppercase().into_bytes()],
        Header::Other(other) => vec![other.clone().into_bytes()],
        Header::Absent => Vec::new(),
        Header::Twice => vec![text.clone().into_bytes(), text.into_bytes()],
    }
}

fn posted() -> impl Strategy<Value = Posted> {
    let headers = (header(), header(), header(), any::<bool>());
    let offered = (any::<bool>(), any::<bool>());
    (any_message(), headers, offered).prop_map(|(message, headers, (modern, legacy))| {
        let (version, method, name, encoded) = headers;
        let params = &message["params"];
        let claim = params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str();
        let named = ["name", "uri", "taskId"]
            .iter()
            .find_map(|key| params[*key].as_str());
        Posted {
            version: values(&version, claim.or(Some("2026-07-28")), false),
            method: values(&method, message["method"].as_str(), false),
            name: match (&name, named) {
                (Header::Same, None) => Vec::new(),
                (name, named) => values(name, named, encoded),
            },
            body: message.to_string().into_bytes(),
            modern,
            legacy,
        }
    })
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn headers_and_bodies_get_one_verdict(posted in posted()) {
        holds(&posted);
    }

    #[test]
    fn whatever_the_body_is(mut posted in posted(), body in any_body()) {
        posted.body = body;
        holds(&posted);
    }
}

/// A ladder that nothing comes up would pass every test above.
#[test]
fn good_requests_come_through() {
    let body: Value = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "ä", "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } } });
    let value = |text: &str| vec![text.as_bytes().to_vec()];
    let posted = Posted {
        version: value("2026-07-28"),
        method: value("tools/call"),
        name: value(&encode_header_value("ä")),
        body: body.to_string().into_bytes(),
        modern: true,
        legacy: true,
    };
    assert!(weir_fuzz::ladder::is_modern(&posted));
    holds(&posted);
}
