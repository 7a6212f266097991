//! A plugin as its callers know it: a name that stays, whichever instance answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::time::Instant;

use super::call::{self, MAX_ANSWER_BYTES};
use super::client::{Call, CallError, PluginClient, PluginTransport};
use super::lifecycle::{Lifecycle, PluginInfo, PluginState};
use super::roles::Role;

/// The most calls that one instance carries out at a time.
pub const MAX_CALLS: u32 = 256;
/// How long a call may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// A plugin to be loaded.
#[derive(Clone)]
pub struct PluginSpec {
    /// Its name, unique among the plugins.
    pub name: String,
    /// Its key in the configuration.
    pub key: String,
    /// The role that it plays, if it is one of the seven.
    pub role: Option<Role>,
    /// How it is reached.
    pub transport: Arc<dyn PluginTransport>,
}

/// A plugin that is loaded, over its restarts. Cheap to clone.
#[derive(Clone)]
pub struct PluginHandle(pub(super) Arc<Record>);

/// Asks for another instance, and hears whether it serves.
pub(super) type Reload = oneshot::Sender<Result<(), String>>;

/// What is known of a plugin. Belongs to the loader; survives the instances.
pub(super) struct Record {
    pub(super) spec: PluginSpec,
    pub(super) life: Lifecycle,
    pub(super) info: ArcSwap<PluginInfo>,
    /// Empty while no instance serves.
    pub(super) live: ArcSwapOption<Live>,
    /// Instances that were connected.
    pub(super) generation: AtomicU64,
    /// Failures since it last served.
    pub(super) failures: AtomicU32,
    /// Whether it has ever served since it was loaded.
    pub(super) served: AtomicBool,
    /// The last failure, if it does not serve because of it.
    pub(super) error: ArcSwapOption<String>,
    pub(super) reloads: mpsc::Sender<Reload>,
    pub(super) orders: Mutex<mpsc::Receiver<Reload>>,
}

/// One instance that serves.
pub(super) struct Live {
    pub(super) client: Arc<dyn PluginClient>,
    /// Calls in flight hold one each; who drains takes all.
    calls: Arc<Semaphore>,
}

// === impl PluginSpec ===

impl PluginSpec {
    /// A plugin whose key is its name, and whose role is the one of that key, if there is one.
    pub fn new(name: impl Into<String>, transport: Arc<dyn PluginTransport>) -> Self {
        let name = name.into();
        Self {
            key: name.clone(),
            role: Role::of(&name),
            name,
            transport,
        }
    }

    /// Sets the role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }
}

impl fmt::Debug for PluginSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PluginSpec")
            .field("name", &self.name)
            .field("key", &self.key)
            .field("role", &self.role)
            .field("transport", &self.transport.kind())
            .finish()
    }
}

// === impl PluginHandle ===

impl PluginHandle {
    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// The role that it plays.
    pub fn role(&self) -> Option<Role> {
        self.0.spec.role
    }

    /// What it is doing.
    pub fn state(&self) -> PluginState {
        self.0.life.state()
    }

    /// The number of the instance that serves, or served last: restarts and reloads count on. 0 before the first.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Relaxed)
    }

    /// What it is called, what carries it, and its version.
    pub fn info(&self) -> PluginInfo {
        PluginInfo::clone(&self.0.info.load())
    }

    /// Calls the instance that serves, after a look at the call. A reload fails no call.
    ///
    /// # Errors
    /// The call breaks the contract ([`call::check`]), nobody serves, [`MAX_CALLS`] are in flight, the plugin ends before it answers or has no answer
    /// within [`CALL_DEADLINE`] or one longer than [`MAX_ANSWER_BYTES`], or the plugin refuses.
    pub async fn call(&self, method: &str, params: &Value) -> Result<Bytes, CallError> {
        self.call_before(Instant::now() + CALL_DEADLINE, method, params)
            .await
    }

    /// The same for somebody who does not wait longer than until `deadline`.
    ///
    /// # Errors
    /// Those of [`PluginHandle::call`].
    pub async fn call_before(
        &self,
        deadline: Instant,
        method: &str,
        params: &Value,
    ) -> Result<Bytes, CallError> {
        call::check(method, params)?;
        let call = Call {
            method,
            params,
            deadline: deadline.min(Instant::now() + CALL_DEADLINE),
        };
        let mut live = self.live()?;
        let _permit = loop {
            match live.calls.clone().try_acquire_owned() {
                Ok(permit) => break permit,
                Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                    // Perhaps it is being drained, and another one serves already.
                    let now = self.live()?;
                    if Arc::ptr_eq(&now, &live) {
                        return Err(CallError::Busy);
                    }
                    live = now;
                }
            }
        };
        let answer = tokio::select! {
            biased;
            answer = live.client.call(call) => answer?,
            how = live.client.ended() => return Err(CallError::Lost(how)),
            () = tokio::time::sleep_until(call.deadline) => return Err(CallError::Timeout),
        };
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(CallError::TooLarge);
        }
        Ok(answer)
    }

    fn live(&self) -> Result<Arc<Live>, CallError> {
        self.0.live.load_full().ok_or(CallError::NotRunning)
    }
}

impl fmt::Debug for PluginHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PluginHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}

// === impl Record ===

impl Record {
    pub(super) fn new(spec: PluginSpec) -> Self {
        let info = PluginInfo {
            name: spec.name.clone(),
            r#type: spec.transport.kind(),
            version: "unknown".to_owned(),
        };
        let (reloads, orders) = mpsc::channel(1);
        Self {
            spec,
            life: Lifecycle::default(),
            info: ArcSwap::from_pointee(info),
            live: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            served: AtomicBool::new(false),
            error: ArcSwapOption::empty(),
            reloads,
            orders: Mutex::new(orders),
        }
    }

    /// Goes to another state. A step that does not exist is a defect of ours, and is said.
    pub(super) fn enter(&self, next: PluginState) {
        if let Err(error) = self.life.enter(next) {
            tracing::error!(plugin = self.spec.name, %error, "a plugin was led astray");
        }
    }

    /// Lets callers reach this instance. Returns the one before it.
    pub(super) fn serve(&self, live: Arc<Live>) -> Option<Arc<Live>> {
        self.info.rcu(|info| PluginInfo {
            version: live.client.version(),
            ..PluginInfo::clone(info)
        });
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.error.store(None);
        self.live.swap(Some(live))
    }
}

// === impl Live ===

impl Live {
    pub(super) fn new(client: Arc<dyn PluginClient>) -> Self {
        Self {
            client,
            calls: Arc::new(Semaphore::new(MAX_CALLS as usize)),
        }
    }

    /// Waits until the calls in flight have their answers, but not for ever, then closes.
    pub(super) async fn retire(&self, patience: Duration) -> Result<(), CallError> {
        let idle = self.calls.acquire_many(MAX_CALLS);
        let _idle = tokio::time::timeout(patience, idle).await;
        self.calls.close();
        match tokio::time::timeout(patience, self.client.close()).await {
            Ok(closed) => closed,
            Err(_) => Err(CallError::Timeout),
        }
    }
}
