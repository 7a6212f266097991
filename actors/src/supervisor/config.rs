//! What an operator may change about supervision: per group and per child.
//!
//! ```yaml
//! supervision:
//!   plugins:
//!     intensity: 3
//!     period: 10s
//!     backoff: { first: 50ms, cap: 10s }
//!     children:
//!       billing: { heartbeat: 20s, on_exhausted: escalate }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::backoff::Backoff;
use super::child::{ChildPolicy, OnExhausted, Restart, Shutdown};
use super::duration::{NotADuration, Span};
use super::group::{AutoShutdown, SpecError, Strategy};
use super::intensity::Intensity;

/// How the gateway keeps itself running, by group. What is absent keeps its built-in value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisionConfig {
    /// The root of the tree. Built in: 3 restarts in 60 s; over it the process exits with code 70.
    pub root: GroupConfig,
    /// The audit spool and its shippers.
    pub audit: GroupConfig,
    /// The plugins. Built in: exhausted ones are quarantined.
    pub plugins: GroupConfig,
    /// The upstream servers. Built in: exhausted ones are quarantined.
    pub upstreams: GroupConfig,
    /// The supervisor of the workers' pipelines, one child per worker.
    pub pipelines: GroupConfig,
    /// Each worker's pipeline: its stages.
    pub pipeline: GroupConfig,
    /// The listeners.
    pub listeners: GroupConfig,
}

/// One group. What is absent keeps the built-in value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
#[schemars(!remote)]
pub struct GroupConfig {
    /// What a failed child means for its siblings: `one_for_one`, `one_for_all` or `rest_for_one`. Built in:
    /// `rest_for_one` for `audit` and `pipeline`, else `one_for_one`. For `upstreams` anything but `one_for_one` makes
    /// every death of a server's process a failure of the server, which its siblings share; nothing is quarantined
    /// then. The same holds for `plugins`. Not for `pipelines`, whose children are independent.
    pub strategy: Option<Strategy>,
    /// Restarts allowed within `period`: of all children together, or of each child if `on_exhausted` is
    /// `quarantine`. Built in: 5.
    pub intensity: Option<u32>,
    /// The length of the sliding window in which restarts are counted. Built in: 30s.
    pub period: Option<Span>,
    /// Whether the end of significant children ends the group. Built in: never.
    pub auto_shutdown: Option<AutoShutdown>,
    /// When a child is restarted. Built in: permanent.
    pub restart: Option<Restart>,
    /// How long a child may take to be ready before it is killed, which counts as a restart. Built in: 10s.
    pub start_timeout: Option<Span>,
    /// How a child is stopped: a duration after which it is killed, or `kill`, or `infinity`. Built in: 5s.
    pub shutdown: Option<Shutdown>,
    /// How often a child must show that it is not stuck: a duration or `off`. Built in: 5s.
    pub heartbeat: Option<Heartbeat>,
    /// How long a child waits before a restart.
    pub backoff: BackoffConfig,
    /// What happens when restarts are exhausted. Built in: escalate; quarantine for plugins and upstreams.
    pub on_exhausted: Option<OnExhausted>,
    /// Values for one child, by name. They win over the group's.
    pub children: BTreeMap<String, ChildConfig>,
}

/// One child. What is absent keeps the group's value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
#[schemars(!remote)]
pub struct ChildConfig {
    /// When it is restarted.
    pub restart: Option<Restart>,
    /// Whether its end by itself counts for the group's `auto_shutdown`. Needs `restart` transient or temporary.
    pub significant: Option<bool>,
    /// Restarts allowed within `period`. Only if `on_exhausted` is `quarantine`; else the group's count.
    pub intensity: Option<u32>,
    /// The length of the sliding window in which restarts are counted.
    pub period: Option<Span>,
    /// How long it may take to be ready before it is killed, which counts as a restart.
    pub start_timeout: Option<Span>,
    /// How it is stopped: a duration after which it is killed, or `kill`, or `infinity`.
    pub shutdown: Option<Shutdown>,
    /// How often it must show that it is not stuck: a duration or `off`.
    pub heartbeat: Option<Heartbeat>,
    /// How long it waits before a restart.
    pub backoff: BackoffConfig,
    /// What happens when its restarts are exhausted.
    pub on_exhausted: Option<OnExhausted>,
}

/// The delays before restarts. What is absent keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
#[schemars(!remote)]
pub struct BackoffConfig {
    /// The delay before the first restart; `0s` restarts at once. Built in: 100ms.
    pub first: Option<Span>,
    /// What later delays grow from: the second is `min` times `factor`. Built in: 100ms.
    pub min: Option<Span>,
    /// The growth from one delay to the next, at least 1. Built in: 2.
    pub factor: Option<f64>,
    /// The longest delay, and the interval of trials in quarantine. Built in: 30s.
    pub cap: Option<Span>,
    /// The random share of a delay, both ways, 0 to 1. Built in: 0.2.
    pub jitter: Option<f64>,
    /// Running this long forgets earlier failures. Built in: 60s.
    pub reset_after: Option<Span>,
}

/// How often a child must show life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Heartbeat {
    /// Never asked.
    Off,
    /// This often.
    Every(Duration),
}

/// A value that cannot be meant.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A duration that must be longer than nothing.
    #[error("{0} must be longer than 0")]
    Zero(&'static str),
    /// Delays must not shrink.
    #[error("backoff factor must be at least 1 and finite, not {0}")]
    Factor(f64),
    /// A share.
    #[error("backoff jitter must be between 0 and 1, not {0}")]
    Jitter(f64),
    /// The cap would be below what it caps.
    #[error("backoff cap must not be shorter than min and first")]
    Cap,
    /// A permanent child never ends by itself.
    #[error("a significant child must be transient or temporary, not permanent")]
    SignificantPermanent,
    /// A child contradicts its group.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

// === impl GroupConfig ===

impl GroupConfig {
    /// Whether a failed child takes siblings along.
    pub fn is_coupled(&self) -> bool {
        self.strategy
            .is_some_and(|strategy| strategy != Strategy::OneForOne)
    }

    /// Returns the configured intensity over the built-in one.
    pub(crate) fn intensity_over(&self, built_in: Intensity) -> Intensity {
        intensity_over(built_in, self.intensity, self.period)
    }

    /// Returns the policy of the child of this name: its own configuration over the group's over the built-in.
    pub(crate) fn resolve(
        &self,
        name: &Arc<str>,
        built_in: &ChildPolicy,
    ) -> Result<ChildPolicy, SpecError> {
        let mut policy = built_in.clone();
        ChildConfig {
            restart: self.restart,
            significant: None,
            intensity: self.intensity,
            period: self.period,
            start_timeout: self
                .start_timeout
                .filter(|_| policy.start_timeout.is_some()),
            shutdown: self
                .shutdown
                .filter(|_| policy.shutdown != Shutdown::Infinity),
            heartbeat: self.heartbeat.filter(|_| policy.heartbeat.is_some()),
            backoff: self.backoff.clone(),
            on_exhausted: self.on_exhausted,
        }
        .apply(&mut policy);
        if let Some(child) = self.children.get(&**name) {
            child.overrule(name, &mut policy)?;
        }
        Ok(policy)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        longer_than_nothing("period", self.period)?;
        longer_than_nothing("start_timeout", self.start_timeout)?;
        for (name, child) in &self.children {
            if child.significant != Some(true) {
                continue;
            }
            let name = Arc::from(name.as_str());
            if child.restart.or(self.restart).unwrap_or_default() == Restart::Permanent {
                return Err(SpecError::SignificantPermanent(name).into());
            }
            if self.auto_shutdown.unwrap_or_default() == AutoShutdown::Never {
                return Err(SpecError::SignificantForNothing(name).into());
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for GroupConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(deserializer)?;
        config.validate().map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

// === impl ChildConfig ===

impl ChildConfig {
    /// Puts it over what holds for the child of this name without it.
    pub(crate) fn overrule(
        &self,
        name: &Arc<str>,
        policy: &mut ChildPolicy,
    ) -> Result<(), SpecError> {
        self.apply(policy);
        let counted_apart = self.intensity.is_some() || self.period.is_some();
        if counted_apart && policy.on_exhausted == OnExhausted::Escalate {
            return Err(SpecError::CountedTogether(Arc::clone(name)));
        }
        Ok(())
    }

    fn apply(&self, policy: &mut ChildPolicy) {
        policy.restart = self.restart.unwrap_or(policy.restart);
        policy.significant = self.significant.unwrap_or(policy.significant);
        policy.intensity = intensity_over(policy.intensity, self.intensity, self.period);
        policy.start_timeout = self
            .start_timeout
            .map(Duration::from)
            .or(policy.start_timeout);
        policy.shutdown = self.shutdown.unwrap_or(policy.shutdown);
        policy.on_exhausted = self.on_exhausted.unwrap_or(policy.on_exhausted);
        policy.heartbeat = match self.heartbeat {
            None => policy.heartbeat,
            Some(Heartbeat::Off) => None,
            Some(Heartbeat::Every(interval)) => Some(interval),
        };
        self.backoff.apply(&mut policy.backoff);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        longer_than_nothing("period", self.period)?;
        longer_than_nothing("start_timeout", self.start_timeout)?;
        if self.significant == Some(true) && self.restart == Some(Restart::Permanent) {
            return Err(ConfigError::SignificantPermanent);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ChildConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(deserializer)?;
        config.validate().map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

// === impl BackoffConfig ===

impl BackoffConfig {
    fn apply(&self, backoff: &mut Backoff) {
        let over = |configured: Option<Span>, built_in: Duration| {
            configured.map_or(built_in, Duration::from)
        };
        backoff.first = over(self.first, backoff.first);
        backoff.min = over(self.min, backoff.min);
        backoff.factor = self.factor.unwrap_or(backoff.factor);
        backoff.cap = over(self.cap, backoff.cap);
        backoff.jitter = self.jitter.unwrap_or(backoff.jitter);
        backoff.reset_after = over(self.reset_after, backoff.reset_after);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        longer_than_nothing("backoff min", self.min)?;
        longer_than_nothing("backoff cap", self.cap)?;
        longer_than_nothing("backoff reset_after", self.reset_after)?;
        if let Some(factor) = self
            .factor
            .filter(|factor| !factor.is_finite() || *factor < 1.0)
        {
            return Err(ConfigError::Factor(factor));
        }
        if let Some(jitter) = self.jitter.filter(|jitter| !(0.0..=1.0).contains(jitter)) {
            return Err(ConfigError::Jitter(jitter));
        }
        if self
            .cap
            .is_some_and(|cap| self.min.max(self.first).is_some_and(|least| cap < least))
        {
            return Err(ConfigError::Cap);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for BackoffConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(deserializer)?;
        config.validate().map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

// === impl Heartbeat ===

impl fmt::Display for Heartbeat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => formatter.write_str("off"),
            Self::Every(interval) => Span(*interval).fmt(formatter),
        }
    }
}

impl Serialize for Heartbeat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Heartbeat {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            other => match other.parse()? {
                Span(Duration::ZERO) => Ok(Self::Off),
                Span(interval) => Ok(Self::Every(interval)),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Heartbeat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

// === impl Shutdown ===

impl FromStr for Shutdown {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "kill" => Ok(Self::Kill),
            "infinity" => Ok(Self::Infinity),
            other => other.parse().map(|Span(time)| Self::Within(time)),
        }
    }
}

impl<'de> Deserialize<'de> for Shutdown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn intensity_over(built_in: Intensity, restarts: Option<u32>, period: Option<Span>) -> Intensity {
    Intensity {
        restarts: restarts.unwrap_or(built_in.restarts),
        period: period.map_or(built_in.period, Duration::from),
    }
}

fn longer_than_nothing(key: &'static str, value: Option<Span>) -> Result<(), ConfigError> {
    match value {
        Some(Span(Duration::ZERO)) => Err(ConfigError::Zero(key)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
