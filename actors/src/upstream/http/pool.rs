//! Connections of one thread: lent for one exchange, kept for the next.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::target::Origin;

/// How often idle connections are looked at: those that the upstream closed go then, and those that were idle too long.
const SWEEP: Duration = Duration::from_secs(1);

/// The connections that nobody uses at the moment, per origin, the last used one on top.
#[derive(Debug)]
pub(super) struct Pool {
    idle: RefCell<HashMap<Arc<Origin>, Vec<Idle>>>,
    sweeping: Cell<bool>,
    idle_timeout: Duration,
    max_idle: usize,
}

/// A connection lent for one exchange. It goes back with [`Lease::give_back`]; dropped before, it is closed at once,
/// which is how the upstream learns that nobody waits any more.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Connection,
    origin: Arc<Origin>,
    pool: Rc<Pool>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(idle_timeout: Duration, max_idle: usize) -> Self {
        Self {
            idle: RefCell::default(),
            sweeping: Cell::new(false),
            idle_timeout,
            max_idle,
        }
    }

    /// Lends the connection that was used last and is alive; those that are not are closed.
    pub(super) fn checkout(self: &Rc<Self>, origin: &Arc<Origin>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(origin)?;
        while let Some(mut idle) = connections.pop() {
            if idle.is_usable(self.idle_timeout) {
                return Some(self.lend(Arc::clone(origin), idle.connection));
            }
        }
        None
    }

    /// Lends a connection that was just made.
    pub(super) fn lend(self: &Rc<Self>, origin: Arc<Origin>, connection: Connection) -> Lease {
        Lease {
            connection,
            origin,
            pool: Rc::clone(self),
        }
    }

    /// How many connections are kept.
    pub(super) fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    /// Keeps a connection; above the limit it is closed instead.
    fn keep(self: &Rc<Self>, origin: Arc<Origin>, mut connection: Connection) {
        if !connection.rest() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(origin).or_default();
        if connections.len() >= self.max_idle {
            return;
        }
        connections.push(Idle {
            connection,
            since: Instant::now(),
        });
        drop(idle);
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self), self.idle_timeout));
        }
    }
}

/// Closes connections that were not used in time or that the upstream has closed; ends when none is left or the pool
/// is gone.
async fn sweep(pool: std::rc::Weak<Pool>, idle_timeout: Duration) {
    let pause = (idle_timeout / 2).clamp(Duration::from_millis(5), SWEEP);
    loop {
        tokio::time::sleep(pause).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.borrow_mut();
        idle.retain(|_, connections| {
            connections.retain_mut(|connection| connection.is_usable(idle_timeout));
            !connections.is_empty()
        });
        if idle.is_empty() {
            pool.sweeping.set(false);
            return;
        }
    }
}

// === impl Idle ===

impl Idle {
    fn is_usable(&mut self, idle_timeout: Duration) -> bool {
        self.since.elapsed() < idle_timeout && self.connection.is_silent()
    }
}

// === impl Lease ===

impl Lease {
    /// Puts the connection back: its exchange is over.
    pub(super) fn give_back(self) {
        self.pool.keep(self.origin, self.connection);
    }
}
