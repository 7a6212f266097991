//! Where the keys of one issuer come from, and when they are fetched again.
//!
//! Fetching happens beside the requests: whoever needs a key that is not there waits for the one fetch that is under
//! way; everybody else goes on with the keys at hand. Keys that were good go on working while the issuer is down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};

use super::config::{IssuerConfig, KeyPlace};
use super::key_set::KeySet;
use crate::builtin::outside::Outside;

/// The largest JWKS document, in bytes.
pub const JWKS_MAX_BYTES: usize = 64 * 1024;
/// The longest time that a JWKS document may take to arrive.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest time between two fetches because of an unknown key or old keys, in seconds.
const MIN_INTERVAL: u64 = 60;
/// The same while there are no keys at all, in seconds: nobody can come in until there are.
const MIN_INTERVAL_EMPTY: u64 = 5;

/// The keys of one issuer, kept fresh.
pub(super) struct KeySource {
    issuer: String,
    place: KeyPlace,
    refresh_seconds: u64,
    outside: Outside,
    keys: ArcSwapOption<Published>,
    /// The second from which the keys are old.
    due: AtomicU64,
    refresh: Mutex<Refresh>,
}

/// Keys as they were published.
pub(super) struct Published {
    /// The keys.
    pub(super) set: KeySet,
    /// Counts the documents that differed.
    pub(super) generation: u64,
    document: digest::Digest,
}

/// A fetch that is under way. Ends, whatever becomes of the fetch.
pub(super) struct Running(watch::Receiver<()>);

#[derive(Default)]
struct Refresh {
    started: Option<u64>,
    running: Option<watch::Receiver<()>>,
}

// === impl KeySource ===

impl KeySource {
    /// A source without keys yet.
    pub(super) fn new(config: &IssuerConfig, outside: &Outside) -> Self {
        Self {
            issuer: config.issuer.clone(),
            place: config.key_place(),
            refresh_seconds: config.jwks_refresh_seconds,
            outside: outside.clone(),
            keys: ArcSwapOption::empty(),
            due: AtomicU64::new(0),
            refresh: Mutex::default(),
        }
    }

    /// Reads the keys now, if they are in a file. Blocks on the disk.
    pub(super) fn read_file(&self) -> Result<(), String> {
        match &self.place {
            KeyPlace::Url(..) => Ok(()),
            KeyPlace::File(path) => {
                let read = self.outside.files.read(path, JWKS_MAX_BYTES);
                let document = read.map_err(|error| format!("cannot be read: {error}"))?;
                self.publish(&document)
            }
        }
    }

    /// The keys at hand.
    pub(super) fn keys(&self) -> Option<Arc<Published>> {
        self.keys.load_full()
    }

    /// The generation of the keys at hand, 0 if there are none.
    pub(super) fn generation(&self) -> u64 {
        self.keys.load().as_ref().map_or(0, |keys| keys.generation)
    }

    /// Has old keys fetched again, without waiting for them.
    pub(super) fn keep_fresh(self: &Arc<Self>, now: u64) {
        if now >= self.due.load(Ordering::Relaxed) && self.generation() > 0 {
            let _ = self.refresh(now);
        }
    }

    /// Has the keys fetched, unless that happened a moment ago. Joins a fetch that is under way.
    pub(super) fn refresh(self: &Arc<Self>, now: u64) -> Option<Running> {
        let mut refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &refresh.running
            && running.has_changed().is_ok()
        {
            return Some(Running(running.clone()));
        }
        let interval = match self.generation() {
            0 => MIN_INTERVAL_EMPTY,
            _ => MIN_INTERVAL,
        };
        if refresh
            .started
            .is_some_and(|started| now.abs_diff(started) < interval)
        {
            return None;
        }
        let runtime = Handle::try_current().ok()?;
        let (done, running) = watch::channel(());
        refresh.started = Some(now);
        refresh.running = Some(running.clone());
        let source = self.clone();
        runtime.spawn(async move {
            source.load().await;
            drop(done);
        });
        Some(Running(running))
    }

    async fn load(&self) {
        let loaded = match self.fetch().await {
            Ok(document) => self.publish(&document),
            Err(error) => Err(error),
        };
        if let Err(error) = loaded {
            let kept = self.generation() > 0;
            warn!(issuer = %self.issuer, %error, kept, "keys of an issuer cannot be refreshed");
            let retry = self.outside.clock.now().saturating_add(MIN_INTERVAL);
            self.due.store(retry, Ordering::Relaxed);
        }
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        match &self.place {
            KeyPlace::Url(url, addresses) => {
                let fetch = self.outside.jwks.fetch(url, *addresses);
                let fetched = tokio::time::timeout(JWKS_TIMEOUT, fetch).await;
                fetched.map_err(|_| "no answer in time".to_owned())?
            }
            KeyPlace::File(path) => {
                let (files, path) = (self.outside.files.clone(), path.clone());
                let read = tokio::task::spawn_blocking(move || files.read(&path, JWKS_MAX_BYTES));
                match read.await {
                    Ok(Ok(document)) => Ok(document.into()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }

    fn publish(&self, document: &[u8]) -> Result<(), String> {
        if document.len() > JWKS_MAX_BYTES {
            return Err(format!("larger than {JWKS_MAX_BYTES} bytes"));
        }
        let digest = digest::digest(&digest::SHA256, document);
        let before = self.keys.load_full();
        let is_new = before
            .as_ref()
            .is_none_or(|keys| keys.document.as_ref() != digest.as_ref());
        if is_new {
            let set = KeySet::parse(document)?;
            let generation = before.map_or(0, |keys| keys.generation) + 1;
            let published = Published {
                set,
                generation,
                document: digest,
            };
            self.keys.store(Some(Arc::new(published)));
            info!(issuer = %self.issuer, generation, "keys of an issuer loaded");
        }
        let due = self
            .outside
            .clock
            .now()
            .saturating_add(self.refresh_seconds);
        self.due.store(due, Ordering::Relaxed);
        Ok(())
    }
}

// === impl Running ===

impl Running {
    /// Waits for the end of the fetch.
    pub(super) async fn ended(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
