//! The figures as rows of text, for both reports.

use super::NGINX;
use super::rounds::{Load, Results, Sample, Series};

const COLUMNS: usize = 13;

/// What the columns are called.
pub(super) const HEADINGS: [&str; COLUMNS] = [
    "",
    "calls/s",
    "to nginx",
    "CPU µs/call",
    "user",
    "system",
    "generator + server",
    "p50 µs",
    "p90 µs",
    "p99 µs",
    "p99.9 µs",
    "memory MiB (at most)",
    "failed",
];

/// One row for each contestant.
pub(super) fn rows(results: &Results, load: Load) -> Vec<[String; COLUMNS]> {
    results
        .contestants
        .iter()
        .filter_map(|(name, _)| results.of(load, name))
        .map(|series| row(results, series))
        .collect()
}

fn row(results: &Results, series: &Series) -> [String; COLUMNS] {
    let ratio = results.paired(series.load, &series.name, NGINX, |own, other| {
        own.rate / other.rate
    });
    let tenths = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| format!("{value:.1}"));
    let whole = |value: f64| format!("{value:.0}");
    let memory = match (
        series.median_if(|sample| sample.resident_mib),
        series.median_if(|sample| sample.peak_mib),
    ) {
        (Some(resident), Some(peak)) => format!("{resident:.1} ({peak:.1})"),
        _ => NONE.to_owned(),
    };
    [
        series.name.clone(),
        whole(series.median(|sample| sample.rate)),
        ratio.map_or(NONE.to_owned(), |ratio| format!("{ratio:.2}")),
        tenths(series.median_if(Sample::cpu)),
        tenths(series.median_if(|sample| sample.user)),
        tenths(series.median_if(|sample| sample.system)),
        format!(
            "{:.1} + {:.1}",
            series.median(|sample| sample.generator_cpu),
            series.median(|sample| sample.upstream_cpu)
        ),
        whole(series.median(|sample| sample.p50)),
        whole(series.median(|sample| sample.p90)),
        whole(series.median(|sample| sample.p99)),
        whole(series.median(|sample| sample.p999)),
        memory,
        series.failed().to_string(),
    ]
}

/// A cell without a value.
const NONE: &str = "–";

/// What one load is called.
pub(super) fn title(load: Load) -> String {
    match load {
        Load::Closed(connections) => {
            format!("{connections} connections, each waits for its answer")
        }
        Load::Open(rate) => format!("{rate} calls a second, whatever the answers do"),
    }
}

/// How the figures are to be read.
pub(super) const NOTES: [&str; 5] = [
    "CPU is user and system time of the process under test with all its threads and child processes, for each good answer, in ticks of 10 ms. The generator and the server behind share the cores with it and take what stands beside it.",
    "Closed loop: latency counts from sending; a stall is seen once per connection. Calls a second (open loop): latency counts from when a call should have been sent, so that a stall is seen by every call that it delays.",
    "All take turns in each round, and in each round somebody else begins; ratios are of the same round; what is shown are medians.",
    "Memory is resident memory at the end, and at most since the start; pages that several processes share count for each.",
    "Every answer is checked: its id, and that it contains the caller's own text.",
];
