//! How a child ended.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Why a child is no longer running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "exit", content = "detail")]
pub enum Exit {
    /// It stopped by itself and recorded no failure.
    Normal,
    /// It was asked to stop, or is a supervisor that stopped itself. Not a failure: OTP's `shutdown`.
    Shutdown(Cause),
    /// It recorded a failure with [`ChildContext::fail`](super::ChildContext::fail), then stopped.
    Failed(Arc<str>),
    /// It panicked: in its factory, in `started`, in a handler, or in a future on its context.
    Panicked(Arc<str>),
    /// It was ended from outside.
    Killed(Kill),
}

/// Why a child shut down without having failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "cause", content = "child")]
pub enum Cause {
    /// Its supervisor, or an operator, asked.
    Asked,
    /// It is a supervisor and this child of it was restarted too often.
    Exhausted(Arc<str>),
    /// It is a supervisor and this significant child of it ended by itself.
    AutoShutdown(Arc<str>),
}

/// Why a child was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kill {
    /// It did not answer the heartbeat.
    Heartbeat,
    /// It was not ready within its start timeout.
    StartTimeout,
    /// It did not stop within its shutdown time, or that is [`Shutdown::Kill`](super::Shutdown::Kill).
    Shutdown,
    /// The thread it lived on ended.
    ThreadLost,
    /// The supervisor it belonged to is gone.
    Orphaned,
}

// === impl Exit ===

impl Exit {
    /// Whether a transient child that ended so is restarted.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown(_))
    }

    /// Returns the exit of a caught panic.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        Self::Panicked(message.into())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => formatter.write_str("normal"),
            Self::Shutdown(cause) => write!(formatter, "shutdown: {cause}"),
            Self::Failed(reason) => write!(formatter, "failed: {reason}"),
            Self::Panicked(message) => write!(formatter, "panicked: {message}"),
            Self::Killed(kill) => write!(formatter, "killed: {kill}"),
        }
    }
}

// === impl Cause ===

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => formatter.write_str("asked to stop"),
            Self::Exhausted(child) => write!(formatter, "restarted {child} too often"),
            Self::AutoShutdown(child) => write!(formatter, "significant child {child} ended"),
        }
    }
}

// === impl Kill ===

impl fmt::Display for Kill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Heartbeat => "missed its heartbeat",
            Self::StartTimeout => "not ready in time",
            Self::Shutdown => "did not stop in time",
            Self::ThreadLost => "its thread ended",
            Self::Orphaned => "its supervisor is gone",
        })
    }
}
