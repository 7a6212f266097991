//! What is under way, and what is not let in.

use prometheus::{Error, IntGaugeVec};

use super::register::Register;

/// Counts of what is admitted.
#[derive(Debug)]
pub struct AdmissionMetrics {
    /// Requests and streams that hold a permit, by `kind`.
    pub in_flight: IntGaugeVec,
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
        })
    }
}
