//! Where the time of one request went: read from the clock at both ends of every stage, for some requests.

use std::time::Duration;

use tokio::time::Instant;

use super::Stage;

/// The clock readings of one request. One that is not timed reads no clock.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Stamps {
    /// The last reading; none for a request that is not timed.
    last: Option<Instant>,
    stage: Option<Stage>,
    /// From the arrival of the head to admission: reading and understanding the request.
    pub(super) door: Duration,
    spent: [Option<Duration>; Stage::ALL.len()],
    waited: [Option<Duration>; Stage::ALL.len()],
}

// === impl Stamps ===

impl Stamps {
    /// Starts the clock of a request that is timed.
    pub(super) fn start(arrived: Instant) -> Self {
        let now = Instant::now();
        Self {
            last: Some(now),
            door: now.saturating_duration_since(arrived),
            ..Self::default()
        }
    }

    /// Whether the request is timed.
    pub(super) fn is_timed(&self) -> bool {
        self.last.is_some()
    }

    /// A stage begins: what passed since the last one ended was spent waiting for it.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = Some(stage);
        let waited = self.lap();
        if let Some(place) = self.waited.get_mut(stage as usize) {
            *place = waited;
        }
    }

    /// The stage ends. What was refused at the door has none that could.
    pub(in crate::pipeline) fn leave(&mut self) {
        let Some(stage) = self.stage.take() else {
            return;
        };
        let spent = self.lap();
        if let Some(place) = self.spent.get_mut(stage as usize) {
            *place = spent;
        }
    }

    /// How long a stage worked, if it did; what it waited for a server included.
    pub(super) fn spent(&self, stage: Stage) -> Option<Duration> {
        self.spent.get(stage as usize).copied().flatten()
    }

    /// How long the request lay in the queue of a stage, if it reached it.
    pub(super) fn waited(&self, stage: Stage) -> Option<Duration> {
        self.waited.get(stage as usize).copied().flatten()
    }

    fn lap(&mut self) -> Option<Duration> {
        let last = self.last.as_mut()?;
        let now = Instant::now();
        let lap = now.saturating_duration_since(*last);
        *last = now;
        Some(lap)
    }
}
