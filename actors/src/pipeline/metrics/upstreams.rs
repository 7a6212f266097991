//! The servers behind the gateway.

use prometheus::{Error, IntGaugeVec};

use super::register::Register;

/// The state of the servers.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// 1 while an upstream server is ready, else 0, by `server`.
    pub up: IntGaugeVec,
}

// === impl UpstreamMetrics ===

impl UpstreamMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            up: register.gauges(
                "weir_upstream_up",
                "1 while the server is ready.",
                &["server"],
            )?,
        })
    }
}
