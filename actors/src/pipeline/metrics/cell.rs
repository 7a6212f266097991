//! What is counted in: plain atomics, so that counting on the hot path takes no lock and knows no labels.
//!
//! Each worker has cells of its own ([`super::family`] adds them up when somebody looks), so an addition is to a cache
//! line that no other processor writes to.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto;

use super::bounds::Bounds;

/// One of the things that a family has for every combination of labels.
pub(super) trait Cell: Debug + Send + Sync + 'static {
    /// What a new one needs to know.
    type Shape: Copy + Debug + Send + Sync;
    /// The type that Prometheus is told.
    const TYPE: proto::MetricType;

    /// One that has counted nothing.
    fn new(shape: Self::Shape) -> Self;

    /// Shows what several of them have counted together.
    fn show<'a>(
        shape: Self::Shape,
        cells: impl Iterator<Item = &'a Self>,
        shown: &mut proto::Metric,
    );
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

/// Durations by the upper bounds of their buckets, and their sum.
#[derive(Debug)]
pub(super) struct Timing {
    bounds: &'static Bounds,
    /// One more than there are bounds: the last is for what is longer than all of them.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

// === impl Count ===

impl Count {
    /// One more.
    pub(super) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cell for Count {
    type Shape = ();
    const TYPE: proto::MetricType = proto::MetricType::COUNTER;

    fn new((): ()) -> Self {
        Self::default()
    }

    fn show<'a>((): (), cells: impl Iterator<Item = &'a Self>, shown: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        counter.set_value(cells.map(Self::get).sum::<u64>() as f64);
        shown.set_counter(counter);
    }
}

// === impl Timing ===

impl Timing {
    /// One more duration, in nanoseconds.
    pub(super) fn observe(&self, nanoseconds: u64) {
        if let Some(count) = self.counts.get(self.bounds.place(nanoseconds)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// A duration as [`Timing::observe`] takes it. What is longer than 584 years is not.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

impl Cell for Timing {
    type Shape = &'static Bounds;
    const TYPE: proto::MetricType = proto::MetricType::HISTOGRAM;

    fn new(bounds: &'static Bounds) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.upper().len())
                .map(|_| AtomicU64::new(0))
                .collect(),
            nanoseconds: AtomicU64::new(0),
        }
    }

    fn show<'a>(
        bounds: &'static Bounds,
        cells: impl Iterator<Item = &'a Self>,
        shown: &mut proto::Metric,
    ) {
        let mut counts = vec![0; bounds.upper().len() + 1];
        let mut seconds = 0.0;
        for cell in cells {
            for (sum, count) in counts.iter_mut().zip(&cell.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
            seconds += in_seconds(cell.nanoseconds.load(Ordering::Relaxed));
        }
        let mut so_far = 0;
        let buckets = bounds.upper().iter().zip(&counts).map(|(bound, count)| {
            so_far += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(in_seconds(*bound));
            bucket.set_cumulative_count(so_far);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        // The sum of the buckets, whatever is being added meanwhile: the two never contradict each other.
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(seconds);
        shown.set_histogram(histogram);
    }
}

fn in_seconds(nanoseconds: u64) -> f64 {
    // Divided, so that the bound of 100 µs reads 0.0001.
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: Bounds = Bounds::new(&[1_000, 10_000]);

    #[test]
    fn a_duration_counts_where_its_bound_is() {
        let (one, other) = (Timing::new(&BOUNDS), Timing::new(&BOUNDS));
        for nanoseconds in [0, 1_000, 1_001, 10_000] {
            one.observe(nanoseconds);
        }
        other.observe(10_001);
        other.observe(nanoseconds(Duration::MAX));
        let mut shown = proto::Metric::default();
        Timing::show(&BOUNDS, [&one, &other].into_iter(), &mut shown);
        let histogram = shown.get_histogram();
        let buckets = histogram.get_bucket().iter();
        let buckets: Vec<_> = buckets
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
            .collect();
        assert_eq!(buckets, [(0.000_001, 2), (0.000_01, 4)]);
        assert_eq!(histogram.get_sample_count(), 6);
    }
}
