//! The supervision tree as others may read it: a snapshot, never a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::time::Instant;

use super::child::{Kind, Restart};
use super::group::Strategy;

/// One supervisor and what is below it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreeSnapshot {
    /// The supervisor's name.
    pub name: Arc<str>,
    /// Always `supervisor`.
    pub kind: Kind,
    /// What a failed child means for its siblings.
    pub strategy: Strategy,
    /// Whether children come and go at runtime and are independent of each other.
    pub dynamic: bool,
    /// Its children in start order. Empty while the supervisor itself is down.
    pub children: Vec<ChildSnapshot>,
}

/// One child.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChildSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// When it is restarted.
    pub restart: Restart,
    /// What it is doing.
    pub state: ChildState,
    /// The number of its instance; 0 if none was ever started.
    pub generation: u64,
    /// How often it was restarted since its supervisor started.
    pub restarts: u64,
    /// How its last instance ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// How long it has been in this state, seconds.
    pub since_seconds: f64,
    /// What is below it, if it is a supervisor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<TreeSnapshot>,
}

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Not running, and not going to be unless asked for.
    Down,
    /// Not running; will be started after a delay or after those before it.
    Waiting,
    /// Being started, not ready.
    Starting,
    /// Serving.
    Running,
    /// Asked to stop, or about to be.
    Stopping,
    /// Restarted too often; tried again at intervals.
    Quarantined,
    /// Serving again after quarantine, on trial.
    Trial,
}

/// Where a supervisor hangs out its state, for readers on any thread, over its restarts.
pub(crate) struct Board(ArcSwap<Posted>);

/// What a supervisor last said about itself.
struct Posted {
    /// The instance of the supervisor that said it.
    generation: u64,
    tree: TreeSnapshot,
    more: Vec<PostedChild>,
}

/// What no snapshot can hold: the time, and the boards below.
pub(crate) struct PostedChild {
    pub(crate) since: Instant,
    pub(crate) below: Option<Arc<Board>>,
}

// === impl TreeSnapshot ===

impl TreeSnapshot {
    /// Returns the child of this name.
    pub fn child(&self, name: &str) -> Option<&ChildSnapshot> {
        self.children.iter().find(|child| &*child.name == name)
    }

    /// Returns the names of the children that are in this state.
    pub fn in_state(&self, state: ChildState) -> impl Iterator<Item = &Arc<str>> {
        self.children
            .iter()
            .filter(move |child| child.state == state)
            .map(|child| &child.name)
    }
}

// === impl Board ===

impl Board {
    pub(crate) fn new(name: Arc<str>, strategy: Strategy, dynamic: bool) -> Self {
        Self(ArcSwap::from_pointee(Posted {
            generation: 0,
            tree: TreeSnapshot {
                name,
                kind: Kind::Supervisor,
                strategy,
                dynamic,
                children: Vec::new(),
            },
            more: Vec::new(),
        }))
    }

    /// Replaces what is posted, unless a later instance of the supervisor has posted.
    pub(crate) fn post(
        &self,
        generation: u64,
        children: Vec<ChildSnapshot>,
        more: Vec<PostedChild>,
    ) {
        let earlier = self.0.load_full();
        let posted = Arc::new(Posted {
            generation,
            tree: TreeSnapshot {
                children,
                ..earlier.tree.clone()
            },
            more,
        });
        self.0.rcu(|current| {
            let newer = if current.generation > generation {
                current
            } else {
                &posted
            };
            Arc::clone(newer)
        });
    }

    pub(crate) fn read(&self) -> TreeSnapshot {
        let posted = self.0.load();
        let mut tree = posted.tree.clone();
        for (child, more) in tree.children.iter_mut().zip(&posted.more) {
            child.since_seconds = more.since.elapsed().as_secs_f64();
            child.supervisor = more.below.as_ref().map(|board| board.read());
        }
        tree
    }
}
