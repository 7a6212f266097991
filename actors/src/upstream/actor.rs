//! The actor that owns the connection to one server.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Mutex;

use super::board::UpstreamBoard;
use super::config::{HttpConfig, ServerConfig};
use super::desk::Desk;
use super::home::Home;
use super::http::{HttpClient, HttpClientConfig, InvalidTarget};
use super::http_server::HttpServer;
use super::http_wire::Door;
use super::session_sink::SessionSink;
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
        match self.config {
            ServerConfig::Http(config) => {
                let (door, protocol) = (door(&config, self.http)?, config.protocol);
                let server = HttpServer {
                    home,
                    door,
                    protocol,
                    legacy: RefCell::new(None),
                };
                tokio::select! {
                    () = server.run() => {}
                    () = context.stopping() => {}
                }
                server.goodbye().await;
            }
            ServerConfig::Stdio(config) => {
                let server = StdioServer {
                    home,
                    config,
                    group: self.group,
                    sink: self.sink,
                    turn: Mutex::new(()),
                };
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
