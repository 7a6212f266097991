//! How one plugin is looked after, put together from the blocks of its entry.

use super::config::PluginEntry;
use super::health::HealthConfig;
use super::integrity::OnChange;
use super::limits::Limits;
use crate::supervisor::ChildConfig;

/// How a plugin is looked after.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upkeep {
    /// How much it may be asked to do.
    pub limits: Limits,
    /// How it is asked whether it can serve.
    pub health: HealthConfig,
    /// When it is started again. What is absent is as `supervision.plugins` says.
    pub supervision: ChildConfig,
    /// What happens when a file that it was started from is another one.
    pub on_change: OnChange,
}

// === impl Upkeep ===

impl Upkeep {
    /// What an entry says about it.
    pub fn of(entry: &PluginEntry) -> Self {
        Self {
            limits: entry.limits.clone(),
            health: entry.health.clone(),
            supervision: entry.supervision.clone(),
            on_change: entry.on_change,
        }
    }

    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// The key below the plugin's entry, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let below = |block: &str| {
            let block = block.to_owned();
            move |(key, text): (&str, String)| (format!(".{block}.{key}"), text)
        };
        self.limits.check().map_err(below("limits"))?;
        self.health.check().map_err(below("health"))
    }
}
