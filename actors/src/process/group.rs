//! The process group of a child: how it ends, as a whole.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid,
};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::children::Place;
use super::spawner::Spawned;
use crate::sandbox::{Confinement, Registration};

/// How often a group whose leader is gone is looked at.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// A child and everything that it started, which is killed as a whole when this is dropped.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Pid,
    ended: bool,
    confinement: Confinement,
    /// Given up when nobody of the group is left.
    known: Option<(Place, Option<Registration>)>,
}

// === impl Group ===

impl Group {
    pub(super) fn of(spawned: Spawned) -> io::Result<Self> {
        let Spawned {
            child,
            registration,
            confinement,
            name,
            plugin,
        } = spawned;
        let leader = child
            .id()
            .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let leader = leader.ok_or_else(|| io::Error::other("it has no process id"))?;
        let pid = leader.as_raw_nonzero().get().unsigned_abs();
        let place = Place::take(&name, plugin, pid, confinement.clone());
        Ok(Self {
            child,
            leader,
            ended: false,
            confinement,
            known: Some((place, registration)),
        })
    }

    /// The process id of the child, which is also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// What is in force for everybody of the group.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Waits until the child ends by itself. What it started may live on until [`end`](Self::end).
    ///
    /// # Errors
    /// The system does not say how it ended.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the group to end with SIGTERM, and kills who is left at the end of `grace`. Returns when the child is
    /// reaped and nobody of the group is left.
    pub async fn stop(&mut self, grace: Duration) {
        self.stop_until(Instant::now() + grace).await;
    }

    /// Stops a process that ends with its input, as MCP wants it: the input is closed already, so it has two fifths of
    /// `grace` to obey before it is [stopped](Self::stop) within the rest.
    pub async fn stop_after_input(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        if timeout(grace * 2 / 5, self.child.wait()).await.is_err() {
            debug!(pid = self.pid(), "process did not end with its input");
        }
        self.stop_until(deadline).await;
    }

    /// Kills who is left after the child ended. It must have been [waited](Self::wait) for: its number may be given to
    /// others from here on.
    pub fn end(&mut self) {
        self.kill();
        self.reap_orphans();
        self.ended = true;
        self.known = None;
    }

    async fn stop_until(&mut self, deadline: Instant) {
        if self.child.id().is_some() {
            self.signal(Signal::TERM);
        }
        if timeout_at(deadline, self.child.wait()).await.is_err() {
            warn!(pid = self.pid(), "process ignored SIGTERM: SIGKILL");
            self.kill();
            let _ = self.child.wait().await;
        }
        if self.is_alive() {
            self.signal(Signal::TERM);
        }
        while self.is_alive() && Instant::now() < deadline {
            sleep(GROUP_POLL).await;
        }
        self.end();
    }

    /// Whether somebody of the group is left, now that the child is reaped.
    fn is_alive(&self) -> bool {
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
