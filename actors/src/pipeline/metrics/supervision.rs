//! Parts that failed and were started again.

use prometheus::{Error, IntCounterVec, IntGauge};

use super::register::Register;

/// Counts of the supervision tree.
#[derive(Debug)]
pub struct SupervisionMetrics {
    /// Starts of a supervised child after its first, by `group`.
    pub restarts: IntCounterVec,
    /// Supervised children that were restarted too often and are kept down for now.
    pub quarantined: IntGauge,
}

// === impl SupervisionMetrics ===

impl SupervisionMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            restarts: register.counters(
                "weir_supervisor_restarts_total",
                "Restarts of supervised children, by group.",
                &["group"],
            )?,
            quarantined: register.gauge(
                "weir_supervisor_quarantined",
                "Children that were restarted too often and are kept down.",
            )?,
        })
    }
}
