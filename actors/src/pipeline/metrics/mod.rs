//! What the gateway counts. Names and labels are fixed here; the dashboards use no others.
//!
//! Every subject has a room with its own struct: it registers its metrics once, when the gateway starts, and
//! [`Metrics`] holds it as a field. A new metric goes into the room of its subject; a new subject is a new file with a
//! `register` and one line in [`Metrics`]. Labels come from closed sets only.

mod method;
mod register;
mod requests;
mod stage;

pub mod admission;
pub mod audit;
pub mod sessions;
pub mod supervision;
pub mod upstreams;

use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};

use super::Outcome;
use super::exchange::{Arrival, Facts};

pub use register::Register;
pub use stage::Stage;

/// Seconds: from 50 microseconds to a minute, because the gateway's own part is far below a millisecond.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 15.0, 60.0,
];

/// Every metric of the gateway and the registry that holds them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    stages: stage::Stages,
    requests: requests::Requests,
    /// What is under way, and what is not let in.
    pub admission: admission::AdmissionMetrics,
    /// The servers behind the gateway.
    pub upstreams: upstreams::UpstreamMetrics,
    /// Legacy sessions.
    pub sessions: sessions::SessionMetrics,
    /// Parts that failed.
    pub supervision: supervision::SupervisionMetrics,
    /// The audit log.
    pub audit: audit::AuditMetrics,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is not acceptable or is taken twice: a defect.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let register = Register::new(&registry);
        Ok(Arc::new(Self {
            stages: stage::Stages::register(&register)?,
            requests: requests::Requests::register(&register)?,
            admission: admission::AdmissionMetrics::register(&register)?,
            upstreams: upstreams::UpstreamMetrics::register(&register)?,
            sessions: sessions::SessionMetrics::register(&register)?,
            supervision: supervision::SupervisionMetrics::register(&register)?,
            audit: audit::AuditMetrics::register(&register)?,
            registry,
        }))
    }

    /// Counts a message at a stage.
    pub fn passed(&self, stage: Stage) {
        self.stages.passed(stage);
    }

    /// How many messages a stage has handled.
    pub fn passed_count(&self, stage: Stage) -> u64 {
        self.stages.count(stage)
    }

    /// Counts and times the end of a request.
    pub fn settled(&self, arrival: &Arrival, facts: &Facts, outcome: &Outcome) {
        self.requests
            .settled(arrival, facts, outcome, arrival.at.elapsed());
    }

    /// The registry as Prometheus text.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
