//! Legacy sessions, on both sides, and what servers say in them without being asked.

use std::sync::Arc;

use prometheus::{Error, IntCounter, IntGauge};
use tokio::time::Instant;
use weir_plugin_protocol::mcp::Version;

use super::bounds::OPERATION;
use super::cell::{Timing, nanoseconds};
use super::config::MetricsConfig;
use super::family::{Family, Labels};
use super::names::OTHER;
use super::operation::Network;
use super::register::Register;
use crate::upstream::ServerName;
use crate::upstream::http::HttpTarget;

/// Counts of legacy sessions.
#[derive(Debug)]
pub struct SessionMetrics {
    /// Legacy sessions in memory.
    pub open: IntGauge,
    /// Frames for a legacy event stream that were dropped because the client did not read.
    pub dropped_frames: IntCounter,
    /// Upstream messages that could not be attributed to one session.
    pub unattributed: IntCounter,
    /// Requests whose `MCP-Protocol-Version` contradicted them and was overlooked.
    pub tolerated_headers: IntCounter,
    served: Family<[&'static str; 1], Timing>,
    kept: Family<AtServer, Timing>,
}

/// A session while it lasts. Dropping it counts how long it was.
#[derive(Debug)]
pub struct SessionSpan {
    began: Instant,
    timing: Arc<Timing>,
}

/// The labels of a session at a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AtServer {
    version: &'static str,
    server: Arc<str>,
    address: Arc<str>,
    port: Arc<str>,
}

// === impl SessionMetrics ===

impl SessionMetrics {
    pub(super) fn register(register: &Register<'_>, config: &MetricsConfig) -> Result<Self, Error> {
        Ok(Self {
            open: register.gauge("weir_sessions", "Legacy sessions in memory.")?,
            dropped_frames: register.counter(
                "weir_stream_frames_dropped_total",
                "Events dropped because a client did not read its stream.",
            )?,
            unattributed: register.counter(
                "weir_upstream_unattributed_total",
                "Upstream messages that could not be attributed to one session.",
            )?,
            served: register.closed(
                "mcp_server_session_duration_seconds",
                "How long a client's legacy session was in memory.",
                &["mcp_protocol_version"],
                &OPERATION,
            )?,
            kept: register.family(
                "mcp_client_session_duration_seconds",
                "How long a client's legacy session had a session of its own at an upstream server.",
                &[
                    "mcp_protocol_version",
                    "network_transport",
                    "network_protocol_name",
                    "network_protocol_version",
                    "server",
                    "server_address",
                    "server_port",
                ],
                &OPERATION,
                config.max_series,
            )?,
            tolerated_headers: register.counter(
                "weir_tolerated_headers_total",
                "Requests whose MCP-Protocol-Version contradicted them and was overlooked.",
            )?,
        })
    }

    /// A client's session begins.
    pub fn served(&self, version: Version) -> SessionSpan {
        SessionSpan::begin(self.served.cell(&[version.as_str()], 0))
    }

    /// A session at a server begins.
    pub fn kept(&self, server: &ServerName, target: &HttpTarget, version: Version) -> SessionSpan {
        let labels = AtServer {
            version: version.as_str(),
            server: server.as_str().into(),
            address: target.host().into(),
            port: target.port().to_string().into(),
        };
        SessionSpan::begin(self.kept.cell(&labels, 0))
    }
}

// === impl SessionSpan ===

impl SessionSpan {
    fn begin(timing: Arc<Timing>) -> Self {
        Self {
            began: Instant::now(),
            timing,
        }
    }
}

impl Drop for SessionSpan {
    fn drop(&mut self) {
        self.timing.observe(nanoseconds(self.began.elapsed()));
    }
}

// === impl AtServer ===

impl Labels for AtServer {
    fn values(&self) -> Vec<&str> {
        let [transport, protocol, protocol_version] = Network::Http.labels();
        vec![
            self.version,
            transport,
            protocol,
            protocol_version,
            &self.server,
            &self.address,
            &self.port,
        ]
    }

    fn overflow(&self) -> Self {
        Self {
            version: self.version,
            server: OTHER.into(),
            address: "".into(),
            port: "".into(),
        }
    }
}
