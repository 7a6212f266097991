//! The stages of the conveyor and how many messages each has handled.

use prometheus::Error;

use super::bounds::STAGE;
use super::cell::{Count, Timing};
use super::family::Family;
use super::register::Register;

/// The stages, in the order of the conveyor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// [`crate::pipeline::auth::AuthActor`].
    Auth,
    /// [`crate::pipeline::policy::PolicyActor`].
    Policy,
    /// [`crate::pipeline::credential::CredentialActor`].
    Credential,
    /// [`crate::pipeline::dispatch::DispatchActor`].
    Dispatch,
    /// [`crate::pipeline::telemetry::TelemetryActor`].
    Telemetry,
    /// [`crate::pipeline::audit::AuditActor`].
    Audit,
}

/// What passed each stage.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) messages: Family<[&'static str; 1], Count>,
    pub(super) spent: Family<[&'static str; 1], Timing>,
    pub(super) waited: Family<[&'static str; 1], Timing>,
}

// === impl Stage ===

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Policy,
        Self::Credential,
        Self::Dispatch,
        Self::Telemetry,
        Self::Audit,
    ];

    /// The label and the child's name in the supervision tree.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Policy => "policy",
            Self::Credential => "credential",
            Self::Dispatch => "dispatch",
            Self::Telemetry => "telemetry",
            Self::Audit => "audit",
        }
    }
}

// === impl Stages ===

impl Stages {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            messages: register.closed(
                "weir_stage_messages_total",
                "Messages that a pipeline stage has handled.",
                &["stage"],
                (),
            )?,
            spent: register.closed(
                "weir_stage_duration_seconds",
                "Time that a stage worked for a request, for one request in metrics.stage_sample; door is reading it, dispatch is without waiting for the upstream.",
                &["stage"],
                &STAGE,
            )?,
            waited: register.closed(
                "weir_stage_wait_seconds",
                "Time that a request lay in the queue of a stage, for one request in metrics.stage_sample.",
                &["stage"],
                &STAGE,
            )?,
        })
    }

    /// How many messages a stage has handled.
    pub(super) fn count(&self, stage: Stage) -> u64 {
        self.messages.total(&[stage.as_str()])
    }
}
