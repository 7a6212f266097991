//! Children on other threads, in real time: across threads, and when a thread does not yield.

#![allow(clippy::expect_used, reason = "a test")]

#[path = "support/supervised.rs"]
mod supervised;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use supervised::{Recorder, Tell, ask, probe, slot, start, tell};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;
use weir_actors::supervisor::{
    Backoff, ChildSpec, ChildState, Ended, Intensity, Slot, Spawner, Strategy, SupervisorSpec,
};

type Work = Box<dyn FnOnce() + Send>;

/// A thread that runs what it is given, and is replaced when it no longer does.
struct Worker {
    queue: Mutex<Option<mpsc::Sender<Work>>>,
    renewed: AtomicUsize,
}

impl Worker {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Some(Self::thread())),
            renewed: AtomicUsize::new(0),
        })
    }

    fn thread() -> mpsc::Sender<Work> {
        let (sender, mut queue) = mpsc::channel::<Work>(16);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            LocalSet::new().block_on(&runtime, async {
                while let Some(work) = queue.recv().await {
                    work();
                }
            });
        });
        sender
    }

    /// Ends the thread, and everything on it.
    fn end(&self) {
        *self.queue.lock().expect("no panic") = None;
    }
}

impl Spawner for Worker {
    fn spawn(&self, work: Work) {
        if let Some(queue) = &*self.queue.lock().expect("no panic") {
            queue.try_send(work).ok();
        }
    }

    fn renew(&self) -> bool {
        *self.queue.lock().expect("no panic") = Some(Self::thread());
        self.renewed.fetch_add(1, Ordering::SeqCst);
        true
    }
}

/// Runs a test in real time, but not for ever.
fn real<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let test = async { timeout(Duration::from_secs(60), test).await };
    runtime
        .block_on(LocalSet::new().run_until(test))
        .expect("done within a minute")
}

fn fast() -> Backoff {
    Backoff {
        first: Duration::ZERO,
        min: Duration::from_millis(1),
        ..Backoff::default()
    }
}

/// Says which thread it lives on, can be made to hold it, and counts its ends.
struct Stubborn(Arc<AtomicUsize>);

struct WhichThread;

impl Message for WhichThread {
    type Result = usize;
}

/// Never yields until let go.
struct Hold(Arc<AtomicBool>);

impl Message for Hold {
    type Result = ();
}

impl Actor for Stubborn {
    type Context = Context<Self>;
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn this_thread() -> usize {
    let id: ThreadId = thread::current().id();
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    usize::try_from(hasher.finish()).unwrap_or(0)
}

impl Handler<WhichThread> for Stubborn {
    type Result = usize;

    fn handle(&mut self, _: WhichThread, _: &mut Context<Self>) -> usize {
        this_thread()
    }
}

impl Handler<Hold> for Stubborn {
    type Result = ();

    fn handle(&mut self, hold: Hold, _: &mut Context<Self>) {
        while !hold.0.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }
}

#[test]
fn a_child_lives_and_is_restarted_on_its_own_thread() {
    real(async {
        let child: Slot<Stubborn> = Slot::new("child");
        let worker = Worker::new();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne);
        let root = start(
            spec.child(ChildSpec::actor(&child, |_| Stubborn(Arc::default())).on(worker)),
            &Recorder::new(),
        )
        .await;
        let before = child.wait().await.send(WhichThread).await.expect("alive");
        assert_ne!(before, this_thread());
        root.restart_child("child").await.expect("known");
        let after = child
            .wait_for(2)
            .await
            .send(WhichThread)
            .await
            .expect("alive");
        assert_eq!(before, after);
        assert_eq!(root.shutdown().await, Ended::Stopped);
    });
}

#[test]
fn a_supervisor_escalates_across_threads() {
    real(async {
        let (a, b) = (slot("a"), slot("b"));
        let below = SupervisorSpec::new("below", Strategy::RestForOne)
            .intensity(Intensity {
                restarts: 1,
                period: Duration::from_secs(30),
            })
            .child(probe(&a).backoff(fast()))
            .child(probe(&b).backoff(fast()));
        let below_handle = below.handle();
        let recorder = Recorder::new();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne)
            .intensity(Intensity {
                restarts: 1,
                period: Duration::from_secs(30),
            })
            .child(
                ChildSpec::supervisor(below)
                    .backoff(fast())
                    .on(Worker::new()),
            );
        let root = start(spec, &recorder).await;
        tell(&a, Tell::Panic).await;
        b.wait_for(2).await;
        assert_eq!(recorder.who("exhausted"), [""; 0]);
        tell(&b, Tell::Panic).await;
        b.wait_for(3).await;
        assert_eq!(ask(&a).await.0, 3, "the whole group is new");
        assert_eq!(recorder.who("exhausted"), ["b"]);
        assert!(below_handle.snapshot().child("b").is_some());
        below_handle
            .terminate_child("b")
            .await
            .expect("commands cross threads too");
        below_handle.restart_child("b").await.expect("known");
        b.wait_for(4).await;

        tell(&b, Tell::Panic).await;
        b.wait_for(5).await;
        tell(&b, Tell::Panic).await;
        assert_eq!(root.wait().await, Ended::Exhausted("below".into()));
    });
}

#[test]
fn a_handler_that_never_yields_is_left_behind_with_its_thread() {
    real(async {
        let child: Slot<Stubborn> = Slot::new("child");
        let worker = Worker::new();
        let recorder = Recorder::new();
        let ends = Arc::new(AtomicUsize::new(0));
        let dropped = Arc::clone(&ends);
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).child(
            ChildSpec::actor(&child, move |_| Stubborn(Arc::clone(&dropped)))
                .heartbeat(Duration::from_millis(200))
                .backoff(fast())
                .on(Arc::clone(&worker) as Arc<dyn Spawner>),
        );
        let root = start(spec, &recorder).await;
        let first = child.wait().await.send(WhichThread).await.expect("alive");
        let let_go = Arc::new(AtomicBool::new(false));
        let held = child.wait().await.send(Hold(Arc::clone(&let_go)));
        let held = tokio::task::spawn_local(held);

        let second = child
            .wait_for(2)
            .await
            .send(WhichThread)
            .await
            .expect("alive");
        assert_ne!(first, second);
        assert_eq!(worker.renewed.load(Ordering::SeqCst), 1);
        assert_eq!(recorder.who("abandoned"), ["child"]);
        assert_eq!(
            ends.load(Ordering::SeqCst),
            0,
            "nobody can end what does not yield"
        );

        // When it yields at last it goes, and disturbs nobody.
        let_go.store(true, Ordering::SeqCst);
        held.await.expect("no panic").ok();
        while ends.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(child.generation(), 2);
        assert_eq!(
            child.wait().await.send(WhichThread).await.ok(),
            Some(second)
        );
        let snapshot = root.snapshot();
        assert_eq!(
            snapshot
                .child("child")
                .map(|child| (child.state, child.generation)),
            Some((ChildState::Running, 2))
        );
        root.shutdown().await;
    });
}

#[test]
fn a_thread_that_ends_is_noticed() {
    real(async {
        let child = slot("child");
        let worker = Worker::new();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).child(
            probe(&child)
                .backoff(fast())
                .on(Arc::clone(&worker) as Arc<dyn Spawner>),
        );
        let recorder = Recorder::new();
        let root = start(spec, &recorder).await;
        worker.end();
        // Its thread is gone, and so is every further one.
        assert_eq!(root.wait().await, Ended::Exhausted("child".into()));
        assert!(child.get().is_none());
        assert!(
            recorder
                .trace()
                .iter()
                .filter(|line| line.contains("ThreadLost"))
                .count()
                > 5
        );
    });
}

#[test]
fn no_child_outlives_its_supervisor() {
    let (child, worker) = (slot("child"), Worker::new());
    let spawner = Arc::clone(&worker) as Arc<dyn Spawner>;
    let remote = probe(&child).on(spawner);
    real(async {
        let root = start(
            SupervisorSpec::new("root", Strategy::OneForOne).child(remote),
            &Recorder::new(),
        )
        .await;
        assert!(root.is_ready());
    });
    // The supervisor's thread has ended without a word.
    real(async {
        while child.get().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
