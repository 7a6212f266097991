//! Loads plugins and unloads them: the plugins by name, each a supervised child.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{PluginHandle, PluginSpec};
use super::instance::PluginActor;
use super::lifecycle::{LifecycleHooks, PluginInfo, PluginState};
use super::limits::CLOSE_PATIENCE;
use super::record::{Quarantine, Record};
use super::registry::Registry;
use super::roles::Role;
use super::tenure::Rest;
use crate::pipeline::metrics::plugins::{PluginMeter, PluginMetrics};
use crate::supervisor::{
    ChildSpec, ChildState, CommandError, EventKind, SupervisionEvent, SupervisorHandle,
};

/// How much longer than a plugin may take to start its loader waits: the one before it may have to be closed.
const SPARE: Duration = Duration::from_secs(5);

/// The plugins of a gateway. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Loader(Arc<Shelf>);

struct Shelf {
    group: SupervisorHandle,
    registry: Arc<Registry>,
    hooks: Arc<dyn LifecycleHooks>,
    metrics: Option<PluginMetrics>,
    plugins: Mutex<BTreeMap<String, PluginHandle>>,
}

/// What an operator sees of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// Its key in the configuration.
    pub key: String,
    /// The key of the role that it plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// What carries it.
    pub transport: &'static str,
    /// What it is doing.
    pub state: PluginState,
    /// The number of the instance that serves or served last: restarts and reloads count on. 0 before the first.
    pub generation: u64,
    /// How often its actor was restarted.
    pub restarts: u64,
    /// Whether it was restarted too often and is only tried now and then, or is not what it was and is kept down.
    pub quarantined: bool,
    /// Seconds until it is tried again, if it is quarantined and tried again at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_in_seconds: Option<f64>,
    /// Questions for its health in a row that were answered badly or not at all.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed: u32,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// How its calls ended so far: how many, by outcome.
    pub calls: BTreeMap<&'static str, u64>,
    /// What it says its version is.
    pub version: String,
    /// Why it does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a plugin was not loaded, reloaded or unloaded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// The name is taken.
    #[error("plugin {0} is already loaded")]
    Duplicate(String),
    /// No plugin has this name.
    #[error("plugin {0} is not loaded")]
    Unknown(String),
    /// It does not serve.
    #[error("plugin {name} does not serve: {reason}")]
    Failed {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Its supervisor cannot do it now.
    #[error("plugin {name} cannot be supervised")]
    Supervision {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: CommandError,
    },
}

// === impl Loader ===

impl Loader {
    /// A loader of plugins that live in `group`.
    pub fn new(
        group: SupervisorHandle,
        registry: Arc<Registry>,
        hooks: Arc<dyn LifecycleHooks>,
    ) -> Self {
        Self::build(group, registry, hooks, None)
    }

    /// The same, and what becomes of the plugins and their calls is counted.
    pub fn counted(
        group: SupervisorHandle,
        registry: Arc<Registry>,
        hooks: Arc<dyn LifecycleHooks>,
        metrics: PluginMetrics,
    ) -> Self {
        Self::build(group, registry, hooks, Some(metrics))
    }

    fn build(
        group: SupervisorHandle,
        registry: Arc<Registry>,
        hooks: Arc<dyn LifecycleHooks>,
        metrics: Option<PluginMetrics>,
    ) -> Self {
        Self(Arc::new(Shelf {
            group,
            registry,
            hooks,
            metrics,
            plugins: Mutex::default(),
        }))
    }

    /// Who plays which role.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// Takes a plugin into the books and returns the child that runs it, for a group that is not started yet.
    ///
    /// # Errors
    /// The name is taken.
    pub fn enlist(&self, plugin: PluginSpec) -> Result<ChildSpec, LoadError> {
        let mut plugins = self.plugins();
        if plugins.contains_key(&plugin.name) {
            return Err(LoadError::Duplicate(plugin.name));
        }
        let metrics = self.0.metrics.as_ref();
        let meter =
            metrics.map_or_else(PluginMeter::default, |metrics| metrics.meter(&plugin.name));
        let handle = PluginHandle(Arc::new(Record::new(plugin, meter)));
        plugins.insert(handle.name().to_owned(), handle.clone());
        Ok(self.actor(&handle).child())
    }

    fn actor(&self, handle: &PluginHandle) -> PluginActor {
        let (registry, hooks) = (self.0.registry.clone(), self.0.hooks.clone());
        PluginActor::new(handle.clone(), registry, hooks)
    }

    /// Loads a plugin and returns when it serves. If it does not, nothing of it stays.
    ///
    /// # Errors
    /// The name is taken, or it cannot be connected to, is not healthy or its role is taken.
    pub async fn load(&self, plugin: PluginSpec) -> Result<PluginHandle, LoadError> {
        let name = plugin.name.clone();
        let child = self.enlist(plugin)?;
        if let Err(source) = self.0.group.start_child(child).await {
            self.plugins().remove(&name);
            return Err(LoadError::Supervision { name, source });
        }
        let handle = self.known(&name)?;
        if let Err(failed) = settled(&handle, 0).await {
            let _gone = self.unload(&name).await;
            return Err(failed);
        }
        Ok(handle)
    }

    /// Unloads a plugin and returns when it is gone.
    ///
    /// # Errors
    /// No plugin has this name, or its supervisor is not running.
    pub async fn unload(&self, name: &str) -> Result<(), LoadError> {
        let handle = self.known(name)?;
        match self.0.group.delete_child(name).await {
            Ok(()) | Err(CommandError::Unknown(_)) => {}
            Err(source) => {
                let name = name.to_owned();
                return Err(LoadError::Supervision { name, source });
            }
        }
        self.bury(&handle).await;
        let mut plugins = self.plugins();
        if plugins
            .get(name)
            .is_some_and(|found| Arc::ptr_eq(&found.0, &handle.0))
        {
            plugins.remove(name);
        }
        Ok(())
    }

    /// Unloads every plugin, the last name first.
    ///
    /// # Errors
    /// The first thing that went wrong. The others are unloaded all the same.
    pub async fn unload_all(&self) -> Result<(), LoadError> {
        let names: Vec<String> = self.plugins().keys().rev().cloned().collect();
        let mut outcome = Ok(());
        for name in names {
            let unloaded = self.unload(&name).await;
            outcome = outcome.and(unloaded);
        }
        outcome
    }

    /// Makes another instance of a plugin, and when it serves retires the one before: no call fails. A plugin that
    /// does not serve is restarted.
    ///
    /// # Errors
    /// No plugin has this name, or the new instance does not serve; then the old one goes on.
    pub async fn reload(&self, name: &str) -> Result<(), LoadError> {
        let handle = self.known(name)?;
        if handle.state() != PluginState::Active {
            return self.restart(name).await;
        }
        handle.0.trust_anew();
        let (reload, done) = oneshot::channel();
        let failed = |reason: &str| LoadError::Failed {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        if handle.0.reloads.try_send(reload).is_err() {
            return Err(failed("it is being reloaded already"));
        }
        match tokio::time::timeout(patience(&handle), done).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => Err(failed(&reason)),
            Ok(Err(_)) => Err(failed("it ended while it was reloaded")),
            Err(_) => Err(failed("it takes too long")),
        }
    }

    /// Stops a plugin, if it runs, starts it anew, whatever it did before, and returns when it serves. Failures and
    /// quarantine are forgotten. Calls fail meanwhile.
    ///
    /// # Errors
    /// No plugin has this name, or it does not serve. Then it is tried again as its supervision says.
    pub async fn restart(&self, name: &str) -> Result<(), LoadError> {
        let handle = self.known(name)?;
        handle.0.trust_anew();
        handle.0.quarantine.store(None);
        let attempts = handle.0.lifecycle.attempts();
        let group = &self.0.group;
        let restarted = match group.restart_child(name).await {
            // It was temporary, and was forgotten when it ended.
            Err(CommandError::Unknown(_)) => group.start_child(self.actor(&handle).child()).await,
            restarted => restarted,
        };
        restarted.map_err(|source| LoadError::Supervision {
            name: name.to_owned(),
            source,
        })?;
        settled(&handle, attempts).await
    }

    /// Takes note of what happens in the supervision tree: which plugins are restarted, are quarantined, and recover.
    /// Events of other groups are none of its business.
    pub fn hear(&self, event: &SupervisionEvent) {
        let group = event.supervisor.rsplit('/').next();
        if group != Some(&**self.0.group.name()) {
            return;
        }
        let Some(handle) = self.get(&event.child) else {
            return;
        };
        let record = &handle.0;
        match &event.kind {
            EventKind::RestartScheduled { .. } => record.meter.restarted(),
            EventKind::Quarantined { trial } => {
                let quarantine = Quarantine {
                    trial: Some(Instant::now() + *trial),
                };
                record.quarantine.store(Some(Arc::new(quarantine)));
                self.0.hooks.on_quarantined(&handle.info(), Some(*trial));
            }
            EventKind::Recovered => {
                record.quarantine.store(None);
                self.0.hooks.on_recovered(&handle.info());
            }
            _ => {}
        }
    }

    /// The plugin of this name.
    pub fn get(&self, name: &str) -> Option<PluginHandle> {
        self.plugins().get(name).cloned()
    }

    /// The names of the plugins, in alphabetical order.
    pub fn list(&self) -> Vec<String> {
        self.plugins().keys().cloned().collect()
    }

    /// What a plugin is called, what carries it, and its version.
    pub fn info(&self, name: &str) -> Option<PluginInfo> {
        self.get(name).map(|plugin| plugin.info())
    }

    /// What an operator sees, in alphabetical order. Never waits for a plugin.
    pub fn views(&self) -> Vec<PluginView> {
        let tree = self.0.group.snapshot();
        let plugins = self.plugins();
        let view = |(name, plugin): (&String, &PluginHandle)| {
            let child = tree.child(name);
            let record = &plugin.0;
            let info = record.info.load();
            let quarantine = record.quarantine.load().as_deref().copied();
            let is_held = quarantine.is_some_and(|quarantine| quarantine.trial.is_none());
            let is_aside = child.is_some_and(|child| child.state == ChildState::Quarantined);
            let trial = quarantine.and_then(|quarantine| quarantine.trial);
            let trial_in = trial.filter(|_| is_aside).map(|trial| {
                let left = trial.saturating_duration_since(Instant::now());
                left.as_secs_f64()
            });
            PluginView {
                name: name.clone(),
                key: record.spec.key.clone(),
                role: record.spec.role.map(Role::key),
                transport: info.r#type,
                state: plugin.state(),
                generation: info.generation,
                restarts: child.map_or(0, |child| child.restarts),
                quarantined: is_held || is_aside,
                trial_in_seconds: trial_in,
                missed: record.missed.load(Ordering::Relaxed),
                in_flight: record.in_flight(),
                waiting: record.queue.len(),
                calls: record.meter.outcomes(),
                version: info.version.clone(),
                error: record.error.load().as_deref().cloned(),
            }
        };
        plugins.iter().map(view).collect()
    }

    /// Ends the life of a plugin whose actor is gone, unless the actor did: it was down, or killed.
    async fn bury(&self, handle: &PluginHandle) {
        let record = &handle.0;
        let actor = self.actor(handle);
        let mut desk = record.desk.lock().await;
        if Rest::bury(&mut desk.rest, &actor) {
            actor.unregister();
            let error = record.error.load();
            let error = error.as_deref().map(String::as_str);
            self.0.hooks.on_stop(&handle.info(), error);
        }
    }

    fn known(&self, name: &str) -> Result<PluginHandle, LoadError> {
        self.get(name)
            .ok_or_else(|| LoadError::Unknown(name.to_owned()))
    }

    fn plugins(&self) -> MutexGuard<'_, BTreeMap<String, PluginHandle>> {
        // Every change is one step, so a panic leaves it whole.
        self.0
            .plugins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a plugin may take to serve after it was asked to, the end of the one before it included.
fn patience(handle: &PluginHandle) -> Duration {
    let limits = &handle.0.spec.upkeep.limits;
    limits.start_timeout.0 + limits.drain_timeout.0 + 2 * CLOSE_PATIENCE + SPARE
}

/// Waits until an attempt after so many has come to serve, or has not.
async fn settled(handle: &PluginHandle, attempts: u64) -> Result<(), LoadError> {
    let mut moments = handle.0.lifecycle.watch();
    let settled = moments.wait_for(|moment| {
        let state = moment.state;
        let is_settled = matches!(
            state,
            PluginState::Active | PluginState::Error | PluginState::Stopped
        );
        moment.attempts > attempts && is_settled
    });
    let state = match tokio::time::timeout(patience(handle), settled).await {
        Ok(Ok(moment)) => Some(moment.state),
        Ok(Err(_)) | Err(_) => None,
    };
    if state == Some(PluginState::Active) {
        return Ok(());
    }
    let reason = handle.0.error.load();
    let reason = reason
        .as_deref()
        .map_or("it takes too long", String::as_str);
    Err(LoadError::Failed {
        name: handle.name().to_owned(),
        reason: reason.to_owned(),
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
