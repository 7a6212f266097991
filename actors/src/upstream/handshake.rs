//! The first words to a server: what the gateway asks, and what an answer says about the server's era.

use std::borrow::Cow;

use bytes::Bytes;
use thiserror::Error;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message, array_items, member, unquote};
use weir_plugin_protocol::mcp::{Era, MODERN_VERSIONS, Method, Version, code};

use super::catalog::shorten;
use super::view::Hello;
use super::wire::AskError;

/// The revision that `initialize` asks for.
pub(crate) const LEGACY: Version = Version::V2025_11_25;

/// Why a server has no face in an era.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NoFace {
    /// It does not speak the era. Kept until it is connected to again.
    #[error("it does not speak this era: {0}")]
    NotSpoken(String),
    /// It could not be asked, so nothing is known: asked again later.
    #[error("{0}")]
    Unreachable(String),
}

/// What a server may ask of the gateway while it is asked something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    /// What clients of the gateway can be asked.
    Relays,
    /// Nothing: the gateway asks for itself.
    Asks,
}

/// A request. `id` is raw JSON; `members` are the members of `params` without braces, and may be empty.
pub(crate) fn request(id: &str, method: Method, version: Version, members: &str) -> Bytes {
    Stance::Relays.request(id, method, version, members)
}

/// The `initialize` request.
pub(crate) fn initialize(id: &str) -> Bytes {
    Stance::Relays.initialize(id)
}

/// `notifications/initialized`.
pub(crate) fn initialized() -> Bytes {
    Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
}

/// Reads the answer to `initialize`.
pub(crate) fn read_initialize(answer: &Message) -> Result<Hello, NoFace> {
    let result = result_of(answer)?;
    let spoken = member(&result.text, "protocolVersion")
        .and_then(unquote)
        .unwrap_or_default();
    let version = Version::parse(&spoken).filter(|version| version.era() == Era::Legacy);
    let version = version.ok_or_else(|| {
        NoFace::NotSpoken(format!(
            "it answered with the revision {:?}",
            shorten(&spoken, 32)
        ))
    })?;
    result.hello(version, result.part("serverInfo"))
}

/// Reads the answer to `server/discover`.
pub(crate) fn read_discover(answer: &Message) -> Result<Hello, NoFace> {
    let result = result_of(answer)?;
    let supported = member(&result.text, "supportedVersions").unwrap_or("[]");
    let version = MODERN_VERSIONS.iter().rev().find(|version| {
        array_items(supported)
            .any(|item| unquote(item).is_some_and(|item| item == version.as_str()))
    });
    let version = version.ok_or_else(|| {
        NoFace::NotSpoken(format!(
            "it supports the revisions {}",
            shorten(supported, 200)
        ))
    })?;
    let info = answer
        .slice(Field::ResultMetaServerInfo)
        .or_else(|| result.part("serverInfo"));
    result.hello(*version, info)
}

/// What an HTTP status says when the body is no JSON-RPC answer.
pub(crate) fn read_status(status: http::StatusCode) -> NoFace {
    match status.as_u16() {
        // Who is asked, who asks and how busy it is say nothing about the era.
        401 => NoFace::Unreachable("it asks for credentials (401): check its `headers`".into()),
        403 => NoFace::Unreachable("it refuses our credentials (403): check its `headers`".into()),
        407 | 408 | 421 | 425 | 429 | 300..=399 | 500.. => {
            NoFace::Unreachable(format!("it answered with status {status}"))
        }
        _ => NoFace::NotSpoken(format!("it answered with status {status}")),
    }
}

/// What the end of a question says about the server's era.
pub(crate) fn read_failure(error: AskError) -> NoFace {
    match error {
        AskError::Status(status) => read_status(status),
        AskError::Malformed(reason) | AskError::TooLarge(reason) => NoFace::NotSpoken(reason),
        error @ (AskError::Unreachable(_) | AskError::SessionLost | AskError::TimedOut(_)) => {
            NoFace::Unreachable(error.to_string())
        }
    }
}

/// The raw JSON of a result.
struct ResultText {
    text: String,
}

fn result_of(answer: &Message) -> Result<ResultText, NoFace> {
    if answer.kind() == Kind::Error {
        let number = answer.field(Field::ErrorCode).unwrap_or("?");
        let message = shorten(&answer.text(Field::ErrorMessage).unwrap_or_default(), 200);
        let reason = format!("it answered with error {}: {message}", shorten(number, 20));
        let broken = number == code::INTERNAL_ERROR.to_string();
        return Err(if broken {
            NoFace::Unreachable(reason)
        } else {
            NoFace::NotSpoken(reason)
        });
    }
    match answer
        .field(Field::Result)
        .filter(|result| result.starts_with('{'))
    {
        Some(text) => Ok(ResultText {
            text: text.to_owned(),
        }),
        None => Err(NoFace::NotSpoken("its answer holds no result".into())),
    }
}

// === impl Stance ===

impl Stance {
    /// A request. `id` is raw JSON; `members` are the members of `params` without braces, and may be empty.
    pub(crate) fn request(
        self,
        id: &str,
        method: Method,
        version: Version,
        members: &str,
    ) -> Bytes {
        let method = method.as_str();
        let params = match version.era() {
            Era::Legacy => Cow::Borrowed(members),
            Era::Modern => {
                let gap = if members.is_empty() { "" } else { "," };
                let meta = self.modern_meta(version);
                Cow::Owned(format!(r#""_meta":{meta}{gap}{members}"#))
            }
        };
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#).into()
    }

    /// The `initialize` request.
    pub(crate) fn initialize(self, id: &str) -> Bytes {
        let params = self.initialize_params();
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{params}}}"#).into()
    }

    fn initialize_params(self) -> String {
        let version = LEGACY.as_str();
        let info = client_info();
        let capabilities = match self {
            Self::Relays => r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}}"#,
            Self::Asks => "{}",
        };
        format!(
            r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{info}}}"#
        )
    }

    fn modern_meta(self, version: Version) -> String {
        let info = client_info();
        let capabilities = match self {
            Self::Relays => r#"{"roots":{},"sampling":{},"elicitation":{}}"#,
            Self::Asks => "{}",
        };
        format!(
            r#"{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientInfo":{info},"io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#
        )
    }
}

// === impl ResultText ===

impl ResultText {
    fn part(&self, key: &str) -> Option<Bytes> {
        member(&self.text, key).map(|raw| Bytes::copy_from_slice(raw.as_bytes()))
    }

    fn hello(&self, version: Version, server_info: Option<Bytes>) -> Result<Hello, NoFace> {
        let capabilities = self
            .part("capabilities")
            .filter(|raw| raw.starts_with(b"{"));
        Ok(Hello {
            version,
            capabilities: capabilities
                .ok_or_else(|| NoFace::NotSpoken("its answer holds no capabilities".into()))?,
            server_info: server_info.filter(|raw| raw.starts_with(b"{")),
            instructions: self
                .part("instructions")
                .filter(|raw| raw.starts_with(b"\"")),
        })
    }
}

fn client_info() -> String {
    String::from_utf8_lossy(&super::federation::gateway_info()).into_owned()
}

#[cfg(test)]
mod tests {
    use weir_plugin_protocol::jsonrpc::Limits;

    use super::*;

    fn answer(text: &str) -> Message {
        Message::parse(
            format!(r#"{{"jsonrpc":"2.0","id":1,{text}}}"#).into(),
            &Limits::default(),
        )
        .unwrap()
    }

    #[test]
    fn requests_are_well_formed() {
        for (request, method) in [
            (initialize("1"), "initialize"),
            (
                request("1", Method::ToolsList, Version::V2026_07_28, ""),
                "tools/list",
            ),
            (
                request(
                    "\"a\"",
                    Method::ToolsList,
                    Version::V2026_07_28,
                    r#""cursor":"""#,
                ),
                "tools/list",
            ),
            (request("1", Method::ToolsList, LEGACY, ""), "tools/list"),
        ] {
            let value: serde_json::Value = serde_json::from_slice(&request).unwrap();
            assert_eq!(value["method"], method);
            assert!(value["params"].is_object());
        }
        let modern = request("1", Method::Discover, Version::V2026_07_28, "");
        let value: serde_json::Value = serde_json::from_slice(&modern).unwrap();
        assert_eq!(
            value["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
            "2026-07-28"
        );
    }

    #[test]
    fn a_hello_keeps_the_servers_own_words() {
        let hello = read_initialize(&answer(
            r#""result":{"protocolVersion":"2025-06-18","capabilities":{ "tools":{"listChanged":true},"zz":1.0 },"serverInfo":{"name":"x"},"instructions":"a\u0062"}"#,
        ));
        let hello = hello.unwrap();
        assert_eq!(hello.version, Version::V2025_06_18);
        assert_eq!(
            hello.capabilities,
            r#"{ "tools":{"listChanged":true},"zz":1.0 }"#
        );
        assert_eq!(hello.instructions.unwrap(), r#""a\u0062""#);

        let hello = read_discover(&answer(
            r#""result":{"supportedVersions":["2025-11-25","2026-07-28"],"capabilities":{},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"y"}}}"#,
        ));
        let hello = hello.unwrap();
        assert_eq!(
            (hello.version, hello.server_info.unwrap().as_ref()),
            (Version::V2026_07_28, &br#"{"name":"y"}"#[..])
        );
    }

    #[test]
    fn verdicts_are_only_drawn_from_answers_about_the_era() {
        let not_spoken =
            |result: Result<Hello, NoFace>| matches!(result, Err(NoFace::NotSpoken(_)));
        assert!(not_spoken(read_discover(&answer(
            r#""error":{"code":-32601,"message":"no"}"#
        ))));
        assert!(not_spoken(read_discover(&answer(
            r#""error":{"code":-32022,"message":"no","data":{"supported":["2025-11-25"]}}"#
        ))));
        assert!(not_spoken(read_discover(&answer(
            r#""result":{"supportedVersions":["2025-11-25"],"capabilities":{}}"#
        ))));
        assert!(not_spoken(read_discover(&answer(r#""result":{}"#))));
        assert!(not_spoken(read_initialize(&answer(
            r#""result":{"protocolVersion":"2026-07-28","capabilities":{}}"#
        ))));
        assert!(not_spoken(read_initialize(&answer(
            r#""result":{"protocolVersion":"2025-11-25"}"#
        ))));
        assert!(!not_spoken(read_initialize(&answer(
            r#""error":{"code":-32603,"message":"out of memory"}"#
        ))));
        for status in [301, 401, 403, 429, 500, 503] {
            let status = http::StatusCode::from_u16(status).unwrap();
            assert!(
                matches!(read_status(status), NoFace::Unreachable(_)),
                "{status}"
            );
        }
        for status in [400, 404, 405, 406, 415] {
            let status = http::StatusCode::from_u16(status).unwrap();
            assert!(
                matches!(read_status(status), NoFace::NotSpoken(_)),
                "{status}"
            );
        }
    }
}
