//! Many servers behind one gateway, of which one hangs and one crashes again and again. The others should not notice: their
//! calls are measured first while all are well, then while the two are not, in the same process.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::findings::Findings;
use super::site::{Place, Site};
use super::steady::wait_until_all_answer;
use crate::failure::Failure;
use crate::load::{Pace, Running};
use crate::measurement::{Measurement, milliseconds_at};
use crate::stand::{
    Directory, GatewayPlan, Pipeline, Servers, Upstream, http_server, own_program, stdio_server,
};
use crate::target::Target;

/// The sick servers.
const SICK: [&str; 2] = ["hangs", "crashes"];

/// How long calls to the sick servers are waited for: longer than the gateway's deadline.
const SICK_ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Servers, the two sick ones included.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(3..=1000))]
    servers: u16,
    /// Seconds of each of the two measurements.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Calls a second to the others, together.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Connections that call the sick ones, half of them each, as fast as they answer.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    sick_connections: u16,
    /// The gateway's deadline of a call, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=15))]
    deadline_seconds: u64,
    /// Milliseconds after which the crashing server crashes.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    crash_after_ms: u64,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let directory = Directory::new()?;
    let sickness = directory.path().join("sick");
    let only_while = ["--only-while".to_owned(), sickness.display().to_string()];
    let well = Upstream::start(directory.path(), "well", &[])?;
    let hanging_options = [&["--hang".to_owned()], &only_while[..]].concat();
    let hanging = Upstream::start(directory.path(), "hanging", &hanging_options)?;
    let servers = servers(arguments, &well, &hanging, &only_while)?;
    let deadline = format!("{}s", arguments.deadline_seconds);
    let deadline = json!({ "limits": { "deadline": deadline } });
    let mut site = Site::with_gateway(GatewayPlan {
        program: &arguments.place.weir,
        pipeline: Pipeline::Full,
        servers,
        tenants: 16,
        changes: [&deadline, &arguments.place.set],
        descriptors: 10_000,
    })?;
    wait_until_all_answer(&site, arguments.place.era)?;
    let sick: Vec<Target> = site.targets.drain(..SICK.len()).collect();

    let baseline = measure(&site, arguments)?;
    fall_ill(&sickness)?;
    let calls_to_the_sick: Vec<Running> = sick
        .into_iter()
        .map(|target| call_the_sick(&site, arguments, target))
        .collect();
    let disturbed = measure(&site, arguments)?;
    let to_the_sick = calls_to_the_sick
        .into_iter()
        .map(Running::stop)
        .collect::<Result<Vec<_>, _>>()?;
    site.is_alive()?;

    let mut findings = Findings::new(format!(
        "many: {} servers of which one hangs and one crashes, {} calls/s to the others for {} s, {} era",
        arguments.servers,
        arguments.rate,
        arguments.seconds,
        arguments.place.era.name()
    ));
    tell_of("all well", &baseline, &mut findings);
    tell_of("two sick", &disturbed, &mut findings);
    let calm = milliseconds_at(&baseline.latency, 99.0);
    let ratio = milliseconds_at(&disturbed.latency, 99.0) / calm.max(1e-9);
    findings.at_most("p99 to p99 while all were well", ratio, "", 1.2);
    for (name, calls) in SICK.iter().zip(&to_the_sick) {
        let good = calls.latency.len();
        findings.fact(format!("{name}: calls answered well"), good as f64, "");
        for (failure, count) in &calls.failures {
            findings.fact(format!("{name}: {failure}"), *count as f64, "");
        }
        let unanswered = calls.count(Failure::is_unanswered);
        findings.none(format!("{name}: calls without an answer"), unanswered);
        let refused = milliseconds_at(&calls.refusals, 50.0);
        findings.fact(
            format!("{name}: p50 to an answer that says no"),
            refused,
            "ms",
        );
    }
    Ok(findings.tell(arguments.place.json))
}

/// Calls one of the sick servers until it is stopped.
fn call_the_sick(site: &Site, arguments: &Arguments, target: Target) -> Running {
    let longest = Duration::from_secs(arguments.seconds) * 4;
    let connections = usize::from(arguments.sick_connections).div_ceil(SICK.len());
    let mut plan = site.plan(arguments.place.era, connections, longest);
    plan.warmup = Duration::ZERO;
    plan.targets = vec![target];
    plan.answer_limit = SICK_ANSWER_LIMIT;
    plan.pid = None;
    plan.start()
}

/// The two sick ones first.
fn servers(
    arguments: &Arguments,
    well: &Upstream,
    hanging: &Upstream,
    only_while: &[String],
) -> Result<Servers, String> {
    let mut crashing = vec!["upstream".to_owned(), "--stdio".to_owned()];
    crashing.push("--crash-after-ms".to_owned());
    crashing.push(arguments.crash_after_ms.to_string());
    crashing.extend_from_slice(only_while);
    let mut servers = Servers::new();
    let [hangs, crashes] = SICK.map(str::to_owned);
    servers.insert(hangs, http_server(&hanging.url()));
    servers.insert(crashes, stdio_server(&own_program()?, &crashing));
    for number in 2..arguments.servers {
        let url = format!("http://{}/s{number}/mcp", well.target.authority);
        servers.insert(format!("s{number}"), http_server(&url));
    }
    Ok(servers)
}

/// Open loop: the same load both times, whatever the answers do.
fn measure(site: &Site, arguments: &Arguments) -> Result<Measurement, String> {
    let seconds = Duration::from_secs(arguments.seconds);
    let mut plan = site.plan(arguments.place.era, 16, seconds);
    plan.warmup = Duration::from_secs(2);
    plan.pace = Pace::Open {
        rate: arguments.rate.into(),
        max_connections: 512,
    };
    plan.run()
}

fn fall_ill(sickness: &Path) -> Result<(), String> {
    std::fs::write(sickness, "").map_err(|error| format!("{}: {error}", sickness.display()))
}

fn tell_of(when: &str, measurement: &Measurement, findings: &mut Findings) {
    findings.fact(
        format!("{when}: calls"),
        measurement.latency.len() as f64,
        "",
    );
    for (name, percentile) in [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)] {
        let value = milliseconds_at(&measurement.latency, percentile);
        findings.fact(format!("{when}: {name}"), value, "ms");
    }
    findings.none(format!("{when}: calls failed"), measurement.failed());
}
