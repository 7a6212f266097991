//! The servers behind the gateway.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Error, IntCounterVec, IntGaugeVec};

use super::bounds::STAGE;
use super::cell::{Timing, nanoseconds};
use super::config::MetricsConfig;
use super::family::{Family, Labels};
use super::names::OTHER;
use super::register::Register;
use crate::admission::{CircuitState, GateView};
use crate::upstream::ServerName;

/// What becomes of a call that could be sent again.
const RETRIES: [&str; 2] = ["sent", "refused"];

/// The state of the servers.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// 1 while an upstream server is ready, else 0, by `server`.
    pub up: IntGaugeVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    circuit: IntGaugeVec,
    retries: IntCounterVec,
    waits: Family<Arc<str>, Timing>,
}

// === impl UpstreamMetrics ===

impl UpstreamMetrics {
    pub(super) fn register(register: &Register<'_>, config: &MetricsConfig) -> Result<Self, Error> {
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
            waits: register.family(
                "weir_upstream_wait_seconds",
                "Time that requests waited for a place at the server, if they had to.",
                &["server"],
                &STAGE,
                config.max_series,
            )?,
        })
    }

    /// Forgets what was shown: servers that are gone are not shown again.
    pub fn clear(&self) {
        for shown in [&self.up, &self.in_flight, &self.waiting, &self.circuit] {
            shown.reset();
        }
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
        // Counters that are there before they count can be watched for their first count.
        for result in RETRIES {
            self.retries.with_label_values(&[server, result]);
        }
    }

    pub(crate) fn retried(&self, server: &str, allowed: bool) {
        let [sent, refused] = RETRIES;
        let result = if allowed { sent } else { refused };
        self.retries.with_label_values(&[server, result]).inc();
    }

    /// Counts how long a request waited for a place at a server. Rare, so that it may take a lock.
    pub(crate) fn waited(&self, server: &ServerName, waited: Duration) {
        let cell = self.waits.cell(&server.as_str().into(), 0);
        cell.observe(nanoseconds(waited));
    }
}

/// The name of a server.
impl Labels for Arc<str> {
    fn values(&self) -> Vec<&str> {
        vec![self]
    }

    fn overflow(&self) -> Self {
        OTHER.into()
    }
}
