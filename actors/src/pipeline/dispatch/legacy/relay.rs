//! One legacy request carried to a legacy server.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use weir_plugin_protocol::jsonrpc::{Field, Message};
use weir_plugin_protocol::mcp::{Era, Method, result_response};

use super::super::hop::Way;
use super::super::relay::{LegacySide, Relay};
use super::super::resume::Resume;
use super::super::upcall::{Contact, Upcall, broken};
use super::super::{Desk, Grant, again, headers, names};
use super::{handshake, upward};
use crate::pipeline::{Exchange, Outcome, Refusal, Transport, Verdict};
use crate::session::{AskRoute, CallGuard, Session, UpstreamSession};
use crate::upstream::http::HttpTarget;
use crate::upstream::{Link, Route, ServerName};

/// How long a client waits until the server knows of its subscription.
const SUBSCRIBE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a server may take to hear of a cancellation.
const CANCEL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// A request that was posted in a session: what is needed to cancel it there.
#[derive(Clone)]
pub(in super::super) struct Posted {
    target: Arc<HttpTarget>,
    session: Arc<UpstreamSession>,
    /// The raw JSON id that the server knows it by.
    id: String,
}

// === impl Posted ===

impl Posted {
    fn route(&self) -> AskRoute {
        AskRoute::Http {
            target: self.target.clone(),
            session: self.session.clone(),
        }
    }

    /// Tells the server that nobody waits for the answer: in the legacy era a closed connection does not say so.
    pub(in super::super) fn cancel(self, desk: &Rc<Desk>, grant: &Grant, server: &ServerName) {
        let (desk, grant, server) = (desk.clone(), grant.clone(), server.clone());
        actix_rt::spawn(async move {
            let frame = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
                self.id
            );
            let posting = upward::post(
                &desk,
                &server,
                &self.target,
                &self.session,
                frame.into(),
                &grant,
            );
            if !matches!(
                tokio::time::timeout(CANCEL_PATIENCE, posting).await,
                Ok(Ok(()))
            ) {
                tracing::debug!(%server, "server was not told of a cancellation");
            }
        });
    }
}

pub(super) async fn run(
    desk: &Rc<Desk>,
    mut exchange: Exchange,
    session: Arc<Session>,
    request: &Message,
    route: Route,
    grant: Grant,
) -> (Exchange, Outcome) {
    let began = Instant::now();
    let server = route.server.name.clone();
    if let Err(refusal) = desk.tasks.check(&grant.principal, &server, request) {
        let outcome = exchange.refusal(refusal);
        return (exchange, outcome);
    }
    let id = request.id().unwrap_or("null");
    let token = request.field(Field::MetaProgressToken);
    let Some(call) = session.begin_call(id, token, server.clone()) else {
        let outcome = exchange.refusal(Refusal::InvalidParams(
            "the id is that of a request under way".into(),
        ));
        return (exchange, outcome);
    };
    exchange.facts_mut().dispatched = true;
    let contact = match &route.link.link {
        Link::Http(target) => {
            let mut posted = None;
            let posting = over_http(
                desk,
                &session,
                &server,
                target,
                request,
                &route,
                &grant,
                again::is_harmless(&exchange, &route, &grant),
                &mut posted,
            );
            let contact = within(&mut exchange, &call, &server, posting).await;
            if let (Err(Refusal::Cancelled | Refusal::UpstreamTimeout { .. }), Some(posted)) =
                (&contact, posted)
            {
                posted.cancel(desk, &grant, &server);
            }
            contact.map(|(upcall, posted)| (upcall, None, posted.route(), Some(posted)))
        }
        Link::Stdio(link) => match shared(desk, &session, &route, request).await {
            Some(outcome) => return (exchange, outcome),
            None => {
                let rewrite = names::own(request, &route);
                let calling = Upcall::pipe(link, &server, request, rewrite, Some(session.key));
                let started = within(&mut exchange, &call, &server, calling).await;
                started.map(|(call, token)| {
                    let way_back = AskRoute::Stdio {
                        link: link.clone(),
                        generation: call.generation(),
                    };
                    (
                        Upcall::Stdio {
                            call: Box::new(call),
                            server: server.clone(),
                        },
                        token,
                        way_back,
                        None,
                    )
                })
            }
        },
    };
    match contact {
        Ok((upcall, token, way_back, posted)) => {
            let watching = session.clone();
            let legacy = Some(LegacySide {
                session,
                call,
                route: way_back,
                posted,
            });
            let relay = Relay {
                desk: desk.clone(),
                grant,
                server,
                request: request.clone(),
                token,
                began,
                legacy,
            };
            let (exchange, outcome) = relay.run(exchange, upcall).await;
            if outcome.verdict == Verdict::Ok {
                remember(&watching, request, &route);
            }
            (exchange, outcome)
        }
        Err(refusal) => {
            exchange.facts_mut().upstream_time = began.elapsed();
            let outcome = exchange.refusal(refusal);
            (exchange, outcome)
        }
    }
}

/// Remembers what a server with a session of its own must be told again if it loses the session.
fn remember(session: &Session, request: &Message, route: &Route) {
    let watches = match Method::parse(request.method()) {
        Method::ResourcesSubscribe => true,
        Method::ResourcesUnsubscribe => false,
        _ => return,
    };
    if let (Link::Http(_), Some(uri)) = (&route.link.link, request.field(Field::Uri)) {
        session.watch(&route.server.name, uri, watches);
    }
}

/// Posts the request in the session at the server. A session that the server has lost is made anew, once: the server
/// has not looked at the request.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a different thing, and there is one caller"
)]
async fn over_http(
    desk: &Rc<Desk>,
    session: &Arc<Session>,
    server: &ServerName,
    target: &Arc<HttpTarget>,
    request: &Message,
    route: &Route,
    grant: &Grant,
    harmless: bool,
    posted: &mut Option<Posted>,
) -> Result<(Upcall, Posted), Refusal> {
    let way = Way {
        grant,
        server,
        target,
    };
    for _ in 0..2 {
        let upstream = handshake::upstream(desk, session, server, target, grant).await?;
        let id = desk.next_id();
        let body = names::own(request, route)
            .set(Field::Id, id.clone())
            .finish();
        let head = headers::in_session(&upstream, grant.headers_for(server));
        let this = posted
            .insert(Posted {
                target: target.clone(),
                session: upstream.clone(),
                id: id.clone(),
            })
            .clone();
        match again::post(desk, way, head, body, &id, harmless).await? {
            Contact::Under(mut upcall) => {
                upcall.resumable(|| Resume::new(desk, &upstream, grant, server));
                return Ok((upcall, this));
            }
            Contact::SessionLost => session.lost_upstream(server, &upstream).await,
            Contact::Accepted => break,
        }
    }
    Err(broken(
        server,
        "it does not know the session that it has just begun".into(),
    ))
}

/// Subscriptions at a server that all sessions share: the board subscribes once for all of them.
async fn shared(
    desk: &Desk,
    session: &Session,
    route: &Route,
    request: &Message,
) -> Option<Outcome> {
    let uri = request.text(Field::Uri)?;
    match Method::parse(request.method()) {
        Method::ResourcesSubscribe => {
            let mut kept = false;
            if let Some(subscription) = desk.board.subscribe(&route.server.name, &uri) {
                // The client may change the resource as soon as it has its answer.
                subscription.live(Era::Legacy, SUBSCRIBE_PATIENCE).await;
                kept = session.keep_subscription(&uri, subscription);
            }
            if !kept {
                let text = "too many subscriptions, or a URI that is too long";
                return Some(Refusal::InvalidParams(text.into()).outcome(request.id()));
            }
        }
        Method::ResourcesUnsubscribe => session.drop_subscription(&uri),
        _ => return None,
    }
    Some(Outcome::ok(result_response(
        request.id().unwrap_or("null"),
        "{}",
    )))
}

/// Bounds the first contact by the deadline, and gives it up when the client cancels. Over Streamable HTTP a client that
/// has gone away has not cancelled.
async fn within<T>(
    exchange: &mut Exchange,
    call: &CallGuard,
    server: &ServerName,
    contact: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let deadline = exchange.arrival().deadline;
    let outlives = matches!(exchange.arrival().transport, Transport::Http);
    tokio::select! {
        biased;
        contact = contact => contact,
        () = call.cancel.notified() => Err(Refusal::Cancelled),
        () = exchange.client_gone(), if !outlives => Err(Refusal::Cancelled),
        () = sleep_until(deadline) => {
            Err(Refusal::UpstreamTimeout { server: server.to_string() })
        }
    }
}
