//! What becomes of plugins and of their calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{Error, IntGaugeVec};

use super::bounds::{REQUEST, STAGE};
use super::cell::{Cell, Count, Timing, nanoseconds};
use super::config::MetricsConfig;
use super::family::{Family, Labels};
use super::names::OTHER;
use super::register::Register;
use crate::plugin::{PluginState, PluginView};

/// The ways in which a call ends; the last is that its caller has gone.
const OUTCOMES: [&str; 13] = [
    "ok",
    "invalid",
    "not_running",
    "unreachable",
    "closed",
    "busy",
    "timeout",
    "lost",
    "unknown_method",
    "refused",
    "malformed",
    "too_large",
    CANCELLED,
];
const CANCELLED: &str = "cancelled";

/// The counts of all plugins, by the plugin's name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PluginMetrics {
    up: IntGaugeVec,
    quarantined: IntGaugeVec,
    in_flight: IntGaugeVec,
    queue: IntGaugeVec,
    calls: Family<(Arc<str>, &'static str), Count>,
    seconds: Family<Arc<str>, Timing>,
    ready: Family<Arc<str>, Timing>,
    restarts: Family<Arc<str>, Count>,
    missed: Family<Arc<str>, Count>,
}

/// The counts of one plugin, found when it was loaded: atomic additions, on cache lines that its callers share.
#[derive(Debug)]
pub struct PluginMeter {
    outcomes: [Arc<Count>; OUTCOMES.len()],
    seconds: Arc<Timing>,
    ready: Arc<Timing>,
    restarts: Arc<Count>,
    missed: Arc<Count>,
}

/// A call that is under way. Dropped, its caller has gone.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    meter: &'a PluginMeter,
    begun: Instant,
    outcome: &'static str,
}

// === impl PluginMetrics ===

impl PluginMetrics {
    pub(super) fn register(register: &Register<'_>, config: &MetricsConfig) -> Result<Self, Error> {
        let plugin = &["plugin"];
        let max = config.max_series;
        Ok(Self {
            up: register.gauges(
                "weir_plugin_up",
                "1 while the plugin serves.",
                plugin,
            )?,
            quarantined: register.gauges(
                "weir_plugin_quarantined",
                "1 while the plugin is left alone because it failed too often or is not what it was.",
                plugin,
            )?,
            in_flight: register.gauges(
                "weir_plugin_in_flight",
                "Calls under way at the plugin.",
                plugin,
            )?,
            queue: register.gauges(
                "weir_plugin_queue",
                "Calls that wait for their turn at the plugin.",
                plugin,
            )?,
            calls: register.family(
                "weir_plugin_calls_total",
                "Calls of the plugin, by how they ended.",
                &["plugin", "outcome"],
                (),
                max.saturating_mul(OUTCOMES.len()),
            )?,
            seconds: register.family(
                "weir_plugin_call_seconds",
                "Time that calls took which the plugin answered or did not answer in time, with the wait for their turn.",
                plugin,
                &STAGE,
                max,
            )?,
            ready: register.family(
                "weir_plugin_ready_seconds",
                "Time that instances took from being started to serving.",
                plugin,
                &REQUEST,
                max,
            )?,
            restarts: register.family(
                "weir_plugin_restarts_total",
                "Restarts of the plugin after failures.",
                plugin,
                (),
                max,
            )?,
            missed: register.family(
                "weir_plugin_health_failures_total",
                "Questions for the plugin's health that were answered badly or not at all.",
                plugin,
                (),
                max,
            )?,
        })
    }

    /// The counts of a plugin.
    pub fn meter(&self, plugin: &str) -> PluginMeter {
        let plugin: Arc<str> = plugin.into();
        PluginMeter {
            // Counters that are there before they count can be watched for their first count.
            outcomes: OUTCOMES.map(|outcome| self.calls.cell(&(plugin.clone(), outcome), 0)),
            seconds: self.seconds.cell(&plugin, 0),
            ready: self.ready.cell(&plugin, 0),
            restarts: self.restarts.cell(&plugin, 0),
            missed: self.missed.cell(&plugin, 0),
        }
    }

    /// Shows how the plugins are. Those that are not there are not shown any more.
    pub fn show(&self, plugins: &[PluginView]) {
        let shown = [&self.up, &self.quarantined, &self.in_flight, &self.queue];
        for gauge in shown {
            gauge.reset();
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for plugin in plugins {
            let values = [
                i64::from(plugin.state == PluginState::Active),
                i64::from(plugin.quarantined),
                number(plugin.in_flight),
                number(plugin.waiting),
            ];
            for (gauge, value) in shown.into_iter().zip(values) {
                gauge.with_label_values(&[&plugin.name]).set(value);
            }
        }
    }
}

// === impl PluginMeter ===

impl Default for PluginMeter {
    /// Counts that nobody is shown.
    fn default() -> Self {
        Self {
            outcomes: OUTCOMES.map(|_| Arc::default()),
            seconds: Arc::new(Timing::new(&STAGE)),
            ready: Arc::new(Timing::new(&REQUEST)),
            restarts: Arc::default(),
            missed: Arc::default(),
        }
    }
}

impl PluginMeter {
    pub(crate) fn begin(&self) -> Tally<'_> {
        Tally {
            meter: self,
            begun: Instant::now(),
            outcome: CANCELLED,
        }
    }

    pub(crate) fn ready(&self, took: Duration) {
        self.ready.observe(nanoseconds(took));
    }

    pub(crate) fn restarted(&self) {
        self.restarts.inc();
    }

    pub(crate) fn missed(&self) {
        self.missed.inc();
    }

    /// How many calls ended how, without what never happened.
    pub(crate) fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        let counts = OUTCOMES.iter().zip(&self.outcomes);
        let counts = counts.map(|(outcome, count)| (*outcome, count.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

// === impl Tally ===

impl Tally<'_> {
    /// The call ended with one of the outcomes.
    pub(crate) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
        if !matches!(outcome, "invalid" | "not_running" | "busy" | "closed") {
            let took = self.begun.elapsed();
            self.meter.seconds.observe(nanoseconds(took));
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let place = OUTCOMES.iter().position(|known| *known == self.outcome);
        let count = place.and_then(|place| self.meter.outcomes.get(place));
        if let Some(count) = count {
            count.inc();
        }
    }
}

/// A plugin, and how its calls end.
impl Labels for (Arc<str>, &'static str) {
    fn values(&self) -> Vec<&str> {
        vec![&self.0, self.1]
    }

    fn overflow(&self) -> Self {
        (OTHER.into(), self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::CallError;

    #[test]
    fn every_end_of_a_call_has_its_count() {
        let meter = PluginMeter::default();
        let ends = [
            CallError::NotRunning,
            CallError::Unreachable(String::new()),
            CallError::Closed,
            CallError::Busy,
            CallError::Timeout,
            CallError::Lost(String::new()),
            CallError::UnknownMethod(String::new()),
            CallError::Refused(String::new()),
            CallError::Malformed(String::new()),
            CallError::TooLarge,
        ];
        for end in &ends {
            meter.begin().end(end.outcome());
        }
        meter.begin().end("ok");
        drop(meter.begin());
        let counted = meter.outcomes();
        assert_eq!(counted.len(), ends.len() + 2, "{counted:?}");
        assert!(counted.values().all(|count| *count == 1), "{counted:?}");
    }
}
