//! What the system says of the memory of this process.

use std::fs;
use std::path::Path;

use weir_actors::admission::MemoryGuard;
use weir_actors::upstream::UpstreamBoard;

/// Limits of control groups from here on mean that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// A guard that reads from the system, and takes the configured limit or else that of the control group.
pub(crate) fn guard(board: UpstreamBoard) -> MemoryGuard {
    let group = group_limit();
    let limit = move || {
        let configured = board.load().settings.limits.max_memory_bytes;
        configured.map(std::num::NonZeroU64::get).or(group)
    };
    MemoryGuard::new(Box::new(resident), Box::new(limit))
}

/// Bytes of memory that the process has in use.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = rustix::param::page_size() as u64;
    pages.checked_mul(page)
}

/// What the control group of this process may use, in version 2 or 1.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    let files = [
        own.map(|own| root.join(own).join("memory.max")),
        // Inside a container the own group is the root.
        Some(root.join("memory.max")),
        Some(root.join("memory/memory.limit_in_bytes")),
    ];
    let limits = files.into_iter().flatten().filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        text.trim().parse::<u64>().ok()
    });
    limits.filter(|limit| *limit < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_takes_some_memory() {
        let resident = super::resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&resident), "{resident}");
    }
}
