//! Which children are restarted, when, and when it is given up.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "stories for several test binaries"
)]

use std::time::Duration;

use super::supervised::{Probe, Recorder, Tell, ask, probe, settle, slot, start, tell};
use tokio::time::sleep;
use weir_actors::supervisor::{
    AutoShutdown, ChildSpec, ChildState, Ended, Intensity, Restart, Slot, SpecError, Strategy,
    SupervisorSpec,
};

const OFTEN: Intensity = Intensity {
    restarts: 1_000,
    period: Duration::from_secs(30),
};

fn three() -> [Slot<Probe>; 3] {
    [slot("a"), slot("b"), slot("c")]
}

fn group(strategy: Strategy, slots: &[Slot<Probe>]) -> SupervisorSpec {
    let empty = SupervisorSpec::new("root", strategy);
    slots
        .iter()
        .fold(empty, |spec, slot| spec.child(probe(slot)))
}

async fn generations(slots: &[Slot<Probe>]) -> Vec<u64> {
    let mut generations = Vec::new();
    for slot in slots {
        generations.push(ask(slot).await.0);
    }
    generations
}

pub async fn one_for_one_restarts_only_the_one() {
    let slots = three();
    let recorder = Recorder::new();
    start(group(Strategy::OneForOne, &slots), &recorder).await;
    assert_eq!(recorder.who("starting"), ["a", "b", "c"]);
    assert_eq!(ask(&slots[0]).await, (1, 1));

    assert_eq!(
        tell(&slots[1], Tell::Panic).await,
        None,
        "who asked is told at once"
    );
    assert!(slots[1].get().is_none(), "nobody finds the dead");
    assert_eq!(slots[1].generation(), 0);

    slots[1].wait_for(2).await;
    assert_eq!(
        ask(&slots[0]).await,
        (1, 2),
        "the same instance, with what it knew"
    );
    assert_eq!(
        ask(&slots[1]).await,
        (2, 1),
        "a new one, that knows nothing"
    );
    assert_eq!(ask(&slots[2]).await.0, 1);
    assert_eq!(recorder.who("stopping"), [""; 0]);
}

pub async fn one_for_all_restarts_all() {
    let slots = three();
    let recorder = Recorder::new();
    start(group(Strategy::OneForAll, &slots), &recorder).await;
    recorder.clear();
    tell(&slots[1], Tell::Panic).await;
    slots[2].wait_for(2).await;
    assert_eq!(generations(&slots).await, [2, 2, 2]);
    assert_eq!(recorder.who("exited"), ["b", "c", "a"]);
    assert_eq!(recorder.who("stopping"), ["c", "a"]);
    assert_eq!(recorder.who("starting"), ["a", "b", "c"]);
}

pub async fn rest_for_one_restarts_those_after_it() {
    let slots = three();
    let recorder = Recorder::new();
    start(group(Strategy::RestForOne, &slots), &recorder).await;
    recorder.clear();
    tell(&slots[1], Tell::Panic).await;
    slots[2].wait_for(2).await;
    assert_eq!(generations(&slots).await, [1, 2, 2]);
    assert_eq!(recorder.who("stopping"), ["c"]);
    assert_eq!(recorder.who("starting"), ["b", "c"]);
}

pub async fn shutdown_stops_in_reverse_order() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        let slots = three();
        let recorder = Recorder::new();
        let root = start(group(strategy, &slots), &recorder).await;
        recorder.clear();
        assert_eq!(root.shutdown().await, Ended::Stopped);
        assert_eq!(recorder.who("stopping"), ["c", "b", "a"]);
        assert_eq!(recorder.who("exited"), ["c", "b", "a"]);
        assert_eq!(
            root.shutdown().await,
            Ended::Stopped,
            "once more is no harm"
        );
    }
}

pub async fn restart_types_mean_what_they_mean_in_otp() {
    let table = [
        (Restart::Permanent, Tell::Stop, true),
        (Restart::Permanent, Tell::Fail, true),
        (Restart::Permanent, Tell::Panic, true),
        (Restart::Transient, Tell::Stop, false),
        (Restart::Transient, Tell::Fail, true),
        (Restart::Transient, Tell::Panic, true),
        (Restart::Temporary, Tell::Stop, false),
        (Restart::Temporary, Tell::Fail, false),
        (Restart::Temporary, Tell::Panic, false),
    ];
    for (restart, end, restarted) in table {
        let child = slot("child");
        let spec =
            SupervisorSpec::new("root", Strategy::OneForOne).child(probe(&child).restart(restart));
        let root = start(spec, &Recorder::new()).await;
        tell(&child, end.clone()).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            child.get().is_some(),
            restarted,
            "{restart:?} after {end:?}"
        );
        let known = root.snapshot().child("child").map(|child| child.state);
        let expected = match (restarted, restart) {
            (true, _) => Some(ChildState::Running),
            (false, Restart::Temporary) => None,
            (false, _) => Some(ChildState::Down),
        };
        assert_eq!(known, expected, "{restart:?} after {end:?}");
    }
}

pub async fn a_sibling_takes_temporary_children_with_it_for_good() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let [permanent, transient, temporary] = three();
        let spec = SupervisorSpec::new("root", strategy)
            .child(probe(&permanent))
            .child(probe(&transient).restart(Restart::Transient))
            .child(probe(&temporary).restart(Restart::Temporary));
        let root = start(spec, &Recorder::new()).await;
        tell(&permanent, Tell::Panic).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(ask(&permanent).await.0, 2);
        assert_eq!(
            ask(&transient).await.0,
            2,
            "it did not end by itself, so it is back"
        );
        assert!(temporary.get().is_none());
        assert_eq!(root.which_children().len(), 2);
    }
}

/// Panics spread over less than 30 s, the time until the next included.
async fn five_panics(slot: &Slot<Probe>) {
    for _ in 0..5 {
        tell(slot, Tell::Panic).await;
        slot.wait().await;
        sleep(Duration::from_secs(5)).await;
    }
}

pub async fn the_sixth_restart_in_the_period_is_one_too_many() {
    let slots = three();
    let recorder = Recorder::new();
    let spec = group(Strategy::OneForOne, &slots);
    let root = start(spec, &recorder).await;
    five_panics(&slots[1]).await;
    assert_eq!(ask(&slots[1]).await.0, 6, "five are allowed");
    assert_eq!(recorder.who("exhausted"), [""; 0]);

    tell(&slots[1], Tell::Panic).await;
    assert_eq!(root.wait().await, Ended::Exhausted("b".into()));
    assert_eq!(recorder.who("exhausted"), ["b"], "told once");
    assert_eq!(
        recorder.who("stopping"),
        ["c", "a"],
        "the others go too, in reverse order"
    );
    assert!(slots.iter().all(|slot| slot.get().is_none()));
    assert_eq!(recorder.who("restart_scheduled").len(), 5);
}

pub async fn the_window_slides() {
    let child = slot("child");
    let spec = SupervisorSpec::new("root", Strategy::OneForOne).child(probe(&child));
    start(spec, &Recorder::new()).await;
    five_panics(&child).await;
    sleep(Duration::from_secs(31)).await;
    five_panics(&child).await;
    assert_eq!(ask(&child).await.0, 11);
}

pub async fn intensity_counts_the_whole_group() {
    let slots = three();
    let spec = group(Strategy::OneForOne, &slots).intensity(Intensity {
        restarts: 2,
        period: Duration::from_secs(60),
    });
    let root = start(spec, &Recorder::new()).await;
    for slot in &slots {
        tell(slot, Tell::Panic).await;
    }
    assert_eq!(root.wait().await, Ended::Exhausted("c".into()));
}

pub async fn delays_double_up_to_the_cap() {
    let child: Slot<Probe> = slot("child");
    let recorder = Recorder::new();
    let crash = ChildSpec::actor(&child, |_| panic!("always"));
    let spec = SupervisorSpec::new("root", Strategy::OneForOne)
        .intensity(OFTEN)
        .child(crash);
    let root = spec.start(recorder.runtime()).expect("valid");
    sleep(Duration::from_secs(300)).await;
    let in_the_first_minute = recorder
        .starts("child")
        .iter()
        .filter(|at| **at < 60.0)
        .count();
    assert!(
        (9..=15).contains(&in_the_first_minute),
        "{in_the_first_minute}"
    );
    let mut expected: f64 = 0.1;
    let delays = recorder.delays("child");
    for delay in &delays {
        assert!(
            (0.8..=1.2).contains(&(delay / expected)),
            "{delay} is not about {expected}"
        );
        expected = (expected * 2.0).min(30.0);
    }
    assert!(delays.len() >= 15, "{delays:?}");
    let exact = delays
        .iter()
        .filter(|delay| ((**delay * 10.0) % 1.0).abs() < 1e-9);
    assert_eq!(exact.count(), 0, "every delay has jitter");
    // What was scheduled is what happened.
    let starts = recorder.starts("child");
    for (pair, delay) in starts.windows(2).zip(&delays) {
        assert!((pair[1] - pair[0] - delay).abs() < 0.01);
    }
    root.shutdown().await;
}

pub async fn a_healthy_minute_forgets_failures() {
    let child = slot("child");
    let recorder = Recorder::new();
    let spec = SupervisorSpec::new("root", Strategy::OneForOne)
        .intensity(OFTEN)
        .child(probe(&child));
    start(spec, &recorder).await;
    for _ in 0..5 {
        child.wait().await;
        tell(&child, Tell::Panic).await;
        settle().await;
    }
    child.wait().await;
    sleep(Duration::from_secs(59)).await;
    tell(&child, Tell::Panic).await;
    child.wait().await;
    sleep(Duration::from_secs(61)).await;
    tell(&child, Tell::Panic).await;
    child.wait().await;
    let delays = recorder.delays("child");
    assert!(
        (2.5..=3.9).contains(&delays[5]),
        "59 s are not enough: {delays:?}"
    );
    assert!((0.08..=0.12).contains(&delays[6]), "61 s are: {delays:?}");
}

pub async fn a_start_that_is_never_ready_is_killed_and_counted() {
    let child = slot("child");
    let recorder = Recorder::new();
    let spec =
        SupervisorSpec::new("root", Strategy::OneForOne).child(probe(&child).reports_ready());
    let root = spec.start(recorder.runtime()).expect("valid");
    sleep(Duration::from_millis(9_900)).await;
    assert!(!root.is_ready());
    assert_eq!(recorder.who("exited"), [""; 0]);
    assert!(child.get().is_none(), "nobody finds who is not ready");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(recorder.who("exited"), ["child"]);
    let snapshot = root.snapshot();
    let child = snapshot.child("child").expect("known");
    assert_eq!(
        child.last_exit.as_deref(),
        Some("killed: not ready in time")
    );
    assert_eq!(child.restarts, 1);
    assert_eq!(child.generation, 2, "the next attempt is under way");
    // With 10 s an attempt, the window never holds six.
    sleep(Duration::from_secs(120)).await;
    assert_eq!(recorder.who("exhausted"), [""; 0]);
}

pub async fn a_failed_start_of_any_kind_is_retried_and_counted() {
    for how in ["factory", "started", "fails"] {
        struct Unlucky(&'static str, weir_actors::supervisor::ChildContext);
        impl actix::Actor for Unlucky {
            type Context = actix::Context<Self>;
            fn started(&mut self, actix: &mut Self::Context) {
                use actix::ActorContext as _;
                match (self.0, self.1.generation()) {
                    ("started", 1 | 2) => panic!("unlucky"),
                    ("fails", 1 | 2) => {
                        self.1.fail("unlucky");
                        actix.stop();
                    }
                    _ => {}
                }
            }
        }
        let child: Slot<Unlucky> = Slot::new("child");
        let recorder = Recorder::new();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne).child(ChildSpec::actor(
            &child,
            move |context| {
                assert!(how != "factory" || context.generation() > 2, "unlucky");
                Unlucky(how, context)
            },
        ));
        let root = start(spec, &recorder).await;
        child.wait_for(3).await;
        assert_eq!(
            root.snapshot().child("child").map(|child| child.restarts),
            Some(2),
            "{how}"
        );
        assert_eq!(recorder.delays("child").len(), 2, "{how}");
    }
}

pub async fn the_next_child_starts_when_the_one_before_is_ready() {
    let [first, second, _] = three();
    let recorder = Recorder::new();
    let spec = SupervisorSpec::new("root", Strategy::OneForOne)
        .child(
            ChildSpec::task("first", {
                let first = first.clone();
                move |context| {
                    let _ = &first;
                    async move {
                        sleep(Duration::from_secs(3)).await;
                        context.ready();
                        context.stopping().await;
                        Ok::<(), String>(())
                    }
                }
            })
            .reports_ready(),
        )
        .child(probe(&second));
    start(spec, &recorder).await;
    assert!(recorder.starts("b")[0] >= 3.0);
}

pub async fn significant_children_end_the_group() {
    let cases = [
        (AutoShutdown::AnySignificant, 1),
        (AutoShutdown::AllSignificant, 2),
    ];
    for (auto_shutdown, needed) in cases {
        let slots = three();
        let spec = SupervisorSpec::new("root", Strategy::OneForOne)
            .auto_shutdown(auto_shutdown)
            .child(probe(&slots[0]).restart(Restart::Transient).significant())
            .child(probe(&slots[1]).restart(Restart::Temporary).significant())
            .child(probe(&slots[2]).restart(Restart::Transient));
        let recorder = Recorder::new();
        let root = start(spec, &recorder).await;
        tell(&slots[2], Tell::Stop).await;
        settle().await;
        assert_eq!(
            recorder.who("auto_shutdown"),
            [""; 0],
            "it is not significant"
        );
        tell(&slots[0], Tell::Panic).await;
        slots[0].wait_for(2).await;
        assert_eq!(
            recorder.who("auto_shutdown"),
            [""; 0],
            "it is restarted, so it has not ended"
        );

        tell(&slots[1], Tell::Panic).await;
        settle().await;
        assert_eq!(
            recorder.who("auto_shutdown").len(),
            usize::from(needed == 1)
        );
        if needed == 2 {
            tell(&slots[0], Tell::Stop).await;
        }
        let last = if needed == 2 { "a" } else { "b" };
        assert_eq!(root.wait().await, Ended::AutoShutdown(last.into()));
        assert!(slots.iter().all(|slot| slot.get().is_none()));
    }
}

pub async fn terminating_a_significant_child_does_not_end_the_group() {
    let [child, other, _] = three();
    let spec = SupervisorSpec::new("root", Strategy::OneForOne)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(probe(&child).restart(Restart::Transient).significant())
        .child(probe(&other));
    let root = start(spec, &Recorder::new()).await;
    root.terminate_child("a").await.expect("known");
    settle().await;
    assert!(child.get().is_none());
    assert_eq!(ask(&other).await.0, 1);
}

pub async fn contradictions_are_refused_before_anything_starts() {
    let child = || probe(&slot("child"));
    let spec = || SupervisorSpec::new("root", Strategy::OneForAll);
    let significant = spec()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(child().significant());
    assert_eq!(
        significant.validate(),
        Err(SpecError::SignificantPermanent("child".into()))
    );
    let for_nothing = spec().child(child().restart(Restart::Transient).significant());
    assert_eq!(
        for_nothing.validate(),
        Err(SpecError::SignificantForNothing("child".into()))
    );
    let twice = spec().child(child()).child(child());
    assert_eq!(twice.validate(), Err(SpecError::Duplicate("child".into())));
    let quarantine = spec().child(child().quarantined(Intensity::DEFAULT));
    assert_eq!(
        quarantine.validate(),
        Err(SpecError::QuarantineOfMany("child".into()))
    );
    let below = SupervisorSpec::new("root", Strategy::OneForOne).child(ChildSpec::supervisor(
        SupervisorSpec::new("below", Strategy::OneForOne).child(child().significant()),
    ));
    assert_eq!(
        below.validate(),
        Err(SpecError::SignificantPermanent("child".into()))
    );
}
