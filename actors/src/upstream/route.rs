//! From what a request names to the server that has it.

use std::sync::Arc;

use thiserror::Error;
use weir_plugin_protocol::jsonrpc::{member, unquote};
use weir_plugin_protocol::mcp::{Era, valid_tool_name};

use super::catalog::ListKind;
use super::federation::Endpoint;
use super::index::{Entry, SEPARATOR};
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
            return self.route_server(name, era, uri);
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
            Endpoint::One(server) => return self.route_server(server, era, exposed),
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
        // A server that was never reached may have it.
        match self.prefixed_server(name).filter(|server| server.unknown()) {
            Some(server) => route(server, era, name),
            None => Err(RouteError::Unknown),
        }
    }

    /// The server that a name would belong to, listed or not.
    fn prefixed_server(&self, exposed: &str) -> Option<&Arc<ServerView>> {
        if let [only] = self.servers.as_slice() {
            return Some(only);
        }
        let (prefix, _) = exposed.split_once(SEPARATOR)?;
        self.servers
            .iter()
            .find(|server| server.name.as_str() == prefix)
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
