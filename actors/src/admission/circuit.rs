//! When a server is left alone for a while, and when it is tried again.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Counted;

/// Failures in a row that mean that nobody is there.
pub(super) const IN_A_ROW: u32 = 5;
/// Calls within ten seconds from which on the share of failures says something.
pub(super) const ENOUGH_CALLS: u64 = 20;
/// How long a server is left alone at first.
pub(super) const FIRST: Duration = Duration::from_secs(1);
/// How long it is left alone at most; each trial that fails doubles the time until then.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// By how much each time differs by chance, up or down, so that many gateways do not try together.
const JITTER: f64 = 0.2;

/// How a call ended that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or no answer in time.
    Unreachable,
    /// An answer that is none, or a connection that was cut.
    Broken,
}

/// The decisions about one server. Pure: time and chance are told to it.
#[derive(Debug)]
pub(super) struct Breaker {
    phase: Phase,
    /// How long it is left alone the next time.
    next: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    Trial,
}

/// What is shown of a server's circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls are refused.
    Open {
        /// When it will be tried again.
        retry_after: Duration,
    },
    /// One call is trying; the others are refused.
    Trial,
}

/// What changed, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The server is left alone for this time.
    Opened(Duration),
    /// The trial succeeded.
    Closed,
}

// === impl Failure ===

impl Failure {
    /// Whether a failure after which this is known of the server means that it is left alone.
    pub(super) fn trips(in_a_row: u32, recent: Counted) -> bool {
        let half = recent.failures * 2 >= recent.calls;
        in_a_row >= IN_A_ROW || (recent.calls >= ENOUGH_CALLS && half)
    }
}

// === impl Breaker ===

impl Default for Breaker {
    fn default() -> Self {
        Self {
            phase: Phase::Closed,
            next: FIRST,
        }
    }
}

impl Breaker {
    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    pub(super) fn state(&self, now: Instant) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { until } => CircuitState::Open {
                retry_after: until.saturating_duration_since(now),
            },
            Phase::Trial => CircuitState::Trial,
        }
    }

    /// Lets a call through: `true` if it is the trial.
    ///
    /// # Errors
    /// When to come again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<bool, Duration> {
        match self.phase {
            Phase::Closed => Ok(false),
            Phase::Open { until } if now < until => Err(until - now),
            Phase::Open { .. } => {
                self.phase = Phase::Trial;
                Ok(true)
            }
            Phase::Trial => Err(FIRST),
        }
    }

    /// Calls fail in such a way that the server is left alone. `chance` is from 0 to 1.
    pub(super) fn trip(&mut self, now: Instant, chance: f64) -> Option<Change> {
        self.is_closed().then(|| self.open(now, chance))
    }

    /// The trial failed.
    pub(super) fn trial_failed(&mut self, now: Instant, chance: f64) -> Option<Change> {
        (self.phase == Phase::Trial).then(|| self.open(now, chance))
    }

    /// The trial succeeded.
    pub(super) fn trial_succeeded(&mut self) -> Option<Change> {
        let trying = self.phase == Phase::Trial;
        trying.then(|| {
            *self = Self::default();
            Change::Closed
        })
    }

    /// The trial was given up before it said anything: the next call is one.
    pub(super) fn trial_given_up(&mut self, now: Instant) {
        if self.phase == Phase::Trial {
            self.phase = Phase::Open { until: now };
        }
    }

    fn open(&mut self, now: Instant, chance: f64) -> Change {
        let alone = self.next.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
        self.phase = Phase::Open { until: now + alone };
        self.next = (self.next * 2).min(LONGEST);
        Change::Opened(alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: f64) -> Duration {
        Duration::from_secs_f64(number)
    }

    #[test]
    fn five_in_a_row_or_half_of_twenty() {
        let counted = |calls, failures| Counted { calls, failures };
        for (in_a_row, recent, trips) in [
            (4, counted(4, 4), false),
            (5, counted(5, 5), true),
            (5, counted(100_000, 5), true),
            (1, counted(19, 19), false),
            (1, counted(20, 9), false),
            (1, counted(20, 10), true),
            (1, counted(21, 10), false),
            (0, counted(0, 0), false),
        ] {
            assert_eq!(
                Failure::trips(in_a_row, recent),
                trips,
                "{in_a_row} {recent:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn times_double_up_to_the_longest_and_a_success_ends_it() {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        assert_eq!(breaker.admit(now), Ok(false));
        assert_eq!(breaker.trip(now, 0.5), Some(Change::Opened(seconds(1.0))));
        // What was under way fails too: that is no news.
        assert_eq!(breaker.trip(now, 0.5), None);
        for alone in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            assert_eq!(breaker.admit(now), Err(seconds(alone)));
            now += seconds(alone);
            assert_eq!(breaker.admit(now), Ok(true));
            // One trial at a time.
            assert_eq!(breaker.admit(now), Err(FIRST));
            assert_eq!(breaker.state(now), CircuitState::Trial);
            let next = seconds((alone * 2.0).min(30.0));
            assert_eq!(breaker.trial_failed(now, 0.5), Some(Change::Opened(next)));
            assert_eq!(breaker.state(now), CircuitState::Open { retry_after: next });
        }
        now += LONGEST;
        assert_eq!(breaker.admit(now), Ok(true));
        breaker.trial_given_up(now);
        assert_eq!(breaker.admit(now), Ok(true));
        assert_eq!(breaker.trial_succeeded(), Some(Change::Closed));
        assert_eq!(breaker.state(now), CircuitState::Closed);
        // It begins with a second again.
        assert_eq!(breaker.trip(now, 0.5), Some(Change::Opened(FIRST)));
    }

    #[tokio::test(start_paused = true)]
    async fn chance_moves_a_time_by_a_fifth() {
        let now = Instant::now();
        for (chance, alone) in [(0.0, 0.8), (1.0, 1.2)] {
            let change = Breaker::default().trip(now, chance);
            assert_eq!(change, Some(Change::Opened(seconds(alone))));
        }
    }
}
