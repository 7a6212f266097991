//! Many servers as one: what an endpoint of the gateway offers.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use weir_plugin_protocol::mcp::{Era, Offered};
use weir_plugin_protocol::role::TargetKind;

use super::catalog::ListKind;
use super::desk::Desk;
use super::index::{Hidden, Index};
use super::merge::Merged;
use super::seat::Seat;
use super::view::{Federation, LinkView, ServerName, ServerView, UpstreamState};
use crate::settings::Settings;

/// Where a client is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// All servers as one. With more than one configured, tools and prompts are named `server__name`.
    All,
    /// One server, with its own names.
    One(ServerName),
}

/// A list, merged and filtered.
#[derive(Clone, Debug, Default)]
pub struct ListAnswer {
    /// The objects, in the order of the configuration and then of the server; only `name` may differ from what the
    /// server wrote.
    pub items: Vec<Bytes>,
    /// How much longer the list may be kept, in milliseconds: the least of all servers; 0 if one of them did not say.
    pub ttl_ms: u64,
    /// True if one of the lists must not be shared between callers.
    pub private: bool,
    /// Servers whose items are missing because they were never reached.
    pub missing: Vec<ServerName>,
    /// Servers whose list is old: ask the board to refresh them.
    pub stale: Vec<ServerName>,
}

// === impl Federation ===

impl Federation {
    /// Prepares a federation of `servers`, in this order.
    pub fn new(servers: Vec<Arc<ServerView>>) -> Self {
        let index = Arc::new(Index::new(&servers, &Index::default()));
        let settings = Arc::default();
        Self {
            servers,
            settings,
            index,
        }
    }

    /// The federation with one server replaced. A server that is not in it changes nothing.
    pub fn with(&self, server: ServerView) -> Self {
        let mut servers = self.servers.clone();
        if let Some(known) = servers.iter_mut().find(|known| known.name == server.name) {
            *known = Arc::new(server);
        }
        let index = Arc::new(Index::new(&servers, &self.index));
        let settings = self.settings.clone();
        Self {
            servers,
            settings,
            index,
        }
    }

    /// Other servers under other settings. What a server of this federation offers first, it goes on offering if it
    /// stays, wherever it stands now.
    pub(super) fn reseated(&self, servers: Vec<Arc<ServerView>>, settings: Arc<Settings>) -> Self {
        let names = |servers: &[Arc<ServerView>]| -> Vec<ServerName> {
            servers.iter().map(|server| server.name.clone()).collect()
        };
        let before = self.index.moved(&names(&self.servers), &names(&servers));
        let index = Arc::new(Index::new(&servers, &before));
        Self {
            servers,
            settings,
            index,
        }
    }

    /// The settings without the servers: for streams, which hold what they hold for hours.
    pub(crate) fn without_servers(&self) -> Self {
        /// One for all streams.
        static NOTHING: LazyLock<Arc<Index>> = LazyLock::new(Arc::default);
        Self {
            servers: Vec::new(),
            settings: self.settings.clone(),
            index: NOTHING.clone(),
        }
    }

    /// A server by name.
    pub fn server(&self, name: &ServerName) -> Option<&Arc<ServerView>> {
        self.servers.iter().find(|server| server.name == *name)
    }

    /// The eras that an endpoint offers: those that every server with a known face has; if there is none, those that
    /// any of them has, and each client then sees the servers that have its era. While nothing is known: both.
    pub fn eras(&self, endpoint: &Endpoint) -> Offered {
        let (mut every, mut any) = ((true, true), (false, false));
        for server in self.behind(endpoint) {
            let (modern, legacy) = (server.modern.is_some(), server.legacy.is_some());
            if modern || legacy {
                every = (every.0 && modern, every.1 && legacy);
                any = (any.0 || modern, any.1 || legacy);
            }
        }
        let (modern, legacy) = match (every, any) {
            ((false, false), any) => any,
            (every, _) => every,
        };
        Offered { modern, legacy }
    }

    /// Lists what an endpoint offers of one kind. `visible` is asked with the server, the kind and the item's own name,
    /// URI or URI template.
    pub fn list(
        &self,
        endpoint: &Endpoint,
        era: Era,
        kind: ListKind,
        visible: impl Fn(&ServerName, TargetKind, &str) -> bool,
    ) -> ListAnswer {
        let now = Instant::now();
        let mut answer = ListAnswer {
            ttl_ms: u64::MAX,
            ..ListAnswer::default()
        };
        for server in self.behind(endpoint) {
            match server.face(era) {
                Some(face) => answer.hint(&server.name, face, kind, now),
                None if server.unknown() => answer.missing.push(server.name.clone()),
                None => {}
            }
        }
        if answer.ttl_ms == u64::MAX || !answer.missing.is_empty() {
            answer.ttl_ms = 0;
        }
        let target = kind.target();
        match endpoint {
            Endpoint::All => {
                for entry in self.index.era(era).list(kind) {
                    let Some(server) = self.servers.get(entry.server) else {
                        continue;
                    };
                    let item = server
                        .face(era)
                        .and_then(|face| face.catalog.list(kind).items.get(entry.item));
                    if item.is_some_and(|item| visible(&server.name, target, &item.key)) {
                        answer.items.push(entry.raw.clone());
                    }
                }
            }
            Endpoint::One(name) => {
                let face = self.server(name).and_then(|server| server.face(era));
                for item in face.map_or(&[][..], |face| &face.catalog.list(kind).items) {
                    if visible(name, target, &item.key) {
                        answer.items.push(item.raw.clone());
                    }
                }
            }
        }
        answer
    }

    /// What an endpoint says of itself in answers to `initialize` and `server/discover`: of one server its own words,
    /// of all of them the merged ones.
    pub fn hello(&self, endpoint: &Endpoint, era: Era) -> HelloAnswer {
        let own = match endpoint {
            Endpoint::All => None,
            Endpoint::One(name) => self.server(name).and_then(|server| server.face(era)),
        };
        let Some(face) = own else {
            let Merged {
                capabilities,
                instructions,
            } = match endpoint {
                Endpoint::All => self.index.era(era).hello.clone(),
                Endpoint::One(_) => Merged::default(),
            };
            return HelloAnswer {
                capabilities,
                server_info: gateway_info(),
                instructions,
            };
        };
        HelloAnswer {
            capabilities: face.hello.capabilities.clone(),
            server_info: face.hello.server_info.clone().unwrap_or_else(gateway_info),
            instructions: face.hello.instructions.clone(),
        }
    }

    /// Resources and templates that clients of all servers do not see because an earlier server has them.
    pub fn hidden(&self, era: Era) -> &[Hidden] {
        self.index.era(era).hidden()
    }

    /// The servers behind an endpoint.
    pub fn behind(&self, endpoint: &Endpoint) -> impl Iterator<Item = &Arc<ServerView>> {
        self.servers.iter().filter(move |server| match endpoint {
            Endpoint::All => true,
            Endpoint::One(name) => server.name == *name,
        })
    }
}

/// Parts of an answer to `initialize` or `server/discover`, each raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloAnswer {
    /// `capabilities`, an object.
    pub capabilities: Bytes,
    /// `serverInfo`, an object: the upstream's own for one server, the gateway's for all of them.
    pub server_info: Bytes,
    /// `instructions`, a string.
    pub instructions: Option<Bytes>,
}

/// `serverInfo` of the gateway itself.
pub fn gateway_info() -> Bytes {
    Bytes::from_static(
        concat!(
            r#"{"name":"weir","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""}"#
        )
        .as_bytes(),
    )
}

// === impl ListAnswer ===

impl ListAnswer {
    fn hint(&mut self, server: &ServerName, face: &LinkView, kind: ListKind, now: Instant) {
        let list = face.catalog.list(kind);
        if list.fetched.is_none() {
            return;
        }
        self.ttl_ms = self.ttl_ms.min(list.remaining_ms(now));
        self.private |= list.private;
        if list.stale(now) {
            self.stale.push(server.clone());
        }
    }
}

// === impl ServerView ===

impl ServerView {
    /// A server that was never reached.
    pub fn starting(name: ServerName) -> Self {
        let child = name.as_str().into();
        Self::new(Arc::new(Desk::new(name, child)))
    }

    /// An instance of a server, not reached yet.
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self {
            name: desk.name.clone(),
            state: UpstreamState::Starting,
            modern: None,
            legacy: None,
            seat: Arc::new(Seat::new(desk)),
        }
    }

    /// Whether nobody knows yet which eras it speaks.
    pub(super) fn unknown(&self) -> bool {
        self.modern.is_none() && self.legacy.is_none()
    }
}

#[cfg(test)]
pub(super) mod tests;
