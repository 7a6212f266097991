//! Connections that make no progress are cut: heads that never end, readers that do not read, clients that say nothing.
//!
//! actix-http bounds the first head of a connection and the time between two requests, and nothing else. So every
//! connection is watched from below: it notes in a few cells what its client is about, and one task for each worker
//! looks at all of them twice a second. A call costs a handful of writes to memory: no clock, no timer, no allocation.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_http::body::{BodySize, MessageBody};
use actix_http::{ConnectionType, Extensions, Response, StatusCode};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use weir_actors::pipeline::Metrics;

use super::connections::Counts;

/// How often the connections are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long the rest of a body that nobody wants any more is thrown away before the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of such a body that are thrown away; more are left where they are, and their sender waits.
const UNWANTED: usize = 1024 * 1024;
/// Bytes that a reader has to take to count as reading, unless it takes all there is.
const PROGRESS: usize = 64 * 1024;

/// How long a client may keep a connection waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the rest of a head, from its first byte.
    pub(crate) head: Duration,
    /// For the next request.
    pub(crate) idle: Duration,
    /// For a client to take some of its answer.
    pub(crate) write: Duration,
}

/// Watches the connections of one worker.
pub(crate) struct Watch {
    /// Asked again and again: it may change.
    patience: Box<dyn Fn() -> Patience>,
    metrics: Arc<Metrics>,
    /// Ticks since the start, as far as anything was watched.
    now: Cell<u32>,
    watched: RefCell<Vec<Weak<Conduct>>>,
    looking: Cell<bool>,
}

/// What the client of one connection is about.
pub(crate) struct Conduct {
    watch: Rc<Watch>,
    /// The task of the connection.
    task: RefCell<Option<Waker>>,
    /// Requests that are not answered yet.
    busy: Cell<u32>,
    /// Since when no request is there.
    idle: Cell<u32>,
    /// Since when a part of a head is there, but not all of it.
    head: Cell<Option<u32>>,
    /// Since when the client takes less than [`PROGRESS`].
    stalled: Cell<Option<u32>>,
    taken: Cell<usize>,
    /// Set when the answer was the last one.
    closing: Cell<bool>,
    unwanted: Cell<usize>,
    cut: Cell<Option<Cut>>,
}

/// Why a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    SlowHead,
    SlowReader,
    Idle,
}

/// A stream whose conduct is noted.
pub(crate) struct Watched {
    stream: TcpStream,
    conduct: Rc<Conduct>,
    /// Counted while it is open.
    _counts: Counts,
}

/// A request that is not answered yet: the client waits for us, not we for it.
pub(crate) struct Busy(Rc<Conduct>);

/// A body that keeps its connection [`Busy`] until it has been handed over.
pub(crate) struct Attended<B> {
    body: B,
    _busy: Option<Busy>,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(
        patience: impl Fn() -> Patience + 'static,
        metrics: Arc<Metrics>,
    ) -> Rc<Self> {
        Rc::new(Self {
            patience: Box::new(patience),
            metrics,
            now: Cell::new(0),
            watched: RefCell::default(),
            looking: Cell::new(false),
        })
    }

    /// Watches a connection from now on, and has the system give up data that the client does not acknowledge.
    pub(crate) fn over(self: &Rc<Self>, stream: TcpStream, counts: Counts) -> Watched {
        let _late_at_worst = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        {
            let limit = u32::try_from((self.patience)().write.as_millis()).unwrap_or(u32::MAX);
            let _closed_later = rustix::net::sockopt::set_tcp_user_timeout(&stream, limit);
        }
        let conduct = Rc::new(Conduct {
            watch: Rc::clone(self),
            task: RefCell::default(),
            busy: Cell::new(0),
            idle: Cell::new(self.now.get()),
            head: Cell::default(),
            stalled: Cell::default(),
            taken: Cell::default(),
            closing: Cell::default(),
            unwanted: Cell::default(),
            cut: Cell::default(),
        });
        self.watched.borrow_mut().push(Rc::downgrade(&conduct));
        if !self.looking.replace(true) {
            actix_rt::spawn(look(Rc::downgrade(self)));
        }
        Watched {
            stream,
            conduct,
            _counts: counts,
        }
    }
}

/// Looks at the connections of a worker for as long as there are any.
async fn look(watch: Weak<Watch>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(watch) = watch.upgrade() else { return };
        let now = watch.now.get().wrapping_add(1);
        watch.now.set(now);
        let patience = (watch.patience)();
        let mut watched = watch.watched.borrow_mut();
        watched.retain(|conduct| match conduct.upgrade() {
            Some(conduct) => {
                conduct.judge(now, &patience);
                true
            }
            None => false,
        });
        if watched.is_empty() {
            watched.shrink_to_fit();
            watch.looking.set(false);
            return;
        }
    }
}

// === impl Conduct ===

impl Conduct {
    /// Notes that a request is there, whole but for its body.
    pub(crate) fn asked(self: &Rc<Self>) -> Busy {
        self.head.set(None);
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }

    fn heard(&self, bytes: usize) {
        if self.busy.get() > 0 {
            return;
        }
        if self.head.get().is_none() {
            self.head.set(Some(self.watch.now.get()));
        }
        if self.closing.get() {
            self.unwanted.set(self.unwanted.get() + bytes);
        }
    }

    /// Whether enough was thrown away.
    fn hears_no_more(&self) -> bool {
        self.unwanted.get() >= UNWANTED
    }

    fn took(&self, bytes: usize) {
        if self.stalled.get().is_some() {
            self.taken.set(self.taken.get() + bytes);
            if self.taken.get() >= PROGRESS {
                self.stalled.set(None);
            }
        }
    }

    fn took_everything(&self) {
        self.stalled.set(None);
    }

    fn takes_nothing(&self) {
        if self.stalled.get().is_none() {
            self.stalled.set(Some(self.watch.now.get()));
            self.taken.set(0);
        }
    }

    /// Remembers whom to wake.
    fn waits(&self, context: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task
            .as_ref()
            .is_some_and(|task| task.will_wake(context.waker()))
        {
            *task = Some(context.waker().clone());
        }
    }

    fn judge(&self, now: u32, patience: &Patience) {
        let over = |since: Option<u32>, limit: Duration| {
            since.is_some_and(|since| TICK * now.wrapping_sub(since).saturating_sub(1) >= limit)
        };
        let idle = if self.closing.get() {
            LINGER
        } else {
            patience.idle
        };
        let why = if over(self.stalled.get(), patience.write) {
            Cut::SlowReader
        } else if self.busy.get() > 0 {
            return;
        } else if over(self.head.get(), patience.head) {
            Cut::SlowHead
        } else if over(Some(self.idle.get()), idle) {
            Cut::Idle
        } else {
            return;
        };
        if self.cut.replace(Some(why)).is_none() {
            let metrics = &self.watch.metrics.connections;
            match why {
                Cut::SlowHead => metrics.slow_heads.inc(),
                Cut::SlowReader => metrics.slow_readers.inc(),
                Cut::Idle => metrics.idle.inc(),
            }
            tracing::debug!(?why, "connection cut");
        }
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    fn verdict(&self) -> io::Result<()> {
        match self.cut.get() {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

// === impl Busy ===

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
        self.0.idle.set(self.0.watch.now.get());
    }
}

// === impl Watched ===

impl Watched {
    /// Makes the conduct known to the requests of this connection.
    pub(crate) fn introduce(&self, connection: &mut Extensions) {
        connection.insert(Rc::clone(&self.conduct));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.conduct.cut.get() == Some(Cut::SlowReader) {
            // What it did not take must not stay behind in the system's buffers.
            let _kept_a_while = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.conduct.verdict()?;
        if self.conduct.hears_no_more() {
            self.conduct.waits(context);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &read {
            Poll::Ready(Ok(())) => match buffer.filled().len() - before {
                0 => {}
                bytes => self.conduct.heard(bytes),
            },
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.conduct.waits(context),
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.conduct.verdict()?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        match &written {
            Poll::Ready(Ok(taken)) => self.conduct.took(*taken),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.conduct.takes_nothing();
                self.conduct.waits(context);
            }
        }
        written
    }

    /// Called when everything there was has been written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conduct.took_everything();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

// === impl Attended ===

/// The same answer, whose body keeps the connection busy. After a body that was not read to its end it is the last one.
pub(crate) fn attend<B>(mut answer: Response<B>, busy: Option<Busy>) -> Response<Attended<B>> {
    if matches!(
        answer.status(),
        StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
    ) {
        answer.head_mut().set_connection_type(ConnectionType::Close);
        if let Some(Busy(conduct)) = &busy {
            conduct.closing.set(true);
        }
    }
    answer.map_body(|_, body| Attended { body, _busy: busy })
}

impl<B: MessageBody + Unpin> MessageBody for Attended<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
