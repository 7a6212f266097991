//! The room for all events that are kept for clients which lost their connection, and the streams that are over and
//! wait there to be asked for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::EventLog;

/// Streams that are over and kept at most, over all sessions.
const MAX_OVER: usize = 16 * 1024;

/// How much is kept for clients that lost their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Bytes of the events of one stream. The oldest are forgotten first.
    pub stream_bytes: usize,
    /// Bytes of the events of all streams of all sessions. Streams that are over are forgotten first, the oldest first;
    /// if that is not enough, new events are not kept.
    pub total_bytes: usize,
    /// How long a stream is kept after its last reader left, or after its end.
    pub keep: Duration,
}

/// The room. One for all sessions; its lock is taken when a stream ends, not when an event is sent.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) limits: ReplayLimits,
    bytes: AtomicUsize,
    /// Streams that are over, by the time of their end.
    over: Mutex<VecDeque<(Instant, Weak<EventLog>)>>,
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(limits: ReplayLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bytes: AtomicUsize::new(0),
            over: Mutex::default(),
        })
    }

    /// Takes room for an event; makes some by forgetting streams that are over. False if there is none.
    pub(super) fn take(&self, bytes: usize) -> bool {
        loop {
            let taken = self
                .bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    used.checked_add(bytes)
                        .filter(|sum| *sum <= self.limits.total_bytes)
                });
            if taken.is_ok() {
                return true;
            }
            let Some((_, oldest)) = self.over().pop_front() else {
                return false;
            };
            if let Some(log) = oldest.upgrade() {
                log.forget();
            }
        }
    }

    /// Gives room back.
    pub(super) fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Keeps a stream that is over for a while.
    pub(super) fn put(&self, log: &Arc<EventLog>) {
        let mut over = self.over();
        over.push_back((Instant::now(), Arc::downgrade(log)));
        let evicted = if over.len() > MAX_OVER {
            over.pop_front()
        } else {
            None
        };
        drop(over);
        if let Some(log) = evicted.and_then(|(_, log)| log.upgrade()) {
            log.forget();
        }
    }

    /// Forgets the streams that nobody has asked for in time.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        loop {
            let mut over = self.over();
            let is_due = |(ended, _): &(Instant, Weak<EventLog>)| *ended + self.limits.keep <= now;
            if !over.front().is_some_and(is_due) {
                return;
            }
            let due = over.pop_front();
            drop(over);
            if let Some(log) = due.and_then(|(_, log)| log.upgrade()) {
                log.forget();
            }
        }
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn over(&self) -> MutexGuard<'_, VecDeque<(Instant, Weak<EventLog>)>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
