//! The actor that keeps one plugin: it connects, serves, looks after it, and closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::client::{CallError, ConnectError};
use super::handle::PluginHandle;
use super::integrity::{OnChange, Replacement, Seals};
use super::lifecycle::{LifecycleHooks, PluginInfo};
use super::limits::CLOSE_PATIENCE;
use super::record::{Desk, Live, Quarantine, Record, Reload};
use super::registry::{AlreadyRegistered, Registry};
use super::tenure::Tenure;
use crate::supervisor::{ChildContext, ChildSpec, Shutdown};

/// How much longer the supervisor waits than the actor does for whatever it does.
const SPARE: Duration = Duration::from_secs(2);

/// The owner of one plugin's connection.
///
/// A restart loses the connection and the calls in flight on it; the plugin's name, its handles, its generation and the
/// calls that wait for their turn stay. A plugin that ends, does not answer questions for its health any more, or cannot be
/// reached, is a failure: the supervisor tries again after a while.
#[derive(Clone)]
pub struct PluginActor {
    plugin: PluginHandle,
    registry: Arc<Registry>,
    hooks: Arc<dyn LifecycleHooks>,
}

/// Why an instance is none any more.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PluginFailure {
    /// It cannot be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection takes too long.
    #[error("the plugin cannot be reached: no connection in time")]
    Slow,
    /// It does not become healthy.
    #[error("the plugin is not healthy")]
    Unhealthy(#[source] CallError),
    /// It served, and does not any more.
    #[error("the plugin is not healthy any more")]
    Sick(#[source] CallError),
    /// Another one plays its role.
    #[error(transparent)]
    Role(#[from] AlreadyRegistered),
    /// It ended by itself.
    #[error("the plugin ended: {0}")]
    Ended(String),
    /// It is not what it was, and such a plugin is not run.
    #[error("a file of the plugin was replaced; restart it if that is meant: {0}")]
    Replaced(Replacement),
}

/// An instance with the files that it was made of.
struct Instance {
    live: Arc<Live>,
    seals: Seals,
}

/// What happens to an instance that serves.
enum Event {
    Stop,
    Failed(PluginFailure),
    Replaced(Replacement),
    /// Another instance was made, or not, and who asked for it.
    Fresh(Result<Instance, PluginFailure>, Option<Reload>),
}

// === impl PluginActor ===

impl PluginActor {
    pub(super) fn new(
        plugin: PluginHandle,
        registry: Arc<Registry>,
        hooks: Arc<dyn LifecycleHooks>,
    ) -> Self {
        Self {
            plugin,
            registry,
            hooks,
        }
    }

    /// The child that runs instances of the plugin.
    pub(super) fn child(self) -> ChildSpec {
        let upkeep = &self.record().spec.upkeep;
        let limits = &upkeep.limits;
        let closing = limits.drain_timeout.0 + CLOSE_PATIENCE + SPARE;
        let starting = limits.start_timeout.0 + CLOSE_PATIENCE + SPARE;
        let config = upkeep.supervision.clone();
        let name = self.plugin.name().to_owned();
        ChildSpec::task(name, move |context| self.clone().run(context))
            .reports_ready()
            .start_timeout(starting)
            .shutdown(Shutdown::Within(closing))
            .configured(config)
    }

    /// Runs one instance after another as reloads ask, until it is asked to stop or the plugin fails.
    async fn run(self, context: ChildContext) -> Result<(), PluginFailure> {
        let mut desk = self.record().desk.lock().await;
        let Desk { orders, rest } = &mut *desk;
        let mut tenure = Tenure::begin(&self, rest);
        let started = tokio::select! {
            biased;
            () = context.stopping() => None,
            started = self.start(&mut tenure) => Some(started),
        };
        let mut instance = match started {
            Some(Ok(instance)) => instance,
            Some(Err(PluginFailure::Replaced(replacement))) => {
                self.hooks.on_replaced(&self.info(), &replacement);
                self.hold(&mut tenure, None, replacement, &context).await;
                return Ok(());
            }
            Some(Err(failure)) => {
                tenure.failed(&said(&failure));
                return Err(failure);
            }
            None => {
                tenure.stopped(None).await;
                return Ok(());
            }
        };
        context.ready();
        loop {
            let event = {
                let client = instance.live.client.clone();
                let watching = self.watch(&*client, &mut instance.seals);
                tokio::pin!(watching);
                tokio::select! {
                    biased;
                    () = context.stopping() => Event::Stop,
                    event = &mut watching => event,
                    Some(reload) = orders.recv() => tokio::select! {
                        biased;
                        () = context.stopping() => Event::Stop,
                        event = &mut watching => event,
                        fresh = self.connect(None) => Event::Fresh(fresh, Some(reload)),
                    },
                }
            };
            match event {
                Event::Stop => break,
                Event::Failed(failure) => {
                    if let PluginFailure::Ended(how) = &failure {
                        instance.live.lose(how);
                    }
                    tenure.failed(&said(&failure));
                    self.bury(instance.live, &failure).await;
                    return Err(failure);
                }
                Event::Fresh(fresh, reload) => self.switch(&mut instance, fresh, reload),
                Event::Replaced(replacement) => {
                    self.hooks.on_replaced(&self.info(), &replacement);
                    if self.record().spec.upkeep.on_change == OnChange::Quarantine {
                        let live = Some(instance.live);
                        self.hold(&mut tenure, live, replacement, &context).await;
                        return Ok(());
                    }
                    let fresh = tokio::select! {
                        biased;
                        () = context.stopping() => break,
                        // Whatever the old one does meanwhile is seen afterwards.
                        fresh = self.connect(None) => fresh,
                    };
                    self.switch(&mut instance, fresh, None);
                }
            }
        }
        tenure.stopped(Some(&instance.live)).await;
        Ok(())
    }

    /// Connects, waits until the plugin is healthy, registers it, and lets callers reach it.
    async fn start(&self, tenure: &mut Tenure<'_>) -> Result<Instance, PluginFailure> {
        let begun = Instant::now();
        let instance = self.connect(Some(&mut *tenure)).await?;
        let live = &instance.live;
        if let Some(role) = self.plugin.role()
            && let Err(taken) = self.registry.register(role, &self.plugin)
        {
            let _closed = live.close().await;
            return Err(taken.into());
        }
        let record = self.record();
        record.serve(live.clone());
        let failures = record.failures.swap(0, Ordering::Relaxed);
        let again = record.served.swap(true, Ordering::Relaxed);
        record.meter.ready(begun.elapsed());
        tenure.serving();
        match again {
            false => self.hooks.on_start(&self.info()),
            true => self.hooks.on_restart(&self.info(), failures.max(1)),
        }
        Ok(instance)
    }

    /// Makes an instance and waits until it is healthy.
    async fn connect(&self, tenure: Option<&mut Tenure<'_>>) -> Result<Instance, PluginFailure> {
        let spec = &self.record().spec;
        let limits = &spec.upkeep.limits;
        let deadline = Instant::now() + limits.start_timeout.0;
        let files = match spec.upkeep.on_change {
            OnChange::Ignore => Vec::new(),
            OnChange::Reload | OnChange::Quarantine => spec.transport.files(),
        };
        let seals = Seals::of(files).await;
        let inspected = self.record().inspect(&seals);
        inspected.map_err(PluginFailure::Replaced)?;
        let client = timeout_at(deadline, spec.transport.connect())
            .await
            .map_err(|_| PluginFailure::Slow)??;
        if let Some(tenure) = tenure {
            tenure.connected();
        }
        let live = Arc::new(Live::new(client, limits.max_calls.get()));
        let healthy = tokio::select! {
            biased;
            how = live.client.ended() => Err(PluginFailure::Ended(how)),
            healthy = spec.upkeep.health.first(&*live.client, deadline) => {
                healthy.map_err(PluginFailure::Unhealthy)
            }
        };
        if let Err(failure) = healthy {
            let _closed = live.close().await;
            return Err(failure);
        }
        Ok(Instance { live, seals })
    }

    /// Waits until something happens to an instance that serves.
    async fn watch(&self, client: &dyn super::PluginClient, seals: &mut Seals) -> Event {
        let record = self.record();
        let name = self.plugin.name();
        let hear = |missed| {
            record.missed.store(missed, Ordering::Relaxed);
            match missed {
                0 => tracing::info!(plugin = name, "a plugin is healthy again"),
                _ => {
                    record.meter.missed();
                    tracing::warn!(plugin = name, missed, "a plugin is not healthy");
                }
            }
        };
        tokio::select! {
            biased;
            how = client.ended() => Event::Failed(PluginFailure::Ended(how)),
            sick = record.spec.upkeep.health.last(client, name, hear) => {
                Event::Failed(PluginFailure::Sick(sick))
            }
            replacement = seals.broken() => Event::Replaced(replacement),
        }
    }

    /// Closes an instance that failed. One that hangs takes its time to die, and nobody waits for that.
    async fn bury(&self, live: Arc<Live>, failure: &PluginFailure) {
        let name = self.plugin.name().to_owned();
        let closed = async move {
            if let Err(error) = live.close().await {
                tracing::warn!(plugin = name, %error, "a plugin that failed did not close cleanly");
            }
        };
        match failure {
            PluginFailure::Sick(_) => drop(actix_rt::spawn(closed)),
            _ => closed.await,
        }
    }

    /// Lets callers reach another instance, if it is one, and retires the one before when its calls are answered.
    fn switch(
        &self,
        instance: &mut Instance,
        fresh: Result<Instance, PluginFailure>,
        reload: Option<Reload>,
    ) {
        let record = self.record();
        let outcome = match fresh {
            Ok(fresh) => {
                record.serve(fresh.live.clone());
                self.hooks.on_reload(&self.info());
                let before = std::mem::replace(instance, fresh);
                let (name, patience) = (
                    self.plugin.name().to_owned(),
                    record.spec.upkeep.limits.drain_timeout.0,
                );
                actix_rt::spawn(async move {
                    if let Err(error) = before.live.retire(patience).await {
                        tracing::warn!(plugin = name, %error, "the plugin's last instance did not close cleanly");
                    }
                });
                Ok(())
            }
            Err(failure) => {
                let text = said(&failure);
                self.hooks.on_error(&self.info(), &text);
                Err(text)
            }
        };
        if let Some(reload) = reload {
            let _nobody_asks = reload.send(outcome);
        }
    }

    /// Keeps a plugin down that is not what it was, until an operator has seen to it.
    async fn hold(
        &self,
        tenure: &mut Tenure<'_>,
        live: Option<Arc<Live>>,
        replacement: Replacement,
        context: &ChildContext,
    ) {
        let record = self.record();
        let quarantine = Quarantine { trial: None };
        record.quarantine.store(Some(Arc::new(quarantine)));
        tenure.held(&said(&PluginFailure::Replaced(replacement)));
        self.hooks.on_quarantined(&self.info(), None);
        if let Some(live) = live {
            let _closed = live.close().await;
        }
        context.ready();
        context.stopping().await;
        record.quarantine.store(None);
        tenure.stopped(None).await;
    }

    pub(super) fn record(&self) -> &Record {
        &self.plugin.0
    }

    pub(super) fn info(&self) -> PluginInfo {
        self.plugin.info()
    }

    pub(super) fn hooks(&self) -> &dyn LifecycleHooks {
        &*self.hooks
    }

    pub(super) fn unregister(&self) {
        if let Some(role) = self.plugin.role() {
            self.registry.unregister(role, &self.plugin);
        }
    }
}

/// A failure with its cause.
fn said(failure: &PluginFailure) -> String {
    match failure {
        PluginFailure::Unhealthy(cause) | PluginFailure::Sick(cause) => {
            format!("{failure}: {cause}")
        }
        _ => failure.to_string(),
    }
}
