//! What interceptors said, and how long it took them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Error, IntCounterVec};

use super::bounds::STAGE;
use super::cell::{Timing, nanoseconds};
use super::family::{Family, Labels};
use super::names::OTHER;
use super::register::Register;
use crate::intercept::Phase;

/// Interceptors that have series of their own.
const MAX_SERIES: usize = 256;

/// Counts of interceptors.
#[derive(Debug)]
pub struct InterceptorMetrics {
    verdicts: IntCounterVec,
    seconds: Family<OfPlugin, Timing>,
}

/// The counts of one interceptor.
#[derive(Clone, Debug)]
pub struct InterceptorCounts {
    plugin: Arc<str>,
    verdicts: IntCounterVec,
    seconds: [Arc<Timing>; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OfPlugin {
    plugin: Arc<str>,
    phase: &'static str,
}

// === impl InterceptorMetrics ===

impl InterceptorMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            verdicts: register.counters(
                "weir_interceptor_total",
                "Messages that an interceptor was asked about, by what it said.",
                &["plugin", "phase", "verdict"],
            )?,
            seconds: register.family(
                "weir_interceptor_seconds",
                "How long an interceptor took for one message.",
                &["plugin", "phase"],
                &STAGE,
                MAX_SERIES,
            )?,
        })
    }

    /// The counts of one interceptor. Its name comes from the configuration.
    pub fn of(&self, plugin: &str) -> InterceptorCounts {
        let plugin: Arc<str> = plugin.into();
        let cell = |phase: Phase| {
            let labels = OfPlugin {
                plugin: plugin.clone(),
                phase: phase.as_str(),
            };
            self.seconds.cell(&labels, 0)
        };
        InterceptorCounts {
            seconds: [cell(Phase::Request), cell(Phase::Response)],
            verdicts: self.verdicts.clone(),
            plugin,
        }
    }
}

// === impl InterceptorCounts ===

impl InterceptorCounts {
    /// Counts an answer.
    pub fn count(&self, phase: Phase, verdict: &'static str, took: Duration) {
        self.verdicts
            .with_label_values(&[&*self.plugin, phase.as_str(), verdict])
            .inc();
        let [request, response] = &self.seconds;
        let seconds = match phase {
            Phase::Request => request,
            Phase::Response => response,
        };
        seconds.observe(nanoseconds(took));
    }
}

// === impl OfPlugin ===

impl Labels for OfPlugin {
    fn values(&self) -> Vec<&str> {
        vec![&self.plugin, self.phase]
    }

    fn overflow(&self) -> Self {
        Self {
            plugin: OTHER.into(),
            phase: self.phase,
        }
    }
}
