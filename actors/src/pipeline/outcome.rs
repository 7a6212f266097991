//! What becomes of a request.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

/// The end of a request: what the client gets and what the audit record says.
#[derive(Debug)]
pub struct Outcome {
    /// The word of the audit record.
    pub verdict: Verdict,
    /// Why, for everything but [`Verdict::Ok`].
    pub reason: Option<Cow<'static, str>>,
    /// HTTP status, used if the answer has not begun to stream.
    pub status: u16,
    /// JSON-RPC error code, if the answer is an error.
    pub error_code: Option<i64>,
    /// The JSON-RPC message; empty where there is none (202, 204, the end of a stream).
    pub body: Bytes,
    /// Further response headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// True if the request was refused because there was too much: it is counted with others, not recorded alone.
    pub shed: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Answered as asked.
    Ok,
    /// The tool itself said `isError`.
    ToolError,
    /// The upstream answered with an error, or could not be reached.
    UpstreamError,
    /// Auth or policy said no.
    Denied,
    /// The request was not acceptable: malformed, too large, unknown, over a limit.
    Refused,
    /// The client went away or cancelled.
    Cancelled,
    /// The deadline passed.
    Timeout,
    /// A part of the gateway failed while it held the request.
    Aborted,
}

// === impl Outcome ===

impl Outcome {
    /// A JSON-RPC result.
    pub fn ok(body: Bytes) -> Self {
        Self {
            verdict: Verdict::Ok,
            reason: None,
            status: 200,
            error_code: None,
            body,
            headers: Vec::new(),
            shed: false,
        }
    }

    /// A JSON-RPC result in which the tool itself reports an error.
    pub fn tool_error(body: Bytes) -> Self {
        Self {
            verdict: Verdict::ToolError,
            reason: Some("tool_error".into()),
            ..Self::ok(body)
        }
    }

    /// A JSON-RPC error that the upstream answered, passed on as it is.
    pub fn upstream_error(status: u16, error_code: i64, body: Bytes) -> Self {
        Self {
            verdict: Verdict::UpstreamError,
            reason: Some("upstream_error".into()),
            status,
            error_code: Some(error_code),
            body,
            headers: Vec::new(),
            shed: false,
        }
    }

    /// An accepted notification or answer: 202 without a body.
    pub fn accepted() -> Self {
        Self {
            status: 202,
            ..Self::ok(Bytes::new())
        }
    }

    /// The regular end of a stream, or an empty success.
    pub fn ended() -> Self {
        Self::ok(Bytes::new())
    }

    /// Why the gateway itself did not answer as asked, in one word of a closed set; nothing if a server answered.
    pub(super) fn refusal_reason(&self) -> Option<&'static str> {
        /// Reasons that come with details, which are no labels.
        const DETAILED: [&str; 6] = [
            "unauthenticated",
            "insufficient_scope",
            "auth_unavailable",
            "policy_unavailable",
            "credential_missing",
            "credentials_unavailable",
        ];
        match self.reason.as_ref()? {
            Cow::Borrowed("tool_error" | "upstream_error") => None,
            Cow::Borrowed(word) => Some(word),
            Cow::Owned(text) => {
                let known = DETAILED.into_iter().find(|word| text.starts_with(word));
                Some(known.unwrap_or("other"))
            }
        }
    }

    /// Adds a response header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

// === impl Verdict ===

impl Verdict {
    /// Every verdict, in the order of [`Verdict::index`].
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::ToolError,
        Self::UpstreamError,
        Self::Denied,
        Self::Refused,
        Self::Cancelled,
        Self::Timeout,
        Self::Aborted,
    ];

    /// The word of the audit record and of the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::UpstreamError => "upstream_error",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Aborted => "aborted",
        }
    }

    /// The place of the verdict in [`Verdict::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}
