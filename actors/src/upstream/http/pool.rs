//! Connections of one thread: lent for one exchange, kept for the next.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::target::Origin;

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
    /// `None` only while it is taken apart.
    connection: Option<Connection>,
    origin: Arc<Origin>,
    pool: Rc<Pool>,
}

/// A connection and the task that moves its bytes.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) driver: AbortHandle,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A request that failed.
pub(super) enum Failure {
    /// Nothing of it was written: here it is again.
    Unsent(Box<Request<Full<Bytes>>>, hyper::Error),
    /// The upstream may have seen it.
    Sent(hyper::Error),
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

    /// Lends the connection that was used last and is alive. One whose last exchange is not quite over is left alone.
    pub(super) fn checkout(self: &Rc<Self>, origin: &Arc<Origin>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(origin)?;
        let mut ready = connections.len();
        while let Some(position) = ready.checked_sub(1) {
            ready = position;
            let idle = connections.get(position)?;
            if !idle.is_usable(self.idle_timeout) {
                connections.remove(position);
            } else if idle.connection.sender.is_ready() {
                let connection = connections.remove(position).connection;
                return Some(self.lend(Arc::clone(origin), connection));
            }
        }
        None
    }

    /// Lends a connection that was just made.
    pub(super) fn lend(self: &Rc<Self>, origin: Arc<Origin>, connection: Connection) -> Lease {
        Lease {
            connection: Some(connection),
            origin,
            pool: Rc::clone(self),
        }
    }

    /// How many connections are kept.
    pub(super) fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    /// Keeps a connection; above the limit it is closed instead.
    fn keep(self: &Rc<Self>, origin: Arc<Origin>, connection: Connection) {
        if connection.sender.is_closed() {
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

/// Closes connections that were not used in time; ends when none is left or the pool is gone.
async fn sweep(pool: std::rc::Weak<Pool>, idle_timeout: Duration) {
    loop {
        tokio::time::sleep(idle_timeout.max(Duration::from_millis(10)) / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.borrow_mut();
        idle.retain(|_, connections| {
            connections.retain(|connection| connection.is_usable(idle_timeout));
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
    fn is_usable(&self, idle_timeout: Duration) -> bool {
        !self.connection.sender.is_closed() && self.since.elapsed() < idle_timeout
    }
}

// === impl Lease ===

impl Lease {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, Failure> {
        let Some(connection) = &mut self.connection else {
            unreachable!("a lease has its connection until it is given back");
        };
        let sent = connection.sender.try_send_request(request).await;
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request), error.into_error()),
            None => Failure::Sent(error.into_error()),
        })
    }

    /// Puts the connection back: its exchange is over.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.keep(Arc::clone(&self.origin), connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.driver.abort();
        }
    }
}
