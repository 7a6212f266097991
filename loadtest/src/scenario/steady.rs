//! Waiting until a gateway answers as it should.

use std::time::{Duration, Instant};

use super::site::Site;
use crate::message::Era;

/// How long a gateway may take until all its servers answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Calls every target until each has answered well.
pub(super) fn wait_until_all_answer(site: &Site, era: Era) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut plan = site.plan(era, 1, Duration::from_secs(20));
        plan.warmup = Duration::ZERO;
        plan.calls = Some(site.targets.len() as u64);
        let measurement = plan.run()?;
        if measurement.failed() == 0 && measurement.latency.len() >= site.targets.len() as u64 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the gateway does not answer well:\n{measurement}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
