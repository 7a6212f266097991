//! The life of a plugin: its states, and who is told of it.

use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

/// What a plugin is called, what carries it, and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginInfo {
    /// Its name, unique among the plugins.
    pub name: String,
    /// Its transport.
    pub r#type: &'static str,
    /// What it says its version is; `unknown` until it was connected and if it does not say.
    pub version: String,
}

/// Hears of the life of plugins. Called on the plugins' thread in the order of events, so it must not block. By default
/// nothing is done.
pub trait LifecycleHooks: Send + Sync + 'static {
    /// The plugin is registered and serves, for the first time since it was loaded.
    fn on_start(&self, _info: &PluginInfo) {}

    /// The plugin was stopped as asked. The error is what went wrong while it was closed, or why it did not serve.
    fn on_stop(&self, _info: &PluginInfo, _error: Option<&str>) {}

    /// The plugin could not be started, or ended by itself. It will be tried again.
    fn on_error(&self, _info: &PluginInfo, _error: &str) {}

    /// A new instance serves: after failures, of which `attempt` is the number since it last served, or after a
    /// reload, where it is 1.
    fn on_restart(&self, _info: &PluginInfo, _attempt: u32) {}
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

/// Writes to the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggingHooks;

/// What a plugin is doing.
///
/// ```text
/// Discovered ─▶ Loading ─▶ Authenticating ─▶ Active
///                 ▲ └────────────┬─────────────┘
///                 │              ▼
///                 ├─────────── Error             from each of these: ─▶ ShuttingDown ─▶ Stopped ─▶ Loading
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Configured; nothing was tried.
    Discovered,
    /// Being connected to.
    Loading,
    /// Connected; being asked whether it can serve, and then registered.
    Authenticating,
    /// Serving.
    Active,
    /// Failed; to be tried again.
    Error,
    /// Being closed.
    ShuttingDown,
    /// Closed and unregistered.
    Stopped,
}

/// A step that a plugin's life does not have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a plugin cannot go from {from:?} to {to:?}")]
pub struct IllegalTransition {
    /// The state that it is in, and stays in.
    pub from: PluginState,
    /// The state that it cannot go to from there.
    pub to: PluginState,
}

/// The one place that holds a plugin's state. There is no way to set it but [`Lifecycle::enter`].
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<PluginState>);

// === impl LifecycleHooks ===

impl LifecycleHooks for NoHooks {}

impl LifecycleHooks for LoggingHooks {
    fn on_start(&self, plugin: &PluginInfo) {
        let PluginInfo {
            name,
            r#type,
            version,
        } = plugin;
        info!(plugin = %name, r#type, version, "plugin started");
    }

    fn on_stop(&self, plugin: &PluginInfo, error: Option<&str>) {
        match error {
            None => info!(plugin = %plugin.name, "plugin stopped"),
            Some(error) => warn!(plugin = %plugin.name, error, "plugin did not stop cleanly"),
        }
    }

    fn on_error(&self, plugin: &PluginInfo, error: &str) {
        warn!(plugin = %plugin.name, error, "plugin failed");
    }

    fn on_restart(&self, plugin: &PluginInfo, attempt: u32) {
        warn!(plugin = %plugin.name, attempt, version = plugin.version, "plugin restarted");
    }
}

// === impl PluginState ===

impl PluginState {
    /// Every state, in the order of a life.
    pub const ALL: [PluginState; 7] = [
        Self::Discovered,
        Self::Loading,
        Self::Authenticating,
        Self::Active,
        Self::Error,
        Self::ShuttingDown,
        Self::Stopped,
    ];

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        use PluginState::{
            Active, Authenticating, Discovered, Error, Loading, ShuttingDown, Stopped,
        };
        matches!(
            (self, next),
            (Discovered | Error | Stopped, Loading)
                | (Loading, Authenticating)
                | (Authenticating, Active)
                | (Loading | Authenticating | Active, Error)
                | (
                    Discovered | Loading | Authenticating | Active | Error,
                    ShuttingDown
                )
                | (ShuttingDown, Stopped)
        )
    }
}

// === impl Lifecycle ===

impl Default for Lifecycle {
    fn default() -> Self {
        Self(watch::Sender::new(PluginState::Discovered))
    }
}

impl Lifecycle {
    /// The state.
    pub fn state(&self) -> PluginState {
        *self.0.borrow()
    }

    /// Goes to another state.
    ///
    /// # Errors
    /// There is no such step; the state stays what it is.
    pub fn enter(&self, next: PluginState) -> Result<(), IllegalTransition> {
        let mut refused = None;
        self.0.send_if_modified(|state| {
            let legal = state.may_become(next);
            if legal {
                *state = next;
            } else {
                refused = Some(IllegalTransition {
                    from: *state,
                    to: next,
                });
            }
            legal
        });
        refused.map_or(Ok(()), Err)
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<PluginState> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_life_takes_an_illegal_step(steps in prop::collection::vec(0usize..7, 0..64)) {
            let life = Lifecycle::default();
            let mut trace = vec![life.state()];
            for step in steps {
                let (before, next) = (life.state(), PluginState::ALL[step]);
                match life.enter(next) {
                    Ok(()) => trace.push(next),
                    Err(refused) => {
                        prop_assert_eq!(refused, IllegalTransition { from: before, to: next });
                        prop_assert_eq!(life.state(), before);
                    }
                }
                prop_assert_eq!(life.state(), *trace.last().unwrap());
            }
            for pair in trace.windows(2) {
                match pair[1] {
                    PluginState::Discovered => prop_assert!(false, "discovered twice"),
                    PluginState::Authenticating => prop_assert_eq!(pair[0], PluginState::Loading),
                    PluginState::Active => prop_assert_eq!(pair[0], PluginState::Authenticating),
                    PluginState::Stopped => prop_assert_eq!(pair[0], PluginState::ShuttingDown),
                    PluginState::ShuttingDown => prop_assert_ne!(pair[0], PluginState::Stopped),
                    PluginState::Loading | PluginState::Error => {}
                }
                prop_assert_ne!(pair[0], pair[1]);
            }
        }
    }

    #[test]
    fn every_state_can_be_left_and_stopped() {
        for state in PluginState::ALL {
            let next = PluginState::ALL
                .into_iter()
                .filter(|next| state.may_become(*next));
            assert!(next.count() > 0, "{state:?}");
        }
    }
}
