//! Ending our sessions at upstream servers once the client's session is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, mpsc};
use weir_plugin_protocol::mcp::Version;

use super::{Sessions, UpstreamSession};
use crate::builtin::static_credentials::{ServerCredentials, StaticCredentials};
use crate::supervisor::ChildSpec;
use crate::upstream::http::{HttpClient, HttpClientConfig, HttpTarget};
use crate::upstream::{ServerName, UpstreamBoard};

/// How often sessions that have been idle too long are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// Servers that are told at once.
const AT_ONCE: usize = 16;

/// How long a server may take to end a session.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session at a legacy HTTP server that nobody needs any more: its server is told with DELETE.
#[derive(Clone, Debug)]
pub struct Farewell {
    /// The server.
    pub server: ServerName,
    /// Where it is.
    pub target: Arc<HttpTarget>,
    /// The session.
    pub session: Arc<UpstreamSession>,
    /// What weir proves itself with there, if that is not what the configuration says now.
    pub credentials: Option<Arc<ServerCredentials>>,
}

/// The child that says farewell. Loses nothing on restart: what waits is in the queue.
pub fn task(
    sessions: Sessions,
    farewells: mpsc::Receiver<Farewell>,
    board: UpstreamBoard,
    http: HttpClientConfig,
) -> ChildSpec {
    let farewells = Arc::new(Mutex::new(farewells));
    ChildSpec::task("sessions", move |context| {
        let (sessions, farewells) = (sessions.clone(), farewells.clone());
        let (board, http) = (board.clone(), http.clone());
        async move {
            let client = HttpClient::new(http);
            let mut farewells = farewells.lock().await;
            let places = Arc::new(Semaphore::new(AT_ONCE));
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                tokio::select! {
                    Some(farewell) = farewells.recv() => {
                        let Ok(place) = places.clone().acquire_owned().await else { continue };
                        let (client, settings) = (client.clone(), board.load().settings.clone());
                        actix_rt::spawn(async move {
                            end(&client, &settings.credentials, farewell).await;
                            drop(place);
                        });
                    }
                    _ = sweep.tick() => sessions.sweep(),
                    () = context.stopping() => return Ok::<(), std::convert::Infallible>(()),
                }
                context.progress();
            }
        }
    })
    .heartbeat(None)
}

async fn end(client: &HttpClient, credentials: &StaticCredentials, farewell: Farewell) {
    let Farewell {
        server,
        target,
        session,
        credentials: own,
    } = farewell;
    let Some(id) = &session.id else { return };
    let mut headers = own
        .as_ref()
        .or_else(|| credentials.at(server.as_str(), &target))
        .map(|credentials| credentials.headers.clone())
        .unwrap_or_default();
    headers.insert("mcp-session-id", id.clone());
    // Older revisions do not know the header.
    if session.version >= Version::V2025_06_18 {
        headers.insert(
            "mcp-protocol-version",
            http::HeaderValue::from_static(session.version.as_str()),
        );
    }
    let ended = client.send(&target, http::Method::DELETE, headers, Bytes::new());
    if !matches!(tokio::time::timeout(PATIENCE, ended).await, Ok(Ok(_))) {
        tracing::debug!(%server, "server was not told that a session is over");
    }
}
