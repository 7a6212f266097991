//! Where and when it was measured: without that, figures say nothing.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{Arguments, NGINX, WEIR, nginx};
use crate::stand::Gateway;

/// A machine with less to do than this many runnable processes is idle.
const IDLE: f64 = 0.5;

/// What belongs to the figures.
pub(super) struct Environment {
    /// Names and values, in the order in which they are told.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Processes that wanted to run in the last minute before the start, on average.
    load: f64,
}

// === impl Environment ===

impl Environment {
    /// Looks around. Fails if something that is to be measured is not there.
    pub(super) fn now(arguments: &Arguments) -> Result<Self, String> {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let load = read("/proc/loadavg");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let system = read("/etc/os-release");
        let system = system
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let with = |name: &str| !arguments.without.iter().any(|without| without == name);
        let mut facts = vec![
            ("date", date(SystemTime::now())),
            ("processor", value(&cpu, "model name").unwrap_or_default()),
            ("cores", cores.to_string()),
            ("memory", format!("{:.1} GiB", memory / 1024.0 / 1024.0)),
            (
                "kernel",
                read("/proc/sys/kernel/osrelease").trim().to_owned(),
            ),
            (
                "system",
                system.unwrap_or_default().trim_matches('"').to_owned(),
            ),
            ("load average at start", load.trim().to_owned()),
            ("commit", commit()),
            ("weir-loadtest", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if with(WEIR) || with(super::WEIR_DEFAULT) {
            let version = Gateway::version(&arguments.weir)?;
            facts.push(("weir", format!("{version} ({})", arguments.weir.display())));
        }
        if with(NGINX) {
            facts.push(("nginx", nginx::version(&arguments.nginx)?));
        }
        facts.push((
            "era",
            format!("{} ({})", arguments.era.name(), arguments.era.version()),
        ));
        facts.push(("message", format!("{} bytes", arguments.message_bytes)));
        let rounds = format!(
            "{} of {} s each after {} s under the same load; medians",
            arguments.rounds, arguments.seconds, arguments.warmup_seconds
        );
        facts.push(("rounds", rounds));
        facts.push((
            "command",
            std::env::args().map(quoted).collect::<Vec<_>>().join(" "),
        ));
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        Ok(Self {
            facts,
            load: load.unwrap_or_default(),
        })
    }

    /// What the reader should know before comparing with other runs.
    pub(super) fn warning(&self) -> Option<String> {
        (self.load > IDLE).then(|| {
            format!(
                "The machine was not idle at the start (load average {:.2}): the ratios are of use, the absolute figures less so.",
                self.load
            )
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let facts: Map<String, Value> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        Value::Object(facts)
    }
}

/// `NAME : VALUE` in a file of /proc.
fn value(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let found = pairs.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned())
}

/// Of the directory that this runs in.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(commit) => match git(&["status", "--porcelain", "--untracked-files=no"]) {
            Some(changes) if changes.is_empty() => commit,
            _ => format!("{commit}, with changes"),
        },
        None => "unknown".to_owned(),
    }
}

/// As a shell needs it.
fn quoted(word: String) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// `2026-01-31 23:59 UTC`.
fn date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut left) = (1970, days);
    let leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let (hour, minute) = (rest / 3600, rest / 60 % 60);
    format!(
        "{year}-{month:02}-{:02} {hour:02}:{minute:02} UTC",
        left + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_right_around_leap_days() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_868_799), "2000-02-29 23:59 UTC");
        assert_eq!(at(1_735_689_540), "2024-12-31 23:59 UTC");
        assert_eq!(at(1_735_689_600), "2025-01-01 00:00 UTC");
    }

    #[test]
    fn a_command_can_be_repeated() {
        let again = |word: &str| quoted(word.to_owned());
        assert_eq!(again("--out=/tmp/x"), "--out=/tmp/x");
        assert_eq!(again("a b's"), r"'a b'\''s'");
        assert_eq!(again(""), "''");
    }

    #[test]
    fn facts_of_proc_are_found() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\n";
        assert_eq!(value(text, "model name").unwrap(), "A CPU: fast");
    }
}
