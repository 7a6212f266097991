//! Reading the clock only where somebody waits.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::time::Instant;

/// Notes how long something takes, unless it is there at once: then no clock is read.
pub async fn timed<T>(work: impl Future<Output = T>, spent: &mut Duration) -> T {
    let mut work = pin!(work);
    if let Poll::Ready(done) = poll!(&mut work) {
        return done;
    }
    let since = Instant::now();
    let done = work.await;
    *spent = since.elapsed();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_waiting_takes_time() {
        let mut spent = Duration::ZERO;
        assert_eq!(timed(async { 1 }, &mut spent).await, 1);
        assert_eq!(spent, Duration::ZERO);
        let second = Duration::from_secs(1);
        timed(tokio::time::sleep(second), &mut spent).await;
        assert!(spent >= second && spent < second * 2, "{spent:?}");
    }
}
