//! How the gateway starts, runs and stops.
//!
//! [`run`] is the whole life of the process. `roles` says who plays which role, `plugged` which plugins
//! do and `reach` how these are reached, `gateway` puts the parts together
//! and plants the tree, `settings` what requests are judged by, `audit` opens the audit log and `pins` what was approved;
//! `listeners` are opened last and closed first, `observer` and `state` show what happens. `reload` changes what it was
//! started with while it runs. `announce` says where the gateway is, `signals` when it is asked to stop. `stdio` is the
//! life of a process that serves only the client which started it.

mod announce;
mod audit;
mod gateway;
mod intercepting;
mod jwks;
mod listeners;
mod observer;
mod pins;
mod plugged;
mod plugin_hooks;
mod processes;
mod reach;
mod reload;
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

use announce::{Ready, announce};
use listeners::bind;
use reload::Origin;
use signals::{Asked, Signals};

pub use gateway::{Gateway, Opening, Reading, Sockets};
pub(crate) use pins::places as pin_files;
pub use reload::{ReloadHandle, Report};
pub use stdio::{StdioPlan, run_stdio};

/// The exit code when the supervision tree has given up: whoever keeps the process should start it afresh.
pub const EXHAUSTED: u8 = 70;

/// Runs the gateway until it is asked to stop, and returns the exit code of the process.
///
/// The first SIGTERM or SIGINT lets requests in flight finish, for at most `drain_timeout`; a second one stops at once.
/// SIGHUP has the audit file opened again and the configuration read again.
pub async fn run(reading: Reading) -> ExitCode {
    match start(reading).await {
        Ok(code) => code,
        Err(text) => {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

async fn start(reading: Reading) -> Result<ExitCode, String> {
    let (config, source) = (reading.loaded.config.clone(), reading.source.clone());
    let mut signals =
        Signals::listen().map_err(|error| format!("signals cannot be received: {error}"))?;
    let (clients, address) = bind("listen", "--listen", config.listen)?;
    let (admin, admin_address) = bind("admin.listen", "--admin-listen", config.admin.listen)?;
    let base = source.directory();
    let outside = Outside::real(base, Arc::new(jwks::Fetcher::start()?));
    let gateway = Gateway::start_from(
        reading,
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
    let limit = gateway.drain_timeout();
    info!(signal, %limit, "draining");
    tokio::select! {
        drained = tokio::time::timeout(limit.0, gateway.drain()) => if drained.is_err() {
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
            Asked::Reopen => {
                gateway.reopen_audit();
                gateway.reloads().ask(Origin::Signal);
            }
        }
    }
}

fn exhausted(ended: &Ended) -> ExitCode {
    error!(?ended, "the supervision tree has given up");
    ExitCode::from(EXHAUSTED)
}
