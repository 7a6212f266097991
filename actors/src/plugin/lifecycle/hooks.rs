//! Who is told of the life of plugins.

use std::time::Duration;

use serde::Serialize;
use tracing::{error, info, warn};

use super::PluginState;
use crate::plugin::integrity::Replacement;

/// What a plugin is called, what carries it, its version, and which of its instances it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginInfo {
    /// Its name, unique among the plugins.
    pub name: String,
    /// Its transport.
    pub r#type: &'static str,
    /// What it says its version is; `unknown` until it was connected and if it does not say.
    pub version: String,
    /// The number of the instance that serves or served last: restarts and reloads count on. 0 before the first.
    pub generation: u64,
}

/// Hears of the life of plugins. Called on the plugins' thread in the order of events, so it must not block. By default
/// nothing is done.
pub trait LifecycleHooks: Send + Sync + 'static {
    /// The plugin has taken a step. Called at every step, before what the step means is told.
    fn on_state(&self, _info: &PluginInfo, _state: PluginState) {}

    /// The plugin is registered and serves, for the first time since it was loaded.
    fn on_start(&self, _info: &PluginInfo) {}

    /// The plugin was stopped as asked. The error is what went wrong while it was closed, or why it did not serve.
    fn on_stop(&self, _info: &PluginInfo, _error: Option<&str>) {}

    /// The plugin could not be started, ended by itself, does not answer, or could not be reloaded. It will be tried
    /// again, unless it was a reload: then it goes on as it was.
    fn on_error(&self, _info: &PluginInfo, _error: &str) {}

    /// A new instance serves after failures, of which `attempt` is the number since it last served.
    fn on_restart(&self, _info: &PluginInfo, _attempt: u32) {}

    /// A new instance serves after a reload. By default, that is a restart with `attempt` 1.
    fn on_reload(&self, info: &PluginInfo) {
        self.on_restart(info, 1);
    }

    /// The plugin failed too often and is left alone until it is tried again, in this time, or is not tried at all
    /// before an operator restarts it.
    fn on_quarantined(&self, _info: &PluginInfo, _trial: Option<Duration>) {}

    /// The plugin was quarantined, was tried, and has been healthy since.
    fn on_recovered(&self, _info: &PluginInfo) {}

    /// A file that the plugin was started from is another one than it was.
    fn on_replaced(&self, _info: &PluginInfo, _replacement: &Replacement) {}
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

/// Writes to the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggingHooks;

// === impl NoHooks ===

impl LifecycleHooks for NoHooks {}

// === impl LoggingHooks ===

impl LifecycleHooks for LoggingHooks {
    fn on_state(&self, plugin: &PluginInfo, state: PluginState) {
        tracing::debug!(plugin = %plugin.name, state = state.as_str(), "plugin changed");
    }

    fn on_start(&self, plugin: &PluginInfo) {
        let PluginInfo {
            name,
            r#type,
            version,
            generation,
        } = plugin;
        info!(plugin = %name, r#type, version, generation, "plugin started");
    }

    fn on_stop(&self, plugin: &PluginInfo, error: Option<&str>) {
        match error {
            None => info!(plugin = %plugin.name, "plugin stopped"),
            Some(error) => warn!(plugin = %plugin.name, error, "plugin did not stop cleanly"),
        }
    }

    fn on_error(&self, plugin: &PluginInfo, error: &str) {
        warn!(plugin = %plugin.name, generation = plugin.generation, error, "plugin failed");
    }

    fn on_restart(&self, plugin: &PluginInfo, attempt: u32) {
        let PluginInfo {
            name,
            version,
            generation,
            ..
        } = plugin;
        warn!(plugin = %name, attempt, version, generation, "plugin restarted");
    }

    fn on_reload(&self, plugin: &PluginInfo) {
        let PluginInfo {
            name,
            version,
            generation,
            ..
        } = plugin;
        info!(plugin = %name, version, generation, "plugin reloaded");
    }

    fn on_quarantined(&self, plugin: &PluginInfo, trial: Option<Duration>) {
        match trial {
            Some(trial) => {
                error!(plugin = %plugin.name, trial_seconds = trial.as_secs_f64(), "plugin quarantined");
            }
            None => {
                error!(plugin = %plugin.name, "plugin quarantined until it is restarted by hand");
            }
        }
    }

    fn on_recovered(&self, plugin: &PluginInfo) {
        info!(plugin = %plugin.name, generation = plugin.generation, "plugin has recovered");
    }

    fn on_replaced(&self, plugin: &PluginInfo, replacement: &Replacement) {
        let Replacement { file, before, now } = replacement;
        let file = file.display();
        warn!(plugin = %plugin.name, %file, %before, %now, "a file of the plugin was replaced");
    }
}
