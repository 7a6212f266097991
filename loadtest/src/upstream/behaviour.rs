//! How the server treats calls: well, unless it is told otherwise.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The exit code of a crash on purpose.
const CRASHED: i32 = 3;

/// How calls are treated.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// Milliseconds before a call is answered.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) delay_ms: u64,
    /// Up to so many milliseconds more, evenly spread.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) jitter_ms: u64,
    /// Bytes of text in each answer, besides the message.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=8_000_000))]
    pub(crate) answer_bytes: u32,
    /// Calls are read and never answered; everything else is.
    #[arg(long)]
    pub(crate) hang: bool,
    /// The process ends, unanswered calls and all, when this call comes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) crash_after_calls: Option<u64>,
    /// The process ends after so many milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) crash_after_ms: Option<u64>,
    /// Each time that so many calls have come, one is answered with the message of the call before it.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) misroute_every: Option<u64>,
    /// It hangs, crashes and mixes up only while this file exists.
    #[arg(long)]
    pub(crate) only_while: Option<PathBuf>,
}

/// The behaviour with what it has to remember.
#[derive(Debug, Default)]
pub(super) struct State {
    behaviour: Behaviour,
    calls: AtomicU64,
    /// The message of the last call, as JSON. Kept only for who mixes answers up.
    last: Mutex<String>,
    /// Of the random numbers.
    seed: AtomicU64,
}

// === impl State ===

impl State {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            seed: AtomicU64::new(u64::from(std::process::id())),
            ..Self::default()
        }
    }

    /// Waits as long as a call has to. Returns the message to answer with if it is not the call's own.
    pub(super) async fn receive(&self, message: &str) -> Option<String> {
        let behaviour = &self.behaviour;
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let bad = self.is_bad();
        if bad
            && behaviour
                .crash_after_calls
                .is_some_and(|after| number >= after)
        {
            std::process::exit(CRASHED);
        }
        if bad && behaviour.hang {
            std::future::pending::<()>().await;
        }
        let wait = behaviour.delay_ms + self.random(behaviour.jitter_ms);
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let every = behaviour.misroute_every?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, message.to_owned());
        (bad && number.is_multiple_of(every) && !before.is_empty()).then_some(before)
    }

    /// Bytes of text besides the message.
    pub(super) fn answer_bytes(&self) -> usize {
        self.behaviour.answer_bytes as usize
    }

    /// Starts the clock of a process that ends by itself.
    pub(super) fn crash_in_time(self: &Arc<Self>) {
        let Some(after) = self.behaviour.crash_after_ms.map(Duration::from_millis) else {
            return;
        };
        let state = Arc::clone(self);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(after);
                if state.is_bad() {
                    std::process::exit(CRASHED);
                }
            }
        });
    }

    fn is_bad(&self) -> bool {
        let file = self.behaviour.only_while.as_ref();
        file.is_none_or(|file| file.exists())
    }

    /// From 0 to `most`, by splitmix64.
    fn random(&self, most: u64) -> u64 {
        if most == 0 {
            return 0;
        }
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self
            .seed
            .fetch_add(step, Ordering::Relaxed)
            .wrapping_add(step);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % (most + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bound_and_reaches_it() {
        let state = State::new(Behaviour::default());
        let drawn: std::collections::BTreeSet<u64> = (0..500).map(|_| state.random(9)).collect();
        assert_eq!(drawn.len(), 10);
        assert!(drawn.contains(&0) && drawn.contains(&9));
    }

    #[tokio::test]
    async fn every_third_answer_is_the_one_before() {
        let state = State::new(Behaviour {
            misroute_every: Some(3),
            ..Behaviour::default()
        });
        let mut answers = Vec::new();
        for message in ["a", "b", "c", "d"] {
            answers.push(state.receive(message).await);
        }
        assert_eq!(answers, [None, None, Some("b".to_owned()), None]);
    }
}
