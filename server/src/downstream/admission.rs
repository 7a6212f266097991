//! What a request needs before anything is done for it: room for its audit record and a permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_actors::builtin::audit_lines::{AuditLog, AuditSlot};
use weir_actors::pipeline::batch::Rooms;
use weir_actors::pipeline::{LimitsConfig, Refusal};

/// Admits requests, for all workers.
#[derive(Clone, Debug)]
pub struct Admission {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    max_calls: Arc<AtomicUsize>,
    max_streams: usize,
    audit: AuditLog,
    draining: Arc<AtomicBool>,
}

// === impl Admission ===

impl Admission {
    /// Admits as many as the limits say, and records them in `audit`.
    pub fn new(limits: &LimitsConfig, audit: AuditLog) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(limits.max_in_flight)),
            streams: Arc::new(Semaphore::new(limits.max_streams)),
            max_calls: Arc::new(AtomicUsize::new(limits.max_in_flight)),
            max_streams: limits.max_streams,
            audit,
            draining: Arc::default(),
        }
    }

    /// Whether there is room for a record at all, at this moment.
    pub fn can_record(&self) -> bool {
        self.audit.has_room()
    }

    /// Room for the record; nothing while the audit sink takes no more.
    pub fn reserve_record(&self) -> Option<AuditSlot> {
        self.audit.reserve().ok()
    }

    /// A permit for one request.
    pub fn take_permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.take(&self.calls, "in_flight")
    }

    /// A permit for a stream that waits for events.
    pub fn take_stream(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.take(&self.streams, "streams")
    }

    fn take(
        &self,
        semaphore: &Arc<Semaphore>,
        what: &'static str,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining);
        }
        semaphore
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refusal::Overloaded(what))
    }

    /// Admits another number of requests from now on. If there are to be fewer than are in flight, nothing is admitted
    /// until enough of them have ended.
    pub fn resize(&self, limits: &LimitsConfig) {
        let new = limits.max_in_flight;
        let old = self.max_calls.swap(new, Ordering::Relaxed);
        if new >= old {
            self.calls.add_permits(new - old);
            return;
        }
        let calls = self.calls.clone();
        let fewer = u32::try_from(old - new).unwrap_or(u32::MAX);
        actix_rt::spawn(async move {
            // The semaphore is never closed.
            if let Ok(taken) = calls.acquire_many_owned(fewer).await {
                taken.forget();
            }
        });
    }

    /// Admits nothing from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether everything admitted has been answered.
    pub fn is_idle(&self) -> bool {
        self.taken() == (0, 0)
    }

    /// Permits taken: requests, streams.
    pub fn taken(&self) -> (usize, usize) {
        (
            self.limits()
                .0
                .saturating_sub(self.calls.available_permits()),
            self.max_streams - self.streams.available_permits(),
        )
    }

    /// Permits that exist: requests, streams.
    pub fn limits(&self) -> (usize, usize) {
        (self.max_calls.load(Ordering::Relaxed), self.max_streams)
    }
}

impl Rooms for Admission {
    fn record(&self) -> Option<AuditSlot> {
        self.reserve_record()
    }

    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.take_permit().ok()
    }
}
