//! Sessions that are over, so that their ids stay bad.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

/// How long a session that is over is remembered at least, unless [`MOST`] others are over since then.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// The most sessions of one generation; two of them take 40 MiB at most.
const MOST: usize = 500_000;

/// The numbers of sessions that are over, in two generations: the old one is forgotten as a whole. A number costs some
/// thirty bytes, since there is one for every client that just went away.
#[derive(Debug)]
pub(super) struct Ended(Mutex<Generations>);

#[derive(Debug)]
struct Generations {
    young: HashSet<u128, RandomState>,
    old: HashSet<u128, RandomState>,
    /// When the young ones were begun.
    since: Instant,
}

// === impl Ended ===

impl Ended {
    /// Nothing is over yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Generations {
            young: HashSet::default(),
            old: HashSet::default(),
            since: Instant::now(),
        }))
    }

    /// Remembers that a session is over.
    pub(super) fn insert(&self, key: u128) {
        let mut generations = self.lock();
        generations.young.insert(key);
        if generations.young.len() >= MOST {
            generations.turn();
        }
    }

    /// Whether it is known that a session is over.
    pub(super) fn contains(&self, key: u128) -> bool {
        let generations = self.lock();
        generations.young.contains(&key) || generations.old.contains(&key)
    }

    /// Forgets what is too old. Called now and then.
    pub(super) fn sweep(&self) {
        let mut generations = self.lock();
        if generations.since.elapsed() >= REMEMBERED {
            generations.turn();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Generations ===

impl Generations {
    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_remembered_for_a_day_and_forgotten_after_two() {
        let ended = Ended::new();
        ended.insert(1);
        tokio::time::advance(REMEMBERED - Duration::from_secs(1)).await;
        ended.sweep();
        ended.insert(2);
        tokio::time::advance(Duration::from_secs(1)).await;
        ended.sweep();
        assert!(ended.contains(1) && ended.contains(2) && !ended.contains(3));
        tokio::time::advance(REMEMBERED).await;
        ended.sweep();
        assert!(!ended.contains(1) && !ended.contains(2));
    }

    #[test]
    fn no_more_than_two_generations_are_remembered_and_the_latest_always() {
        let ended = Ended::new();
        for key in 0..2 * MOST as u128 {
            ended.insert(key);
        }
        assert!(!ended.contains(0));
        assert!(ended.contains(2 * MOST as u128 - 1));
        let generations = ended.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * MOST);
    }
}
