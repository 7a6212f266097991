//! What servers offer, compared with what was approved.

use std::collections::BTreeMap;

use prometheus::{Error, IntCounterVec, IntGaugeVec};

use super::register::Register;
use crate::upstream::ServerName;
use crate::upstream::pins::{PinChange, PinEvent};

/// Counts of pins.
#[derive(Debug)]
pub struct PinMetrics {
    objects: IntGaugeVec,
    events: IntCounterVec,
}

// === impl PinMetrics ===

impl PinMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            objects: register.gauges(
                "weir_pins_objects",
                "Tools, prompts, resources and templates of a server, by how they are compared with what was approved.",
                &["server", "state"],
            )?,
            events: register.counters(
                "weir_pins_events_total",
                "Changes of what servers offer and of what is approved.",
                &["server", "event"],
            )?,
        })
    }

    /// Counts an event. What is told of together counts as often as there are objects.
    pub fn count(&self, event: &PinEvent) {
        let count = match event.what {
            PinChange::More { objects } | PinChange::Trusted { objects } => objects,
            _ => 1,
        };
        self.events
            .with_label_values(&[event.server.as_str(), event.what.as_str()])
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Shows how many objects are in which state.
    pub fn show(&self, counts: &BTreeMap<ServerName, BTreeMap<&'static str, usize>>) {
        // Servers that are gone are not shown any more.
        self.objects.reset();
        for (server, states) in counts {
            for (state, count) in states {
                self.objects
                    .with_label_values(&[server.as_str(), state])
                    .set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
    }
}
