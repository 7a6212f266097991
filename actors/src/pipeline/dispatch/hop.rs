//! The last hop of everything that is sent to an HTTP server for a caller: what plugins give to it is put in here, where
//! every byte is known.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use weir_plugin_protocol::role::CredentialError;

use super::upcall::http_refusal;
use super::{Desk, Grant};
use crate::pipeline::Refusal;
use crate::plugged::outfit::Hop;
use crate::upstream::ServerName;
use crate::upstream::http::{HttpAnswer, HttpTarget};

/// Where something is sent, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) grant: &'a Grant,
    pub(super) server: &'a ServerName,
    pub(super) target: &'a Arc<HttpTarget>,
}

// === impl Desk ===

impl Desk {
    /// Sends something to a server.
    pub(super) async fn send(
        &self,
        way: Way<'_>,
        method: Method,
        mut headers: HeaderMap,
        mut body: Bytes,
    ) -> Result<HttpAnswer, Refusal> {
        if !way.grant.settings.outfit.is_empty() {
            let dressing = way.grant.dress(way, &method, &mut headers, &mut body);
            Box::pin(dressing).await?;
        }
        let sent = self.client.send(way.target, method, headers, body).await;
        sent.map_err(|error| http_refusal(way.server, &error))
    }
}

// === impl Grant ===

impl Grant {
    /// Puts into a request what plugins give to it. A server that was moved gets nothing at the place where it was.
    async fn dress(
        &self,
        way: Way<'_>,
        method: &Method,
        headers: &mut HeaderMap,
        body: &mut Bytes,
    ) -> Result<(), Refusal> {
        let (server, settings) = (way.server, &self.settings);
        let refusal = |error| refusal(server, error);
        if settings
            .credentials
            .at(server.as_str(), way.target)
            .is_none()
        {
            return Ok(());
        }
        let own = match &self.own {
            Some((at, own)) if at == server => Some(own.clone()),
            _ => match settings.outfit.own(&self.principal, server.as_str()) {
                Some(coming) => Some(coming.come().await.map_err(refusal)?),
                None => None,
            },
        };
        if let Some((name, value)) = own {
            headers.insert(name, value);
        }
        let url = way.target.to_string();
        let hop = Hop {
            principal: &self.principal,
            server: server.as_str(),
            url: &url,
            method,
        };
        let injected = settings.outfit.inject(hop, headers, body).await;
        injected.map_err(refusal)
    }
}

/// What the client is told where there is no credential.
pub(in crate::pipeline) fn refusal(server: &ServerName, error: CredentialError) -> Refusal {
    match error {
        CredentialError::Missing(reason) => Refusal::CredentialMissing {
            server: server.to_string(),
            reason,
        },
        CredentialError::Unavailable(reason) => Refusal::CredentialsUnavailable(reason),
    }
}
