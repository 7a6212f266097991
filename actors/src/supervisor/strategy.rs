//! Decides what happens to a group of children. Pure code: no clock, no runtime, no names.
//!
//! Whoever runs the children tells the [`Group`] what happened and does what it answers. Times are durations since
//! any fixed moment. The semantics are those of Erlang/OTP's `supervisor`, with these differences:
//!
//! - Stopping and starting take time here, so a failure during a restart joins the restart under way: what must stop
//!   is stopped first, in reverse order, then what must start is started, in order, one after the other.
//! - The first start of a child is a start like any other: a failure is retried and counted, and does not end the
//!   supervisor at once. Until all children of a group have been started once, they are started one by one.
//! - Restarts wait for a backoff, and siblings of a failed child wait with it.
//! - A child may be [quarantined](OnExhausted::Quarantine).

mod child;

use std::time::Duration;

use self::child::{After, Child, State};
use super::backoff::Jitter;
use super::child::{ChildPolicy, OnExhausted, Restart};
use super::exit::Exit;
use super::group::{AutoShutdown, Strategy};
use super::intensity::{Intensity, Window};
use super::tree::ChildState;

/// Names a child within its group. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

/// What holds for a group as a whole.
#[derive(Clone, Debug)]
pub struct GroupPolicy {
    /// What a failed child means for its siblings.
    pub strategy: Strategy,
    /// Whether significant children end the group.
    pub auto_shutdown: AutoShutdown,
    /// How many restarts of all children together are too many.
    pub intensity: Intensity,
    /// Whether children are independent: started and stopped all at once. Only with one_for_one.
    pub dynamic: bool,
}

/// A group of children and what each of them is doing.
#[derive(Clone, Debug)]
pub struct Group {
    policy: GroupPolicy,
    children: Vec<Child>,
    window: Window,
    jitter: Jitter,
    phase: Phase,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a new instance. Answer with `started` or `exited`.
    Start(Key),
    /// End the instance. Answer with `exited`.
    Stop(Key),
    /// Nothing: tells that a child failed and will be restarted.
    Restart {
        /// The child.
        key: Key,
        /// In this time, at the earliest.
        delay: Duration,
    },
    /// Nothing: tells that a child was set aside.
    Quarantined {
        /// The child.
        key: Key,
        /// It is tried again in this time.
        trial: Duration,
    },
    /// Nothing: tells that the start that follows is a trial.
    Trial(Key),
    /// Nothing: tells that a child on trial has proved healthy.
    Recovered(Key),
    /// Nothing: tells that the group ends because of this child's restarts.
    Exhausted(Key),
    /// Nothing: tells that the group ends because this significant child did.
    AutoShutdown(Key),
    /// Forget the child.
    Remove(Key),
    /// Nothing: tells that every child has been started once.
    Booted,
    /// The supervisor ends; its children are gone.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not every child has been started once.
    Booting,
    Settled,
    /// Stopping the children.
    Ending,
    Ended,
}

// === impl Key ===

impl Key {
    /// Of the root of a tree, which is in no group.
    pub(crate) const ROOT: Self = Self(0);
}

// === impl Group ===

impl Group {
    /// Returns a group of children in start order. Nothing happens until [`boot`](Self::boot).
    pub fn new(
        policy: GroupPolicy,
        children: impl IntoIterator<Item = (Key, ChildPolicy)>,
        seed: u64,
    ) -> Self {
        Self {
            policy,
            children: children
                .into_iter()
                .map(|(key, policy)| Child::new(key, policy, Duration::ZERO))
                .collect(),
            window: Window::default(),
            jitter: Jitter::new(seed),
            phase: Phase::Booting,
        }
    }

    /// Starts the children.
    pub fn boot(&mut self, now: Duration) -> Vec<Action> {
        self.then(now, Vec::new())
    }

    /// Takes in a child, after all others, and starts it.
    pub fn add(&mut self, key: Key, policy: ChildPolicy, now: Duration) -> Vec<Action> {
        if self.is_ending() {
            return Vec::new();
        }
        self.children.push(Child::new(key, policy, now));
        self.then(now, Vec::new())
    }

    /// Takes note that a child serves.
    pub fn started(&mut self, key: Key, now: Duration) -> Vec<Action> {
        if let Some(child) = self.child_mut(key)
            && child.state == State::Starting
        {
            child.state = State::Running { since: now };
        }
        self.then(now, Vec::new())
    }

    /// Takes note that an instance ended, or could not be started.
    pub fn exited(&mut self, key: Key, exit: &Exit, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(child) = self.child_mut(key) else {
            return actions;
        };
        match child.state {
            State::Doomed(after) | State::Stopping(after) => self.settle(key, after, &mut actions),
            State::Starting => match child.policy.restart {
                Restart::Permanent | Restart::Transient => self.failed(key, now, &mut actions),
                Restart::Temporary => self.ended_by_itself(key, &mut actions),
            },
            State::Running { since } => {
                if now.saturating_sub(since) >= child.policy.backoff.reset_after {
                    child.failures.reset();
                    child.on_trial = false;
                }
                match child.policy.restart {
                    Restart::Permanent => self.failed(key, now, &mut actions),
                    Restart::Transient if exit.is_abnormal() => self.failed(key, now, &mut actions),
                    Restart::Transient | Restart::Temporary => {
                        self.ended_by_itself(key, &mut actions)
                    }
                }
            }
            // An instance that was given up reports late.
            State::Down | State::Waiting { .. } | State::Quarantined { .. } => {}
        }
        self.then(now, actions)
    }

    /// Does what has become due. To be called at [`next_due`](Self::next_due); harmless at other times.
    pub fn due(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        for child in &mut self.children {
            if child.recovers_at().is_some_and(|at| at <= now) {
                child.on_trial = false;
                child.failures.reset();
                child.window.clear();
                actions.push(Action::Recovered(child.key));
            }
        }
        self.then(now, actions)
    }

    /// Stops a child that stays known, unless it is temporary.
    pub fn terminate(&mut self, key: Key, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(child) = self.child_mut(key) {
            let after = match child.policy.restart {
                Restart::Temporary => After::Gone,
                Restart::Permanent | Restart::Transient => After::Down,
            };
            self.bring_down(key, after, &mut actions);
        }
        self.then(now, actions)
    }

    /// Stops a child and forgets it.
    pub fn delete(&mut self, key: Key, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        self.bring_down(key, After::Gone, &mut actions);
        self.then(now, actions)
    }

    /// Starts a child that is down, restarts one that is not, and forgets its failures.
    pub fn restart(&mut self, key: Key, now: Duration) -> Vec<Action> {
        if !self.is_ending()
            && let Some(child) = self.child_mut(key)
        {
            child.failures.reset();
            child.window.clear();
            child.on_trial = false;
            self.bring_down(key, After::Waiting { due: now }, &mut Vec::new());
        }
        self.then(now, Vec::new())
    }

    /// Stops all children, then the group.
    pub fn shutdown(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.is_ending() {
            self.end(&mut actions);
        }
        self.then(now, actions)
    }

    /// When [`due`](Self::due) is to be called, if nothing else happens before.
    pub fn next_due(&self) -> Option<Duration> {
        if self.is_ending() {
            return None;
        }
        let starts = self.startable().filter_map(|child| match child.state {
            State::Waiting { due } => Some(due),
            State::Quarantined { until } => Some(until),
            _ => None,
        });
        let recoveries = self.children.iter().filter_map(Child::recovers_at);
        starts.chain(recoveries).min()
    }

    /// Returns what a child is doing.
    pub fn state(&self, key: Key) -> Option<ChildState> {
        let child = self.children.iter().find(|child| child.key == key)?;
        Some(child.shown())
    }

    /// Whether the group ends or has ended.
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending | Phase::Ended)
    }

    /// Whether the group has ended: no child is alive and none will be.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// A child that should run does not.
    fn failed(&mut self, key: Key, now: Duration, actions: &mut Vec<Action>) {
        let Self {
            policy,
            children,
            window,
            jitter,
            ..
        } = self;
        let Some(index) = children.iter().position(|child| child.key == key) else {
            return;
        };
        let Some(child) = children.get_mut(index) else {
            return;
        };
        if child.policy.on_exhausted == OnExhausted::Quarantine {
            if child.window.exceeded(now, child.policy.intensity) || child.on_trial {
                let trial = child.policy.backoff.trial(jitter);
                child.state = State::Quarantined { until: now + trial };
                return actions.push(Action::Quarantined { key, trial });
            }
        } else if window.exceeded(now, policy.intensity) {
            child.state = State::Down;
            actions.push(Action::Exhausted(key));
            return self.end(actions);
        }
        let delay = child.policy.backoff.next(&mut child.failures, jitter);
        let due = now + delay;
        child.state = State::Waiting { due };
        actions.push(Action::Restart { key, delay });
        let affected = match policy.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => index,
        };
        for sibling in children.iter_mut().skip(affected) {
            sibling.restart_with_group(due);
        }
    }

    /// A child that need not run any more does not.
    fn ended_by_itself(&mut self, key: Key, actions: &mut Vec<Action>) {
        let Some(child) = self.child_mut(key) else {
            return;
        };
        let significant = child.policy.significant;
        let after = match child.policy.restart {
            Restart::Temporary => After::Gone,
            Restart::Permanent | Restart::Transient => After::Down,
        };
        let mut others = self.children.iter().filter(|child| child.key != key);
        let ends = match self.policy.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => significant,
            AutoShutdown::AllSignificant => {
                significant && !others.any(|child| child.policy.significant && child.is_wanted())
            }
        };
        if ends {
            actions.push(Action::AutoShutdown(key));
        }
        self.settle(key, after, actions);
        if ends {
            self.end(actions);
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Ending;
        let keys: Vec<Key> = self.children.iter().map(|child| child.key).collect();
        for key in keys {
            self.bring_down(key, After::Down, actions);
        }
    }

    /// Dooms a child if it is alive; if not, does at once what should become of it.
    fn bring_down(&mut self, key: Key, after: After, actions: &mut Vec<Action>) {
        if self.has_ended() {
            return;
        }
        let Some(child) = self.child_mut(key) else {
            return;
        };
        match child.state {
            State::Starting | State::Running { .. } => child.state = State::Doomed(after),
            State::Doomed(After::Gone) | State::Stopping(After::Gone) => {}
            State::Doomed(_) => child.state = State::Doomed(after),
            State::Stopping(_) => child.state = State::Stopping(after),
            State::Down | State::Waiting { .. } | State::Quarantined { .. } => {
                self.settle(key, after, actions)
            }
        }
    }

    /// A child is not alive (any more): makes of it what it should become.
    fn settle(&mut self, key: Key, after: After, actions: &mut Vec<Action>) {
        let Some(child) = self.child_mut(key) else {
            return;
        };
        match after {
            After::Down => child.state = State::Down,
            After::Waiting { due } => child.state = State::Waiting { due },
            After::Gone => {
                self.children.retain(|child| child.key != key);
                actions.push(Action::Remove(key));
            }
        }
    }

    /// Goes on: first stops, then starts.
    fn then(&mut self, now: Duration, mut actions: Vec<Action>) -> Vec<Action> {
        self.stop_doomed(&mut actions);
        match self.phase {
            Phase::Ending => {
                if self.children.iter().all(|child| child.state == State::Down) {
                    self.phase = Phase::Ended;
                    actions.push(Action::End);
                }
            }
            Phase::Ended => {}
            Phase::Booting | Phase::Settled => {
                self.start_waiting(now, &mut actions);
                if self.phase == Phase::Booting && (self.policy.dynamic || self.is_settled()) {
                    self.phase = Phase::Settled;
                    actions.push(Action::Booted);
                }
            }
        }
        actions
    }

    fn stop_doomed(&mut self, actions: &mut Vec<Action>) {
        let one_by_one = !self.policy.dynamic
            && (self.policy.strategy != Strategy::OneForOne || self.is_ending());
        if one_by_one
            && self
                .children
                .iter()
                .any(|child| matches!(child.state, State::Stopping(_)))
        {
            return;
        }
        for child in self.children.iter_mut().rev() {
            if let State::Doomed(after) = child.state {
                child.state = State::Stopping(after);
                actions.push(Action::Stop(child.key));
                if one_by_one {
                    return;
                }
            }
        }
    }

    fn start_waiting(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let startable: Vec<Key> = self.startable().map(|child| child.key).collect();
        for key in startable {
            let Some(child) = self.child_mut(key) else {
                continue;
            };
            match child.state {
                State::Waiting { due } if due <= now => {}
                State::Quarantined { until } if until <= now => {
                    child.on_trial = true;
                    actions.push(Action::Trial(key));
                }
                _ => continue,
            }
            child.state = State::Starting;
            actions.push(Action::Start(key));
        }
    }

    /// The children that may be started as soon as they are due, in order.
    fn startable(&self) -> impl Iterator<Item = &Child> {
        let together = self.policy.strategy != Strategy::OneForOne;
        let one_by_one = !self.policy.dynamic && (together || self.phase == Phase::Booting);
        let stopping = |child: &Child| matches!(child.state, State::Doomed(_) | State::Stopping(_));
        let blocked = (together && self.children.iter().any(stopping))
            || (one_by_one
                && self
                    .children
                    .iter()
                    .any(|child| child.state == State::Starting));
        let first = self
            .children
            .iter()
            .position(|child| matches!(child.state, State::Waiting { .. }));
        self.children
            .iter()
            .enumerate()
            .filter_map(move |(index, child)| {
                let startable = match child.state {
                    State::Waiting { .. } => !blocked && (!one_by_one || Some(index) == first),
                    State::Quarantined { .. } => true,
                    _ => false,
                };
                startable.then_some(child)
            })
    }

    fn is_settled(&self) -> bool {
        self.children.iter().all(|child| {
            matches!(
                child.state,
                State::Down | State::Running { .. } | State::Quarantined { .. }
            )
        })
    }

    fn child_mut(&mut self, key: Key) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.key == key)
    }
}
