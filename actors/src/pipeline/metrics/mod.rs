//! What the gateway counts. Names and labels are fixed here; the dashboards use no others.
//!
//! Every subject has a room with its own struct: it registers its metrics once, when the gateway starts, and
//! [`Metrics`] holds it as a field. A new metric goes into the room of its subject; a new subject is a new file with a
//! `register` and one line in [`Metrics`]. Labels come from closed sets only.
//!
//! What every request touches is counted by its worker's [`Meter`], whose handles were found when the worker started:
//! an atomic addition in memory that no other worker writes to. Names of servers and tools are looked up once for each
//! worker and kept ([`ledger`]); [`family`] shows the sum of all workers when somebody looks.

mod bounds;
mod cell;
mod children;
mod clock;
mod family;
mod ledger;
mod meter;
mod method;
mod names;
mod operation;
mod process;
mod register;
mod requests;
mod server_timing;
mod stage;
mod stamps;

pub mod admission;
pub mod audit;
pub mod config;
pub mod connections;
pub mod fanout;
pub mod interceptors;
pub mod pins;
pub mod plugins;
pub mod recorded;
pub mod reloads;
pub mod roles;
pub mod sessions;
pub mod supervision;
pub mod upstreams;

use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};

pub use clock::timed;
pub use config::{MetricsConfig, ServerTiming};
pub use meter::Meter;
pub use register::Register;
pub use stage::Stage;

pub(super) use ledger::Ledger;
pub(super) use stamps::Stamps;

/// Every metric of the gateway and the registry that holds them.
#[derive(Debug)]
pub struct Metrics {
    config: MetricsConfig,
    registry: Registry,
    stages: stage::Stages,
    requests: requests::Requests,
    operations: operation::Operations,
    /// What is under way, and what is not let in.
    pub admission: admission::AdmissionMetrics,
    /// Connections of clients.
    pub connections: connections::ConnectionMetrics,
    /// The servers behind the gateway.
    pub upstreams: upstreams::UpstreamMetrics,
    /// What servers offer, compared with what was approved.
    pub pins: pins::PinMetrics,
    /// Message plugins.
    pub fanout: fanout::FanoutMetrics,
    /// Interceptors.
    pub interceptors: interceptors::InterceptorMetrics,
    /// The plugins.
    pub plugins: plugins::PluginMetrics,
    /// Legacy sessions.
    pub sessions: sessions::SessionMetrics,
    /// Readings of the configuration.
    pub reloads: reloads::ReloadMetrics,
    /// Parts that failed.
    pub supervision: supervision::SupervisionMetrics,
    /// The audit log.
    pub audit: audit::AuditMetrics,
    /// Plugins that play a role.
    pub roles: roles::RoleMetrics,
    /// What others record.
    pub recorded: recorded::Recorded,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is not acceptable or is taken twice: a defect.
    pub fn new(config: MetricsConfig) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let register = Register::new(&registry);
        process::register(&register)?;
        children::register(&register)?;
        Ok(Arc::new(Self {
            stages: stage::Stages::register(&register)?,
            requests: requests::Requests::register(&register)?,
            operations: operation::Operations::register(&register, &config)?,
            admission: admission::AdmissionMetrics::register(&register)?,
            connections: connections::ConnectionMetrics::register(&register)?,
            upstreams: upstreams::UpstreamMetrics::register(&register, &config)?,
            pins: pins::PinMetrics::register(&register)?,
            fanout: fanout::FanoutMetrics::register(&register)?,
            interceptors: interceptors::InterceptorMetrics::register(&register)?,
            plugins: plugins::PluginMetrics::register(&register, &config)?,
            sessions: sessions::SessionMetrics::register(&register, &config)?,
            reloads: reloads::ReloadMetrics::register(&register)?,
            supervision: supervision::SupervisionMetrics::register(&register)?,
            audit: audit::AuditMetrics::register(&register)?,
            roles: roles::RoleMetrics::register(&register)?,
            recorded: recorded::Recorded::register(&register)?,
            registry,
            config,
        }))
    }

    /// The counts of a worker.
    pub fn meter(self: &Arc<Self>, worker: usize) -> Arc<Meter> {
        Arc::new(Meter::new(self.clone(), worker))
    }

    /// How many messages a stage has handled.
    pub fn passed_count(&self, stage: Stage) -> u64 {
        self.stages.count(stage)
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

#[cfg(test)]
mod tests;
