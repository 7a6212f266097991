//! The handle everybody else holds: it stays the same while processes come and go.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use weir_plugin_protocol::jsonrpc::single_line;

use super::call::{CallId, CallSlot, Caller, StdioCall};
use super::counters::{Counters, StdioCounts};
use super::running::{Frame, Outbox, Running};
use super::{LinkError, ProcessState, SessionKey, StdioSpec, Unsolicited};

/// The handle to one stdio server: it survives restarts of the process. Cheap to clone; all clones are the same link.
///
/// Without a process, calls are [`LinkError::NotRunning`] at once. After a start, ordinary calls wait until somebody
/// has done the handshake with [`call_ungated`](Self::call_ungated) and said so with [`open_gate`](Self::open_gate).
#[derive(Clone, Debug)]
pub struct StdioLink(pub(super) Arc<Shared>);

/// What the link, its process and its calls share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) spec: StdioSpec,
    pub(super) unsolicited: mpsc::Sender<Unsolicited>,
    pub(super) counters: Arc<Counters>,
    current: ArcSwapOption<Running>,
    state: watch::Sender<ProcessState>,
    /// The generation whose handshake was done last.
    gate: watch::Sender<u64>,
    permits: Arc<Semaphore>,
    last_generation: AtomicU64,
    last_call: AtomicU64,
    /// What the ids of this link begin with, the opening quote included: `"w1f-`.
    id_prefix: Box<str>,
}

/// Makes the ids of every link in the process different, so that a log line names one call.
static LINKS: AtomicU32 = AtomicU32::new(1);

// === impl StdioLink ===

impl StdioLink {
    /// Makes a link without a process; what the server says of its own accord goes to `unsolicited`. When that
    /// channel is full or closed, notifications are dropped and counted, requests are refused with `-32603`.
    pub fn new(spec: StdioSpec, unsolicited: mpsc::Sender<Unsolicited>) -> Self {
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(spec.max_in_flight)),
            spec,
            unsolicited,
            counters: Arc::default(),
            current: ArcSwapOption::empty(),
            state: watch::Sender::new(ProcessState::Stopped),
            gate: watch::Sender::new(0),
            last_generation: AtomicU64::new(0),
            last_call: AtomicU64::new(0),
            id_prefix: format!("\"w{number:x}-").into(),
        }))
    }

    /// What to run.
    pub fn spec(&self) -> &StdioSpec {
        &self.0.spec
    }

    /// What went wrong so far.
    pub fn counts(&self) -> StdioCounts {
        self.0.counters.read()
    }

    /// How many calls are in flight.
    pub fn in_flight(&self) -> usize {
        self.0
            .spec
            .max_in_flight
            .saturating_sub(self.0.permits.available_permits())
    }

    /// The id for the next call.
    pub fn next_id(&self) -> CallId {
        let number = self.0.last_call.fetch_add(1, Ordering::Relaxed) + 1;
        let json = format!("{}{number}\"", self.0.id_prefix).into();
        CallId { number, json }
    }

    /// What the process is doing; changes with every start and end.
    pub fn state(&self) -> watch::Receiver<ProcessState> {
        self.0.state.subscribe()
    }

    /// Lets ordinary calls through to this start of the process: its handshake is done. Without effect if it ended
    /// meanwhile.
    pub fn open_gate(&self, generation: u64) {
        let current = self.0.current.load();
        if let Some(running) = current
            .as_ref()
            .filter(|running| running.generation == generation)
        {
            running.open.store(true, Ordering::Release);
            self.0.gate.send_replace(generation);
        }
    }

    /// Waits until calls can be made: until the handshake of the process that runs is done, at most `gate_timeout`.
    ///
    /// # Errors
    /// `NotRunning`.
    pub async fn opened(&self) -> Result<(), LinkError> {
        self.0.opened().await
    }

    /// Resolves when the next handshake is done.
    pub(in crate::upstream) fn greeted(&self) -> impl Future<Output = ()> + use<> {
        let mut gate = self.0.gate.subscribe();
        async move {
            // The link outlives its process; if it is gone, so is whoever waits.
            let _ = gate.changed().await;
        }
    }

    /// Sends a request. `frame` must carry `id` as its id, and as its progress token if progress is wanted; line
    /// breaks in it become blanks.
    ///
    /// Waits for the handshake if that is not done (at most `gate_timeout`), then for one of the `max_in_flight`
    /// turns and for room in the queue (at most `max_wait` each).
    ///
    /// # Errors
    /// `NotRunning`, `Busy`, `TooLarge`, or `Died` and retryable; in each case nothing was written.
    pub async fn call(
        &self,
        id: CallId,
        frame: Bytes,
        session: Option<SessionKey>,
    ) -> Result<StdioCall, LinkError> {
        let caller = session.map_or(Caller::Sessionless, Caller::Session);
        self.0.call(id, frame, caller).await
    }

    /// Sends a request of the gateway's own: a list, a subscription, the stream that it listens to. What the process says
    /// unasked is never taken to be about it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_own(&self, id: CallId, frame: Bytes) -> Result<StdioCall, LinkError> {
        self.0.call(id, frame, Caller::Gateway).await
    }

    /// Sends a request of the handshake: it waits for no gate, takes no turn and is not cancelled when dropped.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_ungated(&self, id: CallId, frame: Bytes) -> Result<StdioCall, LinkError> {
        let running = self.0.running()?;
        self.0
            .begin(running, id, frame, Caller::Sessionless, None)
            .await
    }

    /// Sends a notification to whichever process runs. Does not wait for the handshake; waits for room in the queue at
    /// most `max_wait`.
    ///
    /// # Errors
    /// `NotRunning`, `Busy` or `TooLarge`; nothing was written.
    pub async fn send(&self, frame: Bytes) -> Result<(), LinkError> {
        let running = self.0.running()?;
        self.0.enqueue(&running, frame, None).await
    }

    /// Sends the answer to a request of the server to the start of the process that asked: a later one gives its own
    /// requests the same ids. Waits as [`send`](Self::send) does.
    ///
    /// # Errors
    /// `NotRunning` also if another start of the process runs; `Busy` or `TooLarge`. Nothing was written.
    pub async fn send_to(&self, generation: u64, frame: Bytes) -> Result<(), LinkError> {
        let running = self.0.running()?;
        if running.generation != generation {
            return Err(LinkError::NotRunning);
        }
        self.0.enqueue(&running, frame, None).await
    }

    /// Whether this start of the process is the one that runs.
    pub fn is_running(&self, generation: u64) -> bool {
        let current = self.0.current.load();
        current
            .as_ref()
            .is_some_and(|running| running.generation == generation)
    }
}

// === impl Shared ===

impl Shared {
    fn running(&self) -> Result<Arc<Running>, LinkError> {
        self.current.load_full().ok_or(LinkError::NotRunning)
    }

    /// Waits until the process that runs is open for calls.
    async fn opened(&self) -> Result<(), LinkError> {
        if self.running()?.is_open() {
            return Ok(());
        }
        let mut gate = self.gate.subscribe();
        let mut state = self.state.subscribe();
        let opened = async {
            while !self.running()?.is_open() {
                tokio::select! {
                    _ = gate.changed() => {}
                    _ = state.changed() => {}
                }
            }
            Ok(())
        };
        timeout(self.spec.gate_timeout, opened)
            .await
            .unwrap_or(Err(LinkError::NotRunning))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, LinkError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let permit = Arc::clone(&self.permits).acquire_owned();
        match timeout(self.spec.max_wait, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(LinkError::Busy),
        }
    }

    async fn call(&self, id: CallId, frame: Bytes, caller: Caller) -> Result<StdioCall, LinkError> {
        self.opened().await?;
        let permit = self.turn().await?;
        let running = self.running()?;
        if !running.is_open() {
            // It was restarted while the call waited for its turn.
            return Err(LinkError::NotRunning);
        }
        self.begin(running, id, frame, caller, Some(permit)).await
    }

    async fn begin(
        &self,
        running: Arc<Running>,
        id: CallId,
        frame: Bytes,
        caller: Caller,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<StdioCall, LinkError> {
        let slot = Arc::new(CallSlot::new(caller));
        if !running.pending.insert(id.number, Arc::clone(&slot)) {
            return Err(LinkError::Died { retryable: true });
        }
        // From here on dropping `call` undoes everything.
        let call = StdioCall::new(id, Arc::clone(&slot), Arc::clone(&running), permit);
        match self.enqueue(&running, frame, Some(slot)).await {
            Ok(()) => Ok(call),
            Err(LinkError::NotRunning) => Err(LinkError::Died { retryable: true }),
            Err(error) => Err(error),
        }
    }

    async fn enqueue(
        &self,
        running: &Running,
        text: Bytes,
        call: Option<Arc<CallSlot>>,
    ) -> Result<(), LinkError> {
        if text.len() >= self.spec.max_line {
            return Err(LinkError::TooLarge);
        }
        let text = single_line(text);
        let frame = match running.frames.try_send(Frame { text, call }) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(LinkError::NotRunning),
            Err(mpsc::error::TrySendError::Full(frame)) => frame,
        };
        match timeout(self.spec.max_wait, running.frames.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LinkError::NotRunning),
            Err(_) => Err(LinkError::Busy),
        }
    }

    /// The number of one of this link's calls from an id or progress token of the server, raw JSON.
    pub(super) fn call_number(&self, id: &str) -> Option<u64> {
        let digits = id.strip_prefix(&*self.id_prefix)?.strip_suffix('"')?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok())?
    }

    /// What the ids of this link begin with, the opening quote included.
    pub(super) fn id_prefix(&self) -> &str {
        &self.id_prefix
    }

    /// Makes a new start known. Calls reach it from now on.
    pub(super) fn publish(&self, pid: u32) -> (Arc<Running>, Outbox) {
        let generation = self.last_generation.fetch_add(1, Ordering::Relaxed) + 1;
        // Every call with a turn finds room at once, and some notifications beside.
        let queue = self.spec.max_in_flight + 64;
        let (running, outbox) = Running::new(generation, pid, queue, Arc::clone(&self.counters));
        let running = Arc::new(running);
        self.counters.starts.count();
        self.current.store(Some(Arc::clone(&running)));
        self.state
            .send_replace(ProcessState::Running { generation, pid });
        (running, outbox)
    }

    /// Lets no more calls reach this start.
    pub(super) fn withdraw(&self, running: &Arc<Running>) {
        let current = self.current.load();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, running))
        {
            self.current.store(None);
            self.state.send_replace(ProcessState::Stopped);
        }
    }
}
