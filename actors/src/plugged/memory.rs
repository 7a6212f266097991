//! What plugins said, kept for a while, and each question asked by one at a time.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::CacheConfig;

/// The most questions that are under way at once. Who comes then is told that nobody can be asked.
const MAX_QUESTIONS: usize = 4096;

/// An answer and what it is worth.
#[derive(Clone, Debug)]
pub enum Kept<V> {
    /// A yes: it holds for the `ttl`, or for less.
    Good(V, Option<Duration>),
    /// A no: it holds for the `negative_ttl`. Kept apart, so that junk cannot push out what is good.
    Bad(V),
    /// Not to be kept.
    Not(V),
}

/// What plugins said. Cheap to share; reading it takes no lock that a writer holds for long.
pub struct Memory<K, V> {
    config: CacheConfig,
    good: Cache<K, Known<V>, RandomState>,
    bad: Cache<K, Known<V>, RandomState>,
    /// Questions under way. Each has a task of its own: who asked first may go away.
    asked: Mutex<Asked<K, V>>,
    /// What is under way when this changes is not kept.
    epoch: AtomicU64,
    questions: AtomicU64,
}

/// Questions by what is asked, each with its number.
type Asked<K, V> = HashMap<K, (u64, watch::Receiver<Option<V>>)>;

#[derive(Clone)]
struct Known<V> {
    value: V,
    until: Instant,
    /// The instance of the plugin that said it.
    term: u64,
}

/// A question under way. However it ends, it can be asked again.
struct Asking<K: Hash + Eq + Clone, V> {
    memory: Arc<Memory<K, V>>,
    key: K,
    number: u64,
}

/// An answer that comes later; nothing if whoever asked was lost.
pub type Coming<V> = Pin<Box<dyn Future<Output = Option<V>> + Send>>;

// === impl Memory ===

impl<K, V> Memory<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// One that knows nothing.
    pub fn new(config: CacheConfig) -> Self {
        let entries = u64::from(config.entries.get());
        let cache = || {
            Cache::builder()
                .max_capacity(entries)
                .build_with_hasher(RandomState::default())
        };
        Self {
            config,
            good: cache(),
            bad: cache(),
            asked: Mutex::default(),
            epoch: AtomicU64::new(0),
            questions: AtomicU64::new(0),
        }
    }

    /// How long it keeps what.
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// What is known, if it holds in this term; without a term: if it still holds at all.
    pub fn recall(&self, key: &K, term: Option<u64>) -> Option<V> {
        let known = self.good.get(key).or_else(|| self.bad.get(key))?;
        let holds = term.is_none_or(|term| term == known.term) && Instant::now() < known.until;
        holds.then_some(known.value)
    }

    /// Asks, unless the same is being asked already. The answer is kept for what it is worth. Must be called on a thread of actix.
    ///
    /// Returns nothing if there are too many questions under way.
    pub fn ask(
        self: &Arc<Self>,
        key: K,
        term: u64,
        question: impl Future<Output = Kept<V>> + Send + 'static,
    ) -> Option<Coming<V>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = asked.get(&key) {
            return Some(coming(answer.clone()));
        }
        if asked.len() >= MAX_QUESTIONS {
            return None;
        }
        let (said, answer) = watch::channel(None);
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        asked.insert(key.clone(), (number, answer.clone()));
        drop(asked);
        let asking = Asking {
            memory: self.clone(),
            key,
            number,
        };
        let epoch = self.epoch.load(Ordering::Acquire);
        // Connections of plugins belong to the thread that calls.
        actix_rt::spawn(async move {
            let kept = question.await;
            let value = asking.keep(kept, term, epoch);
            // Who comes from now on finds it in memory, or asks anew.
            drop(asking);
            said.send_replace(Some(value));
        });
        Some(coming(answer))
    }

    /// Forgets everything, and what is being asked will not be kept.
    pub fn forget(&self) {
        self.begin_epoch();
        self.good.invalidate_all();
        self.bad.invalidate_all();
    }

    /// Forgets what was said for some keys or in some answers, and what is being asked will not be kept. Returns how many
    /// answers that were.
    pub fn forget_where(&self, which: impl Fn(&K, &V) -> bool) -> usize {
        self.begin_epoch();
        let mut forgotten = 0;
        for cache in [&self.good, &self.bad] {
            for (key, known) in cache {
                if which(&key, &known.value) {
                    cache.invalidate(&*key);
                    forgotten += 1;
                }
            }
        }
        forgotten
    }

    fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        // Whoever asks from now on shall not be given what was asked before.
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

fn coming<V: Clone + Send + Sync + 'static>(mut answer: watch::Receiver<Option<V>>) -> Coming<V> {
    Box::pin(async move {
        let said = answer.wait_for(Option::is_some).await.ok()?;
        said.clone()
    })
}

// === impl Asking ===

impl<K, V> Asking<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn keep(&self, kept: Kept<V>, term: u64, epoch: u64) -> V {
        let memory = &self.memory;
        let (cache, value, holds) = match kept {
            Kept::Not(value) => return value,
            Kept::Good(value, shorter) => {
                let ttl = memory.config.ttl.0;
                (
                    &memory.good,
                    value,
                    shorter.map_or(ttl, |shorter| shorter.min(ttl)),
                )
            }
            Kept::Bad(value) => (&memory.bad, value, memory.config.negative_ttl.0),
        };
        if !holds.is_zero() && memory.epoch.load(Ordering::Acquire) == epoch {
            // What was said before is over: a yes and a no are never known at once.
            memory.good.invalidate(&self.key);
            memory.bad.invalidate(&self.key);
            let known = Known {
                value: value.clone(),
                until: Instant::now() + holds,
                term,
            };
            cache.insert(self.key.clone(), known);
            if memory.epoch.load(Ordering::Acquire) != epoch {
                cache.invalidate(&self.key);
            }
        }
        value
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Asking<K, V> {
    fn drop(&mut self) {
        let mut asked = self
            .memory
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // It may be asked anew already.
        if asked
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            asked.remove(&self.key);
        }
    }
}
