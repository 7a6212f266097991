//! Four times what the gateway can do. The capacity is found first, in the closed loop; then calls come at four times that rate
//! whatever becomes of them, while the health page is asked all the time; soon after everything should be as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::findings::Findings;
use super::site::{Elsewhere, Place, Site};
use super::steady::wait_until_all_answer;
use crate::failure::Failure;
use crate::load::Pace;
use crate::measurement::{Measurement, milliseconds_at};
use crate::process::Usage;
use crate::stand;
use crate::target::Target;

/// Connections that are tried to find the capacity.
const STEPS: [usize; 7] = [8, 16, 32, 64, 128, 256, 512];

/// More connections have to bring so much, or the capacity is found.
const WORTH_IT: f64 = 1.05;

/// Longest measurement at capacity.
const CALM: Duration = Duration::from_secs(10);

/// How often the health page is asked.
const HEALTH_EVERY: Duration = Duration::from_millis(100);

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Seconds of overload.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The offered load, in capacities.
    #[arg(long, default_value_t = 4.0)]
    times: f64,
    /// Seconds after the overload until everything has to be as before.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=60))]
    rest_seconds: u64,
    /// Milliseconds that the server behind weir takes for each call. With 0 the processor is the bound, which the load
    /// generator shares: what it takes for itself is then missing at the gateway.
    #[arg(long, default_value_t = 20)]
    upstream_delay_ms: u64,
    /// Connections at most.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    max_connections: u16,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let delay = arguments.upstream_delay_ms.to_string();
    let options = ["--delay-ms".to_owned(), delay];
    let most = usize::from(arguments.max_connections);
    let descriptors = arguments.max_connections.into();
    stand::raise_descriptors(descriptors)?;
    // As it is by default: the limits are what is looked at.
    let limits = json!({ "limits": null });
    let mut site = Site::with_echo(
        &arguments.place,
        Some(&arguments.elsewhere),
        &options,
        16,
        descriptors,
        &limits,
    )?;
    wait_until_all_answer(&site, arguments.place.era)?;
    let era = arguments.place.era;
    let seconds = Duration::from_secs(arguments.seconds);
    let connections = best_connections(&site, arguments)?;
    let normal = site
        .plan(
            era,
            connections,
            (seconds / 4).clamp(Duration::from_secs(1), CALM),
        )
        .run()?;
    let capacity = normal.rate();

    let before = site.pid.map(Usage::of_tree).transpose()?;
    let mut plan = site.plan(era, connections, seconds);
    plan.warmup = Duration::from_secs(1);
    plan.pace = Pace::Open {
        rate: capacity * arguments.times,
        max_connections: most,
    };
    let prober = Prober::start(site.gateway.as_ref().map(|gateway| gateway.admin.clone()))?;
    let overload = plan.run()?;
    let health = prober.stop()?;
    std::thread::sleep(Duration::from_secs(arguments.rest_seconds));
    let after = site
        .plan(era, connections, normal.elapsed.max(Duration::from_secs(1)))
        .run()?;
    site.is_alive()?;

    let mut findings = Findings::new(format!(
        "overload: {:.1} times the capacity for {} s, {} era",
        arguments.times,
        arguments.seconds,
        era.name()
    ));
    findings.fact("connections at capacity", connections as f64, "");
    findings.fact("capacity", capacity, "calls/s");
    findings.fact(
        "p50 at capacity",
        milliseconds_at(&normal.latency, 50.0),
        "ms",
    );
    let calm = milliseconds_at(&normal.latency, 99.0);
    findings.fact("p99 at capacity", calm, "ms");
    findings.fact("offered", capacity * arguments.times, "calls/s");
    findings.fact("goodput", overload.rate(), "calls/s");
    let goodput = overload.rate() / capacity.max(1e-9);
    findings.at_least("goodput to capacity", goodput, "", 0.9);
    let stressed = milliseconds_at(&overload.latency, 99.0);
    findings.fact(
        "p50 of good answers",
        milliseconds_at(&overload.latency, 50.0),
        "ms",
    );
    findings.fact("p99 of good answers", stressed, "ms");
    findings.at_most("p99 to p99 at capacity", stressed / calm.max(1e-9), "", 2.0);
    for (failure, count) in &overload.failures {
        findings.fact(format!("calls failed: {failure}"), *count as f64, "");
    }
    let half = milliseconds_at(&overload.refusals, 50.0);
    findings.fact("p50 to a refusal", half, "ms");
    let refused = milliseconds_at(&overload.refusals, 99.0);
    findings.at_most("p99 to a refusal", refused, "ms", 50.0);
    findings.none(
        "calls without an answer",
        overload.count(Failure::is_unanswered),
    );
    findings.fact("connections", overload.connections as f64, "");
    let late = milliseconds_at(&overload.lateness, 99.0);
    findings.fact("p99 of how late calls were sent", late, "ms");
    if let (Some(before), Some(cost)) = (before, overload.cost) {
        let growth = cost.peak_kib.saturating_sub(before.resident_kib) as f64 / 1024.0;
        findings.at_most("memory growth", growth, "MiB", 128.0);
    }
    if let Some(health) = health {
        findings.fact("health page asked", health.asked as f64, "");
        findings.none("health page not answered", health.failed);
        findings.fact(
            "slowest health page",
            health.slowest.as_secs_f64() * 1e3,
            "ms",
        );
    }
    let again = after.rate() / capacity.max(1e-9);
    findings.at_least("afterwards: rate to capacity", again, "", 0.9);
    findings.none("afterwards: calls failed", after.failed());
    Ok(findings.tell(arguments.place.json))
}

/// The fewest connections that reach the capacity without a failure.
fn best_connections(site: &Site, arguments: &Arguments) -> Result<usize, String> {
    let mut best: Option<(usize, f64)> = None;
    let enough = usize::from(arguments.max_connections);
    for connections in STEPS.into_iter().filter(|step| *step <= enough) {
        let tried = site
            .plan(arguments.place.era, connections, Duration::from_secs(1))
            .run()?;
        if tried.failed() > 0 {
            return best.map(|(best, _)| best).ok_or_else(|| refuses(&tried));
        }
        match best {
            Some((enough, rate)) if tried.rate() < rate * WORTH_IT => return Ok(enough),
            _ => best = Some((connections, tried.rate())),
        }
    }
    best.map(|(connections, _)| connections)
        .ok_or_else(|| "the capacity cannot be found".to_owned())
}

fn refuses(tried: &Measurement) -> String {
    format!("calls fail without overload:\n{tried}")
}

/// What the health page did meanwhile.
struct Health {
    asked: u64,
    failed: u64,
    slowest: Duration,
}

/// Asks the health page again and again.
struct Prober {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Health>>,
}

// === impl Prober ===

impl Prober {
    fn start(admin: Option<String>) -> Result<Self, String> {
        let over = Arc::new(AtomicBool::new(false));
        let target: Option<Target> = admin
            .map(|admin| format!("{admin}/health").parse())
            .transpose()?;
        let seen = Arc::clone(&over);
        let thread = target.map(|target| std::thread::spawn(move || probe(&target, &seen)));
        Ok(Self { over, thread })
    }

    fn stop(self) -> Result<Option<Health>, String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| "the health prober panicked".to_owned())
            })
            .transpose()
    }
}

fn probe(target: &Target, over: &AtomicBool) -> Health {
    let mut health = Health {
        asked: 0,
        failed: 0,
        slowest: Duration::ZERO,
    };
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = super::ask::get(target);
        health.asked += 1;
        health.slowest = health.slowest.max(asked.elapsed());
        if !answer.is_ok_and(|(status, _)| status == 200) {
            health.failed += 1;
        }
        std::thread::sleep(HEALTH_EVERY);
    }
    health
}
