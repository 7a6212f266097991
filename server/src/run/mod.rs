//! How the gateway starts, runs and stops.
//!
//! [`run`] is the whole life of the process. `roles` says who plays which role, `plugged` which plugins
//! do, `gateway` puts the parts together
//! and plants the tree, `audit` opens the audit log and `pins` what was approved; `listeners` are opened last and closed
//! first, `observer` and `state` show what happens. `announce` says where the gateway is, `signals` when it is asked to
//! stop. `stdio` is the life of a process that serves only the client which started it.

mod announce;
mod audit;
mod gateway;
mod jwks;
mod listeners;
mod observer;
mod pins;
mod plugged;
mod roles;
mod settings;
mod signals;
mod state;
mod stdio;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use tracing::{error, info, warn};
use weir_actors::builtin::Outside;
use weir_actors::supervisor::Ended;

use crate::cli::BAD_CONFIG;
use crate::config::{Config, Source};

use announce::{Ready, announce};
use listeners::bind;
use signals::{Asked, Signals};

pub use gateway::{Gateway, Opening, Sockets};
pub(crate) use pins::places as pin_files;
pub use stdio::{StdioPlan, run_stdio};

/// The exit code when the supervision tree has given up: whoever keeps the process should start it afresh.
pub const EXHAUSTED: u8 = 70;

/// Runs the gateway until it is asked to stop, and returns the exit code of the process.
///
/// The first SIGTERM or SIGINT lets requests in flight finish, for at most `drain_timeout`; a second one stops at once.
/// SIGHUP has the audit file opened again.
pub async fn run(config: Config, source: Source) -> ExitCode {
    match start(config, source).await {
        Ok(code) => code,
        Err(text) => {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

async fn start(config: Config, source: Source) -> Result<ExitCode, String> {
    let mut signals =
        Signals::listen().map_err(|error| format!("signals cannot be received: {error}"))?;
    let (clients, address) = bind("listen", "--listen", config.listen)?;
    let (admin, admin_address) = bind("admin.listen", "--admin-listen", config.admin.listen)?;
    let base = source.directory();
    let outside = Outside::real(base, Arc::new(jwks::Fetcher::start()?));
    let gateway = Gateway::start(
        &config,
        &outside,
        Sockets { clients, admin },
        Arc::new(|_, _| {}),
    )?;

    tokio::select! {
        ready = gateway.ready() => if let Err(ended) = ready {
            return Ok(exhausted(&ended));
        },
        signal = asked_to_stop(&mut signals, &gateway) => {
            info!(signal, "stopped before it was ready");
            gateway.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    }
    info!(%address, admin = %admin_address, servers = config.servers.len(), audit = %gateway.records(), "started");
    announce(&Ready {
        address,
        admin: admin_address,
        config: &config,
        source: &source,
        records: gateway.records(),
    });

    let signal = tokio::select! {
        signal = asked_to_stop(&mut signals, &gateway) => signal,
        ended = gateway.ended() => return Ok(exhausted(&ended)),
    };
    info!(signal, limit = %config.drain_timeout, "draining");
    tokio::select! {
        drained = tokio::time::timeout(config.drain_timeout.0, gateway.drain()) => if drained.is_err() {
            warn!("requests in flight are cut off");
        },
        signal = asked_to_stop(&mut signals, &gateway) => warn!(signal, "stopping without waiting for requests in flight"),
    }
    tokio::select! {
        () = gateway.stop() => info!("stopped"),
        signal = asked_to_stop(&mut signals, &gateway) => warn!(signal, "stopping at once"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Does what else the process is asked, until it is asked to stop. Returns the name of that signal.
async fn asked_to_stop(signals: &mut Signals, gateway: &Gateway) -> &'static str {
    loop {
        match signals.next().await {
            Asked::Stop(signal) => return signal,
            Asked::Reopen => gateway.reopen_audit(),
        }
    }
}

fn exhausted(ended: &Ended) -> ExitCode {
    error!(?ended, "the supervision tree has given up");
    ExitCode::from(EXHAUSTED)
}
