//! Many legacy sessions that are idle: what each costs while the gateway holds it, and what is left when it has put it away.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use super::findings::Findings;
use super::site::{Elsewhere, Place, Site};
use super::steady::wait_until_all_answer;
use crate::line::shake_hands;
use crate::message::Era;
use crate::process::Usage;
use crate::wire::Connection;

/// Connections over which the sessions are started.
const CONNECTIONS: usize = 16;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// How many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sessions: u32,
    /// Seconds that they are idle before the memory is looked at.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=3600))]
    seconds: u64,
    /// Seconds after which weir puts an idle session away; fewer than those above, because it does so every few seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    session_idle_seconds: u64,
    /// What a session that was put away may cost, in bytes.
    #[arg(long, default_value_t = 64.0)]
    goal_bytes: f64,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let idle = format!("{}s", arguments.session_idle_seconds);
    let mut site = Site::with_echo(
        &arguments.place,
        Some(&arguments.elsewhere),
        &[],
        CONNECTIONS,
        1_000,
        &json!({ "limits": { "session_idle": idle } }),
    )?;
    wait_until_all_answer(&site, Era::Legacy)?;
    let look = |site: &Site| site.pid.map(Usage::of_tree).transpose();
    let fresh = look(&site)?;
    // As many twice: memory that the allocator keeps for reuse is not what a session costs.
    start(&site, arguments.sessions as usize)?;
    let held = look(&site)?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let before = look(&site)?;
    let started = start(&site, arguments.sessions as usize)?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let after = look(&site)?;
    wait_until_all_answer(&site, Era::Legacy)?;
    site.is_alive()?;

    let mut findings = Findings::new(format!("sessions: {} idle", arguments.sessions));
    findings.at_least("started", started as f64, "", arguments.sessions.into());
    if let (Some(fresh), Some(before), Some(held), Some(after)) = (fresh, before, held, after) {
        let each = |before: Usage, after: Usage| {
            let growth = after.resident_kib as f64 - before.resident_kib as f64;
            growth * 1024.0 / started.max(1) as f64
        };
        let mebibytes = |usage: Usage| usage.resident_kib as f64 / 1024.0;
        findings.fact("resident before the first", mebibytes(fresh), "MiB");
        findings.fact("resident after as many, put away", mebibytes(before), "MiB");
        findings.fact(
            "resident after as many again, put away",
            mebibytes(after),
            "MiB",
        );
        findings.fact("memory of each while held", each(fresh, held), "bytes");
        findings.at_most(
            "memory of each put away",
            each(before, after),
            "bytes",
            arguments.goal_bytes,
        );
    }
    Ok(findings.tell(arguments.place.json))
}

/// Starts so many sessions and leaves them alone; returns how many were started.
fn start(site: &Site, sessions: usize) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let target = site.targets.first().ok_or("no target")?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS {
            let share = sessions / CONNECTIONS + usize::from(number < sessions % CONNECTIONS);
            let target = target.clone();
            let caller = site
                .callers
                .get(number % site.callers.len().max(1))
                .cloned();
            tasks.spawn(async move {
                let headers = caller.unwrap_or_default().headers;
                let mut connection = Connection::new(TcpStream::connect(target.address).await?)?;
                for _ in 0..share {
                    shake_hands(&mut connection, &target, &headers).await?;
                }
                std::io::Result::Ok(share)
            });
        }
        let mut started = 0;
        for outcome in tasks.join_all().await {
            started += outcome.map_err(|error| format!("a session cannot be started: {error}"))?;
        }
        Ok(started)
    })
}
