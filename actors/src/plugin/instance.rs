//! The actor that keeps one plugin: it connects, serves, and closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::client::{CallError, ConnectError};
use super::handle::{Live, PluginHandle, Record, Reload};
use super::lifecycle::{LifecycleHooks, PluginState};
use super::registry::{AlreadyRegistered, Registry};
use crate::supervisor::{ChildContext, ChildSpec};

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a plugin that is connected may take until it says that it can serve.
const HEALTH_PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions whether it can.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);
/// How long calls in flight are waited for, and then the plugin's end; together less than the supervisor waits.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// The owner of one plugin's connection.
///
/// A restart loses the connection and the calls in flight on it; the plugin's name, its handles and its generation
/// stay. A plugin that ends, or cannot be reached, is a failure: the supervisor tries again after a while.
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
    /// Another one plays its role.
    #[error(transparent)]
    Role(#[from] AlreadyRegistered),
    /// It ended by itself.
    #[error("the plugin ended: {0}")]
    Ended(String),
}

/// While this lives an instance is being made or serves. However it ends: what callers see is put right.
struct Tenure<'a> {
    actor: &'a PluginActor,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Closing,
    Over,
}

// === impl PluginActor ===

impl PluginActor {
    pub(super) fn child(
        plugin: PluginHandle,
        registry: Arc<Registry>,
        hooks: Arc<dyn LifecycleHooks>,
    ) -> ChildSpec {
        let name = plugin.name().to_owned();
        let actor = Self {
            plugin,
            registry,
            hooks,
        };
        ChildSpec::task(name, move |context| actor.clone().run(context))
            .reports_ready()
            .start_timeout(CONNECT_PATIENCE + HEALTH_PATIENCE + Duration::from_secs(5))
    }

    /// Runs one instance after another as reloads ask, until it is asked to stop or the plugin ends.
    async fn run(self, context: ChildContext) -> Result<(), PluginFailure> {
        let mut orders = self.record().orders.lock().await;
        let mut tenure = Tenure::begin(&self);
        let started = tokio::select! {
            biased;
            () = context.stopping() => None,
            started = self.start() => Some(started),
        };
        let mut live = match started {
            Some(Ok(live)) => live,
            Some(Err(failure)) => return Err(tenure.failed(failure)),
            None => {
                tenure.stopped(None).await;
                return Ok(());
            }
        };
        context.ready();
        loop {
            let client = live.client.clone();
            tokio::select! {
                biased;
                () = context.stopping() => break,
                how = client.ended() => return Err(tenure.failed(PluginFailure::Ended(how))),
                Some(reload) = orders.recv() => tokio::select! {
                    biased;
                    () = context.stopping() => break,
                    fresh = self.connect() => live = self.switch(live, fresh, reload),
                },
            }
        }
        tenure.stopped(Some(&live)).await;
        Ok(())
    }

    /// Connects, waits until the plugin is healthy, registers it, and lets callers reach it.
    async fn start(&self) -> Result<Arc<Live>, PluginFailure> {
        let live = self.connect().await?;
        if let Some(role) = self.plugin.role()
            && let Err(taken) = self.registry.register(role, &self.plugin)
        {
            let _closed = live.retire(DRAIN_PATIENCE).await;
            return Err(taken.into());
        }
        let record = self.record();
        record.serve(live.clone());
        let failures = record.failures.swap(0, Ordering::Relaxed);
        let again = record.served.swap(true, Ordering::Relaxed);
        record.enter(PluginState::Active);
        match again {
            false => self.hooks.on_start(&self.plugin.info()),
            true => self.hooks.on_restart(&self.plugin.info(), failures.max(1)),
        }
        Ok(live)
    }

    async fn connect(&self) -> Result<Arc<Live>, PluginFailure> {
        let record = self.record();
        let connection = record.spec.transport.connect();
        let client = tokio::time::timeout(CONNECT_PATIENCE, connection)
            .await
            .map_err(|_| PluginFailure::Slow)??;
        if record.life.state() == PluginState::Loading {
            record.enter(PluginState::Authenticating);
        }
        let live = Arc::new(Live::new(client));
        if let Err(failure) = healthy(&live).await {
            let _closed = live.retire(DRAIN_PATIENCE).await;
            return Err(failure);
        }
        Ok(live)
    }

    /// Lets callers reach another instance, if it is one, and retires the one before when its calls are answered.
    fn switch(
        &self,
        live: Arc<Live>,
        fresh: Result<Arc<Live>, PluginFailure>,
        reload: Reload,
    ) -> Arc<Live> {
        let name = self.plugin.name().to_owned();
        match fresh {
            Ok(fresh) => {
                self.record().serve(fresh.clone());
                self.hooks.on_restart(&self.plugin.info(), 1);
                let _nobody_asks = reload.send(Ok(()));
                actix_rt::spawn(async move {
                    if let Err(error) = live.retire(DRAIN_PATIENCE).await {
                        tracing::warn!(plugin = name, %error, "the plugin's last instance did not close cleanly");
                    }
                });
                fresh
            }
            Err(failure) => {
                let text = said(&failure);
                self.hooks.on_error(&self.plugin.info(), &text);
                let _nobody_asks = reload.send(Err(text));
                live
            }
        }
    }

    fn record(&self) -> &Record {
        &self.plugin.0
    }

    fn unregister(&self) {
        if let Some(role) = self.plugin.role() {
            self.registry.unregister(role, &self.plugin);
        }
    }
}

/// Asks until the plugin can serve.
async fn healthy(live: &Live) -> Result<(), PluginFailure> {
    let deadline = Instant::now() + HEALTH_PATIENCE;
    loop {
        let sick = match tokio::time::timeout_at(deadline, live.client.health()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => CallError::Timeout,
        };
        if Instant::now() + HEALTH_INTERVAL > deadline {
            return Err(PluginFailure::Unhealthy(sick));
        }
        tokio::select! {
            how = live.client.ended() => return Err(PluginFailure::Ended(how)),
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
}

/// A failure with its cause.
fn said(failure: &PluginFailure) -> String {
    match failure {
        PluginFailure::Unhealthy(cause) => format!("{failure}: {cause}"),
        _ => failure.to_string(),
    }
}

// === impl Tenure ===

impl<'a> Tenure<'a> {
    fn begin(actor: &'a PluginActor) -> Self {
        actor.record().enter(PluginState::Loading);
        Self {
            actor,
            phase: Phase::Serving,
        }
    }

    fn failed(&mut self, failure: PluginFailure) -> PluginFailure {
        self.fail(&said(&failure));
        failure
    }

    fn fail(&mut self, text: &str) {
        self.phase = Phase::Over;
        let record = self.actor.record();
        record.live.store(None);
        self.actor.unregister();
        record.failures.fetch_add(1, Ordering::Relaxed);
        record.error.store(Some(Arc::new(text.to_owned())));
        record.enter(PluginState::Error);
        self.actor.hooks.on_error(&self.actor.plugin.info(), text);
    }

    async fn stopped(&mut self, live: Option<&Live>) {
        let record = self.actor.record();
        self.phase = Phase::Closing;
        record.enter(PluginState::ShuttingDown);
        record.live.store(None);
        let closed = match live {
            Some(live) => live.retire(DRAIN_PATIENCE).await,
            None => Ok(()),
        };
        let error = closed.err().map(|error| error.to_string());
        self.buried(error.as_deref());
    }

    fn buried(&mut self, error: Option<&str>) {
        self.phase = Phase::Over;
        let record = self.actor.record();
        self.actor.unregister();
        record.served.store(false, Ordering::Relaxed);
        record.enter(PluginState::Stopped);
        self.actor.hooks.on_stop(&self.actor.plugin.info(), error);
    }
}

/// Panicked, or killed.
impl Drop for Tenure<'_> {
    fn drop(&mut self) {
        match self.phase {
            Phase::Serving => self.fail("the plugin's actor was ended"),
            Phase::Closing => self.buried(Some("the plugin's actor was ended while it closed")),
            Phase::Over => {}
        }
    }
}
