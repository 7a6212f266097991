//! The audit log as lines of JSON, on standard output, standard error or in a file.
//!
//! A place in the queue is reserved before a request does anything, and filled when its outcome is known. While
//! lines cannot be written, nothing can be reserved: the gateway refuses rather than act unrecorded. A pipe that nobody
//! reads is such a place, which is why the default is a file.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info};
use weir_plugin_protocol::audit::AuditEvent;

pub use self::config::{AuditConfig, AuditSinkKind};
pub use self::line::is_deceptive;
pub use self::tally::Shed;
use super::line_store::Job;
pub use super::line_store::{AuditTarget, DiskLines, LineStore};
use super::outside::Clock;
use super::rfc3339;
use tally::Tally;

mod config;
mod home;
mod line;
mod tally;
#[cfg(test)]
mod tests;

/// The most lines in one write.
const BATCH_LINES: usize = 256;
/// How long lines are gathered after a write, under load. The first line after a rest is written at once.
const GATHER: Duration = Duration::from_millis(2);
/// The pause after the first failed write; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to write.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The way into the audit log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    entries: mpsc::Sender<Entry>,
    shared: Arc<Shared>,
}

/// A reserved place. Dropping it gives the place back and records nothing.
#[derive(Debug)]
pub struct AuditSlot {
    place: mpsc::OwnedPermit<Entry>,
    shared: Arc<Shared>,
}

/// Why no place could be reserved. The request must be refused (503, retryable).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AuditFull {
    /// Every place is taken: the sink is slower than the requests.
    #[error("the audit queue is full")]
    Full,
    /// The last write failed and no retry has succeeded since.
    #[error("audit lines cannot be written")]
    Failing,
    /// The writer has ended for good.
    #[error("the audit log is closed")]
    Closed,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounters {
    /// Events recorded.
    pub accepted: u64,
    /// Lines written.
    pub written: u64,
    /// Attempts to write that failed.
    pub failed: u64,
    /// Reservations refused.
    pub refused: u64,
    /// Full files that were renamed.
    pub rotated: u64,
    /// Full files that could not be renamed, and grew on.
    pub unrotated: u64,
    /// Places taken, by requests in flight and by lines that wait.
    pub queued: usize,
    /// False while lines cannot be written.
    pub healthy: bool,
}

/// Owns the file or pipe. One task drives [`AuditWriter::run`]; if that is cancelled or panics, running it again goes
/// on where it stopped: nothing that was recorded is lost, and no line is written twice.
pub struct AuditWriter {
    entries: mpsc::Receiver<Entry>,
    store: Box<dyn LineStore>,
    shared: Arc<Shared>,
    received: Vec<Entry>,
    batch: Batch,
    working: Option<Working>,
}

#[derive(Debug)]
enum Entry {
    Line(String),
    Flush(oneshot::Sender<()>),
}

struct Shared {
    clock: Clock,
    capacity: usize,
    healthy: AtomicBool,
    reopen: Notify,
    tally: Tally,
    accepted: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    rotated: AtomicU64,
    unrotated: AtomicU64,
    copyist: ArcSwapOption<Arc<dyn Copyist>>,
    /// False from a rotation that failed until one succeeds.
    rotates: AtomicBool,
}

/// Is told what was written. Called on the writer's thread, so it must not wait.
pub trait Copyist: Send + Sync + 'static {
    /// One line, an event as JSON without a line end.
    fn line(&self, line: Bytes);
}

/// Lines on their way to the store.
#[derive(Default)]
struct Batch {
    bytes: Bytes,
    done: usize,
    lines: u64,
    flushes: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Working {
    Appending,
    Reopening,
}

/// Makes an audit log of `capacity` places that writes to `store`.
pub fn audit_log(
    store: impl LineStore,
    capacity: NonZeroUsize,
    clock: Clock,
) -> (AuditLog, AuditWriter) {
    let (sender, entries) = mpsc::channel(capacity.get());
    let shared = Arc::new(Shared {
        clock,
        capacity: capacity.get(),
        healthy: AtomicBool::new(true),
        reopen: Notify::new(),
        tally: Tally::default(),
        accepted: AtomicU64::new(0),
        written: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        rotated: AtomicU64::new(0),
        unrotated: AtomicU64::new(0),
        rotates: AtomicBool::new(true),
        copyist: ArcSwapOption::empty(),
    });
    let log = AuditLog {
        entries: sender,
        shared: shared.clone(),
    };
    let writer = AuditWriter {
        entries,
        store: Box::new(store),
        shared,
        received: Vec::with_capacity(BATCH_LINES),
        batch: Batch::default(),
        working: None,
    };
    (log, writer)
}

// === impl AuditLog ===

impl AuditLog {
    /// Reserves a place, without waiting.
    pub fn reserve(&self) -> Result<AuditSlot, AuditFull> {
        let refuse = |reason| {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            Err(reason)
        };
        if !self.shared.healthy.load(Ordering::Acquire) {
            return refuse(AuditFull::Failing);
        }
        match self.entries.clone().try_reserve_owned() {
            Ok(place) => Ok(AuditSlot {
                place,
                shared: self.shared.clone(),
            }),
            Err(TrySendError::Full(_)) => refuse(AuditFull::Full),
            Err(TrySendError::Closed(_)) => refuse(AuditFull::Closed),
        }
    }

    /// Whether a place could be reserved at this moment; if not, that counts as refused.
    pub fn has_room(&self) -> bool {
        let room = self.shared.healthy.load(Ordering::Acquire) && self.entries.capacity() > 0;
        if !room {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// Counts a request that was refused because there was too much. Once a second one line for each caller and reason
    /// says how many there were: a flood neither fills the log nor takes places that other requests need.
    pub fn tally(&self, shed: Shed) {
        self.shared.tally(shed);
    }

    /// Waits until everything that was recorded before is written. Waits for ever while lines cannot be written:
    /// whoever shuts down sets a limit.
    pub async fn flush(&self) -> Result<(), AuditFull> {
        let (done, written) = oneshot::channel();
        let sent = self.entries.send(Entry::Flush(done)).await;
        sent.map_err(|_| AuditFull::Closed)?;
        written.await.map_err(|_| AuditFull::Closed)
    }

    /// Has everything that is written from now on told to somebody, or to nobody.
    pub fn copy_to(&self, copyist: Option<Arc<dyn Copyist>>) {
        self.shared.copyist.store(copyist.map(Arc::new));
    }

    /// Has the file opened again under its name, after it was moved away (SIGHUP).
    pub fn reopen(&self) {
        self.shared.reopen.notify_one();
    }

    /// What happened so far.
    pub fn counters(&self) -> AuditCounters {
        AuditCounters {
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            written: self.shared.written.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
            rotated: self.shared.rotated.load(Ordering::Relaxed),
            unrotated: self.shared.unrotated.load(Ordering::Relaxed),
            queued: self.shared.capacity.saturating_sub(self.entries.capacity()),
            healthy: self.shared.healthy.load(Ordering::Acquire),
        }
    }
}

// === impl AuditSlot ===

impl AuditSlot {
    /// Records `event`. An empty timestamp is filled in. Never fails: the place was reserved.
    pub fn record(self, event: &AuditEvent<'_>) {
        let line = if event.timestamp.is_empty() {
            let mut event = event.clone();
            event.timestamp = rfc3339::format(self.shared.clock.now(), 0).into();
            line::write(&event)
        } else {
            line::write(event)
        };
        self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        self.place.send(Entry::Line(line));
    }

    /// Gives the place back and counts the request with others of its kind, see [`AuditLog::tally`].
    pub fn tally(self, shed: Shed) {
        self.shared.tally(shed);
    }
}

// === impl AuditWriter ===

impl AuditWriter {
    /// Writes what is recorded, until every [`AuditLog`] and [`AuditSlot`] is gone and everything is written.
    pub async fn run(&mut self) {
        loop {
            if self.working == Some(Working::Reopening) {
                self.finish_reopening().await;
            }
            if self.batch.is_done() {
                let partial = self.batch.lines > 0 && self.batch.lines < BATCH_LINES as u64;
                self.batch.settle(&self.shared);
                if partial {
                    // Lines that come meanwhile share one write: waking a thread for each costs more than the line.
                    tokio::time::sleep(GATHER).await;
                }
                tokio::select! {
                    biased;
                    () = self.shared.reopen.notified() => {
                        self.begin(Working::Reopening);
                        continue;
                    }
                    count = self.entries.recv_many(&mut self.received, BATCH_LINES) => {
                        if count == 0 && self.received.is_empty() && self.shared.tally.is_empty() {
                            return;
                        }
                    }
                    () = self.shared.tally.due() => {}
                }
                let flush = |entry: &Entry| matches!(entry, Entry::Flush(_));
                let at_once = self.received.is_empty() || self.received.iter().any(flush);
                let counted = self.shared.tallied(at_once);
                self.batch = Batch::of(&mut self.received, counted);
            }
            self.append().await;
        }
    }

    /// Writes the batch, however often it takes.
    async fn append(&mut self) {
        let mut pause = RETRY_MIN;
        while !self.batch.is_done() {
            if self.working.is_none() {
                self.begin(Working::Appending);
            }
            let outcome = self.store.outcome().await;
            self.working = None;
            self.batch.done += outcome.written;
            if let Some(rotation) = outcome.rotation {
                self.shared.rotation(rotation);
            }
            match outcome.result {
                Ok(()) => self.shared.recovered(),
                Err(error) => {
                    self.shared.failed(&error);
                    tokio::select! {
                        biased;
                        () = self.shared.reopen.notified() => {
                            self.begin(Working::Reopening);
                            self.finish_reopening().await;
                        }
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn begin(&mut self, working: Working) {
        self.store.submit(match working {
            Working::Appending => Job::Append(self.batch.bytes.slice(self.batch.done..)),
            Working::Reopening => Job::Reopen,
        });
        self.working = Some(working);
    }

    async fn finish_reopening(&mut self) {
        let outcome = self.store.outcome().await;
        self.working = None;
        match outcome.result {
            // What was torn stays torn in the old file; the new one begins with a whole line.
            Ok(()) => {
                self.batch.back_to_line_start();
                info!("audit file opened again");
            }
            Err(error) => error!(%error, "audit file cannot be opened again, the old one stays"),
        }
    }
}

// === impl Shared ===

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn tally(&self, shed: Shed) {
        self.tally.count(shed, || self.clock.now());
    }

    /// The lines of what was counted, if it is time for them.
    fn tallied(&self, at_once: bool) -> Vec<String> {
        let lines = match !self.tally.is_empty() && (at_once || self.tally.is_due()) {
            true => self.tally.take(),
            false => Vec::new(),
        };
        self.accepted
            .fetch_add(lines.len() as u64, Ordering::Relaxed);
        lines
    }

    fn failed(&self, error: &std::io::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if self.healthy.swap(false, Ordering::AcqRel) {
            error!(%error, "audit lines cannot be written, requests are refused");
        }
    }

    fn recovered(&self) {
        if !self.healthy.swap(true, Ordering::AcqRel) {
            info!("audit lines are written again");
        }
    }

    fn rotation(&self, result: std::io::Result<()>) {
        match result {
            Ok(()) => {
                self.rotated.fetch_add(1, Ordering::Relaxed);
                self.rotates.store(true, Ordering::Relaxed);
                info!("audit file was full, a new one is begun");
            }
            Err(error) => {
                self.unrotated.fetch_add(1, Ordering::Relaxed);
                if self.rotates.swap(false, Ordering::Relaxed) {
                    error!(%error, "audit file is full and cannot be renamed, it grows on");
                }
            }
        }
    }
}

// === impl Batch ===

impl Batch {
    fn of(received: &mut Vec<Entry>, counted: Vec<String>) -> Self {
        let mut batch = Self::default();
        let mut bytes = Vec::new();
        let counted = counted.into_iter().map(Entry::Line);
        for entry in received.drain(..).chain(counted) {
            match entry {
                Entry::Line(line) => {
                    bytes.extend_from_slice(line.as_bytes());
                    bytes.push(b'\n');
                    batch.lines += 1;
                }
                Entry::Flush(flush) => batch.flushes.push(flush),
            }
        }
        batch.bytes = bytes.into();
        batch
    }

    fn is_done(&self) -> bool {
        self.done >= self.bytes.len()
    }

    /// Counts what was written and tells those who wait.
    fn settle(&mut self, shared: &Shared) {
        let batch = std::mem::take(self);
        shared.written.fetch_add(batch.lines, Ordering::Relaxed);
        if let Some(copyist) = &*shared.copyist.load() {
            for line in batch.bytes.split(|byte| *byte == b'\n') {
                if !line.is_empty() {
                    copyist.line(batch.bytes.slice_ref(line));
                }
            }
        }
        for flush in batch.flushes {
            let _ = flush.send(());
        }
    }

    fn back_to_line_start(&mut self) {
        let done = self.bytes.get(..self.done).unwrap_or_default();
        self.done = done
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
    }
}
