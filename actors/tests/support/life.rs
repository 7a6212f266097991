//! The rest of a child's life: heartbeat, stopping, quarantine, commands, supervisors below supervisors.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "stories for several test binaries"
)]

use std::sync::Arc;
use std::time::Duration;

use super::supervised::{Probe, Recorder, Tell, ask, probe, settle, slot, start, tell};
use tokio::time::{Instant, sleep};
use weir_actors::supervisor::{
    Backoff, ChildSpec, ChildState, CommandError, Ended, GroupConfig, Intensity, Kind, Restart,
    Shutdown, Slot, Strategy, SupervisorHandle, SupervisorSpec,
};

fn one(child: ChildSpec) -> SupervisorSpec {
    SupervisorSpec::new("root", Strategy::OneForOne).child(child)
}

fn state(root: &SupervisorHandle, child: &str) -> Option<ChildState> {
    root.snapshot().child(child).map(|child| child.state)
}

fn last_exit(root: &SupervisorHandle, child: &str) -> String {
    let snapshot = root.snapshot();
    snapshot
        .child(child)
        .and_then(|child| child.last_exit.clone())
        .unwrap_or_default()
}

async fn crash_times(slot: &Slot<Probe>, times: usize) {
    for _ in 0..times {
        slot.wait().await;
        tell(slot, Tell::Panic).await;
        settle().await;
    }
}

// === heartbeat ===

pub async fn an_actor_that_takes_no_messages_is_killed_after_one_to_two_heartbeats() {
    for phase in [0, 1_300, 4_900] {
        let child = slot("child");
        let recorder = Recorder::new();
        let root = start(one(probe(&child)), &recorder).await;
        sleep(Duration::from_millis(phase)).await;
        tell(&child, Tell::Wait(Duration::from_secs(3_600))).await;
        let stuck = Instant::now();
        child.wait_for(2).await;
        let took = stuck.elapsed();
        assert!(
            took >= Duration::from_secs(5) && took <= Duration::from_millis(10_200),
            "{took:?}"
        );
        assert_eq!(last_exit(&root, "child"), "killed: missed its heartbeat");
    }
}

pub async fn what_looks_slow_but_is_not_stuck_is_left_alone() {
    let hour = Duration::from_secs(3_600);
    let step = Duration::from_secs(2);
    for excuse in [
        Tell::WaitProtected(hour),
        Tell::WaitWithProgress(hour, step),
        Tell::Work(hour),
        Tell::Wait(Duration::from_secs(4)),
        Tell::Nothing,
    ] {
        let child = slot("child");
        let recorder = Recorder::new();
        start(one(probe(&child)), &recorder).await;
        tell(&child, excuse.clone()).await;
        sleep(hour + Duration::from_secs(60)).await;
        assert_eq!(recorder.who("exited"), [""; 0], "{excuse:?}");
        assert_eq!(ask(&child).await, (1, 2), "{excuse:?}");
    }
}

pub async fn protection_ends_with_its_guard() {
    let child = slot("child");
    start(one(probe(&child)), &Recorder::new()).await;
    tell(&child, Tell::WaitProtected(Duration::from_secs(60))).await;
    child
        .get()
        .expect("alive")
        .send(Tell::Wait(Duration::from_secs(3_600)))
        .await
        .ok();
    let stuck = Instant::now();
    child.wait_for(2).await;
    assert!(stuck.elapsed() <= Duration::from_millis(10_200));
}

pub async fn who_opts_out_is_never_asked() {
    let child = slot("child");
    let recorder = Recorder::new();
    start(one(probe(&child).heartbeat(None)), &recorder).await;
    tell(&child, Tell::Wait(Duration::from_secs(3_600))).await;
    sleep(Duration::from_secs(3_000)).await;
    assert_eq!(recorder.who("exited"), [""; 0]);
}

// === ways to end ===

pub async fn no_panic_gets_away() {
    for (how, told) in [
        (Tell::Panic, "panicked: told to"),
        (
            Tell::PanicLater(Duration::from_millis(10)),
            "panicked: told to, later",
        ),
        (Tell::PanicInDrop, "panicked: told to"),
        (Tell::Fail, "failed: told to"),
        (Tell::Stop, "normal"),
    ] {
        let child = slot("child");
        let root = start(one(probe(&child)), &Recorder::new()).await;
        tell(&child, how).await;
        child.wait_for(2).await;
        assert_eq!(last_exit(&root, "child"), told);
    }
}

pub async fn messages_behind_a_panic_are_answered_not_lost() {
    let child = slot("child");
    start(one(probe(&child)), &Recorder::new()).await;
    let address = child.get().expect("alive");
    let first = address.send(Tell::Panic);
    let behind: Vec<_> = (0..10).map(|_| address.send(Tell::Nothing)).collect();
    assert!(first.await.is_err());
    for message in behind {
        assert!(
            message.await.is_err(),
            "told at once that it was not handled"
        );
    }
    child.wait_for(2).await;
    assert_eq!(ask(&child).await, (2, 1));
}

pub async fn asked_to_stop_a_child_finishes_what_it_has() {
    let child = slot("child");
    let root = start(one(probe(&child)), &Recorder::new()).await;
    let address = child.get().expect("alive");
    let slow = address.send(Tell::Wait(Duration::from_secs(3)));
    let queued = address.send(Tell::Nothing);
    slow.await.expect("it waits");
    let asked = Instant::now();
    assert_eq!(root.shutdown().await, Ended::Stopped);
    assert!(asked.elapsed() >= Duration::from_secs(2));
    assert_eq!(queued.await.ok(), Some((1, 2)));
    assert_eq!(last_exit(&root, "child"), "shutdown: asked to stop");
}

pub async fn a_child_that_does_not_stop_is_killed() {
    for (shutdown, seconds) in [
        (Shutdown::Within(Duration::from_secs(5)), 5),
        (Shutdown::Within(Duration::from_secs(1)), 1),
        (Shutdown::Kill, 0),
    ] {
        let child = slot("child");
        let spec = one(probe(&child).shutdown(shutdown).heartbeat(None));
        let root = start(spec, &Recorder::new()).await;
        tell(&child, Tell::Wait(Duration::from_secs(3_600))).await;
        let asked = Instant::now();
        root.shutdown().await;
        let took = asked.elapsed();
        let expected = Duration::from_secs(seconds);
        assert!(
            took >= expected && took < expected + Duration::from_millis(50),
            "{took:?}"
        );
        assert_eq!(last_exit(&root, "child"), "killed: did not stop in time");
    }
}

pub async fn tasks_are_kept_like_actors() {
    let recorder = Recorder::new();
    let task = ChildSpec::task("task", |context| async move {
        match context.generation() {
            1 => panic!("first"),
            2 => Err("second"),
            3 => Ok(()),
            _ => {
                context.stopping().await;
                Ok(())
            }
        }
    });
    let root = start(one(task), &recorder).await;
    sleep(Duration::from_secs(60)).await;
    let exits: Vec<String> = recorder
        .trace()
        .into_iter()
        .filter(|line| line.contains("Exited"))
        .collect();
    assert!(exits[0].contains("Panicked(\"first\")"), "{exits:?}");
    assert!(exits[1].contains("Failed(\"second\")"), "{exits:?}");
    assert!(exits[2].contains("Normal"), "{exits:?}");
    assert_eq!(state(&root, "task"), Some(ChildState::Running));
    let asked = Instant::now();
    root.shutdown().await;
    assert!(
        asked.elapsed() < Duration::from_millis(50),
        "it stops when it is asked"
    );
    assert_eq!(last_exit(&root, "task"), "shutdown: asked to stop");
}

pub async fn a_first_delay_of_nothing_restarts_in_the_same_breath() {
    let child = slot("child");
    let backoff = Backoff {
        first: Duration::ZERO,
        ..Backoff::default()
    };
    start(one(probe(&child).backoff(backoff)), &Recorder::new()).await;
    let before = Instant::now();
    tell(&child, Tell::Panic).await;
    child.wait_for(2).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    // The second failure in a row has to wait.
    tell(&child, Tell::Panic).await;
    child.wait_for(3).await;
    assert!(before.elapsed() >= Duration::from_millis(160));
}

// === quarantine ===

pub async fn an_exhausted_child_is_set_aside_and_tried_at_intervals() {
    let (bad, good) = (slot("bad"), slot("good"));
    let recorder = Recorder::new();
    let spec = SupervisorSpec::dynamic("root").quarantining();
    let root = start(spec.child(probe(&bad)).child(probe(&good)), &recorder).await;
    good.wait().await;
    crash_times(&bad, 6).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Quarantined));
    assert_eq!(recorder.who("quarantined"), ["bad"], "told once");

    // The trial comes after the cap, and one failure sends it back.
    sleep(Duration::from_secs(20)).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Quarantined));
    sleep(Duration::from_secs(17)).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Trial));
    assert_eq!(ask(&bad).await.0, 7);
    crash_times(&bad, 1).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Quarantined));
    assert_eq!(recorder.who("quarantined"), ["bad", "bad"]);

    // A healthy minute after a trial ends it.
    bad.wait().await;
    sleep(Duration::from_secs(61)).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Running));
    assert_eq!(recorder.who("recovered"), ["bad"]);
    crash_times(&bad, 1).await;
    assert_eq!(
        state(&root, "bad"),
        Some(ChildState::Waiting),
        "it is allowed failures again"
    );
    assert_eq!(ask(&good).await, (1, 1), "its neighbour never noticed");
}

pub async fn a_manual_restart_ends_quarantine_at_once() {
    let bad = slot("bad");
    let recorder = Recorder::new();
    let spec = SupervisorSpec::new("root", Strategy::OneForOne).child(probe(&bad).quarantined(
        Intensity {
            restarts: 2,
            period: Duration::from_secs(30),
        },
    ));
    let root = start(spec, &recorder).await;
    crash_times(&bad, 3).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Quarantined));
    root.restart_child("bad").await.expect("known");
    settle().await;
    assert_eq!(
        state(&root, "bad"),
        Some(ChildState::Running),
        "not on trial"
    );
    recorder.clear();
    crash_times(&bad, 2).await;
    assert_eq!(
        recorder.who("quarantined"),
        [""; 0],
        "it has all its restarts again"
    );
    assert!((0.08..=0.12).contains(&recorder.delays("bad")[0]));
    crash_times(&bad, 1).await;
    assert_eq!(recorder.who("quarantined"), ["bad"]);
}

pub async fn a_crash_loop_among_two_hundred_disturbs_nobody() {
    let slots: Vec<Slot<Probe>> = (0..199)
        .map(|number| slot(&format!("plugin-{number}")))
        .collect();
    let bad: Slot<Probe> = slot("bad");
    let recorder = Recorder::new();
    let spec = SupervisorSpec::dynamic("plugins").quarantining();
    let spec = slots
        .iter()
        .fold(spec, |spec, slot| spec.child(probe(slot)));
    let spec = spec.child(ChildSpec::actor(&bad, |_| panic!("always")));
    let root = start(spec, &recorder).await;
    sleep(Duration::from_secs(600)).await;
    for slot in &slots {
        assert_eq!(ask(slot).await, (1, 1));
    }
    assert!(recorder.starts("bad").len() < 30);
    assert_eq!(state(&root, "bad"), Some(ChildState::Quarantined));
}

// === commands ===

pub async fn children_come_and_go() {
    let root = start(SupervisorSpec::dynamic("root"), &Recorder::new()).await;
    let child = slot("child");
    root.start_child(probe(&child)).await.expect("new");
    assert_eq!(ask(&child).await, (1, 1));
    assert_eq!(
        root.start_child(probe(&child)).await,
        Err(CommandError::Duplicate("child".into()))
    );

    root.terminate_child("child").await.expect("known");
    assert!(child.get().is_none(), "it is gone when the command is done");
    assert_eq!(state(&root, "child"), Some(ChildState::Down));
    root.terminate_child("child").await.expect("down is down");
    sleep(Duration::from_secs(60)).await;
    assert!(child.get().is_none(), "and stays so");

    root.restart_child("child").await.expect("known");
    assert_eq!(ask(&child).await, (2, 1));
    root.restart_child("child")
        .await
        .expect("one that runs, too");
    child.wait_for(3).await;

    root.delete_child("child").await.expect("known");
    assert!(child.get().is_none());
    assert_eq!(root.which_children(), Vec::<Arc<str>>::new());
    let unknown = Err(CommandError::Unknown("child".into()));
    assert_eq!(root.delete_child("child").await, unknown);
    assert_eq!(root.terminate_child("child").await, unknown);
    assert_eq!(root.restart_child("child").await, unknown);

    root.start_child(probe(&child))
        .await
        .expect("its name is free again");
    assert_eq!(ask(&child).await.0, 4, "its slot counts on");
    root.shutdown().await;
    assert_eq!(
        root.start_child(probe(&child)).await,
        Err(CommandError::NotRunning)
    );
}

pub async fn what_contradicts_itself_is_not_added() {
    let root = start(SupervisorSpec::dynamic("root"), &Recorder::new()).await;
    let refused = root.start_child(probe(&slot("child")).significant()).await;
    assert!(
        matches!(refused, Err(CommandError::Invalid(_))),
        "{refused:?}"
    );
}

pub async fn a_child_in_a_bad_way_can_be_deleted() {
    let root = start(
        SupervisorSpec::dynamic("root").quarantining(),
        &Recorder::new(),
    )
    .await;
    let never_ready = slot("never-ready");
    root.start_child(probe(&never_ready).reports_ready())
        .await
        .expect("new");
    settle().await;
    root.delete_child("never-ready").await.expect("starting");
    let bad: Slot<Probe> = slot("bad");
    let crash = ChildSpec::actor(&bad, |_| panic!("always"));
    root.start_child(crash).await.expect("new");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(state(&root, "bad"), Some(ChildState::Quarantined));
    root.delete_child("bad").await.expect("quarantined");
    assert!(root.which_children().is_empty());
}

// === trees ===

/// root, one_for_one, over `below`, rest_for_one, over a and b.
fn tree(a: &Slot<Probe>, b: &Slot<Probe>) -> (SupervisorSpec, SupervisorHandle) {
    let below = SupervisorSpec::new("below", Strategy::RestForOne)
        .intensity(Intensity {
            restarts: 1,
            period: Duration::from_secs(30),
        })
        .child(probe(a))
        .child(probe(b));
    let handle = below.handle();
    let root = SupervisorSpec::new("root", Strategy::OneForOne).intensity(Intensity {
        restarts: 1,
        period: Duration::from_secs(30),
    });
    (root.child(ChildSpec::supervisor(below)), handle)
}

pub async fn an_exhausted_supervisor_is_restarted_by_its_own() {
    let (a, b) = (slot("a"), slot("b"));
    let (spec, below) = tree(&a, &b);
    let recorder = Recorder::new();
    let root = start(spec, &recorder).await;
    assert!(below.is_ready());
    crash_times(&b, 2).await;
    assert_eq!(last_exit(&root, "below"), "shutdown: restarted b too often");
    a.wait_for(2).await;
    assert_eq!(ask(&a).await.0, 2, "a is new, since its supervisor is");
    assert_eq!(ask(&b).await.0, 3, "the numbers count on");
    below.ready().await;

    // The handle from before still commands it.
    below.terminate_child("b").await.expect("running");
    assert!(b.get().is_none());
    below.restart_child("b").await.expect("running");

    crash_times(&b, 2).await;
    assert_eq!(root.wait().await, Ended::Exhausted("below".into()));
    assert_eq!(recorder.who("exhausted"), ["b", "b", "below"]);
    assert!(a.get().is_none() && b.get().is_none());
    assert!(!below.is_ready());
    assert_eq!(
        below.terminate_child("b").await,
        Err(CommandError::NotRunning)
    );
}

pub async fn a_transient_supervisor_that_gives_up_is_not_restarted() {
    let a = slot("a");
    let below = SupervisorSpec::new("below", Strategy::OneForOne)
        .intensity(Intensity {
            restarts: 0,
            period: Duration::from_secs(30),
        })
        .child(probe(&a));
    let spec = one(ChildSpec::supervisor(below).restart(Restart::Transient));
    let root = start(spec, &Recorder::new()).await;
    crash_times(&a, 1).await;
    assert_eq!(
        state(&root, "below"),
        Some(ChildState::Down),
        "as in OTP, giving up is a shutdown"
    );
}

pub async fn a_tree_is_stopped_from_its_leaves() {
    let (a, b, last) = (slot("a"), slot("b"), slot("last"));
    let (spec, _) = tree(&a, &b);
    let recorder = Recorder::new();
    let root = start(spec.child(probe(&last)), &recorder).await;
    recorder.clear();
    root.shutdown().await;
    assert_eq!(recorder.who("stopping"), ["last", "below", "b", "a"]);
    assert_eq!(recorder.who("exited"), ["last", "b", "a", "below"]);
}

pub async fn a_root_can_be_stopped_while_it_starts() {
    let never_ready = slot("never-ready");
    let spec = one(probe(&never_ready).reports_ready());
    let root = spec.start(Recorder::new().runtime()).expect("valid");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(root.shutdown().await, Ended::Stopped);
    let spec = one(probe(&never_ready).reports_ready());
    let root = spec.start(Recorder::new().runtime()).expect("valid");
    assert_eq!(
        root.shutdown().await,
        Ended::Stopped,
        "also before it has begun"
    );
}

pub async fn the_tree_can_be_read() {
    let (a, b) = (slot("a"), slot("b"));
    let (spec, _) = tree(&a, &b);
    let root = start(spec, &Recorder::new()).await;
    crash_times(&b, 1).await;
    b.wait().await;
    sleep(Duration::from_secs(10)).await;
    let snapshot = root.snapshot();
    let below = snapshot.child("below").expect("known");
    assert_eq!(below.kind, Kind::Supervisor);
    let json =
        serde_json::to_value(below.supervisor.as_ref().expect("a supervisor")).expect("JSON");
    assert_eq!(json["name"], "below");
    assert_eq!(json["kind"], "supervisor");
    assert_eq!(json["strategy"], "rest_for_one");
    assert_eq!(json["children"][0]["restarts"], 0);
    let child = &json["children"][1];
    assert_eq!(child["name"], "b");
    assert_eq!(child["kind"], "actor");
    assert_eq!(child["state"], "running");
    assert_eq!(child["generation"], 2);
    assert_eq!(child["restarts"], 1);
    assert_eq!(child["last_exit"], "panicked: told to");
    assert!(
        child["since_seconds"]
            .as_f64()
            .is_some_and(|since| (9.9..10.2).contains(&since))
    );
}

pub async fn the_operator_has_the_last_word() {
    let config: GroupConfig = serde_json::from_value(serde_json::json!({
        "intensity": 2,
        "backoff": { "first": "50ms", "jitter": 0.0 },
        "heartbeat": "20s",
        "children": {
            "b": { "on_exhausted": "quarantine", "intensity": 1, "heartbeat": "off" },
        },
    }))
    .expect("valid");
    let (a, b) = (slot("a"), slot("b"));
    let recorder = Recorder::new();
    let spec = SupervisorSpec::new("root", Strategy::OneForOne).configured(&config);
    let root = start(spec.child(probe(&a)).child(probe(&b)), &recorder).await;
    crash_times(&b, 2).await;
    assert_eq!(state(&root, "b"), Some(ChildState::Quarantined));
    assert_eq!(recorder.delays("b"), [0.05]);
    crash_times(&a, 3).await;
    assert_eq!(
        root.wait().await,
        Ended::Exhausted("a".into()),
        "b's restarts are not counted here"
    );
}
