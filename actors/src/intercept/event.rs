//! What interceptors are told of: methods, by patterns, in two phases.

use weir_plugin_protocol::mcp::Method;

/// When an interceptor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The message is on its way to whoever answers it.
    Request,
    /// The answer is on its way back.
    Response,
}

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// All of them; perhaps in one phase only.
    All(Option<Phase>),
    /// All that begin so: `tools/`.
    Below(String),
    /// One.
    One(String),
}

// === impl Phase ===

impl Phase {
    /// The word of the contract, the audit record and the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern; nothing if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 128
                && name.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'.')
                })
        };
        match text {
            "*" => Some(Self::All(None)),
            "*/request" => Some(Self::All(Some(Phase::Request))),
            "*/response" => Some(Self::All(Some(Phase::Response))),
            _ => match text.strip_suffix('*') {
                Some(below) if below.ends_with('/') && is_name(below) => {
                    Some(Self::Below(below.to_owned()))
                }
                Some(_) => None,
                None => is_name(text).then(|| Self::One(text.to_owned())),
            },
        }
    }

    pub(super) fn matches(&self, event: &str, phase: Phase) -> bool {
        match self {
            Self::All(only) => only.is_none_or(|only| only == phase),
            Self::Below(below) => event.starts_with(below.as_str()),
            Self::One(one) => one == event,
        }
    }
}

/// Whether a method is shown to interceptors at all: whatever carries content, but nothing that only keeps the
/// connection.
pub(crate) fn is_event(method: Method) -> bool {
    !matches!(
        method,
        Method::Initialize
            | Method::Ping
            | Method::Discover
            | Method::Listen
            | Method::NotificationInitialized
            | Method::NotificationCancelled
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, event, phase, expected) in [
            ("*", "tools/call", Phase::Request, true),
            ("*/request", "tools/call", Phase::Request, true),
            ("*/request", "tools/call", Phase::Response, false),
            ("*/response", "x", Phase::Response, true),
            ("tools/*", "tools/list", Phase::Response, true),
            ("tools/*", "toolsets/list", Phase::Response, false),
            ("tools/call", "tools/call", Phase::Response, true),
            ("tools/call", "tools/calls", Phase::Response, false),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(
                pattern.matches(event, phase),
                expected,
                "{pattern:?} {event}"
            );
        }
        for none in ["", "tools*", "*x", "to ols/call", "**", "/*x"] {
            assert_eq!(Pattern::parse(none), None, "{none:?}");
        }
    }
}
