//! What a run found, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::load::Pace;
use crate::process::Usage;

/// Percentiles that are reported.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Latencies are kept from 1 ns to a minute, to three digits.
const LONGEST: Duration = Duration::from_secs(60);

/// One run: what was asked for, what came back, what it cost.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) pace: Pace,
    /// How many were opened; in the open loop, as many as it took.
    pub(crate) connections: usize,
    /// How long was really measured.
    pub(crate) elapsed: Duration,
    /// Nanoseconds to the checked answer: from writing the call, or in the open loop from when it should have been written.
    pub(crate) latency: Histogram<u64>,
    /// Open loop: nanoseconds from when calls should have been written until they were.
    pub(crate) lateness: Histogram<u64>,
    /// Nanoseconds from writing a call to an answer that says no.
    pub(crate) refusals: Histogram<u64>,
    /// Calls that were not answered as they should, during warm-up too.
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// What the process under load used in the measured time, if one was named.
    pub(crate) cost: Option<Cost>,
    /// The same of the other processes that were named.
    pub(crate) others: Vec<Cost>,
}

/// CPU time within the measured time, and memory at its end, of the process under load and all below it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) resident_kib: u64,
    /// At most since the process began.
    pub(crate) peak_kib: u64,
    pub(crate) processes: usize,
}

/// An empty histogram of the shape all of them have.
pub(crate) fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, nanoseconds(LONGEST), 3).map_err(|error| error.to_string())
}

/// A duration as the histograms count it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A percentile of nanoseconds, in milliseconds.
pub(crate) fn milliseconds_at(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    histogram.value_at_percentile(percentile) as f64 / 1e6
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}

// === impl Cost ===

impl Cost {
    /// What was used from one look to another.
    pub(crate) fn between(before: Usage, after: Usage) -> Self {
        Self {
            user: after.user.saturating_sub(before.user),
            system: after.system.saturating_sub(before.system),
            resident_kib: after.resident_kib,
            peak_kib: after.peak_kib,
            processes: after.processes,
        }
    }

    /// User and system time.
    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

// === impl Measurement ===

impl Measurement {
    /// Good answers a second.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.latency.len() as f64 / seconds
        } else {
            0.0
        }
    }

    /// A time spread over the good answers, in microseconds.
    pub(crate) fn per_call(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / (self.latency.len().max(1)) as f64
    }

    /// Failures that satisfy a condition.
    pub(crate) fn count(&self, which: impl Fn(Failure) -> bool) -> u64 {
        let matching = self.failures.iter().filter(|(failure, _)| which(**failure));
        matching.map(|(_, count)| count).sum()
    }

    /// All failures.
    pub(crate) fn failed(&self) -> u64 {
        self.count(|_| true)
    }

    /// The same facts for programs. Latencies in microseconds.
    pub(crate) fn to_json(&self) -> Value {
        let failures: BTreeMap<String, u64> = self
            .failures
            .iter()
            .map(|(failure, count)| (failure.to_string(), *count))
            .collect();
        let cost = self.cost.map(|cost| {
            json!({
                "cpu_seconds": cost.cpu().as_secs_f64(), "cpu_microseconds_per_call": self.per_call(cost.cpu()),
                "user_microseconds_per_call": self.per_call(cost.user), "system_microseconds_per_call": self.per_call(cost.system),
                "resident_kib": cost.resident_kib, "peak_kib": cost.peak_kib, "processes": cost.processes,
            })
        });
        let mut report = json!({
            "connections": self.connections, "seconds": self.elapsed.as_secs_f64(), "calls": self.latency.len(),
            "calls_per_second": self.rate(), "latency_microseconds": percentiles(&self.latency), "failures": failures,
            "process": cost,
        });
        if let Some(members) = report.as_object_mut() {
            match self.pace {
                Pace::Closed => members.insert("loop".to_owned(), json!("closed")),
                Pace::Open { rate, .. } => {
                    members.insert("intended_calls_per_second".to_owned(), json!(rate));
                    let lateness = percentiles(&self.lateness);
                    members.insert("sent_late_microseconds".to_owned(), lateness);
                    members.insert("loop".to_owned(), json!("open"))
                }
            };
            if !self.refusals.is_empty() {
                let refusals = percentiles(&self.refusals);
                members.insert("refusal_microseconds".to_owned(), refusals);
            }
        }
        report
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{:>12.0} calls/s     {} calls in {:.2} s",
            self.rate(),
            self.latency.len(),
            self.elapsed.as_secs_f64()
        )?;
        for (name, percentile) in PERCENTILES {
            let milliseconds = milliseconds_at(&self.latency, percentile);
            writeln!(formatter, "{milliseconds:>12.3} ms {name}")?;
        }
        let longest = self.latency.max() as f64 / 1e6;
        writeln!(formatter, "{longest:>12.3} ms max")?;
        if let Some(cost) = self.cost {
            let share = cost.cpu().as_secs_f64() / self.elapsed.as_secs_f64().max(1e-9) * 100.0;
            writeln!(
                formatter,
                "{:>12.1} us CPU for each call: {:.1} user, {:.1} system ({share:.0} % of one core)",
                self.per_call(cost.cpu()),
                self.per_call(cost.user),
                self.per_call(cost.system),
            )?;
            writeln!(
                formatter,
                "{:>12.1} MiB resident, {:.1} MiB at most, {} processes",
                cost.resident_kib as f64 / 1024.0,
                cost.peak_kib as f64 / 1024.0,
                cost.processes,
            )?;
        }
        for (failure, count) in &self.failures {
            writeln!(formatter, "{count:>12} calls failed: {failure}")?;
        }
        if !self.refusals.is_empty() {
            let (half, most) = (
                milliseconds_at(&self.refusals, 50.0),
                milliseconds_at(&self.refusals, 99.0),
            );
            writeln!(
                formatter,
                "{half:>12.3} ms p50 and {most:.3} ms p99 to an answer that says no"
            )?;
        }
        match self.pace {
            Pace::Closed => write!(
                formatter,
                "closed loop, {} connections: each waits for its answer before it sends again, so a stall is seen once per connection; latencies are not corrected for that",
                self.connections
            ),
            Pace::Open { rate, .. } => write!(
                formatter,
                "open loop, {rate:.0} calls/s intended, {} connections: latencies count from when a call should have been sent; calls were sent {:.3} ms late at p50 and {:.3} ms at p99",
                self.connections,
                milliseconds_at(&self.lateness, 50.0),
                milliseconds_at(&self.lateness, 99.0),
            ),
        }
    }
}

/// In microseconds, by name.
fn percentiles(histogram: &Histogram<u64>) -> Value {
    let microseconds = |nanoseconds: u64| json!(nanoseconds as f64 / 1e3);
    let mut named: Map<String, Value> = PERCENTILES
        .into_iter()
        .map(|(name, percentile)| {
            let value = histogram.value_at_percentile(percentile);
            (name.to_owned(), microseconds(value))
        })
        .collect();
    named.insert("max".to_owned(), microseconds(histogram.max()));
    Value::Object(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
