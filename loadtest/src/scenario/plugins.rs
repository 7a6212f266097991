//! Many plugins behind one gateway, each a process of its own. First one of them crashes again and again, and the others
//! should not notice; then the one that every call is asked of is killed with SIGKILL again and again, under load. A call may
//! fail then, but it has to be answered, soon.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Map, Value, json};

use super::ask;
use super::findings::Findings;
use super::site::{Place, Site};
use super::steady::wait_until_all_answer;
use crate::failure::Failure;
use crate::load::Pace;
use crate::measurement::{Measurement, median, milliseconds_at};
use crate::process::{children, descriptors, zombies};
use crate::stand::{
    Directory, GatewayPlan, Pipeline, Servers, Upstream, http_server, own_program, signal,
};
use crate::target::Target;

/// The one that every call is asked of.
const ASKED: &str = "auth_provider";
/// The one that crashes.
const CRASHES: &str = "crashes";

/// How long a plugin may take until it serves.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at the plugins' states. It is a part of what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Before the first kill and after the last.
const CALM: Duration = Duration::from_secs(2);
/// Files that a gateway may have open afterwards that it had not before.
const SPARE_DESCRIPTORS: usize = 16;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Plugins, the one that crashes and the one that is killed included.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(3..=1000))]
    plugins: u16,
    /// How often it is measured while all are well and while one crashes; medians are compared.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Calls a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Milliseconds after which the crashing plugin crashes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    crash_after_ms: u64,
    /// How often the plugin is killed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1000))]
    kills: u32,
    /// Milliseconds that the plugin takes for each call, so that calls are in flight when it is killed.
    #[arg(long, default_value_t = 5)]
    plugin_delay_ms: u64,
}

/// A plugin as the admin listener shows it.
struct Shown {
    generation: u64,
    is_active: bool,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let directory = Directory::new()?;
    let sickness = directory.path().join("sick");
    let upstream = Upstream::start(directory.path(), "upstream", &[])?;
    let mut servers = Servers::new();
    servers.insert("echo".to_owned(), http_server(&upstream.url()));
    let changes = json!({
        "plugins": plugins(arguments, &sickness)?,
        // So many restarts are what is asked for here.
        "supervision": { "plugins": { "intensity": 10_000, "backoff": { "reset_after": "100ms" } } },
    });
    let mut site = Site::with_gateway(GatewayPlan {
        program: &arguments.place.weir,
        pipeline: Pipeline::Default,
        servers,
        tenants: 1,
        changes: [&changes, &arguments.place.set],
        descriptors: 4_096 + 8 * u64::from(arguments.plugins),
    })?;
    for caller in &mut site.callers {
        caller.headers = vec!["Authorization: Bearer a-key-for-alice".to_owned()];
    }
    let began = Instant::now();
    let page = page(&site)?;
    wait_until(|| Ok(all_active(&page)? == usize::from(arguments.plugins)))?;
    let ready = began.elapsed();
    wait_until_all_answer(&site, arguments.place.era)?;

    let mut findings = Findings::new(format!(
        "plugins: {} processes, {} calls/s that one of them is asked about, {} era",
        arguments.plugins,
        arguments.rate,
        arguments.place.era.name()
    ));
    findings.fact("all plugins serve after", ready.as_secs_f64(), "s");
    crash_one(&site, arguments, &sickness, &mut findings)?;
    if arguments.kills > 0 {
        kill_one(&site, arguments, &page, &mut findings)?;
    }
    site.is_alive()?;
    Ok(findings.tell(arguments.place.json))
}

/// The `plugins` block. What the asked one said is never remembered.
fn plugins(arguments: &Arguments, sickness: &Path) -> Result<Map<String, Value>, String> {
    let program = own_program()?;
    let plugin = |options: Vec<String>| {
        let args = [vec!["plugin".to_owned()], options].concat();
        json!({ "type": "subprocess", "subprocess": { "exec": program, "args": args }, "on_change": "ignore" })
    };
    let mut plugins = Map::new();
    let mut asked = plugin(vec![
        "--delay-ms".to_owned(),
        arguments.plugin_delay_ms.to_string(),
    ]);
    if let Some(asked) = asked.as_object_mut() {
        let cache = json!({ "ttl": "0s", "negative_ttl": "0s" });
        asked.insert("cache".to_owned(), cache);
    }
    plugins.insert(ASKED.to_owned(), asked);
    let crashing = vec![
        "--crash-after-ms".to_owned(),
        arguments.crash_after_ms.to_string(),
        "--only-while".to_owned(),
        sickness.display().to_string(),
    ];
    plugins.insert(CRASHES.to_owned(), plugin(crashing));
    for number in 2..arguments.plugins {
        plugins.insert(format!("p{number:03}"), plugin(Vec::new()));
    }
    Ok(plugins)
}

/// One crashes again and again, in turns with times when all are well.
fn crash_one(
    site: &Site,
    arguments: &Arguments,
    sickness: &Path,
    findings: &mut Findings,
) -> Result<(), String> {
    let (mut calm, mut disturbed) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        calm.push(measure(
            site,
            arguments,
            Duration::from_secs(arguments.seconds),
        )?);
        let failed = |error| format!("{}: {error}", sickness.display());
        std::fs::write(sickness, "").map_err(failed)?;
        disturbed.push(measure(
            site,
            arguments,
            Duration::from_secs(arguments.seconds),
        )?);
        std::fs::remove_file(sickness).map_err(failed)?;
        std::thread::sleep(CALM);
    }
    let median_of = |runs: &[Measurement], percentile: f64| {
        let values = runs
            .iter()
            .map(|run| milliseconds_at(&run.latency, percentile));
        median(values.collect()).unwrap_or_default()
    };
    for (when, runs) in [("all well", &calm), ("one crashes", &disturbed)] {
        for (name, percentile) in [("p50", 50.0), ("p99", 99.0)] {
            findings.fact(format!("{when}: {name}"), median_of(runs, percentile), "ms");
        }
        let failed = runs.iter().map(Measurement::failed).sum();
        findings.none(format!("{when}: calls failed"), failed);
    }
    let ratio = median_of(&disturbed, 99.0) / median_of(&calm, 99.0).max(1e-9);
    findings.at_most("p99 to p99 while all were well", ratio, "", 1.2);
    Ok(())
}

/// The one that every call is asked of is killed again and again.
fn kill_one(
    site: &Site,
    arguments: &Arguments,
    page: &Target,
    findings: &mut Findings,
) -> Result<(), String> {
    let gateway = site.pid.ok_or("no gateway was started")?;
    let open_before = descriptors(gateway);
    let longest = 2 * CALM + LIMIT * arguments.kills;
    let running = plan(site, arguments, longest).start();
    std::thread::sleep(CALM);
    let (mut killed, mut away) = (0, Vec::new());
    for _ in 0..arguments.kills {
        let before = shown(page)?.generation;
        let victim = asked_process(gateway);
        let begun = Instant::now();
        killed += u64::from(victim.is_some_and(|victim| signal(victim, Signal::KILL)));
        wait_until(|| {
            let now = shown(page)?;
            Ok(now.is_active && now.generation > before)
        })?;
        away.push(begun.elapsed().as_secs_f64() * 1e3);
        // At intervals that no clock of the gateway's has, and long enough for the failures to be forgotten.
        std::thread::sleep(Duration::from_millis(150 + 37 * (killed % 7)));
    }
    std::thread::sleep(CALM);
    let measurement = running.stop()?;
    let after = measure(site, arguments, CALM)?;
    std::thread::sleep(CALM);
    findings.at_least("plugins killed", killed as f64, "", arguments.kills.into());
    findings.fact("calls answered well", measurement.latency.len() as f64, "");
    for (failure, count) in &measurement.failures {
        findings.fact(format!("calls failed: {failure}"), *count as f64, "");
    }
    let unanswered = measurement.count(Failure::is_unanswered);
    findings.none("calls without an answer", unanswered);
    let refusals =
        |failure: Failure| !matches!(failure, Failure::Status(503) | Failure::Error(503));
    findings.none(
        "calls that failed otherwise than with 503, which may be tried again",
        measurement.count(refusals),
    );
    let no = milliseconds_at(&measurement.refusals, 99.0);
    findings.at_most("p99 to an answer that says no", no, "ms", 50.0);
    away.sort_by(f64::total_cmp);
    let p99 = away.get((away.len() * 99).div_ceil(100).saturating_sub(1));
    findings.fact(
        "p50 from the kill to serving again",
        median(away.clone()).unwrap_or_default(),
        "ms",
    );
    findings.at_most(
        "p99 from the kill to serving again",
        p99.copied().unwrap_or(f64::INFINITY),
        "ms",
        1_000.0,
    );
    let most = open_before + SPARE_DESCRIPTORS;
    findings.at_most(
        "open files of the gateway",
        descriptors(gateway) as f64,
        "",
        most as f64,
    );
    findings.none("children that it forgot", zombies(gateway) as u64);
    findings.none("afterwards: calls failed", after.failed());
    Ok(())
}

/// Open loop: the same load whatever the answers do.
fn plan(site: &Site, arguments: &Arguments, measured: Duration) -> crate::load::Plan {
    let mut plan = site.plan(arguments.place.era, 16, measured);
    plan.warmup = Duration::from_secs(1);
    plan.pace = Pace::Open {
        rate: arguments.rate.into(),
        max_connections: 512,
    };
    plan
}

fn measure(site: &Site, arguments: &Arguments, measured: Duration) -> Result<Measurement, String> {
    plan(site, arguments, measured).run()
}

/// The process of the asked plugin: the only one with its options.
fn asked_process(gateway: u32) -> Option<u32> {
    children(gateway).into_iter().find(|child| {
        let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == b"--delay-ms")
    })
}

/// Where the gateway shows its plugins.
fn page(site: &Site) -> Result<Target, String> {
    let gateway = site.gateway.as_ref().ok_or("no gateway was started")?;
    format!("{}/plugins", gateway.admin).parse()
}

fn all_shown(page: &Target) -> Result<Vec<Value>, String> {
    let (_, body) = ask::get(page)?;
    serde_json::from_str(&body).map_err(|error| format!("{}: {error}", page.path))
}

fn all_active(page: &Target) -> Result<usize, String> {
    let plugins = all_shown(page)?;
    let active = plugins
        .iter()
        .filter(|plugin| plugin.get("state") == Some(&json!("active")));
    Ok(active.count())
}

/// The asked plugin.
fn shown(page: &Target) -> Result<Shown, String> {
    let plugins = all_shown(page)?;
    let mut plugins = plugins.iter();
    let asked = plugins.find(|plugin| plugin.get("name") == Some(&json!(ASKED)));
    let asked = asked.ok_or("the plugin is not shown")?;
    let generation = asked.get("generation").and_then(Value::as_u64);
    Ok(Shown {
        generation: generation.ok_or("the plugin has no generation")?,
        is_active: asked.get("state") == Some(&json!("active")),
    })
}

fn wait_until(mut condition: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    while !condition()? {
        if Instant::now() > deadline {
            return Err(format!("a plugin does not serve after {LIMIT:?}"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
