//! One interceptor: a plugin, and when and how it is asked.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use weir_plugin_protocol::audit::Interception;
use weir_plugin_protocol::jsonrpc::quote;

use super::config::{Disclosure, InterceptorConfig, InterceptorKind, Mode};
use super::event::{Pattern, Phase};
use super::refused::{Fault, Intercepted};
use super::wire::{self, Answer};
use crate::pipeline::metrics::interceptors::InterceptorCounts;
use crate::plugin::{CallError, Seat};

/// The method that a plugin is called by; `interceptor/invoke` of the contract, in the letters that all transports have.
pub const INVOKE: &str = "invoke";

/// Characters of a failure that are recorded.
const MAX_DETAIL: usize = 200;

/// A plugin that sees messages.
pub struct Interceptor {
    /// The plugin's name.
    pub(super) name: Arc<str>,
    seat: Seat,
    config: InterceptorConfig,
    patterns: Vec<Pattern>,
    counts: InterceptorCounts,
}

/// One message as interceptors are asked about it.
#[derive(Clone)]
pub struct Asked {
    /// The method.
    pub event: Arc<str>,
    /// When.
    pub phase: Phase,
    /// Who asks, and in which session.
    pub context: Arc<Value>,
    /// Nobody waits any longer than this, if anybody does not.
    pub deadline: Option<Instant>,
    /// Whether the payload of a mutation can stand in the place of the one that it was given.
    pub accepts: Arc<Accepts>,
}

/// Says what is wrong with a payload.
pub type Accepts = dyn Fn(&Bytes) -> Result<(), String> + Send + Sync;

/// What became of a question.
pub(super) struct Said {
    pub(super) answer: Result<Answer, Fault>,
    pub(super) verdict: Interception,
}

// === impl Interceptor ===

impl Interceptor {
    /// An interceptor at a plugin's seat. The configuration was checked.
    pub fn new(
        name: &str,
        seat: Seat,
        config: InterceptorConfig,
        counts: InterceptorCounts,
    ) -> Self {
        let patterns = config
            .events
            .iter()
            .filter_map(|event| Pattern::parse(event));
        Self {
            name: name.into(),
            seat,
            patterns: patterns.collect(),
            config,
            counts,
        }
    }

    /// Whether it is asked about this.
    pub(super) fn wants(&self, event: &str, phase: Phase) -> bool {
        self.config.phase.hold(phase)
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(event, phase))
    }

    pub(super) fn kind(&self) -> InterceptorKind {
        self.config.r#type
    }

    pub(super) fn is_enforced(&self) -> bool {
        self.config.mode == Mode::Enforce
    }

    pub(super) fn place(&self, phase: Phase) -> (i32, &str) {
        (self.config.priority.in_phase(phase), &self.name)
    }

    /// Asks. What is counted and recorded is the answer, whether or not it is heeded.
    pub(super) async fn ask(&self, asked: &Asked, payload: Value) -> Said {
        let began = Instant::now();
        let answer = self.call(asked, payload, began).await;
        let took = began.elapsed();
        let word = self.word(&answer);
        self.counts.count(asked.phase, word, took);
        let detail = match &answer {
            Err(Fault::Failed(error)) => Some(error.to_string().chars().take(MAX_DETAIL).collect()),
            _ => None,
        };
        let verdict = Interception {
            plugin: self.name.clone(),
            phase: asked.phase.as_str(),
            verdict: word,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            detail,
        };
        if let Some(detail) = &verdict.detail {
            tracing::debug!(plugin = %self.name, phase = verdict.phase, detail, "interceptor failed");
        }
        Said { answer, verdict }
    }

    async fn call(&self, asked: &Asked, payload: Value, began: Instant) -> Result<Answer, Fault> {
        let timeout = self.config.timeout.0;
        let deadline = began + timeout;
        let deadline = asked.deadline.map_or(deadline, |last| last.min(deadline));
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let called = self.config.name.as_deref().unwrap_or(&self.name);
        let mut params = wire::invocation(
            called,
            &asked.event,
            asked.phase,
            &self.config.config,
            timeout_ms,
            &asked.context,
        );
        params.insert("payload".to_owned(), payload);
        let plugin = self.seat.plugin();
        let plugin = plugin.ok_or(Fault::Failed(CallError::NotRunning))?;
        let params = Value::Object(params);
        let calling = plugin.call_before(deadline, INVOKE, &params);
        let answer: Bytes = match calling.await {
            Ok(answer) => answer,
            Err(CallError::Timeout) => return Err(Fault::Timeout { timeout_ms }),
            Err(error) => return Err(Fault::Failed(error)),
        };
        let answer = wire::read(self.kind(), asked.phase, &answer).map_err(Fault::Failed)?;
        if let Answer::Modified(payload) = &answer {
            let accepted = (asked.accepts)(payload);
            accepted.map_err(|flaw| Fault::Failed(CallError::Malformed(flaw)))?;
        }
        Ok(answer)
    }

    /// Whether a fault stops the message.
    pub(super) fn fails_closed(&self) -> bool {
        self.is_enforced() && !self.config.fail_open
    }

    /// The word of the audit record and of the metric label.
    fn word(&self, answer: &Result<Answer, Fault>) -> &'static str {
        match (answer, self.is_enforced()) {
            (Ok(Answer::Fine), _) => "passed",
            (Ok(Answer::Warned), _) => "warned",
            (Ok(Answer::Denied(_)), true) => "denied",
            (Ok(Answer::Denied(_)), false) => "would_deny",
            (Ok(Answer::Modified(_)), true) => "modified",
            (Ok(Answer::Modified(_)), false) => "would_modify",
            (Err(Fault::Timeout { .. }), _) if self.fails_closed() => "timeout",
            (Err(Fault::Timeout { .. }), _) => "timeout_passed",
            (Err(_), _) if self.fails_closed() => "failed",
            (Err(_), _) => "failed_passed",
        }
    }

    /// The refusal that a denial means.
    pub(super) fn denied(&self, phase: Phase, told: String) -> Intercepted {
        Intercepted {
            plugin: self.name.clone(),
            phase,
            told: self.told(&told),
            fault: None,
        }
    }

    /// The refusal that a fault means.
    pub(super) fn faulted(&self, phase: Phase, fault: Fault) -> Intercepted {
        Intercepted {
            plugin: self.name.clone(),
            phase,
            told: match &fault {
                Fault::Timeout { timeout_ms } => {
                    self.told(&format!(r#","timeoutMs":{timeout_ms}"#))
                }
                Fault::Failed(_) => self.told(""),
            },
            fault: Some(fault),
        }
    }

    /// What a client is told, if it is told anything.
    fn told(&self, more: &str) -> String {
        match self.config.disclose {
            Disclosure::Messages => format!(r#","interceptor":{}{more}"#, quote(&self.name)),
            Disclosure::Nothing => String::new(),
        }
    }
}

impl fmt::Debug for Interceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Interceptor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
