//! What a request needs before anything is done for it: room for its audit record and a permit.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_web::http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use weir_actors::admission::{MemoryGuard, Pressure};
use weir_actors::builtin::audit_lines::{AuditLog, AuditSlot, Shed};
use weir_actors::pipeline::batch::Rooms;
use weir_actors::pipeline::{LimitsConfig, Metrics, Refusal};

/// Admits requests, for all workers.
#[derive(Clone, Debug)]
pub struct Admission {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    max_calls: Arc<AtomicUsize>,
    max_streams: usize,
    audit: AuditLog,
    memory: Arc<MemoryGuard>,
    draining: Arc<AtomicBool>,
}

// === impl Admission ===

impl Admission {
    /// Admits as many as the limits say and `memory` allows, and records them in `audit`.
    pub fn new(limits: &LimitsConfig, audit: AuditLog, memory: MemoryGuard) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(limits.max_in_flight)),
            streams: Arc::new(Semaphore::new(limits.max_streams)),
            max_calls: Arc::new(AtomicUsize::new(limits.max_in_flight)),
            max_streams: limits.max_streams,
            audit,
            memory: Arc::new(memory),
            draining: Arc::default(),
        }
    }

    /// How scarce memory is.
    pub fn pressure(&self, now: Instant) -> Pressure {
        self.memory.pressure(now)
    }

    /// Why a request should be refused before anything of it is read; nothing, if it should not.
    pub(super) fn shed(&self, method: &Method, pressure: Pressure) -> Option<Refusal> {
        let full = self.calls.available_permits() == 0 && !self.is_draining();
        too_much(method, pressure, full).map(Refusal::Overloaded)
    }

    /// Counts a request or connection of which nothing was read.
    pub(super) fn count(&self, metrics: &Metrics, refusal: Refusal, peer: Option<IpAddr>) {
        let outcome = refusal.outcome(None);
        let reason = outcome.reason.unwrap_or_default().into_owned();
        metrics.admission.shed(Some(&reason));
        self.audit.tally(Shed {
            address: peer,
            reason,
            status: outcome.status,
            ..Shed::default()
        });
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
        if self.pressure(Instant::now()) >= Pressure::High {
            return Err(Refusal::Overloaded("memory"));
        }
        self.take(&self.streams, "streams")
    }

    fn take(
        &self,
        semaphore: &Arc<Semaphore>,
        what: &'static str,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.is_draining() {
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

/// Which limit a request is over of which only the head is known; `full`: there is no permit for a call.
fn too_much(method: &Method, pressure: Pressure, full: bool) -> Option<&'static str> {
    let is_stream = *method == Method::GET;
    match pressure {
        // Ending a session takes nothing and gives something back.
        _ if *method == Method::DELETE => None,
        Pressure::Critical => Some("memory"),
        Pressure::High if is_stream => Some("memory"),
        _ if full && !is_stream => Some("in_flight"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_go_first_and_then_everything_but_farewells() {
        use Pressure::{Critical, High, None as Enough};
        for (pressure, full, post, get, delete) in [
            (Enough, false, None, None, None),
            (Enough, true, Some("in_flight"), None, None),
            (High, false, None, Some("memory"), None),
            (High, true, Some("in_flight"), Some("memory"), None),
            (Critical, false, Some("memory"), Some("memory"), None),
            (Critical, true, Some("memory"), Some("memory"), None),
        ] {
            for (method, due) in [
                (Method::POST, post),
                (Method::GET, get),
                (Method::DELETE, delete),
            ] {
                let found = too_much(&method, pressure, full);
                assert_eq!(found, due, "{method} {pressure:?} {full}");
            }
        }
    }
}
