//! Legacy sessions and what servers say in them without being asked.

use prometheus::{Error, IntCounter, IntGauge};

use super::register::Register;

/// Counts of legacy sessions.
#[derive(Debug)]
pub struct SessionMetrics {
    /// Legacy sessions in memory.
    pub open: IntGauge,
    /// Frames for a legacy event stream that were dropped because the client did not read.
    pub dropped_frames: IntCounter,
    /// Upstream messages that could not be attributed to one session.
    pub unattributed: IntCounter,
}

// === impl SessionMetrics ===

impl SessionMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
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
        })
    }
}
