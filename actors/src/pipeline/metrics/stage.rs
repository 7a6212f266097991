//! The stages of the conveyor and how many messages each has handled.

use prometheus::{Error, IntCounter};

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
    messages: [IntCounter; Stage::ALL.len()],
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
        let messages = register.counters(
            "weir_stage_messages_total",
            "Messages that a pipeline stage has handled.",
            &["stage"],
        )?;
        Ok(Self {
            messages: Stage::ALL.map(|stage| messages.with_label_values(&[stage.as_str()])),
        })
    }

    pub(super) fn passed(&self, stage: Stage) {
        if let Some(counter) = self.messages.get(stage as usize) {
            counter.inc();
        }
    }

    pub(super) fn count(&self, stage: Stage) -> u64 {
        self.messages.get(stage as usize).map_or(0, IntCounter::get)
    }
}
