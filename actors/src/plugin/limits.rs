//! How much one plugin may be asked to do, and how long anything of it may take.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::supervisor::duration::Span;

/// How long a call may take, unless the plugin's limits say otherwise.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// How long a plugin's end is waited for, when it was asked to end.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(6);

/// The limits of one plugin. What is absent keeps its built-in value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls that one instance carries out at a time; at most 65536. Those that come while it has so many wait.
    /// Default 256.
    pub max_calls: NonZeroU32,
    /// Calls that wait; at most 65536. One more is refused at once and may be tried again. Default 512.
    pub queue: u32,
    /// How long a call waits for its turn before it is refused and may be tried again. Default 100ms.
    pub queue_wait: Span,
    /// How long a call may take, if its caller does not wait less. Default 30s.
    pub call_timeout: Span,
    /// How long a plugin may take from being started until it says that it can serve. Longer is a failure. Default 10s.
    pub start_timeout: Span,
    /// How long calls in flight may take when an instance is stopped or replaced. Then they are given up and may be
    /// tried again. Default 2s.
    pub drain_timeout: Span,
}

/// The calls that wait for their turn, whichever instance takes them: a number with a bound.
#[derive(Debug, Default)]
pub(super) struct Queue(AtomicUsize);

/// A place in the queue. Dropping it leaves.
#[derive(Debug)]
pub(super) struct InQueue<'a>(&'a Queue);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: const { NonZeroU32::new(256).expect("not zero") },
            queue: 512,
            queue_wait: Span(Duration::from_millis(100)),
            call_timeout: Span(CALL_DEADLINE),
            start_timeout: Span(Duration::from_secs(10)),
            drain_timeout: Span(Duration::from_secs(2)),
        }
    }
}

impl Limits {
    /// The most calls in flight or waiting that can be asked for.
    const MOST: u32 = 65_536;

    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, calls) in [("max_calls", self.max_calls.get()), ("queue", self.queue)] {
            if calls > Self::MOST {
                let text = format!("{calls} calls are too many; write at most {}", Self::MOST);
                return Err((key, text));
            }
        }
        for (key, Span(time)) in [
            ("call_timeout", self.call_timeout),
            ("start_timeout", self.start_timeout),
        ] {
            if time.is_zero() {
                return Err((
                    key,
                    "nothing is done in no time; write a longer one".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

// === impl Queue ===

impl Queue {
    /// Takes one of `places`, if there is one.
    pub(super) fn enter(&self, places: u32) -> Option<InQueue<'_>> {
        let more = |waiting| (waiting < places as usize).then_some(waiting + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(InQueue(self))
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl InQueue ===

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
