//! Servers behind the gateway are killed with SIGKILL again and again while calls are in flight. A call may fail, but it has to
//! be answered.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::findings::Findings;
use super::site::{Place, Site};
use super::steady::wait_until_all_answer;
use crate::call::CallText;
use crate::failure::Failure;
use crate::line::Caller;
use crate::load::{ANSWER_LIMIT, Pace, Plan};
use crate::measurement::milliseconds_at;
use crate::process::{children, descriptors, zombies};
use crate::stand::{GatewayPlan, Pipeline, Servers, own_program, signal, stdio_server};
use crate::target::Target;

/// Before the first kill, and after the last: the servers have to serve again.
const CALM: Duration = Duration::from_secs(2);

/// Files that a gateway may have open afterwards that it had not before, such as a log that was rotated.
const SPARE_DESCRIPTORS: usize = 8;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How often something is killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// Milliseconds between them.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    interval_ms: u64,
    /// Connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Servers behind weir, each a child process of it.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    servers: u16,
    /// Milliseconds that a server takes for each call, so that calls are in flight when it is killed.
    #[arg(long, default_value_t = 5)]
    upstream_delay_ms: u64,
    /// The endpoint of a gateway that runs already, instead of starting weir. Needs --victim or --children-of.
    #[arg(long)]
    url: Option<Target>,
    /// A request header for it. May be repeated.
    #[arg(long, requires = "url")]
    header: Vec<String>,
    /// The process to kill, once.
    #[arg(long, requires = "url", conflicts_with = "children_of")]
    victim: Option<u32>,
    /// The children of this process are killed in turns.
    #[arg(long, requires = "url")]
    children_of: Option<u32>,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut site = None;
    let mut plan = match &arguments.url {
        Some(url) => elsewhere(arguments, url),
        None => {
            let started = started(arguments)?;
            let plan = started.plan(arguments.place.era, 1, Duration::ZERO);
            site = Some(started);
            plan
        }
    };
    let interval = Duration::from_millis(arguments.interval_ms);
    plan.connections = arguments.connections.into();
    plan.warmup = Duration::ZERO;
    plan.measured = 2 * CALM + interval * (arguments.kills + 1);
    let children_of = arguments
        .children_of
        .or_else(|| site.as_ref().and_then(|site| site.pid));
    let open_before = children_of.map(descriptors);
    let load = plan.clone().start();
    std::thread::sleep(CALM);
    let mut killed = 0;
    for turn in 0..arguments.kills {
        let victim = match (arguments.victim, children_of) {
            (Some(victim), _) => (turn == 0).then_some(victim),
            (None, Some(parent)) => {
                let children = children(parent);
                let turn = turn as usize % children.len().max(1);
                children.get(turn).copied()
            }
            (None, None) => None,
        };
        killed += u64::from(victim.is_some_and(|victim| signal(victim, Signal::KILL)));
        std::thread::sleep(interval);
    }
    let measurement = load.finish()?;
    // Whether they serve again is asked of fresh calls.
    plan.measured = CALM;
    let after = plan.run()?;
    // The gateway notices that its clients are gone.
    std::thread::sleep(CALM);
    if let Some(site) = &mut site {
        site.is_alive()?;
    }
    let mut findings = Findings::new(format!(
        "kill: SIGKILL {} times, every {} ms, under load, {} era",
        arguments.kills,
        arguments.interval_ms,
        arguments.place.era.name()
    ));
    let wanted = if arguments.victim.is_some() {
        1
    } else {
        arguments.kills
    };
    findings.at_least("processes killed", killed as f64, "", wanted.into());
    findings.fact("calls answered well", measurement.latency.len() as f64, "");
    let slowest = milliseconds_at(&measurement.latency, 100.0);
    findings.fact("p99", milliseconds_at(&measurement.latency, 99.0), "ms");
    findings.fact("slowest", slowest, "ms");
    for (failure, count) in &measurement.failures {
        findings.fact(format!("calls failed: {failure}"), *count as f64, "");
    }
    let slow = milliseconds_at(&measurement.refusals, 99.0);
    findings.fact("p99 to an answer that says no", slow, "ms");
    findings.none(
        "calls without an answer",
        measurement.count(Failure::is_unanswered),
    );
    if let (Some(parent), Some(open)) = (children_of, open_before) {
        let (now, most) = (descriptors(parent), open + SPARE_DESCRIPTORS);
        findings.at_most("open files of the parent", now as f64, "", most as f64);
        findings.none("children that it forgot", zombies(parent) as u64);
    }
    findings.none("afterwards: calls failed", after.failed());
    findings.at_least("afterwards: calls/s", after.rate(), "", 1.0);
    Ok(findings.tell(arguments.place.json))
}

fn started(arguments: &Arguments) -> Result<Site, String> {
    let program = own_program()?;
    let options: Vec<String> = [
        "upstream",
        "--stdio",
        "--delay-ms",
        &arguments.upstream_delay_ms.to_string(),
    ]
    .map(str::to_owned)
    .into();
    let servers: Servers = (0..arguments.servers)
        .map(|number| (format!("s{number}"), stdio_server(&program, &options)))
        .collect();
    // So many restarts are what is asked for here.
    let restarts = json!({ "supervision": { "upstreams": { "intensity": 10_000 } } });
    let site = Site::with_gateway(GatewayPlan {
        program: &arguments.place.weir,
        pipeline: Pipeline::Full,
        servers,
        tenants: 4,
        changes: [&restarts, &arguments.place.set],
        descriptors: arguments.connections.into(),
    })?;
    wait_until_all_answer(&site, arguments.place.era)?;
    Ok(site)
}

fn elsewhere(arguments: &Arguments, url: &Target) -> Plan {
    Plan {
        targets: vec![url.clone()],
        pace: Pace::Closed,
        connections: 1,
        sessions: 1,
        threads: 1,
        warmup: Duration::ZERO,
        measured: Duration::ZERO,
        calls: None,
        answer_limit: ANSWER_LIMIT,
        text: CallText {
            era: arguments.place.era,
            tool: "echo".to_owned(),
            message_bytes: 64,
            mark: None,
        },
        callers: vec![Caller {
            headers: arguments.header.clone(),
            mark: None,
        }],
        pid: None,
        others: Vec::new(),
    }
}
