//! Lists in the legacy era. What a server lists may depend on the client's capabilities, so every HTTP server is
//! asked in the session's own session; children are shared, and the board knows their lists.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_plugin_protocol::jsonrpc::{Kind, quote};
use weir_plugin_protocol::mcp::{Era, result_response};

use super::super::hop::Way;
use super::super::raw::join;
use super::super::upcall::{Contact, Said, Upcall, broken};
use super::super::{Desk, Grant, headers, sight};
use super::handshake;
use crate::pipeline::{Exchange, Outcome, Refusal};
use crate::session::Session;
use crate::upstream::catalog::{ListLimits, ListReader, Next, ReadList};
use crate::upstream::http::HttpTarget;
use crate::upstream::{Federation, Link, LinkView, ListKind, ServerName, ServerView};

/// How long one server may take for its list; after that its last known list is shown.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn list(
    desk: &Rc<Desk>,
    exchange: &Exchange,
    session: &Arc<Session>,
    kind: ListKind,
    id: &str,
    grant: &Grant,
) -> Outcome {
    let endpoint = &exchange.arrival().endpoint;
    let federation = exchange.arrival().snapshot.clone();
    let method = kind.method().as_str();
    let reached = grant
        .reached(federation.behind(endpoint), |server| &server.name, method)
        .await;
    let live = reached.into_iter().filter_map(|server| {
        let face = server.face(Era::Legacy)?;
        let Link::Http(target) = &face.link else {
            return None;
        };
        face.hello
            .has(kind.capability())
            .then(|| refreshed(desk, session, server, face, target, kind, grant))
    });
    let mut federation = Federation::clone(&federation);
    for server in futures_util::future::join_all(live)
        .await
        .into_iter()
        .flatten()
    {
        federation = federation.with(server);
    }
    let looking = grant.look_at(&federation, endpoint, Era::Legacy, kind);
    let visible = match sight::in_time(exchange, looking).await {
        Ok(visible) => visible,
        Err(refusal) => return exchange.refusal(refusal),
    };
    let answer = federation.list(endpoint, Era::Legacy, kind, |server, kind, name| {
        visible.shows(server, kind, name)
    });
    let mut result = format!(r#"{{"{}":["#, kind.member());
    join(&mut result, &answer.items);
    result.push_str("]}");
    Outcome::ok(result_response(id, &result))
}

/// The server with the list that it shows to this session; nothing if it cannot be asked now.
async fn refreshed(
    desk: &Rc<Desk>,
    session: &Arc<Session>,
    server: &ServerView,
    face: &Arc<LinkView>,
    target: &Arc<HttpTarget>,
    kind: ListKind,
    grant: &Grant,
) -> Option<ServerView> {
    let reading = read(desk, session, &server.name, target, kind, grant);
    let list = match tokio::time::timeout(LIST_TIMEOUT, reading).await {
        Ok(Ok(list)) => list,
        Ok(Err(refusal)) => {
            tracing::warn!(server = %server.name, ?refusal, "server cannot be listed now, its last list is shown");
            return None;
        }
        Err(_) => {
            tracing::warn!(server = %server.name, "server did not list in time, its last list is shown");
            return None;
        }
    };
    let mut catalog = face.catalog.as_ref().clone();
    catalog.put(kind, list);
    let legacy = LinkView {
        catalog: Arc::new(catalog),
        ..face.as_ref().clone()
    };
    let mut listed = server.clone();
    listed.legacy = Some(Arc::new(legacy));
    Some(listed)
}

async fn read(
    desk: &Rc<Desk>,
    session: &Arc<Session>,
    server: &ServerName,
    target: &Arc<HttpTarget>,
    kind: ListKind,
    grant: &Grant,
) -> Result<ReadList, Refusal> {
    let mut reader = ListReader::new(kind, ListLimits::default());
    let mut params = "{}".to_owned();
    let mut lost = false;
    let way = Way {
        grant,
        server,
        target,
    };
    loop {
        let upstream = handshake::upstream(desk, session, server, target, grant).await?;
        let id = desk.next_id();
        let frame = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":{},"params":{params}}}"#,
            id,
            quote(kind.method().as_str())
        );
        let head = headers::in_session(&upstream, grant.headers_for(server));
        let mut upcall = match Upcall::post(desk, way, head, frame.into(), Some(&id)).await? {
            Contact::Under(upcall) => upcall,
            Contact::SessionLost if !lost => {
                lost = true;
                session.lost_upstream(server, &upstream).await;
                continue;
            }
            Contact::SessionLost | Contact::Accepted => {
                return Err(broken(server, "it does not know its own session".into()));
            }
        };
        let page = loop {
            if let Said::Answer(reply) = upcall.next().await? {
                break reply.message;
            }
        };
        if page.kind() != Kind::Result {
            return Err(broken(
                server,
                format!("it answered {} with an error", kind.method().as_str()),
            ));
        }
        match reader
            .page(&page)
            .map_err(|error| broken(server, error.to_string()))?
        {
            Next::Page(cursor) => params = format!(r#"{{"cursor":{cursor}}}"#),
            Next::Done => return Ok(reader.finish(std::time::Instant::now(), false)),
        }
    }
}
