//! Where the time of one request went: read from the clock at both ends of every stage, for some requests.

use std::time::Duration;

use tokio::time::Instant;

use super::Stage;

/// The clock readings of one request. One that is not timed reads no clock.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Stamps(Option<Box<Readings>>);

#[derive(Debug)]
struct Readings {
    last: Instant,
    stage: Option<Stage>,
    /// From the arrival of the head to admission: reading and understanding the request.
    door: Duration,
    spent: [Option<Duration>; Stage::ALL.len()],
    waited: [Option<Duration>; Stage::ALL.len()],
}

// === impl Stamps ===

impl Stamps {
    /// Starts the clock of a request that is timed.
    pub(super) fn start(arrived: Instant) -> Self {
        let now = Instant::now();
        Self(Some(Box::new(Readings {
            last: now,
            stage: None,
            door: now.saturating_duration_since(arrived),
            spent: [None; Stage::ALL.len()],
            waited: [None; Stage::ALL.len()],
        })))
    }

    /// A stage begins: what passed since the last one ended was spent waiting for it.
    pub(super) fn enter(&mut self, stage: Stage) {
        let Some(readings) = &mut self.0 else { return };
        readings.stage = Some(stage);
        let waited = readings.lap();
        if let Some(place) = readings.waited.get_mut(stage as usize) {
            *place = Some(waited);
        }
    }

    /// The stage ends. What was refused at the door has none that could.
    pub(in crate::pipeline) fn leave(&mut self) {
        let Some(readings) = &mut self.0 else { return };
        let Some(stage) = readings.stage.take() else {
            return;
        };
        let spent = readings.lap();
        if let Some(place) = readings.spent.get_mut(stage as usize) {
            *place = Some(spent);
        }
    }

    /// How long it took to read the request; nothing for one that is not timed.
    pub(super) fn door(&self) -> Option<Duration> {
        self.0.as_ref().map(|readings| readings.door)
    }

    /// How long a stage worked, if it did; what it waited for a server included.
    pub(super) fn spent(&self, stage: Stage) -> Option<Duration> {
        self.0
            .as_ref()?
            .spent
            .get(stage as usize)
            .copied()
            .flatten()
    }

    /// How long the request lay in the queue of a stage, if it reached it.
    pub(super) fn waited(&self, stage: Stage) -> Option<Duration> {
        self.0
            .as_ref()?
            .waited
            .get(stage as usize)
            .copied()
            .flatten()
    }
}

// === impl Readings ===

impl Readings {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now.saturating_duration_since(self.last);
        self.last = now;
        lap
    }
}
