//! How long an actor waits before it tries again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::supervisor::Backoff;
use crate::supervisor::backoff::{Failures, Jitter};

/// Waits longer from one try to the next.
pub(super) struct Pause {
    backoff: Backoff,
    failures: Failures,
    jitter: Jitter,
    last: Option<Instant>,
}

/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_secs(1);

// === impl Pause ===

impl Pause {
    /// From 200 ms to `cap`, doubling.
    pub(super) fn new(cap: Duration) -> Self {
        let min = Duration::from_millis(200);
        // Servers that fail together shall not all be tried in step.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), cap);
        Self {
            backoff: Backoff {
                first: min,
                min,
                cap,
                ..Backoff::default()
            },
            failures: Failures::default(),
            jitter: Jitter::new(seed),
            last: None,
        }
    }

    /// Waits. After a minute without failures it begins with the shortest wait again.
    pub(super) async fn wait(&mut self) {
        if self
            .last
            .is_some_and(|last| last.elapsed() >= self.backoff.reset_after)
        {
            self.failures.reset();
        }
        sleep(self.backoff.next(&mut self.failures, &mut self.jitter)).await;
        self.last = Some(Instant::now());
    }

    /// Waits, and as long as `condition` holds waits on.
    pub(super) async fn wait_while(&mut self, condition: impl Fn() -> bool) {
        loop {
            self.wait().await;
            if !condition() {
                return;
            }
            while condition() {
                sleep(LOOK).await;
            }
        }
    }
}
