//! Calls over HTTP: `POST /call` and `GET /health`, as protocol version 1 has them.
//!
//! A call is written and its answer read by the task that waits for it, on whichever thread that is: no other task is
//! woken for it. Each thread uses the connections that it made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::dialect;
use crate::plugin::call::MAX_ANSWER_BYTES;
use crate::plugin::versions::{Said, UNKNOWN};
use crate::plugin::{Call, CallError};
use crate::upstream::http::{
    AddressRule, HttpClientConfig, HttpError, HttpErrorKind, HttpTarget, InvalidTarget, KeptBody,
    KeptConnection,
};

/// Tells a plugin how many milliseconds the caller waits yet.
const DEADLINE: HeaderName = HeaderName::from_static("weir-deadline-ms");

/// How much of an answer is read that is only quoted in an error, or looked at for a version.
const QUOTED_BYTES: usize = 4 * 1024;

/// Speaks to one instance of a plugin.
#[derive(Debug)]
pub(super) struct HttpCall {
    call: HttpTarget,
    health: HttpTarget,
    /// Sent with every request.
    headers: HeaderMap,
    config: HttpClientConfig,
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
    /// Why nobody was there to be connected to, the last time that it was so.
    gone: watch::Sender<Option<String>>,
    said: ArcSwap<Said>,
}

/// A connection that nobody uses at the moment.
#[derive(Debug)]
struct Idle {
    connection: KeptConnection,
    /// Who made it.
    thread: ThreadId,
    since: Instant,
}

// === impl HttpCall ===

impl HttpCall {
    /// A caller without connections. `base` is the address without `/call`.
    pub(super) fn new(
        base: &str,
        headers: HeaderMap,
        config: HttpClientConfig,
    ) -> Result<Self, InvalidTarget> {
        let base = base.trim_end_matches('/');
        Ok(Self {
            call: HttpTarget::parse(&format!("{base}/call"))?,
            health: HttpTarget::parse(&format!("{base}/health"))?,
            headers,
            config,
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
            gone: watch::Sender::new(None),
            said: ArcSwap::default(),
        })
    }

    /// The same caller, whose name may lead where the rule says.
    pub(super) fn under(self, rule: AddressRule) -> Self {
        Self {
            call: self.call.under(rule),
            health: self.health.under(rule),
            ..self
        }
    }

    /// Calls a method, and returns the body of the answer when it is there before the call's deadline.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(CallError::Closed);
        }
        let body = dialect::body(call.method, call.params)?;
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let left = u64::try_from(call.remaining().as_millis()).unwrap_or(u64::MAX);
        headers.insert(DEADLINE, left.into());
        let exchange = self.exchange(&self.call, Method::POST, &headers, &body);
        let (status, answer) = match timeout_at(call.deadline, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(CallError::Timeout),
        };
        if status != StatusCode::OK {
            let status = status.as_u16();
            return Err(dialect::failure(call.method, status, quoted(&answer)));
        }
        match answer {
            KeptBody::Whole(answer) => {
                dialect::check(call.method, &answer)?;
                Ok(answer)
            }
            KeptBody::Cut(_) => Err(CallError::TooLarge),
        }
    }

    /// Asks once for the plugin's health. Only the status 200 is good. The caller bounds the time.
    pub(super) async fn health(&self) -> Result<(), CallError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(CallError::Closed);
        }
        self.sweep();
        let nothing = Bytes::new();
        let asked = self.exchange(&self.health, Method::GET, &self.headers, &nothing);
        let (status, answer) = asked.await?;
        if status != StatusCode::OK {
            let status = status.as_u16();
            return Err(dialect::failure("health", status, quoted(&answer)));
        }
        self.said.store(Arc::new(Said::of_health(quoted(&answer))));
        Ok(())
    }

    /// What the plugin said of itself when it was asked for its health.
    pub(super) fn said(&self) -> Said {
        Said::clone(&self.said.load())
    }

    /// The same, the version alone.
    pub(super) fn version(&self) -> String {
        let said = self.said();
        said.version.unwrap_or_else(|| UNKNOWN.to_owned())
    }

    /// No calls from here on. Those under way are not disturbed.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle().clear();
    }

    /// Waits until nobody is there to be connected to.
    pub(super) async fn gone(&self) -> String {
        let mut gone = self.gone.subscribe();
        loop {
            if let Some(why) = gone.borrow_and_update().clone() {
                return why;
            }
            // The sender is in `self`, so this cannot fail.
            let _ = gone.changed().await;
        }
    }

    /// Sends a request over a kept connection, or a new one where that turns out to have ended before. Nothing that was
    /// written is sent again.
    async fn exchange(
        &self,
        target: &HttpTarget,
        method: Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(StatusCode, KeptBody), CallError> {
        while let Some(mut connection) = self.checkout() {
            match connection.send(target, method.clone(), headers, body).await {
                Ok(status) => return self.finish(connection, status).await,
                Err(error) if error.written => return Err(lost(error)),
                Err(_) => {}
            }
        }
        let mut connection = self.connect(target).await?;
        let sent = connection.send(target, method, headers, body).await;
        let status = sent.map_err(lost)?;
        self.finish(connection, status).await
    }

    async fn finish(
        &self,
        mut connection: KeptConnection,
        status: StatusCode,
    ) -> Result<(StatusCode, KeptBody), CallError> {
        let cap = match status {
            StatusCode::OK if connection.announced() > MAX_ANSWER_BYTES as u64 => {
                return Err(CallError::TooLarge);
            }
            StatusCode::OK => MAX_ANSWER_BYTES,
            _ => QUOTED_BYTES,
        };
        let body = connection.body(cap).await.map_err(lost)?;
        self.keep(connection);
        Ok((status, body))
    }

    async fn connect(&self, target: &HttpTarget) -> Result<KeptConnection, CallError> {
        // Boxed: connecting takes much more room than a call on a connection that is there.
        let connected = Box::pin(KeptConnection::connect(target, &self.config)).await;
        connected.map_err(|error| {
            let nobody = error.kind == HttpErrorKind::Connect;
            let why = said(&error);
            if nobody {
                self.gone.send_replace(Some(why.clone()));
            }
            CallError::Unreachable(why)
        })
    }

    /// The connection of this thread that was used last.
    fn checkout(&self) -> Option<KeptConnection> {
        let thread = thread::current().id();
        let mut idle = self.idle();
        loop {
            let last = idle.iter().rposition(|idle| idle.thread == thread)?;
            let mut found = idle.remove(last);
            if found.is_usable(self.config.idle_timeout) {
                return Some(found.connection);
            }
        }
    }

    fn keep(&self, mut connection: KeptConnection) {
        if !connection.is_usable() {
            return;
        }
        let mut idle = self.idle();
        // Asked under the lock: who closes empties the list after he has said so.
        if idle.len() < self.config.max_idle && !self.closed.load(Ordering::Acquire) {
            idle.push(Idle {
                connection,
                thread: thread::current().id(),
                since: Instant::now(),
            });
        }
    }

    /// Closes what was not used for long, and what the plugin has closed.
    fn sweep(&self) {
        let limit = self.config.idle_timeout;
        self.idle().retain_mut(|idle| idle.is_usable(limit));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Every change is one step, so a panic leaves it whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Idle ===

impl Idle {
    fn is_usable(&mut self, limit: Duration) -> bool {
        self.since.elapsed() < limit && self.connection.is_usable()
    }
}

fn quoted(body: &KeptBody) -> &[u8] {
    match body {
        KeptBody::Whole(body) | KeptBody::Cut(body) => body,
    }
}

/// What it means for a call that its exchange failed.
fn lost(error: HttpError) -> CallError {
    match error.kind {
        _ if !error.written => CallError::Unreachable(said(&error)),
        HttpErrorKind::TooLarge => CallError::TooLarge,
        HttpErrorKind::Protocol => CallError::Malformed(said(&error)),
        _ => CallError::Lost(said(&error)),
    }
}

/// An error with its cause, in the words of plugins.
fn said(error: &HttpError) -> String {
    let what = match error.kind {
        HttpErrorKind::Connect => "no connection",
        HttpErrorKind::Timeout => "no connection in time",
        HttpErrorKind::Closed => "it closed the connection",
        HttpErrorKind::Protocol => "no usable HTTP",
        HttpErrorKind::TooLarge => "too large",
        HttpErrorKind::Tls => "no trusted TLS connection",
        HttpErrorKind::Refused => "its address is not allowed",
    };
    match &error.source {
        Some(source) => format!(
            "{what}: {}",
            dialect::excerpt(source.to_string().as_bytes())
        ),
        None => what.to_owned(),
    }
}
