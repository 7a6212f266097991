//! Starts and stops the tasks that tell message plugins, as the configuration changes.

use std::sync::Arc;

use super::{Fanout, Outlet};
use crate::pipeline::Metrics;
use crate::plugin::{Loader, Plugin, Seat};
use crate::supervisor::{ChildSpec, CommandError, SupervisorHandle};

/// The message plugins over all readings of the configuration. A plugin that stays keeps its queue.
#[derive(Debug)]
pub struct FanoutKeeper {
    group: SupervisorHandle,
    current: Option<Arc<Fanout>>,
}

// === impl FanoutKeeper ===

impl FanoutKeeper {
    /// A keeper of tasks that live in `group`.
    pub fn new(group: SupervisorHandle) -> Self {
        Self {
            group,
            current: None,
        }
    }

    /// The message plugins of the first configuration, and their tasks for a group that is not started yet.
    pub fn enlist(
        &mut self,
        plugins: &[Plugin],
        loader: &Loader,
        metrics: &Metrics,
    ) -> (Option<Arc<Fanout>>, Vec<ChildSpec>) {
        let first = self.next(plugins, loader, metrics);
        self.current.clone_from(&first);
        let outlets = first.iter().flat_map(|fanout| &fanout.outlets);
        let children = outlets.map(Outlet::child).collect();
        (first, children)
    }

    /// The message plugins of another configuration. What is told from now on waits until [`FanoutKeeper::change`].
    pub fn next(
        &self,
        plugins: &[Plugin],
        loader: &Loader,
        metrics: &Metrics,
    ) -> Option<Arc<Fanout>> {
        let outlets = plugins.iter().filter_map(|plugin| {
            let config = plugin.entry.messages.as_ref()?.config()?;
            let known = self
                .current
                .as_ref()
                .and_then(|now| now.outlet(&plugin.name));
            Some(match known {
                Some(known) if known.is_like(&config) => known.clone(),
                _ => {
                    let seat = Seat::new(loader.clone(), plugin.name.as_str());
                    Outlet::new(seat, config, metrics.fanout.of(&plugin.name))
                }
            })
        });
        Fanout::new(outlets.collect())
    }

    /// Starts the tasks that are new and stops those that are not needed any more. Returns what went wrong.
    pub async fn change(&mut self, next: Option<Arc<Fanout>>) -> Vec<String> {
        let before = std::mem::replace(&mut self.current, next);
        let outlets = |fanout: &Option<Arc<Fanout>>| -> Vec<Arc<Outlet>> {
            fanout
                .iter()
                .flat_map(|fanout| fanout.outlets.iter().cloned())
                .collect()
        };
        let (before, now) = (outlets(&before), outlets(&self.current));
        let mut failures = Vec::new();
        for outlet in &before {
            if now.iter().any(|kept| Arc::ptr_eq(kept, outlet)) {
                continue;
            }
            match self.group.delete_child(&outlet.child_name()).await {
                Ok(()) | Err(CommandError::Unknown(_)) => {}
                Err(error) => failures.push(format!("{}: {error}", outlet.child_name())),
            }
        }
        for outlet in &now {
            if before.iter().any(|kept| Arc::ptr_eq(kept, outlet)) {
                continue;
            }
            if let Err(error) = self.group.start_child(outlet.child()).await {
                failures.push(format!("{}: {error}", outlet.child_name()));
            }
        }
        failures
    }
}
