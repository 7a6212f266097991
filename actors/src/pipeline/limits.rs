//! The bounds of the client face.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::admission::{LimitRule, PrincipalLimits, UpstreamLimits};
use crate::builtin::Misconfigured;
use crate::session::ReplayLimits;
use crate::supervisor::duration::Span;

/// Connections of one address of another machine if nothing is configured.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 4096;

/// `limits:` in the configuration. Every bound has a default that suits a machine with a few cores.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests in the pipeline at once, over all workers. One more is refused with 503. Default 2048.
    pub max_in_flight: usize,
    /// What each caller may do unless a rule says otherwise.
    pub principal: PrincipalLimits,
    /// What some callers may do, and how often some tools may be called.
    pub rules: Vec<LimitRule>,
    /// What every server is given unless its own block says otherwise.
    pub upstream: UpstreamLimits,
    /// Streams that wait for events (legacy GET, `subscriptions/listen`) at once. One more is refused with 503.
    /// Default 10000.
    pub max_streams: usize,
    /// Connections of clients at once, over all workers. One more is refused with 503 and closed. Default 16384.
    pub max_connections: usize,
    /// Connections of one address at once (of one /64 network in IPv6). One more is refused with 503 and closed.
    /// Default: 4096, and for addresses of this machine no other bound than `max_connections`.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Bytes of memory that the process may have in use. From 80 % on no new streams are opened and connections are
    /// closed after an answer; from 90 % on new requests are refused with 503. Health, metrics and the admin listener
    /// answer. Default: the limit of the control group; without one, none.
    pub max_memory_bytes: Option<NonZeroU64>,
    /// Bytes of a request body. A larger one is refused with 413. Default 4194304 (4 MiB).
    pub max_body_bytes: usize,
    /// Bytes of one answer or event of an upstream. A larger one is cut off and answered with 502. Default 67108864
    /// (64 MiB).
    pub max_answer_bytes: usize,
    /// Nesting of JSON in a request. Deeper is refused with 400. Default 64.
    pub max_json_depth: usize,
    /// How long a request may take before it is answered with 504 and cancelled upstream. Default 60s.
    pub deadline: Span,
    /// How long a request may take while the server waits for an answer of the client (elicitation, sampling).
    /// Default 10m.
    pub ask_deadline: Span,
    /// How long the body of a request may take to arrive. Default 30s.
    pub body_timeout: Span,
    /// Bytes a second that a body must have come with, once it takes longer than 5 s. A slower one is refused with 408.
    /// Default 1024; 0: only `body_timeout` counts.
    pub min_upload_rate: usize,
    /// Bodies that are waited for at once, because they did not come together with their request. One more is refused
    /// with 503, also if half of the places are taken and a quarter of all by the same peer. Default 4096.
    pub max_uploads: usize,
    /// Bytes that have come of these bodies, together, by the same rule. Default 268435456 (256 MiB).
    pub max_upload_bytes: usize,
    /// How long a client may take nothing of its answer before the connection is cut. Default 30s.
    pub write_timeout: Span,
    /// How long a legacy session is kept without a request or an open stream. Then it is over as if its client had ended
    /// it: servers are told, and its id is answered with 404. Default 30m.
    pub session_idle: Span,
    /// How long a legacy event stream is kept for a client that lost the connection, so that it can read on with
    /// `Last-Event-ID`. Default 5m.
    pub replay_for: Span,
    /// Bytes of events that are kept of one legacy stream. Whoever needs older ones is answered with 400. Default 4194304
    /// (4 MiB).
    pub replay_stream_bytes: usize,
    /// Bytes of events that are kept of all legacy streams together. Streams that are over make room first. Default
    /// 33554432 (32 MiB).
    pub replay_bytes: usize,
}

// === impl LimitsConfig ===

impl LimitsConfig {
    /// Connections that one address may have at once.
    pub fn connections_from(&self, address: IpAddr) -> usize {
        match self.max_connections_per_address {
            Some(bound) => bound.get(),
            None if address.is_loopback() => self.max_connections,
            None => MAX_CONNECTIONS_PER_ADDRESS.min(self.max_connections),
        }
    }

    /// Says what makes no sense.
    ///
    /// # Errors
    /// The key and the problem.
    pub fn check(&self) -> Result<(), Misconfigured> {
        self.principal
            .check()
            .map_err(|error| error.within("principal"))?;
        let mut names = HashSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let unique = match names.insert(&rule.name) {
                true => Ok(()),
                false => Err(Misconfigured::new(
                    "name",
                    "this name is used twice; names must be unique",
                )),
            };
            rule.check()
                .and(unique)
                .map_err(|error| error.within(&format!("rules[{index}]")))?;
        }
        Ok(())
    }

    /// How much is kept for clients that lost their connection.
    pub fn replay(&self) -> ReplayLimits {
        ReplayLimits {
            stream_bytes: self.replay_stream_bytes,
            total_bytes: self.replay_bytes,
            keep: self.replay_for.0,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 2048,
            principal: PrincipalLimits::default(),
            rules: Vec::new(),
            upstream: UpstreamLimits::default(),
            max_streams: 10_000,
            max_connections: 16_384,
            max_connections_per_address: None,
            max_memory_bytes: None,
            max_body_bytes: 4 * 1024 * 1024,
            max_answer_bytes: 64 * 1024 * 1024,
            max_json_depth: 64,
            deadline: Span(Duration::from_secs(60)),
            ask_deadline: Span(Duration::from_secs(600)),
            body_timeout: Span(Duration::from_secs(30)),
            min_upload_rate: 1024,
            max_uploads: 4096,
            max_upload_bytes: 256 * 1024 * 1024,
            write_timeout: Span(Duration::from_secs(30)),
            session_idle: Span(Duration::from_secs(1800)),
            replay_for: Span(Duration::from_secs(300)),
            replay_stream_bytes: 4 * 1024 * 1024,
            replay_bytes: 32 * 1024 * 1024,
        }
    }
}
