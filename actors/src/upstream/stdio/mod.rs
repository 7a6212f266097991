//! MCP over the pipes of a child process.
//!
//! Read in this order: [`StdioSpec`] says what to run, [`StdioLink`] is the handle everybody else holds, the
//! [`StdioActor`] owns the process. A server of HTTP+SSE is the same to everybody else: `remote` is in place of its
//! process.

mod actor;
mod call;
mod counters;
pub mod lines;
mod link;
mod pending;
mod process;
mod remote;
mod running;
mod stderr;
mod stdin;
mod stdout;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use weir_plugin_protocol::jsonrpc::Message;

pub use actor::StdioActor;
pub use call::{CallId, StdioCall};
pub use counters::StdioCounts;
pub use link::StdioLink;
pub(super) use remote::Remote;

use crate::sandbox::{Sandbox, SandboxConfig};

/// What to run and how much of it to bear.
#[derive(Clone)]
pub struct StdioSpec {
    /// The server's name, for logs.
    pub server: Arc<str>,
    /// The program; looked up in `PATH` if it has no slash. No shell is involved.
    pub command: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, in addition to `PATH`, `HOME`, `LANG`, `TMPDIR` and `USER` of this process; nothing else is
    /// inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; `None`: the one of this process.
    pub cwd: Option<PathBuf>,
    /// What it may do. Default: what a server may.
    pub sandbox: Sandbox,
    /// The time from the request to stop until everything in its process group is killed. Default 5 s.
    pub stop_grace: Duration,
    /// The longest line in either direction, in bytes. Default 16 MiB.
    pub max_line: usize,
    /// How many calls may be in flight. Default 256.
    pub max_in_flight: usize,
    /// How long a call waits for its turn before it is [`LinkError::Busy`]. Default 100 ms.
    pub max_wait: Duration,
    /// How long a call waits for the handshake after a (re)start. Default 10 s.
    pub gate_timeout: Duration,
}

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// There is none, or it is being stopped.
    Stopped,
    /// It runs.
    Running {
        /// Counts the starts; never the same twice.
        generation: u64,
        /// Its process id, which is also the id of its process group.
        pid: u32,
    },
}

/// Whom a call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u128);

/// A notification or request of the server that belongs to no call.
#[derive(Clone, Debug)]
pub struct Unsolicited {
    /// The message.
    pub message: Message,
    /// The session of all calls that the process may be working on, if they belong to one: those in flight, and those
    /// that were given up and that it has not answered.
    pub session: Option<SessionKey>,
    /// Which start of the process said it.
    pub generation: u64,
}

/// A call that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// There is no process, or its handshake is not done; nothing was written.
    #[error("the server is not running")]
    NotRunning,
    /// The process ended.
    #[error("the server died")]
    Died {
        /// True if the process cannot have seen the call.
        retryable: bool,
    },
    /// Too many calls are in flight, or the process does not read; nothing was written.
    #[error("too many calls in flight")]
    Busy,
    /// The message or its answer is longer than a line may be.
    #[error("the message is too large")]
    TooLarge,
    /// The answer is not JSON-RPC.
    #[error("the answer is malformed")]
    Malformed,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

// === impl StdioSpec ===

impl StdioSpec {
    /// A server with the default limits, no arguments and no environment of its own.
    pub fn new(server: &str, command: impl Into<OsString>) -> Self {
        Self {
            server: server.into(),
            command: command.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            sandbox: Sandbox::server(SandboxConfig::default()),
            stop_grace: Duration::from_secs(5),
            max_line: 16 << 20,
            max_in_flight: 256,
            max_wait: Duration::from_millis(100),
            gate_timeout: Duration::from_secs(10),
        }
    }
}

/// The values of the environment are credentials more often than not.
impl fmt::Debug for StdioSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            command,
            args,
            env,
            cwd,
            sandbox,
            stop_grace,
            max_line,
            max_in_flight,
            max_wait,
            gate_timeout,
        } = self;
        let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("StdioSpec")
            .field("server", server)
            .field("command", command)
            .field("args", args)
            .field("env", &names)
            .field("cwd", cwd)
            .field("sandbox", sandbox)
            .field("stop_grace", stop_grace)
            .field("max_line", max_line)
            .field("max_in_flight", max_in_flight)
            .field("max_wait", max_wait)
            .field("gate_timeout", gate_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests;
