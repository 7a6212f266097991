//! Requests of 2026-07-28: nothing is kept between them.

use std::rc::Rc;

use tokio::time::Instant;
use weir_plugin_protocol::jsonrpc::{Field, Message};
use weir_plugin_protocol::mcp::{
    self, Era, MODERN_VERSIONS, Method, ModernRequest, Values, check_params, params_as_headers,
    result_response,
};
use weir_plugin_protocol::role::Answer;

use super::hop::Way;
use super::raw::{join, text};
use super::relay::Relay;
use super::sight::{self, Visible};
use super::upcall::{Contact, Upcall};
use super::wait::within;
use super::{Desk, Grant, again, headers, listen, names, passage, state};
use crate::pipeline::{ClientRequest, Exchange, Outcome, Refusal, Target, Transport};
use crate::upstream::{Federation, HelloAnswer, Link, ListKind, Route, ServerName};

/// How long weir's own answers to `server/discover` may be kept, in milliseconds.
const DISCOVER_TTL_MS: u64 = 5_000;

/// Decides what a request needs.
pub(super) fn dispatch(desk: &Rc<Desk>, exchange: Exchange, target: Target, grant: Grant) {
    let ClientRequest::Modern(request) = &exchange.arrival().request else {
        return;
    };
    let ModernRequest {
        message,
        method,
        tolerated,
        ..
    } = request.clone();
    if tolerated {
        desk.overlook(
            &grant.principal,
            "it names a legacy revision beside a modern _meta",
        );
    }
    if message.id().is_none() {
        // The revision defines no notification of a client over HTTP: accepted and dropped.
        return desk.finish(exchange, Outcome::accepted());
    }
    let desk = desk.clone();
    match (target, method) {
        (Target::Server { route, .. }, _) => {
            // Boxed, because a task's future is moved several times, also when it is over, and this one is large.
            actix_rt::spawn(Box::pin(async move {
                let carry = async |exchange, route, grant| {
                    relay(&desk, exchange, &message, route, grant).await
                };
                let passing = passage::through(&desk, exchange, route, grant, carry);
                let (exchange, outcome) = passing.await;
                desk.finish(exchange, outcome);
            }));
        }
        (Target::Gateway, Method::Listen) => {
            actix_rt::spawn(async move {
                let (exchange, outcome) = listen::run(&desk, exchange, &message, grant).await;
                desk.finish(exchange, outcome);
            });
        }
        (Target::Gateway, Method::Discover) => {
            let outcome = discover(&exchange, &message);
            desk.finish(exchange, outcome);
        }
        (Target::Gateway, method) => match ListKind::of(method) {
            Some(kind) => list(&desk, exchange, message, kind, grant),
            None => desk.refuse(
                exchange,
                Refusal::UnknownMethod(message.method().to_owned()),
            ),
        },
    }
}

/// `server/discover`, answered from the snapshots.
fn discover(exchange: &Exchange, message: &Message) -> Outcome {
    let arrival = exchange.arrival();
    let hello = arrival.snapshot.hello(&arrival.endpoint, Era::Modern);
    let versions: Vec<String> = MODERN_VERSIONS
        .iter()
        .map(|version| format!(r#""{}""#, version.as_str()))
        .collect();
    let instructions = hello
        .instructions
        .as_deref()
        .map(text)
        .map_or_else(String::new, |text| format!(r#""instructions":{text},"#));
    let result = format!(
        r#"{{"resultType":"complete","supportedVersions":[{}],"capabilities":{},{instructions}"ttlMs":{DISCOVER_TTL_MS},"cacheScope":"private",{}}}"#,
        versions.join(","),
        text(&hello.capabilities),
        meta(&hello),
    );
    Outcome::ok(result_response(message.id().unwrap_or("null"), &result))
}

/// A list of all that the caller may see, in one page.
fn list(desk: &Rc<Desk>, exchange: Exchange, message: Message, kind: ListKind, grant: Grant) {
    if message.field(Field::Cursor).is_some() {
        return desk.refuse(
            exchange,
            Refusal::InvalidParams(
                "params.cursor was not given out here: lists have one page".into(),
            ),
        );
    }
    let federation = desk.board.federation();
    let grant = grant.under(&federation);
    let endpoint = &exchange.arrival().endpoint;
    let looking = grant.look_at(&federation, endpoint, Era::Modern, kind);
    if let Answer::Now(visible) = &looking {
        let (outcome, stale) = listed(&exchange, &message, kind, &federation, visible);
        if stale.is_empty() {
            return desk.finish(exchange, outcome);
        }
    }
    drop(looking);
    let desk = desk.clone();
    actix_rt::spawn(async move {
        let listing = list_anew(&desk, &exchange, &message, kind, &grant);
        let outcome = listing.await;
        let outcome = outcome.unwrap_or_else(|refusal| exchange.refusal(refusal));
        desk.finish(exchange, outcome);
    });
}

/// The same where somebody has to be asked: the policy, or servers whose snapshots are too old.
async fn list_anew(
    desk: &Desk,
    exchange: &Exchange,
    message: &Message,
    kind: ListKind,
    grant: &Grant,
) -> Result<Outcome, Refusal> {
    let endpoint = &exchange.arrival().endpoint;
    let mut refreshed = false;
    loop {
        let federation = desk.board.federation();
        let grant = grant.under(&federation);
        let looking = grant.look_at(&federation, endpoint, Era::Modern, kind);
        let visible = sight::in_time(exchange, looking).await?;
        let (outcome, stale) = listed(exchange, message, kind, &federation, &visible);
        if stale.is_empty() || refreshed {
            return Ok(outcome);
        }
        let refresh = stale
            .iter()
            .map(|server| desk.board.refresh(server, Era::Modern));
        futures_util::future::join_all(refresh).await;
        refreshed = true;
    }
}

/// The list as the snapshots have it, and the servers whose snapshots are too old.
fn listed(
    exchange: &Exchange,
    message: &Message,
    kind: ListKind,
    federation: &Federation,
    visible: &Visible<'_>,
) -> (Outcome, Vec<ServerName>) {
    let endpoint = &exchange.arrival().endpoint;
    let answer = federation.list(endpoint, Era::Modern, kind, |server, kind, name| {
        visible.shows(server, kind, name)
    });
    let size: usize = answer.items.iter().map(|item| item.len() + 1).sum();
    let mut result = String::with_capacity(size + 256);
    result.push_str(r#"{"resultType":"complete",""#);
    result.push_str(kind.member());
    result.push_str(r#"":["#);
    join(&mut result, &answer.items);
    // What one caller may see, another may not: only where everybody sees everything is the list everybody's.
    let scope = if answer.private || !federation.settings.policy.unrestricted() {
        "private"
    } else {
        "public"
    };
    result.push_str(&format!(
        r#"],"ttlMs":{},"cacheScope":"{scope}",{}}}"#,
        answer.ttl_ms,
        meta(&federation.hello(endpoint, Era::Modern))
    ));
    let outcome = Outcome::ok(result_response(message.id().unwrap_or("null"), &result));
    (outcome, answer.stale)
}

/// Carries a request to its server.
async fn relay(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    request: &Message,
    route: Route,
    grant: Grant,
) -> (Exchange, Outcome) {
    let began;
    let server = route.server.name.clone();
    if let Err(refusal) = desk.tasks.check(&grant.principal, &server, request) {
        let outcome = exchange.refusal(refusal);
        return (exchange, outcome);
    }
    if let Err(mismatch) = repeated(&exchange, request, &route) {
        let outcome = exchange.refusal(Refusal::Wire(mcp::Refusal::header_mismatch(mismatch)));
        return (exchange, outcome);
    }
    let mut rewrite = names::own(request, &route);
    let method = exchange.arrival().request.method();
    if request.field(Field::RequestState).is_some() {
        let Some(theirs) = state::unwrap(desk, &grant, &server, request) else {
            let outcome = exchange.refusal(Refusal::InvalidParams(
                "params.requestState was not made for this request, or has expired".into(),
            ));
            return (exchange, outcome);
        };
        rewrite = rewrite.set(Field::RequestState, theirs);
    }
    exchange.facts_mut().dispatched = true;
    let (upcall, token) = match &route.link.link {
        Link::Http(target) => {
            let ClientRequest::Modern(ModernRequest { version, .. }) = &exchange.arrival().request
            else {
                let outcome = exchange.refusal(Refusal::Aborted { dispatched: false });
                return (exchange, outcome);
            };
            let name = match method.routing_param() {
                Some(Field::Name) => Some(route.own_name.clone()),
                Some(field) => request.text(field).map(|text| text.into_owned()),
                None => None,
            };
            let mut headers = headers::modern(
                *version,
                request.method(),
                name.as_deref(),
                grant.headers_for(&server),
            );
            for (name, value) in &exchange.arrival().parameters {
                headers.append(name.clone(), value.clone());
            }
            if is_headerless(&exchange) {
                headers.extend(repeating(request, &route));
            }
            let id = desk.next_id();
            let body = rewrite.set(Field::Id, id.clone()).finish();
            began = Instant::now();
            let harmless = again::is_harmless(&exchange, &route, &grant);
            let way = Way {
                grant: &grant,
                server: &server,
                target,
            };
            let posting = again::post(desk, way, headers, body, &id, harmless);
            match within(&mut exchange, &server, posting).await {
                Ok(Contact::Under(upcall)) => (Ok(upcall), None),
                Ok(Contact::Accepted | Contact::SessionLost) => (
                    Err(super::upcall::broken(&server, "HTTP status 404".into())),
                    None,
                ),
                Err(refusal) => (Err(refusal), None),
            }
        }
        Link::Stdio(link) => {
            began = Instant::now();
            let calling = Upcall::pipe(link, &server, request, rewrite, None);
            match within(&mut exchange, &server, calling).await {
                Ok((call, token)) => {
                    let call = Box::new(call);
                    let server = server.clone();
                    (Ok(Upcall::Stdio { call, server }), token)
                }
                Err(refusal) => (Err(refusal), None),
            }
        }
    };
    match upcall {
        Ok(upcall) => {
            let relay = Relay {
                desk: desk.clone(),
                grant,
                server,
                request: request.clone(),
                token,
                began,
                legacy: None,
            };
            relay.run(exchange, upcall).await
        }
        Err(refusal) => {
            exchange.facts_mut().upstream_time = began.elapsed();
            let outcome = exchange.refusal(refusal);
            (exchange, outcome)
        }
    }
}

/// Checks that the headers which repeat arguments of a tool say the same as the body. A child process sees no headers,
/// so this is the last place where a difference can be noticed.
pub(in crate::pipeline) fn repeated(
    exchange: &Exchange,
    request: &Message,
    route: &Route,
) -> Result<(), String> {
    let Some(annotations) = route.link.catalog.param_headers.get(&route.own_name) else {
        return Ok(());
    };
    if is_headerless(exchange) {
        return Ok(());
    }
    let parameters = &exchange.arrival().parameters;
    let values = |name: &str| -> Values<'_> {
        let named = parameters
            .iter()
            .filter(|(known, _)| known.as_str().eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_bytes()).collect()
    };
    check_params(annotations, request.field(Field::Arguments), values)
}

/// Whether the client has no headers to repeat anything in.
fn is_headerless(exchange: &Exchange) -> bool {
    matches!(exchange.arrival().transport, Transport::Stdio)
}

/// The headers that repeat arguments, made for a client that has none.
pub(in crate::pipeline) fn repeating(
    request: &Message,
    route: &Route,
) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let annotations = route.link.catalog.param_headers.get(&route.own_name);
    let Some(annotations) = annotations else {
        return Vec::new();
    };
    params_as_headers(annotations, request.field(Field::Arguments))
        .into_iter()
        .filter_map(|(name, value)| {
            let name = http::HeaderName::try_from(name).ok()?;
            Some((name, http::HeaderValue::try_from(value).ok()?))
        })
        .collect()
}

/// `_meta` with `serverInfo`.
fn meta(hello: &HelloAnswer) -> String {
    format!(
        r#""_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#,
        text(&hello.server_info)
    )
}
