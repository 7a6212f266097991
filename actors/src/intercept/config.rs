//! The `interceptor` block of a plugin.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Pattern, Phase};
use crate::supervisor::duration::Span;

/// The longest time that one interceptor may take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// The most events that one interceptor names.
pub const MAX_EVENTS: usize = 64;
/// Interceptors of one gateway.
pub const MAX_INTERCEPTORS: usize = 64;

/// Has the plugin see requests of clients and answers to them, and judge or change them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InterceptorConfig {
    /// `validation` judges a message; `mutation` may answer with another payload in its place.
    pub r#type: InterceptorKind,
    /// Which methods it sees: `tools/call`, `prompts/*` (all that begin so), `*` (all), `*/request` and `*/response`
    /// (all, in that phase). Handshakes, pings and subscriptions are not shown.
    pub events: Vec<String>,
    /// `request`: before the server is asked. `response`: before the client is answered. Default: `both`.
    #[serde(default)]
    pub phase: Phases,
    /// `enforce`: what it says is done. `audit`: what it says is recorded, and the message goes on as it is.
    #[serde(default)]
    pub mode: Mode,
    /// What happens if it fails, is too slow or answers something else than the contract says. False: the message is
    /// refused. True: it goes on, and that is counted. Also spelled `failOpen`.
    #[serde(
        default,
        alias = "failOpen",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub fail_open: bool,
    /// Mutations happen one after the other, the lowest number first, and by name where numbers are alike. One number, or
    /// one for each phase. Default 0. Validations have no order. Also spelled `priorityHint`.
    #[serde(default, alias = "priorityHint")]
    pub priority: Priority,
    /// How long it may take for one message; at most 30s. Default 500ms.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Given to it with every message, as it stands here. No secrets: it is shown with the configuration.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    pub config: Map<String, Value>,
    /// What the interceptor is called in the messages to it, for a plugin with several. Default: the plugin's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What a client is told of a refusal. Default: `messages`.
    #[serde(default)]
    pub disclose: Disclosure,
}

/// What an interceptor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InterceptorKind {
    /// It judges.
    Validation,
    /// It changes.
    Mutation,
}

/// In which phases an interceptor is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phases {
    /// Before the server is asked.
    Request,
    /// Before the client is answered.
    Response,
    /// In both.
    #[default]
    Both,
}

/// Whether what an interceptor says is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is done.
    #[default]
    Enforce,
    /// It is recorded.
    Audit,
}

/// What a client is told of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Disclosure {
    /// The interceptor's name, messages and suggestions; at most 16 of each, and each cut at 500 characters.
    #[default]
    Messages,
    /// That it was refused, and in which phase.
    Nothing,
}

/// The place of a mutation among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Priority {
    /// The same in both phases.
    Same(i32),
    /// One for each phase; 0 where it is not said.
    Each(PhasePriorities),
}

/// The place of a mutation among others, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhasePriorities {
    /// Before the server is asked.
    #[serde(default)]
    pub request: i32,
    /// Before the client is answered.
    #[serde(default)]
    pub response: i32,
}

// === impl InterceptorConfig ===

impl InterceptorConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The key below `interceptor` and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.events.is_empty() {
            let text = "no events: it would never be asked; name some, such as tools/call";
            return Err(("events", text.to_owned()));
        }
        if self.events.len() > MAX_EVENTS {
            return Err(("events", format!("more than {MAX_EVENTS} events; use *")));
        }
        for event in &self.events {
            if Pattern::parse(event).is_none() {
                let text = format!(
                    "{event:?} is no event; write a method (tools/call), all of a kind (tools/*), *, */request or */response"
                );
                return Err(("events", text));
            }
        }
        if self.timeout.0.is_zero() || self.timeout.0 > MAX_TIMEOUT {
            let text = format!("{} is not between 1ms and 30s", self.timeout);
            return Err(("timeout", text));
        }
        Ok(())
    }
}

fn default_timeout() -> Span {
    Span(Duration::from_millis(500))
}

// === impl Phases ===

impl Phases {
    /// Whether this phase is one of them.
    pub fn hold(self, phase: Phase) -> bool {
        match self {
            Self::Request => phase == Phase::Request,
            Self::Response => phase == Phase::Response,
            Self::Both => true,
        }
    }
}

// === impl Priority ===

impl Priority {
    /// The number in a phase.
    pub fn in_phase(self, phase: Phase) -> i32 {
        match (self, phase) {
            (Self::Same(number), _) => number,
            (Self::Each(each), Phase::Request) => each.request,
            (Self::Each(each), Phase::Response) => each.response,
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::Same(0)
    }
}
