//! The one case in which a request is sent twice.
//!
//! A connection that was kept and turns out to be closed before anything was written is replaced by the client of the
//! thread: that sends nothing twice. Whatever a server may have seen is sent again only if the operator says that the
//! tool is harmless, once, and only while the server's budget lasts. Nothing is ever sent to be on the safe side.

use bytes::Bytes;
use http::HeaderMap;
use weir_plugin_protocol::mcp::Method;

use super::hop::Way;
use super::upcall::{Contact, Upcall};
use super::{Desk, Grant};
use crate::pipeline::{Exchange, Refusal};
use crate::upstream::Route;

/// Whether a request may be sent a second time, as far as the operator is concerned.
pub(super) fn is_harmless(exchange: &Exchange, route: &Route, grant: &Grant) -> bool {
    exchange.arrival().request.method() == Method::ToolsCall
        && grant
            .settings
            .servers
            .of(&route.server.name)
            .is_idempotent(&route.own_name)
}

/// Posts a request, and once more if it was lost and that is `harmless`.
pub(super) async fn post(
    desk: &Desk,
    way: Way<'_>,
    headers: HeaderMap,
    body: Bytes,
    id: &str,
    harmless: bool,
) -> Result<Contact, Refusal> {
    let server = way.server;
    let again = harmless.then(|| (headers.clone(), body.clone()));
    let contact = Upcall::post(desk, way, headers, body, Some(id)).await;
    let (Err(Refusal::UpstreamDied { .. }), Some((headers, body))) = (&contact, again) else {
        return contact;
    };
    let allowed = desk.gates.may_retry(server);
    desk.metrics.upstreams.retried(server.as_str(), allowed);
    match allowed {
        true => Upcall::post(desk, way, headers, body, Some(id)).await,
        false => contact,
    }
}
