//! Message plugins: plugins that are told of every message between clients and the gateway, and hold nobody up.
//!
//! Whoever passes a message offers it to the queue of each plugin and goes on; each queue is emptied by a supervised
//! task of its own, one message after the other. So a plugin that is slow, or gone, delays neither clients nor the other
//! plugins: its queue fills, and then what comes last is dropped and counted. Without message plugins a request passes
//! with one look at its settings.
//!
//! Read in this order: [`config`] is the block of a plugin, `note` what plugins are told, `outlet` the queue of one,
//! [`Fanout`] all of them, `keeper` starts and stops their tasks, `tap` listens to one request, `story` to one session.

pub mod config;

mod keeper;
mod note;
mod outlet;
mod story;
mod tap;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

pub use config::MessagesConfig;
pub use keeper::FanoutKeeper;
pub use note::{Direction, Note, StreamEvent, What};
pub use outlet::Outlet;
pub(crate) use story::Story;
pub(crate) use tap::{Tap, Tapped};

/// All message plugins of one reading of the configuration.
#[derive(Debug)]
pub struct Fanout {
    outlets: Vec<Arc<Outlet>>,
}

/// How a message plugin does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutletView {
    /// The plugin.
    #[serde(skip)]
    pub plugin: String,
    /// Notes that wait.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Notes that it took.
    pub delivered: u64,
    /// Notes that it refused, or that it could not be told.
    pub failed: u64,
    /// Notes that it did not take in time.
    pub timeout: u64,
    /// Notes that found its queue full.
    pub dropped: u64,
}

// === impl Fanout ===

impl Fanout {
    /// Message plugins in any order; nothing if there are none.
    pub fn new(outlets: Vec<Arc<Outlet>>) -> Option<Arc<Self>> {
        (!outlets.is_empty()).then(|| Arc::new(Self { outlets }))
    }

    /// Tells every plugin. Never waits.
    pub fn tell(&self, what: What, correlation: Arc<str>, session: Option<Arc<str>>) {
        let note = Arc::new(Note::new(what, correlation, session, SystemTime::now()));
        for outlet in &self.outlets {
            outlet.offer(&note);
        }
    }

    /// How they do.
    pub fn views(&self) -> Vec<OutletView> {
        self.outlets.iter().map(|outlet| outlet.view()).collect()
    }

    fn outlet(&self, name: &str) -> Option<&Arc<Outlet>> {
        self.outlets.iter().find(|outlet| outlet.name() == name)
    }
}
