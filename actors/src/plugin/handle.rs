//! A plugin as its callers know it: a name that stays, whichever instance answers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::{self, MAX_ANSWER_BYTES};
use super::client::{Call, CallError, PluginTransport};
use super::lifecycle::{Moment, PluginInfo, PluginState};
use super::record::Record;
use super::roles::Role;
use super::upkeep::Upkeep;

/// A plugin to be loaded.
#[derive(Clone)]
pub struct PluginSpec {
    /// Its name, unique among the plugins.
    pub name: String,
    /// Its key in the configuration.
    pub key: String,
    /// The role that it plays, if it is one of the seven.
    pub role: Option<Role>,
    /// How it is reached.
    pub transport: Arc<dyn PluginTransport>,
    /// How it is looked after.
    pub upkeep: Upkeep,
}

/// A plugin that is loaded, over its restarts. Cheap to clone.
#[derive(Clone)]
pub struct PluginHandle(pub(super) Arc<Record>);

// === impl PluginSpec ===

impl PluginSpec {
    /// A plugin whose key is its name, and whose role is the one of that key, if there is one.
    pub fn new(name: impl Into<String>, transport: Arc<dyn PluginTransport>) -> Self {
        let name = name.into();
        Self {
            key: name.clone(),
            role: Role::of(&name),
            name,
            transport,
            upkeep: Upkeep::default(),
        }
    }

    /// Sets the role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets how it is looked after.
    #[must_use]
    pub fn upkeep(mut self, upkeep: Upkeep) -> Self {
        self.upkeep = upkeep;
        self
    }
}

impl fmt::Debug for PluginSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PluginSpec")
            .field("name", &self.name)
            .field("key", &self.key)
            .field("role", &self.role)
            .field("transport", &self.transport.kind())
            .field("upkeep", &self.upkeep)
            .finish()
    }
}

// === impl PluginHandle ===

impl PluginHandle {
    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// The role that it plays.
    pub fn role(&self) -> Option<Role> {
        self.0.spec.role
    }

    /// What it is doing.
    pub fn state(&self) -> PluginState {
        self.0.lifecycle.state()
    }

    /// The number of the instance that serves, or served last: restarts and reloads count on. 0 before the first.
    pub fn generation(&self) -> u64 {
        self.0.info.load().generation
    }

    /// Follows what it is doing.
    pub fn follow(&self) -> watch::Receiver<Moment> {
        self.0.lifecycle.watch()
    }

    /// What it is called, what carries it, its version, and which of its instances serves.
    pub fn info(&self) -> PluginInfo {
        PluginInfo::clone(&self.0.info.load())
    }

    /// Calls the instance that serves, after a look at the call. A reload fails no call.
    ///
    /// Besides what the transport does and the look, which writes the parameters once to know how long they are, a call
    /// costs about a dozen atomic operations, a timer, and one lock that is held for some instructions when it has to wait for the
    /// answer. Only a call that finds `max_calls` others has to wait for its turn.
    ///
    /// # Errors
    /// The call breaks the contract ([`call::check`]), nobody serves, there is no place among the calls in flight within
    /// the time of its [limits](super::Limits), the plugin ends before it answers or has no answer in time or one longer
    /// than [`MAX_ANSWER_BYTES`], or the plugin refuses.
    pub async fn call(&self, method: &str, params: &Value) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + self.0.spec.upkeep.limits.call_timeout.0;
        self.counted(deadline, method, params).await
    }

    /// The same for somebody who does not wait longer than until `deadline`.
    ///
    /// # Errors
    /// Those of [`PluginHandle::call`].
    pub async fn call_before(
        &self,
        deadline: Instant,
        method: &str,
        params: &Value,
    ) -> Result<Bytes, CallError> {
        let limit = Instant::now() + self.0.spec.upkeep.limits.call_timeout.0;
        self.counted(deadline.min(limit), method, params).await
    }

    async fn counted(
        &self,
        deadline: Instant,
        method: &str,
        params: &Value,
    ) -> Result<Bytes, CallError> {
        let tally = self.0.meter.begin();
        let answer = self.carry_out(deadline, method, params).await;
        tally.end(answer.as_ref().map_or_else(CallError::outcome, |_| "ok"));
        answer
    }

    async fn carry_out(
        &self,
        deadline: Instant,
        method: &str,
        params: &Value,
    ) -> Result<Bytes, CallError> {
        call::check(method, params)?;
        let place = self.0.place(deadline).await?;
        let call = Call {
            method,
            params,
            deadline,
        };
        let answer = tokio::select! {
            biased;
            answer = place.live().client.call(call) => answer?,
            how = place.live().lost() => return Err(CallError::Lost(how)),
            () = tokio::time::sleep_until(deadline) => return Err(CallError::Timeout),
        };
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(CallError::TooLarge);
        }
        Ok(answer)
    }
}

impl fmt::Debug for PluginHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PluginHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}
