//! What becomes of requests, and how long it takes.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::{Error, Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::register::Register;
use super::{LATENCY_BUCKETS, method};
use crate::pipeline::{Arrival, Facts, Outcome, Verdict};

/// Counts and times of requests.
#[derive(Debug)]
pub(super) struct Requests {
    verdicts: HashMap<&'static str, [IntCounter; Verdict::ALL.len()]>,
    duration: HashMap<&'static str, Histogram>,
    overhead: Histogram,
    upstream: IntCounterVec,
    upstream_duration: HistogramVec,
}

// === impl Requests ===

impl Requests {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        let requests = register.counters(
            "weir_requests_total",
            "Requests that reached the gateway, by method and verdict.",
            &["method", "verdict"],
        )?;
        let duration = register.histograms(
            "weir_request_duration_seconds",
            "From arrival to answer.",
            &["method"],
            &LATENCY_BUCKETS,
        )?;
        let verdicts = |method| {
            let counter =
                |verdict: Verdict| requests.with_label_values(&[method, verdict.as_str()]);
            (method, Verdict::ALL.map(counter))
        };
        let overhead = register.histograms(
            "weir_overhead_seconds",
            "From arrival to answer without the time spent waiting for the upstream.",
            &[],
            &LATENCY_BUCKETS,
        )?;
        Ok(Self {
            verdicts: method::all().map(verdicts).collect(),
            duration: method::all()
                .map(|method| (method, duration.with_label_values(&[method])))
                .collect(),
            overhead: overhead.with_label_values::<&str>(&[]),
            upstream: register.counters(
                "weir_upstream_requests_total",
                "Requests sent to an upstream, by verdict.",
                &["server", "verdict"],
            )?,
            upstream_duration: register.histograms(
                "weir_upstream_duration_seconds",
                "Time spent waiting for an upstream.",
                &["server"],
                &LATENCY_BUCKETS,
            )?,
        })
    }

    pub(super) fn settled(
        &self,
        arrival: &Arrival,
        facts: &Facts,
        outcome: &Outcome,
        total: Duration,
    ) {
        let method = method::label(&arrival.request);
        if let Some(counter) = self
            .verdicts
            .get(method)
            .and_then(|verdicts| verdicts.get(outcome.verdict.index()))
        {
            counter.inc();
        }
        if let Some(histogram) = self.duration.get(method) {
            histogram.observe(total.as_secs_f64());
        }
        self.overhead
            .observe(total.saturating_sub(facts.upstream_time).as_secs_f64());
        if let Some(server) = &facts.server {
            self.upstream
                .with_label_values(&[server.as_str(), outcome.verdict.as_str()])
                .inc();
            self.upstream_duration
                .with_label_values(&[server.as_str()])
                .observe(facts.upstream_time.as_secs_f64());
        }
    }
}
