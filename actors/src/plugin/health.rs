//! Whether a plugin that serves still can: asked at intervals, beside its calls.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{CallError, PluginClient};
use crate::supervisor::config::Heartbeat;
use crate::supervisor::duration::Span;

/// How a plugin is asked whether it can serve. What is absent keeps its built-in value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// How often: a duration, or `off` for never while it serves. Default 5s.
    pub interval: Heartbeat,
    /// How long an answer may take. Default 2s.
    pub timeout: Span,
    /// So many answers in a row that say no, or do not come, are a failure: the instance is ended and another one
    /// started. Default 3.
    pub failures: NonZeroU32,
}

/// While a plugin starts, it is asked again after this time, and after twice as long each time,
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// until it is asked this often.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

// === impl HealthConfig ===

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Heartbeat::Every(Duration::from_secs(5)),
            timeout: Span(Duration::from_secs(2)),
            failures: const { NonZeroU32::new(3).expect("not zero") },
        }
    }
}

impl HealthConfig {
    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.timeout.0.is_zero() {
            let text = "nobody answers in no time; write a longer one";
            return Err(("timeout", text.to_owned()));
        }
        Ok(())
    }

    /// Asks a plugin that starts until it can serve, or until `deadline`.
    ///
    /// # Errors
    /// What it said last.
    pub(super) async fn first(
        &self,
        client: &dyn PluginClient,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let patience = self.timeout.0.min(deadline.duration_since(Instant::now()));
            let sick = match ask(client, patience).await {
                Ok(()) => return Ok(()),
                Err(sick) => sick,
            };
            if Instant::now() + pause > deadline {
                return Err(sick);
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Asks a plugin that serves, one question at a time and never in the line of its calls. Returns when it is to be
    /// taken for dead, and never before. Every answer is told to `hear`: how many in a row were missed.
    ///
    /// Plugins that were started together are not asked together: when in the interval a plugin is asked depends on its
    /// name.
    pub(super) async fn last(
        &self,
        client: &dyn PluginClient,
        name: &str,
        mut hear: impl FnMut(u32),
    ) -> CallError {
        let Heartbeat::Every(interval) = self.interval else {
            return std::future::pending().await;
        };
        let mut due = Instant::now() + interval.mul_f64(phase(name));
        let mut missed = 0;
        loop {
            sleep_until(due).await;
            due = Instant::now() + interval;
            match ask(client, self.timeout.0).await {
                Ok(()) if missed == 0 => {}
                Ok(()) => {
                    missed = 0;
                    hear(missed);
                }
                Err(sick) => {
                    missed += 1;
                    hear(missed);
                    if missed >= self.failures.get() {
                        return sick;
                    }
                }
            }
        }
    }
}

async fn ask(client: &dyn PluginClient, patience: Duration) -> Result<(), CallError> {
    timeout(patience, client.health())
        .await
        .unwrap_or(Err(CallError::Timeout))
}

/// From a half to one.
fn phase(name: &str) -> f64 {
    // FNV-1a.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    0.5 + f64::from(hash) / f64::from(u32::MAX) / 2.0
}
