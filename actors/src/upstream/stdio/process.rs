//! One run of the process, from its start until nothing of it is left.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid,
};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::link::Shared;
use super::running::{Outbox, Running};
use super::{StdioSpec, stderr, stdin, stdout};

/// What a server inherits of our environment; everything else must be configured.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// How long the last words of a dead process are read: they are in the pipe already.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// How long a process that closed a pipe has to end by itself: it mostly is doing so.
const EXIT_AFTER_PIPE: Duration = Duration::from_millis(100);

/// The grace of a process that closed a pipe and lives on: it is of no use, and its restart waits.
const BROKEN_GRACE: Duration = Duration::from_secs(1);

/// How often a group whose leader is gone is looked at.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// Why a process is no longer there though nobody asked.
#[derive(Debug, Error)]
pub(super) enum ProcessEnd {
    #[error("cannot start {command}: {error}")]
    NotStarted { command: String, error: io::Error },
    #[error("exited with {0}")]
    Exited(ExitStatus),
    #[error("closed its {0}")]
    Closed(&'static str),
}

/// The process group: killed as a whole when this is dropped.
struct Group {
    leader: Pid,
    ended: bool,
}

/// Makes the start known, and unknown again however its run ends.
pub(super) struct Published {
    shared: Arc<Shared>,
    pub(super) running: Arc<Running>,
}

/// A task that ends with its owner.
struct Task<T>(JoinHandle<T>);

/// Runs the process until it ends or `stop` says so, then sees to it that its whole group is gone and its leader
/// reaped. `Ok` if it was asked to stop. Dropped in between, it kills the group.
pub(super) async fn run(
    shared: Arc<Shared>,
    stop: oneshot::Receiver<()>,
) -> Result<(), ProcessEnd> {
    let spec = &shared.spec;
    let (mut child, mut group) = spawn(spec)?;
    let (published, outbox) = Published::new(&shared, pid_of(group.leader));
    let server = &*spec.server;
    let generation = published.running.generation;
    info!(
        server,
        generation,
        pid = published.running.pid,
        "server started"
    );

    let (close_stdin, closing) = oneshot::channel();
    let mut tasks = Tasks::start(&mut child, &published, outbox, closing)?;

    let end = tokio::select! {
        biased;
        _ = stop => None,
        status = child.wait() => Some(status.map_or(ProcessEnd::Closed("process handle"), ProcessEnd::Exited)),
        _ = &mut tasks.reader.0 => Some(ProcessEnd::Closed("standard output")),
        _ = &mut tasks.writer.0 => Some(ProcessEnd::Closed("standard input")),
    };
    published.withdraw();
    let Some(end) = end else {
        let _ = close_stdin.send(());
        group.stop(&mut child, spec.stop_grace).await;
        let _ = timeout(LAST_WORDS, &mut tasks.reader.0).await;
        info!(server, generation, "server stopped");
        return Ok(());
    };
    if !tasks.reader.0.is_finished() {
        let _ = timeout(LAST_WORDS, &mut tasks.reader.0).await;
    }
    published.close();
    let _ = close_stdin.send(());
    let end = match timeout(EXIT_AFTER_PIPE, child.wait()).await {
        Ok(Ok(status)) => ProcessEnd::Exited(status),
        _ => end,
    };
    match end {
        ProcessEnd::Exited(_) => group.end(),
        _ => {
            group
                .stop(&mut child, BROKEN_GRACE.min(spec.stop_grace))
                .await
        }
    }
    warn!(server, generation, %end, "server died");
    Err(end)
}

fn pid_of(leader: Pid) -> u32 {
    leader.as_raw_nonzero().get().unsigned_abs()
}

fn spawn(spec: &StdioSpec) -> Result<(Child, Group), ProcessEnd> {
    let mut command = Command::new(&spec.command);
    command.args(&spec.args).env_clear();
    for name in INHERITED {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = &spec.cwd {
        command.current_dir(directory);
    }
    let not_started = |error| ProcessEnd::NotStarted {
        command: spec.command.to_string_lossy().into_owned(),
        error,
    };
    let child = command.spawn().map_err(not_started)?;
    let leader = child
        .id()
        .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    let leader = leader.ok_or_else(|| not_started(io::Error::other("it has no process id")))?;
    Ok((
        child,
        Group {
            leader,
            ended: false,
        },
    ))
}

// === impl Tasks ===

/// The three tasks that serve the pipes.
struct Tasks {
    writer: Task<io::Result<()>>,
    reader: Task<io::Result<()>>,
    _drain: Task<io::Result<()>>,
}

impl Tasks {
    fn start(
        child: &mut Child,
        published: &Published,
        outbox: Outbox,
        closing: oneshot::Receiver<()>,
    ) -> Result<Self, ProcessEnd> {
        let missing = ProcessEnd::Closed;
        let stdin = child.stdin.take().ok_or(missing("standard input"))?;
        let stdout = child.stdout.take().ok_or(missing("standard output"))?;
        let stderr = child.stderr.take().ok_or(missing("standard error"))?;
        let shared = &published.shared;
        let running = Arc::clone(&published.running);
        Ok(Self {
            writer: Task::spawn(stdin::write(stdin, outbox, closing)),
            reader: Task::spawn(stdout::read(stdout, Arc::clone(shared), running)),
            _drain: Task::spawn(stderr::drain(stderr, Arc::clone(shared))),
        })
    }
}

// === impl Task ===

impl<T: 'static> Task<T> {
    fn spawn(future: impl Future<Output = T> + 'static) -> Self {
        Self(tokio::task::spawn_local(future))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Published ===

impl Published {
    pub(super) fn new(shared: &Arc<Shared>, pid: u32) -> (Self, Outbox) {
        let (running, outbox) = shared.publish(pid);
        let shared = Arc::clone(shared);
        (Self { shared, running }, outbox)
    }

    /// No new calls from here on.
    fn withdraw(&self) {
        self.shared.withdraw(&self.running);
    }

    /// No more answers from here on.
    fn close(&self) {
        self.running.pending.close();
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.withdraw();
        self.close();
    }
}

// === impl Group ===

impl Group {
    /// Stops the process as MCP wants it: its input is closed already; wait, ask, and at the end of `grace` kill.
    /// Returns when the leader is reaped and nobody of the group is left.
    async fn stop(&mut self, child: &mut Child, grace: Duration) {
        let deadline = Instant::now() + grace;
        let patience = grace * 2 / 5;
        if timeout(patience, child.wait()).await.is_err() {
            debug!(
                pid = self.leader.as_raw_nonzero(),
                "server did not end with its input: SIGTERM"
            );
            self.signal(Signal::TERM);
            if timeout_at(deadline, child.wait()).await.is_err() {
                warn!(
                    pid = self.leader.as_raw_nonzero(),
                    "server ignored SIGTERM: SIGKILL"
                );
                self.kill();
                let _ = child.wait().await;
            }
        }
        if self.is_alive() {
            self.signal(Signal::TERM);
        }
        while self.is_alive() && Instant::now() < deadline {
            sleep(GROUP_POLL).await;
        }
        self.end();
    }

    /// Kills who is left. The leader must have been waited for: its number may be given to others from here on.
    fn end(&mut self) {
        self.kill();
        self.reap_orphans();
        self.ended = true;
    }

    /// Whether somebody of the group is left.
    fn is_alive(&mut self) -> bool {
        self.reap_orphans();
        test_kill_process_group(self.leader).is_ok()
    }

    fn signal(&self, signal: Signal) {
        // An error means that the group is gone, which is what we want.
        let _ = kill_process_group(self.leader, signal);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Grandchildren whose parent died are ours to reap if we are the first process of a container.
    fn reap_orphans(&self) {
        while let Ok(Some(_)) = waitpgid(self.leader, WaitOptions::NOHANG) {}
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}
