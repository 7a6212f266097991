//! A program under test: its output is always read, its time is bounded, and it dies with the test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Lines kept of one program, oldest dropped first.
const KEPT_LINES: usize = 4000;

/// A running program, leader of its own process group.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    bell: Condvar,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    /// Lines that fell out of `kept`.
    dropped: usize,
    /// Pipes that have ended, of two.
    ended: u8,
}

/// How a bounded program ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// Standard output and standard error, line by line as they came.
    pub(crate) output: String,
    /// Only standard output.
    pub(crate) stdout: String,
}

// === impl Process ===

impl Process {
    /// Starts a program; `name` is for messages.
    pub(crate) fn start(name: &str, mut command: Command) -> Self {
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        let output = Arc::new(Output::default());
        collect(child.stdout.take().expect("stdout is piped"), "", &output);
        collect(child.stderr.take().expect("stderr is piped"), "! ", &output);
        Self {
            name: name.to_owned(),
            child,
            output,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What to write to the program, or nothing if it was taken before.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for a line that `find` takes; panics with the program's output when it does not come. Lines of standard
    /// error begin with `! `.
    pub(crate) fn wait_line<T>(
        &self,
        limit: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        let mut lines = self.output.lines.lock().expect("no reader panicked");
        loop {
            let fresh = seen.max(lines.dropped) - lines.dropped;
            if let Some(found) = lines.kept.iter().skip(fresh).find_map(|line| find(line)) {
                return found;
            }
            seen = lines.dropped + lines.kept.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended == 2 {
                drop(lines);
                panic!(
                    "{}: the awaited line did not come; output:\n{}",
                    self.name,
                    self.log()
                );
            }
            lines = self
                .output
                .bell
                .wait_timeout(lines, left)
                .expect("no reader panicked")
                .0;
        }
    }

    /// Everything the program said so far.
    pub(crate) fn log(&self) -> String {
        let lines = self.output.lines.lock().expect("no reader panicked");
        lines.kept.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Sends a signal to the program only.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a running program has a pid");
        rustix::process::kill_process(pid, signal).expect("the program is there");
    }

    /// Waits for the program to end; `None` when it does not in time.
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the program is our child") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the program and its process group, and waits.
    pub(crate) fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Runs a program to its end; panics when it takes longer than `limit`.
    pub(crate) fn run(name: &str, command: Command, limit: Duration) -> Finished {
        Self::run_with_input(name, command, "", limit)
    }

    /// The same with something on standard input.
    pub(crate) fn run_with_input(
        name: &str,
        command: Command,
        input: &str,
        limit: Duration,
    ) -> Finished {
        let mut process = Self::start(name, command);
        if let Some(mut stdin) = process.stdin() {
            let _ = stdin.write_all(input.as_bytes());
        }
        let Some(status) = process.wait_exit(limit) else {
            panic!(
                "{name}: still running after {limit:?}; output:\n{}",
                process.log()
            );
        };
        process.wait_output();
        let output = process.log();
        let stdout = output
            .lines()
            .filter(|line| !line.starts_with("! "))
            .map(|line| format!("{line}\n"))
            .collect();
        Finished {
            status,
            output,
            stdout,
        }
    }

    /// Waits until both pipes ended, but not for grandchildren that keep them open.
    fn wait_output(&self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut lines = self.output.lines.lock().expect("no reader panicked");
        while lines.ended < 2 && Instant::now() < deadline {
            lines = self
                .output
                .bell
                .wait_timeout(lines, Duration::from_millis(50))
                .expect("no reader panicked")
                .0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- output of {}:\n{}---", self.name, self.log());
        }
    }
}

fn collect(pipe: impl Read + Send + 'static, mark: &'static str, output: &Arc<Output>) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut lines = output.lines.lock().expect("no reader panicked");
            lines
                .kept
                .push_back(format!("{mark}{}", String::from_utf8_lossy(&line)));
            if lines.kept.len() > KEPT_LINES {
                lines.kept.pop_front();
                lines.dropped += 1;
            }
            output.bell.notify_all();
        }
        output.lines.lock().expect("no reader panicked").ended += 1;
        output.bell.notify_all();
    });
}
