//! Requests of the legacy era: everything after `initialize` belongs to a session.
//!
//! [`handshake`] begins and ends sessions, [`relay`] carries requests to servers, [`lists`] asks all servers,
//! [`upward`] carries what the client says without being asked (notifications, answers), [`stream`] is the
//! standalone event stream, [`sse`] the one stream of an HTTP+SSE client, [`pump`] and [`mail`] what servers say without being asked.

mod handshake;
mod lists;
mod mail;
mod pump;
mod relay;
mod sse;
mod stream;
mod upward;

use std::rc::Rc;
use std::sync::Arc;

use weir_plugin_protocol::jsonrpc::{Field, Kind, Message};
use weir_plugin_protocol::mcp::{self, Method, Version, code, result_response};

use super::{Desk, Grant, Target, passage};
use crate::pipeline::{ClientRequest, Exchange, Outcome, Refusal, Transport};
use crate::session::Session;
use crate::settings::ProtocolHeaders;
use crate::upstream::ListKind;

pub use mail::Mail;
pub(super) use relay::Posted;
pub(super) use upward::decline;

/// Decides what a request needs.
pub(super) fn dispatch(desk: &Rc<Desk>, mut exchange: Exchange, target: Target, grant: Grant) {
    let message = match &exchange.arrival().request {
        ClientRequest::Legacy(message) => Some(message.clone()),
        _ => None,
    };
    if let Some(message) = &message
        && Method::parse(message.method()) == Method::Initialize
    {
        return desk.clone().finish_with(exchange, |exchange| {
            handshake::initialize(desk, exchange, message, &grant)
        });
    }
    let transport = &exchange.arrival().transport;
    if let Transport::SseStream(stream) = transport {
        let (desk, stream) = (desk.clone(), stream.clone());
        actix_rt::spawn(async move {
            let (exchange, outcome) = sse::run(&desk, exchange, &stream, grant).await;
            desk.finish(exchange, outcome);
        });
        return;
    }
    if let Some(message) = &message
        && is_early_ping(message, &exchange)
    {
        let outcome = Outcome::ok(result_response(message.id().unwrap_or("null"), "{}"));
        return desk.finish(exchange, outcome);
    }
    let session = match find(desk, &exchange, &grant) {
        Ok(session) => session,
        Err(refusal) => return desk.refuse(exchange, refusal),
    };
    exchange.facts_mut().session = Some(session.public_number());
    exchange.facts_mut().version = Some(session.version);
    let desk = desk.clone();
    match (&exchange.arrival().request, message) {
        (ClientRequest::OpenStream, _) => {
            actix_rt::spawn(async move {
                let (exchange, outcome) = stream::run(&desk, exchange, session, grant).await;
                desk.finish(exchange, outcome);
            });
        }
        (ClientRequest::EndSession, _) => {
            desk.sessions.end(&session);
            desk.finish(
                exchange,
                Outcome {
                    status: 204,
                    ..Outcome::ended()
                },
            );
        }
        (_, Some(message)) => match message.kind() {
            Kind::Request => request(desk, exchange, session, target, message, grant),
            Kind::Notification | Kind::Result | Kind::Error => {
                actix_rt::spawn(async move {
                    let outcome = upward::carry(&desk, &exchange, &session, &message, &grant).await;
                    desk.finish(exchange, outcome);
                });
            }
        },
        // Batches are taken apart before.
        (_, None) => desk.refuse(exchange, Refusal::Aborted { dispatched: false }),
    }
}

fn request(
    desk: Rc<Desk>,
    exchange: Exchange,
    session: Arc<Session>,
    target: Target,
    message: Message,
    grant: Grant,
) {
    let method = Method::parse(message.method());
    let id = message.id().unwrap_or("null").to_owned();
    match (target, method) {
        (Target::Server { route, .. }, _) => {
            // Boxed, because a task's future is moved several times, also when it is over, and this one is large.
            actix_rt::spawn(Box::pin(async move {
                let carry = async |exchange, route, grant| {
                    relay::run(&desk, exchange, session, &message, route, grant).await
                };
                let passing = passage::through(&desk, exchange, route, grant, carry);
                let (exchange, outcome) = passing.await;
                desk.finish(exchange, outcome);
            }));
        }
        (Target::Gateway, Method::Ping) => {
            desk.finish(exchange, Outcome::ok(result_response(&id, "{}")))
        }
        (Target::Gateway, Method::LoggingSetLevel) => {
            actix_rt::spawn(async move {
                let outcome = upward::set_level(&desk, &exchange, &session, &message, &grant).await;
                desk.finish(exchange, outcome);
            });
        }
        (Target::Gateway, method) => match ListKind::of(method) {
            Some(_) if message.field(Field::Cursor).is_some() => {
                desk.refuse(
                    exchange,
                    Refusal::InvalidParams(
                        "params.cursor was not given out here: lists have one page".into(),
                    ),
                );
            }
            Some(kind) => {
                actix_rt::spawn(async move {
                    let outcome = lists::list(&desk, &exchange, &session, kind, &id, &grant).await;
                    desk.finish(exchange, outcome);
                });
            }
            None => desk.refuse(
                exchange,
                Refusal::UnknownMethod(message.method().to_owned()),
            ),
        },
    }
}

/// Whether it is a ping before the handshake, which is in order. Over Streamable HTTP nobody could tell it from one that
/// lacks its session.
fn is_early_ping(message: &Message, exchange: &Exchange) -> bool {
    let arrival = exchange.arrival();
    Method::parse(message.method()) == Method::Ping
        && message.kind() == Kind::Request
        && arrival.session_id.is_none()
        && !matches!(arrival.transport, Transport::Http)
}

/// The session that the request belongs to.
fn find(desk: &Desk, exchange: &Exchange, grant: &Grant) -> Result<Arc<Session>, Refusal> {
    let arrival = exchange.arrival();
    let id = arrival
        .session_id
        .as_deref()
        .ok_or(Refusal::SessionRequired)?;
    let session = desk
        .sessions
        .find(id, &grant.principal, &arrival.endpoint)
        .ok_or(Refusal::UnknownSession)?;
    match arrival.legacy_version {
        // Before 2025-06-18 the header meant nothing.
        Some(named) if named != session.version && session.version >= Version::V2025_06_18 => {
            if grant.settings.doors.protocol_headers == ProtocolHeaders::Strict {
                let text = format!(
                    "MCP-Protocol-Version differs from {}, which the session has negotiated",
                    session.version
                );
                let refusal = mcp::Refusal::bad_request(code::INVALID_REQUEST, text);
                return Err(Refusal::Wire(refusal));
            }
            desk.overlook(&grant.principal, "it differs from the session's revision");
        }
        _ => {}
    }
    Ok(session)
}

// === impl Desk ===

impl Desk {
    fn finish_with(self: Rc<Self>, exchange: Exchange, answer: impl FnOnce(&Exchange) -> Outcome) {
        let outcome = answer(&exchange);
        self.finish(exchange, outcome);
    }
}
