//! Where lines go for good: the one owner of a file or pipe.
//!
//! [`target`] says which one, [`line_file`] keeps a file of lines whole, [`rotation`] gives full files a number, and
//! [`folder`] sees to it that a file is nobody else's.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use self::line_file::LineFile;

pub use self::folder::Folder;
pub use self::rotation::Rotation;
pub use self::target::{AuditTarget, FileTarget};

mod folder;
mod line_file;
mod rotation;
mod target;
#[cfg(test)]
mod tests;

/// How long the thread waits for a pipe that was made non-blocking by somebody else.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);

/// A place for lines. It does one thing at a time and outlives whoever waits for it, so that a writer that is
/// cancelled or restarted can find out how its last write ended.
pub trait LineStore: Send + 'static {
    /// Begins a job. Only called when the outcome of the job before was taken.
    fn submit(&mut self, job: Job);

    /// Waits for the job to end. Dropping the future loses nothing: the next call waits for the same job.
    fn outcome(&mut self) -> BoxFuture<'_, Outcome>;
}

/// What a store can be told to do.
#[derive(Clone, Debug)]
pub enum Job {
    /// Append whole lines.
    Append(Bytes),
    /// Open the file again under its name: it was moved away. Nothing to do for pipes.
    Reopen,
}

/// How a job ended.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes that were appended, also if the rest failed.
    pub written: usize,
    /// Whether all of it was done.
    pub result: io::Result<()>,
    /// How the rotation before it went, if one was due. Lines are not lost by one that failed.
    pub rotation: Option<io::Result<()>>,
}

/// The real thing: a thread of its own does the blocking writes, so that a full pipe or a hanging disk holds up
/// nobody else. The thread is not waited for when the process ends.
pub struct DiskLines {
    jobs: blocking::SyncSender<Job>,
    outcomes: mpsc::Receiver<Outcome>,
}

/// What the thread writes to.
enum Sink {
    /// A pipe or a terminal.
    Stream(File),
    File(LineFile),
}

// === impl DiskLines ===

impl DiskLines {
    /// Opens `target` and starts the thread. Blocks on the disk.
    pub fn open(target: &AuditTarget) -> io::Result<Self> {
        let sink = match target {
            AuditTarget::Stdout => Sink::Stream(duplicate(io::stdout().as_fd())?),
            AuditTarget::Stderr => Sink::Stream(duplicate(io::stderr().as_fd())?),
            AuditTarget::File(target) => Sink::File(LineFile::open(target.clone())?),
        };
        let (jobs, received) = blocking::sync_channel(1);
        let (finished, outcomes) = mpsc::channel(1);
        thread::Builder::new()
            .name("weir-audit-lines".to_owned())
            .spawn(move || work(sink, &received, &finished))?;
        Ok(Self { jobs, outcomes })
    }
}

impl LineStore for DiskLines {
    fn submit(&mut self, job: Job) {
        // A failure means that the thread is gone, which `outcome` reports.
        let _ = self.jobs.try_send(job);
    }

    fn outcome(&mut self) -> BoxFuture<'_, Outcome> {
        Box::pin(async {
            let outcome = self.outcomes.recv().await;
            outcome
                .unwrap_or_else(|| Outcome::of(Err(io::Error::other("the writing thread is gone"))))
        })
    }
}

impl fmt::Debug for DiskLines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DiskLines").finish_non_exhaustive()
    }
}

// === impl Outcome ===

impl Outcome {
    /// The outcome of a job that appended nothing.
    pub fn of(result: io::Result<()>) -> Self {
        Self {
            written: 0,
            result,
            rotation: None,
        }
    }
}

// === impl Sink ===

impl Sink {
    fn work(&mut self, job: Job) -> Outcome {
        match (job, self) {
            (Job::Append(lines), Self::Stream(stream)) => {
                let (written, result) = write(stream, &lines);
                Outcome {
                    written,
                    ..Outcome::of(result)
                }
            }
            (Job::Append(lines), Self::File(file)) => file.append(&lines),
            (Job::Reopen, Self::Stream(_)) => Outcome::of(Ok(())),
            (Job::Reopen, Self::File(file)) => Outcome::of(file.begin_again()),
        }
    }
}

fn work(mut sink: Sink, jobs: &blocking::Receiver<Job>, finished: &mpsc::Sender<Outcome>) {
    while let Ok(job) = jobs.recv() {
        if finished.blocking_send(sink.work(job)).is_err() {
            return;
        }
    }
}

/// Writes all of `bytes`, in one call unless the system takes less. Returns how much was written also when the rest
/// failed.
fn write(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let error = match file.write(rest) {
            Ok(0) => io::Error::from(ErrorKind::WriteZero),
            Ok(count) => {
                written += count;
                continue;
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Interrupted => {}
            ErrorKind::WouldBlock => thread::sleep(FULL_PIPE_PAUSE),
            _ => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn duplicate(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(descriptor.try_clone_to_owned()?))
}
