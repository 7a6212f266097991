//! A supervisor seen from outside: how it is commanded and read.

use std::fmt;
use std::sync::Arc;

use actix::MailboxError;
use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::actor::Supervisor;
use super::child::ChildSpec;
use super::command::{Command, Order};
use super::control::Control;
use super::exit::{Cause, Exit};
use super::group::{SpecError, Strategy};
use super::slot::Slot;
use super::tree::{Board, TreeSnapshot};

/// Commands and reads a supervisor, from any thread, over its restarts. Cheap to clone.
#[derive(Clone)]
pub struct SupervisorHandle {
    /// Filled while the supervisor is ready.
    slot: Slot<Supervisor>,
    /// Filled as soon as it takes commands, which is before it is ready.
    line: Slot<Supervisor>,
    board: Arc<Board>,
    ended: Arc<watch::Sender<Option<Ended>>>,
    /// Filled once it is started as a root.
    root: Arc<ArcSwapOption<Control>>,
}

/// Why a root supervisor is no longer running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop.
    Stopped,
    /// This child was restarted too often: the process should exit, for whoever keeps it to start it afresh.
    Exhausted(Arc<str>),
    /// This significant child ended by itself.
    AutoShutdown(Arc<str>),
    /// The supervisor itself failed, which is a defect.
    Crashed(Exit),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The supervisor is down or restarting. Trying again later may help.
    #[error("the supervisor is not running")]
    NotRunning,
    /// The supervisor is stopping its children.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
    /// No child has this name.
    #[error("no child is named {0}")]
    Unknown(Arc<str>),
    /// A child has this name already.
    #[error("a child is named {0} already")]
    Duplicate(Arc<str>),
    /// The child's description contradicts itself or its group's.
    #[error("the child cannot be supervised")]
    Invalid(#[source] SpecError),
}

// === impl SupervisorHandle ===

impl SupervisorHandle {
    pub(crate) fn new(name: &Arc<str>, strategy: Strategy, dynamic: bool) -> Self {
        Self {
            slot: Slot::new(Arc::clone(name)),
            line: Slot::new(Arc::clone(name)),
            board: Arc::new(Board::new(Arc::clone(name), strategy, dynamic)),
            ended: Arc::new(watch::Sender::new(None)),
            root: Arc::default(),
        }
    }

    /// The supervisor's name.
    pub fn name(&self) -> &Arc<str> {
        self.slot.name()
    }

    /// Adds a child and starts it. Returns when it is accepted, not when it serves: wait for that at its slot. A
    /// start that fails is retried like any other.
    ///
    /// # Errors
    /// The name is taken, the child contradicts itself, or the supervisor is not running.
    pub async fn start_child(&self, child: ChildSpec) -> Result<(), CommandError> {
        self.send(Command::Start(Box::new(child))).await
    }

    /// Stops a child and returns when it is gone. It stays known and can be started with
    /// [`restart_child`](Self::restart_child), unless it is temporary. A child that is down is left so. As in OTP, a
    /// failure in its group that restarts it as a sibling starts it again.
    ///
    /// # Errors
    /// No child has this name, or the supervisor is not running.
    pub async fn terminate_child(&self, name: &str) -> Result<(), CommandError> {
        self.send(Command::Terminate(name.into())).await
    }

    /// Starts a child that is down, waiting or in quarantine at once, and restarts one that runs. Its failures are
    /// forgotten. Returns when the new instance is being started.
    ///
    /// # Errors
    /// No child has this name, or the supervisor is not running.
    pub async fn restart_child(&self, name: &str) -> Result<(), CommandError> {
        self.send(Command::Restart(name.into())).await
    }

    /// Stops a child if it runs, and forgets it. Returns when it is gone.
    ///
    /// # Errors
    /// No child has this name, or the supervisor is not running.
    pub async fn delete_child(&self, name: &str) -> Result<(), CommandError> {
        self.send(Command::Delete(name.into())).await
    }

    /// Returns the names of the children, in start order.
    pub fn which_children(&self) -> Vec<Arc<str>> {
        let tree = self.snapshot();
        tree.children.into_iter().map(|child| child.name).collect()
    }

    /// Returns the supervisor's state and that of everything below it. Reads what the supervisors last published: it
    /// never waits for them.
    pub fn snapshot(&self) -> TreeSnapshot {
        self.board.read()
    }

    /// Whether the supervisor is running and has started all its children once.
    pub fn is_ready(&self) -> bool {
        self.slot.generation() != 0
    }

    /// Waits until the supervisor is running and has started all its children once.
    pub async fn ready(&self) {
        self.slot.wait().await;
    }

    /// Stops the children in reverse order, then the supervisor, and returns when it is gone. For roots: a supervisor
    /// that has one of its own is stopped with `terminate_child` there, and this does nothing.
    pub async fn shutdown(&self) -> Ended {
        let Some(control) = self.root.load_full() else {
            return Ended::Stopped;
        };
        control.stop();
        self.wait().await
    }

    /// Waits until a root supervisor has ended and returns why.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(ended) = ended.borrow_and_update().clone() {
                return ended;
            }
            // The sender is in `self`, so this cannot fail.
            let _ = ended.changed().await;
        }
    }

    /// Takes note that the supervisor is started as a root.
    pub(crate) fn begin(&self, root: &Arc<Control>) {
        self.ended.send_replace(None);
        self.root.store(Some(Arc::clone(root)));
    }

    /// Takes note that the root has ended.
    pub(crate) fn end(&self, exit: Exit) {
        self.ended.send_replace(Some(exit.into()));
    }

    pub(crate) fn slot(&self) -> &Slot<Supervisor> {
        &self.slot
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub(crate) fn line(&self) -> &Slot<Supervisor> {
        &self.line
    }

    async fn send(&self, command: Command) -> Result<(), CommandError> {
        let address = self.line.get().ok_or(CommandError::NotRunning)?;
        address
            .send(Order(command))
            .await
            .unwrap_or_else(|error| match error {
                MailboxError::Closed | MailboxError::Timeout => Err(CommandError::NotRunning),
            })
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SupervisorHandle")
            .field("name", self.name())
            .finish_non_exhaustive()
    }
}

// === impl Ended ===

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Shutdown(Cause::Asked) | Exit::Normal => Self::Stopped,
            Exit::Shutdown(Cause::Exhausted(child)) => Self::Exhausted(child),
            Exit::Shutdown(Cause::AutoShutdown(child)) => Self::AutoShutdown(child),
            defect => Self::Crashed(defect),
        }
    }
}
