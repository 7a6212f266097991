//! What Linux says about a process: children, descriptors, zombies.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// One child of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildProcess {
    pub(crate) pid: u32,
    /// `R`, `S`, `D`, `Z` (zombie), ...
    pub(crate) state: char,
    /// Arguments, joined with spaces; empty for a zombie.
    pub(crate) command: String,
}

/// The direct children of a process.
pub(crate) fn children(parent: u32) -> Vec<ChildProcess> {
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| child_of(parent, pid)).collect()
}

fn child_of(parent: u32, pid: u32) -> Option<ChildProcess> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything: the state follows the last one.
    let mut after_name = stat.rsplit_once(')')?.1.split_whitespace();
    let state = after_name.next()?.chars().next()?;
    if after_name.next()?.parse::<u32>().ok()? != parent {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command)
        .replace('\0', " ")
        .trim_end()
        .to_owned();
    Some(ChildProcess {
        pid,
        state,
        command,
    })
}

/// The number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process is ours")
        .count()
}

/// `kill -9`.
pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid is positive");
    rustix::process::kill_process(pid, Signal::KILL).expect("the process is there");
}

/// Whether a process exists and is not a zombie.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Asks again and again until the answer is yes, or the time is over.
pub(crate) fn eventually(limit: Duration, mut question: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !question() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// How many TCP sockets a process listens on.
pub(crate) fn listening(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is ours");
    let links = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let own: Vec<String> = links
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(link.to_owned())
        })
        .collect();
    let listens = |line: &&str| {
        let mut words = line.split_whitespace();
        // The state `0A`, then the inode.
        words.nth(3) == Some("0A")
            && words
                .nth(5)
                .is_some_and(|inode| own.iter().any(|own| own == inode))
    };
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .map(|table| table.lines().filter(listens).count())
        .sum()
}

/// Resident memory of a process.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .expect("VmRSS is a number")
}

/// Processes that have a text in their arguments or their environment.
pub(crate) fn marked(mark: &str) -> Vec<ChildProcess> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(mark)
    };
    pids.filter(|pid| *pid != own && (has(*pid, "cmdline") || has(*pid, "environ")))
        .map(|pid| ChildProcess {
            pid,
            state: '?',
            command: String::new(),
        })
        .collect()
}
