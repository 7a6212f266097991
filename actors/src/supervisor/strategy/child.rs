//! One child as the strategy sees it.

use std::time::Duration;

use super::super::backoff::Failures;
use super::super::child::{ChildPolicy, Restart};
use super::super::intensity::Window;
use super::super::tree::ChildState;
use super::Key;

/// One child of a group.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) key: Key,
    pub(super) policy: ChildPolicy,
    pub(super) state: State,
    pub(super) failures: Failures,
    pub(super) window: Window,
    pub(super) on_trial: bool,
}

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Down,
    Waiting {
        due: Duration,
    },
    Starting,
    Running {
        since: Duration,
    },
    /// Alive, and to be stopped when those after it are gone.
    Doomed(After),
    Stopping(After),
    Quarantined {
        until: Duration,
    },
}

/// What becomes of a child once it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Down,
    Waiting { due: Duration },
    Gone,
}

// === impl Child ===

impl Child {
    pub(super) fn new(key: Key, policy: ChildPolicy, now: Duration) -> Self {
        Self {
            key,
            policy,
            state: State::Waiting { due: now },
            failures: Failures::default(),
            window: Window::default(),
            on_trial: false,
        }
    }

    /// A sibling failed and this child goes down and up with it. As in OTP, one that was down comes up too.
    pub(super) fn restart_with_group(&mut self, due: Duration) {
        let temporary = self.policy.restart == Restart::Temporary;
        let after = if temporary {
            After::Gone
        } else {
            After::Waiting { due }
        };
        self.state = match self.state {
            State::Starting | State::Running { .. } => State::Doomed(after),
            State::Doomed(After::Gone) | State::Stopping(After::Gone) => self.state,
            State::Doomed(_) => State::Doomed(after),
            State::Stopping(_) => State::Stopping(after),
            State::Down => State::Waiting { due },
            State::Waiting { due: own } => State::Waiting { due: own.max(due) },
            State::Quarantined { .. } => self.state,
        };
    }

    /// When it has proved healthy, if it is on trial.
    pub(super) fn recovers_at(&self) -> Option<Duration> {
        match self.state {
            State::Running { since } if self.on_trial => {
                Some(since + self.policy.backoff.reset_after)
            }
            _ => None,
        }
    }

    /// Whether it is, or will be, alive.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(
            self.state,
            State::Down
                | State::Doomed(After::Down | After::Gone)
                | State::Stopping(After::Down | After::Gone)
        )
    }

    /// What others are told it is doing.
    pub(super) fn shown(&self) -> ChildState {
        match self.state {
            State::Down => ChildState::Down,
            State::Waiting { .. } => ChildState::Waiting,
            State::Starting => ChildState::Starting,
            State::Running { .. } if self.on_trial => ChildState::Trial,
            State::Running { .. } => ChildState::Running,
            State::Doomed(_) | State::Stopping(_) => ChildState::Stopping,
            State::Quarantined { .. } => ChildState::Quarantined,
        }
    }
}
