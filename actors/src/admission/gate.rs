//! The way to one server: its places, its circuit and its budget for second attempts. The same for all workers.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bulkhead::{Bulkhead, Full, Permit};
use super::circuit::{Breaker, Change, CircuitState, Failure};
use super::window::Window;

/// Second attempts that are always allowed, for each second of the last ten.
const RETRIES_A_SECOND: u64 = 1;
/// One more for this many calls.
const CALLS_FOR_A_RETRY: u64 = 10;

/// The way to one server.
#[derive(Debug)]
pub struct Gate {
    bulkhead: Arc<Bulkhead>,
    /// Whether calls go through without asking the breaker.
    closed: AtomicBool,
    /// Counts the times that the circuit was closed: what began before says nothing of what is now.
    generation: AtomicU32,
    in_a_row: AtomicU32,
    recent: Window,
    breaker: Mutex<Breaker>,
    /// Second attempts of the last ten seconds. Its lock is taken for such attempts alone.
    retries: Mutex<Window>,
    made: Instant,
}

/// What a request was refused for at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No place within the time that a request may wait for one.
    Queue,
    /// The server is left alone until then.
    Open(Duration),
}

/// A call that was let through: it has a place, and says how it ended. Dropped without a word it says nothing.
#[derive(Debug)]
#[must_use]
pub struct Passage {
    gate: Arc<Gate>,
    _place: Permit,
    generation: u32,
    trial: bool,
}

/// What an operator may see of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateView {
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that wait for a place.
    pub waiting: usize,
    /// Whether the server is left alone.
    pub circuit: CircuitState,
}

/// The circuit of a server changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switched {
    /// The server is left alone for this time.
    Opened(Duration),
    /// It works again.
    Closed,
}

// === impl Gate ===

impl Default for Gate {
    fn default() -> Self {
        Self {
            bulkhead: Arc::default(),
            closed: AtomicBool::new(true),
            generation: AtomicU32::new(0),
            in_a_row: AtomicU32::new(0),
            recent: Window::default(),
            breaker: Mutex::default(),
            retries: Mutex::default(),
            made: Instant::now(),
        }
    }
}

impl Gate {
    /// Lets a call through as soon as it has one of `places`, within `patience`.
    ///
    /// # Errors
    /// The server is left alone, or has too much to do.
    pub async fn enter(
        self: &Arc<Self>,
        places: usize,
        patience: Duration,
    ) -> Result<Passage, Refused> {
        // Whoever may not pass does not wait for a place, and whoever waited asks again.
        self.look()?;
        let place = self.bulkhead.enter(places, patience).await;
        let place = place.map_err(|Full| Refused::Queue)?;
        let generation = self.generation.load(Ordering::Acquire);
        let trial = match self.closed.load(Ordering::Acquire) {
            true => false,
            false => self
                .breaker()
                .admit(Instant::now())
                .map_err(Refused::Open)?,
        };
        Ok(Passage {
            gate: self.clone(),
            _place: place,
            generation,
            trial,
        })
    }

    /// Lets a call through if nothing holds it up: the way that nearly all take.
    pub fn try_enter(self: &Arc<Self>, places: usize) -> Option<Passage> {
        if !self.closed.load(Ordering::Acquire) {
            return None;
        }
        Some(Passage {
            _place: self.bulkhead.try_enter(places)?,
            generation: self.generation.load(Ordering::Acquire),
            gate: self.clone(),
            trial: false,
        })
    }

    /// Whether a call may be sent a second time now; that is counted.
    pub fn may_retry(&self) -> bool {
        let second = self.second();
        let retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = RETRIES_A_SECOND * super::window::SECONDS
            + self.recent.sum(second).calls / CALLS_FOR_A_RETRY;
        let left = retries.sum(second).calls < budget;
        if left {
            retries.count(second, false);
        }
        left
    }

    /// What is to be seen of it.
    pub fn view(&self) -> GateView {
        let (in_flight, waiting) = self.bulkhead.load();
        GateView {
            in_flight,
            waiting,
            circuit: self.breaker().state(Instant::now()),
        }
    }

    fn look(&self) -> Result<(), Refused> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.breaker().state(Instant::now()) {
            CircuitState::Open { retry_after } if !retry_after.is_zero() => {
                Err(Refused::Open(retry_after))
            }
            CircuitState::Trial => Err(Refused::Open(super::circuit::FIRST)),
            _ => Ok(()),
        }
    }

    fn second(&self) -> u64 {
        self.made.elapsed().as_secs()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, passage: &Passage) -> Option<Switched> {
        self.recent.count(self.second(), false);
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        if !passage.trial {
            return None;
        }
        let change = self.breaker().trial_succeeded();
        self.switch(change)
    }

    fn failed(&self, passage: &Passage, failure: Failure) -> Option<Switched> {
        let second = self.second();
        self.recent.count(second, true);
        let now = Instant::now();
        if passage.trial {
            let change = self.breaker().trial_failed(now, chance());
            return self.switch(change);
        }
        if passage.generation != self.generation.load(Ordering::Acquire) {
            return None;
        }
        let in_a_row = match failure {
            Failure::Unreachable => self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1,
            Failure::Broken => self.in_a_row.load(Ordering::Relaxed),
        };
        if !Failure::trips(in_a_row, self.recent.sum(second)) {
            return None;
        }
        let change = self.breaker().trip(now, chance());
        self.switch(change)
    }

    fn switch(&self, change: Option<Change>) -> Option<Switched> {
        Some(match change? {
            Change::Opened(alone) => {
                self.closed.store(false, Ordering::Release);
                Switched::Opened(alone)
            }
            Change::Closed => {
                self.in_a_row.store(0, Ordering::Relaxed);
                self.recent.clear();
                self.generation.fetch_add(1, Ordering::AcqRel);
                self.closed.store(true, Ordering::Release);
                Switched::Closed
            }
        })
    }
}

// === impl Passage ===

impl Passage {
    /// The server did its part.
    pub fn succeeded(self) -> Option<Switched> {
        let switched = self.gate.succeeded(&self);
        self.settled();
        switched
    }

    /// The server did not.
    pub fn failed(self, failure: Failure) -> Option<Switched> {
        let switched = self.gate.failed(&self, failure);
        self.settled();
        switched
    }

    /// The gate that it passed.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn settled(mut self) {
        self.trial = false;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.trial {
            self.gate.breaker().trial_given_up(Instant::now());
        }
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    // A new state hashes the same differently.
    let word = RandomState::new().hash_one(()) as u32;
    f64::from(word) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn enter(gate: &Arc<Gate>) -> Result<Passage, Refused> {
        gate.enter(32, Duration::from_millis(100)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_there_is_left_alone_and_tried_once() {
        let gate = Arc::<Gate>::default();
        // Begun before: what becomes of it says nothing after the circuit was closed again.
        let early = enter(&gate).await.unwrap();
        for number in 1..=5 {
            let passage = enter(&gate).await.unwrap();
            let switched = passage.failed(Failure::Unreachable);
            assert_eq!(switched.is_some(), number == 5);
        }
        let Err(Refused::Open(alone)) = enter(&gate).await else {
            panic!("let through");
        };
        assert!((Duration::from_millis(799)..Duration::from_millis(1_201)).contains(&alone));
        tokio::time::advance(alone).await;
        let trial = enter(&gate).await.unwrap();
        assert!(matches!(enter(&gate).await, Err(Refused::Open(_))));
        // A trial that is given up says nothing; the next one may be made at once.
        drop(trial);
        let trial = enter(&gate).await.unwrap();
        assert!(matches!(
            trial.failed(Failure::Broken),
            Some(Switched::Opened(_))
        ));
        let Err(Refused::Open(alone)) = enter(&gate).await else {
            panic!("let through");
        };
        assert!((Duration::from_millis(1_599)..Duration::from_millis(2_401)).contains(&alone));
        tokio::time::advance(alone).await;
        let trial = enter(&gate).await.unwrap();
        assert_eq!(trial.succeeded(), Some(Switched::Closed));
        for _ in 0..4 {
            let passage = enter(&gate).await.unwrap();
            assert_eq!(passage.failed(Failure::Unreachable), None);
        }
        assert_eq!(early.failed(Failure::Unreachable), None);
        assert_eq!(gate.view().circuit, CircuitState::Closed);
        assert_eq!(gate.view().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_between_count_by_their_share() {
        let gate = Arc::<Gate>::default();
        for _ in 0..10 {
            assert_eq!(enter(&gate).await.unwrap().succeeded(), None);
        }
        for number in 1..=10 {
            let switched = enter(&gate).await.unwrap().failed(Failure::Broken);
            assert_eq!(switched.is_some(), number == 10, "{number}");
        }
        // Long ago is forgotten.
        let gate = Arc::<Gate>::default();
        for _ in 0..50 {
            assert!(
                enter(&gate)
                    .await
                    .unwrap()
                    .failed(Failure::Broken)
                    .is_none()
            );
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn second_attempts_have_a_budget() {
        let gate = Arc::<Gate>::default();
        let allowed = |gate: &Gate| (0..1_000).filter(|_| gate.may_retry()).count();
        assert_eq!(allowed(&gate), 10);
        for _ in 0..500 {
            let _ = enter(&gate).await.unwrap().succeeded();
        }
        assert_eq!(allowed(&gate), 50);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(allowed(&gate), 10);
    }
}
