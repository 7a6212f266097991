//! A process that was started here and is ended here.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take until it says that it is ready.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long a program may take to end after each kind of request to do so.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Bytes of a log that are shown when its program failed.
const LOG_TAIL: usize = 2_000;

/// Lines of standard output that wait to be looked at.
const QUEUE: usize = 64;

/// A process that was started here. Dropping it ends it, first politely.
pub(crate) struct Started {
    name: String,
    child: Child,
    output: Receiver<String>,
    log: PathBuf,
}

// === impl Started ===

impl Started {
    /// Starts a program. Its standard error goes to `NAME.log` in `directory`.
    pub(crate) fn spawn(
        name: &str,
        command: &mut Command,
        directory: &Path,
    ) -> Result<Self, String> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(|error| {
                let program = command.get_program().display();
                format!("cannot start {name} ({program}): {error}")
            })?;
        let (sender, output) = mpsc::sync_channel(QUEUE);
        if let Some(stdout) = child.stdout.take() {
            // Reads on for as long as the process lives: a full pipe would stop it.
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = sender.try_send(line);
                }
            });
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on its standard output that begins so, and returns the rest of it.
    pub(crate) fn ready_line(&mut self, beginning: &str) -> Result<String, String> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.output.recv_timeout(left) else {
                return Err(self.complaint("did not say that it is ready"));
            };
            if let Some(rest) = line.strip_prefix(beginning) {
                return Ok(rest.trim().to_owned());
            }
        }
    }

    /// Fails if it has ended.
    pub(crate) fn is_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.complaint(&format!("ended ({status})"))),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// What went wrong, with the end of its log.
    pub(crate) fn complaint(&self, what: &str) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(LOG_TAIL)..);
        let tail = String::from_utf8_lossy(tail.unwrap_or_default());
        format!("{} {what}. It said:\n{}", self.name, tail.trim())
    }

    fn has_ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Politely, so that a master process takes its workers along; once more for who waits for requests in flight.
        for _ in 0..2 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            signal(self.child.id(), Signal::TERM);
            if self.has_ended_within(END_LIMIT) {
                return;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal; false if there is no such process of ours.
pub(crate) fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
