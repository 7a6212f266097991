//! Ending our sessions at upstream servers once the client's session is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::{Sessions, UpstreamSession};
use crate::builtin::static_credentials::StaticCredentials;
use crate::supervisor::ChildSpec;
use crate::upstream::ServerName;
use crate::upstream::http::{HttpClient, HttpClientConfig, HttpTarget};

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
}

/// The child that says farewell. Loses nothing on restart: what waits is in the queue.
pub fn task(
    sessions: Sessions,
    farewells: mpsc::Receiver<Farewell>,
    credentials: Arc<StaticCredentials>,
    http: HttpClientConfig,
) -> ChildSpec {
    let farewells = Arc::new(Mutex::new(farewells));
    ChildSpec::task("sessions", move |context| {
        let (sessions, farewells) = (sessions.clone(), farewells.clone());
        let (credentials, http) = (credentials.clone(), http.clone());
        async move {
            let client = HttpClient::new(http);
            let mut farewells = farewells.lock().await;
            let places = Arc::new(Semaphore::new(AT_ONCE));
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                tokio::select! {
                    Some(farewell) = farewells.recv() => {
                        let Ok(place) = places.clone().acquire_owned().await else { continue };
                        let (client, credentials) = (client.clone(), credentials.clone());
                        actix_rt::spawn(async move {
                            end(&client, &credentials, farewell).await;
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
    } = farewell;
    let Some(id) = &session.id else { return };
    let mut headers = credentials
        .get(server.as_str())
        .map(|credentials| credentials.headers.clone())
        .unwrap_or_default();
    headers.insert("mcp-session-id", id.clone());
    headers.insert(
        "mcp-protocol-version",
        http::HeaderValue::from_static(session.version.as_str()),
    );
    let ended = client.send(&target, http::Method::DELETE, headers, Bytes::new());
    if !matches!(tokio::time::timeout(PATIENCE, ended).await, Ok(Ok(_))) {
        tracing::debug!(%server, "server was not told that a session is over");
    }
}
