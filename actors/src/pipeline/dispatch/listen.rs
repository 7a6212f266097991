//! `subscriptions/listen`: one stream that tells a client what changed.
//!
//! Changes come from the board, which has one stream to each server; a client's stream costs its own frames only.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use weir_plugin_protocol::jsonrpc::{
    Field, Message, array_items, member, object_members, quote, unquote,
};
use weir_plugin_protocol::mcp::{Era, result_response};
use weir_plugin_protocol::role::TargetKind;

use super::raw::text;
use super::standing::Revoked;
use super::{Desk, Grant, KEEP_ALIVE, sight};
use crate::pipeline::{ClientGone, Exchange, Outcome, Refusal};
use crate::upstream::{ChangedList, Endpoint, ServerName, Subscription, UpstreamEvent};

/// Resources that one stream may follow.
const MAX_RESOURCES: usize = 1024;

/// How long a stream waits for its servers to take the subscriptions before it is acknowledged.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(2);

/// What a client asked for, and gets.
struct Wanted {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: HashSet<String>,
    endpoint: Endpoint,
    /// The raw JSON id of the listen request, which every frame carries.
    id: String,
}

enum Woken {
    Event(Result<UpstreamEvent, RecvError>),
    ClientGone,
    Draining,
    Configured,
    Silence,
}

/// Why a stream ends before its time.
enum Ended {
    ClientGone,
    Revoked(Revoked),
}

/// Serves a stream until the client closes it or the gateway stops.
pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    message: &Message,
    mut grant: Grant,
) -> (Exchange, Outcome) {
    let mut events = desk.board.events();
    let (wanted, subscriptions) = match honour(desk, &exchange, message, &grant).await {
        Ok(honoured) => honoured,
        Err(refusal) => {
            let outcome = exchange.refusal(refusal);
            return (exchange, outcome);
        }
    };
    exchange.settle_down();
    let live = subscriptions
        .iter()
        .map(|subscription| subscription.live(Era::Modern, SUBSCRIBE_PATIENCE));
    tokio::select! {
        _ = join_all(live) => {}
        // Noticed again, and dealt with, below.
        () = exchange.client_gone() => {}
        () = desk.drained() => {}
    }
    let outcome = match serve(desk, &mut exchange, &wanted, &mut grant, &mut events).await {
        Ok(()) => Outcome::ok(result_response(
            &wanted.id,
            &format!(
                r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}"#,
                wanted.id
            ),
        )),
        Err(Ended::ClientGone) => Outcome::ended(),
        Err(Ended::Revoked(revoked)) => revoked.outcome(),
    };
    drop(subscriptions);
    (exchange, outcome)
}

/// Cuts the request down to what is served: kinds that a server offers to tell about, resources that exist and may be
/// seen.
async fn honour(
    desk: &Desk,
    exchange: &Exchange,
    message: &Message,
    grant: &Grant,
) -> Result<(Wanted, Vec<Subscription>), Refusal> {
    let asked = message.field(Field::Notifications).unwrap_or("{}");
    if !asked.starts_with('{') {
        return Err(Refusal::InvalidParams(
            "params.notifications must be an object".into(),
        ));
    }
    let endpoint = exchange.arrival().endpoint.clone();
    let federation = exchange.arrival().snapshot.clone();
    let hello = federation.hello(&endpoint, Era::Modern);
    let capabilities = text(&hello.capabilities);
    let flag = |kind: &str, name: &str| {
        member(capabilities, kind).and_then(|kind| member(kind, name)) == Some("true")
    };
    let is_true = |name: &str| member(asked, name) == Some("true");
    let mut wanted = Wanted {
        tools: is_true("toolsListChanged") && flag("tools", "listChanged"),
        prompts: is_true("promptsListChanged") && flag("prompts", "listChanged"),
        resources: is_true("resourcesListChanged") && flag("resources", "listChanged"),
        uris: HashSet::new(),
        endpoint,
        id: message.id().unwrap_or("null").to_owned(),
    };
    let mut subscriptions = Vec::new();
    let uris = member(asked, "resourceSubscriptions").unwrap_or("[]");
    if !uris.starts_with('[') {
        return Err(Refusal::InvalidParams(
            "params.notifications.resourceSubscriptions must be an array".into(),
        ));
    }
    let mut found = Vec::new();
    for uri in array_items(uris).take(MAX_RESOURCES) {
        let Some(uri) = unquote(uri) else { continue };
        if let Ok(route) = federation.route_resource(&wanted.endpoint, Era::Modern, &uri) {
            found.push((uri, route));
        }
    }
    let looking = grant.look(&|| {
        let items = found.iter().map(|(uri, route)| {
            let server = route.server.name.to_string();
            (server, TargetKind::Resource, uri.to_string())
        });
        items.collect()
    });
    let visible = sight::in_time(exchange, looking).await?;
    for (uri, route) in found {
        let offered = member(text(&route.link.hello.capabilities), "resources")
            .and_then(|kind| member(kind, "subscribe"))
            == Some("true");
        if offered
            && visible.shows(&route.server.name, TargetKind::Resource, &uri)
            && let Some(subscription) = desk.board.subscribe(&route.server.name, &uri)
        {
            subscriptions.push(subscription);
            wanted.uris.insert(uri.into_owned());
        }
    }
    Ok((wanted, subscriptions))
}

async fn serve(
    desk: &Desk,
    exchange: &mut Exchange,
    wanted: &Wanted,
    grant: &mut Grant,
    events: &mut tokio::sync::broadcast::Receiver<UpstreamEvent>,
) -> Result<(), Ended> {
    let mut configured = desk.board.configured();
    desk.judge_again(exchange, grant).await?;
    exchange.send(wanted.acknowledgement().as_bytes()).await?;
    let mut silence = Instant::now() + KEEP_ALIVE;
    loop {
        let woken = tokio::select! {
            biased;
            _ = configured.changed() => Woken::Configured,
            event = events.recv() => Woken::Event(event),
            () = exchange.client_gone() => Woken::ClientGone,
            () = desk.drained() => Woken::Draining,
            () = sleep_until(silence) => Woken::Silence,
        };
        match woken {
            Woken::Event(Ok(event)) => {
                // What was allowed when the stream was opened may not be any more.
                if let UpstreamEvent::ResourceUpdated { server, uri, .. } = &event
                    && wanted.uris.contains(uri)
                    && !grant
                        .under(&desk.board.load())
                        .sees(server, TargetKind::Resource, uri)
                        .await
                {
                    continue;
                }
                let Some(frame) = wanted.frame(&event) else {
                    continue;
                };
                exchange.send(frame.as_bytes()).await?;
            }
            // Too slow to follow: everything may have changed.
            Woken::Event(Err(RecvError::Lagged(_))) => {
                for frame in wanted.everything() {
                    exchange.send(frame.as_bytes()).await?;
                }
            }
            Woken::Event(Err(RecvError::Closed)) | Woken::Draining => return Ok(()),
            Woken::ClientGone => return Err(ClientGone.into()),
            Woken::Configured => desk.judge_again(exchange, grant).await?,
            Woken::Silence => {
                exchange
                    .send_frame(Bytes::from_static(b": keep-alive\n\n"))
                    .await?
            }
        }
        silence = Instant::now() + KEEP_ALIVE;
    }
}

// === impl Ended ===

impl From<ClientGone> for Ended {
    fn from(_: ClientGone) -> Self {
        Self::ClientGone
    }
}

impl From<Revoked> for Ended {
    fn from(revoked: Revoked) -> Self {
        Self::Revoked(revoked)
    }
}

// === impl Wanted ===

impl Wanted {
    fn meta(&self) -> String {
        format!(
            r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}"#,
            self.id
        )
    }

    fn acknowledgement(&self) -> String {
        let mut kinds: Vec<String> = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ]
        .iter()
        .filter(|(_, granted)| *granted)
        .map(|(name, _)| format!(r#""{name}":true"#))
        .collect();
        if !self.uris.is_empty() {
            let mut uris: Vec<String> = self.uris.iter().map(|uri| quote(uri)).collect();
            uris.sort();
            kinds.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
        }
        notification(
            "subscriptions/acknowledged",
            &format!(r#"{},"notifications":{{{}}}"#, self.meta(), kinds.join(",")),
        )
    }

    fn concerns(&self, server: &ServerName) -> bool {
        match &self.endpoint {
            Endpoint::All => true,
            Endpoint::One(name) => name == server,
        }
    }

    fn frame(&self, event: &UpstreamEvent) -> Option<String> {
        let changed = |kind: &str| notification(&format!("{kind}/list_changed"), &self.meta());
        match event {
            UpstreamEvent::ToolsChanged(server) => {
                (self.tools && self.concerns(server)).then(|| changed("tools"))
            }
            UpstreamEvent::PromptsChanged(server) => {
                (self.prompts && self.concerns(server)).then(|| changed("prompts"))
            }
            UpstreamEvent::ResourcesChanged(server) => {
                (self.resources && self.concerns(server)).then(|| changed("resources"))
            }
            UpstreamEvent::Reconfigured { list, servers } => {
                let wanted = match list {
                    ChangedList::Tools => self.tools,
                    ChangedList::Prompts => self.prompts,
                    ChangedList::Resources => self.resources,
                };
                let concerned = servers.iter().any(|server| self.concerns(server));
                (wanted && concerned).then(|| changed(list.as_str()))
            }
            UpstreamEvent::ResourceUpdated {
                era: Era::Legacy, ..
            } => None,
            UpstreamEvent::ResourceUpdated {
                era: Era::Modern,
                server,
                uri,
                params,
            } => (self.uris.contains(uri) && self.concerns(server))
                .then(|| notification("resources/updated", &self.own_meta(text(params)))),
        }
    }

    /// The members of a server's `params`, with our subscription id in place of its own.
    fn own_meta(&self, params: &str) -> String {
        let mut members = self.meta();
        for (name, value) in object_members(params).filter(|(name, _)| name != "_meta") {
            members.push_str(&format!(",{}:{value}", quote(&name)));
        }
        members
    }

    fn everything(&self) -> Vec<String> {
        let mut frames = Vec::new();
        for (kind, granted) in [
            ("tools", self.tools),
            ("prompts", self.prompts),
            ("resources", self.resources),
        ] {
            if granted {
                frames.push(notification(&format!("{kind}/list_changed"), &self.meta()));
            }
        }
        for uri in &self.uris {
            frames.push(notification(
                "resources/updated",
                &format!(r#"{},"uri":{}"#, self.meta(), quote(uri)),
            ));
        }
        frames
    }
}

fn notification(name: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{name}","params":{{{params}}}}}"#)
}
