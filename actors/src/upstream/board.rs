//! Where the state of all upstreams is published, and where the rest of the gateway rings for more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{broadcast, watch};
use tracing::warn;
use weir_plugin_protocol::mcp::Era;

use super::catalog::ListKind;
use super::desk::{Desk, Subscription, lock};
use super::view::{Federation, LinkView, ServerName, ServerView, UpstreamEvent, UpstreamState};

/// The published state of all upstreams. Cheap to clone; all clones are the same board.
///
/// Requests only [`load`](Self::load) the snapshot. What they ask for beyond it is a wish left at the server's desk,
/// which its actor fulfils; wishes survive the actor's restarts.
#[derive(Clone, Debug)]
pub struct UpstreamBoard(Arc<Board>);

#[derive(Debug)]
struct Board {
    federation: ArcSwap<Federation>,
    events: broadcast::Sender<UpstreamEvent>,
    /// Counts publications, for those who wait for a state.
    published: watch::Sender<u64>,
    /// One writer at a time reads, changes and swaps.
    writer: Mutex<()>,
    desks: Vec<Arc<Desk>>,
}

/// How long anybody waits for a refresh. It goes on without them.
const REFRESH: Duration = Duration::from_secs(10);

/// Events that are kept for a slow receiver before it is told that it lags.
const EVENTS: usize = 1_024;

// === impl UpstreamBoard ===

impl UpstreamBoard {
    /// A board for servers that nobody has reached yet, in the order of the configuration.
    pub fn new(names: impl IntoIterator<Item = ServerName>) -> Self {
        let servers = names
            .into_iter()
            .map(|name| Arc::new(ServerView::starting(name)))
            .collect();
        Self::showing(Federation::new(servers))
    }

    /// A board that shows this federation: for tests, and for servers that never change.
    pub fn showing(federation: Federation) -> Self {
        let desks = federation
            .servers
            .iter()
            .map(|server| Arc::new(Desk::new(server.name.clone())));
        Self(Arc::new(Board {
            desks: desks.collect(),
            federation: ArcSwap::from_pointee(federation),
            events: broadcast::Sender::new(EVENTS),
            published: watch::Sender::new(0),
            writer: Mutex::new(()),
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
        let desk = self.desk(server)?.clone();
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
        let events = {
            let _writer = lock(&self.0.writer);
            let before = self.federation();
            let Some(old) = before.server(server) else {
                return;
            };
            let mut new = ServerView::clone(old);
            change(&mut new);
            if new.state != old.state {
                tracing::info!(server = %server, state = ?new.state, "upstream changed state");
            }
            let events = differences(old, &new);
            let after = before.with(new);
            warn_of_hidden(&before, &after);
            self.0.federation.store(Arc::new(after));
            events
        };
        self.0.published.send_modify(|count| *count += 1);
        for event in events {
            self.announce(event);
        }
    }

    /// Tells everybody who listens.
    pub fn announce(&self, event: UpstreamEvent) {
        // An error only means that nobody listens.
        let _ = self.0.events.send(event);
    }

    pub(super) fn desk(&self, server: &ServerName) -> Option<&Arc<Desk>> {
        self.0.desks.iter().find(|desk| desk.name == *server)
    }
}

/// What is different for clients. A face that comes or goes brings or takes its lists.
fn differences(old: &ServerView, new: &ServerView) -> Vec<UpstreamEvent> {
    let differs = |kind: ListKind| {
        let differs = |old: Option<&Arc<LinkView>>, new: Option<&Arc<LinkView>>| match (old, new) {
            (None, None) => false,
            (Some(old), Some(new)) => {
                !Arc::ptr_eq(&old.catalog, &new.catalog)
                    && !old.catalog.list(kind).same_items(new.catalog.list(kind))
            }
            (Some(one), None) | (None, Some(one)) => !one.catalog.list(kind).items.is_empty(),
        };
        differs(old.modern.as_ref(), new.modern.as_ref())
            || differs(old.legacy.as_ref(), new.legacy.as_ref())
    };
    let mut events = Vec::new();
    if differs(ListKind::Tools) {
        events.push(UpstreamEvent::ToolsChanged(new.name.clone()));
    }
    if differs(ListKind::Prompts) {
        events.push(UpstreamEvent::PromptsChanged(new.name.clone()));
    }
    if differs(ListKind::Resources) || differs(ListKind::Templates) {
        events.push(UpstreamEvent::ResourcesChanged(new.name.clone()));
    }
    events
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
mod tests {
    use super::super::federation::tests::fake;
    use super::*;

    fn name(text: &str) -> ServerName {
        ServerName::new(text).unwrap()
    }

    fn put(board: &UpstreamBoard, view: ServerView) {
        board.update(&view.name.clone(), |known| *known = view);
    }

    #[tokio::test]
    async fn changes_are_seen_after_they_are_told() {
        let board = UpstreamBoard::new([name("a"), name("b")]);
        let mut events = board.events();
        put(&board, fake("a").tools(&["x"]).view());
        assert!(
            matches!(events.try_recv(), Ok(UpstreamEvent::ToolsChanged(server)) if server == name("a"))
        );
        assert!(
            board
                .load()
                .route_tool(&crate::upstream::Endpoint::All, Era::Modern, "a__x")
                .is_ok()
        );
        // The same again is no news.
        put(&board, fake("a").tools(&["x"]).view());
        assert!(events.try_recv().is_err());
        put(
            &board,
            fake("a")
                .tools(&["x"])
                .items(ListKind::Templates, &["t://{a}"])
                .view(),
        );
        assert!(matches!(
            events.try_recv(),
            Ok(UpstreamEvent::ResourcesChanged(_))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn settled_waits_for_the_last_server() {
        let board = UpstreamBoard::new([name("a"), name("b")]);
        assert!(!board.settled(Duration::from_secs(10)).await);
        put(&board, fake("a").view());
        let waiting = board.clone();
        let settled = tokio::spawn(async move { waiting.settled(Duration::from_secs(10)).await });
        tokio::task::yield_now().await;
        board.update(&name("b"), |server| {
            server.state = UpstreamState::Down {
                reason: "gone".into(),
            }
        });
        assert!(settled.await.unwrap());
    }

    #[tokio::test]
    async fn readers_never_see_half_a_swap() {
        let board = UpstreamBoard::new([name("a")]);
        put(&board, fake("a").tools(&["x", "y"]).view());
        let reading = board.clone();
        let reader = std::thread::spawn(move || {
            for _ in 0..2_000 {
                let seen = reading.load().list(
                    &crate::upstream::Endpoint::All,
                    Era::Modern,
                    ListKind::Tools,
                    |_, _, _| true,
                );
                assert!(matches!(seen.items.len(), 2 | 5), "{}", seen.items.len());
            }
        });
        for round in 0..500 {
            let names: &[&str] = if round % 2 == 0 {
                &["a", "b", "c", "d", "e"]
            } else {
                &["x", "y"]
            };
            put(&board, fake("a").tools(names).view());
        }
        reader.join().unwrap();
    }
}
