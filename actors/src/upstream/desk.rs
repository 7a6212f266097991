//! What is wished of one server: left here by requests, done by the server's actor.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use weir_plugin_protocol::mcp::Era;

use super::view::ServerName;

/// The longest URI that can be watched, in bytes.
const MAX_URI: usize = 8 * 1024;

/// Bytes of all URIs watched at one server: they go to it in one request.
const MAX_WATCHED: usize = 1024 * 1024;

/// What is wished of one instance of a server.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) name: ServerName,
    /// The child of the group `upstreams` that keeps the instance.
    pub(super) child: Arc<str>,
    /// What is watched at the server, whichever instance it is.
    watched: Arc<Watched>,
    /// The counts that the server knows of, in the modern era and in the legacy era.
    heard: [watch::Sender<u64>; 2],
    modern: Errand,
    legacy: Errand,
    /// Notifications that nobody took.
    unheard: AtomicU64,
}

/// The resources of a server that somebody wants to hear of.
#[derive(Debug)]
struct Watched {
    /// How many subscriptions each URI has. Together the URIs are no longer than [`MAX_WATCHED`].
    subscriptions: Mutex<BTreeMap<String, usize>>,
    /// Counts changes of the set of subscribed URIs.
    subscribed: watch::Sender<u64>,
}

/// Something that many wish for and that is done once for all of them.
#[derive(Debug)]
pub(super) struct Errand {
    /// Number of the last run that was wished for.
    wished: watch::Sender<u64>,
    /// Number of the run under way or, if none is, of the last one.
    begun: Mutex<u64>,
    /// Number of the last run that ended, well or not.
    ended: watch::Sender<u64>,
}

/// A resource that is watched while this is held.
#[derive(Debug)]
pub struct Subscription {
    pub(super) desk: Arc<Desk>,
    pub(super) uri: String,
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(name: ServerName, child: Arc<str>) -> Self {
        let watched = Arc::new(Watched {
            subscriptions: Mutex::default(),
            subscribed: watch::Sender::new(0),
        });
        Self::watching(name, child, watched)
    }

    /// The desk of another instance of the same server: what is watched stays watched.
    pub(super) fn successor(&self, child: Arc<str>) -> Self {
        Self::watching(self.name.clone(), child, self.watched.clone())
    }

    fn watching(name: ServerName, child: Arc<str>, watched: Arc<Watched>) -> Self {
        Self {
            name,
            child,
            watched,
            heard: [watch::Sender::new(0), watch::Sender::new(0)],
            modern: Errand::new(),
            legacy: Errand::new(),
            unheard: AtomicU64::new(0),
        }
    }

    pub(super) fn errand(&self, era: Era) -> &Errand {
        match era {
            Era::Modern => &self.modern,
            Era::Legacy => &self.legacy,
        }
    }

    /// The subscribed URIs, in order.
    pub(super) fn wanted(&self) -> Vec<String> {
        lock(&self.watched.subscriptions).keys().cloned().collect()
    }

    /// Whether any resource is watched.
    pub(super) fn watches(&self) -> bool {
        !lock(&self.watched.subscriptions).is_empty()
    }

    /// Counts a notification that nobody took.
    pub(super) fn count_unheard(&self) {
        self.unheard.fetch_add(1, Ordering::Relaxed);
    }

    /// How many notifications nobody took.
    pub(super) fn unheard(&self) -> u64 {
        self.unheard.load(Ordering::Relaxed)
    }

    /// Changes when the set of subscribed URIs does.
    pub(super) fn wanted_changes(&self) -> watch::Receiver<u64> {
        self.watched.subscribed.subscribe()
    }

    fn heard_in(&self, era: Era) -> &watch::Sender<u64> {
        let [modern, legacy] = &self.heard;
        match era {
            Era::Modern => modern,
            Era::Legacy => legacy,
        }
    }

    /// Notes that changes of everything that was subscribed up to this count are heard of now.
    pub(super) fn hears(&self, era: Era, count: u64) {
        self.heard_in(era)
            .send_modify(|heard| *heard = count.max(*heard));
    }

    /// Waits until changes of everything that is subscribed now are heard of.
    pub(super) async fn heard(&self, era: Era) {
        let count = *self.watched.subscribed.borrow();
        let mut heard = self.heard_in(era).subscribe();
        // The sender is in `self`, so this cannot fail.
        let _ = heard.wait_for(|heard| *heard >= count).await;
    }

    /// Counts one more subscription. False: the URI is too long, or too much is watched already.
    pub(super) fn subscribe(&self, uri: &str) -> bool {
        let mut subscriptions = lock(&self.watched.subscriptions);
        if let Some(count) = subscriptions.get_mut(uri) {
            *count += 1;
            return true;
        }
        let watched: usize = subscriptions.keys().map(String::len).sum();
        if uri.len() > MAX_URI || watched + uri.len() > MAX_WATCHED {
            return false;
        }
        subscriptions.insert(uri.to_owned(), 1);
        self.watched.subscribed.send_modify(|count| *count += 1);
        true
    }

    fn unsubscribe(&self, uri: &str) {
        let mut subscriptions = lock(&self.watched.subscriptions);
        if let Some(count) = subscriptions.get_mut(uri) {
            *count -= 1;
            if *count == 0 {
                subscriptions.remove(uri);
                self.watched.subscribed.send_modify(|count| *count += 1);
            }
        }
    }
}

// === impl Errand ===

impl Errand {
    fn new() -> Self {
        Self {
            wished: watch::Sender::new(0),
            begun: Mutex::new(0),
            ended: watch::Sender::new(0),
        }
    }

    /// Wishes for a run, or joins the one under way, and waits for its end.
    pub(super) async fn wish(&self) {
        let mut ended = self.ended.subscribe();
        let number = {
            let begun = *lock(&self.begun);
            if begun > *ended.borrow() {
                begun
            } else {
                self.wished
                    .send_modify(|wished| *wished = (*wished).max(begun + 1));
                begun + 1
            }
        };
        // The sender lives as long as `self`.
        let _ = ended.wait_for(|ended| *ended >= number).await;
    }

    /// Waits until a run is wished for. Cancel safe.
    pub(super) async fn wished(&self) {
        let mut wished = self.wished.subscribe();
        let begun = *lock(&self.begun);
        let _ = wished.wait_for(|wished| *wished > begun).await;
    }

    /// Begins a run, which ends when the guard is dropped.
    pub(super) fn begin(&self) -> Running<'_> {
        let mut begun = lock(&self.begun);
        *begun += 1;
        Running {
            errand: self,
            number: *begun,
        }
    }
}

/// A run under way.
pub(super) struct Running<'a> {
    errand: &'a Errand,
    number: u64,
}

// === impl Running ===

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.errand.ended.send_replace(self.number);
    }
}

// === impl Subscription ===

impl Subscription {
    /// The URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Waits until changes of the resource are heard of in the modern era, but not for long: a server that cannot be
    /// reached now will be told later.
    pub async fn live(&self, era: Era, patience: Duration) {
        let _later = tokio::time::timeout(patience, self.desk.heard(era)).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.desk.unsubscribe(&self.uri);
    }
}

/// Nothing that is done under these locks can leave half a change behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::board::UpstreamBoard;
    use super::super::federation::tests::fake;
    use super::*;

    fn name(text: &str) -> ServerName {
        ServerName::new(text).unwrap()
    }

    fn put(board: &UpstreamBoard, view: super::super::view::ServerView) {
        board.update(&view.name.clone(), |known| *known = view);
    }

    #[tokio::test]
    async fn many_wishes_are_one_errand() {
        let board = UpstreamBoard::new([name("a")]);
        put(&board, fake("a").view());
        let wishes: Vec<_> = (0..10)
            .map(|_| {
                let board = board.clone();
                tokio::spawn(async move { board.refresh(&name("a"), Era::Modern).await })
            })
            .collect();
        let desk = board.desk(&name("a")).unwrap();
        let mut runs = 0;
        while !wishes.iter().all(tokio::task::JoinHandle::is_finished) {
            tokio::select! {
                () = desk.errand(Era::Modern).wished() => {}
                () = tokio::task::yield_now() => continue,
            }
            let running = desk.errand(Era::Modern).begin();
            runs += 1;
            tokio::task::yield_now().await;
            drop(running);
            tokio::task::yield_now().await;
        }
        assert!((1..=2).contains(&runs), "{runs}");
        board.refresh(&name("stranger"), Era::Modern).await;
    }

    #[test]
    fn the_first_and_the_last_subscription_count() {
        let board = UpstreamBoard::new([name("a")]);
        let desk = board.desk(&name("a")).unwrap().clone();
        let mut changes = desk.wanted_changes();
        let first = board.subscribe(&name("a"), "test://1").unwrap();
        let second = board.subscribe(&name("a"), "test://1").unwrap();
        assert_eq!(*changes.borrow_and_update(), 1);
        assert_eq!(desk.wanted(), ["test://1"]);
        drop(first);
        assert!(!changes.has_changed().unwrap());
        drop(second);
        assert!(changes.has_changed().unwrap());
        assert!(desk.wanted().is_empty());
        assert!(board.subscribe(&name("b"), "test://1").is_none());
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let board = UpstreamBoard::new([name("a")]);
        let watch = |uri: &str| board.subscribe(&name("a"), uri);
        assert!(watch(&"u".repeat(MAX_URI + 1)).is_none());
        let uris: Vec<String> = (0..MAX_WATCHED / MAX_URI)
            .map(|number| format!("{number:0>MAX_URI$}"))
            .collect();
        let mut held: Vec<_> = uris.iter().map(|uri| watch(uri).unwrap()).collect();
        assert!(watch("x").is_none());
        held.push(watch(&uris[0]).unwrap());
        held.remove(1);
        assert!(watch("x").is_some());
    }
}
