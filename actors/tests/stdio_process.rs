//! A stdio server under supervision: what happens to its process, seen from outside. One test, because it counts the
//! file descriptors of its own process.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use weir_actors::supervisor::{
    Backoff, Ended, Intensity, Runtime, Silent, SupervisorHandle, SupervisorSpec,
};
use weir_actors::upstream::stdio::{
    LinkError, ProcessState, StdioActor, StdioCall, StdioLink, StdioSpec,
};

const GRACE: Duration = Duration::from_secs(1);

/// Ignores SIGTERM and the end of its input, and has a child that does the same.
const STUBBORN: &str =
    "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & while :; do wait; done";

fn supervise(script: &str) -> (StdioLink, SupervisorHandle) {
    let mut spec = StdioSpec::new("tools", "sh");
    spec.args = vec!["-c".into(), script.into()];
    spec.stop_grace = GRACE;
    let (sender, _) = mpsc::channel(8);
    let link = StdioLink::new(spec, sender);
    let backoff = Backoff {
        first: Duration::from_millis(10),
        min: Duration::from_millis(10),
        cap: Duration::from_millis(50),
        ..Backoff::default()
    };
    let often = Intensity {
        restarts: 1000,
        period: Duration::from_secs(1),
    };
    let supervisor = SupervisorSpec::dynamic("upstreams")
        .intensity(often)
        .child(StdioActor::child(&link).backoff(backoff))
        .start(Runtime {
            observer: Arc::new(Silent),
            seed: 1,
        })
        .unwrap();
    (link, supervisor)
}

/// Waits for a start after `generation` and opens its gate.
async fn started_after(link: &StdioLink, generation: u64) -> (u64, u32) {
    let mut state = link.state();
    let newer = |state: &ProcessState| matches!(state, ProcessState::Running { generation: new, .. } if *new > generation);
    let running = *timeout(Duration::from_secs(5), state.wait_for(newer))
        .await
        .unwrap()
        .unwrap();
    let ProcessState::Running { generation, pid } = running else {
        unreachable!();
    };
    link.open_gate(generation);
    (generation, pid)
}

async fn call(link: &StdioLink) -> Result<StdioCall, LinkError> {
    let id = link.next_id();
    let frame = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"x"}}"#, id.json());
    link.call(id, frame.into(), None).await
}

fn kill_9(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The processes with this process group, zombies of other parents left out.
fn group(leader: u32) -> Vec<String> {
    let ours = std::process::id().to_string();
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let (state, parent, process_group) = (fields[0], fields[1], fields[2]);
        if process_group == leader.to_string() && (state != "Z" || parent == ours) {
            members.push(stat);
        }
    }
    members
}

async fn nobody_left_of(leader: u32) {
    for _ in 0..100 {
        if group(leader).is_empty() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("left: {:?}", group(leader));
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Twenty deaths with fifty calls in flight.
async fn crashes() {
    let (link, supervisor) = supervise("while read -r line; do :; done");
    let (mut generation, mut pid) = started_after(&link, 0).await;
    for _ in 0..20 {
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(call(&link).await.unwrap());
        }
        kill_9(pid);
        let killed = Instant::now();
        for call in &mut calls {
            let outcome = call.next().await.unwrap();
            assert!(
                matches!(outcome, Err(LinkError::Died { .. })),
                "{outcome:?}"
            );
        }
        let took = killed.elapsed();
        assert!(took < Duration::from_millis(50), "{took:?}");
        let dead = pid;
        (generation, pid) = started_after(&link, generation).await;
        assert!(killed.elapsed() < Duration::from_secs(1));
        nobody_left_of(dead).await;
    }
    assert_eq!(link.in_flight(), 0);
    assert_eq!(supervisor.shutdown().await, Ended::Stopped);
    assert_eq!(call(&link).await.err(), Some(LinkError::NotRunning));
    nobody_left_of(pid).await;
}

/// A stop that the process and its child ignore.
async fn stubborn() {
    let (link, supervisor) = supervise(STUBBORN);
    let (_, pid) = started_after(&link, 0).await;
    while group(pid).len() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(50)).await;
    let asked = Instant::now();
    assert_eq!(supervisor.shutdown().await, Ended::Stopped);
    let took = asked.elapsed();
    assert!(
        took >= GRACE && took < GRACE + Duration::from_millis(500),
        "{took:?}"
    );
    nobody_left_of(pid).await;
}

#[test]
fn nothing_is_left_of_a_server() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut open = Vec::new();
        for _ in 0..2 {
            crashes().await;
            stubborn().await;
            sleep(Duration::from_millis(50)).await;
            open.push(descriptors());
        }
        assert_eq!(open[0], open[1]);
    });
}
