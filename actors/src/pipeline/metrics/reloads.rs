//! Readings of the configuration while the gateway runs.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use super::register::Register;

/// Counts of reloads.
#[derive(Debug)]
pub struct ReloadMetrics {
    /// Something was different and is in force.
    pub applied: IntCounter,
    /// Nothing was different.
    pub unchanged: IntCounter,
    /// The configuration was refused as a whole.
    pub invalid: IntCounter,
    /// The configuration is good and could not be carried out.
    pub failed: IntCounter,
    /// Whether the last reading was good.
    pub successful: IntGauge,
    /// When a reading was good last, in seconds since 1970.
    pub success_time: IntGauge,
    /// Instances of servers that were replaced or removed and still have calls to finish.
    pub retiring: IntGauge,
}

// === impl ReloadMetrics ===

impl ReloadMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        let total: IntCounterVec = register.counters(
            "weir_config_reloads_total",
            "Readings of the configuration while running: applied, unchanged, invalid or failed.",
            &["result"],
        )?;
        let metrics = Self {
            applied: total.with_label_values(&["applied"]),
            unchanged: total.with_label_values(&["unchanged"]),
            invalid: total.with_label_values(&["invalid"]),
            failed: total.with_label_values(&["failed"]),
            successful: register.gauge(
                "weir_config_last_reload_successful",
                "1 if the last reading of the configuration was good, else 0.",
            )?,
            success_time: register.gauge(
                "weir_config_last_reload_success_timestamp_seconds",
                "When a reading of the configuration was good last, in seconds since 1970.",
            )?,
            retiring: register.gauge(
                "weir_upstreams_retiring",
                "Servers that were replaced or removed and still have calls to finish.",
            )?,
        };
        metrics.successful.set(1);
        Ok(metrics)
    }
}
