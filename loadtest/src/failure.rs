//! Why a call does not count.

use std::fmt;

/// Why a call does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// The connection could not be made, or the handshake on it failed.
    Connect,
    /// The connection ended before the answer.
    Broken,
    /// No answer within the limit.
    Silent,
    /// Open loop: its time came and no connection was free until the end.
    Unsent,
    /// Another HTTP status than 200, without a JSON-RPC error.
    Status(u16),
    /// A JSON-RPC error.
    Error(i64),
    /// A tool result with `isError`.
    ToolError,
    /// Not an answer to a call.
    WrongAnswer,
    /// An answer to somebody else's call.
    Misrouted,
}

// === impl Failure ===

impl Failure {
    /// Whether the call was sent and nothing came back.
    pub(crate) fn is_unanswered(self) -> bool {
        matches!(self, Self::Broken | Self::Silent)
    }

    /// Whether it is a defined answer that says no.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Self::Status(_) | Self::Error(_) | Self::ToolError)
    }

    /// Whether the connection is of no more use.
    pub(crate) fn ends_connection(self) -> bool {
        matches!(self, Self::Connect | Self::Broken | Self::Silent)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => formatter.write_str("connection refused"),
            Self::Broken => formatter.write_str("connection broken"),
            Self::Silent => formatter.write_str("no answer"),
            Self::Unsent => formatter.write_str("never sent"),
            Self::Status(status) => write!(formatter, "HTTP {status}"),
            Self::Error(code) => write!(formatter, "error {code}"),
            Self::ToolError => formatter.write_str("tool error"),
            Self::WrongAnswer => formatter.write_str("wrong answer"),
            Self::Misrouted => formatter.write_str("somebody else's answer"),
        }
    }
}
