//! What a child may say to its supervisor.

use std::fmt;
use std::sync::Arc;

use super::control::Control;
use super::exit::{Cause, Exit};
use super::spec::Runtime;

/// A child's line to its supervisor, given to its factory. One per instance; cheap to clone.
#[derive(Clone)]
pub struct ChildContext {
    identity: Arc<Identity>,
    pub(crate) control: Arc<Control>,
}

struct Identity {
    path: Arc<str>,
    name: Arc<str>,
    generation: u64,
    runtime: Runtime,
}

/// While this lives, silence is not taken for death. Returned by [`ChildContext::protect`].
#[must_use = "the protection ends when this is dropped"]
pub struct Protected(Arc<Control>);

// === impl ChildContext ===

impl ChildContext {
    pub(crate) fn new(path: Arc<str>, name: Arc<str>, generation: u64, runtime: Runtime) -> Self {
        Self {
            identity: Arc::new(Identity {
                path,
                name,
                generation,
                runtime,
            }),
            control: Arc::default(),
        }
    }

    /// Where the child stands in the tree: `root/plugins/echo`.
    pub fn path(&self) -> &Arc<str> {
        &self.identity.path
    }

    /// The child's name within its group.
    pub fn name(&self) -> &Arc<str> {
        &self.identity.name
    }

    /// The number of this instance, 1 for the first. Restarts and restarts of the supervisor count on.
    pub fn generation(&self) -> u64 {
        self.identity.generation
    }

    /// Says that the child can serve. Only needed by a child made with
    /// [`reports_ready`](super::ChildSpec::reports_ready); its start timeout runs until then.
    pub fn ready(&self) {
        self.control.ready();
    }

    /// Records that the child has failed and why. To end, an actor then calls `ctx.stop()`, a task returns. Without
    /// this record an end is normal. The first record counts.
    pub fn fail(&self, reason: impl fmt::Display) {
        self.control.record(Exit::Failed(reason.to_string().into()));
    }

    /// Says "still at it" in the middle of long work, so that the heartbeat is not missed.
    pub fn progress(&self) {
        self.control.answer();
    }

    /// Exempts the child from the heartbeat while the guard lives: for a handler that keeps the mailbox waiting
    /// (`ctx.wait`) on something slow. Work spawned on the context needs no guard.
    pub fn protect(&self) -> Protected {
        self.control.protect();
        Protected(Arc::clone(&self.control))
    }

    /// Whether the child was asked to stop. An actor need not look: its context is stopped for it.
    pub fn stop_asked(&self) -> bool {
        self.control.stop_asked()
    }

    /// Waits until the child is asked to stop. For tasks: select on it and return.
    pub async fn stopping(&self) {
        self.control.stopped().await;
    }

    /// What the whole tree shares.
    pub fn runtime(&self) -> &Runtime {
        &self.identity.runtime
    }

    /// A seed for this place in the tree.
    pub(crate) fn seed(&self) -> u64 {
        // FNV-1a: neighbours in the tree must not jitter in step.
        self.identity.path.bytes().fold(
            self.identity.runtime.seed ^ 0xcbf2_9ce4_8422_2325,
            |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3),
        )
    }

    /// Records that this supervisor stops itself, and why.
    pub(crate) fn shutting_down(&self, cause: Cause) {
        self.control.record(Exit::Shutdown(cause));
    }
}

impl fmt::Debug for ChildContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChildContext")
            .field("path", &self.identity.path)
            .field("generation", &self.identity.generation)
            .finish_non_exhaustive()
    }
}

// === impl Protected ===

impl Drop for Protected {
    fn drop(&mut self) {
        self.0.unprotect();
    }
}

impl fmt::Debug for Protected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Protected")
    }
}
