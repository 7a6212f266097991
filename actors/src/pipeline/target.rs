//! What a request is for: one thing of one server, or the gateway itself.

use std::borrow::Cow;

use weir_plugin_protocol::jsonrpc::{Field, Message, object_members, unquote};
use weir_plugin_protocol::mcp::{Era, Method};
use weir_plugin_protocol::role::TargetKind;

use super::{Arrival, ClientRequest, Refusal};
use crate::upstream::{Endpoint, Route, RouteError};

/// Members that a completion reference may have.
const MAX_REFERENCE_MEMBERS: usize = 16;

/// Where a request goes.
#[derive(Debug)]
pub enum Target {
    /// The gateway answers: lists, handshakes, streams, notifications.
    Gateway,
    /// One server answers.
    Server {
        /// Which, and what it calls the thing.
        route: Route,
        /// What the thing is.
        kind: TargetKind,
    },
}

// === impl Target ===

impl Target {
    /// What [`Target::own_name`] is.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Gateway => TargetKind::None,
            Self::Server { kind, .. } => *kind,
        }
    }

    /// The name at the server.
    pub fn own_name(&self) -> Option<&str> {
        match self {
            Self::Gateway => None,
            Self::Server {
                kind: TargetKind::None,
                ..
            } => None,
            Self::Server { route, .. } => Some(&route.own_name),
        }
    }
}

/// Finds what a request is for.
pub(super) fn resolve(arrival: &Arrival) -> Result<Target, Refusal> {
    let federation = &arrival.snapshot;
    if let Endpoint::One(name) = &arrival.endpoint
        && federation.server(name).is_none()
    {
        return Err(Refusal::UnknownEndpoint(format!("/servers/{name}/mcp")));
    }
    let (era, message) = match &arrival.request {
        ClientRequest::Modern(request) => (Era::Modern, &request.message),
        ClientRequest::Legacy(message) => (Era::Legacy, message),
        _ => return Ok(Target::Gateway),
    };
    let method = arrival.request.method();
    if message.id().is_none() || message.method().is_empty() {
        return Ok(Target::Gateway);
    }
    let endpoint = &arrival.endpoint;
    let (what, kind, named, route) = match method {
        Method::ToolsCall => {
            let name = required(message, Field::Name)?;
            let route = federation.route_tool(endpoint, era, &name);
            ("tool", TargetKind::Tool, name, route)
        }
        Method::PromptsGet => {
            let name = required(message, Field::Name)?;
            let route = federation.route_prompt(endpoint, era, &name);
            ("prompt", TargetKind::Prompt, name, route)
        }
        Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            let uri = required(message, Field::Uri)?;
            let route = federation.route_resource(endpoint, era, &uri);
            ("resource", TargetKind::Resource, uri, route)
        }
        Method::CompletionComplete => {
            let reference = message
                .field(Field::Ref)
                .ok_or_else(|| Refusal::InvalidParams("params.ref is missing".into()))?;
            let route = federation.route_completion(endpoint, era, reference);
            let kind = if reference_type(reference)? == "ref/resource" {
                TargetKind::Resource
            } else {
                TargetKind::Prompt
            };
            ("completion reference", kind, reference.to_owned(), route)
        }
        Method::Other
        | Method::TasksGet
        | Method::TasksUpdate
        | Method::TasksCancel
        | Method::TasksList
        | Method::TasksResult => {
            // Only where there is one server can it be told whose method that is.
            let Endpoint::One(name) = endpoint else {
                return Err(Refusal::UnknownMethod(message.method().to_owned()));
            };
            (
                "method",
                TargetKind::None,
                message.method().to_owned(),
                federation.route_server(name, era, ""),
            )
        }
        _ => return Ok(Target::Gateway),
    };
    route
        .map(|route| Target::Server { route, kind })
        .map_err(|error| match error {
            RouteError::Unknown => Refusal::Unknown {
                kind: what,
                name: named,
            },
            RouteError::WrongEra { server, spoken } => Refusal::OtherEra {
                server: server.to_string(),
                speaks: match spoken {
                    Era::Modern => "2026-07-28",
                    Era::Legacy => "2025-11-25 and earlier",
                },
            },
            RouteError::Down { server, reason } => Refusal::UpstreamDown {
                server: server.to_string(),
                reason,
            },
        })
}

/// The type of a completion reference. What is said twice may be read in two ways, so it is refused.
fn reference_type(reference: &str) -> Result<String, Refusal> {
    let invalid = |what: &str| Refusal::InvalidParams(format!("params.ref {what}"));
    if !reference.starts_with('{') {
        return Err(invalid("must be an object"));
    }
    let mut kind = None;
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in object_members(reference).take(MAX_REFERENCE_MEMBERS) {
        let folded = name.to_lowercase();
        if seen.contains(&folded) {
            return Err(invalid("has the same member twice"));
        }
        seen.push(folded);
        if name == "type" {
            kind = unquote(value).map(Cow::into_owned);
        }
    }
    match kind.as_deref() {
        Some("ref/prompt" | "ref/resource") if seen.len() < MAX_REFERENCE_MEMBERS => {
            Ok(kind.unwrap_or_default())
        }
        _ => Err(invalid("must have the type ref/prompt or ref/resource")),
    }
}

fn required(message: &Message, field: Field) -> Result<String, Refusal> {
    let key = if field == Field::Uri { "uri" } else { "name" };
    match message.text(field) {
        Some(text) => Ok(text.into_owned()),
        None => Err(Refusal::InvalidParams(format!(
            "params.{key} must be a string"
        ))),
    }
}
