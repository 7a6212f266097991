//! The place of a plugin that is known by its name: whoever sits there when it is asked for.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::handle::PluginHandle;
use super::lifecycle::PluginState;
use super::loader::Loader;

/// Finds a plugin by its name, also when it is unloaded and another one is loaded in its place. Asking takes no lock
/// unless it has changed. Cheap to clone.
#[derive(Clone)]
pub struct Seat(Arc<Place>);

struct Place {
    name: String,
    loader: Loader,
    last: ArcSwapOption<PluginHandle>,
}

// === impl Seat ===

impl Seat {
    /// The seat of the plugin of this name.
    pub fn new(loader: Loader, name: impl Into<String>) -> Self {
        Self(Arc::new(Place {
            name: name.into(),
            loader,
            last: ArcSwapOption::empty(),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Who sits there; nothing if no plugin of this name is loaded.
    pub fn plugin(&self) -> Option<Arc<PluginHandle>> {
        let last = self.0.last.load_full();
        if let Some(plugin) = last.filter(|plugin| plugin.state() == PluginState::Active) {
            return Some(plugin);
        }
        let now = self.0.loader.get(&self.0.name).map(Arc::new);
        self.0.last.store(now.clone());
        now
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Seat").field(&self.0.name).finish()
    }
}
