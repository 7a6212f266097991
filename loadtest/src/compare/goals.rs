//! What weir wants to reach beside nginx.

use super::rounds::{Load, Results, Sample};
use super::{NGINX, WEIR};

/// A goal and what was found.
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) found: String,
    pub(super) goal: &'static str,
    pub(super) met: bool,
}

/// The goals that this run can say something about.
pub(super) fn judge(results: &Results) -> Vec<Goal> {
    let (many, few) = (Load::Closed(64), Load::Closed(16));
    let ratio = results.paired(many, WEIR, NGINX, |own, other| own.rate / other.rate);
    let added = results.paired(few, WEIR, NGINX, |own, other| own.p50 - other.p50);
    let weir = results.of(many, WEIR);
    let cpu = weir.and_then(|series| series.median_if(Sample::cpu));
    let peak = weir.and_then(|series| series.median_if(|sample| sample.peak_mib));
    let goals = [
        ratio.map(|ratio| Goal {
            what: "calls per second of weir to those of nginx, 64 connections",
            found: format!("{ratio:.2}"),
            goal: "at least 0.80",
            met: ratio >= 0.8,
        }),
        cpu.map(|cpu| Goal {
            what: "CPU of weir for each call, 64 connections",
            found: format!("{cpu:.1} µs"),
            goal: "at most 25 µs",
            met: cpu <= 25.0,
        }),
        added.map(|added| Goal {
            what: "p50 of weir over that of nginx, 16 connections",
            found: format!("{added:.0} µs"),
            goal: "below 100 µs",
            met: added < 100.0,
        }),
        peak.map(|peak| Goal {
            what: "memory of weir at most",
            found: format!("{peak:.1} MiB"),
            goal: "below 48 MiB",
            met: peak < 48.0,
        }),
    ];
    goals.into_iter().flatten().collect()
}
