//! Asking a server on the gateway's own behalf, whatever the transport.

use std::time::Duration;

use thiserror::Error;
use weir_plugin_protocol::jsonrpc::Message;
use weir_plugin_protocol::mcp::{Method, Version};

use super::handshake;
use super::http_wire::HttpWire;
use super::stdio::{LinkError, StdioLink};

/// A server that was greeted and can be asked.
pub(super) enum Wire {
    Http(HttpWire),
    Stdio(StdioWire),
}

/// A child process, asked in one revision.
pub(super) struct StdioWire {
    pub(super) link: StdioLink,
    pub(super) version: Version,
    pub(super) timeout: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum AskError {
    /// It cannot be reached, or the connection broke.
    #[error("{0}")]
    Unreachable(String),
    /// The server forgot the session: say hello again.
    #[error("the server has ended the session")]
    SessionLost,
    /// The HTTP status is no success and the body no answer.
    #[error("it answered with status {0}")]
    Status(http::StatusCode),
    /// What came is no answer to the question.
    #[error("{0}")]
    Malformed(String),
    /// What came is longer than what is read.
    #[error("{0}")]
    TooLarge(String),
    /// Nothing came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

// === impl Wire ===

impl Wire {
    /// Asks and returns the answer, a result or an error. `members` are those of `params`, without braces.
    pub(super) async fn ask(&self, method: Method, members: &str) -> Result<Message, AskError> {
        match self {
            Self::Http(http) => http.ask(method, members).await,
            Self::Stdio(stdio) => stdio.ask(method, members).await,
        }
    }
}

// === impl StdioWire ===

impl StdioWire {
    async fn ask(&self, method: Method, members: &str) -> Result<Message, AskError> {
        let ask = async {
            let id = self.link.next_id();
            let frame = handshake::request(id.json(), method, self.version, members);
            let mut call = self.link.call_own(id, frame).await?;
            answer_of(&mut call).await
        };
        match tokio::time::timeout(self.timeout, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::TimedOut(self.timeout)),
        }
    }
}

/// Waits for the answer, past progress notifications.
pub(super) async fn answer_of(call: &mut super::stdio::StdioCall) -> Result<Message, AskError> {
    while let Some(message) = call.next().await {
        let message = message?;
        if message.method().is_empty() {
            return Ok(message);
        }
    }
    Err(AskError::Unreachable(
        "the call ended without an answer".into(),
    ))
}

// === impl AskError ===

impl AskError {
    /// Whether the connection, not just this question, is lost.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::SessionLost)
    }
}

impl From<LinkError> for AskError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotRunning | LinkError::Died { .. } => Self::Unreachable(error.to_string()),
            LinkError::Busy | LinkError::TooLarge | LinkError::Malformed | LinkError::Timeout => {
                Self::Malformed(error.to_string())
            }
        }
    }
}
