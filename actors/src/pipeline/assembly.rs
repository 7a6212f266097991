//! One worker's pipeline put together: six stages, their mailboxes, and how they are kept.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;

use super::audit::AuditActor;
use super::auth::{AuthActor, AuthLane, Received};
use super::batch::{Batches, Rooms};
use super::credential::{CredentialActor, CredentialLane};
use super::dispatch::{Desk, DispatchActor, Overlooked, TaskOwners};
use super::policy::{PolicyActor, PolicyLane};
use super::telemetry::{Answered, TelemetryActor};
use super::{ClientRequest, Drill, Exchange, Metrics, Refusal, Stage};
use crate::admission::{Callers, Gates};
use crate::mailbox::Mailbox;
use crate::seal::Sealer;
use crate::session::Sessions;
use crate::supervisor::{
    Backoff, ChildSpec, GroupConfig, Intensity, Slot, Strategy, SupervisorSpec,
};
use crate::upstream::UpstreamBoard;
use crate::upstream::http::{HttpClient, HttpClientConfig};

/// A stage that crashed is tried again after this time: its clients are waiting.
const STAGE_BACKOFF: Duration = Duration::from_millis(10);

/// The longest pause before a stage is tried again.
const STAGE_BACKOFF_CAP: Duration = Duration::from_secs(1);

/// A stage that ran this long is thought healthy.
const STAGE_RESET: Duration = Duration::from_secs(10);

/// Crashes of one worker's stages that are mended one by one; after that the whole worker's pipeline is made anew.
const STAGE_INTENSITY: Intensity = Intensity {
    restarts: 20,
    period: Duration::from_secs(30),
};

/// What the pipelines of all workers share.
#[derive(Clone)]
pub struct PipelineParts {
    /// The servers, and the settings that belong to them.
    pub board: UpstreamBoard,
    /// Legacy sessions.
    pub sessions: Sessions,
    /// What the messages of batches need.
    pub rooms: Arc<dyn Rooms>,
    /// Who began which task.
    pub tasks: TaskOwners,
    /// Whose headers were overlooked.
    pub overlooked: Overlooked,
    /// Seals request states.
    pub sealer: Arc<Sealer>,
    /// How each worker connects to HTTP servers.
    pub http: HttpClientConfig,
    /// What callers have taken.
    pub callers: Arc<Callers>,
    /// The ways to the servers.
    pub gates: Arc<Gates>,
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// Turns true when the gateway stops.
    pub draining: watch::Receiver<bool>,
    /// Numbers the requests to HTTP servers; one for all workers.
    pub next_id: Arc<AtomicU64>,
}

/// The stages of one worker.
#[derive(Clone)]
pub struct Pipeline {
    auth: Slot<AuthActor>,
    policy: Slot<PolicyActor>,
    credential: Slot<CredentialActor>,
    dispatch: Slot<DispatchActor>,
    telemetry: Slot<TelemetryActor>,
    audit: Slot<AuditActor>,
}

/// Where requests enter a pipeline.
#[derive(Clone)]
pub struct Door {
    auth: Mailbox<AuthActor>,
    telemetry: Mailbox<TelemetryActor>,
}

// === impl Pipeline ===

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            auth: Slot::new(Stage::Auth.as_str()),
            policy: Slot::new(Stage::Policy.as_str()),
            credential: Slot::new(Stage::Credential.as_str()),
            dispatch: Slot::new(Stage::Dispatch.as_str()),
            telemetry: Slot::new(Stage::Telemetry.as_str()),
            audit: Slot::new(Stage::Audit.as_str()),
        }
    }
}

impl Pipeline {
    /// Where requests enter.
    pub fn door(&self) -> Door {
        Door {
            auth: Mailbox::new(self.auth.clone()),
            telemetry: Mailbox::new(self.telemetry.clone()),
        }
    }

    /// The supervised group of the stages. The last stage is started first, so that no stage ever forwards into the
    /// void; a crash takes the stages before it along (`rest_for_one`), because what they hold is addressed to it.
    pub fn group(
        &self,
        name: impl Into<Arc<str>>,
        parts: &PipelineParts,
        config: &GroupConfig,
    ) -> SupervisorSpec {
        let quick = Backoff {
            first: STAGE_BACKOFF,
            min: STAGE_BACKOFF,
            cap: STAGE_BACKOFF_CAP,
            reset_after: STAGE_RESET,
            ..Backoff::default()
        };
        let child = |spec: ChildSpec| spec.backoff(quick.clone());
        SupervisorSpec::new(name, config.strategy.unwrap_or(Strategy::RestForOne))
            .intensity(STAGE_INTENSITY)
            .child(child(ChildSpec::actor(&self.audit, |_| AuditActor)))
            .child(child(self.telemetry_stage()))
            .child(child(self.dispatch_stage(parts.clone())))
            .child(child(self.credential_stage()))
            .child(child(self.policy_stage(parts.clone())))
            .child(child(self.auth_stage(parts.clone())))
            .configured(config)
    }

    /// Makes a stage panic, for drills.
    pub fn drill(&self, stage: Stage) {
        let undelivered = match stage {
            Stage::Auth => Mailbox::new(self.auth.clone()).forward(Drill).is_err(),
            Stage::Policy => Mailbox::new(self.policy.clone()).forward(Drill).is_err(),
            Stage::Credential => Mailbox::new(self.credential.clone())
                .forward(Drill)
                .is_err(),
            Stage::Dispatch => Mailbox::new(self.dispatch.clone()).forward(Drill).is_err(),
            Stage::Telemetry => Mailbox::new(self.telemetry.clone()).forward(Drill).is_err(),
            Stage::Audit => Mailbox::new(self.audit.clone()).forward(Drill).is_err(),
        };
        if undelivered {
            tracing::warn!(stage = stage.as_str(), "drill found the stage down");
        }
    }

    fn telemetry_stage(&self) -> ChildSpec {
        let audit = Mailbox::new(self.audit.clone());
        ChildSpec::actor(&self.telemetry, move |_| TelemetryActor::new(audit.clone()))
    }

    fn dispatch_stage(&self, parts: PipelineParts) -> ChildSpec {
        let telemetry = Mailbox::new(self.telemetry.clone());
        ChildSpec::actor(&self.dispatch, move |_| {
            DispatchActor::new(Rc::new(Desk {
                client: HttpClient::new(parts.http.clone()),
                board: parts.board.clone(),
                gates: parts.gates.clone(),
                sessions: parts.sessions.clone(),
                tasks: parts.tasks.clone(),
                overlooked: parts.overlooked.clone(),
                sealer: parts.sealer.clone(),
                metrics: parts.metrics.clone(),
                draining: parts.draining.clone(),
                telemetry: telemetry.clone(),
                next_id: parts.next_id.clone(),
            }))
        })
    }

    fn credential_stage(&self) -> ChildSpec {
        let lane = Arc::new(CredentialLane {
            dispatch: Mailbox::new(self.dispatch.clone()),
            telemetry: Mailbox::new(self.telemetry.clone()),
        });
        ChildSpec::actor(&self.credential, move |_| {
            CredentialActor::new(lane.clone())
        })
    }

    fn policy_stage(&self, parts: PipelineParts) -> ChildSpec {
        let lane = Arc::new(PolicyLane {
            callers: parts.callers,
            sessions: parts.sessions,
            credential: Mailbox::new(self.credential.clone()),
            telemetry: Mailbox::new(self.telemetry.clone()),
        });
        ChildSpec::actor(&self.policy, move |_| PolicyActor::new(lane.clone()))
    }

    fn auth_stage(&self, parts: PipelineParts) -> ChildSpec {
        let batches = Batches {
            sessions: parts.sessions,
            rooms: parts.rooms,
            callers: parts.callers.clone(),
            policy: Mailbox::new(self.policy.clone()),
            telemetry: Mailbox::new(self.telemetry.clone()),
        };
        let lane = Arc::new(AuthLane {
            batches,
            callers: parts.callers,
            policy: Mailbox::new(self.policy.clone()),
            telemetry: Mailbox::new(self.telemetry.clone()),
        });
        ChildSpec::actor(&self.auth, move |_| AuthActor::new(lane.clone()))
    }
}

// === impl Door ===

impl Door {
    /// Sends an admitted request on its way. What was refused at the door is answered and recorded like all others,
    /// but nobody is asked who sent it.
    pub fn enter(&self, exchange: Exchange) {
        match &exchange.arrival().request {
            ClientRequest::Refused(refusal) => {
                let outcome = exchange.refusal(refusal.clone());
                super::forward(&self.telemetry, Answered::new(exchange, outcome));
            }
            _ => super::forward(&self.auth, Received(exchange)),
        }
    }

    /// Ends an admitted request with a refusal of its caller.
    pub fn refuse(&self, exchange: Exchange, refusal: Refusal) {
        let outcome = exchange.refusal(refusal);
        super::forward(&self.telemetry, Answered::new(exchange, outcome));
    }
}
