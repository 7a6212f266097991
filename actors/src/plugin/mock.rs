//! A plugin that is a function, for tests: of the gateway, and of whoever builds on it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::client::{BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport};

/// Answers a call.
pub type CallFn = dyn Fn(&str, &Value) -> Result<Bytes, CallError> + Send + Sync;

/// A [`PluginClient`] that asks a function. Closed, it answers [`CallError::Closed`].
pub struct MockPluginClient {
    call_fn: Arc<CallFn>,
    end: watch::Sender<End>,
    closed: Option<Trace>,
}

/// A [`PluginTransport`] to [`MockPluginClient`]s, and a hand on them.
///
/// It writes down what the gateway does, in order: `connect`, `health`, `close`.
#[derive(Clone)]
pub struct MockTransport {
    call_fn: Arc<CallFn>,
    trace: Trace,
    last: Arc<Mutex<Option<Arc<MockPluginClient>>>>,
    refusals: Arc<AtomicU32>,
    unhealthy: Arc<AtomicU32>,
}

type Trace = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Crashed(String),
    Closed,
}

/// A client with the health of its transport.
struct Patient {
    client: Arc<MockPluginClient>,
    trace: Trace,
    unhealthy: Arc<AtomicU32>,
}

// === impl MockPluginClient ===

impl MockPluginClient {
    /// A plugin that answers what `call_fn` does.
    pub fn new(
        call_fn: impl Fn(&str, &Value) -> Result<Bytes, CallError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            call_fn: Arc::new(call_fn),
            end: watch::Sender::new(End::NotYet),
            closed: None,
        }
    }

    /// Ends as a process does that dies: calls are lost, and the gateway hears of it.
    pub fn crash(&self, how: &str) {
        self.finish(End::Crashed(how.to_owned()));
    }

    /// Whether [`close`](PluginClient::close) was called.
    pub fn is_closed(&self) -> bool {
        *self.end.borrow() == End::Closed
    }

    fn finish(&self, end: End) -> bool {
        self.end.send_if_modified(|state| {
            let first = *state == End::NotYet;
            if first {
                *state = end;
            }
            first
        })
    }
}

impl PluginClient for MockPluginClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(async move {
            match &*self.end.borrow() {
                End::NotYet => {}
                End::Crashed(how) => return Err(CallError::Lost(how.clone())),
                End::Closed => return Err(CallError::Closed),
            }
            (self.call_fn)(call.method, call.params)
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            if self.finish(End::Closed)
                && let Some(trace) = &self.closed
            {
                trace("close");
            }
            Ok(())
        })
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        let mut end = self.end.subscribe();
        Box::pin(async move {
            loop {
                if let End::Crashed(how) = &*end.borrow_and_update() {
                    return how.clone();
                }
                // The sender is in `self`, so this cannot fail.
                let _ = end.changed().await;
            }
        })
    }
}

// === impl MockTransport ===

impl MockTransport {
    /// A transport whose plugins answer what `call_fn` does.
    pub fn new(
        call_fn: impl Fn(&str, &Value) -> Result<Bytes, CallError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            call_fn: Arc::new(call_fn),
            trace: Arc::new(|_| {}),
            last: Arc::default(),
            refusals: Arc::default(),
            unhealthy: Arc::default(),
        }
    }

    /// A transport whose plugins answer `{"result":"ok"}` to everything.
    pub fn ok() -> Self {
        Self::new(|_, _| Ok(Bytes::from_static(br#"{"result":"ok"}"#)))
    }

    /// Has `trace` called with what the gateway does: `connect`, `health`, `close`.
    #[must_use]
    pub fn traced(mut self, trace: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.trace = Arc::new(trace);
        self
    }

    /// Refuses the next connections.
    pub fn refuse(&self, connections: u32) {
        self.refusals.store(connections, Ordering::Relaxed);
    }

    /// Answers the next questions for health with an error.
    pub fn ail(&self, questions: u32) {
        self.unhealthy.store(questions, Ordering::Relaxed);
    }

    /// The instance that was connected last.
    pub fn last(&self) -> Option<Arc<MockPluginClient>> {
        self.lock().clone()
    }

    /// Crashes the instance that was connected last.
    pub fn crash(&self, how: &str) {
        if let Some(client) = self.last() {
            client.crash(how);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<MockPluginClient>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PluginTransport for MockTransport {
    fn kind(&self) -> &'static str {
        "mock"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async move {
            (self.trace)("connect");
            if one_of(&self.refusals) {
                return Err(ConnectError("refused".to_owned()));
            }
            let client = Arc::new(MockPluginClient {
                call_fn: self.call_fn.clone(),
                end: watch::Sender::new(End::NotYet),
                closed: Some(self.trace.clone()),
            });
            *self.lock() = Some(client.clone());
            let patient: Arc<dyn PluginClient> = Arc::new(Patient {
                client,
                trace: self.trace.clone(),
                unhealthy: self.unhealthy.clone(),
            });
            Ok(patient)
        })
    }
}

/// Takes one, if there is one.
fn one_of(count: &AtomicU32) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            count.checked_sub(1)
        })
        .is_ok()
}

// === impl Patient ===

impl PluginClient for Patient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        self.client.call(call)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.client.close()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            (self.trace)("health");
            match one_of(&self.unhealthy) {
                true => Err(CallError::Refused("not yet".to_owned())),
                false => Ok(()),
            }
        })
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        self.client.ended()
    }
}
