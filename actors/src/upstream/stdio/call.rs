//! One call: its id, the place its answer is put, and the caller's end of it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use weir_plugin_protocol::jsonrpc::Message;

use super::running::Running;
use super::{LinkError, SessionKey};

/// How many notifications may wait for a caller that does not take them; more are dropped and counted. Only the answer
/// matters.
const MAX_NOTIFICATIONS: usize = 64;
const MAX_NOTIFICATION_BYTES: usize = 1 << 20;

const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const ABANDONED: u8 = 2;

/// The id of one call, also its progress token. Unique per link, over restarts. Not `Clone`: it is good for one call.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    pub(super) number: u64,
    pub(super) json: Box<str>,
}

/// A call on its way. Dropping it before the answer discards the answer and tells the server with
/// `notifications/cancelled`, unless the call was not written yet: then it never is.
///
/// The server may work on after that. What it says unasked is still taken to be about the dropped call, until its
/// answer shows that it is done or its process ends.
#[derive(Debug)]
pub struct StdioCall {
    id: CallId,
    slot: Arc<CallSlot>,
    running: Arc<Running>,
    /// Held until the answer is taken; `None` for calls of the handshake, which are not counted and not cancelled.
    permit: Option<OwnedSemaphorePermit>,
    is_handshake: bool,
    finished: bool,
}

/// Whose work a call is: what the process says while it is at it may be meant for nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A session's.
    Session(SessionKey),
    /// Nobody's who could be asked: a request of the modern era, or of the handshake.
    Sessionless,
    /// The gateway's own: lists, subscriptions and the stream that it listens to. No work that a process would ask
    /// somebody about.
    Gateway,
}

/// Where the reader of the pipe puts what belongs to one call.
#[derive(Debug)]
pub(super) struct CallSlot {
    pub(super) caller: Caller,
    stage: AtomicU8,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    notifications: VecDeque<Message>,
    notification_bytes: usize,
    outcome: Option<Result<Message, LinkError>>,
    waker: Option<Waker>,
}

// === impl CallId ===

impl CallId {
    /// The id as JSON, a string such as `"w1f3-17"` with its quotes.
    pub fn json(&self) -> &str {
        &self.json
    }
}

// === impl StdioCall ===

impl StdioCall {
    pub(super) fn new(
        id: CallId,
        slot: Arc<CallSlot>,
        running: Arc<Running>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let is_handshake = permit.is_none();
        Self {
            id,
            slot,
            running,
            permit,
            is_handshake,
            finished: false,
        }
    }

    /// Which start of the process the call was made to.
    pub fn generation(&self) -> u64 {
        self.running.generation
    }

    /// The notifications of this call, then its answer or an error, then `None`. Cancel safe.
    ///
    /// Progress always says whose it is. A log message does not: it comes here if the call has no session and is the
    /// only one that the process can be working on.
    ///
    /// Does not bound the time: the caller has the deadline. When the process dies, the error comes at once.
    pub async fn next(&mut self) -> Option<Result<Message, LinkError>> {
        if self.finished {
            return None;
        }
        let next = poll_fn(|context| {
            let mut inbox = self.slot.inbox();
            if let Some(notification) = inbox.notifications.pop_front() {
                inbox.notification_bytes -= notification.raw().len();
                return Poll::Ready(Ok(notification));
            }
            if let Some(outcome) = inbox.outcome.take() {
                self.finished = true;
                return Poll::Ready(outcome);
            }
            inbox.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        if self.finished {
            self.permit = None;
        }
        Some(next)
    }
}

impl Drop for StdioCall {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.running.pending.abandon(self.id.number) && !self.is_handshake {
            let id = self.id.json();
            let notification = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            );
            self.running.send_control(Bytes::from(notification));
        }
    }
}

// === impl CallSlot ===

impl CallSlot {
    pub(super) fn new(caller: Caller) -> Self {
        Self {
            caller,
            stage: AtomicU8::new(QUEUED),
            inbox: Mutex::default(),
        }
    }

    /// Asks whether the call is still wanted; from here on the server may see it.
    pub(super) fn begin_writing(&self) -> bool {
        self.leave_queue(WRITTEN)
    }

    /// Gives the call up. True if the server may have seen it.
    pub(super) fn abandon(&self) -> bool {
        !self.leave_queue(ABANDONED)
    }

    fn leave_queue(&self, stage: u8) -> bool {
        self.stage
            .compare_exchange(QUEUED, stage, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Hands over a notification; false if the caller has too many already.
    pub(super) fn notify(&self, message: Message) -> bool {
        let mut inbox = self.inbox();
        let bytes = inbox.notification_bytes + message.raw().len();
        if inbox.notifications.len() >= MAX_NOTIFICATIONS || bytes > MAX_NOTIFICATION_BYTES {
            return false;
        }
        inbox.notification_bytes = bytes;
        inbox.notifications.push_back(message);
        wake(inbox);
        true
    }

    /// Hands over the outcome; the first one counts.
    pub(super) fn finish(&self, outcome: Result<Message, LinkError>) {
        let mut inbox = self.inbox();
        inbox.outcome.get_or_insert(outcome);
        wake(inbox);
    }

    /// Ends the call because the process did.
    pub(super) fn die(&self) {
        let retryable = !self.abandon();
        self.finish(Err(LinkError::Died { retryable }));
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut inbox: MutexGuard<'_, Inbox>) {
    let waker = inbox.waker.take();
    drop(inbox);
    if let Some(waker) = waker {
        waker.wake();
    }
}
