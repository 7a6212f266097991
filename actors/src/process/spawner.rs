//! The thread that starts all children.
//!
//! Linux sends a child the signal of its parent's death when the *thread* that started it ends
//! ([PR_SET_PDEATHSIG](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)). Workers of the gateway come
//! and go; this thread never ends.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::program::Program;
use crate::sandbox::{self, Confinement, Probe, Registration};

/// How many starts may wait for the thread; one takes a few milliseconds. Others wait for their turn.
const QUEUE: usize = 64;

/// A child to be started, and who wants it.
struct Start {
    program: Program,
    probe: Probe,
    /// Where its pipes and its end are watched.
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Spawned>>,
}

/// A child, and what is in force for it.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) registration: Option<Registration>,
    pub(super) confinement: Confinement,
    pub(super) name: Arc<str>,
    pub(super) plugin: bool,
}

/// Starts a child from the thread that never ends.
pub(super) async fn spawn(program: Program, probe: Probe) -> io::Result<Spawned> {
    let (reply, child) = oneshot::channel();
    let start = Start {
        program,
        probe,
        runtime: Handle::current(),
        reply,
    };
    let gone = || io::Error::other("the thread that starts processes is gone");
    thread()?.send(start).await.map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

fn thread() -> io::Result<&'static mpsc::Sender<Start>> {
    static THREAD: OnceLock<mpsc::Sender<Start>> = OnceLock::new();
    if let Some(starts) = THREAD.get() {
        return Ok(starts);
    }
    // Of two threads started at once one finds its queue closed, and ends before it has started anything.
    let (starts, queue) = mpsc::channel(QUEUE);
    thread::Builder::new()
        .name("weir-spawner".to_owned())
        .spawn(move || serve(queue))?;
    Ok(THREAD.get_or_init(|| starts))
}

/// Ends with the process: its queue is never closed.
fn serve(mut queue: mpsc::Receiver<Start>) {
    while let Some(start) = queue.blocking_recv() {
        let spawned = {
            let _runtime = start.runtime.enter();
            fork(&start.program, start.probe)
        };
        // Nobody waits any more: the child is killed as it is dropped.
        let _ = start.reply.send(spawned);
    }
}

fn fork(program: &Program, probe: Probe) -> io::Result<Spawned> {
    let (entry, confinement) = sandbox::prepare(program, probe).map_err(io::Error::other)?;
    let registration = Registration::new();
    let mut command = program.command();
    entry.install(
        &mut command,
        registration.as_ref().map(Registration::notice),
    );
    let child = command.spawn().map_err(|error| match confinement.user {
        Some(user) => io::Error::new(error.kind(), format!("{error} (as account {user})")),
        None => error,
    })?;
    Ok(Spawned {
        child,
        registration,
        confinement,
        name: Arc::clone(&program.name),
        plugin: program.sandbox.is_plugin(),
    })
}
