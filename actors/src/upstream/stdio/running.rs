//! One start of the process, as the link sees it: the ways in, and who waits for what comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::call::CallSlot;
use super::counters::Counters;
use super::pending::Pending;

/// How many cancellations and refusals may wait to be written. More are dropped and counted: a server that does not
/// read does not miss them.
const CONTROL_QUEUE: usize = 512;

/// One start of the process.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) pending: Pending,
    /// Calls, notifications and answers of clients, in order.
    pub(super) frames: mpsc::Sender<Frame>,
    /// What the link itself has to say; written before the frames that wait.
    control: mpsc::Sender<Bytes>,
    /// True when the handshake is done.
    pub(super) open: AtomicBool,
    counters: Arc<Counters>,
}

/// A line to write, without its line feed.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) text: Bytes,
    /// The call it makes, if it makes one.
    pub(super) call: Option<Arc<CallSlot>>,
}

/// The other end of a [`Running`]'s queues, for the task that writes.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) frames: mpsc::Receiver<Frame>,
    pub(super) control: mpsc::Receiver<Bytes>,
}

// === impl Running ===

impl Running {
    pub(super) fn new(
        generation: u64,
        pid: u32,
        queue: usize,
        counters: Arc<Counters>,
    ) -> (Self, Outbox) {
        let (frames, frames_out) = mpsc::channel(queue);
        let (control, control_out) = mpsc::channel(CONTROL_QUEUE);
        let running = Self {
            generation,
            pid,
            pending: Pending::new(),
            frames,
            control,
            open: AtomicBool::new(false),
            counters,
        };
        let outbox = Outbox {
            frames: frames_out,
            control: control_out,
        };
        (running, outbox)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Queues a line of the link's own; dropped and counted if the server reads too slowly.
    pub(super) fn send_control(&self, text: Bytes) {
        if self.control.try_send(text).is_err() {
            self.counters.unsent_control.count();
        }
    }
}
