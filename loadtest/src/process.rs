//! What Linux says a process has used.

use std::fs;
use std::time::Duration;

/// `/proc/PID/stat` counts time in these: 100 a second on every Linux platform that Rust builds for.
const TICK: Duration = Duration::from_millis(10);

/// CPU time and memory of one process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time since its start, to [`TICK`].
    pub(crate) cpu: Duration,
    /// Resident memory now.
    pub(crate) resident_kib: u64,
    /// Resident memory at most so far.
    pub(crate) peak_kib: u64,
}

impl Usage {
    /// Reads `/proc`. Fails when the process is gone.
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|error| format!("process {pid}: {error}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let ticks = ticks(&stat).ok_or_else(|| format!("process {pid}: no times in its stat"))?;
        Ok(Self {
            cpu: TICK * ticks,
            resident_kib: kib(&status, "VmRSS:"),
            peak_kib: kib(&status, "VmHWM:"),
        })
    }
}

/// `utime` and `stime`: the 12th and 13th fields after the name, which is in parentheses and may contain anything.
fn ticks(stat: &str) -> Option<u32> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?)
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

    #[test]
    fn odd_process_names_do_not_confuse() {
        assert_eq!(
            ticks("7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 1"),
            Some(42)
        );
        assert_eq!(kib("Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
    }

    #[test]
    fn we_can_read_ourselves() {
        assert!(Usage::of(std::process::id()).unwrap().resident_kib > 0);
    }
}
