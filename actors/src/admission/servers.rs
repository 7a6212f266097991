//! What an operator writes about how much a server is given, and how long it may take.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::builtin::pattern::Pattern;
use crate::pipeline::LimitsConfig;
use crate::supervisor::duration::Span;
use crate::upstream::ServerName;

/// `limits.upstream`: what every server is given unless its own block says otherwise.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamLimits {
    /// Requests at one server at once, over all workers; streams that wait for events are not counted. Twice as many
    /// may wait for a place, and only as many once nobody has waited less than 10 ms for 100 ms; one more is refused with
    /// 503. Default 32.
    pub max_in_flight: NonZeroUsize,
    /// How long a request may wait for a place. Then it is refused with 503. Default 100ms.
    pub max_wait: Span,
}

/// The keys of a server's own block about that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ServerLimitsConfig {
    /// Requests at this server at once. Default: `limits.upstream.max_in_flight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<NonZeroUsize>,
    /// How long a request to this server may take before it is answered with 504 and cancelled there. Default:
    /// `limits.deadline`. A rule under `limits.rules` goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// Bytes of one answer of this server, all its events together. A larger one is cut off and answered with 502.
    /// Default: `limits.max_answer_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_answer_bytes: Option<NonZeroUsize>,
    /// Tools that may be called a second time if the connection was lost before the answer, as patterns. Whether that is
    /// harmless is for you to say: what the server itself claims is not believed. Only for servers over HTTP. Default
    /// none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub idempotent: Vec<String>,
}

/// What one server is given.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Requests at once.
    pub max_in_flight: usize,
    /// How long a request may wait for a place.
    pub max_wait: Duration,
    /// How long a request may take.
    pub deadline: Duration,
    /// Bytes of one answer.
    pub max_answer_bytes: usize,
    /// Tools that may be called a second time.
    pub idempotent: Vec<Pattern>,
}

/// What each server is given.
#[derive(Clone, Debug)]
pub struct ServersLimits {
    own: HashMap<ServerName, ServerLimits>,
    others: ServerLimits,
}

// === impl UpstreamLimits ===

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            max_in_flight: NonZeroUsize::MIN.saturating_add(31),
            max_wait: Span(Duration::from_millis(100)),
        }
    }
}

// === impl ServerLimitsConfig ===

impl ServerLimitsConfig {
    /// Says what makes no sense.
    ///
    /// # Errors
    /// The key and the problem.
    pub fn check(&self) -> Result<(), String> {
        if self.deadline.is_some_and(|deadline| deadline.0.is_zero()) {
            return Err("deadline: with 0 nothing would be served; use more, or remove it".into());
        }
        for pattern in &self.idempotent {
            Pattern::parse(pattern).map_err(|error| format!("idempotent: {error}"))?;
        }
        Ok(())
    }

    fn limits(&self, general: &LimitsConfig) -> ServerLimits {
        let in_flight = self.max_in_flight.unwrap_or(general.upstream.max_in_flight);
        let patterns = self.idempotent.iter();
        ServerLimits {
            max_in_flight: in_flight.get(),
            max_wait: general.upstream.max_wait.0,
            deadline: self.deadline.unwrap_or(general.deadline).0,
            max_answer_bytes: self
                .max_answer_bytes
                .map_or(general.max_answer_bytes, NonZeroUsize::get),
            // They were checked when the configuration was read.
            idempotent: patterns
                .filter_map(|text| Pattern::parse(text).ok())
                .collect(),
        }
    }
}

// === impl ServerLimits ===

impl ServerLimits {
    /// Whether a tool may be called a second time.
    pub fn is_idempotent(&self, tool: &str) -> bool {
        self.idempotent.iter().any(|pattern| pattern.matches(tool))
    }
}

// === impl ServersLimits ===

impl ServersLimits {
    /// Puts together what is configured for each server and for all of them.
    pub fn new<'a>(
        general: &LimitsConfig,
        own: impl Iterator<Item = (&'a ServerName, &'a ServerLimitsConfig)>,
    ) -> Self {
        Self {
            own: own
                .map(|(name, own)| (name.clone(), own.limits(general)))
                .collect(),
            others: ServerLimitsConfig::default().limits(general),
        }
    }

    /// What this server is given.
    pub fn of(&self, server: &ServerName) -> &ServerLimits {
        self.own.get(server).unwrap_or(&self.others)
    }
}

impl Default for ServersLimits {
    fn default() -> Self {
        Self::new(&LimitsConfig::default(), std::iter::empty())
    }
}
