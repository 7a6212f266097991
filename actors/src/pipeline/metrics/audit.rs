//! The audit log: what it was given and what is on its medium.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use super::register::Register;
use crate::builtin::audit_lines::AuditCounters;

/// Counts of the audit log. It counts for itself; what it has counted is copied here when somebody looks.
#[derive(Debug)]
pub struct AuditMetrics {
    events: IntCounterVec,
    rotations: IntCounterVec,
    queued: IntGauge,
}

// === impl AuditMetrics ===

impl AuditMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            events: register.counters(
                "weir_audit_events_total",
                "Audit events by what became of them.",
                &["state"],
            )?,
            rotations: register.counters(
                "weir_audit_rotations_total",
                "Full audit files, by whether they could be renamed.",
                &["result"],
            )?,
            queued: register.gauge(
                "weir_audit_queued",
                "Places of the audit queue that are taken.",
            )?,
        })
    }

    /// Shows what the log has counted.
    pub fn show(&self, counted: &AuditCounters) {
        for (state, count) in [
            ("accepted", counted.accepted),
            ("written", counted.written),
            ("failed", counted.failed),
            ("refused", counted.refused),
        ] {
            catch_up(&self.events.with_label_values(&[state]), count);
        }
        for (result, count) in [("done", counted.rotated), ("failed", counted.unrotated)] {
            catch_up(&self.rotations.with_label_values(&[result]), count);
        }
        self.queued
            .set(i64::try_from(counted.queued).unwrap_or(i64::MAX));
    }
}

fn catch_up(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}
