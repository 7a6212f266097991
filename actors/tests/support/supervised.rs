//! Actors that do as they are told, and an observer that remembers.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by several test binaries, each of which uses a part"
)]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use weir_actors::supervisor::{
    ChildContext, ChildSpec, EventKind, Observer, Runtime, Slot, SupervisionEvent,
    SupervisorHandle, SupervisorSpec,
};

/// An actor that does as it is told.
pub struct Probe {
    pub context: ChildContext,
    told: u32,
}

/// What a probe can be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Tell {
    /// Panic in the handler.
    Panic,
    /// Panic in a future on the context.
    PanicLater(Duration),
    /// Record a failure and stop.
    Fail,
    /// Stop.
    Stop,
    /// Take no messages for this long.
    Wait(Duration),
    /// The same, under protection from the heartbeat.
    WaitProtected(Duration),
    /// The same, saying "still at it" this often.
    WaitWithProgress(Duration, Duration),
    /// Work beside the mailbox for this long.
    Work(Duration),
    /// Say that it is ready.
    Ready,
    /// Panic when dropped, too.
    PanicInDrop,
    /// Nothing.
    Nothing,
}

impl Message for Tell {
    /// The number of the instance, and how often it has been told something.
    type Result = (u64, u32);
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Tell> for Probe {
    type Result = actix::MessageResult<Tell>;

    fn handle(&mut self, tell: Tell, actix: &mut Context<Self>) -> Self::Result {
        self.told += 1;
        let context = self.context.clone();
        match tell {
            Tell::Panic => panic!("told to"),
            Tell::PanicLater(delay) => {
                actix.run_later(delay, |_, _| panic!("told to, later"));
            }
            Tell::Fail => {
                context.fail("told to");
                actix.stop();
            }
            Tell::Stop => actix.stop(),
            Tell::Wait(time) => actix.wait(sleep(time).into_actor(self)),
            Tell::WaitProtected(time) => {
                let work = async move {
                    let _protected = context.protect();
                    sleep(time).await;
                };
                actix.wait(work.into_actor(self));
            }
            Tell::WaitWithProgress(time, step) => {
                let work = async move {
                    let end = Instant::now() + time;
                    while Instant::now() < end {
                        sleep(step).await;
                        context.progress();
                    }
                };
                actix.wait(work.into_actor(self));
            }
            Tell::Work(time) => {
                actix.spawn(sleep(time).into_actor(self));
            }
            Tell::Ready => context.ready(),
            Tell::PanicInDrop => {
                actix.spawn(Bomb.wait().into_actor(self));
                panic!("told to");
            }
            Tell::Nothing => {}
        }
        actix::MessageResult((self.context.generation(), self.told))
    }
}

struct Bomb;

impl Bomb {
    async fn wait(self) {
        std::future::pending::<()>().await;
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Returns a child that is a probe.
pub fn probe(slot: &Slot<Probe>) -> ChildSpec {
    ChildSpec::actor(slot, |context| Probe { context, told: 0 })
}

/// Returns a slot for a probe.
pub fn slot(name: &str) -> Slot<Probe> {
    Slot::new(name)
}

/// Tells the probe in the slot something and returns its answer, or nothing if it died over it or was not there.
pub async fn tell(slot: &Slot<Probe>, tell: Tell) -> Option<(u64, u32)> {
    slot.get()?.send(tell).await.ok()
}

/// The same, for an instance that must be there.
pub async fn ask(slot: &Slot<Probe>) -> (u64, u32) {
    slot.wait()
        .await
        .send(Tell::Nothing)
        .await
        .expect("it is running")
}

/// Lets everything happen that can happen now.
pub async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Runs a test on a thread of its own kind: one runtime, tasks that stay, time that only passes when nothing else
/// can happen.
pub fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let within_a_day = async { tokio::time::timeout(Duration::from_secs(24 * 3600), test).await };
    runtime
        .block_on(LocalSet::new().run_until(within_a_day))
        .expect("done within a day")
}

/// Runs a test on a machine of a simulated network.
pub fn simulated(test: impl Future<Output = ()> + 'static) {
    let mut simulation = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(24 * 3600))
        .tick_duration(Duration::from_millis(50))
        .build();
    simulation.client("gateway", async {
        test.await;
        Ok(())
    });
    simulation.run().expect("done within a day");
}

/// Remembers what happened, and when.
pub struct Recorder {
    epoch: Instant,
    events: Mutex<Vec<(Duration, SupervisionEvent)>>,
}

impl Observer for Recorder {
    fn event(&self, event: &SupervisionEvent) {
        let at = self.epoch.elapsed();
        self.events
            .lock()
            .expect("no panic")
            .push((at, event.clone()));
    }
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            events: Mutex::default(),
        })
    }

    pub fn runtime(self: &Arc<Self>) -> Runtime {
        Runtime {
            observer: Arc::clone(self) as Arc<dyn Observer>,
            seed: 7,
        }
    }

    pub fn events(&self) -> Vec<(Duration, SupervisionEvent)> {
        self.events.lock().expect("no panic").clone()
    }

    /// Forgets what happened so far.
    pub fn clear(&self) {
        self.events.lock().expect("no panic").clear();
    }

    /// The events as lines: time, supervisor/child#generation, what.
    pub fn trace(&self) -> Vec<String> {
        let line =
            |(at, event): (Duration, SupervisionEvent)| format!("{:.3} {event}", at.as_secs_f64());
        self.events().into_iter().map(line).collect()
    }

    /// The children that did this, in order.
    pub fn who(&self, name: &str) -> Vec<String> {
        let events = self.events().into_iter();
        events
            .filter(|(_, event)| event.kind.name() == name)
            .map(|(_, event)| event.child.to_string())
            .collect()
    }

    /// The delays before restarts of this child, in order.
    pub fn delays(&self, child: &str) -> Vec<f64> {
        let delay = |(_, event): (Duration, SupervisionEvent)| match event.kind {
            EventKind::RestartScheduled { delay } if &*event.child == child => {
                Some(delay.as_secs_f64())
            }
            _ => None,
        };
        self.events().into_iter().filter_map(delay).collect()
    }

    /// When this child was started, in order.
    pub fn starts(&self, child: &str) -> Vec<f64> {
        let starts = self.events().into_iter();
        starts
            .filter(|(_, event)| &*event.child == child && event.kind == EventKind::Starting)
            .map(|(at, _)| at.as_secs_f64())
            .collect()
    }
}

/// Starts a root and waits until it is ready.
pub async fn start(spec: SupervisorSpec, recorder: &Arc<Recorder>) -> SupervisorHandle {
    let handle = spec.start(recorder.runtime()).expect("a valid tree");
    handle.ready().await;
    handle
}
