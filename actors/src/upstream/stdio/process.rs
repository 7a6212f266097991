//! One run of the process, from its start until nothing of it is left.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::link::Shared;
use super::running::{Outbox, Running};
use super::{StdioSpec, stderr, stdin, stdout};
use crate::process::{NotStarted, Program, Started};

/// How long the last words of a dead process are read: they are in the pipe already.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// How long a process that closed a pipe has to end by itself: it mostly is doing so.
const EXIT_AFTER_PIPE: Duration = Duration::from_millis(100);

/// The grace of a process that closed a pipe and lives on: it is of no use, and its restart waits.
const BROKEN_GRACE: Duration = Duration::from_secs(1);

/// Why a process is no longer there though nobody asked.
#[derive(Debug, Error)]
pub(super) enum ProcessEnd {
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    #[error("exited with {0}")]
    Exited(ExitStatus),
    #[error("closed its {0}")]
    Closed(&'static str),
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
    let Started {
        stdin,
        stdout,
        stderr,
        mut group,
    } = program(spec).start().await?;
    let (published, outbox) = Published::new(&shared, group.pid());
    let server = &*spec.server;
    let generation = published.running.generation;
    info!(
        server,
        generation,
        pid = published.running.pid,
        "server started"
    );

    let (close_stdin, closing) = oneshot::channel();
    let pipes = (stdin, stdout, stderr);
    let mut tasks = Tasks::start(pipes, &published, outbox, closing);

    let end = tokio::select! {
        biased;
        _ = stop => None,
        status = group.wait() => Some(status.map_or(ProcessEnd::Closed("process handle"), ProcessEnd::Exited)),
        _ = &mut tasks.reader.0 => Some(ProcessEnd::Closed("standard output")),
        _ = &mut tasks.writer.0 => Some(ProcessEnd::Closed("standard input")),
    };
    published.withdraw();
    let Some(end) = end else {
        let _ = close_stdin.send(());
        group.stop_after_input(spec.stop_grace).await;
        let _ = timeout(LAST_WORDS, &mut tasks.reader.0).await;
        info!(server, generation, "server stopped");
        return Ok(());
    };
    if !tasks.reader.0.is_finished() {
        let _ = timeout(LAST_WORDS, &mut tasks.reader.0).await;
    }
    published.close();
    let _ = close_stdin.send(());
    let end = match timeout(EXIT_AFTER_PIPE, group.wait()).await {
        Ok(Ok(status)) => ProcessEnd::Exited(status),
        _ => end,
    };
    match end {
        ProcessEnd::Exited(_) => group.end(),
        _ => {
            let grace = BROKEN_GRACE.min(spec.stop_grace);
            group.stop_after_input(grace).await;
        }
    }

    warn!(server, generation, %end, "server died");
    Err(end)
}

fn program(spec: &StdioSpec) -> Program {
    Program {
        name: Arc::clone(&spec.server),
        exec: spec.command.clone(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        workdir: spec.cwd.clone(),
        sandbox: spec.sandbox.clone(),
    }
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
        (stdin, stdout, stderr): (ChildStdin, ChildStdout, ChildStderr),
        published: &Published,
        outbox: Outbox,
        closing: oneshot::Receiver<()>,
    ) -> Self {
        let shared = &published.shared;
        let running = Arc::clone(&published.running);
        Self {
            writer: Task::spawn(stdin::write(stdin, outbox, closing)),
            reader: Task::spawn(stdout::read(stdout, Arc::clone(shared), running)),
            _drain: Task::spawn(stderr::drain(stderr, Arc::clone(shared))),
        }
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
