//! Our sessions at legacy HTTP servers, one per client session and server, made when first needed.

use std::future::Future;
use std::sync::Arc;

use http::HeaderValue;
use weir_plugin_protocol::mcp::Version;

use super::Session;
use crate::pipeline::metrics::sessions::SessionSpan;
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
    /// Counts how long it lasts.
    pub span: SessionSpan,
}

/// Our session at one place, made when first needed.
pub(super) type UpstreamCell = Arc<tokio::sync::Mutex<Option<Arc<UpstreamSession>>>>;

// === impl Session ===

impl Session {
    /// The session at a server; `make` makes it if there is none. Concurrent callers wait for the same one. A server
    /// that was moved to another place has a session at each until [`Session::leave`].
    pub async fn upstream<E>(
        &self,
        server: &ServerName,
        target: &Arc<HttpTarget>,
        make: impl Future<Output = Result<UpstreamSession, E>>,
    ) -> Result<Arc<UpstreamSession>, E> {
        let cell = self.cell(server, target);
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
        let cell = self.cell(server, &lost.target);
        let mut place = cell.lock().await;
        if place
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, lost))
        {
            *place = None;
        }
    }

    /// Forgets the session at a place where the server is not any more, and returns it, so that it can be ended.
    pub fn leave(
        &self,
        server: &ServerName,
        target: &Arc<HttpTarget>,
    ) -> Option<Arc<UpstreamSession>> {
        let cell = {
            let mut state = self.lock();
            let places = state.upstream.get_mut(server)?;
            let index = places.iter().position(|(place, _)| place == target)?;
            let (_, cell) = places.swap_remove(index);
            if places.is_empty() {
                state.upstream.remove(server);
            }
            cell
        };
        cell.try_lock().ok()?.take()
    }

    fn cell(&self, server: &ServerName, target: &Arc<HttpTarget>) -> UpstreamCell {
        let mut state = self.lock();
        let places = state.upstream.entry(server.clone()).or_default();
        if let Some((_, cell)) = places.iter().find(|(place, _)| place == target) {
            return cell.clone();
        }
        let cell = UpstreamCell::default();
        places.push((target.clone(), cell.clone()));
        cell
    }

    /// The sessions that exist now.
    pub fn open_upstreams(&self) -> Vec<(ServerName, Arc<UpstreamSession>)> {
        let cells: Vec<_> = self
            .lock()
            .upstream
            .iter()
            .flat_map(|(server, places)| {
                let cells = places.iter().map(|(_, cell)| cell.clone());
                cells.map(|cell| (server.clone(), cell))
            })
            .collect();
        cells
            .into_iter()
            .filter_map(|(server, cell)| Some((server, cell.try_lock().ok()?.clone()?)))
            .collect()
    }
}
