//! What carries the messages of a server that all sessions share: the pipes of a child process, or the stream of a server
//! of HTTP+SSE (2024-11-05).

use std::time::Duration;

use super::config::{Protocol, StdioConfig};
use super::stdio::{Remote, StdioLink, StdioSpec};
use super::stdio_process::{self, HANDSHAKE, process_name};
use super::view::ServerName;
use crate::supervisor::{Backoff, ChildSpec, Intensity};
use weir_plugin_protocol::mcp::Era;

/// What carries the messages of one server.
pub(super) enum Carrier {
    /// A child process.
    Process(StdioConfig),
    /// A stream, and posts beside it.
    Stream(Remote),
}

// === impl Carrier ===

impl Carrier {
    /// Which eras are spoken.
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Process(config) => config.protocol,
            Self::Stream(_) => Protocol::Legacy,
        }
    }

    /// How long one request of the gateway itself may take.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Process(config) => Duration::from_millis(config.timeout_ms),
            Self::Stream(remote) => remote.timeout,
        }
    }

    /// The word for it in what operators are told.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Stream(_) => "stream",
        }
    }

    /// What the link to it is made of.
    pub(super) fn spec(&self, server: &ServerName) -> StdioSpec {
        match self {
            Self::Process(config) => stdio_process::spec(server, config),
            Self::Stream(_) => StdioSpec::new(server.as_str(), ""),
        }
    }

    /// The child that keeps it for one era.
    pub(super) fn child(&self, era: Era, link: &StdioLink) -> ChildSpec {
        match self {
            Self::Process(_) => stdio_process::child(era, link),
            Self::Stream(remote) => stream(era, link, remote),
        }
    }
}

/// The owner of a stream: it ends when the stream does, and its restart opens another. It is ready when the handshake is
/// done.
fn stream(era: Era, link: &StdioLink, remote: &Remote) -> ChildSpec {
    let (link, remote) = (link.clone(), remote.clone());
    ChildSpec::task(process_name(era), move |context| {
        let (link, remote) = (link.clone(), remote.clone());
        async move {
            let greeted = link.greeted();
            let ready = async {
                greeted.await;
                context.ready();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                end = link.carry(remote) => Err(end),
                () = ready => Ok(()),
                () = context.stopping() => Ok(()),
            }
        }
    })
    .reports_ready()
    .start_timeout(HANDSHAKE)
    .heartbeat(None)
    .backoff(Backoff {
        reset_after: Duration::ZERO,
        ..Backoff::default()
    })
    .quarantined(Intensity {
        restarts: 100,
        period: Duration::from_secs(60),
    })
}
