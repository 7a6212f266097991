//! Why a request is not answered as asked, and the one table that turns that into HTTP and JSON-RPC.
//!
//! Nobody else names a status code. Error codes of weir's own are the HTTP status numbers: they stay outside the
//! range -32768 to -32000, which belongs to JSON-RPC and MCP.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::header::HeaderValue;
use weir_plugin_protocol::jsonrpc::quote;
use weir_plugin_protocol::mcp::{self, Era, code, error_response};

use super::{Outcome, Verdict};
use crate::admission::Limited;
use crate::intercept::{Fault, Intercepted};
use crate::upstream::PinMismatch;

/// The shortest time after which a request that was too much may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What is added to it by chance, so that those who were refused together do not come back together.
const RETRY_JITTER: Duration = Duration::from_secs(3);

/// Why a request is not answered as asked.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The wire rules of MCP refuse it; status, code and text are the specification's.
    Wire(mcp::Refusal),
    /// HTTP 403: the `Host` header names somebody else (DNS rebinding).
    HostRefused(String),
    /// HTTP 400: the head of the request can be read in more than one way, or asks for something else than HTTP.
    BadHead(&'static str),
    /// HTTP 403: the `Origin` is not allowed.
    OriginRefused(String),
    /// HTTP 307: what is wanted is at another path.
    Elsewhere(&'static str),
    /// HTTP 404: no such endpoint or server.
    UnknownEndpoint(String),
    /// HTTP 405, with the methods that are allowed.
    MethodNotAllowed(&'static str),
    /// HTTP 406: the client does not accept what MCP answers with.
    NotAcceptable,
    /// HTTP 413: the body is larger than allowed.
    BodyTooLarge(usize),
    /// HTTP 431: too many headers, or too much in them.
    HeadersTooLarge,
    /// HTTP 408: the body did not arrive in time.
    BodyTooSlow,
    /// HTTP 400: the body could not be read.
    BodyUnreadable,
    /// HTTP 415: the body is not `application/json`, or is encoded.
    UnsupportedMediaType,
    /// HTTP 401 with a challenge.
    Unauthenticated {
        /// The value of `WWW-Authenticate`.
        challenge: String,
        /// For the log and the audit record only.
        reason: String,
    },
    /// HTTP 403 with a challenge: the token is good, its scope is not enough.
    InsufficientScope {
        /// The value of `WWW-Authenticate`.
        challenge: String,
        /// For the log and the audit record only.
        reason: String,
    },
    /// HTTP 503: the auth provider cannot be asked.
    AuthUnavailable(String),
    /// HTTP 403: the policy says no.
    Denied(String),
    /// HTTP 403: what the server offers under this name is not what was approved.
    PinMismatch {
        /// The server.
        server: String,
        /// What the server calls it.
        name: String,
        /// Both hashes, for the audit record only.
        hashes: PinMismatch,
    },
    /// HTTP 503: the policy cannot be asked.
    PolicyUnavailable(String),
    /// An interceptor stopped it: HTTP 403 and `-32602`, or 503 and `-32603` or `-32000` if its word does not count.
    Intercepted(Box<Intercepted>),
    /// HTTP 403, `401`: the caller has no credential of its own for the server.
    CredentialMissing {
        /// The server.
        server: String,
        /// For the log and the audit record only.
        reason: String,
    },
    /// HTTP 503: the credentials for the upstream cannot be had.
    CredentialsUnavailable(String),
    /// The tool, prompt or resource does not exist, as far as this caller may know: `-32602`.
    Unknown {
        /// `tool`, `prompt`, `resource`, `task`.
        kind: &'static str,
        /// As the client named it.
        name: String,
    },
    /// The same of a resource in the legacy era: `-32002`.
    NoResource(String),
    /// `-32602`: a parameter is missing or wrong.
    InvalidParams(String),
    /// `-32601`: the method is not served here.
    UnknownMethod(String),
    /// HTTP 400: a legacy request without `Mcp-Session-Id`.
    SessionRequired,
    /// HTTP 404: the session has ended, was never ours, or is somebody else's.
    UnknownSession,
    /// HTTP 400: `Last-Event-ID` is not one of this session, or what followed it is not kept any more.
    EventsGone,
    /// The server speaks only the other era.
    OtherEra {
        /// The server.
        server: String,
        /// The revisions that it can be used with.
        speaks: &'static str,
    },
    /// HTTP 503: the server is not running.
    UpstreamDown {
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// HTTP 503: the server died while it had the request.
    UpstreamDied {
        /// The server.
        server: String,
    },
    /// HTTP 502: the server answered something that is not MCP.
    UpstreamBroken {
        /// The server.
        server: String,
        /// What was wrong.
        reason: String,
    },
    /// HTTP 502: the server answered with more bytes than allowed.
    AnswerTooLarge {
        /// The server.
        server: String,
    },
    /// HTTP 504: the server did not answer before the deadline.
    UpstreamTimeout {
        /// The server.
        server: String,
    },
    /// HTTP 429: a limit of the caller is reached.
    Limited(Limited),
    /// HTTP 503: a bound on work in flight is reached.
    Overloaded(&'static str),
    /// HTTP 503: the server failed too often and is left alone for a while.
    CircuitOpen {
        /// The server.
        server: String,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// HTTP 503: nothing can be recorded now, so nothing is done.
    AuditUnavailable,
    /// HTTP 503: weir is stopping.
    Draining,
    /// A part of the gateway failed while it held the request.
    Aborted {
        /// Whether a server may have carried the call out: then it is the client who decides whether to repeat it.
        dispatched: bool,
    },
    /// The client cancelled: nobody reads this.
    Cancelled,
}

// === impl Refusal ===

/// One row of the table: everything a client can be told.
struct Row {
    verdict: Verdict,
    status: u16,
    code: i64,
    reason: &'static str,
    message: String,
    retryable: bool,
}

impl Refusal {
    /// The same as an era says it: what does not exist has a code of its own in the legacy era if it is a resource.
    pub(super) fn said_in(self, era: Option<Era>) -> Self {
        match (self, era) {
            (
                Self::Unknown {
                    kind: "resource",
                    name,
                },
                Some(Era::Legacy),
            ) => Self::NoResource(name),
            (refusal, _) => refusal,
        }
    }

    /// Returns true for errors that concern one message only. In the legacy era they travel in a successful HTTP answer:
    /// there are clients whose whole session ends at any other status.
    pub fn is_in_band(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::CredentialMissing { .. }
                | Self::NoResource(_)
                | Self::InvalidParams(_)
                | Self::UnknownMethod(_)
                | Self::OtherEra { .. }
                | Self::UpstreamDown { .. }
                | Self::UpstreamDied { .. }
                | Self::UpstreamBroken { .. }
                | Self::AnswerTooLarge { .. }
                | Self::UpstreamTimeout { .. }
                | Self::Aborted { .. }
                | Self::Intercepted(_)
                | Self::Cancelled
        )
    }

    /// Returns true for requests that were refused because there was too much. They come in floods, so they are counted
    /// and not recorded one by one.
    pub fn is_shed(&self) -> bool {
        matches!(
            self,
            Self::Limited(_) | Self::Overloaded(_) | Self::CircuitOpen { .. }
        )
    }

    /// When trying again may help, if that can be told.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited(limited) => limited.retry_after,
            Self::CircuitOpen { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Turns the refusal into the answer for a request with this id (raw JSON; `None`: the id is not known).
    pub fn outcome(self, id: Option<&str>) -> Outcome {
        if let Self::Wire(refusal) = self {
            let id = refusal.id.as_deref().or(id);
            let body = error_response(id, refusal.code, &refusal.message, refusal.data.as_deref());
            return Outcome {
                verdict: Verdict::Refused,
                reason: Some(wire_reason(refusal.code).into()),
                status: refusal.status,
                error_code: Some(refusal.code),
                body,
                headers: Vec::new(),
                shed: false,
            };
        }
        let mut headers = Vec::new();
        let mut audit_reason = None;
        let mut data = String::new();
        match &self {
            Self::Unauthenticated { challenge, reason }
            | Self::InsufficientScope { challenge, reason } => {
                audit_reason = Some(reason.clone());
                if let Ok(value) = HeaderValue::from_str(challenge) {
                    headers.push((http::header::WWW_AUTHENTICATE, value));
                }
            }
            Self::AuthUnavailable(reason)
            | Self::PolicyUnavailable(reason)
            | Self::CredentialMissing { reason, .. }
            | Self::CredentialsUnavailable(reason) => {
                audit_reason = Some(reason.clone());
            }
            Self::Intercepted(stopped) => {
                data = format!(r#","phase":"{}"{}"#, stopped.phase.as_str(), stopped.told);
            }
            Self::PinMismatch { hashes, .. } => audit_reason = Some(hashes.to_string()),
            Self::Elsewhere(path) => {
                headers.push((http::header::LOCATION, HeaderValue::from_static(path)))
            }
            Self::MethodNotAllowed(allow) => {
                headers.push((http::header::ALLOW, HeaderValue::from_static(allow)))
            }
            Self::NoResource(name)
            | Self::Unknown {
                kind: "resource",
                name,
            } => data = format!(r#","uri":{}"#, quote(name)),
            _ => {}
        }
        let shed = self.is_shed();
        let known = self.retry_after();
        let row = self.row();
        if matches!(row.status, 429 | 503) {
            let after = known.unwrap_or_else(some_time);
            // Whole seconds, and never too early.
            let milliseconds = after.as_micros().div_ceil(1_000).max(1);
            let seconds = u64::try_from(milliseconds.div_ceil(1_000)).unwrap_or(u64::MAX);
            headers.push((http::header::RETRY_AFTER, HeaderValue::from(seconds)));
            data = format!(r#","retry_after_ms":{milliseconds}{data}"#);
        }
        let data = format!(
            r#"{{"reason":"{}","retryable":{}{data}}}"#,
            row.reason, row.retryable
        );
        Outcome {
            verdict: row.verdict,
            reason: Some(audit_reason.map_or(Cow::Borrowed(row.reason), |detail| {
                format!("{}: {detail}", row.reason).into()
            })),
            status: row.status,
            error_code: Some(row.code),
            body: error_response(id, row.code, &row.message, Some(&data)),
            headers,
            shed,
        }
    }

    fn row(self) -> Row {
        use Verdict::{Aborted, Cancelled, Denied, Refused, Timeout, UpstreamError};
        match self {
            Self::Wire(refusal) => Row::rpc(refusal.status, refusal.code, "wire", refusal.message),
            Self::HostRefused(host) => {
                let message = format!("host {host:?} is not served here");
                Row::own(Refused, 403, "host_refused", message)
            }
            Self::BadHead(what) => Row::rpc(400, code::INVALID_REQUEST, "bad_head", what),
            Self::OriginRefused(origin) => {
                let message = format!("origin {origin:?} is not allowed");
                Row::own(Refused, 403, "origin_refused", message)
            }
            Self::Elsewhere(path) => Row::own(Refused, 307, "elsewhere", format!("see {path}")),
            Self::UnknownEndpoint(path) => {
                let message = format!("nothing is served at {path}; try /mcp");
                Row::own(Refused, 404, "unknown_endpoint", message)
            }
            Self::MethodNotAllowed(_) => {
                Row::own(Refused, 405, "method_not_allowed", "method not allowed")
            }
            Self::NotAcceptable => {
                let message =
                    "Not Acceptable: the client must accept application/json and text/event-stream";
                Row::rpc(406, code::INVALID_REQUEST, "not_acceptable", message)
            }
            Self::BodyTooLarge(limit) => {
                let message = format!("the request body is larger than {limit} bytes");
                Row::own(Refused, 413, "body_too_large", message)
            }
            Self::HeadersTooLarge => {
                let message = "send at most 64 headers of 32 KiB together";
                Row::own(Refused, 431, "headers_too_large", message)
            }
            Self::BodyTooSlow => {
                let message = "the request body did not arrive in time";
                Row::own(Refused, 408, "body_too_slow", message).retryable()
            }
            Self::BodyUnreadable => {
                let message = "the request body could not be read";
                Row::rpc(400, code::INVALID_REQUEST, "body_unreadable", message)
            }
            Self::UnsupportedMediaType => {
                let message = "send Content-Type: application/json without Content-Encoding";
                Row::own(Refused, 415, "unsupported_media_type", message)
            }
            Self::Unauthenticated { .. } => {
                Row::own(Denied, 401, "unauthenticated", "Unauthorized")
            }
            Self::InsufficientScope { .. } => {
                let message = "Forbidden: the token's scope is not enough";
                Row::own(Denied, 403, "insufficient_scope", message)
            }
            Self::AuthUnavailable(_) => {
                let message = "the caller cannot be authenticated now";
                Row::own(Denied, 503, "auth_unavailable", message).retryable()
            }
            Self::Denied(reason) => Row::own(
                Denied,
                403,
                "policy_denied",
                format!("access denied: {reason}"),
            ),
            Self::PinMismatch { server, name, .. } => {
                let message = format!(
                    "{} of server {server} is not as it was approved; an operator has to accept it first",
                    short(&name)
                );
                Row::own(Denied, 403, "pin_mismatch", message)
            }
            Self::PolicyUnavailable(_) => {
                let message = "the policy cannot be asked now";
                Row::own(Denied, 503, "policy_unavailable", message).retryable()
            }
            Self::Intercepted(stopped) => {
                let (status, code, reason, message) = match &stopped.fault {
                    None => (
                        403,
                        code::INVALID_PARAMS,
                        "interceptor_denied",
                        "Interceptor validation failed",
                    ),
                    Some(Fault::Timeout { .. }) => (
                        503,
                        code::INTERCEPTOR_TIMEOUT,
                        "interceptor_timeout",
                        "Interceptor execution timeout",
                    ),
                    Some(Fault::Failed(_)) => (
                        503,
                        code::INTERNAL_ERROR,
                        "interceptor_failed",
                        "Interceptor execution failed",
                    ),
                };
                Row {
                    code,
                    retryable: stopped.is_retryable(),
                    ..Row::own(Denied, status, reason, message)
                }
            }
            // The HTTP status would send the client to authenticate anew, which does not help.
            Self::CredentialMissing { server, .. } => {
                let message = format!(
                    "you have no credential of your own for server {server}; store one, then try again"
                );
                Row {
                    code: 401,
                    ..Row::own(Denied, 403, "credential_missing", message)
                }
            }
            Self::CredentialsUnavailable(_) => {
                let message = "the credentials for the server cannot be had now";
                Row::own(Denied, 503, "credentials_unavailable", message).retryable()
            }
            Self::Unknown { kind, name } => {
                let message = match kind {
                    "resource" => no_resource(&name),
                    kind => format!("Unknown {kind}: {}", short(&name)),
                };
                Row::rpc(400, code::INVALID_PARAMS, "unknown_name", message)
            }
            Self::NoResource(name) => {
                let message = no_resource(&name);
                Row::rpc(400, code::RESOURCE_NOT_FOUND, "unknown_name", message)
            }
            Self::InvalidParams(what) => {
                Row::rpc(400, code::INVALID_PARAMS, "invalid_params", what)
            }
            Self::UnknownMethod(method) => {
                let message = format!("Method not found: {}", short(&method));
                Row::rpc(404, code::METHOD_NOT_FOUND, "unknown_method", message)
            }
            Self::SessionRequired => {
                let message = "Bad Request: send the Mcp-Session-Id of an initialized session";
                Row::rpc(400, code::INVALID_REQUEST, "session_required", message)
            }
            Self::UnknownSession => {
                let message = "Session not found: initialize again";
                Row::rpc(404, code::INVALID_REQUEST, "unknown_session", message)
            }
            Self::EventsGone => {
                let message = "Bad Request: what followed Last-Event-ID is not kept, or never was of this session; open a stream without it";
                Row::rpc(400, code::INVALID_REQUEST, "events_gone", message)
            }
            Self::OtherEra { server, speaks } => {
                let message = format!(
                    "server {server} can only be used with protocol revision {speaks}; this request came in another era"
                );
                Row {
                    code: 501,
                    ..Row::own(Refused, 400, "other_era", message)
                }
            }
            Self::UpstreamDown { server, reason } => {
                let message = format!("server {server} is not available: {reason}");
                Row::own(UpstreamError, 503, "upstream_down", message).retryable()
            }
            // The server may have carried the call out, so whether to repeat it is the client's decision.
            Self::UpstreamDied { server } => {
                let message =
                    format!("server {server} died while it had the request; it is being restarted");
                Row::own(UpstreamError, 503, "upstream_restarting", message)
            }
            Self::UpstreamBroken { server, reason } => {
                let message =
                    format!("server {server} answered with something that is not MCP: {reason}");
                Row::own(UpstreamError, 502, "upstream_broken", message)
            }
            Self::AnswerTooLarge { server } => {
                let message = format!(
                    "server {server} answered with more bytes than max_answer_bytes allows"
                );
                Row::own(UpstreamError, 502, "answer_too_large", message)
            }
            Self::UpstreamTimeout { server } => {
                let message = format!("server {server} did not answer before the deadline");
                Row::own(Timeout, 504, "upstream_timeout", message)
            }
            Self::Limited(limited) => {
                let message = "too many requests of this caller";
                Row::own(Refused, 429, limited.limit.as_str(), message).retryable()
            }
            Self::CircuitOpen { server, .. } => {
                let message = format!("server {server} failed too often and is left alone for now");
                Row::own(Refused, 503, "circuit_open", message).retryable()
            }
            Self::Overloaded(what) => Row::own(Refused, 503, what, "overloaded").retryable(),
            Self::AuditUnavailable => {
                let message = "the call cannot be recorded now, so it is not made";
                Row::own(Refused, 503, "audit_unavailable", message).retryable()
            }
            Self::Draining => {
                Row::own(Refused, 503, "draining", "the gateway is stopping").retryable()
            }
            Self::Aborted { dispatched } => {
                let message =
                    "a part of the gateway failed while it held the request; it is being restarted";
                let row = Row::own(Aborted, 503, "stage_restarting", message);
                if dispatched { row } else { row.retryable() }
            }
            Self::Cancelled => Row::own(Cancelled, 499, "cancelled", "cancelled"),
        }
    }
}

// === impl Row ===

impl Row {
    /// An answer of weir's own: the error code is the HTTP status.
    fn own(
        verdict: Verdict,
        status: u16,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let (code, message) = (i64::from(status), message.into());
        Self {
            verdict,
            status,
            code,
            reason,
            message,
            retryable: false,
        }
    }

    /// An answer with an error code of JSON-RPC or MCP.
    fn rpc(status: u16, code: i64, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            ..Self::own(Verdict::Refused, status, reason, message)
        }
    }

    /// Trying again may help.
    fn retryable(self) -> Self {
        Self {
            retryable: true,
            ..self
        }
    }
}

/// One to four seconds.
fn some_time() -> Duration {
    // A new state hashes the same differently: chance enough, and at no cost.
    let chance = RandomState::new().hash_one(()) as u32;
    RETRY_AFTER + RETRY_JITTER * (chance >> 16) / (u32::MAX >> 16)
}

fn wire_reason(code: i64) -> &'static str {
    match code {
        code::PARSE_ERROR => "parse_error",
        code::INVALID_REQUEST => "invalid_request",
        code::METHOD_NOT_FOUND => "unknown_method",
        code::INVALID_PARAMS => "invalid_params",
        code::HEADER_MISMATCH => "header_mismatch",
        code::MISSING_CAPABILITY => "missing_capability",
        code::UNSUPPORTED_VERSION => "unsupported_version",
        _ => "wire",
    }
}

fn no_resource(uri: &str) -> String {
    format!("Resource not found: {}", short(uri))
}

/// Cuts what is echoed to a client.
fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(200) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests;
