//! How a plugin is spoken to, whatever carries the words.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
pub use futures_util::future::BoxFuture;
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;

use super::call::InvalidCall;
use super::versions::{Said, UNKNOWN};

/// One call of a plugin.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is asked for, as the contract of the role spells it: `validate_credential`, `record-counter`.
    pub method: &'a str,
    /// An object.
    pub params: &'a Value,
    /// Nobody waits for the answer after this. A transport tells the plugin how long that is, if it can.
    pub deadline: Instant,
}

/// A connection to one instance of a plugin. Dropping it closes it.
///
/// ```
/// use std::time::Duration;
///
/// use serde_json::json;
/// use weir_actors::plugin::{Call, MockPluginClient, PluginClient};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let plugin = MockPluginClient::new(|_method, _params| Ok(r#"{"result":"ok"}"#.into()));
/// let params = json!({ "name": "mcp.tool.calls", "value": 1 });
/// let call = Call::within(Duration::from_secs(1), "record-counter", &params);
/// assert_eq!(plugin.call(call).await?, r#"{"result":"ok"}"#);
/// # Ok::<(), weir_actors::plugin::CallError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait PluginClient: Send + Sync + 'static {
    /// Calls a method and returns the answer as it came: JSON, not looked at. Dropping the future gives the call up.
    ///
    /// # Errors
    /// The plugin refused, is gone, or this client is closed.
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>>;

    /// Ends the connection; what the gateway started for it ends too. Doing so twice is no error.
    ///
    /// # Errors
    /// The plugin did not end as it should. The connection is closed all the same.
    fn close(&self) -> BoxFuture<'_, Result<(), CallError>>;

    /// Asks once whether the plugin can serve. By default it can.
    ///
    /// # Errors
    /// It cannot, not yet.
    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async { Ok(()) })
    }

    /// Waits until the plugin has ended by itself and returns how. By default it never does.
    fn ended(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }

    /// What the plugin says its version is.
    fn version(&self) -> String {
        UNKNOWN.to_owned()
    }

    /// What the plugin says of itself: by default its version alone.
    fn said(&self) -> Said {
        let version = self.version();
        Said {
            version: (version != UNKNOWN).then_some(version),
            protocol: None,
        }
    }
}

/// A way to reach a plugin. Every connection is a new instance as far as the gateway is concerned.
pub trait PluginTransport: Send + Sync + 'static {
    /// The transport's name, as the configuration has it.
    fn kind(&self) -> &'static str;

    /// Connects. Dropping the future gives up.
    ///
    /// # Errors
    /// Why it cannot be reached. The attempt is repeated after a while.
    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>>;

    /// The files that an instance is made of: the program, and the scripts that it is told to run. Another file in the
    /// place of one of them is another plugin. By default none.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// Why a plugin cannot be reached.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the plugin cannot be reached: {0}")]
pub struct ConnectError(pub String);

/// Why a call has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// The call breaks the contract and was not sent. The caller is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidCall),
    /// No instance is running. It was not sent; a retry may help.
    #[error("the plugin is not running")]
    NotRunning,
    /// The instance cannot be reached. It was not sent; a retry may help.
    #[error("the plugin cannot be reached: {0}")]
    Unreachable(String),
    /// The client was closed. It was not sent.
    #[error("the plugin client is closed")]
    Closed,
    /// The plugin has as many calls as it may have. It was not sent; a retry may help.
    #[error("the plugin has too many calls")]
    Busy,
    /// There was no answer in time. It may have been carried out.
    #[error("the plugin did not answer in time")]
    Timeout,
    /// The plugin ended before it answered. It may have been carried out; a retry may help.
    #[error("the plugin ended before it answered: {0}")]
    Lost(String),
    /// The plugin does not know the method.
    #[error("the plugin has no method {0}")]
    UnknownMethod(String),
    /// The plugin answered with an error.
    #[error("plugin returned error: {0}")]
    Refused(String),
    /// The answer is not what the contract says. Names the key.
    #[error("the plugin's answer breaks the contract: {0}")]
    Malformed(String),
    /// The answer is longer than [`MAX_ANSWER_BYTES`](super::call::MAX_ANSWER_BYTES).
    #[error("the plugin's answer is too long")]
    TooLarge,
}

// === impl Call ===

impl<'a> Call<'a> {
    /// A call that may take this long from now on.
    pub fn within(patience: Duration, method: &'a str, params: &'a Value) -> Self {
        Self {
            method,
            params,
            deadline: Instant::now() + patience,
        }
    }

    /// How long somebody waits yet.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

// === impl CallError ===

impl CallError {
    /// How the call ended, in a word from a closed set: fit for a metric's label.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::NotRunning => "not_running",
            Self::Unreachable(_) => "unreachable",
            Self::Closed => "closed",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Lost(_) => "lost",
            Self::UnknownMethod(_) => "unknown_method",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NotRunning | Self::Unreachable(_) | Self::Busy | Self::Timeout | Self::Lost(_)
        )
    }

    /// Whether the plugin may have carried the call out, though there is no answer that says so.
    pub fn may_have_been_carried_out(&self) -> bool {
        !matches!(
            self,
            Self::Invalid(_)
                | Self::NotRunning
                | Self::Unreachable(_)
                | Self::Closed
                | Self::Busy
                | Self::UnknownMethod(_)
        )
    }
}
