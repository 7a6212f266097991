//! What a legacy client says without waiting for an answer: notifications, and answers to servers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{timeout, timeout_at};
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message};
use weir_plugin_protocol::mcp::{self, Era, Method, code, error_response, result_response};

use super::super::hop::Way;
use super::super::upcall::{Contact, Upcall, broken, link_refusal};
use super::super::{Desk, Grant, headers};
use super::handshake;
use crate::pipeline::{Exchange, Outcome, Refusal};
use crate::session::{AskRoute, Session, UpstreamSession};
use crate::upstream::http::HttpTarget;
use crate::upstream::{Link, LinkView, ServerName};

/// How long servers may take to hear something that nobody waits for.
const TELL_PATIENCE: Duration = Duration::from_secs(10);

/// Carries a notification or an answer to where it belongs.
pub(super) async fn carry(
    desk: &Rc<Desk>,
    exchange: &Exchange,
    session: &Arc<Session>,
    message: &Message,
    grant: &Grant,
) -> Outcome {
    if message.kind() != Kind::Notification {
        return answer(desk, exchange, session, message, grant).await;
    }
    match Method::parse(message.method()) {
        Method::NotificationCancelled => {
            if let Some(id) = message.field(Field::RequestId) {
                session.cancel_call(id);
            }
        }
        // Every server was told when its own session began.
        Method::NotificationInitialized => {}
        // A request without an id is none, and nobody has asked the policy about it.
        _ if !message.method().starts_with("notifications/") => {
            let text = format!("{} is a request: it needs an id", message.method());
            return exchange.refusal(Refusal::Wire(mcp::Refusal::bad_request(
                code::INVALID_REQUEST,
                text,
            )));
        }
        _ => {
            let upstreams = session.open_upstreams();
            let telling = async {
                let upstreams = upstreams.iter();
                let told = grant.reached(upstreams, |(server, _)| server, message.method());
                let told = told.await.into_iter().map(|(server, upstream)| {
                    let frame = message.raw().clone();
                    post(desk, server, &upstream.target, upstream, frame, grant)
                });
                join_all(told).await
            };
            let told = timeout(TELL_PATIENCE, telling).await;
            if !told.is_ok_and(|told| told.iter().all(Result::is_ok)) {
                tracing::debug!("a notification of a client was not taken by every server");
            }
        }
    }
    Outcome::accepted()
}

/// The client answers a request of a server. An answer that nobody waits for is accepted and dropped: the server may
/// have given up.
async fn answer(
    desk: &Rc<Desk>,
    exchange: &Exchange,
    session: &Arc<Session>,
    message: &Message,
    grant: &Grant,
) -> Outcome {
    let Some(ask) = session.take_ask(message) else {
        return Outcome::accepted();
    };
    let frame = message.rewrite().set(Field::Id, ask.id.clone()).finish();
    let replying = reply(desk, grant, &ask.server, &ask.route, frame);
    match timeout_at(exchange.arrival().deadline, replying).await {
        Ok(Ok(())) => Outcome::accepted(),
        Ok(Err(refusal)) => exchange.refusal(refusal),
        Err(_) => exchange.refusal(Refusal::UpstreamTimeout {
            server: ask.server.to_string(),
        }),
    }
}

/// Declines a request of a server that the client cannot be asked. Nobody waits for it: a server that does not listen
/// holds nothing up.
pub(in super::super) fn decline(
    desk: &Rc<Desk>,
    grant: &Grant,
    server: &ServerName,
    route: &AskRoute,
    request: &Message,
) {
    let reason = "the client did not declare this capability";
    let frame = error_response(request.id(), code::METHOD_NOT_FOUND, reason, None);
    let (desk, grant, server, route) = (desk.clone(), grant.clone(), server.clone(), route.clone());
    actix_rt::spawn(async move {
        let replying = reply(&desk, &grant, &server, &route, frame);
        if !matches!(timeout(TELL_PATIENCE, replying).await, Ok(Ok(()))) {
            tracing::debug!(%server, "server did not take the refusal of its request");
        }
    });
}

async fn reply(
    desk: &Desk,
    grant: &Grant,
    server: &ServerName,
    route: &AskRoute,
    frame: Bytes,
) -> Result<(), Refusal> {
    match route {
        AskRoute::Http { target, session } => {
            post(desk, server, target, session, frame, grant).await
        }
        AskRoute::Stdio { link, generation } => link
            .send_to(*generation, frame)
            .await
            .map_err(|error| link_refusal(server, &error)),
    }
}

pub(super) async fn post(
    desk: &Desk,
    server: &ServerName,
    target: &Arc<HttpTarget>,
    upstream: &UpstreamSession,
    frame: Bytes,
    grant: &Grant,
) -> Result<(), Refusal> {
    let head = headers::in_session(upstream, grant.headers_at(server, target));
    let way = Way {
        grant,
        server,
        target,
    };
    match Upcall::post(desk, way, head, frame, None).await? {
        Contact::SessionLost => Err(broken(
            server,
            "it has lost the session that its request came from".into(),
        )),
        Contact::Accepted | Contact::Under(_) => Ok(()),
    }
}

/// `logging/setLevel` for every server that logs.
pub(super) async fn set_level(
    desk: &Rc<Desk>,
    exchange: &Exchange,
    session: &Arc<Session>,
    message: &Message,
    grant: &Grant,
) -> Outcome {
    let federation = &exchange.arrival().snapshot;
    let endpoint = &exchange.arrival().endpoint;
    let levels = [
        "debug",
        "info",
        "notice",
        "warning",
        "error",
        "critical",
        "alert",
        "emergency",
    ];
    if !message
        .text(Field::Level)
        .is_some_and(|level| levels.contains(&level.as_ref()))
    {
        return exchange.refusal(Refusal::InvalidParams(format!(
            "params.level must be one of {}",
            levels.join(", ")
        )));
    }
    let telling = async {
        let servers = federation.behind(endpoint);
        let servers = grant.reached(servers, |server| &server.name, "logging/setLevel");
        let told = servers.await.into_iter().filter_map(|server| {
            let face = server.face(Era::Legacy)?.clone();
            face.hello
                .has("logging")
                .then(|| tell_level(desk, session, server.name.clone(), face, message, grant))
        });
        join_all(told).await
    };
    if timeout_at(exchange.arrival().deadline, telling)
        .await
        .is_err()
    {
        tracing::warn!("not every server has taken the log level in time");
    }
    session.set_level(message.field(Field::Level).unwrap_or_default());
    Outcome::ok(result_response(message.id().unwrap_or("null"), "{}"))
}

/// Posts a request whose answer nobody needs, once more if the server has lost the session.
async fn told_over_http(
    desk: &Rc<Desk>,
    session: &Arc<Session>,
    server: &ServerName,
    target: &Arc<HttpTarget>,
    message: &Message,
    grant: &Grant,
) -> Result<(), Refusal> {
    let way = Way {
        grant,
        server,
        target,
    };
    for _ in 0..2 {
        let upstream = handshake::upstream(desk, session, server, target, grant).await?;
        let id = desk.next_id();
        let frame = message.rewrite().set(Field::Id, id.clone()).finish();
        let head = headers::in_session(&upstream, grant.headers_at(server, target));
        match Upcall::post(desk, way, head, frame, Some(&id)).await? {
            Contact::SessionLost => session.lost_upstream(server, &upstream).await,
            Contact::Under(_) | Contact::Accepted => return Ok(()),
        }
    }
    Err(broken(
        server,
        "it does not know the session that it has just begun".into(),
    ))
}

async fn tell_level(
    desk: &Rc<Desk>,
    session: &Arc<Session>,
    server: ServerName,
    face: Arc<LinkView>,
    message: &Message,
    grant: &Grant,
) {
    let told = match &face.link {
        Link::Http(target) => told_over_http(desk, session, &server, target, message, grant).await,
        Link::Stdio(link) => {
            let id = link.next_id();
            let frame = message
                .rewrite()
                .set(Field::Id, id.json().to_owned())
                .finish();
            match link.call(id, frame, Some(session.key)).await {
                Ok(mut call) => {
                    while let Some(Ok(said)) = call.next().await {
                        drop(said);
                    }
                    Ok(())
                }
                Err(error) => Err(link_refusal(&server, &error)),
            }
        }
    };
    if let Err(refusal) = told {
        tracing::warn!(%server, ?refusal, "server did not take the log level");
    }
}
