//! What a run found, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::call::Failure;

/// Percentiles that are reported.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Latencies are kept from 1 ns to a minute, to three digits.
const LONGEST: Duration = Duration::from_secs(60);

/// One run: what was asked for, what came back, what it cost.
pub(crate) struct Measurement {
    pub(crate) connections: usize,
    /// How long was really measured.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from writing a call to its checked answer.
    pub(crate) latency: Histogram<u64>,
    /// Calls that were not answered as they should, during warm-up too.
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// What the process under load used in the measured time, if one was named.
    pub(crate) cost: Option<Cost>,
}

/// CPU time within the measured time, and memory at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
}

/// An empty histogram of the shape all of them have.
pub(crate) fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, nanoseconds(LONGEST), 3).map_err(|error| error.to_string())
}

/// A duration as the histograms count it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Measurement ===

impl Measurement {
    /// Good answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latency.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of the process under load for each good answer, in microseconds.
    pub(crate) fn cpu_microseconds_per_call(&self) -> Option<f64> {
        let calls = self.latency.len();
        self.cost
            .filter(|_| calls > 0)
            .map(|cost| cost.cpu.as_secs_f64() * 1e6 / calls as f64)
    }

    /// The same facts for programs. Latencies in microseconds.
    pub(crate) fn to_json(&self) -> Value {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let percentiles = PERCENTILES.map(|(name, percentile)| {
            (
                name.to_owned(),
                self.latency.value_at_percentile(percentile),
            )
        });
        let ends = [("max".to_owned(), self.latency.max())];
        let latency: BTreeMap<String, f64> = percentiles
            .into_iter()
            .chain(ends)
            .map(|(name, value)| (name, microseconds(value)))
            .collect();
        let failures: BTreeMap<String, u64> = self
            .failures
            .iter()
            .map(|(failure, count)| (failure.to_string(), *count))
            .collect();
        let cost = self.cost.map(|cost| {
            json!({
                "cpu_seconds": cost.cpu.as_secs_f64(), "cpu_microseconds_per_call": self.cpu_microseconds_per_call(),
                "resident_kib": cost.resident_kib, "peak_kib": cost.peak_kib,
            })
        });
        json!({
            "connections": self.connections, "seconds": self.elapsed.as_secs_f64(), "calls": self.latency.len(),
            "calls_per_second": self.rate(), "latency_microseconds": latency, "failures": failures, "process": cost,
        })
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        writeln!(
            formatter,
            "{:>12.0} calls/s     {} calls in {:.2} s",
            self.rate(),
            self.latency.len(),
            self.elapsed.as_secs_f64()
        )?;
        for (name, percentile) in PERCENTILES {
            writeln!(
                formatter,
                "{:>12.3} ms {name}",
                milliseconds(self.latency.value_at_percentile(percentile))
            )?;
        }
        writeln!(
            formatter,
            "{:>12.3} ms max",
            milliseconds(self.latency.max())
        )?;
        if let Some(cost) = self.cost {
            let share = cost.cpu.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0;
            writeln!(
                formatter,
                "{:>12.1} us CPU for each call ({share:.0} % of one core)",
                self.cpu_microseconds_per_call().unwrap_or_default()
            )?;
            writeln!(
                formatter,
                "{:>12.1} MiB resident, {:.1} MiB at most",
                cost.resident_kib as f64 / 1024.0,
                cost.peak_kib as f64 / 1024.0
            )?;
        }
        for (failure, count) in &self.failures {
            writeln!(formatter, "{count:>12} calls failed: {failure}")?;
        }
        write!(
            formatter,
            "closed loop, {} connections: each waits for its answer before it sends again, so a stall is seen once per connection; latencies are not corrected for that",
            self.connections
        )
    }
}
