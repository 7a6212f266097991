//! Calls of a server that was greeted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{Mutex, Semaphore, oneshot};
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message, quote};
use weir_plugin_protocol::mcp::{
    Era, HeaderAnnotation, Method, code, encode_header_value, params_as_headers,
};

use super::answer;
use super::greeting::Standing;
use super::line::{Desk, Letter, Line, Miss};
use crate::plugin::{BoxFuture, Call, CallError, PluginClient};
use crate::upstream::handshake::Stance;

/// How long the caller waits yet, in whole milliseconds.
const DEADLINE: HeaderName = HeaderName::from_static("weir-deadline-ms");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Cancelled calls of which the server is told at a time; it does not hear of the others.
const MAX_CANCELS: usize = 32;

/// A server that was greeted.
pub(super) struct McpClient {
    line: Line,
    standing: ArcSwap<Standing>,
    /// Held by who greets the server again.
    renewal: Mutex<()>,
    next_id: AtomicU64,
    cancels: Arc<Semaphore>,
    is_closed: AtomicBool,
}

// === impl McpClient ===

impl McpClient {
    pub(super) fn new(line: Line, standing: Standing) -> Self {
        Self {
            line,
            standing: ArcSwap::from_pointee(standing),
            renewal: Mutex::new(()),
            next_id: AtomicU64::new(1),
            cancels: Arc::new(Semaphore::new(MAX_CANCELS)),
            is_closed: AtomicBool::new(false),
        }
    }

    async fn answer(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(CallError::Closed);
        }
        let standing = self.standing.load_full();
        let answer = match self.carry(&standing, call).await? {
            Err(Miss::SessionLost) => {
                let fresh = self.renew(&standing).await?;
                self.carry(&fresh, call).await?
            }
            answer => answer,
        };
        let answer = answer.map_err(Miss::told)?;
        match answer.slice(Field::Result) {
            Some(result) if answer.kind() == Kind::Result => answer::of(call.method, &result),
            _ => Err(answer::refusal(&answer)),
        }
    }

    /// Calls a tool, as a task of this thread.
    async fn carry(
        &self,
        standing: &Standing,
        call: Call<'_>,
    ) -> Result<Result<Message, Miss>, CallError> {
        let Some(annotations) = standing.tools.get(call.method) else {
            return Err(CallError::UnknownMethod(call.method.to_owned()));
        };
        let remaining = call.remaining().as_millis();
        if remaining == 0 {
            return Err(CallError::Timeout);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let id = format!(r#""weir-{id}""#);
        let arguments = call.params.to_string();
        let name = quote(call.method);
        let members = format!(r#""name":{name},"arguments":{arguments}"#);
        let terms = standing.terms.clone();
        let mut headers = HeaderMap::new();
        if let Ok(remaining) = HeaderValue::try_from(remaining.to_string()) {
            headers.insert(DEADLINE, remaining);
        }
        if terms.version.era() == Era::Modern {
            repeat(&mut headers, call.method, annotations, &arguments);
        }
        let letter = Letter {
            method: Method::ToolsCall,
            headers,
            body: Stance::Asks.request(&id, Method::ToolsCall, terms.version, &members),
        };
        let line = self.line.clone();
        let deadline = call.deadline;
        let cancels = self.cancels.clone();
        let (mut caller, answered) = oneshot::channel();
        self.line.clients.spawn(move |client| async move {
            let desk = Desk { line, client };
            let answer = tokio::select! {
                biased;
                () = caller.closed() => None,
                answer = desk.ask(&terms, &id, letter) => Some(answer),
                () = tokio::time::sleep_until(deadline) => None,
            };
            let is_answered = answer.is_some();
            // Where nobody waits it is dropped.
            let _ = caller.send(answer);
            if !is_answered && let Ok(_place) = cancels.try_acquire() {
                desk.cancel(&terms, &id).await;
            }
        });
        match answered.await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(CallError::Timeout),
            Err(_) => Err(CallError::Lost("the call's own task has failed".to_owned())),
        }
    }

    /// Greets the server again, unless somebody else just has.
    async fn renew(&self, lost: &Arc<Standing>) -> Result<Arc<Standing>, CallError> {
        let _turn = self.renewal.lock().await;
        let now = self.standing.load_full();
        if !Arc::ptr_eq(&now, lost) {
            return Ok(now);
        }
        let fresh = Arc::new(self.line.greet().await.map_err(CallError::Unreachable)?);
        self.standing.store(fresh.clone());
        tracing::warn!(server = %self.line.target, "a plugin's session was lost, and is there again");
        Ok(fresh)
    }

    /// Asks whether the server serves, in the session that there is.
    async fn probe(&self) -> Result<(), CallError> {
        let standing = self.standing.load_full();
        // The modern era has no `ping`.
        let questions: &[Method] = match standing.terms.version.era() {
            Era::Legacy => &[Method::Ping, Method::ToolsList],
            Era::Modern => &[Method::ToolsList],
        };
        let mut refusal = None;
        for method in questions.iter().copied() {
            let (line, terms) = (self.line.clone(), standing.terms.clone());
            let asked = self.line.clients.work(move |client| async move {
                let desk = Desk { line, client };
                desk.question(&terms, method, "").await
            });
            let answer = match asked.await {
                Some(Ok(answer)) => answer,
                Some(Err(Miss::SessionLost)) => return self.renew(&standing).await.map(drop),
                Some(Err(miss)) => return Err(miss.told()),
                None => {
                    return Err(CallError::Lost(
                        "the probe's own task has failed".to_owned(),
                    ));
                }
            };
            if answer.kind() == Kind::Result {
                return Ok(());
            }
            let unknown = code::METHOD_NOT_FOUND.to_string();
            let is_unknown = answer.field(Field::ErrorCode) == Some(unknown.as_str());
            refusal = Some(answer::refusal(&answer));
            if !is_unknown {
                break;
            }
        }
        Err(refusal.unwrap_or(CallError::NotRunning))
    }
}

impl PluginClient for McpClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(self.answer(call))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            if self.is_closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let (line, terms) = (self.line.clone(), self.standing.load().terms.clone());
            let goodbye = self.line.clients.work(move |client| async move {
                Desk { line, client }.goodbye(&terms).await;
            });
            goodbye.await;
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            match self.is_closed.load(Ordering::Acquire) {
                true => Err(CallError::Closed),
                false => self.probe().await,
            }
        })
    }

    fn version(&self) -> String {
        self.standing.load().version.clone()
    }
}

impl fmt::Debug for McpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("McpClient")
            .field("server", &self.line.target)
            .finish()
    }
}

/// Says in headers what servers of the modern era want to hear twice.
fn repeat(headers: &mut HeaderMap, tool: &str, annotations: &[HeaderAnnotation], arguments: &str) {
    if let Ok(name) = HeaderValue::from_str(&encode_header_value(tool)) {
        headers.insert(NAME, name);
    }
    for (name, value) in params_as_headers(annotations, Some(arguments)) {
        let header = HeaderName::try_from(name).ok();
        if let Some((header, mut value)) = header.zip(HeaderValue::try_from(value).ok()) {
            value.set_sensitive(true);
            headers.insert(header, value);
        }
    }
}
