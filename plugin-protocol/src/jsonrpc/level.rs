//! The objects that the gateway acts on, and which keys mean something in each.

use super::Field;

/// An object whose members the gateway acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Top,
    Params,
    Meta,
    Result,
    ResultMeta,
    Error,
}

/// The key whose value is always `"2.0"`; not a field, for nobody asks or edits it.
pub(super) const VERSION_KEY: &str = "jsonrpc";

/// How many fields there are.
pub(super) const FIELDS: usize = 42;

/// Where each field lives and under which key, in the order of [`Field`].
pub(super) const PLACES: [(Field, Level, &str); FIELDS] = [
    (Field::Id, Level::Top, "id"),
    (Field::Method, Level::Top, "method"),
    (Field::Params, Level::Top, "params"),
    (Field::Result, Level::Top, "result"),
    (Field::Error, Level::Top, "error"),
    (Field::Name, Level::Params, "name"),
    (Field::Uri, Level::Params, "uri"),
    (Field::TaskId, Level::Params, "taskId"),
    (Field::Cursor, Level::Params, "cursor"),
    (Field::Arguments, Level::Params, "arguments"),
    (Field::Meta, Level::Params, "_meta"),
    (Field::RequestState, Level::Params, "requestState"),
    (Field::InputResponses, Level::Params, "inputResponses"),
    (Field::Notifications, Level::Params, "notifications"),
    (Field::ProtocolVersion, Level::Params, "protocolVersion"),
    (Field::Capabilities, Level::Params, "capabilities"),
    (Field::ClientInfo, Level::Params, "clientInfo"),
    (Field::Level, Level::Params, "level"),
    (Field::Ref, Level::Params, "ref"),
    (Field::ProgressToken, Level::Params, "progressToken"),
    (Field::RequestId, Level::Params, "requestId"),
    (
        Field::MetaVersion,
        Level::Meta,
        "io.modelcontextprotocol/protocolVersion",
    ),
    (
        Field::MetaCapabilities,
        Level::Meta,
        "io.modelcontextprotocol/clientCapabilities",
    ),
    (
        Field::MetaClientInfo,
        Level::Meta,
        "io.modelcontextprotocol/clientInfo",
    ),
    (
        Field::MetaLogLevel,
        Level::Meta,
        "io.modelcontextprotocol/logLevel",
    ),
    (Field::MetaProgressToken, Level::Meta, "progressToken"),
    (Field::MetaTraceparent, Level::Meta, "traceparent"),
    (Field::MetaTracestate, Level::Meta, "tracestate"),
    (
        Field::MetaSubscriptionId,
        Level::Meta,
        "io.modelcontextprotocol/subscriptionId",
    ),
    (Field::ResultType, Level::Result, "resultType"),
    (Field::ResultState, Level::Result, "requestState"),
    (Field::ResultMeta, Level::Result, "_meta"),
    (
        Field::ResultMetaSubscriptionId,
        Level::ResultMeta,
        "io.modelcontextprotocol/subscriptionId",
    ),
    (
        Field::ResultMetaServerInfo,
        Level::ResultMeta,
        "io.modelcontextprotocol/serverInfo",
    ),
    (Field::NextCursor, Level::Result, "nextCursor"),
    (Field::TtlMs, Level::Result, "ttlMs"),
    (Field::CacheScope, Level::Result, "cacheScope"),
    (Field::IsError, Level::Result, "isError"),
    (Field::InputRequests, Level::Result, "inputRequests"),
    (Field::ErrorCode, Level::Error, "code"),
    (Field::ErrorMessage, Level::Error, "message"),
    (Field::ErrorData, Level::Error, "data"),
];

// === impl Level ===

impl Level {
    /// The field with this key, which is unescaped.
    #[inline]
    pub(super) fn field(self, key: &str) -> Option<Field> {
        let key = key.as_bytes();
        match self {
            Self::Top => match key.len() {
                2 => match key {
                    b"id" => Some(Field::Id),
                    _ => None,
                },
                5 => match key {
                    b"error" => Some(Field::Error),
                    _ => None,
                },
                6 => match key {
                    b"method" => Some(Field::Method),
                    b"params" => Some(Field::Params),
                    b"result" => Some(Field::Result),
                    _ => None,
                },
                _ => None,
            },
            Self::Params => match key.len() {
                3 => match key {
                    b"uri" => Some(Field::Uri),
                    b"ref" => Some(Field::Ref),
                    _ => None,
                },
                4 => match key {
                    b"name" => Some(Field::Name),
                    _ => None,
                },
                5 => match key {
                    b"_meta" => Some(Field::Meta),
                    b"level" => Some(Field::Level),
                    _ => None,
                },
                6 => match key {
                    b"taskId" => Some(Field::TaskId),
                    b"cursor" => Some(Field::Cursor),
                    _ => None,
                },
                9 => match key {
                    b"arguments" => Some(Field::Arguments),
                    b"requestId" => Some(Field::RequestId),
                    _ => None,
                },
                10 => match key {
                    b"clientInfo" => Some(Field::ClientInfo),
                    _ => None,
                },
                12 => match key {
                    b"requestState" => Some(Field::RequestState),
                    b"capabilities" => Some(Field::Capabilities),
                    _ => None,
                },
                13 => match key {
                    b"notifications" => Some(Field::Notifications),
                    b"progressToken" => Some(Field::ProgressToken),
                    _ => None,
                },
                14 => match key {
                    b"inputResponses" => Some(Field::InputResponses),
                    _ => None,
                },
                15 => match key {
                    b"protocolVersion" => Some(Field::ProtocolVersion),
                    _ => None,
                },
                _ => None,
            },
            Self::Meta => match key.len() {
                10 => match key {
                    b"tracestate" => Some(Field::MetaTracestate),
                    _ => None,
                },
                11 => match key {
                    b"traceparent" => Some(Field::MetaTraceparent),
                    _ => None,
                },
                13 => match key {
                    b"progressToken" => Some(Field::MetaProgressToken),
                    _ => None,
                },
                32 => match key {
                    b"io.modelcontextprotocol/logLevel" => Some(Field::MetaLogLevel),
                    _ => None,
                },
                34 => match key {
                    b"io.modelcontextprotocol/clientInfo" => Some(Field::MetaClientInfo),
                    _ => None,
                },
                38 => match key {
                    b"io.modelcontextprotocol/subscriptionId" => Some(Field::MetaSubscriptionId),
                    _ => None,
                },
                39 => match key {
                    b"io.modelcontextprotocol/protocolVersion" => Some(Field::MetaVersion),
                    _ => None,
                },
                42 => match key {
                    b"io.modelcontextprotocol/clientCapabilities" => Some(Field::MetaCapabilities),
                    _ => None,
                },
                _ => None,
            },
            Self::Result => match key.len() {
                5 => match key {
                    b"_meta" => Some(Field::ResultMeta),
                    b"ttlMs" => Some(Field::TtlMs),
                    _ => None,
                },
                7 => match key {
                    b"isError" => Some(Field::IsError),
                    _ => None,
                },
                10 => match key {
                    b"resultType" => Some(Field::ResultType),
                    b"nextCursor" => Some(Field::NextCursor),
                    b"cacheScope" => Some(Field::CacheScope),
                    _ => None,
                },
                12 => match key {
                    b"requestState" => Some(Field::ResultState),
                    _ => None,
                },
                13 => match key {
                    b"inputRequests" => Some(Field::InputRequests),
                    _ => None,
                },
                _ => None,
            },
            Self::ResultMeta => match key.len() {
                34 => match key {
                    b"io.modelcontextprotocol/serverInfo" => Some(Field::ResultMetaServerInfo),
                    _ => None,
                },
                38 => match key {
                    b"io.modelcontextprotocol/subscriptionId" => {
                        Some(Field::ResultMetaSubscriptionId)
                    }
                    _ => None,
                },
                _ => None,
            },
            Self::Error => match key.len() {
                4 => match key {
                    b"code" => Some(Field::ErrorCode),
                    b"data" => Some(Field::ErrorData),
                    _ => None,
                },
                7 => match key {
                    b"message" => Some(Field::ErrorMessage),
                    _ => None,
                },
                _ => None,
            },
        }
    }

    /// The fields of this object whose members are fields too.
    pub(super) fn holders(self) -> &'static [Field] {
        match self {
            Self::Top => &[Field::Params, Field::Result, Field::Error],
            Self::Params => &[Field::Meta],
            Self::Result => &[Field::ResultMeta],
            Self::Meta | Self::ResultMeta | Self::Error => &[],
        }
    }

    /// True if the field is a member of this object or of an object in it.
    pub(super) fn holds(self, field: Field) -> bool {
        let level = field.level();
        match self {
            Self::Top => true,
            Self::Params => matches!(level, Self::Params | Self::Meta),
            Self::Result => matches!(level, Self::Result | Self::ResultMeta),
            _ => self == level,
        }
    }

    /// The known key that this unknown one differs from by upper and lower case only. Some JSON readers take the two
    /// for the same, including those (Go's) that also fold the long s and the Kelvin sign.
    pub(super) fn look_alike(self, key: &str) -> Option<&'static str> {
        let is_ascii = key.is_ascii();
        let is_alike = |known: &str| {
            if is_ascii {
                return key.eq_ignore_ascii_case(known);
            }
            let folded = key.chars().map(|letter| match letter {
                '\u{17F}' => 's',
                '\u{212A}' => 'k',
                other => other.to_ascii_lowercase(),
            });
            folded.eq(known.chars().map(|letter| letter.to_ascii_lowercase()))
        };
        if self == Self::Top && is_alike(VERSION_KEY) {
            return Some(VERSION_KEY);
        }
        PLACES
            .iter()
            .filter(|(_, level, _)| *level == self)
            .map(|place| place.2)
            .find(|known| is_alike(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_under_its_key() {
        for (index, (field, level, key)) in PLACES.into_iter().enumerate() {
            assert_eq!(field.index(), index);
            assert_eq!(level.field(key), Some(field));
            assert_eq!((field.level(), field.key()), (level, key));
        }
    }

    #[test]
    fn only_other_spellings_of_known_keys_look_alike() {
        assert_eq!(Level::Top.look_alike("Method"), Some("method"));
        assert_eq!(Level::Top.look_alike("param\u{17F}"), Some("params"));
        assert_eq!(
            Level::Params.look_alike("ta\u{17F}\u{212A}Id"),
            Some("taskId")
        );
        assert_eq!(Level::Params.look_alike("method"), None);
        assert_eq!(Level::Params.look_alike("näme"), None);
    }
}
