//! The actor that owns the connection to one server.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Mutex;

use super::board::UpstreamBoard;
use super::carrier::Carrier;
use super::config::{HttpConfig, ServerConfig};
use super::desk::Desk;
use super::home::Home;
use super::http::{HttpClient, HttpClientConfig, InvalidTarget};
use super::http_server::HttpServer;
use super::http_wire::Door;
use super::session_sink::SessionSink;
use super::stdio::Remote;
use super::stdio_server::StdioServer;
use crate::supervisor::{ChildContext, SupervisorHandle};

/// The owner of one server: it finds out which eras the server speaks, reads its lists, keeps them up to date and
/// publishes them on the [`UpstreamBoard`]. What others wish for (a refresh, a subscription) they leave on the board.
///
/// A restart loses its connections and processes, which are made anew; what it published, and what was wished for,
/// stays on the board. A server that cannot be reached is no reason to fail: the actor says so and tries again.
#[derive(Clone)]
pub struct UpstreamActor {
    pub(super) board: UpstreamBoard,
    pub(super) desk: Arc<Desk>,
    pub(super) config: ServerConfig,
    pub(super) http: HttpClientConfig,
    pub(super) sink: Option<Arc<dyn SessionSink>>,
    /// The group that this actor and the server's processes live in.
    pub(super) group: SupervisorHandle,
}

/// Why the actor cannot do its work.
#[derive(Debug, Error)]
pub(super) enum Unfit {
    #[error("the server's url is unusable")]
    Url(#[from] InvalidTarget),
}

// === impl UpstreamActor ===

impl UpstreamActor {
    /// Runs until it is asked to stop, then ends the session with the server.
    pub(super) async fn run(self, context: ChildContext) -> Result<(), Unfit> {
        let home = Rc::new(Home::new(&self.board, &self.desk));
        let shared = |carrier| StdioServer {
            home: home.clone(),
            carrier,
            group: self.group,
            sink: self.sink,
            turn: Mutex::new(()),
        };
        match self.config {
            ServerConfig::Http(config) => {
                let old = shared(Carrier::Stream(remote(&config, self.http.clone())?));
                let server = HttpServer {
                    home,
                    door: door(&config, self.http)?,
                    protocol: config.protocol,
                    old: Some(old),
                    legacy: RefCell::new(None),
                };
                tokio::select! {
                    () = server.run() => {}
                    () = context.stopping() => {}
                }
                server.goodbye().await;
            }
            ServerConfig::Sse(config) => {
                let server = shared(Carrier::Stream(remote(&config, self.http)?));
                tokio::select! {
                    () = server.run() => {}
                    () = context.stopping() => {}
                }
            }
            ServerConfig::Stdio(config) => {
                let server = shared(Carrier::Process(config));
                tokio::select! {
                    () = server.run() => {}
                    () = context.stopping() => {}
                }
            }
        }
        Ok(())
    }
}

pub(super) fn door(config: &HttpConfig, client: HttpClientConfig) -> Result<Door, InvalidTarget> {
    Ok(Door {
        client: HttpClient::new(client),
        target: Arc::new(config.target()?),
        headers: config.header_map(),
        timeout: std::time::Duration::from_millis(config.timeout_ms),
    })
}

/// The same place, spoken to over HTTP+SSE.
fn remote(config: &HttpConfig, http: HttpClientConfig) -> Result<Remote, InvalidTarget> {
    Ok(Remote {
        http,
        target: config.target()?,
        headers: config.header_map(),
        timeout: std::time::Duration::from_millis(config.timeout_ms),
    })
}
