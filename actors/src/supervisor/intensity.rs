//! How many restarts are too many.

use std::collections::VecDeque;
use std::time::Duration;

/// More than `restarts` within `period` is too many: OTP's `intensity` and `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts allowed within the period. Zero gives up at the first.
    pub restarts: u32,
    /// The length of the sliding window.
    pub period: Duration,
}

/// The restarts that still count.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<Duration>);

// === impl Intensity ===

impl Intensity {
    /// Five in thirty seconds.
    pub const DEFAULT: Self = Self {
        restarts: 5,
        period: Duration::from_secs(30),
    };

    /// Three in a minute: a root that is restarted more often gives its process up.
    pub const ROOT: Self = Self {
        restarts: 3,
        period: Duration::from_secs(60),
    };
}

impl Default for Intensity {
    fn default() -> Self {
        Self::DEFAULT
    }
}

// === impl Window ===

impl Window {
    /// Counts a restart and returns whether it is one too many. A restart exactly `period` ago still counts.
    pub fn exceeded(&mut self, now: Duration, intensity: Intensity) -> bool {
        while self
            .0
            .front()
            .is_some_and(|then| now.saturating_sub(*then) > intensity.period)
        {
            self.0.pop_front();
        }
        self.0.push_back(now);
        let allowed = usize::try_from(intensity.restarts).unwrap_or(usize::MAX);
        if self.0.len() <= allowed {
            return false;
        }
        // Over the limit: what is kept must not grow with every further restart.
        self.0.pop_front();
        true
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
