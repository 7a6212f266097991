//! What went wrong between the link and its server, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) starts: Counter,
    pub(super) malformed_lines: Counter,
    pub(super) oversized_lines: Counter,
    pub(super) late_answers: Counter,
    pub(super) dropped_progress: Counter,
    pub(super) dropped_notifications: Counter,
    pub(super) refused_requests: Counter,
    pub(super) unsent_control: Counter,
    pub(super) unlogged_lines: Counter,
}

/// What went wrong since the link was made. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StdioCounts {
    /// How often the process was started.
    pub starts: u64,
    /// Lines of the server that were no JSON-RPC message.
    pub malformed_lines: u64,
    /// Lines of the server that were too long.
    pub oversized_lines: u64,
    /// Answers nobody waited for any more, or that were never asked for.
    pub late_answers: u64,
    /// Progress notifications dropped because the caller did not take them.
    pub dropped_progress: u64,
    /// Other notifications dropped because the gateway did not take them.
    pub dropped_notifications: u64,
    /// Requests of the server refused because the gateway did not take them.
    pub refused_requests: u64,
    /// Cancellations and refusals not written because the server does not read.
    pub unsent_control: u64,
    /// Lines of its standard error that were not logged because there were too many.
    pub unlogged_lines: u64,
}

// === impl Counter ===

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Counters ===

impl Counters {
    pub(super) fn read(&self) -> StdioCounts {
        StdioCounts {
            starts: self.starts.read(),
            malformed_lines: self.malformed_lines.read(),
            oversized_lines: self.oversized_lines.read(),
            late_answers: self.late_answers.read(),
            dropped_progress: self.dropped_progress.read(),
            dropped_notifications: self.dropped_notifications.read(),
            refused_requests: self.refused_requests.read(),
            unsent_control: self.unsent_control.read(),
            unlogged_lines: self.unlogged_lines.read(),
        }
    }
}
