//! What a supervisor and one instance of a child share: requests down, answers up, no waiting.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

use super::exit::{Exit, Kill};

const STOP: u8 = 1;
const PING: u8 = 2;
const KILL: u8 = 4;

/// Shared by the supervisor, the cradle the child lives in, and the child's own context.
#[derive(Default)]
pub(crate) struct Control {
    asked: AtomicU8,
    ready: AtomicBool,
    protected: AtomicUsize,
    stopping: Notify,
    cold: Mutex<Cold>,
}

#[derive(Default)]
struct Cold {
    kill: Option<Kill>,
    outcome: Option<Exit>,
    waker: Option<Waker>,
}

/// The supervisor's end. Dropping it kills the child: no instance outlives its supervisor.
pub(crate) struct Reins(Option<Arc<Control>>);

// === impl Control ===

impl Control {
    /// Asks the child to stop when it has finished what it is doing.
    pub(crate) fn stop(&self) {
        self.asked.fetch_or(STOP, Ordering::AcqRel);
        self.stopping.notify_waiters();
        self.wake();
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self) {
        self.asked.fetch_or(PING, Ordering::AcqRel);
        self.wake();
    }

    /// Ends the child without asking it. The first reason counts.
    pub(crate) fn kill(&self, kill: Kill) {
        self.cold().kill.get_or_insert(kill);
        self.asked.fetch_or(KILL, Ordering::AcqRel);
        self.wake();
    }

    pub(crate) fn stop_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire) & STOP != 0
    }

    /// Answers a ping, or says "still at it" without having been asked.
    pub(crate) fn answer(&self) {
        if self.asked.load(Ordering::Relaxed) & PING != 0 {
            self.asked.fetch_and(!PING, Ordering::AcqRel);
        }
    }

    /// Whether the last ping is unanswered and nothing excuses it.
    pub(crate) fn is_silent(&self) -> bool {
        self.asked.load(Ordering::Acquire) & PING != 0
            && self.protected.load(Ordering::Acquire) == 0
    }

    /// Why it is to be killed, if it is.
    pub(crate) fn killed(&self) -> Option<Kill> {
        if self.asked.load(Ordering::Acquire) & KILL == 0 {
            return None;
        }
        self.cold().kill
    }

    /// Waits until a stop is asked for.
    pub(crate) async fn stopped(&self) {
        loop {
            let notified = self.stopping.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.stop_asked() {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn protect(&self) {
        self.protected.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn unprotect(&self) {
        self.answer();
        self.protected.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Records how the child will have ended. The first record counts.
    pub(crate) fn record(&self, exit: Exit) {
        self.cold().outcome.get_or_insert(exit);
    }

    pub(crate) fn take_outcome(&self) -> Option<Exit> {
        self.cold().outcome.take()
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        self.cold().waker = Some(waker.clone());
    }

    fn wake(&self) {
        let waker = self.cold().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn cold(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reins ===

impl Reins {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self(Some(control))
    }

    /// Returns the control of the child.
    pub(crate) fn control(&self) -> Option<&Control> {
        self.0.as_deref()
    }

    /// Lets the child run on without a supervisor.
    pub(crate) fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            control.kill(Kill::Orphaned);
        }
    }
}
