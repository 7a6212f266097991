//! The process behind a stdio server: how it is described, kept and looked at.

use std::ffi::OsString;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use weir_plugin_protocol::Secret;
use weir_plugin_protocol::mcp::Era;

use super::config::StdioConfig;
use super::stdio::{ProcessState, StdioActor, StdioLink, StdioSpec};
use super::view::ServerName;
use crate::sandbox::Sandbox;
use crate::supervisor::{
    Backoff, ChildSpec, ChildState, Intensity, Shutdown, Slot, SupervisorHandle,
};

/// How long a process has to be there after it was asked for.
pub(super) const SPAWN: Duration = Duration::from_secs(5);
/// How long a process may take until its handshake is done. The most patient probe waits for 45 s.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(60);
/// How often the supervisor is asked about a process that is not there.
const LOOK: Duration = Duration::from_millis(20);
/// How long the supervisor may take to learn of an end that the link has told.
const LEARN: Duration = Duration::from_millis(400);

/// The child that keeps the process of one era.
pub(super) fn child(era: Era, link: &StdioLink) -> ChildSpec {
    let slot = Slot::new(process_name(era));
    let link = link.clone();
    let grace = link.spec().stop_grace + Duration::from_secs(1);
    ChildSpec::actor(&slot, move |context| StdioActor::new(link.clone(), context))
        .shutdown(Shutdown::Within(grace))
        // A process is ready when its handshake is done. One that was is back at once, however often it dies; one that
        // dies before is held back by the growing delay long before it is counted out.
        .reports_ready()
        .start_timeout(HANDSHAKE)
        .backoff(Backoff {
            reset_after: Duration::ZERO,
            ..Backoff::default()
        })
        .quarantined(Intensity {
            restarts: 100,
            period: Duration::from_secs(60),
        })
}

/// What to run.
pub(super) fn spec(server: &ServerName, config: &StdioConfig) -> StdioSpec {
    let mut spec = StdioSpec::new(server.as_str(), config.command.as_str());
    spec.args = config.args.iter().map(OsString::from).collect();
    let env = config.env.iter();
    spec.env = env
        .map(|(name, value)| (name.into(), Secret::expose(value).into()))
        .collect();
    spec.cwd.clone_from(&config.cwd);
    spec.sandbox = Sandbox::server((*config.sandbox).clone());
    spec
}

/// Why the process is not there. Its supervisor learns that a little later than its link.
pub(super) async fn last_words(group: &SupervisorHandle, era: Era, word: &str) -> String {
    match exit_within(group, era, LEARN).await {
        Some(exit) => format!("its {word} {exit}"),
        None => format!("its {word} is not there"),
    }
}

/// Waits until a start was tried in vain, and returns why.
pub(super) async fn failed_to_start(group: &SupervisorHandle, era: Era, word: &str) -> String {
    match exit_within(group, era, SPAWN).await {
        Some(exit) => format!("its {word} {exit}"),
        None => format!("its {word} was not there within {} ms", SPAWN.as_millis()),
    }
}

/// How the last process ended, if there is none now.
async fn exit_within(group: &SupervisorHandle, era: Era, time: Duration) -> Option<String> {
    for _ in 0..time.as_millis() / LOOK.as_millis() {
        let tree = group.snapshot();
        let process = tree.child(process_name(era));
        let gone = process.filter(|process| process.state != ChildState::Running);
        if let Some(exit) = gone.and_then(|process| process.last_exit.clone()) {
            return Some(exit);
        }
        sleep(LOOK).await;
    }
    None
}

/// Waits for a run of the process later than `after`.
pub(super) async fn next_run(state: &mut watch::Receiver<ProcessState>, after: u64) -> u64 {
    let later = state
        .wait_for(|state| running(*state).is_some_and(|generation| generation > after))
        .await;
    match later.ok().and_then(|state| running(*state)) {
        Some(generation) => generation,
        // The link is held by the caller, so its state cannot end.
        None => std::future::pending().await,
    }
}

/// The number of the run under way.
pub(super) fn running(state: ProcessState) -> Option<u64> {
    match state {
        ProcessState::Running { generation, .. } => Some(generation),
        ProcessState::Stopped => None,
    }
}

/// The name of an era's process among its server's children.
pub(super) fn process_name(era: Era) -> &'static str {
    match era {
        Era::Modern => "modern",
        Era::Legacy => "legacy",
    }
}
