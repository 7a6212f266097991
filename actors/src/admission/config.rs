//! What an operator writes about callers under `limits`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::rate::{Allowance, Rate};
use crate::builtin::Misconfigured;
use crate::builtin::pattern::Pattern;
use crate::supervisor::duration::Span;

/// `limits.principal`: what each caller may do unless a rule says otherwise. A caller without credentials is known by
/// its address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrincipalLimits {
    /// Requests of one caller at once, over all workers; streams that wait for events are not counted. One more is
    /// refused with 429. Default 64.
    pub in_flight: NonZeroU32,
    /// Messages of one caller, such as `100/s`, `10/m` or `1000/h`. More are refused with 429 and told when to come
    /// again. Default: no limit.
    pub rate: Option<Rate>,
    /// Messages that may come at once after a rest. Default: those of one unit of `rate`.
    pub burst: Option<NonZeroU32>,
}

/// One entry of `limits.rules`. A key that is absent restricts nothing; a rule matches if all of its keys match, and a
/// key matches if one of its patterns does. In patterns `*` stands for any text and `?` for any one character.
///
/// A rule without `servers` and `tools` is about callers: the first that matches takes the place of
/// `limits.principal`. A rule with `servers` or `tools` is about what is called: every one that matches counts, in
/// addition, the calls of each caller to each tool (with `servers` alone: everything of each caller at each server).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    /// The name that tells it from others; unique.
    pub name: String,
    /// Users, by their id.
    #[serde(default)]
    pub principals: Option<Vec<Pattern>>,
    /// Tenants. A user without a tenant matches no pattern, not even `*`.
    #[serde(default)]
    pub tenants: Option<Vec<Pattern>>,
    /// Roles: one of the user's roles matches one of the patterns.
    #[serde(default)]
    pub roles: Option<Vec<Pattern>>,
    /// Groups: one of the user's groups matches one of the patterns.
    #[serde(default)]
    pub groups: Option<Vec<Pattern>>,
    /// Servers, by the name in the configuration.
    #[serde(default)]
    pub servers: Option<Vec<Pattern>>,
    /// Tools, by their own name at their server. A rule with tools is about `tools/call` alone.
    #[serde(default)]
    pub tools: Option<Vec<Pattern>>,
    /// True: all callers together are counted, not each for itself. Only with `servers` or `tools`. Default false.
    #[serde(default)]
    pub shared: bool,
    /// Requests at once. One more is refused with 429.
    #[serde(default)]
    pub in_flight: Option<NonZeroU32>,
    /// How many may come, such as `100/s`. More are refused with 429.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// How many may come at once after a rest. Default: those of one unit of `rate`.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// How long a request may take before it is answered with 504 and cancelled upstream. The first matching rule that
    /// has one decides; it goes before the server's own `deadline` and before `limits.deadline`.
    #[serde(default)]
    pub deadline: Option<Span>,
}

// === impl PrincipalLimits ===

impl Default for PrincipalLimits {
    fn default() -> Self {
        Self {
            in_flight: NonZeroU32::MIN.saturating_add(63),
            rate: None,
            burst: None,
        }
    }
}

impl PrincipalLimits {
    pub(super) fn allowance(&self) -> Option<Allowance> {
        Some(Allowance::new(self.rate?, self.burst))
    }

    /// Says what makes no sense.
    ///
    /// # Errors
    /// The key and the problem.
    pub fn check(&self) -> Result<(), Misconfigured> {
        burst_needs_rate(self.rate, self.burst)
    }
}

// === impl LimitRule ===

impl LimitRule {
    /// Whether it is about what is called, and not about who calls alone.
    pub(super) fn has_targets(&self) -> bool {
        self.servers.is_some() || self.tools.is_some()
    }

    pub(super) fn allowance(&self) -> Option<Allowance> {
        Some(Allowance::new(self.rate?, self.burst))
    }

    /// Says what makes no sense.
    ///
    /// # Errors
    /// The key and the problem.
    pub fn check(&self) -> Result<(), Misconfigured> {
        if self.name.is_empty() {
            return Err(Misconfigured::new("name", "empty; give the rule a name"));
        }
        for (key, patterns) in [
            ("principals", &self.principals),
            ("tenants", &self.tenants),
            ("roles", &self.roles),
            ("groups", &self.groups),
            ("servers", &self.servers),
            ("tools", &self.tools),
        ] {
            if patterns.as_ref().is_some_and(Vec::is_empty) {
                let problem = "an empty list never matches; remove the key, or write `[\"*\"]`";
                return Err(Misconfigured::new(key, problem));
            }
        }
        if self.shared && !self.has_targets() {
            let problem = "only a rule with `servers` or `tools` can count all callers together";
            return Err(Misconfigured::new("shared", problem));
        }
        if self.in_flight.is_none() && self.rate.is_none() && self.deadline.is_none() {
            let problem = "the rule limits nothing; add `rate`, `in_flight` or `deadline`";
            return Err(Misconfigured::new("name", problem));
        }
        if self.deadline.is_some_and(|deadline| deadline.0.is_zero()) {
            let problem = "with 0 nothing would be served; use more, or remove it";
            return Err(Misconfigured::new("deadline", problem));
        }
        burst_needs_rate(self.rate, self.burst)
    }
}

fn burst_needs_rate(rate: Option<Rate>, burst: Option<NonZeroU32>) -> Result<(), Misconfigured> {
    match (rate, burst) {
        (None, Some(_)) => Err(Misconfigured::new(
            "burst",
            "means nothing without `rate`; add it or remove this",
        )),
        _ => Ok(()),
    }
}
