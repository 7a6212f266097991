//! Many servers behind one gateway, of which one hangs and one crashes again and again. The others should not notice: their
//! calls are measured while all are well and while the two are not, in turns, in one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::findings::Findings;
use super::site::{Place, Site};
use super::steady::wait_until_all_answer;
use crate::failure::Failure;
use crate::load::{Pace, Running};
use crate::measurement::{Measurement, median, milliseconds_at};
use crate::stand::{
    Directory, GatewayPlan, Pipeline, Servers, Upstream, http_server, own_program, stdio_server,
};
use crate::target::Target;

/// The sick servers.
const SICK: [&str; 2] = ["hangs", "crashes"];

/// Connections that may wait for a sick server.
const MAX_SICK_CONNECTIONS: usize = 2_000;

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
    /// How often each is measured; medians are compared.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Calls a second to the others, together.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Calls a second to each of the sick ones, whatever becomes of them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sick_rate: u32,
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
    // What keeps a sick server from taking everything is as it is by default.
    let deadline = json!({ "limits": { "deadline": deadline, "upstream": null } });
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

    let (mut calm, mut disturbed) = (Vec::new(), Vec::new());
    let mut to_the_sick: [Vec<Measurement>; SICK.len()] = [const { Vec::new() }; SICK.len()];
    for _ in 0..arguments.rounds {
        calm.push(measure(&site, arguments)?);
        fall_ill(&sickness)?;
        let calls: Vec<Running> = sick
            .iter()
            .map(|target| call_the_sick(&site, arguments, target))
            .collect();
        disturbed.push(measure(&site, arguments)?);
        for (calls, all) in calls.into_iter().zip(&mut to_the_sick) {
            all.push(calls.stop()?);
        }
        get_well(&sickness)?;
        // Until nothing of it is left.
        std::thread::sleep(Duration::from_secs(arguments.deadline_seconds + 1));
    }
    site.is_alive()?;

    let mut findings = Findings::new(format!(
        "many: {} servers of which one hangs and one crashes, {} calls/s to the others, {} times {} s, {} era",
        arguments.servers,
        arguments.rate,
        arguments.rounds,
        arguments.seconds,
        arguments.place.era.name()
    ));
    let calm = tell_of("all well", &calm, &mut findings);
    let disturbed = tell_of("two sick", &disturbed, &mut findings);
    let ratio = disturbed / calm.max(1e-9);
    findings.at_most("p99 to p99 while all were well", ratio, "", 1.2);
    for (name, runs) in SICK.iter().zip(&to_the_sick) {
        tell_of_the_sick(name, runs, &mut findings);
    }
    Ok(findings.tell(arguments.place.json))
}

/// Calls one of the sick servers until it is stopped.
fn call_the_sick(site: &Site, arguments: &Arguments, target: &Target) -> Running {
    let longest = Duration::from_secs(arguments.seconds) * 4;
    let mut plan = site.plan(arguments.place.era, 16, longest);
    plan.pace = Pace::Open {
        rate: arguments.sick_rate.into(),
        max_connections: MAX_SICK_CONNECTIONS,
    };
    plan.warmup = Duration::ZERO;
    plan.targets = vec![target.clone()];
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

fn get_well(sickness: &Path) -> Result<(), String> {
    std::fs::remove_file(sickness).map_err(|error| format!("{}: {error}", sickness.display()))
}

/// Returns the median of p99, in milliseconds.
fn tell_of(when: &str, runs: &[Measurement], findings: &mut Findings) -> f64 {
    let calls: u64 = runs.iter().map(|run| run.latency.len()).sum();
    findings.fact(format!("{when}: calls"), calls as f64, "");
    let median_of = |percentile: f64| {
        let values = runs
            .iter()
            .map(|run| milliseconds_at(&run.latency, percentile));
        median(values.collect()).unwrap_or_default()
    };
    for (name, percentile) in [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)] {
        findings.fact(format!("{when}: {name}"), median_of(percentile), "ms");
    }
    let failed = runs.iter().map(Measurement::failed).sum();
    findings.none(format!("{when}: calls failed"), failed);
    median_of(99.0)
}

fn tell_of_the_sick(name: &str, runs: &[Measurement], findings: &mut Findings) {
    let good: u64 = runs.iter().map(|run| run.latency.len()).sum();
    findings.fact(format!("{name}: calls answered well"), good as f64, "");
    let mut failures: BTreeMap<Failure, u64> = BTreeMap::new();
    for (failure, count) in runs.iter().flat_map(|run| &run.failures) {
        *failures.entry(*failure).or_default() += count;
    }
    for (failure, count) in &failures {
        findings.fact(format!("{name}: {failure}"), *count as f64, "");
    }
    let unanswered = runs.iter().map(|run| run.count(Failure::is_unanswered));
    findings.none(format!("{name}: calls without an answer"), unanswered.sum());
    let half = runs.iter().map(|run| milliseconds_at(&run.refusals, 50.0));
    let half = median(half.collect()).unwrap_or_default();
    findings.fact(format!("{name}: p50 to an answer that says no"), half, "ms");
}
