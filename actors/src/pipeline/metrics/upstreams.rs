//! The servers behind the gateway.

use prometheus::{Error, IntCounterVec, IntGaugeVec};

use super::register::Register;
use crate::admission::{CircuitState, GateView};

/// The state of the servers.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// 1 while an upstream server is ready, else 0, by `server`.
    pub up: IntGaugeVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    circuit: IntGaugeVec,
    retries: IntCounterVec,
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
            in_flight: register.gauges(
                "weir_upstream_in_flight",
                "Requests under way at the server.",
                &["server"],
            )?,
            waiting: register.gauges(
                "weir_upstream_waiting",
                "Requests that wait for a place at the server.",
                &["server"],
            )?,
            circuit: register.gauges(
                "weir_upstream_circuit",
                "Whether the server is left alone: 0 no, 1 yes, 2 while one call tries.",
                &["server"],
            )?,
            retries: register.counters(
                "weir_upstream_retries_total",
                "Calls that were lost and could be sent again, by whether the budget allowed it.",
                &["server", "result"],
            )?,
        })
    }

    /// Shows what is under way at a server.
    pub fn show(&self, server: &str, gate: &GateView) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let circuit = match gate.circuit {
            CircuitState::Closed => 0,
            CircuitState::Open { .. } => 1,
            CircuitState::Trial => 2,
        };
        for (gauge, value) in [
            (&self.in_flight, number(gate.in_flight)),
            (&self.waiting, number(gate.waiting)),
            (&self.circuit, circuit),
        ] {
            gauge.with_label_values(&[server]).set(value);
        }
    }

    pub(crate) fn retried(&self, server: &str, allowed: bool) {
        let result = if allowed { "sent" } else { "refused" };
        self.retries.with_label_values(&[server, result]).inc();
    }
}
