//! What message plugins were told.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Error, IntCounter, IntCounterVec, IntGaugeVec};

use super::bounds::STAGE;
use super::cell::{Timing, nanoseconds};
use super::family::{Family, Labels};
use super::names::OTHER;
use super::register::Register;
use crate::fanout::OutletView;

/// Message plugins that have series of their own.
const MAX_SERIES: usize = 256;

/// Counts of message plugins.
#[derive(Debug)]
pub struct FanoutMetrics {
    messages: IntCounterVec,
    waiting: IntGaugeVec,
    seconds: Family<OfPlugin, Timing>,
}

/// The counts of one message plugin.
#[derive(Clone, Debug)]
pub struct OutletCounts {
    delivered: IntCounter,
    failed: IntCounter,
    timeout: IntCounter,
    dropped: IntCounter,
    seconds: Arc<Timing>,
}

/// What became of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The plugin took it.
    Delivered,
    /// The plugin refused it, or could not be told.
    Failed,
    /// The plugin did not take it in time.
    Timeout,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OfPlugin(Arc<str>);

// === impl FanoutMetrics ===

impl FanoutMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            messages: register.counters(
                "weir_plugin_messages_total",
                "Messages, errors and events for a message plugin, by what became of them.",
                &["plugin", "outcome"],
            )?,
            waiting: register.gauges(
                "weir_plugin_messages_waiting",
                "Messages, errors and events that wait for a message plugin.",
                &["plugin"],
            )?,
            seconds: register.family(
                "weir_plugin_message_seconds",
                "From when a message passed until a message plugin had taken it.",
                &["plugin"],
                &STAGE,
                MAX_SERIES,
            )?,
        })
    }

    /// The counts of one plugin. Its name comes from the configuration.
    pub fn of(&self, plugin: &str) -> OutletCounts {
        let count = |outcome: &str| self.messages.with_label_values(&[plugin, outcome]);
        OutletCounts {
            delivered: count("delivered"),
            failed: count("failed"),
            timeout: count("timeout"),
            dropped: count("dropped"),
            seconds: self.seconds.cell(&OfPlugin(plugin.into()), 0),
        }
    }

    /// Shows how many wait.
    pub fn show(&self, views: &[OutletView]) {
        self.waiting.reset();
        for view in views {
            let waiting = self.waiting.with_label_values(&[view.plugin.as_str()]);
            waiting.set(i64::try_from(view.waiting).unwrap_or(i64::MAX));
        }
    }
}

// === impl OutletCounts ===

impl OutletCounts {
    /// Counts a note that found no room.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// Counts a note that was told, or not, after `age`.
    pub fn count(&self, delivery: Delivery, age: Duration) {
        match delivery {
            Delivery::Delivered => {
                self.delivered.inc();
                self.seconds.observe(nanoseconds(age));
            }
            Delivery::Failed => self.failed.inc(),
            Delivery::Timeout => self.timeout.inc(),
        }
    }

    /// Delivered, failed, timed out, dropped.
    pub fn totals(&self) -> [u64; 4] {
        [&self.delivered, &self.failed, &self.timeout, &self.dropped].map(IntCounter::get)
    }
}

// === impl OfPlugin ===

impl Labels for OfPlugin {
    fn values(&self) -> Vec<&str> {
        vec![&self.0]
    }

    fn overflow(&self) -> Self {
        Self(OTHER.into())
    }
}
