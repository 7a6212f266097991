//! What is known of a plugin over its restarts, and the instance that serves.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex as Lock, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, Notify, Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::{CallError, PluginClient};
use super::handle::PluginSpec;
use super::integrity::{OnChange, Replacement, Seals};
use super::lifecycle::{Life, Lifecycle, PluginInfo};
use super::limits::{CLOSE_PATIENCE, Queue};
use super::tenure::Rest;
use crate::pipeline::metrics::plugins::PluginMeter;

/// A call that waited for its turn with an instance that died waits this long for the next one: it has its answer soon,
/// either way.
const SUCCESSION_PATIENCE: Duration = Duration::from_millis(40);

/// Asks for another instance, and hears whether it serves.
pub(super) type Reload = oneshot::Sender<Result<(), String>>;

/// What is known of a plugin. Belongs to the loader; survives the instances.
pub(super) struct Record {
    pub(super) spec: PluginSpec,
    pub(super) lifecycle: Lifecycle,
    pub(super) info: ArcSwap<PluginInfo>,
    /// Empty while no instance serves.
    live: ArcSwapOption<Live>,
    /// Told whenever another instance serves.
    arrivals: Notify,
    pub(super) queue: Queue,
    pub(super) meter: PluginMeter,
    /// Failures since it last served.
    pub(super) failures: AtomicU32,
    /// Questions for its health in a row that were answered badly.
    pub(super) missed: AtomicU32,
    /// Whether it has ever served since it was loaded.
    pub(super) served: AtomicBool,
    /// The last failure, if it does not serve because of it.
    pub(super) error: ArcSwapOption<String>,
    /// Set while it is quarantined.
    pub(super) quarantine: ArcSwapOption<Quarantine>,
    /// What its files have to be, if it is to be quarantined when they are not.
    trusted: Lock<Option<Seals>>,
    pub(super) reloads: mpsc::Sender<Reload>,
    pub(super) desk: Mutex<Desk>,
}

/// What is handed from one instance's actor to the next: there is one actor at a time.
pub(super) struct Desk {
    pub(super) orders: mpsc::Receiver<Reload>,
    /// Where the life of the plugin stands while no actor leads it.
    pub(super) rest: Option<Rest>,
}

/// A plugin that is left alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quarantine {
    /// When it is tried again. Nothing: when an operator says so.
    pub(super) trial: Option<Instant>,
}

/// One instance that serves.
pub(super) struct Live {
    pub(super) client: Arc<dyn PluginClient>,
    /// Calls in flight hold one each. Closed when it takes no more.
    places: Semaphore,
    max_calls: u32,
    /// Told when it takes no more calls and the last one has its answer.
    idle: Notify,
    /// How it ended, once it did.
    end: OnceLock<String>,
    ended: Notify,
}

/// A place among the calls in flight of an instance. Dropping it gives it to the next call.
pub(super) struct Place(Arc<Live>);

// === impl Record ===

impl Record {
    pub(super) fn new(spec: PluginSpec, meter: PluginMeter) -> Self {
        let info = PluginInfo {
            name: spec.name.clone(),
            r#type: spec.transport.kind(),
            version: "unknown".to_owned(),
            generation: 0,
        };
        let (reloads, orders) = mpsc::channel(1);
        let life = Life::discovered();
        Self {
            spec,
            lifecycle: life.lifecycle().clone(),
            info: ArcSwap::from_pointee(info),
            live: ArcSwapOption::empty(),
            arrivals: Notify::new(),
            queue: Queue::default(),
            meter,
            failures: AtomicU32::new(0),
            missed: AtomicU32::new(0),
            served: AtomicBool::new(false),
            error: ArcSwapOption::empty(),
            quarantine: ArcSwapOption::empty(),
            trusted: Lock::default(),
            reloads,
            desk: Mutex::new(Desk {
                orders,
                rest: Some(Rest::Discovered(life)),
            }),
        }
    }

    /// Lets callers reach this instance instead of the one before.
    pub(super) fn serve(&self, live: Arc<Live>) {
        self.info.rcu(|info| PluginInfo {
            version: live.client.version(),
            generation: info.generation + 1,
            ..PluginInfo::clone(info)
        });
        self.error.store(None);
        self.missed.store(0, Ordering::Relaxed);
        self.live.store(Some(live));
        self.arrivals.notify_waiters();
    }

    /// Lets no more callers reach an instance.
    pub(super) fn withdraw(&self) -> Option<Arc<Live>> {
        self.live.swap(None)
    }

    /// A place for a call at the instance that serves, as soon as there is one.
    ///
    /// # Errors
    /// Nobody serves, or there is no place in time.
    pub(super) async fn place(&self, deadline: Instant) -> Result<Place, CallError> {
        let live = self.live.load_full().ok_or(CallError::NotRunning)?;
        match live.try_enter() {
            Ok(place) => Ok(place),
            Err(_) => self.wait_for_place(live, deadline).await,
        }
    }

    async fn wait_for_place(
        &self,
        mut live: Arc<Live>,
        deadline: Instant,
    ) -> Result<Place, CallError> {
        let limits = &self.spec.upkeep.limits;
        let _waiting = self.queue.enter(limits.queue).ok_or(CallError::Busy)?;
        let deadline = deadline.min(Instant::now() + limits.queue_wait.0);
        loop {
            match timeout_at(deadline, live.enter()).await {
                Ok(Some(place)) => return Ok(place),
                // It ends, or another one has taken over.
                Ok(None) => live = self.successor(&live, deadline).await?,
                Err(_) => return Err(CallError::Busy),
            }
        }
    }

    /// Waits for the instance after this one.
    async fn successor(
        &self,
        before: &Arc<Live>,
        deadline: Instant,
    ) -> Result<Arc<Live>, CallError> {
        let deadline = deadline.min(Instant::now() + SUCCESSION_PATIENCE);
        loop {
            let arrival = self.arrivals.notified();
            if let Some(live) = self.live.load_full()
                && !Arc::ptr_eq(&live, before)
            {
                return Ok(live);
            }
            let arrived = timeout_at(deadline, arrival).await;
            arrived.map_err(|_| CallError::NotRunning)?;
        }
    }

    /// Calls in flight.
    pub(super) fn in_flight(&self) -> usize {
        let live = self.live.load();
        live.as_ref().map_or(0, |live| live.in_flight())
    }

    /// Compares the files that an instance is about to be made of with those that it was made of before.
    ///
    /// # Errors
    /// One of them was replaced, and such a plugin is to be quarantined.
    pub(super) fn inspect(&self, seals: &Seals) -> Result<(), Replacement> {
        if self.spec.upkeep.on_change != OnChange::Quarantine {
            return Ok(());
        }
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = trusted.get_or_insert_with(|| seals.clone());
        known.difference(seals).map_or(Ok(()), Err)
    }

    /// An operator wants whatever the files are now.
    pub(super) fn trust_anew(&self) {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        *trusted = None;
    }
}

// === impl Live ===

impl Live {
    pub(super) fn new(client: Arc<dyn PluginClient>, max_calls: u32) -> Self {
        Self {
            client,
            places: Semaphore::new(max_calls as usize),
            max_calls,
            idle: Notify::new(),
            end: OnceLock::new(),
            ended: Notify::new(),
        }
    }

    fn try_enter(self: &Arc<Self>) -> Result<Place, TryAcquireError> {
        self.places.try_acquire()?.forget();
        Ok(Place(self.clone()))
    }

    /// A place as soon as there is one; none if it ends before.
    async fn enter(self: &Arc<Self>) -> Option<Place> {
        self.places.acquire().await.ok()?.forget();
        Some(Place(self.clone()))
    }

    fn in_flight(&self) -> usize {
        (self.max_calls as usize).saturating_sub(self.places.available_permits())
    }

    /// Gives up the calls that are in flight, and has those that wait for their turn go elsewhere.
    pub(super) fn lose(&self, how: &str) {
        self.end.get_or_init(|| how.to_owned());
        self.places.close();
        self.ended.notify_waiters();
    }

    /// Waits until calls in flight are given up and returns why.
    pub(super) async fn lost(&self) -> String {
        loop {
            let ended = self.ended.notified();
            if let Some(how) = self.end.get() {
                return how.clone();
            }
            ended.await;
        }
    }

    /// Takes no more calls, waits until those in flight have their answers, but not for ever, then closes.
    pub(super) async fn retire(&self, patience: Duration) -> Result<(), CallError> {
        self.places.close();
        let idle = async {
            loop {
                let idle = self.idle.notified();
                if self.in_flight() == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::select! {
            _ = timeout(patience, idle) => self.lose("it was stopped"),
            how = self.client.ended() => self.lose(&how),
        }
        self.close().await
    }

    /// Closes, without waiting for ever.
    pub(super) async fn close(&self) -> Result<(), CallError> {
        timeout(CLOSE_PATIENCE, self.client.close())
            .await
            .unwrap_or(Err(CallError::Timeout))
    }
}

// === impl Place ===

impl Place {
    pub(super) fn live(&self) -> &Live {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Live { places, idle, .. } = &*self.0;
        places.add_permits(1);
        if places.is_closed() {
            idle.notify_waiters();
        }
    }
}
