//! How much memory the process takes, and what is refused before there is none left.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long a reading is good. Whoever asks first after that reads anew; when nobody asks, nothing is read.
const GOOD_FOR: Duration = Duration::from_millis(200);
/// Hundredths of the limit from which on no new streams are opened and connections are not kept.
const HIGH: u64 = 80;
/// Hundredths of the limit from which on no new requests are served.
const CRITICAL: u64 = 90;

/// Reads a number of bytes, if it can be had.
pub type Reading = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Watches the memory of the process against its limit. One for all workers: a look costs two atomic reads, and five times
/// a second somebody's look costs a read of the counters of the system.
pub struct MemoryGuard {
    used: Reading,
    limit: Reading,
    made: Instant,
    /// Milliseconds from `made` until the last reading, plus one; 0: there was none.
    read_at: AtomicU64,
    /// Hundredths of the limit.
    share: AtomicU64,
}

/// How scarce memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is enough, or no limit.
    None,
    /// No new streams.
    High,
    /// No new requests.
    Critical,
}

// === impl MemoryGuard ===

impl MemoryGuard {
    /// A guard that learns from the first how much memory is taken, and from the second how much may be.
    pub fn new(used: Reading, limit: Reading) -> Self {
        Self {
            used,
            limit,
            made: Instant::now(),
            read_at: AtomicU64::new(0),
            share: AtomicU64::new(0),
        }
    }

    /// How scarce memory is now.
    pub fn pressure(&self, now: Instant) -> Pressure {
        let since = now.saturating_duration_since(self.made).as_millis();
        let now = u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1);
        let read_at = self.read_at.load(Ordering::Relaxed);
        let due = read_at == 0 || now.saturating_sub(read_at) >= GOOD_FOR.as_millis() as u64;
        // One of those who find it due reads; the others go by what is known.
        if due
            && self
                .read_at
                .compare_exchange(read_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.share.store(self.read(), Ordering::Relaxed);
        }
        match self.share.load(Ordering::Relaxed) {
            CRITICAL.. => Pressure::Critical,
            HIGH.. => Pressure::High,
            _ => Pressure::None,
        }
    }

    /// The limit in force, in bytes.
    pub fn limit(&self) -> Option<u64> {
        (self.limit)()
    }

    /// What cannot be read is no reason to refuse anything.
    fn read(&self) -> u64 {
        match ((self.used)(), (self.limit)()) {
            (Some(used), Some(limit)) if limit > 0 => used.saturating_mul(100) / limit,
            _ => 0,
        }
    }
}

impl fmt::Debug for MemoryGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryGuard")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn levels_follow_what_is_read_and_little_is_read() {
        let used = Arc::new(AtomicU64::new(0));
        let reads = Arc::new(AtomicUsize::new(0));
        let (reading, counting) = (used.clone(), reads.clone());
        let read = move || {
            counting.fetch_add(1, Ordering::Relaxed);
            Some(reading.load(Ordering::Relaxed))
        };
        let guard = MemoryGuard::new(Box::new(read), Box::new(|| Some(1_000)));
        for (bytes, pressure) in [
            (0, Pressure::None),
            (799, Pressure::None),
            (800, Pressure::High),
            (899, Pressure::High),
            (900, Pressure::Critical),
            (u64::MAX, Pressure::Critical),
            (100, Pressure::None),
        ] {
            used.store(bytes, Ordering::Relaxed);
            tokio::time::advance(GOOD_FOR).await;
            for _ in 0..100 {
                assert_eq!(guard.pressure(Instant::now()), pressure, "{bytes}");
            }
        }
        assert_eq!(reads.load(Ordering::Relaxed), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_known_refuses_nothing() {
        let nothing = || -> Reading { Box::new(|| None) };
        let full = || -> Reading { Box::new(|| Some(1)) };
        for guard in [
            MemoryGuard::new(nothing(), full()),
            MemoryGuard::new(full(), nothing()),
        ] {
            assert_eq!(guard.pressure(Instant::now()), Pressure::None);
        }
    }
}
