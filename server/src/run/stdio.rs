//! The life of a process that serves only the client which started it, on standard input and output.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use weir_actors::builtin::Outside;
use weir_actors::upstream::Endpoint;

use super::gateway::{Gateway, Opening, Reading};
use super::listeners::bind;
use super::signals::Signals;
use super::{asked_to_stop, exhausted, jwks};
use crate::cli::BAD_CONFIG;
use crate::config::ListenAddress;
use crate::downstream::stdio::{GRACE, Stdio};

/// How long requests may take that are still in flight when the client has closed the pipe and had its grace.
const CUT: Duration = Duration::from_millis(200);

/// What is to be served.
pub struct StdioPlan {
    /// The configuration, and where it comes from. Its `listen` and `admin.listen` are not used.
    pub reading: Reading,
    /// All servers, or one.
    pub endpoint: Endpoint,
    /// Where operators connect to, if anywhere.
    pub admin: Option<ListenAddress>,
}

/// Serves the client at standard input and output until it closes one of them, and returns the exit code of the process.
///
/// SIGTERM and SIGINT stop it too: requests in flight may finish for at most [`GRACE`], a second signal stops at once.
/// SIGHUP has the audit file opened again and the configuration read again.
pub async fn run_stdio(plan: StdioPlan) -> ExitCode {
    match start(plan).await {
        Ok(code) => code,
        Err(text) => {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

async fn start(plan: StdioPlan) -> Result<ExitCode, String> {
    let StdioPlan {
        reading,
        endpoint,
        admin,
    } = plan;
    let (config, source) = (reading.loaded.config.clone(), reading.source.clone());
    let mut signals =
        Signals::listen().map_err(|error| format!("signals cannot be received: {error}"))?;
    let admin = admin.map(|address| bind("admin.listen", "--admin-listen", address));
    let admin = admin.transpose()?;
    if let Some((_, address)) = &admin {
        info!(%address, "operators can connect");
    }
    let client = Stdio::take(endpoint, config.limits.max_body_bytes)
        .map_err(|error| format!("standard input and output cannot be used: {error}"))?;
    let client = Arc::new(client);
    let outside = Outside::real(source.directory(), Arc::new(jwks::Fetcher::start()?));
    let opening = Opening::Stdio {
        client: client.clone(),
        admin: admin.map(|(listener, _)| listener),
    };
    let gateway = Gateway::start_from(reading, &outside, opening, Arc::new(|_, _| {}))?;
    info!(configuration = %source, servers = config.servers.len(), audit = %gateway.records(), "started");

    let patience = tokio::select! {
        () = client.ended() => {
            info!("the client is gone");
            CUT
        }
        signal = asked_to_stop(&mut signals, &gateway) => {
            info!(signal, "draining");
            GRACE.min(gateway.drain_timeout().0)
        }
        ended = gateway.ended() => return Ok(exhausted(&ended)),
    };
    let finished = async {
        if tokio::time::timeout(patience, gateway.drain())
            .await
            .is_err()
        {
            warn!("requests in flight are cut off");
        }
        client.finish().await;
    };
    tokio::select! {
        () = finished => {}
        signal = asked_to_stop(&mut signals, &gateway) => warn!(signal, "stopping at once"),
    }
    tokio::select! {
        () = gateway.stop() => info!("stopped"),
        signal = asked_to_stop(&mut signals, &gateway) => warn!(signal, "stopping at once"),
    }
    Ok(ExitCode::SUCCESS)
}
