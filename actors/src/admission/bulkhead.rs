//! How many requests one server has at once, and the line before it: short in number and in time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Requests that may wait for each one that is under way.
const WAITING_PER_PLACE: usize = 2;

/// The same while the line stands: then it is no buffer for a moment, but only makes everybody wait (as CoDel has it,
/// RFC 8289).
const STANDING_PER_PLACE: usize = 1;

/// Who waited no longer than this shows that the line does not stand.
const SHORT_WAIT: Duration = Duration::from_millis(10);

/// How long nobody must have had a short wait for the line to stand.
const STANDS_AFTER: Duration = Duration::from_millis(100);

/// How often timers are looked at while somebody waits: more often than any wait is long.
const TICK: Duration = Duration::from_millis(50);

/// Whoever has waited this long goes before a younger one whose thread is awake anyway.
const FAIR_AFTER: Duration = Duration::from_millis(10);

/// The places of one server, for all workers.
///
/// While there is a free place, a request costs three atomic operations and no lock. Without one it waits in line for
/// at most the time it is given. A place that is given back goes to somebody in line: to one on the same thread, which
/// wakes nobody, unless another has waited for long. Nobody overtakes the line.
#[derive(Debug, Default)]
pub(super) struct Bulkhead {
    limit: AtomicUsize,
    taken: AtomicUsize,
    /// How many are in line: changed under its lock, read without.
    waiting: AtomicUsize,
    line: Mutex<Line>,
    next_ticket: AtomicU64,
}

/// A place at a server. Dropping it gives it to the next.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Bulkhead>>);

/// There is no place: the line is full, or the time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Who waits, and whether that is more than a moment's wait.
#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// Since when nobody has had a short wait.
    slow_since: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    thread: u64,
    since: Instant,
    turn: oneshot::Sender<Permit>,
}

/// Leaves the line when the request is given up.
struct InLine<'a> {
    bulkhead: &'a Bulkhead,
    ticket: u64,
}

// === impl Bulkhead ===

impl Bulkhead {
    /// Takes a place out of `limit`, now or within `patience`.
    ///
    /// # Errors
    /// There was none. Dropping the future leaves the line.
    pub(super) async fn enter(
        self: &Arc<Self>,
        limit: usize,
        patience: Duration,
    ) -> Result<Permit, Full> {
        if let Some(permit) = self.try_enter(limit) {
            return Ok(permit);
        }
        let (ticket, turn) = self.line_up(limit)?;
        let _in_line = InLine {
            bulkhead: self,
            ticket,
        };
        tick();
        match timeout(patience, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Full),
        }
    }

    /// Takes a place out of `limit` that is free.
    pub(super) fn try_enter(self: &Arc<Self>, limit: usize) -> Option<Permit> {
        if self.limit.load(Ordering::Relaxed) != limit {
            self.limit.store(limit, Ordering::SeqCst);
            self.pass_on();
        }
        let free = self.waiting.load(Ordering::SeqCst) == 0 && self.take();
        free.then(|| Permit(Some(self.clone())))
    }

    /// Places taken, and requests in line.
    pub(super) fn load(&self) -> (usize, usize) {
        (
            self.taken.load(Ordering::Relaxed),
            self.waiting.load(Ordering::Relaxed),
        )
    }

    fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |taken| (taken < limit).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    fn line_up(self: &Arc<Self>, limit: usize) -> Result<(u64, oneshot::Receiver<Permit>), Full> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (turn, waiting) = oneshot::channel();
        {
            let mut line = self.line();
            let now = Instant::now();
            if line.waiters.len() >= limit.saturating_mul(line.per_place(now)) {
                return Err(Full);
            }
            line.waiters.push_back(Waiter {
                ticket,
                thread: this_thread(),
                since: now,
                turn,
            });
            self.waiting.store(line.waiters.len(), Ordering::SeqCst);
        }
        // A place may have been given back just before anybody was in line to be seen.
        self.pass_on();
        Ok((ticket, waiting))
    }

    /// Gives free places to those in line.
    fn pass_on(self: &Arc<Self>) {
        while self.waiting.load(Ordering::SeqCst) > 0 && self.take() {
            let next = {
                let mut line = self.line();
                let next = line.next();
                self.waiting.store(line.waiters.len(), Ordering::SeqCst);
                next
            };
            let Some(waiter) = next else {
                self.taken.fetch_sub(1, Ordering::SeqCst);
                continue;
            };
            if let Err(mut unused) = waiter.turn.send(Permit(Some(self.clone()))) {
                // It has just gone. This loop passes its place on, so that nothing calls itself.
                unused.0 = None;
                self.taken.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Line ===

impl Line {
    /// How many may wait for each place.
    fn per_place(&self, now: Instant) -> usize {
        match self.slow_since {
            Some(since) if now.duration_since(since) >= STANDS_AFTER => STANDING_PER_PLACE,
            _ => WAITING_PER_PLACE,
        }
    }

    /// Takes out whose turn it is.
    fn next(&mut self) -> Option<Waiter> {
        let (here, now) = (this_thread(), Instant::now());
        let oldest = self.waiters.front()?;
        let mut place = 0;
        if oldest.thread != here && now.duration_since(oldest.since) < FAIR_AFTER {
            let near = self.waiters.iter().position(|waiter| waiter.thread == here);
            place = near.unwrap_or(0);
        }
        let next = self.waiters.remove(place)?;
        let is_short = now.duration_since(next.since) <= SHORT_WAIT;
        if is_short || self.waiters.is_empty() {
            self.slow_since = None;
        } else {
            self.slow_since.get_or_insert(now);
        }
        Some(next)
    }
}

/// Keeps the timers of this thread ticking while there are lines. A timer that is due before all others wakes its thread
/// when it is set; one that comes after the next tick does not, and each wait sets one.
fn tick() {
    thread_local! {
        /// The last wait began in this tick or the one before; nothing: it does not tick.
        static WAITED: Cell<Option<bool>> = const { Cell::new(None) };
    }
    if WAITED.replace(Some(true)).is_none() {
        tokio::spawn(async {
            while WAITED.get() == Some(true) {
                WAITED.set(Some(false));
                tokio::time::sleep(TICK).await;
            }
            WAITED.set(None);
        });
    }
}

/// A number for this thread.
fn this_thread() -> u64 {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local!(static NUMBER: u64 = THREADS.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(bulkhead) = self.0.take() {
            bulkhead.taken.fetch_sub(1, Ordering::SeqCst);
            bulkhead.pass_on();
        }
    }
}

// === impl InLine ===

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut line = self.bulkhead.line();
        let waiters = &mut line.waiters;
        if let Some(place) = waiters
            .iter()
            .position(|waiter| waiter.ticket == self.ticket)
        {
            waiters.remove(place);
            self.bulkhead.waiting.store(waiters.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests;
