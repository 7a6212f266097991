//! What to run, and what has been started.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use thiserror::Error;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use super::group::Group;
use super::spawner::{self, Spawned};
use crate::sandbox::{Probe, Sandbox};

/// What a child inherits of our environment; everything else must be declared.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// A program to be run as a child: never through a shell, with an environment that holds what is declared here, and in
/// a process group of its own.
#[derive(Clone)]
pub struct Program {
    /// The name of the plugin or server, for logs.
    pub name: Arc<str>,
    /// The program; looked up in `PATH` if it has no slash.
    pub exec: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, in addition to `PATH`, `HOME`, `LANG`, `TMPDIR` and `USER` of this process; nothing else is
    /// inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; `None`: the one of this process.
    pub workdir: Option<PathBuf>,
    /// What it may do.
    pub sandbox: Sandbox,
}

/// A child that runs.
#[derive(Debug)]
pub struct Started {
    /// Its standard input. Dropped: the child reads the end.
    pub stdin: ChildStdin,
    /// Its standard output. Somebody has to read it, or the child waits for ever when the pipe is full.
    pub stdout: ChildStdout,
    /// Its standard error. Somebody has to read it, too.
    pub stderr: ChildStderr,
    /// It and everything that it started.
    pub group: Group,
}

/// A child could not be started.
#[derive(Debug, Error)]
#[error("cannot start {exec}: {error}")]
pub struct NotStarted {
    /// The program.
    pub exec: String,
    /// Why.
    pub error: io::Error,
}

// === impl Program ===

impl Program {
    /// A program without arguments and with nothing declared.
    pub fn new(name: &str, exec: impl Into<OsString>, sandbox: Sandbox) -> Self {
        Self {
            name: name.into(),
            exec: exec.into(),
            args: Vec::new(),
            env: Vec::new(),
            workdir: None,
            sandbox,
        }
    }

    /// Starts it. Given up in between, a child that was started all the same is killed.
    ///
    /// Must be called within a runtime with its I/O enabled: the pipes and the end of the child are watched there.
    ///
    /// # Errors
    /// The program is not there, may not be run, its sandbox cannot be had, or the system has no room for another process.
    pub async fn start(&self) -> Result<Started, NotStarted> {
        self.start_with(Probe::system()).await
    }

    /// Starts it as on a system that has what `probe` says.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(&self, probe: Probe) -> Result<Started, NotStarted> {
        let spawned = spawner::spawn(self.clone(), probe)
            .await
            .and_then(Started::of);
        spawned.map_err(|error| NotStarted {
            exec: self.exec.to_string_lossy().into_owned(),
            error,
        })
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.exec);
        command.args(&self.args).env_clear();
        for name in INHERITED {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &self.workdir {
            command.current_dir(directory);
        }
        command
    }
}

/// The values of the environment are credentials more often than not.
impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            exec,
            args,
            env,
            workdir,
            sandbox,
        } = self;
        let names: Vec<&OsStr> = env.iter().map(|(name, _)| name.as_os_str()).collect();
        formatter
            .debug_struct("Program")
            .field("name", name)
            .field("exec", exec)
            .field("args", args)
            .field("env", &names)
            .field("workdir", workdir)
            .field("sandbox", sandbox)
            .finish()
    }
}

// === impl Started ===

impl Started {
    fn of(mut spawned: Spawned) -> io::Result<Self> {
        let child = &mut spawned.child;
        let pipe = |name: &str| io::Error::other(format!("it has no {name}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let group = Group::of(spawned)?;
        Ok(Self {
            stdin: stdin.ok_or_else(|| pipe("standard input"))?,
            stdout: stdout.ok_or_else(|| pipe("standard output"))?,
            stderr: stderr.ok_or_else(|| pipe("standard error"))?,
            group,
        })
    }
}
