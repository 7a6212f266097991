//! Rounds in which everybody has a turn, and their medians.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::contestant::Contestant;
use super::environment::Environment;
use super::goals::Goal;
use crate::load::Pace;
use crate::measurement::{Cost, Measurement, median, milliseconds_at};
use crate::message::Era;

/// What is asked of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// So many connections, each as fast as its answers come.
    Closed(u16),
    /// So many calls a second.
    Open(u32),
}

/// How it is measured.
pub(super) struct Rounds {
    pub(super) loads: Vec<Load>,
    pub(super) rounds: u32,
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
    pub(super) era: Era,
    pub(super) message_bytes: usize,
    /// The process of the server behind all.
    pub(super) upstream: u32,
}

/// One contestant in one round. Times in microseconds, of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) rate: f64,
    pub(super) user: Option<f64>,
    pub(super) system: Option<f64>,
    pub(super) upstream_cpu: f64,
    pub(super) generator_cpu: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) longest: f64,
    pub(super) resident_mib: Option<f64>,
    pub(super) peak_mib: Option<f64>,
    pub(super) failures: BTreeMap<String, u64>,
}

/// One contestant under one load, in all rounds.
pub(super) struct Series {
    pub(super) load: Load,
    pub(super) name: String,
    pub(super) samples: Vec<Sample>,
}

/// Everything that was measured.
pub(super) struct Results {
    /// Names and descriptions.
    pub(super) contestants: Vec<(String, String)>,
    pub(super) loads: Vec<Load>,
    pub(super) series: Vec<Series>,
}

// === impl Rounds ===

impl Rounds {
    /// Measures everybody. In each round somebody else begins.
    pub(super) fn run(&self, contestants: &mut [Contestant]) -> Result<Results, String> {
        let mut results = Results {
            contestants: contestants
                .iter()
                .map(|contestant| (contestant.name.clone(), contestant.description.clone()))
                .collect(),
            loads: self.loads.clone(),
            series: Vec::new(),
        };
        for load in &self.loads {
            for round in 0..self.rounds {
                contestants.rotate_left(usize::from(round > 0));
                for contestant in contestants.iter_mut() {
                    eprintln!(
                        "round {} of {}, {load}: {}",
                        round + 1,
                        self.rounds,
                        contestant.name
                    );
                    let measurement = self.measure(contestant, *load)?;
                    contestant.is_alive()?;
                    results.add(*load, &contestant.name, Sample::of(&measurement));
                }
            }
        }
        Ok(results)
    }

    fn measure(&self, contestant: &Contestant, load: Load) -> Result<Measurement, String> {
        let mut plan = contestant.plan(self.era);
        plan.warmup = self.warmup;
        plan.measured = self.measured;
        plan.text.message_bytes = self.message_bytes;
        plan.others = vec![self.upstream, std::process::id()];
        match load {
            Load::Closed(connections) => plan.connections = connections.into(),
            Load::Open(rate) => {
                plan.connections = 16;
                plan.pace = Pace::Open {
                    rate: rate.into(),
                    max_connections: 1_024,
                };
            }
        }
        plan.run()
    }
}

// === impl Sample ===

impl Sample {
    fn of(measurement: &Measurement) -> Self {
        let at = |percentile: f64| milliseconds_at(&measurement.latency, percentile) * 1e3;
        let cost = measurement.cost;
        let cpu = |cost: Option<&Cost>| cost.map_or(0.0, |cost| measurement.per_call(cost.cpu()));
        let failures = measurement.failures.iter();
        Self {
            rate: measurement.rate(),
            user: cost.map(|cost| measurement.per_call(cost.user)),
            system: cost.map(|cost| measurement.per_call(cost.system)),
            upstream_cpu: cpu(measurement.others.first()),
            generator_cpu: cpu(measurement.others.get(1)),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            longest: at(100.0),
            resident_mib: cost.map(|cost| cost.resident_kib as f64 / 1024.0),
            peak_mib: cost.map(|cost| cost.peak_kib as f64 / 1024.0),
            failures: failures
                .map(|(failure, count)| (failure.to_string(), *count))
                .collect(),
        }
    }

    /// User and system time.
    pub(super) fn cpu(&self) -> Option<f64> {
        Some(self.user? + self.system?)
    }
}

// === impl Results ===

impl Results {
    /// What one contestant did under one load.
    pub(super) fn of(&self, load: Load, name: &str) -> Option<&Series> {
        self.series
            .iter()
            .find(|series| series.load == load && series.name == name)
    }

    /// Failed calls of everybody.
    pub(super) fn failed(&self) -> u64 {
        self.series.iter().map(Series::failed).sum()
    }

    /// The median over the rounds of something of two contestants in the same round.
    pub(super) fn paired(
        &self,
        load: Load,
        name: &str,
        other: &str,
        what: impl Fn(&Sample, &Sample) -> f64,
    ) -> Option<f64> {
        let (own, others) = (self.of(load, name)?, self.of(load, other)?);
        let pairs = own.samples.iter().zip(&others.samples);
        median(pairs.map(|(own, other)| what(own, other)).collect())
    }

    fn add(&mut self, load: Load, name: &str, sample: Sample) {
        let known = self
            .series
            .iter_mut()
            .find(|series| series.load == load && series.name == name);
        match known {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series {
                load,
                name: name.to_owned(),
                samples: vec![sample],
            }),
        }
    }

    /// Everything for programs. Times in microseconds.
    pub(super) fn to_json(&self, environment: &Environment, goals: &[Goal]) -> Value {
        let series: Vec<Value> = self.series.iter().map(Series::to_json).collect();
        let goals: Vec<Value> = goals
            .iter()
            .map(|goal| json!({ "what": goal.what, "found": goal.found, "goal": goal.goal, "met": goal.met }))
            .collect();
        json!({ "environment": environment.to_json(), "series": series, "goals": goals })
    }
}

// === impl Series ===

impl Series {
    /// The median over the rounds.
    pub(super) fn median(&self, what: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(what).collect()).unwrap_or_default()
    }

    /// The same of what not everybody has.
    pub(super) fn median_if(&self, what: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples.iter().filter_map(what).collect())
    }

    /// The smallest and the largest of all rounds.
    pub(super) fn range(&self, what: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let values = self.samples.iter().map(what);
        values.fold((f64::INFINITY, 0.0), |(least, most), value| {
            (f64::min(least, value), f64::max(most, value))
        })
    }

    pub(super) fn failed(&self) -> u64 {
        self.samples
            .iter()
            .flat_map(|sample| sample.failures.values())
            .sum()
    }

    fn to_json(&self) -> Value {
        let each =
            |what: fn(&Sample) -> f64| -> Vec<f64> { self.samples.iter().map(what).collect() };
        json!({
            "contestant": self.name, "load": self.load.to_string(), "failed": self.failed(),
            "failures": self.samples.iter().map(|sample| json!(sample.failures)).collect::<Vec<_>>(),
            "calls_per_second": { "median": self.median(|sample| sample.rate), "rounds": each(|sample| sample.rate) },
            "cpu": self.median_if(Sample::cpu), "user": self.median_if(|sample| sample.user),
            "system": self.median_if(|sample| sample.system),
            "upstream_cpu": self.median(|sample| sample.upstream_cpu),
            "generator_cpu": self.median(|sample| sample.generator_cpu),
            "p50": self.median(|sample| sample.p50), "p90": self.median(|sample| sample.p90),
            "p99": self.median(|sample| sample.p99), "p99.9": self.median(|sample| sample.p999),
            "max": self.median(|sample| sample.longest),
            "resident_mib": self.median_if(|sample| sample.resident_mib),
            "peak_mib": self.median_if(|sample| sample.peak_mib),
        })
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(connections) => write!(formatter, "{connections} connections"),
            Self::Open(rate) => write!(formatter, "{rate} calls/s"),
        }
    }
}
