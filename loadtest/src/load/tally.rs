//! What the connections of one thread saw, in one place: a histogram for each of a thousand connections would not fit a cache.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::failure::Failure;
use crate::measurement::{self, nanoseconds};

/// What the connections of one thread saw.
pub(super) struct Tally {
    /// Of good answers.
    pub(super) latency: Histogram<u64>,
    /// Open loop: how much later than intended calls were sent.
    pub(super) lateness: Histogram<u64>,
    /// From sending a call to a defined answer that says no.
    pub(super) refusals: Histogram<u64>,
    pub(super) failures: BTreeMap<Failure, u64>,
}

/// A tally that the tasks of one thread share: its lock is never contended.
#[derive(Clone)]
pub(super) struct SharedTally(Arc<Mutex<Tally>>);

// === impl Tally ===

impl Tally {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            latency: measurement::histogram()?,
            lateness: measurement::histogram()?,
            refusals: measurement::histogram()?,
            failures: BTreeMap::new(),
        })
    }

    pub(super) fn good(&mut self, latency: Duration) {
        self.latency.saturating_record(nanoseconds(latency));
    }

    pub(super) fn late(&mut self, lateness: Duration) {
        self.lateness.saturating_record(nanoseconds(lateness));
    }

    /// `after` so long an answer came that says no, or nothing came any more.
    pub(super) fn bad(&mut self, failure: Failure, after: Duration) {
        if failure.is_refusal() {
            self.refusals.saturating_record(nanoseconds(after));
        }
        self.bad_times(failure, 1);
    }

    pub(super) fn bad_times(&mut self, failure: Failure, times: u64) {
        if times > 0 {
            *self.failures.entry(failure).or_default() += times;
        }
    }

    pub(super) fn add(&mut self, other: Self) -> Result<(), String> {
        let pairs = [
            (&mut self.latency, &other.latency),
            (&mut self.lateness, &other.lateness),
            (&mut self.refusals, &other.refusals),
        ];
        for (own, others) in pairs {
            own.add(others).map_err(|error| error.to_string())?;
        }
        for (failure, times) in other.failures {
            self.bad_times(failure, times);
        }
        Ok(())
    }
}

// === impl SharedTally ===

impl SharedTally {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self(Arc::new(Mutex::new(Tally::new()?))))
    }

    pub(super) fn write(&self, write: impl FnOnce(&mut Tally)) {
        write(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was written so far; what is written later is lost.
    pub(super) fn take(&self) -> Result<Tally, String> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *tally, Tally::new()?))
    }
}
