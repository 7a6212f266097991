//! Our sessions at legacy HTTP servers, one per client session and server, made when first needed.

use std::future::Future;
use std::sync::Arc;

use http::HeaderValue;
use weir_plugin_protocol::mcp::Version;

use super::Session;
use crate::upstream::ServerName;
use crate::upstream::http::HttpTarget;

/// An initialized session at a legacy HTTP server.
#[derive(Debug)]
pub struct UpstreamSession {
    /// `Mcp-Session-Id`, if the server gave one.
    pub id: Option<HeaderValue>,
    /// The revision that the server agreed to.
    pub version: Version,
    /// Where the server is.
    pub target: Arc<HttpTarget>,
}

// === impl Session ===

impl Session {
    /// The session at a server; `make` makes it if there is none. Concurrent callers wait for the same one.
    pub async fn upstream<E>(
        &self,
        server: &ServerName,
        make: impl Future<Output = Result<UpstreamSession, E>>,
    ) -> Result<Arc<UpstreamSession>, E> {
        let cell = self
            .lock()
            .upstream
            .entry(server.clone())
            .or_default()
            .clone();
        let mut place = cell.lock().await;
        if let Some(session) = place.as_ref() {
            return Ok(session.clone());
        }
        let made = Arc::new(make.await?);
        *place = Some(made.clone());
        Ok(made)
    }

    /// Forgets a session that the server does not know any more, unless somebody else has replaced it already.
    pub async fn lost_upstream(&self, server: &ServerName, lost: &Arc<UpstreamSession>) {
        let Some(cell) = self.lock().upstream.get(server).cloned() else {
            return;
        };
        let mut place = cell.lock().await;
        if place
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, lost))
        {
            *place = None;
        }
    }

    /// The sessions that exist now.
    pub fn open_upstreams(&self) -> Vec<(ServerName, Arc<UpstreamSession>)> {
        let cells: Vec<_> = self
            .lock()
            .upstream
            .iter()
            .map(|(server, cell)| (server.clone(), cell.clone()))
            .collect();
        cells
            .into_iter()
            .filter_map(|(server, cell)| Some((server, cell.try_lock().ok()?.clone()?)))
            .collect()
    }
}
