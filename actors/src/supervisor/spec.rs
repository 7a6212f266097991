//! A supervisor before it runs: how it is described, checked and started.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::actor::Supervisor;
use super::body::{ActorLaunch, Launch};
use super::child::{ChildSpec, OnExhausted};
use super::config::GroupConfig;
use super::context::ChildContext;
use super::cradle::{self, News, Parent, Report};
use super::event::{Observer, Silent};
use super::group::{self, AutoShutdown, SpecError, Strategy};
use super::handle::SupervisorHandle;
use super::intensity::Intensity;
use super::strategy::Key;

/// A supervisor and its children, before it is started. Cheap to clone; all clones describe the same place in the
/// tree, so start only one of them.
#[derive(Clone)]
pub struct SupervisorSpec {
    pub(crate) strategy: Strategy,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) intensity: Intensity,
    pub(crate) dynamic: bool,
    pub(crate) quarantining: bool,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) config: GroupConfig,
    pub(crate) handle: SupervisorHandle,
}

/// What a whole tree shares.
#[derive(Clone)]
pub struct Runtime {
    /// Hears of everything that happens.
    pub observer: Arc<dyn Observer>,
    /// Where the jitter of restart delays comes from: the same seed, the same delays.
    pub seed: u64,
}

/// Hears the last of a root.
struct RootKeeper(SupervisorHandle);

// === impl SupervisorSpec ===

impl SupervisorSpec {
    /// Returns a group whose children are started in order, stopped in reverse, and belong together as `strategy`
    /// says. Intensity is 5 in 30 s.
    pub fn new(name: impl Into<Arc<str>>, strategy: Strategy) -> Self {
        Self::build(name.into(), strategy, false)
    }

    /// Returns a group of independent children that come and go: one_for_one, started and stopped all at once, and
    /// ready before its children are. Children started at runtime are forgotten when the supervisor is restarted.
    pub fn dynamic(name: impl Into<Arc<str>>) -> Self {
        Self::build(name.into(), Strategy::OneForOne, true)
    }

    fn build(name: Arc<str>, strategy: Strategy, dynamic: bool) -> Self {
        Self {
            strategy,
            auto_shutdown: AutoShutdown::Never,
            intensity: Intensity::DEFAULT,
            dynamic,
            quarantining: false,
            children: Vec::new(),
            config: GroupConfig::default(),
            handle: SupervisorHandle::new(&name, strategy, dynamic),
        }
    }

    /// Returns a group with the configured strategy, or with `built_in`, and everything else as configured.
    pub fn with_config(
        name: impl Into<Arc<str>>,
        built_in: Strategy,
        config: &GroupConfig,
    ) -> Self {
        Self::new(name, config.strategy.unwrap_or(built_in)).configured(config)
    }

    /// Adds a child, to be started after those before it.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Sets how many restarts of all children together are too many.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Makes every child counted on its own, by the group's intensity, and quarantined over it.
    #[must_use]
    pub fn quarantining(mut self) -> Self {
        self.quarantining = true;
        self
    }

    /// Sets whether significant children end the group.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Lets the operator's configuration win over the group's and every child's own values, also of children that
    /// are started later.
    #[must_use]
    pub fn configured(mut self, config: &GroupConfig) -> Self {
        self.intensity = config.intensity_over(self.intensity);
        self.auto_shutdown = config.auto_shutdown.unwrap_or(self.auto_shutdown);
        self.config = config.clone();
        self
    }

    /// Returns the handle to the supervisor, also before it is started.
    pub fn handle(&self) -> SupervisorHandle {
        self.handle.clone()
    }

    /// Returns the child as configured.
    pub(crate) fn resolve(&self, mut child: ChildSpec) -> Result<ChildSpec, SpecError> {
        if self.quarantining {
            child.policy.on_exhausted = OnExhausted::Quarantine;
            child.policy.intensity = self.intensity;
        }
        child.policy = self.config.resolve(&child.name, &child.policy)?;
        child.config.overrule(&child.name, &mut child.policy)?;
        group::check(
            &child.name,
            &child.policy,
            self.strategy,
            self.auto_shutdown,
        )?;
        Ok(child)
    }

    /// Checks the whole tree.
    ///
    /// # Errors
    /// Names the child that contradicts itself, its group or another child's name.
    pub fn validate(&self) -> Result<(), SpecError> {
        let mut names = HashSet::new();
        for child in &self.children {
            if !names.insert(&child.name) {
                return Err(SpecError::Duplicate(Arc::clone(&child.name)));
            }
            self.resolve(child.clone())?;
            if let Some(nested) = &child.nested {
                nested.validate()?;
            }
        }
        Ok(())
    }

    /// Starts the supervisor as the root of a tree, on this thread, which needs a `LocalSet` (an actix system or
    /// arbiter has one).
    ///
    /// # Errors
    /// See [`validate`](Self::validate).
    pub fn start(self, runtime: Runtime) -> Result<SupervisorHandle, SpecError> {
        self.validate()?;
        let handle = self.handle();
        let keeper = Arc::new(RootKeeper(handle.clone()));
        let child = ChildSpec::supervisor(self);
        let name = Arc::clone(&child.name);
        let context = ChildContext::new(Arc::clone(&name), name, child.launch.issue(), runtime);
        handle.begin(&context.control);
        // A root hangs on nothing: it ends by itself or when it is asked.
        cradle::start(&child, context, Key::ROOT, keeper).let_go();
        Ok(handle)
    }

    pub(crate) fn into_launch(self) -> impl Launch {
        let slot = self.handle.slot().clone();
        ActorLaunch::new(slot, move |context| Supervisor::new(self.clone(), context))
    }
}

impl fmt::Debug for SupervisorSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SupervisorSpec")
            .field("name", self.handle.name())
            .field("strategy", &self.strategy)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

// === impl Runtime ===

impl Runtime {
    /// Returns a runtime that nobody observes.
    pub fn silent(seed: u64) -> Self {
        Self {
            observer: Arc::new(Silent),
            seed,
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Runtime")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

// === impl RootKeeper ===

impl Parent for RootKeeper {
    fn report(&self, report: Report) {
        if let News::Exited(exit) = report.news {
            self.0.end(exit);
        }
    }
}
