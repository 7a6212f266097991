//! The life of a plugin: its states, the steps between them, and who is told.
//!
//! A step that does not exist does not compile: whoever leads a plugin through its life holds a [`Life`] whose type
//! says where it stands, and a step takes it away and gives the next one.
//!
//! ```compile_fail
//! # use weir_actors::plugin::lifecycle::{Life, stage};
//! // A plugin that was not connected to is not active.
//! fn skip(life: Life<stage::Loading>) -> Life<stage::Active> {
//!     life.enter()
//! }
//! ```
//! ```compile_fail
//! # use weir_actors::plugin::lifecycle::{Life, stage};
//! // No two steps begin at the same place.
//! fn fork(life: Life<stage::Active>) -> (Life<stage::Error>, Life<stage::ShuttingDown>) {
//!     (life.enter(), life.enter())
//! }
//! ```

mod hooks;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

pub use hooks::{LifecycleHooks, LoggingHooks, NoHooks, PluginInfo};

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

/// The life of one plugin, standing at `S`. There is one for each plugin.
#[must_use = "a life that nobody leads stands still for ever"]
pub struct Life<S> {
    lifecycle: Lifecycle,
    stage: PhantomData<S>,
}

/// Shows where the life of a plugin stands. Cheap to clone; all clones show the same.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<watch::Sender<Moment>>);

/// What is to be seen of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the plugin is doing.
    pub state: PluginState,
    /// How often it was begun to be loaded.
    pub attempts: u64,
}

/// Where a life can stand.
pub trait Stage: stage::Sealed {
    /// The same for those who look on.
    const STATE: PluginState;
}

/// A step of a life.
pub trait LeadsTo<Next: Stage>: Stage {}

/// Declares where a life can stand and the steps from there: the one table of legal transitions.
macro_rules! lives {
    ($($from:ident => $($to:ident)|+;)+) => {
        /// The places where a life can stand, as types.
        pub mod stage {
            use super::{LeadsTo, PluginState, Stage};

            /// Nobody adds places.
            pub trait Sealed {}

            $(
                #[doc = concat!("See [`PluginState::", stringify!($from), "`].")]
                #[derive(Debug)]
                pub enum $from {}

                impl Sealed for $from {}

                impl Stage for $from {
                    const STATE: PluginState = PluginState::$from;
                }

                $(impl LeadsTo<$to> for $from {})+
            )+
        }

        impl PluginState {
            /// Every state, in the order of a life.
            pub const ALL: [Self; 7] = [$(Self::$from),+];

            /// Whether `next` may follow.
            pub fn may_become(self, next: Self) -> bool {
                match (self, next) {
                    $($((Self::$from, Self::$to) => true,)+)+
                    _ => false,
                }
            }
        }
    };
}

lives! {
    Discovered => Loading | ShuttingDown;
    Loading => Authenticating | Error | ShuttingDown;
    Authenticating => Active | Error | ShuttingDown;
    Active => Error | ShuttingDown;
    Error => Loading | ShuttingDown;
    ShuttingDown => Stopped;
    Stopped => Loading;
}

// === impl Life ===

impl Life<stage::Discovered> {
    /// The life of a plugin that is configured.
    pub fn discovered() -> Self {
        let first = Moment {
            state: PluginState::Discovered,
            attempts: 0,
        };
        Self {
            lifecycle: Lifecycle(Arc::new(watch::Sender::new(first))),
            stage: PhantomData,
        }
    }
}

impl<S: Stage> Life<S> {
    /// Takes a step.
    pub fn enter<Next: Stage>(self) -> Life<Next>
    where
        S: LeadsTo<Next>,
    {
        self.lifecycle.0.send_modify(|moment| {
            moment.state = Next::STATE;
            moment.attempts += u64::from(Next::STATE == PluginState::Loading);
        });
        Life {
            lifecycle: self.lifecycle,
            stage: PhantomData,
        }
    }

    /// For those who look on.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }
}

impl<S: Stage> fmt::Debug for Life<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Life<{:?}>", S::STATE)
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    /// The state.
    pub fn state(&self) -> PluginState {
        self.0.borrow().state
    }

    /// How often it was begun to be loaded.
    pub fn attempts(&self) -> u64 {
        self.0.borrow().attempts
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<Moment> {
        self.0.subscribe()
    }
}

// === impl PluginState ===

impl PluginState {
    /// The word for it in logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Loading => "loading",
            Self::Authenticating => "authenticating",
            Self::Active => "active",
            Self::Error => "error",
            Self::ShuttingDown => "shutting_down",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests;
