//! Where the state of all upstreams is published, and where the rest of the gateway rings for more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{broadcast, watch};
use tracing::warn;
use weir_plugin_protocol::mcp::Era;

use super::desk::{Desk, Subscription, lock};
use super::differences::{differences, reconfigured};
use super::pins::{AcceptError, Key, PinPolicies, Pins};
use super::view::{Federation, LinkView, ServerName, ServerView, UpstreamEvent, UpstreamState};
use crate::settings::Settings;

/// The published state of all upstreams. Cheap to clone; all clones are the same board.
///
/// Requests only [`load`](Self::load) the snapshot. What they ask for beyond it is a wish left at the server's desk,
/// which its actor fulfils; wishes survive the actor's restarts. Which servers there are, and the settings that
/// requests are judged by, change with [`Succession::install`](super::Succession::install): both in one store.
#[derive(Clone, Debug)]
pub struct UpstreamBoard(Arc<Board>);

#[derive(Debug)]
struct Board {
    federation: ArcSwap<Federation>,
    events: broadcast::Sender<UpstreamEvent>,
    /// Counts publications, for those who wait for a state.
    published: watch::Sender<u64>,
    /// The serial of the settings, for those who act when they change.
    configured: watch::Sender<u64>,
    /// One writer at a time reads, changes and swaps. Inside: instances that are started but do not serve yet.
    writer: Mutex<Vec<Arc<ServerView>>>,
    pins: Pins,
}

/// How long anybody waits for a refresh. It goes on without them.
const REFRESH: Duration = Duration::from_secs(10);

/// Events that are kept for a slow receiver before it is told that it lags.
const EVENTS: usize = 1_024;

// === impl UpstreamBoard ===

impl UpstreamBoard {
    /// A board for servers that nobody has reached yet, in the order of the configuration.
    pub fn new(names: impl IntoIterator<Item = ServerName>) -> Self {
        Self::pinned(names, Pins::off())
    }

    /// The same for servers whose catalogues are pinned.
    pub fn pinned(names: impl IntoIterator<Item = ServerName>, pins: Pins) -> Self {
        let servers = names
            .into_iter()
            .map(|name| Arc::new(ServerView::starting(name)))
            .collect();
        Self::with_pins(Federation::new(servers), pins)
    }

    /// A board that shows this federation: for tests, and for servers that never change.
    pub fn showing(federation: Federation) -> Self {
        Self::with_pins(federation, Pins::off())
    }

    fn with_pins(federation: Federation, pins: Pins) -> Self {
        Self(Arc::new(Board {
            events: broadcast::Sender::new(EVENTS),
            published: watch::Sender::new(0),
            configured: watch::Sender::new(federation.settings.serial),
            federation: ArcSwap::from_pointee(federation),
            writer: Mutex::default(),
            pins,
        }))
    }

    /// The current snapshot, for the length of one lookup. Do not hold it across an await.
    pub fn load(&self) -> Guard<Arc<Federation>> {
        self.0.federation.load()
    }

    /// The current snapshot, to keep.
    pub fn federation(&self) -> Arc<Federation> {
        self.0.federation.load_full()
    }

    /// What changes from now on. A receiver that lags behind 1,024 events must take everything for changed.
    pub fn events(&self) -> broadcast::Receiver<UpstreamEvent> {
        self.0.events.subscribe()
    }

    /// Has the lists of a server fetched again and waits until they are, or until that failed. Those who ask while
    /// a fetch is under way share it. Returns at once if the server or its face is unknown, and after 10 s in any case.
    pub async fn refresh(&self, server: &ServerName, era: Era) {
        let known = self
            .load()
            .server(server)
            .is_some_and(|server| server.face(era).is_some());
        if let Some(desk) = self.desk(server).filter(|_| known) {
            let _ = tokio::time::timeout(REFRESH, desk.errand(era).wish()).await;
        }
    }

    /// Watches a resource: while the guard is held, [`UpstreamEvent::ResourceUpdated`] tells of changes. The server is
    /// told of the first subscription to a URI and of the end of the last. `None`: there is no such server, the URI is
    /// longer than 8 KiB, or the URIs watched at the server would be longer than 1 MiB together.
    pub fn subscribe(&self, server: &ServerName, uri: &str) -> Option<Subscription> {
        let desk = self.desk(server)?;
        desk.subscribe(uri).then(|| Subscription {
            desk,
            uri: uri.to_owned(),
        })
    }

    /// How many notifications of a server were dropped because they belong to no session and to no subscription.
    pub fn unheard(&self, server: &ServerName) -> u64 {
        self.desk(server).map_or(0, |desk| desk.unheard())
    }

    /// Waits until every server is ready or has failed for the first time. False: the time was up before.
    pub async fn settled(&self, timeout: Duration) -> bool {
        let mut published = self.0.published.subscribe();
        let settle = async {
            while self
                .load()
                .servers
                .iter()
                .any(|server| server.state == UpstreamState::Starting)
            {
                if published.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(timeout, settle).await.is_ok()
    }

    /// Changes what is known of one server, publishes it, then tells what is different.
    pub fn update(&self, server: &ServerName, change: impl FnOnce(&mut ServerView)) {
        if let Some(desk) = self.desk(server) {
            self.publish(&desk, change);
        }
    }

    /// Changes what is known of one instance of a server. Requests see it if the instance serves; one that has been
    /// replaced has nothing to say any more.
    pub(super) fn publish(&self, desk: &Arc<Desk>, change: impl FnOnce(&mut ServerView)) {
        let events = {
            let mut waiting = lock(&self.0.writer);
            let before = self.federation();
            let found = waiting.iter_mut().find(|view| view.is_at(desk));
            match (found, seated(&before, desk)) {
                (Some(view), _) => {
                    *view = Arc::new(changed(view, change));
                    Vec::new()
                }
                (None, Some(old)) => {
                    let new = changed(old, change);
                    let events = differences(old, &new);
                    let after = before.with(new);
                    warn_of_hidden(&before, &after);
                    self.0.federation.store(Arc::new(after));
                    events
                }
                (None, None) => return,
            }
        };
        self.0.published.send_modify(|count| *count += 1);
        for event in events {
            self.announce(event);
        }
    }

    /// What is known of one instance of a server, whether it serves already or not.
    pub(super) fn view(&self, desk: &Arc<Desk>) -> Option<Arc<ServerView>> {
        let waiting = lock(&self.0.writer);
        let found = waiting.iter().find(|view| view.is_at(desk)).cloned();
        found.or_else(|| seated(&self.load(), desk).cloned())
    }

    /// Whether this is the instance of its server that serves.
    pub(super) fn is_seated(&self, desk: &Arc<Desk>) -> bool {
        seated(&self.load(), desk).is_some()
    }

    /// What of the servers' catalogues was approved.
    pub fn pins(&self) -> &Pins {
        &self.0.pins
    }

    /// Approves what a server offers now, one object or all of them, and shows it to clients. Returns how many objects were
    /// not approved before. Blocks until that is on the disk.
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn accept_pins(
        &self,
        server: &ServerName,
        only: Option<&Key>,
    ) -> Result<usize, AcceptError> {
        let accepted = self.0.pins.accept(server, only)?;
        self.judge_again(server);
        self.0.pins.tell();
        self.0.pins.save()?;
        Ok(accepted)
    }

    /// Puts other policies for pins in force, for what is shown now too.
    pub fn set_pin_policies(&self, policies: PinPolicies) {
        self.0.pins.set_policies(policies);
        for server in self.0.pins.seen() {
            self.judge_again(&server);
        }
        self.0.pins.flush();
    }

    /// Shows what clients get of a server by the pins as they are now.
    fn judge_again(&self, server: &ServerName) {
        let waiting = lock(&self.0.writer).clone();
        let mut desks: Vec<_> = self.desk(server).into_iter().collect();
        let waiting = waiting.iter().filter(|view| view.name == *server);
        desks.extend(waiting.map(|view| view.seat.desk.clone()));
        for desk in desks {
            self.publish(&desk, |view| {
                for era in [Era::Modern, Era::Legacy] {
                    let judged = self.0.pins.judge(&desk, era);
                    if let Some((face, catalog)) = view.face(era).zip(judged) {
                        let face = LinkView {
                            catalog,
                            ..LinkView::clone(face)
                        };
                        view.put(face);
                    }
                }
            });
        }
    }

    /// Tells everybody who listens.
    pub fn announce(&self, event: UpstreamEvent) {
        // An error only means that nobody listens.
        let _ = self.0.events.send(event);
    }

    /// The desk of the instance that serves.
    pub(super) fn desk(&self, server: &ServerName) -> Option<Arc<Desk>> {
        let federation = self.load();
        let server = federation.server(server)?;
        Some(server.seat.desk.clone())
    }

    /// The serial of the settings now and whenever it changes.
    pub fn configured(&self) -> watch::Receiver<u64> {
        self.0.configured.subscribe()
    }

    /// Puts other settings beside the servers that there are. Use [`Succession::install`](super::Succession::install)
    /// where servers change as well.
    pub fn configure(&self, settings: Arc<Settings>) {
        let federation = self.federation();
        let servers = federation.servers.iter();
        let places: Vec<_> = servers.map(|server| server.seat.desk.clone()).collect();
        let _nobody = self.seat(settings, &places);
    }

    /// Takes in an instance that is to serve later.
    pub(super) fn expect(&self, desk: Arc<Desk>) {
        lock(&self.0.writer).push(Arc::new(ServerView::new(desk)));
    }

    /// The instances that are to serve later.
    pub(super) fn expected(&self) -> Vec<Arc<Desk>> {
        let waiting = lock(&self.0.writer);
        waiting.iter().map(|view| view.seat.desk.clone()).collect()
    }

    /// Takes out an instance that was to serve later.
    pub(super) fn dismiss(&self, desk: &Arc<Desk>) {
        lock(&self.0.writer).retain(|view| !view.is_at(desk));
        self.0.pins.forget(desk);
    }

    /// Waits until every one of these instances is ready or has failed for the first time. False: the time was up.
    pub(super) async fn decided(&self, desks: &[Arc<Desk>], timeout: Duration) -> bool {
        let mut published = self.0.published.subscribe();
        let starting = |desk| {
            let view = self.view(desk);
            view.is_some_and(|view| view.state == UpstreamState::Starting)
        };
        let settle = async {
            while desks.iter().any(starting) {
                if published.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(timeout, settle).await.is_ok()
    }

    /// Puts other servers and other settings in the place of those that serve: one store, so that no request sees some
    /// of the old and some of the new. `places` are the servers in their new order, each by the desk of its instance;
    /// one that is unknown is left out. Returns the instances that do not serve any more.
    pub(super) fn seat(
        &self,
        settings: Arc<Settings>,
        places: &[Arc<Desk>],
    ) -> Vec<Arc<ServerView>> {
        let serial = settings.serial;
        let (events, gone) = {
            let mut waiting = lock(&self.0.writer);
            let before = self.federation();
            let views = places.iter().filter_map(|desk| {
                let newcomer = waiting.iter().find(|view| view.is_at(desk));
                newcomer.or_else(|| seated(&before, desk)).cloned()
            });
            let after = before.reseated(views.collect(), settings);
            waiting.retain(|view| seated(&after, &view.seat.desk).is_none());
            warn_of_hidden(&before, &after);
            let events = reconfigured(&before, &after);
            let gone = before.servers.iter();
            let gone = gone.filter(|view| seated(&after, &view.seat.desk).is_none());
            let gone: Vec<_> = gone.cloned().collect();
            self.0.federation.store(Arc::new(after));
            (events, gone)
        };
        self.0.published.send_modify(|count| *count += 1);
        self.0.configured.send_replace(serial);
        for event in events {
            self.announce(event);
        }
        for view in &gone {
            self.0.pins.forget(&view.seat.desk);
        }
        gone
    }
}

/// The view of an instance that serves.
fn seated<'a>(federation: &'a Federation, desk: &Arc<Desk>) -> Option<&'a Arc<ServerView>> {
    federation.servers.iter().find(|view| view.is_at(desk))
}

fn changed(old: &ServerView, change: impl FnOnce(&mut ServerView)) -> ServerView {
    let mut new = old.clone();
    change(&mut new);
    new.seat = old.seat.clone();
    if new.state != old.state {
        tracing::info!(server = %new.name, child = %new.seat.desk.child, state = ?new.state, "upstream changed state");
    }
    new
}

fn warn_of_hidden(before: &Federation, after: &Federation) {
    for era in [Era::Modern, Era::Legacy] {
        let known = before.hidden(era);
        for hidden in after
            .hidden(era)
            .iter()
            .filter(|hidden| !known.contains(hidden))
        {
            warn!(server = %hidden.server, owner = %hidden.owner, uri = hidden.key, "resource hidden: an earlier server has the same URI");
        }
    }
}

#[cfg(test)]
mod tests;
