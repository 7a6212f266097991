//! What leads a plugin's life while an actor keeps it, and what is put right when the actor ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::instance::PluginActor;
use super::lifecycle::{Life, PluginState, Stage, stage};
use super::record::Live;

/// Where the life of a plugin stands while no actor leads it.
pub(super) enum Rest {
    Discovered(Life<stage::Discovered>),
    Failed(Life<stage::Error>),
    Stopped(Life<stage::Stopped>),
}

/// While this lives an instance is being made, serves or is being closed. However it ends: what callers see is put
/// right, and the next actor finds the plugin's life where it stands.
pub(super) struct Tenure<'a> {
    actor: &'a PluginActor,
    rest: &'a mut Option<Rest>,
    /// None when it is over.
    now: Option<Now>,
}

/// Where the life stands meanwhile.
enum Now {
    Loading(Life<stage::Loading>),
    Authenticating(Life<stage::Authenticating>),
    Active(Life<stage::Active>),
    /// Failed, and kept down.
    Held(Life<stage::Error>),
    Closing(Life<stage::ShuttingDown>),
}

// === impl Rest ===

impl Rest {
    fn load(self) -> Life<stage::Loading> {
        match self {
            Self::Discovered(life) => life.enter(),
            Self::Failed(life) => life.enter(),
            Self::Stopped(life) => life.enter(),
        }
    }

    /// Ends a life that no actor will lead any more. Returns whether it had not ended yet.
    pub(super) fn bury(rest: &mut Option<Self>, actor: &PluginActor) -> bool {
        let closing: Life<stage::ShuttingDown> = match rest.take() {
            None => return false,
            Some(Self::Stopped(life)) => {
                *rest = Some(Self::Stopped(life));
                return false;
            }
            Some(Self::Discovered(life)) => life.enter(),
            Some(Self::Failed(life)) => life.enter(),
        };
        actor.tell::<stage::ShuttingDown>();
        *rest = Some(Self::Stopped(closing.enter()));
        actor.tell::<stage::Stopped>();
        true
    }
}

// === impl Tenure ===

impl<'a> Tenure<'a> {
    /// Begins. There is no life to lead only if another tenure did not end, which cannot be: they share one desk.
    pub(super) fn begin(actor: &'a PluginActor, rest: &'a mut Option<Rest>) -> Self {
        let now = rest.take().map(|rest| Now::Loading(rest.load()));
        actor.tell::<stage::Loading>();
        Self { actor, rest, now }
    }

    /// The plugin was connected to.
    pub(super) fn connected(&mut self) {
        self.now = match self.now.take() {
            Some(Now::Loading(life)) => Some(Now::Authenticating(self.step(life))),
            other => other,
        };
    }

    /// The plugin is healthy and registered.
    pub(super) fn serving(&mut self) {
        self.now = match self.now.take() {
            Some(Now::Authenticating(life)) => Some(Now::Active(self.step(life))),
            other => other,
        };
    }

    /// The instance failed: it is none any more.
    pub(super) fn failed(&mut self, text: &str) {
        if let Some(life) = self.fail(text) {
            *self.rest = Some(Rest::Failed(life));
        }
    }

    /// The same, but the plugin is not to be tried again: it is kept down until it is stopped.
    pub(super) fn held(&mut self, text: &str) {
        self.now = self.fail(text).map(Now::Held);
    }

    fn fail(&mut self, text: &str) -> Option<Life<stage::Error>> {
        let record = self.actor.record();
        if let Some(live) = record.withdraw() {
            live.lose(text);
        }
        self.actor.unregister();
        let life = match self.now.take()? {
            Now::Loading(life) => life.enter(),
            Now::Authenticating(life) => life.enter(),
            Now::Active(life) => life.enter(),
            Now::Held(life) => return Some(life),
            Now::Closing(life) => {
                self.now = Some(Now::Closing(life));
                return None;
            }
        };
        record.failures.fetch_add(1, Ordering::Relaxed);
        record.error.store(Some(Arc::new(text.to_owned())));
        self.actor.tell::<stage::Error>();
        self.actor.hooks().on_error(&self.actor.info(), text);
        Some(life)
    }

    /// Closes the instance, if there is one, as asked.
    pub(super) async fn stopped(&mut self, live: Option<&Live>) {
        let record = self.actor.record();
        let closing = match self.now.take() {
            Some(Now::Loading(life)) => self.step(life),
            Some(Now::Authenticating(life)) => self.step(life),
            Some(Now::Active(life)) => self.step(life),
            Some(Now::Held(life)) => self.step(life),
            Some(Now::Closing(life)) => life,
            None => return,
        };
        self.now = Some(Now::Closing(closing));
        record.withdraw();
        let closed = match live {
            Some(live) => live.retire(record.spec.upkeep.limits.drain_timeout.0).await,
            None => Ok(()),
        };
        let error = closed.err().map(|error| error.to_string());
        self.buried(error.as_deref());
    }

    fn buried(&mut self, error: Option<&str>) {
        let Some(Now::Closing(life)) = self.now.take() else {
            return;
        };
        self.actor.unregister();
        let record = self.actor.record();
        record.served.store(false, Ordering::Relaxed);
        *self.rest = Some(Rest::Stopped(life.enter()));
        self.actor.tell::<stage::Stopped>();
        self.actor.hooks().on_stop(&self.actor.info(), error);
    }

    fn step<From, To>(&self, life: Life<From>) -> Life<To>
    where
        From: Stage + super::lifecycle::LeadsTo<To>,
        To: Stage,
    {
        let life = life.enter();
        self.actor.tell::<To>();
        life
    }
}

/// Panicked, or killed.
impl Drop for Tenure<'_> {
    fn drop(&mut self) {
        match self.now {
            None => {}
            Some(Now::Closing(_)) => {
                self.buried(Some("the plugin's actor was ended while it closed"))
            }
            Some(_) => self.failed("the plugin's actor was ended"),
        }
        debug_assert!(self.rest.is_some(), "a life was lost");
    }
}

impl PluginActor {
    /// Tells the hooks of a step.
    fn tell<To: Stage>(&self) {
        let state: PluginState = To::STATE;
        self.hooks().on_state(&self.info(), state);
    }
}
