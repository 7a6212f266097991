//! What is under way, and what is not let in.

use prometheus::{Error, IntCounterVec, IntGauge, IntGaugeVec};

use super::register::Register;

/// Counts of what is admitted.
#[derive(Debug)]
pub struct AdmissionMetrics {
    /// Requests and streams that hold a permit, by `kind`.
    pub in_flight: IntGaugeVec,
    /// Connections of clients that are open.
    pub connections: IntGauge,
    /// Requests that were refused because there was too much, by `reason`.
    shed: IntCounterVec,
}

// === impl AdmissionMetrics ===

impl AdmissionMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            in_flight: register.gauges(
                "weir_in_flight",
                "Permits taken: requests, and streams that wait for events.",
                &["kind"],
            )?,
            connections: register
                .gauge("weir_connections", "Connections of clients that are open.")?,
            shed: register.counters(
                "weir_shed_total",
                "Requests refused because there was too much, by the limit that was reached.",
                &["reason"],
            )?,
        })
    }

    /// Counts a request that was refused because there was too much. Reasons are words of the gateway's own.
    pub fn shed(&self, reason: Option<&str>) {
        self.shed
            .with_label_values(&[reason.unwrap_or("other")])
            .inc();
    }
}
