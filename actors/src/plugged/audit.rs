//! A plugin is told of every audit event. The audit log is the record; this is a copy, and slows nothing down.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Notify, mpsc};
use weir_plugin_protocol::audit::LogEvent;

use crate::builtin::audit_lines::Copyist;
use crate::pipeline::metrics::roles::StreamCounts;
use crate::plugin::{CallError, Registry};
use crate::supervisor::{ChildContext, ChildSpec};

/// Events that wait for the plugin. Those that come when so many do are dropped and counted.
const QUEUE: usize = 8 * 1024;
/// Events that the plugin is told at once.
const AT_ONCE: usize = 32;
/// The pause before a plugin that takes nothing now is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// Events on their way to the plugin that plays the audit sink. Cheap to clone.
#[derive(Clone)]
pub struct AuditStream(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    counts: StreamCounts,
    /// Whether anybody is to be told.
    wanted: AtomicBool,
    events: mpsc::Sender<Bytes>,
    queue: Mutex<mpsc::Receiver<Bytes>>,
    /// Events that wait or are being told.
    pending: AtomicUsize,
    settled: Notify,
}

/// An event that is being told. However that ends, it is not pending any more.
struct Telling<'a> {
    inner: &'a Inner,
    counted: bool,
}

// === impl AuditStream ===

impl AuditStream {
    /// A stream to whoever plays the role.
    pub fn new(registry: Arc<Registry>, counts: StreamCounts) -> Self {
        let (events, queue) = mpsc::channel(QUEUE);
        Self(Arc::new(Inner {
            registry,
            counts,
            wanted: AtomicBool::new(false),
            events,
            queue: Mutex::new(queue),
            pending: AtomicUsize::new(0),
            settled: Notify::new(),
        }))
    }

    /// Says whether there is a plugin to be told.
    pub fn want(&self, wanted: bool) {
        self.0.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Resolves when nothing is pending. Whoever stops the gateway sets a limit.
    pub async fn flushed(&self) {
        loop {
            let settled = self.0.settled.notified();
            if self.0.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// The child that tells the plugin. A restart loses what it was just telling; that is counted as failed.
    pub fn child(&self) -> ChildSpec {
        let stream = self.clone();
        ChildSpec::task("audit-plugin", move |context| stream.clone().run(context)).heartbeat(None)
    }

    async fn run(self, context: ChildContext) -> Result<(), std::convert::Infallible> {
        let inner = &*self.0;
        let mut queue = inner.queue.lock().await;
        let mut telling = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                () = context.stopping() => return Ok(()),
                Some(()) = telling.next() => {}
                Some(line) = queue.recv(), if telling.len() < AT_ONCE => {
                    telling.push(inner.tell(line));
                }
            }
        }
    }
}

impl Copyist for AuditStream {
    fn line(&self, line: Bytes) {
        let inner = &*self.0;
        if !inner.wanted.load(Ordering::Relaxed) {
            return;
        }
        inner.pending.fetch_add(1, Ordering::AcqRel);
        if inner.events.try_send(line).is_err() {
            inner.counts.overflow.inc();
            inner.done();
        }
    }
}

// === impl Inner ===

impl Inner {
    fn tell(&self, line: Bytes) -> impl Future<Output = ()> {
        let mut telling = Telling {
            inner: self,
            counted: false,
        };
        async move {
            let Some(event) = event(&line) else {
                return;
            };
            drop(line);
            while self.wanted.load(Ordering::Relaxed) {
                let told = match self.registry.audit_sink() {
                    Some(plugin) => plugin.log_event(&event).await,
                    None => Err(CallError::NotRunning),
                };
                match told {
                    Ok(()) => {
                        self.counts.sent.inc();
                        return telling.counts();
                    }
                    // It was not sent, so it cannot be there twice.
                    Err(CallError::NotRunning | CallError::Busy) => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the audit plugin did not take an event");
                        return;
                    }
                }
            }
        }
    }

    fn done(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }
}

// === impl Telling ===

impl Telling<'_> {
    /// The plugin has it.
    fn counts(&mut self) {
        self.counted = true;
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.counted {
            self.inner.counts.failed.inc();
        }
        self.inner.done();
    }
}

/// A line of the audit log as the contract has it: what has no member of its own there is metadata.
fn event(line: &[u8]) -> Option<LogEvent> {
    let mut members: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let mut text = |key: &str| match members.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    Some(LogEvent {
        timestamp: text("timestamp").unwrap_or_default(),
        event_type: text("event_type")?,
        tenant_id: text("tenant_id"),
        user_id: text("user_id"),
        mcp_server: text("mcp_server"),
        tool: text("tool"),
        result: text("result"),
        metadata: members,
    })
}
