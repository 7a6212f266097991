//! The event streams of one session that can be read again.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_plugin_protocol::mcp::Version;

use super::event_log::EventLog;
use super::{Session, State};

/// Streams that one session can read again. Of more, the oldest that is over is forgotten; if none is over, the new one
/// cannot be read again.
const MAX_STREAMS: usize = 32;

/// Bytes of a `Last-Event-ID` that could be ours.
const MAX_ID_BYTES: usize = 64;

/// The streams of one session.
#[derive(Debug, Default)]
pub(super) struct Streams {
    logs: VecDeque<Arc<EventLog>>,
    standalone: Option<Arc<EventLog>>,
    next: u64,
}

// === impl Streams ===

impl Streams {
    /// Ends all of them for good.
    pub(super) fn close(&mut self) {
        for log in self.logs.drain(..).chain(self.standalone.take()) {
            log.close();
        }
    }

    /// Whether what servers say is gathered.
    pub(super) fn has_standalone(&self) -> bool {
        self.standalone.is_some()
    }

    /// Makes room for one more. False if there is none.
    fn make_room(&mut self) -> bool {
        self.logs.retain(|log| !log.is_spent());
        if self.logs.len() < MAX_STREAMS {
            return true;
        }
        let Some(oldest) = self.logs.iter().position(|log| log.is_over()) else {
            return false;
        };
        if let Some(log) = self.logs.remove(oldest) {
            log.forget();
        }
        true
    }
}

// === impl Session ===

impl Session {
    /// Whether its client is to be told the name of a stream before anything has happened in it.
    pub fn primes(&self) -> bool {
        self.version >= Version::V2025_11_25
    }

    /// A new stream for the answer of a request, if it can be read again.
    pub fn open_log(&self) -> Option<Arc<EventLog>> {
        let mut state = self.lock();
        self.resumable(&mut state, false)
    }

    /// The new standalone stream. An older one is over: a client that begins anew is not locked out by its dead
    /// connection.
    pub fn open_standalone(&self, resumable: bool) -> Arc<EventLog> {
        let mut state = self.lock();
        let log = if resumable {
            self.resumable(&mut state, true)
        } else {
            None
        };
        let log = log.unwrap_or_else(|| EventLog::new(String::new(), true, self.shelf.clone()));
        let older = state.streams.standalone.replace(log.clone());
        drop(state);
        if let Some(older) = older {
            older.end();
        }
        log
    }

    /// Ends a standalone stream.
    pub fn end_standalone(&self, log: &Arc<EventLog>) {
        let mut state = self.lock();
        let standalone = &mut state.streams.standalone;
        if standalone
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, log))
        {
            *standalone = None;
        }
        drop(state);
        log.end();
    }

    /// The stream that a `Last-Event-ID` names, and the number of the event in it. Nothing for ids that this session has
    /// not given out, or whose stream is not kept any more.
    pub fn find_log(&self, last_event_id: &str) -> Option<(Arc<EventLog>, u64)> {
        let id = Some(last_event_id).filter(|id| id.len() <= MAX_ID_BYTES)?;
        let (name, number) = id.rsplit_once('.')?;
        let number = number.parse().ok()?;
        let state = self.lock();
        let log = state.streams.logs.iter().find(|log| log.name() == name)?;
        Some((log.clone(), number))
    }

    /// Puts a message on the standalone stream. Returns false if there is none. Nothing waits: what a client does not
    /// read in time it cannot read any more, and is told so.
    pub fn push(&self, message: &[u8]) -> bool {
        let log = self.lock().streams.standalone.clone();
        match log.filter(|log| !log.is_over()) {
            Some(log) => {
                log.append(&crate::pipeline::event(message));
                true
            }
            None => false,
        }
    }

    fn resumable(&self, state: &mut State, standalone: bool) -> Option<Arc<EventLog>> {
        let streams = &mut state.streams;
        if self.version < Version::V2025_03_26 || !streams.make_room() {
            return None;
        }
        streams.next += 1;
        let name = format!("{:08x}-{}", self.incarnation, streams.next);
        let log = EventLog::new(name, standalone, self.shelf.clone());
        streams.logs.push_back(log.clone());
        Some(log)
    }
}
