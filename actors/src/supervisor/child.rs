//! What a child is and what it promises.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::body::{ActorLaunch, Launch, TaskLaunch};
use super::config::ChildConfig;
use super::context::ChildContext;
use super::intensity::Intensity;
use super::slot::Slot;
use super::spec::SupervisorSpec;

/// How to make a child, where it lives and how it is kept. Cheap to clone.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) policy: ChildPolicy,
    /// What the operator says about this child where the child itself is configured.
    pub(crate) config: ChildConfig,
    pub(crate) placement: Placement,
    pub(crate) reports_ready: bool,
    pub(crate) launch: Arc<dyn Launch>,
    pub(crate) nested: Option<Arc<SupervisorSpec>>,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An actix actor.
    Actor,
    /// A future that runs until it is done.
    Task,
    /// A supervisor with children of its own.
    Supervisor,
}

/// How a child is kept. The defaults are an actor's.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildPolicy {
    /// When it is restarted. Default permanent.
    pub restart: Restart,
    /// Whether its end by itself may end the group; see [`AutoShutdown`](super::AutoShutdown). Default no.
    pub significant: bool,
    /// How long it may take to be ready. Over it, it is killed and that counts as a failed start. Default 10 s; none
    /// waits for ever, which is a supervisor's default.
    pub start_timeout: Option<Duration>,
    /// How it is stopped. Default 5 s, a supervisor's is [`Shutdown::Infinity`].
    pub shutdown: Shutdown,
    /// How often it must show that it is not stuck: silent from one heartbeat to the next, it is killed and
    /// restarted, so a stuck child is found after one to two intervals. Default 5 s; none is never asked.
    pub heartbeat: Option<Duration>,
    /// How long it waits before a restart.
    pub backoff: Backoff,
    /// What happens when it was restarted too often. Default escalate.
    pub on_exhausted: OnExhausted,
    /// How many restarts of this child are too many. Only counted under [`OnExhausted::Quarantine`]; otherwise the
    /// supervisor's own intensity counts, for all its children together. Default 5 in 30 s.
    pub intensity: Intensity,
}

/// When a child that ended is restarted.
///
/// | | normal or shutdown | failed, panicked, killed | killed by a sibling's failure |
/// |---|---|---|---|
/// | permanent | restarted | restarted | restarted |
/// | transient | not | restarted | restarted |
/// | temporary | removed | removed | removed |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only if it ended abnormally.
    Transient,
    /// Never; when it ends, for whatever reason, it is forgotten.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Shutdown {
    /// Asked, and killed if it is not gone in this time.
    Within(Duration),
    /// Killed without asking: OTP's `brutal_kill`.
    Kill,
    /// Asked, and waited for as long as it takes. For supervisors.
    Infinity,
}

/// What happens when restarts are exhausted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// The supervisor stops all its children, then itself, and its own supervisor decides: OTP.
    #[default]
    Escalate,
    /// This child alone is set aside, tried again at intervals of the backoff's cap, and until then down.
    Quarantine,
}

/// The thread a child lives on.
#[derive(Clone, Default)]
pub enum Placement {
    /// The supervisor's own.
    #[default]
    Here,
    /// The one this spawner runs work on.
    On(Arc<dyn Spawner>),
}

/// Runs work on a thread that has a tokio runtime and a `LocalSet`, such as an actix arbiter.
pub trait Spawner: Send + Sync {
    /// Queues the work. It may be dropped instead of run if the thread has ended: the supervisor notices.
    fn spawn(&self, work: Box<dyn FnOnce() + Send>);

    /// Told that a child on the thread had to be given up: it did not even notice that it was killed, so something on
    /// the thread never yields. A spawner that can replace its thread does so, and returns whether it did; if not,
    /// the restart waits in the old thread's queue, and its start timeout runs.
    fn renew(&self) -> bool {
        false
    }
}

// === impl ChildSpec ===

impl ChildSpec {
    /// Returns a child that is an actor, made anew by `factory` at every start, on the thread it lives on. Others
    /// find it in `slot`.
    ///
    /// It is started when its `started` has run, unless it [`reports_ready`](Self::reports_ready). What it knew is
    /// lost at a restart, and the messages in its mailbox are dropped.
    pub fn actor<A, F>(slot: &Slot<A>, factory: F) -> Self
    where
        A: Actor<Context = Context<A>>,
        F: Fn(ChildContext) -> A + Send + Sync + 'static,
    {
        let name = Arc::clone(slot.name());
        let launch = ActorLaunch::new(slot.clone(), factory);
        Self::new(name, Kind::Actor, Arc::new(launch))
    }

    /// Returns a child that is a future, made anew by `factory` at every start. An `Err` is a failure. It should
    /// return when [`ChildContext::stopping`] does.
    pub fn task<F, R, E>(name: impl Into<Arc<str>>, factory: F) -> Self
    where
        F: Fn(ChildContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display,
    {
        Self::new(name.into(), Kind::Task, Arc::new(TaskLaunch::new(factory)))
    }

    /// Returns a child that is a supervisor. It is ready when its children have all been started once.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let name = Arc::clone(spec.handle.name());
        let launch = spec.clone().into_launch();
        let mut child = Self::new(name, Kind::Supervisor, Arc::new(launch));
        child.nested = Some(Arc::new(spec));
        child.reports_ready = true;
        child.policy.start_timeout = None;
        child.policy.shutdown = Shutdown::Infinity;
        child
    }

    fn new(name: Arc<str>, kind: Kind, launch: Arc<dyn Launch>) -> Self {
        Self {
            name,
            kind,
            policy: ChildPolicy::default(),
            config: ChildConfig::default(),
            placement: Placement::Here,
            reports_ready: false,
            launch,
            nested: None,
        }
    }

    /// The child's name, unique within its group.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it is kept, before configuration.
    pub fn policy(&self) -> &ChildPolicy {
        &self.policy
    }

    /// Sets how it is kept, all at once.
    #[must_use]
    pub fn with_policy(mut self, policy: ChildPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Lets what an operator configured for this child win over everything that is configured for its group.
    #[must_use]
    pub fn configured(mut self, config: ChildConfig) -> Self {
        self.config = config;
        self
    }

    /// Makes it live on the spawner's thread.
    #[must_use]
    pub fn on(mut self, spawner: Arc<dyn Spawner>) -> Self {
        self.placement = Placement::On(spawner);
        self
    }

    /// Makes it started only when it calls [`ChildContext::ready`].
    #[must_use]
    pub fn reports_ready(mut self) -> Self {
        self.reports_ready = true;
        self
    }

    /// Sets when it is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// Makes its end by itself count for the group's [`AutoShutdown`](super::AutoShutdown).
    #[must_use]
    pub fn significant(mut self) -> Self {
        self.policy.significant = true;
        self
    }

    /// Sets how long it may take to be ready; none waits for ever.
    #[must_use]
    pub fn start_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.policy.start_timeout = timeout.into();
        self
    }

    /// Sets how it is stopped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.policy.shutdown = shutdown;
        self
    }

    /// Sets how often it must show life; none opts out.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: impl Into<Option<Duration>>) -> Self {
        self.policy.heartbeat = heartbeat.into();
        self
    }

    /// Sets how long it waits before a restart.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// Sets it aside when it was restarted more often than `intensity`, instead of ending the group.
    #[must_use]
    pub fn quarantined(mut self, intensity: Intensity) -> Self {
        self.policy.on_exhausted = OnExhausted::Quarantine;
        self.policy.intensity = intensity;
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

// === impl ChildPolicy ===

impl Default for ChildPolicy {
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            significant: false,
            start_timeout: Some(Duration::from_secs(10)),
            shutdown: Shutdown::Within(Duration::from_secs(5)),
            heartbeat: Some(Duration::from_secs(5)),
            backoff: Backoff::default(),
            on_exhausted: OnExhausted::Escalate,
            intensity: Intensity::DEFAULT,
        }
    }
}

// === impl Placement ===

impl fmt::Debug for Placement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Here => "Here",
            Self::On(_) => "On",
        })
    }
}
