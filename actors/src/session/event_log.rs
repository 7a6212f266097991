//! One event stream of a session, as a client that lost its connection can read on in it.
//!
//! Every event gets an id, `STREAM.NUMBER`, where `STREAM` is the name of the stream in the session. The events stay here
//! for a while; a GET with `Last-Event-ID` reads on after that event, in that stream alone. What is not kept any more is
//! [`OutOfReach`]: never is something left out silently. See the MCP specification 2025-11-25, "Resumability and
//! Redelivery".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::replay::{OutOfReach, Replay};
use super::shelf::Shelf;

/// Events that a reader takes at once.
const READ_AT_ONCE: usize = 64;

/// How long a client is asked to wait before it connects again, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// A stream of events that can be read again.
#[derive(Debug)]
pub struct EventLog {
    /// Its name in the session; empty: its events have no ids.
    name: String,
    /// Whether it is the standalone stream of its session.
    standalone: bool,
    shelf: Arc<Shelf>,
    state: Mutex<State>,
    /// Rung when something changes.
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    replay: Replay,
    over: bool,
    /// Counts readers; the newest is the one that reads.
    reader: u64,
    /// Whether the newest reader is still there.
    is_read: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Framed events, ids included.
    pub frames: Vec<Bytes>,
    /// Nothing will follow.
    pub over: bool,
}

/// The reader of a stream. A newer one takes its place.
#[derive(Debug)]
pub struct Reader {
    log: Arc<EventLog>,
    number: u64,
    seen: u64,
}

// === impl EventLog ===

impl EventLog {
    pub(super) fn new(name: String, standalone: bool, shelf: Arc<Shelf>) -> Arc<Self> {
        Arc::new(Self {
            name,
            standalone,
            shelf,
            state: Mutex::default(),
            bell: Notify::new(),
        })
    }

    /// The event that tells a client the name of the stream before anything has happened, and when to come back: an id,
    /// `retry` and empty data. Only for clients of 2025-11-25.
    pub fn primer(&self) -> Bytes {
        format!("id: {}.0\nretry: {RETRY_MS}\ndata: \n\n", self.name).into()
    }

    /// Keeps a framed event and returns it with its id.
    pub fn append(&self, frame: &[u8]) -> Bytes {
        let mut state = self.lock();
        let frame = self.named(state.replay.last() + 1, frame);
        let size = frame.len();
        let limit = self.shelf.limits.stream_bytes;
        if state.over {
            return frame; // Nobody reads what comes after the end.
        }
        if size > limit {
            self.shelf.give(state.replay.bytes());
            state.replay.skip();
        } else {
            while state.replay.bytes() + size > limit {
                match state.replay.forget_oldest() {
                    Some(bytes) => self.shelf.give(bytes),
                    None => break,
                }
            }
            // Making room may end up in another log, never in this one: it is not over.
            if self.shelf.take(size) {
                state.replay.push(frame.clone());
            } else {
                self.shelf.give(state.replay.bytes());
                state.replay.skip();
            }
        }
        drop(state);
        self.bell.notify_waiters();
        frame
    }

    fn named(&self, number: u64, frame: &[u8]) -> Bytes {
        if self.name.is_empty() {
            return Bytes::copy_from_slice(frame);
        }
        let id = format!("id: {}.{number}\n", self.name);
        let mut named = BytesMut::with_capacity(id.len() + frame.len());
        named.put_slice(id.as_bytes());
        named.put_slice(frame);
        named.freeze()
    }

    /// Says that nothing follows. What is there is kept for a while.
    pub fn end(self: &Arc<Self>) {
        let was_over = std::mem::replace(&mut self.lock().over, true);
        if !was_over {
            self.shelf.put(self);
            self.bell.notify_waiters();
        }
    }

    /// Says that nothing follows and that nobody can read it again: the session is over.
    pub(super) fn close(&self) {
        self.lock().over = true;
        self.forget();
    }

    /// Forgets the events.
    pub(super) fn forget(&self) {
        let bytes = self.lock().replay.clear();
        self.shelf.give(bytes);
        self.bell.notify_waiters();
    }

    /// Whether a stream has its end, and nothing of it is left.
    pub(super) fn is_spent(&self) -> bool {
        let state = self.lock();
        state.over && state.replay.bytes() == 0
    }

    /// Whether its events can be asked for again.
    pub fn has_ids(&self) -> bool {
        !self.name.is_empty()
    }

    /// How long it is kept without a reader.
    pub fn keep(&self) -> Duration {
        if self.has_ids() {
            self.shelf.limits.keep
        } else {
            Duration::ZERO
        }
    }

    /// Whether nothing will follow.
    pub fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Whether it is the standalone stream of its session.
    pub fn is_standalone(&self) -> bool {
        self.standalone
    }

    /// Whether somebody reads it.
    pub fn is_read(&self) -> bool {
        self.lock().is_read
    }

    /// The number of the newest reader; 0: none but the connection that the stream began on.
    pub fn readers(&self) -> u64 {
        self.lock().reader
    }

    /// Resolves at the next change.
    pub fn changed(&self) -> Notified<'_> {
        self.bell.notified()
    }

    /// Reads on after the event with the number `seen`. A reader that is still there makes room.
    ///
    /// # Errors
    /// The events after it are not all kept.
    pub fn read(self: &Arc<Self>, seen: u64) -> Result<Reader, OutOfReach> {
        let mut state = self.lock();
        let rest = state.replay.after(seen, 1)?;
        // Its client has had all of it, and nobody listens to the servers for it any more.
        if self.standalone && state.over && rest.is_empty() {
            return Err(OutOfReach);
        }
        state.reader += 1;
        state.is_read = true;
        let number = state.reader;
        drop(state);
        self.bell.notify_waiters();
        Ok(Reader {
            log: self.clone(),
            number,
            seen,
        })
    }

    /// The name, for those who look it up.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let bytes = self.lock().replay.clear();
        self.shelf.give(bytes);
    }
}

// === impl Reader ===

impl Reader {
    /// Resolves when there is something to read. Cancel safe.
    ///
    /// # Errors
    /// A newer reader took over, or this one was too slow: what comes next is not kept any more.
    pub async fn next(&mut self) -> Result<Page, OutOfReach> {
        let log = self.log.clone();
        loop {
            let changed = log.bell.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(page) = self.page()? {
                return Ok(page);
            }
            changed.await;
        }
    }

    /// What is there now; nothing if more may follow.
    fn page(&mut self) -> Result<Option<Page>, OutOfReach> {
        let state = self.log.lock();
        if state.reader != self.number {
            return Err(OutOfReach);
        }
        let frames = state.replay.after(self.seen, READ_AT_ONCE)?;
        let seen = self.seen + frames.len() as u64;
        let over = state.over && seen == state.replay.last();
        drop(state);
        self.seen = seen;
        Ok((over || !frames.is_empty()).then_some(Page { frames, over }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.log.lock();
        if state.reader == self.number {
            state.is_read = false;
            drop(state);
            self.log.bell.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
