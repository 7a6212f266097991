//! What Linux says a process has used, alone or with everything that it started.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

/// `/proc/PID/stat` counts time in these: 100 a second on every Linux platform that Rust builds for.
const TICK: Duration = Duration::from_millis(10);

/// CPU time and memory at one moment, of one process with all its threads or of a tree of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Time in its own code, to 10 ms a process.
    pub(crate) user: Duration,
    /// Time that the kernel worked for it, to 10 ms a process.
    pub(crate) system: Duration,
    /// Resident memory now. Pages that the processes of a tree share count once for each.
    pub(crate) resident_kib: u64,
    /// Resident memory at most since each began.
    pub(crate) peak_kib: u64,
    /// How many processes these are.
    pub(crate) processes: usize,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// It has ended, and nobody has asked how.
    zombie: bool,
    parent: u32,
    own: Times,
    /// Of children that have ended and been waited for, and theirs.
    ended_children: Times,
}

/// In ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    user: u32,
    system: u32,
}

// === impl Usage ===

impl Usage {
    /// Of this process alone, all its threads included. Fails when it is gone.
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let stat = stat(pid).ok_or_else(|| format!("process {pid} is not there"))?;
        let mut usage = Self::default();
        usage.add(pid, stat.own);
        Ok(usage)
    }

    /// Of a process and all that descend from it. What children have used that ended in the meantime is kept, as long as
    /// their parents waited for them. Fails when the process is gone.
    pub(crate) fn of_tree(pid: u32) -> Result<Self, String> {
        let stats = stats();
        let root = stats
            .get(&pid)
            .ok_or_else(|| format!("process {pid} is not there"))?;
        let mut usage = Self::default();
        usage.add(pid, root.own);
        usage.add_times(root.ended_children);
        for descendant in tree(&stats, pid) {
            if let Some(stat) = stats.get(&descendant) {
                usage.add(descendant, stat.own);
                usage.add_times(stat.ended_children);
            }
        }
        Ok(usage)
    }

    /// User and system time.
    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }

    fn add(&mut self, pid: u32, times: Times) {
        self.add_times(times);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        self.resident_kib += kib(&status, "VmRSS:");
        self.peak_kib += kib(&status, "VmHWM:");
        self.processes += 1;
    }

    fn add_times(&mut self, times: Times) {
        self.user += TICK * times.user;
        self.system += TICK * times.system;
    }
}

/// The processes that this one started and that are still there.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let mut children: Vec<u32> = stats()
        .into_iter()
        .filter(|(_, stat)| stat.parent == pid && !stat.zombie)
        .map(|(child, _)| child)
        .collect();
    children.sort_unstable();
    children
}

/// How many of the processes that this one started have ended without it having noticed.
pub(crate) fn zombies(pid: u32) -> usize {
    let stats = stats().into_values();
    stats
        .filter(|stat| stat.parent == pid && stat.zombie)
        .count()
}

/// How many files, sockets and pipes it has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Everything below `root`, without it.
fn tree(stats: &HashMap<u32, Stat>, root: u32) -> HashSet<u32> {
    let mut members = HashSet::new();
    let mut newest = HashSet::from([root]);
    while !newest.is_empty() {
        newest = stats
            .iter()
            .filter(|(pid, stat)| newest.contains(&stat.parent) && !members.contains(*pid))
            .map(|(pid, _)| *pid)
            .collect();
        members.extend(&newest);
    }
    members
}

/// All processes that can be seen.
fn stats() -> HashMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The parent is the second field after the name, which is in parentheses and may contain anything; the times are the 12th
/// to the 15th.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    Some(Stat {
        zombie: fields.first() == Some(&"Z"),
        parent: number(1)?,
        own: Times {
            user: number(11)?,
            system: number(12)?,
        },
        ended_children: Times {
            user: number(13)?,
            system: number(14)?,
        },
    })
}

fn kib(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value
        .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn odd_process_names_do_not_confuse() {
        let stat =
            parse("7 (a) b (c)) S 4 7 7 0 -1 4194560 100 0 0 0 25 17 3 2 20 0 1 0 1").unwrap();
        assert_eq!((stat.parent, stat.zombie), (4, false));
        assert_eq!((stat.own.user, stat.own.system), (25, 17));
        assert_eq!(
            (stat.ended_children.user, stat.ended_children.system),
            (3, 2)
        );
        assert_eq!(kib("Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
    }

    #[test]
    fn a_tree_is_everybody_below() {
        let stat = |parent| Stat {
            zombie: false,
            parent,
            own: Times { user: 1, system: 0 },
            ended_children: Times { user: 0, system: 0 },
        };
        let stats = HashMap::from([
            (2, stat(1)),
            (3, stat(2)),
            (4, stat(3)),
            (5, stat(1)),
            (6, stat(2)),
        ]);
        assert_eq!(tree(&stats, 2), HashSet::from([3, 4, 6]));
    }

    #[test]
    fn a_tree_keeps_what_its_ended_children_used() {
        // A shell whose child burns CPU and ends, and that then waits for its input to close.
        let script = "i=0; (while [ $i -lt 200000 ]; do i=$((i+1)); done); echo done; read line";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(shell.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let alone = Usage::of(shell.id()).unwrap();
        let tree = Usage::of_tree(shell.id()).unwrap();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(line, "done\n");
        assert_eq!(tree.processes, 1);
        assert!(
            tree.cpu() > alone.cpu() && tree.resident_kib > 0,
            "{tree:?} {alone:?}"
        );
    }

    #[test]
    fn a_tree_has_its_living_children() {
        let mut shell = Command::new("sh")
            .args(["-c", "read line"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let ours = Usage::of_tree(std::process::id()).unwrap();
        assert!(ours.processes >= 2, "{ours:?}");
        assert!(children(std::process::id()).contains(&shell.id()));
        assert!(descriptors(std::process::id()) > 2);
        shell.kill().unwrap();
        // Until we wait for it, it is there and of no use.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while children(std::process::id()).contains(&shell.id()) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(zombies(std::process::id()) >= 1);
        shell.wait().unwrap();
    }
}
