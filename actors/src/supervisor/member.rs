//! The books a supervisor keeps of one child.

use std::sync::Arc;

use actix::SpawnHandle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::child::ChildSpec;
use super::context::ChildContext;
use super::control::{Control, Reins};
use super::exit::Exit;
use super::strategy::Key;
use super::tree::{ChildSnapshot, ChildState, PostedChild};

pub(crate) struct Member {
    pub(crate) key: Key,
    pub(crate) spec: ChildSpec,
    /// The number of the last instance made.
    pub(crate) generation: u64,
    /// The instance, while there is one.
    pub(crate) reins: Option<Reins>,
    /// Whether the thread it is to live on has begun to make it.
    pub(crate) arrived: bool,
    /// Since when it has been ready.
    pub(crate) started: Option<Instant>,
    pub(crate) restarts: u64,
    /// Runs out when it is too late for whatever is awaited of the instance.
    pub(crate) timer: Option<SpawnHandle>,
    /// Runs out when the instance should have answered the heartbeat.
    pub(crate) pulse: Option<SpawnHandle>,
    last_exit: Option<Exit>,
    state: ChildState,
    since: Instant,
    /// Who waits for the instance to be gone.
    waiting: Vec<oneshot::Sender<()>>,
}

// === impl Member ===

impl Member {
    pub(crate) fn new(key: Key, spec: ChildSpec) -> Self {
        Self {
            key,
            spec,
            generation: 0,
            reins: None,
            arrived: false,
            started: None,
            restarts: 0,
            timer: None,
            pulse: None,
            last_exit: None,
            state: ChildState::Waiting,
            since: Instant::now(),
            waiting: Vec::new(),
        }
    }

    /// Returns the context of the next instance.
    pub(crate) fn next_instance(&mut self, supervisor: &ChildContext) -> ChildContext {
        self.generation = self.spec.launch.issue();
        self.arrived = false;
        self.started = None;
        let path = format!("{}/{}", supervisor.path(), self.spec.name);
        let runtime = supervisor.runtime().clone();
        ChildContext::new(
            path.into(),
            Arc::clone(&self.spec.name),
            self.generation,
            runtime,
        )
    }

    /// Whether this instance is the one that is alive.
    pub(crate) fn is(&self, generation: u64) -> bool {
        self.reins.is_some() && self.generation == generation
    }

    pub(crate) fn control(&self) -> Option<&Control> {
        self.reins.as_ref().and_then(Reins::control)
    }

    /// The instance is gone. Returns the timers that are of no use any more.
    pub(crate) fn end(&mut self, exit: &Exit) -> impl Iterator<Item = SpawnHandle> + use<> {
        self.reins = None;
        self.last_exit = Some(exit.clone());
        for waiting in self.waiting.drain(..) {
            // Who no longer waits need not know.
            let _ = waiting.send(());
        }
        self.timer.take().into_iter().chain(self.pulse.take())
    }

    /// Returns what resolves when the instance is gone, or nothing if there is none.
    pub(crate) fn gone(&mut self) -> Option<oneshot::Receiver<()>> {
        self.reins.as_ref()?;
        let (sender, receiver) = oneshot::channel();
        self.waiting.push(sender);
        Some(receiver)
    }

    /// Takes note of what the strategy says it is doing.
    pub(crate) fn enter(&mut self, state: ChildState) {
        if self.state != state {
            self.state = state;
            self.since = Instant::now();
        }
    }

    pub(crate) fn snapshot(&self) -> (ChildSnapshot, PostedChild) {
        let child = ChildSnapshot {
            name: Arc::clone(&self.spec.name),
            kind: self.spec.kind,
            restart: self.spec.policy.restart,
            state: self.state,
            generation: self.generation,
            restarts: self.restarts,
            last_exit: self.last_exit.as_ref().map(Exit::to_string),
            since_seconds: 0.0,
            supervisor: None,
        };
        let nested = self.spec.nested.as_ref();
        let more = PostedChild {
            since: self.since,
            below: nested.map(|nested| Arc::clone(nested.handle.board())),
        };
        (child, more)
    }
}
