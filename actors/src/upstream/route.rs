//! From what a request names to the server that has it.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use weir_plugin_protocol::jsonrpc::{member, unquote};
use weir_plugin_protocol::mcp::{Era, valid_tool_name};

use super::catalog::ListKind;
use super::federation::Endpoint;
use super::index::{Entry, SEPARATOR};
use super::pins::{Digest, WithheldFor};
use super::view::{Federation, LinkView, ServerName, ServerView, UpstreamState, other};

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The server.
    pub server: Arc<ServerView>,
    /// Its face in the era of the request.
    pub link: Arc<LinkView>,
    /// What the server itself calls the tool, prompt or resource.
    pub own_name: String,
    /// Why clients are kept from it, whoever they are: it is not what was approved.
    pub withheld: Option<PinMismatch>,
}

/// The hashes of an object that is not what was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinMismatch {
    /// Of what was approved; none: nothing was.
    pub pinned: Option<Digest>,
    /// Of what is offered; none: nothing is.
    pub current: Option<Digest>,
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteError {
    /// Nobody offers it.
    #[error("no server offers it")]
    Unknown,
    /// The server that offers it does not speak the era of the request.
    #[error("the server {server} does not speak this era of the protocol")]
    WrongEra {
        /// The server.
        server: ServerName,
        /// The era that it speaks.
        spoken: Era,
    },
    /// The server that offers it, or would, cannot be reached now. A later try may succeed.
    #[error("the server {server} is not available: {reason}")]
    Down {
        /// The server.
        server: ServerName,
        /// Why.
        reason: String,
    },
}

// === impl PinMismatch ===

impl fmt::Display for PinMismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, hash) in [("pinned", &self.pinned), (", now", &self.current)] {
            match hash {
                Some(hash) => write!(formatter, "{word} {hash}")?,
                None => write!(formatter, "{word} nothing")?,
            }
        }
        Ok(())
    }
}

// === impl Federation ===

impl Federation {
    /// Finds the server of a tool.
    pub fn route_tool(
        &self,
        endpoint: &Endpoint,
        era: Era,
        exposed_name: &str,
    ) -> Result<Route, RouteError> {
        self.route_named(ListKind::Tools, endpoint, era, exposed_name)
    }

    /// Finds the server of a prompt.
    pub fn route_prompt(
        &self,
        endpoint: &Endpoint,
        era: Era,
        exposed_name: &str,
    ) -> Result<Route, RouteError> {
        self.route_named(ListKind::Prompts, endpoint, era, exposed_name)
    }

    /// Finds the server of a resource: the one that lists it, else the first with a template that fits, else the only
    /// one that has resources at all.
    pub fn route_resource(
        &self,
        endpoint: &Endpoint,
        era: Era,
        uri: &str,
    ) -> Result<Route, RouteError> {
        if let Endpoint::One(name) = endpoint {
            let withheld = withheld(self.server(name), era, ListKind::Resources, uri)?;
            let route = self.route_server(name, era, uri)?;
            return Ok(Route { withheld, ..route });
        }
        let index = self.index.era(era);
        let place = match index.find(ListKind::Resources, uri) {
            Some(entry) => Some(entry.server),
            None => index.fitting(uri),
        };
        if let Some(server) = place.and_then(|place| self.servers.get(place)) {
            return route(server, era, uri);
        }
        let other = self.index.era(super::view::other(era));
        let elsewhere = other
            .find(ListKind::Resources, uri)
            .map(|entry| entry.server)
            .or_else(|| other.fitting(uri));
        if let Some(server) = elsewhere.and_then(|place| self.servers.get(place)) {
            return route(server, era, uri);
        }
        for server in &self.servers {
            let withheld = withheld(Some(server), era, ListKind::Resources, uri)?;
            if withheld.is_some() {
                let route = route(server, era, uri)?;
                return Ok(Route { withheld, ..route });
            }
        }
        let mut with_resources = self.servers.iter().filter(|server| {
            server
                .face(era)
                .is_some_and(|face| face.hello.has("resources"))
        });
        match (with_resources.next(), with_resources.next()) {
            (Some(only), None) => route(only, era, uri),
            _ => Err(RouteError::Unknown),
        }
    }

    /// Finds the server of a completion. `reference` is the raw JSON of `params.ref`; the route's own name is what the
    /// server calls the prompt, or the URI.
    pub fn route_completion(
        &self,
        endpoint: &Endpoint,
        era: Era,
        reference: &str,
    ) -> Result<Route, RouteError> {
        let text = |key| member(reference, key).and_then(unquote);
        match text("type").as_deref() {
            Some("ref/prompt") => {
                let name = text("name").ok_or(RouteError::Unknown)?;
                self.route_prompt(endpoint, era, &name)
            }
            Some("ref/resource") => {
                let uri = text("uri").ok_or(RouteError::Unknown)?;
                let template = match endpoint {
                    Endpoint::All => self.index.era(era).find(ListKind::Templates, &uri),
                    Endpoint::One(_) => None,
                };
                match template.and_then(|entry| self.servers.get(entry.server)) {
                    Some(server) => route(server, era, &uri),
                    None => self.route_resource(endpoint, era, &uri),
                }
            }
            _ => Err(RouteError::Unknown),
        }
    }

    /// Finds a server by name, for requests that name nothing in it.
    pub fn route_server(
        &self,
        server: &ServerName,
        era: Era,
        own_name: &str,
    ) -> Result<Route, RouteError> {
        let server = self.server(server).ok_or(RouteError::Unknown)?;
        route(server, era, own_name)
    }

    fn route_named(
        &self,
        kind: ListKind,
        endpoint: &Endpoint,
        era: Era,
        exposed: &str,
    ) -> Result<Route, RouteError> {
        let name = match endpoint {
            Endpoint::All => exposed,
            // A name that no tool may have was left out of the list for a reason.
            Endpoint::One(_) if kind == ListKind::Tools && !valid_tool_name(exposed) => {
                return Err(RouteError::Unknown);
            }
            // Also what the server did not list: it may know it, and answers if not.
            Endpoint::One(name) => {
                let withheld = withheld(self.server(name), era, kind, exposed)?;
                let route = self.route_server(name, era, exposed)?;
                return Ok(Route { withheld, ..route });
            }
        };
        let listed = self
            .index
            .era(era)
            .find(kind, name)
            .map(|entry| (entry, era));
        let listed =
            listed.or_else(|| Some((self.index.era(other(era)).find(kind, name)?, other(era))));
        if let Some((entry, listed_in)) = listed {
            let server = self.servers.get(entry.server).ok_or(RouteError::Unknown)?;
            return route(server, era, own_name(server, listed_in, kind, entry)?);
        }
        let Some((server, own)) = self.prefixed_server(name) else {
            return Err(RouteError::Unknown);
        };
        let withheld = withheld(Some(server), era, kind, own)?;
        if withheld.is_some() {
            let route = route(server, era, own)?;
            return Ok(Route { withheld, ..route });
        }
        if server.unknown() {
            // A server that was never reached may have it.
            return route(server, era, name);
        }
        Err(RouteError::Unknown)
    }

    /// The server that a name would belong to, listed or not, and the name there.
    fn prefixed_server<'a>(&self, exposed: &'a str) -> Option<(&Arc<ServerView>, &'a str)> {
        if let [only] = self.servers.as_slice() {
            return Some((only, exposed));
        }
        let (prefix, own) = exposed.split_once(SEPARATOR)?;
        let named = |server: &&Arc<ServerView>| server.name.as_str() == prefix;
        Some((self.servers.iter().find(named)?, own))
    }
}

/// Why clients are kept from an object that its server offers. Costs nothing where they are kept from none.
fn withheld(
    server: Option<&Arc<ServerView>>,
    era: Era,
    kind: ListKind,
    own_name: &str,
) -> Result<Option<PinMismatch>, RouteError> {
    let face = server.and_then(|server| server.face(era));
    match face.and_then(|face| face.catalog.withheld.get(kind, own_name)) {
        None => Ok(None),
        Some(WithheldFor::Clash { .. }) => Err(RouteError::Unknown),
        Some(WithheldFor::PinMismatch { pinned, current }) => Ok(Some(PinMismatch {
            pinned: *pinned,
            current: *current,
        })),
    }
}

fn route(server: &Arc<ServerView>, era: Era, own_name: &str) -> Result<Route, RouteError> {
    let reason = match &server.state {
        UpstreamState::Ready => None,
        UpstreamState::Starting => Some("it is starting"),
        UpstreamState::Down { reason } | UpstreamState::Quarantined { reason } => {
            Some(reason.as_str())
        }
    };
    let Some(link) = server.face(era) else {
        return Err(match server.face(other(era)) {
            Some(face) => RouteError::WrongEra {
                server: server.name.clone(),
                spoken: face.era,
            },
            None => RouteError::Down {
                server: server.name.clone(),
                reason: reason.unwrap_or("it is starting").into(),
            },
        });
    };
    match reason {
        None => Ok(Route {
            server: server.clone(),
            link: link.clone(),
            own_name: own_name.to_owned(),
            withheld: None,
        }),
        Some(reason) => Err(RouteError::Down {
            server: server.name.clone(),
            reason: reason.into(),
        }),
    }
}

fn own_name<'a>(
    server: &'a ServerView,
    era: Era,
    kind: ListKind,
    entry: &Entry,
) -> Result<&'a str, RouteError> {
    let item = server
        .face(era)
        .and_then(|face| face.catalog.list(kind).items.get(entry.item));
    item.map(|item| item.key.as_str())
        .ok_or(RouteError::Unknown)
}
