//! Which era a request belongs to, and whether it is in order.
//!
//! A request claims the modern era by `_meta["io.modelcontextprotocol/protocolVersion"]`; the header repeats it. What
//! makes no claim is legacy, unless a header says otherwise. See the MCP specification 2026-07-28, "Versioning" and
//! "Streamable HTTP".

use std::borrow::Cow;

use super::refusal::{Refusal, clip};
use super::{
    Era, LEGACY_VERSIONS, MODERN_VERSIONS, Method, Values, Version, WireHeaders, code,
    decode_header_value,
};
use crate::jsonrpc::{Field, Kind, Message, ParseError, Payload, quote};

/// The HTTP method, as far as MCP cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// A message arrives.
    Post,
    /// Legacy: open the session's event stream.
    Get,
    /// Legacy: end the session.
    Delete,
    /// Anything else.
    Other,
}

/// The eras an endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// 2026-07-28 and later.
    pub modern: bool,
    /// Up to 2025-11-25.
    pub legacy: bool,
}

/// What `MCP-Protocol-Version` is worth when it contradicts a modern `_meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderRule {
    /// The request is refused, as the specification wants it.
    #[default]
    Strict,
    /// A legacy revision in the header of a request that claims a modern one is overlooked: there are clients that send
    /// it. Then the routing headers may be missing too; where they are there, they must be right.
    Tolerant,
}

/// What a request turned out to be.
#[derive(Clone, Debug)]
pub enum Class {
    /// A modern request or notification, in order as far as headers and `_meta` go.
    Modern(ModernRequest),
    /// Legacy messages: requests, notifications, answers. The session decides further, also whether it takes batches.
    Legacy(Payload),
    /// A legacy GET or DELETE: no body, the session decides.
    LegacySession,
    /// Answer this.
    Refused(Refusal),
}

/// A modern request or notification ([`Message::kind`] tells).
#[derive(Clone, Debug)]
pub struct ModernRequest {
    /// The message.
    pub message: Message,
    /// Its method. [`Method::Other`]: not known here; answer a request with [`Refusal::method_not_found`] unless an
    /// upstream that would know is the only one behind this endpoint.
    pub method: Method,
    /// Its revision.
    pub version: Version,
    /// Whether its header named a legacy revision, and that was overlooked.
    pub tolerated: bool,
}

/// What the `MCP-Protocol-Version` header says.
enum HeaderVersion<'a> {
    Absent,
    Known(Version),
    Unknown(&'a [u8]),
    /// There is more than one; true if the first is a modern one.
    Repeated(bool),
}

/// Sorts a request by the strict rule. `body` is not looked at unless `http_method` is POST.
pub fn classify(
    http_method: HttpMethod,
    headers: &WireHeaders<'_>,
    body: Result<Payload, ParseError>,
    offered: Offered,
) -> Class {
    classify_by(HeaderRule::Strict, http_method, headers, body, offered)
}

/// Sorts a request. `body` is not looked at unless `http_method` is POST.
pub fn classify_by(
    rule: HeaderRule,
    http_method: HttpMethod,
    headers: &WireHeaders<'_>,
    body: Result<Payload, ParseError>,
    offered: Offered,
) -> Class {
    let version = HeaderVersion::of(headers.protocol_version);
    if http_method != HttpMethod::Post {
        return session_operation(http_method, &version, offered).unwrap_or_else(Class::Refused);
    }
    let sorted = match body {
        Err(error) => Err(Refusal::from(error)),
        Ok(Payload::Batch(messages)) => batch(messages, &version, offered),
        Ok(Payload::Single(message)) => single(message, rule, &version, headers, offered),
    };
    sorted.unwrap_or_else(Class::Refused)
}

fn session_operation(
    method: HttpMethod,
    version: &HeaderVersion<'_>,
    offered: Offered,
) -> Result<Class, Refusal> {
    if method == HttpMethod::Other || !offered.legacy || version.is_modern() {
        return Err(Refusal::method_not_allowed());
    }
    legacy_version(version)?;
    Ok(Class::LegacySession)
}

fn batch(
    messages: Vec<Message>,
    version: &HeaderVersion<'_>,
    offered: Offered,
) -> Result<Class, Refusal> {
    let claims = messages
        .iter()
        .any(|message| message.field(Field::MetaVersion).is_some());
    if claims || version.is_modern() {
        return Err(Refusal::bad_request(
            code::INVALID_REQUEST,
            "batches do not exist in this protocol version",
        ));
    }
    if !offered.legacy {
        return Err(Refusal::unsupported_version(
            &version.requested(),
            MODERN_VERSIONS,
        ));
    }
    if messages.iter().any(is_notification_with_id) {
        return Err(Refusal::bad_request(
            code::INVALID_REQUEST,
            "notification with an id in a batch",
        ));
    }
    if legacy_version(version)?.is_some_and(|version| version > Version::V2025_03_26) {
        return Err(Refusal::bad_request(
            code::INVALID_REQUEST,
            "batches do not exist in this protocol version",
        ));
    }
    Ok(Class::Legacy(Payload::Batch(messages)))
}

fn single(
    message: Message,
    rule: HeaderRule,
    version: &HeaderVersion<'_>,
    headers: &WireHeaders<'_>,
    offered: Offered,
) -> Result<Class, Refusal> {
    let class = match message.kind() {
        _ if is_notification_with_id(&message) => Err(Refusal::bad_request(
            code::INVALID_REQUEST,
            "notification with an id",
        )),
        Kind::Result | Kind::Error if version.is_modern() => Err(Refusal::bad_request(
            code::INVALID_REQUEST,
            "answers cannot be posted in this protocol version",
        )),
        Kind::Result | Kind::Error => legacy(&message, version, offered),
        Kind::Request | Kind::Notification if message.field(Field::MetaVersion).is_some() => {
            return match modern(&message, rule, version, headers, offered) {
                Ok((method, version, tolerated)) => Ok(Class::Modern(ModernRequest {
                    message,
                    method,
                    version,
                    tolerated,
                })),
                Err(refusal) => Err(refusal.answering(&message)),
            };
        }
        Kind::Notification if version.is_modern() => {
            modern_notification(&message, version, headers, offered).map(Some)
        }
        Kind::Request if version.is_modern() => Err(unclaimed(&message, version, offered)),
        Kind::Request | Kind::Notification => legacy(&message, version, offered),
    };
    match class {
        Ok(Some((method, version))) => Ok(Class::Modern(ModernRequest {
            message,
            method,
            version,
            tolerated: false,
        })),
        Ok(None) => Ok(Class::Legacy(Payload::Single(message))),
        Err(refusal) => Err(refusal.answering(&message)),
    }
}

/// A legacy message.
fn legacy(
    message: &Message,
    version: &HeaderVersion<'_>,
    offered: Offered,
) -> Result<Option<(Method, Version)>, Refusal> {
    let is_initialize = Method::parse(message.method()) == Method::Initialize;
    if !offered.legacy {
        let asked = message
            .text(Field::ProtocolVersion)
            .filter(|_| is_initialize);
        let requested = asked.unwrap_or_else(|| version.requested());
        return Err(Refusal::unsupported_version(&requested, MODERN_VERSIONS));
    }
    // The handshake settles the version; what a header says before is nobody's business.
    if !is_initialize {
        legacy_version(version)?;
    }
    Ok(None)
}

/// The version that a legacy header names; none if it is absent, which means 2025-03-26 unless the session knows better.
fn legacy_version(version: &HeaderVersion<'_>) -> Result<Option<Version>, Refusal> {
    match version {
        HeaderVersion::Absent => Ok(None),
        HeaderVersion::Known(version) => Ok(Some(*version)),
        HeaderVersion::Unknown(value) => {
            let shown = quote(clip(&String::from_utf8_lossy(value)));
            Err(Refusal::bad_request(
                code::INVALID_REQUEST,
                format!("Unsupported protocol version {shown}"),
            ))
        }
        HeaderVersion::Repeated(_) => Err(Refusal::bad_request(
            code::INVALID_REQUEST,
            "MCP-Protocol-Version is repeated",
        )),
    }
}

/// A request without a claim under a modern header.
fn unclaimed(message: &Message, version: &HeaderVersion<'_>, offered: Offered) -> Refusal {
    if !offered.modern {
        return Refusal::unsupported_version(&version.requested(), LEGACY_VERSIONS);
    }
    if matches!(version, HeaderVersion::Repeated(_)) {
        return Refusal::header_mismatch("MCP-Protocol-Version is repeated");
    }
    if Method::parse(message.method()) == Method::Initialize {
        return Refusal::header_mismatch(
            "initialize does not exist in the version that MCP-Protocol-Version names",
        );
    }
    Refusal::bad_request(
        code::INVALID_PARAMS,
        "_meta lacks io.modelcontextprotocol/protocolVersion",
    )
}

/// The ladder of checks for a message that claims the modern era. The first that fails is the answer.
fn modern(
    message: &Message,
    rule: HeaderRule,
    version: &HeaderVersion<'_>,
    headers: &WireHeaders<'_>,
    offered: Offered,
) -> Result<(Method, Version, bool), Refusal> {
    let invalid = |what| Refusal::bad_request(code::INVALID_PARAMS, what);
    let claim = message.text(Field::MetaVersion);
    if !offered.modern {
        let requested = claim.unwrap_or_else(|| version.requested());
        return Err(Refusal::unsupported_version(&requested, LEGACY_VERSIONS));
    }
    let claim = claim
        .ok_or_else(|| invalid("_meta: io.modelcontextprotocol/protocolVersion is not a string"))?;
    match message.field(Field::MetaCapabilities) {
        Some(capabilities) if capabilities.starts_with('{') => {}
        Some(_) => {
            return Err(invalid(
                "_meta: io.modelcontextprotocol/clientCapabilities is not an object",
            ));
        }
        None if message.kind() == Kind::Notification => {}
        None => {
            return Err(invalid(
                "_meta lacks io.modelcontextprotocol/clientCapabilities",
            ));
        }
    }

    let tolerated = rule == HeaderRule::Tolerant && version.is_legacy();
    match headers.protocol_version {
        Values::One(value) if value == claim.as_bytes() => {}
        Values::One(_) if tolerated => {}
        Values::One(_) => {
            return Err(Refusal::header_mismatch(
                "MCP-Protocol-Version differs from the request's _meta",
            ));
        }
        Values::Absent => return Err(Refusal::header_mismatch("MCP-Protocol-Version is missing")),
        Values::Repeated(_) => {
            return Err(Refusal::header_mismatch("MCP-Protocol-Version is repeated"));
        }
    }
    let method = Method::parse(message.method());
    routing_headers(message, method, headers, !tolerated)?;

    let known = Version::parse(&claim).filter(|version| version.era() == Era::Modern);
    let version = known.ok_or_else(|| Refusal::unsupported_version(&claim, MODERN_VERSIONS))?;
    let is_gone = method != Method::Other && !method.exists_in(Era::Modern);
    if is_gone && message.kind() == Kind::Request {
        return Err(Refusal::method_not_found(message));
    }
    Ok((method, version, tolerated))
}

/// A notification without a claim under a modern header: there is no body to contradict the version.
fn modern_notification(
    message: &Message,
    version: &HeaderVersion<'_>,
    headers: &WireHeaders<'_>,
    offered: Offered,
) -> Result<(Method, Version), Refusal> {
    let HeaderVersion::Known(known) = version else {
        return Err(Refusal::header_mismatch("MCP-Protocol-Version is repeated"));
    };
    if !offered.modern {
        return Err(Refusal::unsupported_version(
            known.as_str(),
            LEGACY_VERSIONS,
        ));
    }
    let method = Method::parse(message.method());
    routing_headers(message, method, headers, true)?;
    Ok((method, *known))
}

/// Checks that `Mcp-Method` and `Mcp-Name` say what the body says. Notifications may lack them, and requests unless they
/// are `wanted`.
fn routing_headers(
    message: &Message,
    method: Method,
    headers: &WireHeaders<'_>,
    wanted: bool,
) -> Result<(), Refusal> {
    let must_be_there = wanted && message.kind() == Kind::Request;
    match headers.method {
        Values::One(value) if value == message.method().as_bytes() => {}
        Values::Absent if !must_be_there => {}
        Values::One(_) => {
            return Err(Refusal::header_mismatch(
                "Mcp-Method differs from the request's method",
            ));
        }
        Values::Absent => return Err(Refusal::header_mismatch("Mcp-Method is missing")),
        Values::Repeated(_) => return Err(Refusal::header_mismatch("Mcp-Method is repeated")),
    }
    let named = method.routing_param().map(|param| message.text(param));
    match (headers.name, named) {
        (Values::Repeated(_), _) => Err(Refusal::header_mismatch("Mcp-Name is repeated")),
        // Nothing is routed by the name, or there is none, which is for the method to refuse.
        (_, None) | (Values::Absent, Some(None)) => Ok(()),
        (Values::Absent, Some(Some(_))) if !must_be_there => Ok(()),
        (Values::Absent, Some(Some(_))) => Err(Refusal::header_mismatch("Mcp-Name is missing")),
        (Values::One(_), Some(None)) => Err(Refusal::header_mismatch(
            "Mcp-Name names what the request does not",
        )),
        (Values::One(value), Some(Some(name))) => {
            // Some clients send the name as it is, whatever is in it: the same bytes cannot contradict each other.
            if value == name.as_bytes() {
                return Ok(());
            }
            let decoded = decode_header_value(value)
                .map_err(|error| Refusal::header_mismatch(format!("Mcp-Name: {error}")))?;
            if decoded == name {
                Ok(())
            } else {
                Err(Refusal::header_mismatch(
                    "Mcp-Name differs from the request's params",
                ))
            }
        }
    }
}

/// True for a notification that asks for an answer.
fn is_notification_with_id(message: &Message) -> bool {
    message.kind() == Kind::Request && message.method().starts_with("notifications/")
}

// === impl HeaderVersion ===

impl<'a> HeaderVersion<'a> {
    fn of(values: Values<'a>) -> Self {
        let known = |value: &[u8]| str::from_utf8(value).ok().and_then(Version::parse);
        match values {
            Values::Absent => Self::Absent,
            Values::One(value) => known(value).map_or(Self::Unknown(value), Self::Known),
            Values::Repeated(first) => {
                Self::Repeated(known(first).is_some_and(|version| version.era() == Era::Modern))
            }
        }
    }

    fn is_modern(&self) -> bool {
        match self {
            Self::Known(version) => version.era() == Era::Modern,
            Self::Repeated(is_modern) => *is_modern,
            Self::Absent | Self::Unknown(_) => false,
        }
    }

    fn is_legacy(&self) -> bool {
        matches!(self, Self::Known(version) if version.era() == Era::Legacy)
    }

    /// What a refusal says was asked for.
    fn requested(&self) -> Cow<'a, str> {
        match self {
            Self::Known(version) => Cow::Borrowed(version.as_str()),
            Self::Unknown(value) => String::from_utf8_lossy(value),
            Self::Absent | Self::Repeated(_) => Cow::Borrowed(Version::V2025_03_26.as_str()),
        }
    }
}

#[cfg(test)]
mod tests;
