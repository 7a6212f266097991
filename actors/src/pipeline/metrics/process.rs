//! What the process takes of the machine, under the names that every Prometheus client uses.
//!
//! Read from `/proc` ([proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html)) when somebody looks. Where there is
//! no `/proc` these metrics are missing, and nothing else is.

use std::collections::HashMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::{Error, proto};

use super::register::Register;

/// The metrics, in the order of [`Reading::values`].
const METRICS: [(&str, &str, proto::MetricType); 7] = [
    (
        "process_cpu_seconds_total",
        "Time on processors, in the process and in the kernel for it.",
        proto::MetricType::COUNTER,
    ),
    (
        "process_open_fds",
        "Open file descriptors.",
        proto::MetricType::GAUGE,
    ),
    (
        "process_max_fds",
        "File descriptors that may be open.",
        proto::MetricType::GAUGE,
    ),
    (
        "process_virtual_memory_bytes",
        "Address space in use.",
        proto::MetricType::GAUGE,
    ),
    (
        "process_resident_memory_bytes",
        "Memory in use.",
        proto::MetricType::GAUGE,
    ),
    (
        "process_threads",
        "Threads of the operating system.",
        proto::MetricType::GAUGE,
    ),
    (
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        proto::MetricType::GAUGE,
    ),
];

/// Reads the state of the process for every scrape.
#[derive(Clone, Debug)]
struct ProcessState {
    descriptions: Vec<Desc>,
    started: f64,
}

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Registers the state of the process and the version of the gateway.
pub(super) fn register(register: &Register<'_>) -> Result<(), Error> {
    let descriptions = METRICS.iter().map(|(name, help, _)| {
        Desc::new(
            (*name).to_owned(),
            (*help).to_owned(),
            Vec::new(),
            HashMap::new(),
        )
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    register.add(ProcessState {
        descriptions: descriptions.collect::<Result<_, _>>()?,
        started: now.map_or(0.0, |now| now.as_secs_f64()),
    })?;
    let build = register.gauges(
        "weir_build_info",
        "1, for the version that runs.",
        &["version"],
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

// === impl ProcessState ===

impl ProcessState {
    /// The values in the order of [`METRICS`]; nothing for what cannot be read.
    fn values(&self) -> [Option<f64>; METRICS.len()] {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let stat = stat.as_deref().and_then(Stat::parse);
        let of = |value: fn(&Stat) -> f64| stat.as_ref().map(value);
        let limits = fs::read_to_string("/proc/self/limits").ok();
        // The folder is open itself while it is read.
        let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
        [
            of(|stat| stat.cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
            open.ok().map(|open| open as f64),
            limits.as_deref().and_then(max_open),
            of(|stat| stat.virtual_bytes as f64),
            of(|stat| stat.resident_pages as f64 * rustix::param::page_size() as f64),
            of(|stat| stat.threads as f64),
            Some(self.started),
        ]
    }
}

impl Collector for ProcessState {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let values = METRICS.iter().zip(self.values());
        let families = values.filter_map(|((name, help, kind), value)| {
            let value = value?;
            let mut metric = proto::Metric::default();
            if *kind == proto::MetricType::COUNTER {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            let mut family = proto::MetricFamily::default();
            family.set_name((*name).to_owned());
            family.set_help((*help).to_owned());
            family.set_field_type(*kind);
            family.set_metric(vec![metric]);
            Some(family)
        });
        families.collect()
    }
}

// === impl Stat ===

impl Stat {
    /// Reads what follows the program's name, which may contain anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        // The first of these is the third of the manual.
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)? + number(15)?,
            threads: number(20)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

/// The soft limit of `Max open files`; nothing if there is none.
fn max_open(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_bracket_hides_nothing() {
        let text = "7 (a) 9 (b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 99 4096 12 18446744073709551615 1";
        let expected = Stat {
            cpu_ticks: 300,
            threads: 5,
            virtual_bytes: 4096,
            resident_pages: 12,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 7"), None);
    }

    #[test]
    fn this_process_has_all_of_them() {
        let state = ProcessState {
            descriptions: Vec::new(),
            started: 1.0,
        };
        for ((name, ..), value) in METRICS.iter().zip(state.values()) {
            assert!(value.is_some_and(|value| value >= 0.0), "{name}");
        }
        let families = state.collect();
        let memory = families
            .iter()
            .find(|family| family.name() == "process_resident_memory_bytes");
        let memory = memory.map(|family| family.get_metric()[0].get_gauge().get_value());
        assert!(memory.is_some_and(|bytes| bytes > 1e6), "{memory:?}");
    }
}
