//! What happened in the last ten seconds, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far back it is counted, in seconds.
pub(super) const SECONDS: u64 = 10;

/// Bits of each of the two counts of a second; more than 4 million of either in one second count as that.
const COUNT_BITS: u32 = 22;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Calls and failures by the second: each second is one word, made of its number and the two counts.
#[derive(Debug, Default)]
pub(super) struct Window {
    seconds: [AtomicU64; SECONDS as usize],
}

/// Calls, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

// === impl Window ===

impl Window {
    /// Counts one call that ended in this second.
    pub(super) fn count(&self, second: u64, failed: bool) {
        let Some(word) = self.seconds.get((second % SECONDS) as usize) else {
            return;
        };
        let add = |word| {
            let mut counted = if of_second(word, second) {
                unpack(word)
            } else {
                Counted::default()
            };
            counted.calls = (counted.calls + 1).min(COUNT_MAX);
            counted.failures = (counted.failures + u64::from(failed)).min(COUNT_MAX);
            Some(pack(second, counted))
        };
        // It is tried again until it succeeds.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for word in &self.seconds {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The sum of the last ten seconds, this one included.
    pub(super) fn sum(&self, second: u64) -> Counted {
        let mut sum = Counted::default();
        for past in second.saturating_sub(SECONDS - 1)..=second {
            let word = self.seconds.get((past % SECONDS) as usize);
            let word = word.map_or(0, |word| word.load(Ordering::Relaxed));
            if of_second(word, past) {
                let counted = unpack(word);
                sum.calls += counted.calls;
                sum.failures += counted.failures;
            }
        }
        sum
    }
}

/// What remains of a second's number: it comes round after twelve days.
fn mark(second: u64) -> u64 {
    // A word that was never written is of no second.
    (second + 1) << (2 * COUNT_BITS)
}

fn of_second(word: u64, second: u64) -> bool {
    word >> (2 * COUNT_BITS) == mark(second) >> (2 * COUNT_BITS)
}

fn pack(second: u64, counted: Counted) -> u64 {
    mark(second) | counted.calls << COUNT_BITS | counted.failures
}

fn unpack(word: u64) -> Counted {
    Counted {
        calls: word >> COUNT_BITS & COUNT_MAX,
        failures: word & COUNT_MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_last_ten_seconds(
            steps in prop::collection::vec((0_u64..4, any::<bool>()), 0..200),
            start in 0_u64..3_000_000,
        ) {
            let window = Window::default();
            let mut all = Vec::new();
            let mut second = start;
            for (step, failed) in steps {
                second += step;
                window.count(second, failed);
                all.push((second, failed));
                let recent = all.iter().filter(|(when, _)| when + SECONDS > second);
                let failures = recent.clone().filter(|(_, failed)| *failed).count() as u64;
                let calls = recent.count() as u64;
                prop_assert_eq!(window.sum(second), Counted { calls, failures });
            }
        }
    }
}
