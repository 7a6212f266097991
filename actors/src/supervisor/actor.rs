//! The supervisor itself: tells the strategy what happened, does what it answers, watches the clock.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Running, SpawnHandle,
};
use tokio::time::Instant;

use super::child::{ChildSpec, Placement, Shutdown};
use super::context::ChildContext;
use super::cradle::{self, News, Parent, Report};
use super::event::{EventKind, SupervisionEvent};
use super::exit::{Cause, Exit, Kill};
use super::member::Member;
use super::spec::SupervisorSpec;
use super::strategy::{Action, Group, GroupPolicy, Key};
use super::tree::ChildState;

/// Keeps a group of children running. Described by a [`SupervisorSpec`], commanded through its
/// [`SupervisorHandle`](super::SupervisorHandle).
///
/// Restarted, it starts its group afresh: it forgets failures, restarts and the children that were added at runtime.
pub struct Supervisor {
    pub(crate) spec: SupervisorSpec,
    context: ChildContext,
    pub(crate) group: Group,
    /// In start order, as in `group`.
    pub(crate) members: Vec<Member>,
    next_key: u64,
    epoch: Instant,
    alarm: Option<(Duration, SpawnHandle)>,
}

/// How long a killed instance may take to notice, on a thread that yields now and then.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How long a thread may take to begin making a child that may then take as long as it likes.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

impl Message for Report {
    type Result = ();
}

impl Parent for Addr<Supervisor> {
    #[expect(
        clippy::disallowed_methods,
        reason = "control lane: an exit is reported once per instance, from destructors too, and must not wait"
    )]
    fn report(&self, report: Report) {
        self.do_send(report);
    }
}

// === impl Supervisor ===

impl Supervisor {
    pub(crate) fn new(spec: SupervisorSpec, context: ChildContext) -> Self {
        // What does not resolve was refused before the tree was started.
        let children = spec
            .children
            .iter()
            .filter_map(|child| spec.resolve(child.clone()).ok());
        let members: Vec<Member> = (1..)
            .map(Key)
            .zip(children)
            .map(|(key, child)| Member::new(key, child))
            .collect();
        let policy = GroupPolicy {
            strategy: spec.strategy,
            auto_shutdown: spec.auto_shutdown,
            intensity: spec.intensity,
            dynamic: spec.dynamic,
        };
        let children = members
            .iter()
            .map(|member| (member.key, member.spec.policy.clone()));
        let group = Group::new(policy, children, context.seed());
        Self {
            group,
            next_key: 1 + members.len() as u64,
            members,
            epoch: Instant::now(),
            alarm: None,
            spec,
            context,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Tells the strategy what happened, and does what it answers.
    pub(crate) fn decide(
        &mut self,
        actix: &mut Context<Self>,
        happened: impl FnOnce(&mut Group, Duration) -> Vec<Action>,
    ) {
        let now = self.now();
        for action in happened(&mut self.group, now) {
            self.obey(action, actix);
        }
        self.post();
        self.set_alarm(actix);
    }

    fn obey(&mut self, action: Action, actix: &mut Context<Self>) {
        match action {
            Action::Start(key) => self.start(key, actix),
            Action::Stop(key) => self.stop(key, actix),
            Action::Restart { key, delay } => {
                if let Some(member) = self.member_mut(key) {
                    member.restarts += 1;
                }
                self.tell(key, EventKind::RestartScheduled { delay });
            }
            Action::Quarantined { key, trial } => self.tell(key, EventKind::Quarantined { trial }),
            Action::Trial(key) => self.tell(key, EventKind::Trial),
            Action::Recovered(key) => self.tell(key, EventKind::Recovered),
            Action::Exhausted(key) => {
                self.tell(key, EventKind::Exhausted);
                self.record(key, Cause::Exhausted);
            }
            Action::AutoShutdown(key) => {
                self.tell(key, EventKind::AutoShutdown);
                self.record(key, Cause::AutoShutdown);
            }
            Action::Remove(key) => {
                self.tell(key, EventKind::Removed);
                self.members.retain(|member| member.key != key);
            }
            Action::Booted => self.context.ready(),
            Action::End => {
                // Without effect if the group has ended itself: the first record counts.
                self.context.shutting_down(Cause::Asked);
                actix.stop();
            }
        }
    }

    fn start(&mut self, key: Key, actix: &mut Context<Self>) {
        let Some(member) = self.members.iter_mut().find(|member| member.key == key) else {
            return;
        };
        let context = member.next_instance(&self.context);
        tell(&self.context, member, EventKind::Starting);
        member.reins = Some(cradle::start(
            &member.spec,
            context,
            key,
            Arc::new(actix.address()),
        ));
        let timeout = member.spec.policy.start_timeout;
        self.set_timer(
            key,
            timeout.unwrap_or(ARRIVAL_TIMEOUT),
            actix,
            move |this, actix| {
                let starting = this.group.state(key) == Some(ChildState::Starting);
                let arrived = this.member_mut(key).is_some_and(|member| member.arrived);
                if starting && (timeout.is_some() || !arrived) {
                    this.kill(key, Kill::StartTimeout, actix);
                }
            },
        );
    }

    fn stop(&mut self, key: Key, actix: &mut Context<Self>) {
        self.tell(key, EventKind::Stopping);
        let Some(member) = self.member_mut(key) else {
            return;
        };
        let time = match member.spec.policy.shutdown {
            Shutdown::Kill => return self.kill(key, Kill::Shutdown, actix),
            Shutdown::Within(time) => Some(time),
            Shutdown::Infinity => None,
        };
        if let Some(control) = member.control() {
            control.stop();
        }
        if let Some(time) = time {
            self.set_timer(key, time, actix, move |this, actix| {
                this.kill(key, Kill::Shutdown, actix)
            });
        }
    }

    /// Ends an instance without asking it. If it lives on another thread and does not notice, it is left behind.
    pub(crate) fn kill(&mut self, key: Key, kill: Kill, actix: &mut Context<Self>) {
        let Some(member) = self.member_mut(key) else {
            return;
        };
        if let Some(control) = member.control() {
            control.kill(kill);
        }
        if let Placement::On(spawner) = &member.spec.placement {
            let spawner = Arc::clone(spawner);
            self.set_timer(key, KILL_GRACE, actix, move |this, actix| {
                let replaced = spawner.renew();
                this.tell(key, EventKind::Abandoned { replaced });
                this.exited(key, &Exit::Killed(kill), actix);
            });
        }
    }

    /// Calls `then` later if this instance is alive then. One timer an instance: the next step of its life replaces
    /// the last.
    fn set_timer(
        &mut self,
        key: Key,
        delay: Duration,
        actix: &mut Context<Self>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let Some(member) = self.member_mut(key) else {
            return;
        };
        let generation = member.generation;
        let timer = actix.run_later(delay, move |this, actix| {
            if this
                .member_mut(key)
                .is_some_and(|member| member.is(generation))
            {
                then(this, actix);
            }
        });
        if let Some(earlier) = member.timer.replace(timer) {
            actix.cancel_future(earlier);
        }
    }

    pub(crate) fn started(&mut self, key: Key, actix: &mut Context<Self>) {
        let starting = self.group.state(key) == Some(ChildState::Starting);
        let Some(member) = self.member_mut(key) else {
            return;
        };
        member.started = Some(Instant::now());
        let heartbeat = member.spec.policy.heartbeat;
        if starting && let Some(timer) = member.timer.take() {
            actix.cancel_future(timer);
        }
        self.tell(key, EventKind::Started);
        if let Some(interval) = heartbeat {
            self.ping(key, interval, actix);
        }
        self.decide(actix, |group, now| group.started(key, now));
    }

    pub(crate) fn exited(&mut self, key: Key, exit: &Exit, actix: &mut Context<Self>) {
        let expected = self.group.state(key) == Some(ChildState::Stopping);
        let Some(member) = self.member_mut(key) else {
            return;
        };
        for timer in member.end(exit) {
            actix.cancel_future(timer);
        }
        let uptime = member
            .started
            .take()
            .map_or(Duration::ZERO, |started| started.elapsed());
        let event = EventKind::Exited {
            exit: exit.clone(),
            uptime,
            expected,
        };
        self.tell(key, event);
        self.decide(actix, |group, now| group.exited(key, exit, now));
    }

    fn set_alarm(&mut self, actix: &mut Context<Self>) {
        let due = self.group.next_due();
        if self.alarm.map(|(set, _)| set) == due {
            return;
        }
        if let Some((_, timer)) = self.alarm.take() {
            actix.cancel_future(timer);
        }
        self.alarm = due.map(|due| {
            let timer = actix.run_later(due.saturating_sub(self.now()), |this, actix| {
                this.alarm = None;
                this.decide(actix, Group::due);
            });
            (due, timer)
        });
    }

    /// Takes a child into the books.
    pub(crate) fn admit(&mut self, child: ChildSpec) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        self.members.push(Member::new(key, child));
        key
    }

    pub(crate) fn member_mut(&mut self, key: Key) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.key == key)
    }

    fn record(&self, key: Key, cause: impl FnOnce(Arc<str>) -> Cause) {
        if let Some(member) = self.members.iter().find(|member| member.key == key) {
            self.context
                .shutting_down(cause(Arc::clone(&member.spec.name)));
        }
    }

    fn tell(&self, key: Key, kind: EventKind) {
        if let Some(member) = self.members.iter().find(|member| member.key == key) {
            tell(&self.context, member, kind);
        }
    }

    /// Hangs out what everyone may know.
    fn post(&mut self) {
        for member in &mut self.members {
            if let Some(state) = self.group.state(member.key) {
                member.enter(state);
            }
        }
        let (children, more) = self.members.iter().map(Member::snapshot).unzip();
        self.spec
            .handle
            .board()
            .post(self.context.generation(), children, more);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, actix: &mut Context<Self>) {
        let line = self.spec.handle.line();
        line.publish(actix.address(), self.context.generation());
        self.decide(actix, Group::boot);
    }

    /// Asked to stop: stops the children first.
    fn stopping(&mut self, actix: &mut Context<Self>) -> Running {
        self.decide(actix, Group::shutdown);
        if self.group.has_ended() {
            Running::Stop
        } else {
            Running::Continue
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The children go with it: their reins are dropped.
        let generation = self.context.generation();
        self.spec.handle.line().withdraw(generation);
        if !self.group.has_ended() {
            self.spec
                .handle
                .board()
                .post(generation, Vec::new(), Vec::new());
        }
    }
}

impl Handler<Report> for Supervisor {
    type Result = ();

    fn handle(&mut self, report: Report, actix: &mut Context<Self>) {
        let Report {
            key,
            generation,
            news,
        } = report;
        let Some(member) = self.member_mut(key).filter(|member| member.is(generation)) else {
            // An instance that was left behind.
            return;
        };
        match news {
            News::Arrived => member.arrived = true,
            News::Started => self.started(key, actix),
            News::Exited(exit) => self.exited(key, &exit, actix),
        }
    }
}

fn tell(supervisor: &ChildContext, member: &Member, kind: EventKind) {
    let event = SupervisionEvent {
        supervisor: Arc::clone(supervisor.path()),
        child: Arc::clone(&member.spec.name),
        generation: member.generation,
        kind,
    };
    event.log();
    supervisor.runtime().observer.event(&event);
}
