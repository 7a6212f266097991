//! All children that run, what is in force for them, and what they use.
//!
//! A thread looks at [`/proc`](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html) once a second as long as there
//! is a child with a limit: what one process may allocate is limited by the system, what a group has together, and how
//! many processes an account shared with others starts, is looked after here. A group beyond its limits is killed, and
//! whoever supervises it restarts it, or not.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tracing::{error, info, warn};

use crate::sandbox::Confinement;

/// How often the system is asked what the groups use.
const LOOK: Duration = Duration::from_secs(1);

/// What a group uses, all of its processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Time on processors, in seconds; of earlier runs of the same name too.
    pub cpu_seconds: f64,
    /// Memory in use, in bytes; what processes share counts for each.
    pub resident_bytes: u64,
    /// Processes and threads.
    pub threads: u64,
}

/// A child that runs.
#[derive(Clone, Debug, Serialize)]
pub struct ChildView {
    /// The name of its plugin or server.
    #[serde(skip)]
    pub name: Arc<str>,
    /// Whether it is a plugin's.
    #[serde(skip)]
    pub plugin: bool,
    /// Its process id.
    pub pid: u32,
    /// What is in force for it.
    pub sandbox: Confinement,
    /// What it and everybody in its group used when that was looked at last.
    pub usage: Usage,
}

/// The place of a child among the others; it is not there any more when this is dropped.
#[derive(Debug)]
pub(super) struct Place(u64);

#[derive(Debug, Default)]
struct Children {
    last: u64,
    running: BTreeMap<u64, ChildView>,
    /// What runs that ended have used.
    spent: HashMap<(Arc<str>, bool), f64>,
    /// What was told of whom.
    told: HashMap<(Arc<str>, bool), Confinement>,
}

/// All children that run now.
pub fn children() -> Vec<ChildView> {
    let children = lock();
    let shown = children.running.values().map(|child| {
        let mut child = child.clone();
        child.usage.cpu_seconds += children.spent_by(&child);
        child
    });
    shown.collect()
}

/// The time on processors of all plugins that ran or run, in seconds, by name; and the memory in use of those that run.
pub fn plugin_usage() -> BTreeMap<Arc<str>, Usage> {
    let children = lock();
    let mut usage: BTreeMap<Arc<str>, Usage> = BTreeMap::new();
    for ((name, _), seconds) in children.spent.iter().filter(|((_, plugin), _)| *plugin) {
        usage.entry(Arc::clone(name)).or_default().cpu_seconds += seconds;
    }
    for child in children.running.values().filter(|child| child.plugin) {
        let sum = usage.entry(Arc::clone(&child.name)).or_default();
        sum.cpu_seconds += child.usage.cpu_seconds;
        sum.resident_bytes += child.usage.resident_bytes;
        sum.threads += child.usage.threads;
    }
    usage
}

fn lock() -> MutexGuard<'static, Children> {
    static CHILDREN: OnceLock<Mutex<Children>> = OnceLock::new();
    let children = CHILDREN.get_or_init(Mutex::default);
    children.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Children ===

impl Children {
    fn spent_by(&self, child: &ChildView) -> f64 {
        let key = (Arc::clone(&child.name), child.plugin);
        self.spent.get(&key).copied().unwrap_or_default()
    }

    /// Says what is in force for a name, when that is news.
    fn tell(&mut self, child: &ChildView) {
        let key = (Arc::clone(&child.name), child.plugin);
        if self.told.get(&key) == Some(&child.sandbox) {
            return;
        }
        let Confinement {
            mode,
            user,
            files,
            ports,
            missing,
            notes,
            ..
        } = &child.sandbox;
        let name = &*child.name;
        if missing.is_empty() {
            info!(
                name,
                ?mode,
                user,
                files,
                ports,
                ?notes,
                "sandbox of a child process"
            );
        } else {
            warn!(
                name,
                ?mode,
                user,
                files,
                ports,
                ?missing,
                ?notes,
                "sandbox of a child process is not whole"
            );
        }
        self.told.insert(key, child.sandbox.clone());
    }
}

// === impl Place ===

impl Place {
    pub(super) fn take(name: &Arc<str>, plugin: bool, pid: u32, sandbox: Confinement) -> Self {
        let child = ChildView {
            name: Arc::clone(name),
            plugin,
            pid,
            sandbox,
            usage: Usage::default(),
        };
        let mut children = lock();
        children.tell(&child);
        children.last += 1;
        let place = children.last;
        children.running.insert(place, child);
        drop(children);
        watch();
        Self(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut children = lock();
        if let Some(child) = children.running.remove(&self.0) {
            let key = (child.name, child.plugin);
            *children.spent.entry(key).or_default() += child.usage.cpu_seconds;
        }
    }
}

// === watching ===

/// Starts the thread that looks, if there is none.
fn watch() {
    static WATCH: OnceLock<bool> = OnceLock::new();
    let started = || {
        let named = thread::Builder::new().name("weir-watch".to_owned());
        let started = named.spawn(|| {
            loop {
                thread::sleep(LOOK);
                look();
            }
        });
        if let Err(error) = &started {
            error!(%error, "nobody looks after what child processes use");
        }
        started.is_ok()
    };
    WATCH.get_or_init(started);
}

fn look() {
    let limited = |child: &ChildView| child.plugin || child.sandbox.memory.is_some();
    if !lock().running.values().any(limited) {
        return;
    }
    let groups = groups();
    // Held while groups are killed: one that has ended has left its place before.
    let mut children = lock();
    for child in children.running.values_mut() {
        let Some(now) = groups.get(&child.pid) else {
            continue;
        };
        child.usage = Usage {
            cpu_seconds: now.cpu_seconds.max(child.usage.cpu_seconds),
            ..*now
        };
        judge(child);
    }
}

fn judge(child: &ChildView) {
    let memory = child.sandbox.memory;
    let beyond = memory.is_some_and(|limit| child.usage.resident_bytes > limit.0);
    let crowd = child.sandbox.processes;
    let crowded = crowd.is_some_and(|limit| child.usage.threads > limit);
    if !beyond && !crowded {
        return;
    }
    let name = &*child.name;
    let Usage {
        resident_bytes,
        threads,
        ..
    } = child.usage;
    error!(
        name,
        resident_bytes, threads, "child process is beyond the limits of its sandbox: SIGKILL"
    );
    if let Some(group) = child.pid.try_into().ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// What every process group of this machine uses.
fn groups() -> HashMap<u32, Usage> {
    let mut groups: HashMap<u32, Usage> = HashMap::new();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as u64;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            continue;
        }
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some(process) = Process::parse(&stat) else {
            continue;
        };
        let usage = groups.entry(process.group).or_default();
        usage.cpu_seconds += process.ticks as f64 / ticks;
        usage.resident_bytes += process.pages * page;
        usage.threads += process.threads;
    }
    groups
}

#[derive(Debug, PartialEq)]
struct Process {
    group: u32,
    ticks: u64,
    threads: u64,
    pages: u64,
}

impl Process {
    /// Reads what follows the program's name, which may contain anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        // The first of these is the third of the manual.
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        Some(Self {
            group: number(5)?.try_into().ok()?,
            // With those of its children that it has waited for.
            ticks: number(14)? + number(15)? + number(16)? + number(17)?,
            threads: number(20)?,
            pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text = "7 (a) 9 (b) S 1 6 7 0 -1 4194560 100 0 0 0 250 50 30 20 20 0 5 0 99 4096 12 18446744073709551615 1";
        let expected = Process {
            group: 6,
            ticks: 350,
            threads: 5,
            pages: 12,
        };
        assert_eq!(Process::parse(text), Some(expected));
        assert_eq!(Process::parse("7 (a) S 1 7"), None);
    }
}
