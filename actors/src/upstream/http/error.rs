//! Why an upstream did not answer, and whether it may have seen the request.

use std::error::Error;
use std::fmt;

use thiserror::Error;

/// A request that got no complete answer.
#[derive(Debug, Error)]
#[error("{kind}")]
pub struct HttpError {
    /// What went wrong.
    pub kind: HttpErrorKind,
    /// True if a part of the request may have reached the upstream; false: it is safe to send it again.
    pub written: bool,
    /// What the layer below said.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpErrorKind {
    /// The name did not resolve or nobody listens.
    Connect,
    /// No connection within the configured time.
    Timeout,
    /// The upstream closed the connection before the answer was complete.
    Closed,
    /// What came back is not HTTP/1.1, or is in a form that was not asked for.
    Protocol,
    /// The head or the body is larger than allowed.
    TooLarge,
    /// The TLS handshake failed; the certificate is not trusted.
    Tls,
    /// The address is not one that this client may connect to.
    Refused,
}

// === impl HttpError ===

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind, written: bool) -> Self {
        Self {
            kind,
            written,
            source: None,
        }
    }

    pub(super) fn because(
        kind: HttpErrorKind,
        written: bool,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            written,
            source: Some(source.into()),
        }
    }
}

// === impl HttpErrorKind ===

impl fmt::Display for HttpErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "cannot connect to the upstream",
            Self::Timeout => "no connection to the upstream in time",
            Self::Closed => "the upstream closed the connection",
            Self::Protocol => "the upstream's answer is not usable HTTP",
            Self::TooLarge => "the upstream's answer is too large",
            Self::Tls => "no trusted TLS connection to the upstream",
            Self::Refused => "the upstream's address is not allowed",
        })
    }
}
