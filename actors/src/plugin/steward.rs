//! Starts plugins after those that they need, and stops them while those do not serve.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::{join_all, select_all};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::dependencies::{Dependencies, Seen, Verdict};
use super::loader::Loader;
use super::versions::UNKNOWN;
use crate::supervisor::{ChildContext, ChildSpec, ChildState, CommandError, SupervisorHandle};

/// What the steward looks after.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Who needs whom.
    pub dependencies: Dependencies,
    /// The children of those that need somebody, by name: only the steward starts them.
    pub children: BTreeMap<String, ChildSpec>,
}

/// Lets the plugins that need others run and stop as [`Dependencies::verdict`] says. Cheap to clone; all clones are the
/// same.
#[derive(Clone)]
pub struct Steward(Arc<Desk>);

struct Desk {
    loader: Loader,
    group: SupervisorHandle,
    plan: watch::Sender<Arc<Plan>>,
    verdicts: ArcSwap<BTreeMap<String, Verdict>>,
}

// === impl Steward ===

impl Steward {
    /// A steward of plugins that live in `group`, with nothing to do yet.
    pub fn new(loader: Loader, group: SupervisorHandle) -> Self {
        Self(Arc::new(Desk {
            loader,
            group,
            plan: watch::Sender::default(),
            verdicts: ArcSwap::default(),
        }))
    }

    /// Looks after these from now on. Plugins that are not in it any more are left as they are.
    pub fn plan(&self, plan: Plan) {
        self.0.plan.send_replace(Arc::new(plan));
    }

    /// What became of the plugins that need others, by name.
    pub fn verdicts(&self) -> Arc<BTreeMap<String, Verdict>> {
        self.0.verdicts.load_full()
    }

    /// The child of the plugins' group that does it. A restart loses nothing: it looks at everything anew. No plugin can
    /// have its name.
    pub fn child(&self) -> ChildSpec {
        let this = self.clone();
        ChildSpec::task("(dependencies)", move |context| {
            let this = this.clone();
            async move {
                this.run(&context).await;
                Ok::<(), Infallible>(())
            }
        })
        .heartbeat(None)
    }

    async fn run(&self, context: &ChildContext) {
        let mut plans = self.0.plan.subscribe();
        loop {
            let plan = plans.borrow_and_update().clone();
            // Followed before they are looked at, so that nothing is missed in between.
            let followed = plan.dependencies.order().iter();
            let followed = followed.filter_map(|name| self.0.loader.get(name));
            let mut states: Vec<_> = followed.map(|plugin| plugin.follow()).collect();
            let changed = tokio::select! {
                biased;
                () = context.stopping() => return,
                changed = self.tend(&plan) => changed,
            };
            if changed {
                // What was stopped or started may be needed by others.
                continue;
            }
            let states = states.iter_mut().map(|state| Box::pin(state.changed()));
            let states: Vec<_> = states.collect();
            let moved = async {
                match states.is_empty() {
                    true => std::future::pending().await,
                    false => drop(select_all(states).await),
                }
            };
            tokio::select! {
                biased;
                () = context.stopping() => return,
                planned = plans.changed() => {
                    if planned.is_err() {
                        return;
                    }
                }
                () = moved => {}
            }
        }
    }

    /// Looks once at everybody, and does what is to be done. Returns whether anything was.
    async fn tend(&self, plan: &Plan) -> bool {
        let tree = self.0.group.snapshot();
        let look = |name: &str| {
            let plugin = self.0.loader.get(name)?;
            let version = plugin.info().version;
            Some(Seen {
                state: plugin.state(),
                version: (version != UNKNOWN).then_some(version),
            })
        };
        let mut verdicts = BTreeMap::new();
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for name in plan.dependencies.dependents() {
            let child = tree.child(name);
            let runs = child.is_some_and(|child| child.state != ChildState::Down);
            let verdict = plan.dependencies.verdict(name, runs, look);
            match (&verdict, runs) {
                (Verdict::Run | Verdict::RunDegraded(_), false) => {
                    starts.push((name, child.is_some()));
                }
                (Verdict::Wait(why), true) => stops.push((name, why.clone())),
                _ => {}
            }
            verdicts.insert(name.to_owned(), verdict);
        }
        self.publish(verdicts);
        let mut done = false;
        let stopped = stops.iter().map(|(name, why)| {
            warn!(
                plugin = name,
                why, "a plugin is stopped for one that it needs"
            );
            self.0.group.terminate_child(name)
        });
        for (stopped, (name, _)) in join_all(stopped).await.into_iter().zip(&stops) {
            done |= carried_out(name, stopped);
        }
        for (name, is_known) in starts {
            let started = match (is_known, plan.children.get(name)) {
                (true, _) => self.0.group.restart_child(name).await,
                (false, Some(child)) => self.0.group.start_child(child.clone()).await,
                (false, None) => continue,
            };
            info!(
                plugin = name,
                "a plugin is started: what it needs was waited for"
            );
            done |= carried_out(name, started);
        }
        done
    }

    fn publish(&self, verdicts: BTreeMap<String, Verdict>) {
        let before = self.verdicts();
        for (name, verdict) in &verdicts {
            match (before.get(name), verdict) {
                (Some(before), now) if before == now => {}
                (_, Verdict::RunDegraded(why)) => warn!(plugin = name, why, "plugin degraded"),
                (Some(Verdict::RunDegraded(_)), Verdict::Run) => {
                    info!(plugin = name, "plugin not degraded any more");
                }
                _ => {}
            }
        }
        self.0.verdicts.store(Arc::new(verdicts));
    }
}

/// A command fails while the group is down or stopping: then there is nobody to be started or stopped.
fn carried_out(plugin: &str, outcome: Result<(), CommandError>) -> bool {
    if let Err(error) = &outcome {
        debug!(plugin, %error, "a plugin is not started or stopped");
    }
    outcome.is_ok()
}

#[cfg(test)]
mod tests;
