//! The same stories on a simulated machine, whose clock turmoil moves; and a simulated network on which the same seed
//! must give the same trace.

#![allow(clippy::expect_used, reason = "a test")]

#[path = "support/life.rs"]
mod life;
#[path = "support/restarts.rs"]
mod restarts;
#[path = "support/supervised.rs"]
mod supervised;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use supervised::{Probe, Recorder, Tell, probe, simulated, slot, tell};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use weir_actors::supervisor::{ChildSpec, Runtime, Slot, Strategy, SupervisorSpec};

/// Makes a test of each of these stories.
macro_rules! scenarios {
    ($room:ident, $run:path: $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $run($room::$name());
        })*
    };
}

scenarios!(restarts, simulated: one_for_one_restarts_only_the_one, one_for_all_restarts_all, rest_for_one_restarts_those_after_it, shutdown_stops_in_reverse_order, restart_types_mean_what_they_mean_in_otp, a_sibling_takes_temporary_children_with_it_for_good, the_sixth_restart_in_the_period_is_one_too_many, the_window_slides, intensity_counts_the_whole_group, delays_double_up_to_the_cap, a_healthy_minute_forgets_failures, a_start_that_is_never_ready_is_killed_and_counted, a_failed_start_of_any_kind_is_retried_and_counted, the_next_child_starts_when_the_one_before_is_ready, significant_children_end_the_group, terminating_a_significant_child_does_not_end_the_group, contradictions_are_refused_before_anything_starts);

scenarios!(life, simulated: an_actor_that_takes_no_messages_is_killed_after_one_to_two_heartbeats, what_looks_slow_but_is_not_stuck_is_left_alone, protection_ends_with_its_guard, who_opts_out_is_never_asked, no_panic_gets_away, messages_behind_a_panic_are_answered_not_lost, asked_to_stop_a_child_finishes_what_it_has, a_child_that_does_not_stop_is_killed, tasks_are_kept_like_actors, a_first_delay_of_nothing_restarts_in_the_same_breath, an_exhausted_child_is_set_aside_and_tried_at_intervals, a_manual_restart_ends_quarantine_at_once, a_crash_loop_among_two_hundred_disturbs_nobody, children_come_and_go, what_contradicts_itself_is_not_added, a_child_in_a_bad_way_can_be_deleted, an_exhausted_supervisor_is_restarted_by_its_own, a_transient_supervisor_that_gives_up_is_not_restarted, a_tree_is_stopped_from_its_leaves, a_root_can_be_stopped_while_it_starts, the_tree_can_be_read, the_operator_has_the_last_word);

/// A gateway supervises ten probes; a machine elsewhere tells it over the network whom to hurt, and how. Returns what
/// the supervisor did, with times.
fn storm(seed: u64) -> Vec<String> {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let mut simulation = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(Duration::from_millis(10))
        .rng_seed(seed)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(200))
        .build();
    let kept = Arc::clone(&trace);
    simulation.host("gateway", move || gateway(Arc::clone(&kept), seed));
    simulation.client("storm", async move {
        let mut stream = turmoil::net::TcpStream::connect(("gateway", 9)).await?;
        let mut state = seed;
        for _ in 0..60 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            stream.write_u8(u8::try_from(state >> 56)?).await?;
            sleep(Duration::from_millis(state >> 32 & 0x3ff)).await;
        }
        // Until the network has delivered all of it and the children have come to rest.
        sleep(Duration::from_secs(120)).await;
        Ok(())
    });
    simulation.run().expect("done within an hour");
    let trace = trace.lock().expect("no panic");
    trace.clone()
}

async fn gateway(kept: Arc<Mutex<Vec<String>>>, seed: u64) -> turmoil::Result {
    let slots: Vec<_> = (0..10)
        .map(|number| slot(&format!("probe-{number}")))
        .collect();
    let recorder = Recorder::new();
    let quarantining = SupervisorSpec::dynamic("root").quarantining();
    let spec = slots
        .iter()
        .fold(quarantining, |spec, slot| spec.child(probe(slot)));
    let runtime = Runtime {
        seed,
        ..recorder.runtime()
    };
    let root = spec.start(runtime)?;
    root.ready().await;
    let listener = turmoil::net::TcpListener::bind(("0.0.0.0", 9)).await?;
    let (mut stream, _) = listener.accept().await?;
    while let Ok(byte) = stream.read_u8().await {
        let hurt = match byte % 4 {
            0 => Tell::Panic,
            1 => Tell::Fail,
            2 => Tell::PanicLater(Duration::from_millis(150)),
            _ => Tell::Wait(Duration::from_secs(60)),
        };
        if let Some(slot) = slots.get(usize::from(byte / 4 % 10)) {
            tell(slot, hurt).await;
        }
        *kept.lock().expect("no panic") = recorder.trace();
    }
    sleep(Duration::from_secs(60)).await;
    *kept.lock().expect("no panic") = recorder.trace();
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = storm(11);
    assert!(trace.len() > 100, "{}", trace.len());
    assert!(
        trace.iter().any(|line| line.contains("Killed(Heartbeat)")),
        "{trace:#?}"
    );
    assert_eq!(trace, storm(11));
    assert_ne!(trace, storm(12));
}

#[test]
fn a_machine_that_loses_power_takes_its_tree_and_brings_it_back() {
    let lives: Arc<Mutex<Vec<Slot<Probe>>>> = Arc::default();
    let mut simulation = turmoil::Builder::new().build();
    let kept = Arc::clone(&lives);
    simulation.host("gateway", move || {
        let kept = Arc::clone(&kept);
        async move {
            let (probe_slot, below_slot) = (slot("probe"), slot("below"));
            kept.lock()
                .expect("no panic")
                .extend([probe_slot.clone(), below_slot.clone()]);
            let below = SupervisorSpec::new("group", Strategy::OneForAll).child(probe(&below_slot));
            let spec = SupervisorSpec::new("root", Strategy::OneForOne)
                .child(probe(&probe_slot))
                .child(ChildSpec::supervisor(below));
            spec.start(Runtime::silent(1))?.wait().await;
            Ok(())
        }
    });
    let generations = || {
        let lives = lives.lock().expect("no panic");
        lives.iter().map(Slot::generation).collect::<Vec<_>>()
    };
    for _ in 0..100 {
        simulation.step().expect("no failure");
    }
    assert_eq!(generations(), [1, 1]);
    simulation.crash("gateway");
    assert_eq!(generations(), [0, 0], "nobody finds the dead");
    simulation.bounce("gateway");
    for _ in 0..100 {
        simulation.step().expect("no failure");
    }
    assert_eq!(generations(), [0, 0, 1, 1]);
}
