//! One server in one era, greeted: its lists are read, kept up to date and published until it is lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use weir_plugin_protocol::jsonrpc::{Kind, quote};
use weir_plugin_protocol::mcp::{Era, Method};

use super::catalog::{ListError, ListKind, ListLimits, ListReader, Next, ReadList};
use super::home::Home;
use super::inbox::Inbox;
use super::view::{Catalog, Hello, Link, LinkView};
use super::wire::{AskError, Wire};

/// A server that was greeted in one era.
pub(super) struct Face {
    pub(super) home: Rc<Home>,
    pub(super) era: Era,
    pub(super) wire: Wire,
    pub(super) hello: Arc<Hello>,
    pub(super) link: Link,
    /// False once the server has refused to tell of changes.
    pub(super) announces: Cell<bool>,
    catalog: RefCell<Arc<Catalog>>,
}

/// Changes that come within this time of each other are read once.
const COALESCE: Duration = Duration::from_millis(50);
/// A server that changes its lists all the time is asked at most this often.
const BREATH: Duration = Duration::from_millis(500);

// === impl Face ===

impl Face {
    pub(super) fn new(home: Rc<Home>, era: Era, wire: Wire, hello: Hello, link: Link) -> Self {
        // What could be read before is better than nothing, should it not be readable now.
        let known = home.board.pins().offered(&home.desk, era);
        let catalog = known.unwrap_or_default();
        Self {
            era,
            wire,
            hello: Arc::new(hello),
            link,
            announces: Cell::new(true),
            catalog: RefCell::new(catalog),
            home: home.clone(),
        }
    }

    pub(super) fn inbox(&self) -> &Rc<Inbox> {
        &self.home.era(self.era).inbox
    }

    /// Reads all lists for the first time and publishes the face.
    pub(super) async fn introduce(&self) -> Result<(), AskError> {
        self.inbox().drain();
        self.read(&ListKind::ALL, true).await
    }

    /// Keeps the published lists up to date. Returns when the server is lost.
    pub(super) async fn keep(&self) -> AskError {
        tokio::select! {
            error = self.keep_lists() => error,
            error = self.keep_subscriptions() => error,
            error = self.keep_stream() => error,
        }
    }

    async fn keep_lists(&self) -> AskError {
        let errand = self.home.desk.errand(self.era);
        loop {
            let read = tokio::select! {
                () = self.inbox().rung() => {
                    tokio::time::sleep(COALESCE).await;
                    let read = self.read(&self.inbox().drain(), false).await;
                    tokio::time::sleep(BREATH).await;
                    read
                }
                () = errand.wished() => {
                    let _running = errand.begin();
                    self.read(&ListKind::ALL, false).await
                }
            };
            if let Err(error) = read {
                return error;
            }
        }
    }

    /// Legacy servers are told one by one which resources are watched; modern ones with the stream they are told on.
    async fn keep_subscriptions(&self) -> AskError {
        let mut changes = self.home.desk.wanted_changes();
        let mut held = BTreeSet::new();
        if self.era == Era::Modern || !self.hello.has_flag("resources", "subscribe") {
            return std::future::pending().await;
        }
        loop {
            let count = *changes.borrow_and_update();
            let elsewhere = !matches!(self.wire, Wire::Stdio(_)) && self.modern_subscribes();
            let wanted: BTreeSet<String> = match elsewhere {
                true => BTreeSet::new(),
                false => self.home.desk.wanted().into_iter().collect(),
            };
            let ends = held
                .difference(&wanted)
                .map(|uri| (Method::ResourcesUnsubscribe, uri));
            let begins = wanted
                .difference(&held)
                .map(|uri| (Method::ResourcesSubscribe, uri));
            for (method, uri) in ends.chain(begins) {
                match self
                    .wire
                    .ask(method, &format!(r#""uri":{}"#, quote(uri)))
                    .await
                {
                    Ok(answer) if answer.kind() == Kind::Error => {
                        debug!(server = %self.home.server, uri, "subscription refused");
                    }
                    Err(error) if error.is_loss() => return error,
                    Ok(_) | Err(_) => {}
                }
            }
            self.home.desk.hears(Era::Legacy, count);
            held = wanted;
            // The board keeps the sender.
            let _ = changes.changed().await;
        }
    }

    /// An HTTP server with both faces is subscribed to once. A child process is one of two: each has its own resources.
    fn modern_subscribes(&self) -> bool {
        let view = self.home.view();
        let modern = view.as_ref().and_then(|server| server.modern.as_ref());
        self.home.is_up(Era::Modern)
            && modern.is_some_and(|face| face.hello.has_flag("resources", "subscribe"))
    }

    /// Reads lists and publishes them. A list that cannot be read stays as it was; an error means that the server is
    /// lost or, the first time, does not answer.
    async fn read(&self, kinds: &[ListKind], first: bool) -> Result<(), AskError> {
        let mut catalog = Catalog::clone(&self.catalog.borrow());
        for kind in kinds {
            if !self.hello.has(kind.capability()) {
                catalog.put(*kind, ReadList::default());
                continue;
            }
            match self.read_list(*kind).await {
                Ok(read) => {
                    for dropped in &read.dropped {
                        warn!(server = %self.home.server, list = kind.member(), item = dropped.key, reason = dropped.reason, "upstream item left out");
                    }
                    catalog.put(*kind, read);
                }
                Err(Unread::Ask(error)) if error.is_loss() || first => return Err(error),
                Err(Unread::List(ListError::Refused { code, .. })) if code == "-32601" => {
                    debug!(server = %self.home.server, list = kind.member(), "upstream does not list what it declares");
                    catalog.put(*kind, ReadList::default());
                }
                Err(error) => {
                    warn!(server = %self.home.server, list = kind.member(), %error, "upstream list not read, the old one stays");
                }
            }
        }
        let catalog = Arc::new(catalog);
        self.catalog.replace(catalog.clone());
        let (era, link, hello) = (self.era, self.link.clone(), self.hello.clone());
        self.home.up(LinkView {
            era,
            link,
            hello,
            catalog,
        });
        Ok(())
    }

    async fn read_list(&self, kind: ListKind) -> Result<ReadList, Unread> {
        let began = Instant::now();
        let mut reader = ListReader::new(kind, ListLimits::default());
        let mut members = String::new();
        loop {
            let answer = self.wire.ask(kind.method(), &members).await?;
            match reader.page(&answer)? {
                Next::Page(cursor) => members = format!(r#""cursor":{cursor}"#),
                Next::Done => break,
            }
        }
        let announced =
            self.announces.get() && self.hello.has_flag(kind.capability(), "listChanged");
        Ok(reader.finish(began, announced))
    }
}

/// Why a list was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    List(#[from] ListError),
}
