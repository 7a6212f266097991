//! How long to wait before a restart.

use std::time::Duration;

/// Exponential delays with jitter.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The delay before the first restart. Default 100 ms; zero restarts at once.
    pub first: Duration,
    /// What the delay grows from: the second restart waits `min * factor`. Default 100 ms;
    /// never zero, or a child that always fails would hold its thread.
    pub min: Duration,
    /// The growth from one restart to the next. Default 2.
    pub factor: f64,
    /// The longest delay before jitter, and the interval of trials in quarantine. Default 30 s.
    pub cap: Duration,
    /// The share of the delay that is random, both ways: 0.2 is plus or minus a fifth. Default 0.2.
    pub jitter: f64,
    /// Running this long forgets earlier failures. Default 60 s.
    pub reset_after: Duration,
}

/// The failures of one child in a row.
#[derive(Clone, Debug, Default)]
pub struct Failures(u32);

/// A small generator for jitter (splitmix64): the same seed gives the same delays.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            min: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.2,
            reset_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// For what stands in the way of requests: at once, then from 20 ms on, with the default cap.
    pub fn prompt() -> Self {
        Self {
            first: Duration::ZERO,
            min: Duration::from_millis(10),
            ..Self::default()
        }
    }

    /// Returns the delay before the next restart and counts it.
    pub fn next(&self, failures: &mut Failures, jitter: &mut Jitter) -> Duration {
        let earlier = failures.0;
        failures.0 = failures.0.saturating_add(1);
        let base = if earlier == 0 {
            self.first.as_secs_f64()
        } else {
            self.min.as_secs_f64() * self.factor.powf(f64::from(earlier))
        };
        self.spread(base.min(self.cap.as_secs_f64()), jitter)
    }

    /// Returns the time until the next trial of a quarantined child.
    pub fn trial(&self, jitter: &mut Jitter) -> Duration {
        self.spread(self.cap.as_secs_f64(), jitter)
    }

    fn spread(&self, seconds: f64, jitter: &mut Jitter) -> Duration {
        let spread = seconds * (1.0 + self.jitter * jitter.next());
        Duration::try_from_secs_f64(spread).unwrap_or(self.cap)
    }
}

// === impl Failures ===

impl Failures {
    /// Forgets them.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

// === impl Jitter ===

impl Jitter {
    /// Returns a generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number of at least -1 and less than 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let unit = f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / 4_294_967_296.0;
        unit.mul_add(2.0, -1.0)
    }
}
