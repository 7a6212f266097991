//! The ladder of header checks: whoever routes by headers and whoever routes by the body come to the same verdict.

use bytes::Bytes;
use serde_json::Value;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Limits, Message, parse};
use weir_plugin_protocol::mcp::{
    Class, HttpMethod, Method, Offered, Values, WireHeaders, classify, code, decode_header_value,
};

use crate::taker::Taker;

/// A POST, as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Posted {
    /// Values of `MCP-Protocol-Version`.
    pub version: Vec<Vec<u8>>,
    /// Values of `Mcp-Method`.
    pub method: Vec<Vec<u8>>,
    /// Values of `Mcp-Name`.
    pub name: Vec<Vec<u8>>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the endpoint serves the modern era.
    pub modern: bool,
    /// Whether the endpoint serves the legacy era.
    pub legacy: bool,
}

/// See [`holds`].
pub fn run(data: &[u8]) {
    let mut taker = Taker::new(data);
    let flags = taker.byte();
    let mut header =
        || -> Vec<Vec<u8>> { taker.optional().map(<[u8]>::to_vec).into_iter().collect() };
    let (version, method, mut name) = (header(), header(), header());
    if flags & 4 != 0 {
        name.extend(header());
    }
    holds(&Posted {
        version,
        method,
        name,
        body: taker.rest().to_vec(),
        modern: flags & 1 == 0,
        legacy: flags & 2 == 0,
    });
}

/// Whether a POST is taken for a modern request.
pub fn is_modern(posted: &Posted) -> bool {
    let (headers, offered) = posted.parts();
    let body = parse(Bytes::copy_from_slice(&posted.body), &Limits::default());
    let class = classify(HttpMethod::Post, &headers, body, offered);
    matches!(class, Class::Modern(_))
}

/// Whatever was posted: it is taken for modern only if headers and body say the same of version, method and name, and it is
/// refused as a header mismatch only if they do not.
pub fn holds(posted: &Posted) {
    let (headers, offered) = posted.parts();
    let body = parse(Bytes::copy_from_slice(&posted.body), &Limits::default());
    let was_readable = body.is_ok();
    match classify(HttpMethod::Post, &headers, body, offered) {
        Class::Modern(request) => {
            assert!(offered.modern, "{posted:?}");
            assert!(agree(&headers, &request.message), "{posted:?}");
            assert_eq!(request.method, Method::parse(request.message.method()));
            let version = posted.version.first().map(Vec::as_slice);
            assert_eq!(version, Some(request.version.as_str().as_bytes()));
        }
        Class::Legacy(_) => {
            assert!(offered.legacy && was_readable, "{posted:?}");
        }
        Class::LegacySession => panic!("a POST is no operation on a session: {posted:?}"),
        Class::Refused(refusal) => {
            assert!(matches!(refusal.status, 400 | 404 | 405), "{refusal:?}");
            assert!(refusal.message.len() <= 1024, "{refusal:?}");
            if refusal.code == code::HEADER_MISMATCH {
                let message =
                    Message::parse(Bytes::copy_from_slice(&posted.body), &Limits::default());
                assert!(
                    !agree(&headers, &message.unwrap()),
                    "{refusal:?} {posted:?}"
                );
            }
        }
    }
}

/// Whether headers and body say the same: read from the body by another reader than the gateway's.
fn agree(headers: &WireHeaders<'_>, message: &Message) -> bool {
    let body: Value = serde_json::from_str(message.as_str()).unwrap();
    let is_request = message.kind() == Kind::Request;
    let claim = body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str();
    let versions = match (headers.protocol_version, claim) {
        (Values::One(header), Some(claim)) => header == claim.as_bytes(),
        // A notification may leave the claim to the header.
        (Values::One(_), None) => !is_request,
        _ => false,
    };
    let method = body["method"].as_str().unwrap_or_default();
    let methods = match headers.method {
        Values::One(header) => header == method.as_bytes(),
        Values::Absent => !is_request,
        Values::Repeated(_) => false,
    };
    let key = Method::parse(method)
        .routing_param()
        .map(|field| match field {
            Field::Name => "name",
            Field::Uri => "uri",
            Field::TaskId => "taskId",
            other => panic!("{other:?} is not compared here"),
        });
    let named = key.map(|key| body["params"][key].as_str());
    let names = match (headers.name, named) {
        (Values::Repeated(_), _) => false,
        (_, None) | (Values::Absent, Some(None)) => true,
        (Values::Absent, Some(Some(_))) => !is_request,
        (Values::One(_), Some(None)) => false,
        (Values::One(header), Some(Some(name))) => {
            header == name.as_bytes() || decode_header_value(header).is_ok_and(|text| text == name)
        }
    };
    versions && methods && names
}

fn values(values: &[Vec<u8>]) -> Values<'_> {
    match values {
        [] => Values::Absent,
        [one] => Values::One(one),
        [first, ..] => Values::Repeated(first),
    }
}

// === impl Posted ===

impl Posted {
    fn parts(&self) -> (WireHeaders<'_>, Offered) {
        let headers = WireHeaders {
            protocol_version: values(&self.version),
            method: values(&self.method),
            name: values(&self.name),
            session_id: Values::Absent,
        };
        let offered = Offered {
            modern: self.modern,
            legacy: self.legacy,
        };
        (headers, offered)
    }
}
