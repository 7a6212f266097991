//! Loads plugins and unloads them: the plugins by name, each a supervised child.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::oneshot;

use super::handle::{PluginHandle, PluginSpec, Record};
use super::instance::PluginActor;
use super::lifecycle::{LifecycleHooks, PluginInfo, PluginState};
use super::registry::Registry;
use super::roles::Role;
use crate::supervisor::{ChildSpec, ChildState, CommandError, SupervisorHandle};

/// How long a plugin may take from loading to serving. More than its actor waits for each step together.
const LOAD_PATIENCE: Duration = Duration::from_secs(45);

/// The plugins of a gateway. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Loader(Arc<Shelf>);

struct Shelf {
    group: SupervisorHandle,
    registry: Arc<Registry>,
    hooks: Arc<dyn LifecycleHooks>,
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
    /// Whether it was restarted too often and is only tried now and then.
    pub quarantined: bool,
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
        Self(Arc::new(Shelf {
            group,
            registry,
            hooks,
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
        let handle = PluginHandle(Arc::new(Record::new(plugin)));
        plugins.insert(handle.name().to_owned(), handle.clone());
        let (registry, hooks) = (self.0.registry.clone(), self.0.hooks.clone());
        Ok(PluginActor::child(handle, registry, hooks))
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
        if let Err(failed) = settled(&handle).await {
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
        self.bury(&handle);
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
    /// does not serve is tried at once.
    ///
    /// # Errors
    /// No plugin has this name, or the new instance does not serve; then the old one goes on.
    pub async fn reload(&self, name: &str) -> Result<(), LoadError> {
        let handle = self.known(name)?;
        if handle.state() != PluginState::Active {
            let restarted = self.0.group.restart_child(name).await;
            restarted.map_err(|source| LoadError::Supervision {
                name: name.to_owned(),
                source,
            })?;
            return restarted_and_settled(&handle).await;
        }
        let (reload, done) = oneshot::channel();
        let failed = |reason: &str| LoadError::Failed {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        if handle.0.reloads.try_send(reload).is_err() {
            return Err(failed("it is being reloaded already"));
        }
        match tokio::time::timeout(LOAD_PATIENCE, done).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => Err(failed(&reason)),
            Ok(Err(_)) => Err(failed("it ended while it was reloaded")),
            Err(_) => Err(failed("it takes too long")),
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
            PluginView {
                name: name.clone(),
                key: record.spec.key.clone(),
                role: record.spec.role.map(Role::key),
                transport: info.r#type,
                state: plugin.state(),
                generation: record.generation.load(Ordering::Relaxed),
                restarts: child.map_or(0, |child| child.restarts),
                quarantined: child.is_some_and(|child| child.state == ChildState::Quarantined),
                version: info.version.clone(),
                error: record.error.load().as_deref().cloned(),
            }
        };
        plugins.iter().map(view).collect()
    }

    /// Ends the life of a plugin whose actor is gone, unless the actor did: it was down, or killed.
    fn bury(&self, handle: &PluginHandle) {
        let record = &handle.0;
        if record.life.state() != PluginState::Stopped {
            if record.life.state() != PluginState::ShuttingDown {
                record.enter(PluginState::ShuttingDown);
            }
            if let Some(role) = handle.role() {
                self.0.registry.unregister(role, handle);
            }
            record.enter(PluginState::Stopped);
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

/// Waits until a plugin serves, or does not.
async fn settled(handle: &PluginHandle) -> Result<(), LoadError> {
    settles(handle, &[PluginState::Error, PluginState::Stopped]).await
}

/// The same, where it may still be in error.
async fn restarted_and_settled(handle: &PluginHandle) -> Result<(), LoadError> {
    let mut states = handle.0.life.watch();
    let begun = states.wait_for(|state| *state != PluginState::Error);
    let _begun = tokio::time::timeout(LOAD_PATIENCE, begun).await;
    settles(handle, &[PluginState::Error]).await
}

async fn settles(handle: &PluginHandle, bad: &[PluginState]) -> Result<(), LoadError> {
    let mut states = handle.0.life.watch();
    let settled = states.wait_for(|state| *state == PluginState::Active || bad.contains(state));
    let state = match tokio::time::timeout(LOAD_PATIENCE, settled).await {
        Ok(Ok(state)) => Some(*state),
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
