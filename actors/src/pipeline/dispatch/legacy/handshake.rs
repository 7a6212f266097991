//! `initialize`, towards the client and towards legacy HTTP servers.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message, member, quote, unquote};
use weir_plugin_protocol::mcp::{Era, Method, Version, negotiate, result_response};

use super::super::hop::Way;
use super::super::raw::text;
use super::super::upcall::{Contact, Upcall, answer_limits, broken, http_refusal};
use super::super::{Desk, Grant, headers};
use crate::fanout::Story;
use crate::pipeline::{Exchange, Outcome, Refusal};
use crate::session::{Again, ClientHello, Session, UpstreamSession};
use crate::upstream::ServerName;
use crate::upstream::http::HttpTarget;

/// How long a server may take to begin a session. Other requests of the client's session wait for it.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// Answers `initialize` from the snapshots and begins a session. No server is asked: its own session is made when
/// the first request for it comes.
pub(super) fn initialize(
    desk: &Desk,
    exchange: &Exchange,
    message: &Message,
    grant: &Grant,
) -> Outcome {
    let Some(requested) = message.text(Field::ProtocolVersion) else {
        return exchange.refusal(Refusal::InvalidParams(
            "params.protocolVersion must be a string".into(),
        ));
    };
    if message
        .field(Field::Capabilities)
        .is_some_and(|capabilities| !capabilities.starts_with('{'))
    {
        return exchange.refusal(Refusal::InvalidParams(
            "params.capabilities must be an object".into(),
        ));
    }
    let version = negotiate(&requested);
    let client = ClientHello::new(
        message.field(Field::Capabilities),
        message.field(Field::ClientInfo),
    );
    let endpoint = &exchange.arrival().endpoint;
    let hello = exchange.arrival().snapshot.hello(endpoint, Era::Legacy);
    let begun = desk
        .sessions
        .begin(&grant.principal, endpoint, version, client);
    let begun = begun.map(|(session, id)| (session, HeaderValue::from_str(&id)));
    let Some((session, Ok(id))) = begun else {
        return exchange.refusal(Refusal::Aborted { dispatched: false });
    };
    if let Some(fanout) = &exchange.settings().fanout {
        let number = session.public_number();
        let user = &grant.principal.user_id;
        let story = Story::begin(fanout.clone(), number, version.as_str(), user);
        session.keep_story(story);
    }
    let instructions = hello
        .instructions
        .as_deref()
        .map_or_else(String::new, |raw| {
            format!(r#","instructions":{}"#, text(raw))
        });
    let result = format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"serverInfo":{}{instructions}}}"#,
        version.as_str(),
        text(&hello.capabilities),
        text(&hello.server_info),
    );
    Outcome::ok(result_response(message.id().unwrap_or("null"), &result))
        .with_header(headers::SESSION_ID, id)
}

/// Returns the session's own session at a legacy HTTP server, and makes it if there is none: the server learns the
/// client's capabilities, never more.
pub(super) async fn upstream(
    desk: &Desk,
    session: &Session,
    server: &ServerName,
    target: &Arc<HttpTarget>,
    grant: &Grant,
) -> Result<Arc<UpstreamSession>, Refusal> {
    let introducing = Box::pin(introduce(desk, session, server, target, grant));
    let bounded = async {
        match tokio::time::timeout(INTRODUCTION, introducing).await {
            Ok(made) => made,
            Err(_) => Err(Refusal::UpstreamTimeout {
                server: server.to_string(),
            }),
        }
    };
    session.upstream(server, target, bounded).await
}

async fn introduce(
    desk: &Desk,
    session: &Session,
    server: &ServerName,
    target: &Arc<HttpTarget>,
    grant: &Grant,
) -> Result<UpstreamSession, Refusal> {
    let credentials = grant.headers_for(server);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{},"method":"initialize","params":{{"protocolVersion":{},"capabilities":{},"clientInfo":{}}}}}"#,
        desk.next_id(),
        quote(session.version.as_str()),
        session.client.capabilities,
        session.client.info,
    );
    let mut head = headers::post(session.version, credentials);
    head.remove(headers::PROTOCOL_VERSION); // It is only known once it is negotiated.
    let way = Way {
        grant,
        server,
        target,
    };
    let sending = desk.send(way, http::Method::POST, head, body.into());
    let answer = sending.await?;
    let status = answer.status;
    let id = answer.headers.get(headers::SESSION_ID).cloned();
    if !status.is_success() {
        return Err(broken(
            server,
            format!("it answered initialize with HTTP status {status}"),
        ));
    }
    let cap = grant.settings.limits.max_answer_bytes;
    let reply = if answer.is_event_stream() {
        let mut events = answer.events(cap);
        loop {
            match events.next().await {
                Some(Ok(event)) if event.data.is_empty() => {}
                Some(Ok(event)) => {
                    let message = Message::parse(event.data, &answer_limits())
                        .map_err(|error| broken(server, error.message))?;
                    if matches!(message.kind(), Kind::Result | Kind::Error) {
                        break message;
                    }
                }
                Some(Err(error)) => return Err(http_refusal(server, &error)),
                None => return Err(broken(server, "it did not answer initialize".into())),
            }
        }
    } else {
        let body = answer
            .bytes(cap)
            .await
            .map_err(|error| http_refusal(server, &error))?;
        Message::parse(body, &answer_limits()).map_err(|error| broken(server, error.message))?
    };
    let version = reply
        .field(Field::Result)
        .and_then(|result| member(result, "protocolVersion"))
        .and_then(unquote);
    let version = version
        .as_deref()
        .and_then(Version::parse)
        .ok_or_else(|| broken(server, "it refused initialize".into()))?;
    let made = UpstreamSession {
        id,
        version,
        target: target.clone(),
        span: desk.metrics.sessions.kept(server, target, version),
    };
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let head = headers::in_session(&made, credentials);
    let sending = desk.send(way, http::Method::POST, head, initialized.into());
    sending.await?;
    tell_again(desk, session, server, &made, grant).await;
    Ok(made)
}

/// Tells a server that has lost the session what the client asked of the one before. A server that does not take it is
/// not worth the client's call.
async fn tell_again(
    desk: &Desk,
    session: &Session,
    server: &ServerName,
    made: &UpstreamSession,
    grant: &Grant,
) {
    let Again { level, watched } = session.again(server);
    let snapshot = desk.board.load();
    let face = snapshot
        .server(server)
        .and_then(|server| server.face(Era::Legacy));
    let logs = face.is_some_and(|face| face.hello.has("logging"));
    drop(snapshot);
    let level = level.filter(|_| logs);
    let level = level.map(|level| (Method::LoggingSetLevel, format!(r#"{{"level":{level}}}"#)));
    let watched = watched
        .into_iter()
        .map(|uri| (Method::ResourcesSubscribe, format!(r#"{{"uri":{uri}}}"#)));
    for (method, params) in level.into_iter().chain(watched) {
        let id = desk.next_id();
        let frame = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{}","params":{params}}}"#,
            method.as_str()
        );
        let head = headers::in_session(made, grant.headers_at(server, &made.target));
        let way = Way {
            grant,
            server,
            target: &made.target,
        };
        let posting = Upcall::post(desk, way, head, frame.into(), Some(&id));
        if !matches!(posting.await, Ok(Contact::Under(_) | Contact::Accepted)) {
            tracing::debug!(%server, method = method.as_str(), "server was not told again");
        }
    }
}
