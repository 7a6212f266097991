//! The thread that starts all children.
//!
//! Linux sends a child the signal of its parent's death when the *thread* that started it ends
//! ([PR_SET_PDEATHSIG](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)). Workers of the gateway come
//! and go; this thread never ends.

use std::io;
use std::sync::OnceLock;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// How many starts may wait for the thread; one takes a few milliseconds. Others wait for their turn.
const QUEUE: usize = 64;

/// A child to be started, and who wants it.
struct Start {
    command: Command,
    /// Where its pipes and its end are watched.
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts a child from the thread that never ends.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, child) = oneshot::channel();
    let start = Start {
        command,
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
    while let Some(mut start) = queue.blocking_recv() {
        let child = {
            let _runtime = start.runtime.enter();
            start.command.spawn()
        };
        // Nobody waits any more: the child is killed as it is dropped.
        let _ = start.reply.send(child);
    }
}
