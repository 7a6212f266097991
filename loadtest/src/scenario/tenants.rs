//! Tenants whose calls have the same ids at the same time. Each call carries its tenant's name and its own number, and its
//! answer has to carry them too: an answer that went to somebody else is noticed.

use std::time::Duration;

use serde_json::json;

use super::findings::Findings;
use super::site::{Elsewhere, Place, Site};
use super::steady::wait_until_all_answer;
use crate::failure::Failure;
use crate::measurement::milliseconds_at;

/// The longest that the calls may take.
const LIMIT: Duration = Duration::from_secs(3_600);

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Calls together.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    calls: u64,
    /// Tenants, each with its own token and its own connections, whose ids all begin at 1.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=999))]
    tenants: u16,
    /// Connections of each tenant.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Milliseconds by which the server's answers differ, so that they overtake each other. 0 is fastest.
    #[arg(long, default_value_t = 0)]
    upstream_jitter_ms: u64,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let jitter = arguments.upstream_jitter_ms.to_string();
    let tenants = usize::from(arguments.tenants);
    let connections = tenants * usize::from(arguments.connections);
    let mut site = Site::with_echo(
        &arguments.place,
        Some(&arguments.elsewhere),
        &["--jitter-ms".to_owned(), jitter],
        tenants,
        connections as u64,
        &json!({}),
    )?;
    wait_until_all_answer(&site, arguments.place.era)?;
    let mut plan = site.plan(arguments.place.era, connections, LIMIT);
    plan.warmup = Duration::ZERO;
    plan.calls = Some(arguments.calls);
    let measurement = plan.run()?;
    site.is_alive()?;
    let mut findings = Findings::new(format!(
        "tenants: {tenants} tenants with colliding ids on {connections} connections, {} era",
        arguments.place.era.name()
    ));
    let answered = measurement.latency.len();
    findings.at_least(
        "calls answered well",
        answered as f64,
        "",
        arguments.calls as f64,
    );
    findings.fact("calls/s", measurement.rate(), "");
    findings.fact("p99", milliseconds_at(&measurement.latency, 99.0), "ms");
    let misrouted = measurement.count(|failure| failure == Failure::Misrouted);
    findings.none("somebody else's answer", misrouted);
    findings.none("other failures", measurement.failed() - misrouted);
    for (failure, count) in &measurement.failures {
        findings.fact(format!("calls failed: {failure}"), *count as f64, "");
    }
    Ok(findings.tell(arguments.place.json))
}
