//! A clock that wakes on time: tokio's own counts whole milliseconds, which is many calls.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A kernel timer; on time to about 0.1 ms on an idle machine.
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

// === impl Pacer ===

impl Pacer {
    #[expect(
        deprecated,
        reason = "its successor is unsafe because a file may be closed while it is watched; this one is owned and stays open"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: AsyncFd::new(timer)?,
        })
    }

    /// Returns at `instant`, at once if that has passed.
    pub(super) async fn sleep_until(&self, instant: Instant) -> io::Result<()> {
        let wait = instant.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec::try_from(wait).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0_u8; 8];
            let read = ready.try_io(|timer| {
                rustix::io::read(timer.get_ref(), &mut expirations).map_err(io::Error::from)
            });
            match read {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_never_wakes_early() {
        let pacer = Pacer::new().unwrap();
        for microseconds in [0, 50, 700, 3_000] {
            let due = Instant::now() + Duration::from_micros(microseconds);
            pacer.sleep_until(due).await.unwrap();
            assert!(Instant::now() >= due);
        }
        pacer
            .sleep_until(Instant::now() - Duration::from_secs(1))
            .await
            .unwrap();
    }
}
