//! The configuration is replaced and reloaded again and again while calls are in flight; every tenth is invalid and has to be
//! refused. No call may fail.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ask;
use super::findings::Findings;
use super::site::{Elsewhere, Place, Site};
use super::steady::wait_until_all_answer;
use crate::measurement::milliseconds_at;
use crate::stand::{Gateway, merge, signal, split};
use crate::target::Target;

/// Every so many configurations one is invalid.
const INVALID_EVERY: u32 = 10;

/// So many kinds of changes take turns.
const KINDS: u32 = 4;

/// The kind that adds a server.
const NEW_SERVER: u32 = 3;

/// Longer than any run.
const LIMIT: Duration = Duration::from_secs(3_600);

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// How often the configuration is reloaded.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    reloads: u32,
    /// Milliseconds between them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    interval_ms: u64,
    /// Connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Milliseconds that the server behind weir takes for each call, so that calls are in flight when something restarts.
    #[arg(long, default_value_t = 2)]
    upstream_delay_ms: u64,
    /// Sends SIGHUP instead of a POST to `/reload` of the admin listener; whether invalid ones were refused is then not known.
    #[arg(long)]
    sighup: bool,
    /// With --url: a POST to this reloads.
    #[arg(long, requires = "url", conflicts_with = "command")]
    post: Option<Target>,
    /// With --url: this command reloads. It is started without a shell, its words split as a shell would.
    #[arg(long, requires = "url")]
    command: Option<String>,
}

/// How the gateway is told.
enum Trigger {
    Post(Target),
    Hangup(u32),
    Command(Vec<String>),
}

/// What became of the reloads.
#[derive(Default)]
struct Outcome {
    accepted: u32,
    refused: u32,
    wrong: Vec<String>,
    slowest: Duration,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let delay = arguments.upstream_delay_ms.to_string();
    let mut site = Site::with_echo(
        &arguments.place,
        Some(&arguments.elsewhere),
        &["--delay-ms".to_owned(), delay],
        4,
        arguments.connections.into(),
        &json!({}),
    )?;
    wait_until_all_answer(&site, arguments.place.era)?;
    let trigger = trigger(arguments, site.gateway.as_ref())?;
    let load = site
        .plan(arguments.place.era, arguments.connections.into(), LIMIT)
        .start();
    std::thread::sleep(Duration::from_secs(1));
    let outcome = reload_again_and_again(arguments, &site, &trigger);
    std::thread::sleep(Duration::from_secs(1));
    let measurement = load.stop()?;
    let outcome = outcome?;
    site.is_alive()?;

    let mut findings = Findings::new(format!(
        "reloads: {} times, every {} ms, under load, {} era",
        arguments.reloads,
        arguments.interval_ms,
        arguments.place.era.name()
    ));
    let accepted = match trigger {
        Trigger::Hangup(_) => "signals sent",
        _ => "accepted",
    };
    findings.fact(accepted, outcome.accepted.into(), "");
    findings.fact("refused", outcome.refused.into(), "");
    findings.none("wrong answers to a reload", outcome.wrong.len() as u64);
    findings.fact("slowest reload", outcome.slowest.as_secs_f64() * 1e3, "ms");
    findings.fact("calls answered well", measurement.latency.len() as f64, "");
    findings.fact("p99", milliseconds_at(&measurement.latency, 99.0), "ms");
    findings.fact(
        "slowest call",
        milliseconds_at(&measurement.latency, 100.0),
        "ms",
    );
    findings.none("calls failed", measurement.failed());
    for (failure, count) in &measurement.failures {
        findings.fact(format!("calls failed: {failure}"), *count as f64, "");
    }
    let met = findings.tell(arguments.place.json);
    for wrong in outcome.wrong.iter().take(3) {
        eprintln!("{wrong}");
    }
    Ok(met)
}

fn trigger(arguments: &Arguments, gateway: Option<&Gateway>) -> Result<Trigger, String> {
    match (gateway, &arguments.post, &arguments.command) {
        (Some(gateway), _, _) if arguments.sighup => Ok(Trigger::Hangup(gateway.pid())),
        (Some(gateway), _, _) => Ok(Trigger::Post(format!("{}/reload", gateway.admin).parse()?)),
        (None, Some(post), _) => Ok(Trigger::Post(post.clone())),
        (None, None, Some(command)) => Ok(Trigger::Command(split(command)?)),
        (None, None, None) => match arguments.elsewhere.pid {
            Some(pid) if arguments.sighup => Ok(Trigger::Hangup(pid)),
            _ => Err(
                "with --url, say how to reload: --post, --command, or --sighup and --pid"
                    .to_owned(),
            ),
        },
    }
}

fn reload_again_and_again(
    arguments: &Arguments,
    site: &Site,
    trigger: &Trigger,
) -> Result<Outcome, String> {
    let gateway = site.gateway.as_ref();
    let mut outcome = Outcome::default();
    for turn in 1..=arguments.reloads {
        // The configuration of another gateway is not ours to write.
        let invalid = gateway.is_some() && turn.is_multiple_of(INVALID_EVERY);
        if let Some(gateway) = gateway {
            replace(gateway, &variant(gateway, turn, invalid))?;
        }
        let asked = Instant::now();
        let accepted = trigger.pull();
        outcome.slowest = outcome.slowest.max(asked.elapsed());
        match accepted {
            Ok(()) if invalid && !matches!(trigger, Trigger::Hangup(_)) => {
                outcome
                    .wrong
                    .push(format!("reload {turn} was invalid and accepted"));
            }
            Ok(()) => {
                outcome.accepted += 1;
                if let (Some(gateway), NEW_SERVER, Trigger::Post(_)) =
                    (gateway, turn % KINDS, trigger)
                    && !answers(site, arguments, &gateway.target(&new_server(turn))?)?
                {
                    let complaint =
                        format!("reload {turn} was accepted and its new server does not answer");
                    outcome.wrong.push(complaint);
                }
            }
            Err(reason) if invalid && reason.contains("weir.yaml") => outcome.refused += 1,
            Err(reason) if invalid => outcome.wrong.push(format!(
                "reload {turn} was refused without naming the file: {reason}"
            )),
            Err(reason) => outcome.wrong.push(format!("reload {turn}: {reason}")),
        }
        std::thread::sleep(Duration::from_millis(arguments.interval_ms));
    }
    Ok(outcome)
}

/// The configuration of a turn: something else is different each time, so that every kind of part is replaced.
fn variant(gateway: &Gateway, turn: u32, invalid: bool) -> Value {
    let mut configuration = gateway.configuration.clone();
    let rule =
        json!({ "name": format!("of reload {turn}"), "effect": "deny", "tools": ["no_such_tool"] });
    let change = match turn % KINDS {
        _ if invalid => json!({ "limits": { "no_such_limit": turn } }),
        0 => json!({ "limits": { "deadline": format!("{}s", 30 + turn % 60) } }),
        1 => {
            let rules = configuration.pointer_mut("/policy/rules");
            if let Some(rules) = rules.and_then(Value::as_array_mut) {
                rules.push(rule);
            }
            json!({})
        }
        // The server that is called: its calls in flight have to end well while its successor takes over.
        2 => json!({ "servers": { "echo": { "headers": { "X-Reload": turn.to_string() } } } }),
        NEW_SERVER => {
            let another = configuration.pointer("/servers/echo").cloned();
            json!({ "servers": { format!("s{turn}"): another } })
        }
        _ => json!({}),
    };
    merge(&mut configuration, &change);
    configuration
}

/// Where the server is that is new in a turn.
fn new_server(turn: u32) -> String {
    format!("/servers/s{turn}/mcp")
}

/// Whether a call is answered well there.
fn answers(site: &Site, arguments: &Arguments, target: &Target) -> Result<bool, String> {
    let mut plan = site.plan(arguments.place.era, 1, Duration::from_secs(10));
    plan.warmup = Duration::ZERO;
    plan.calls = Some(1);
    plan.targets = vec![target.clone()];
    Ok(plan.run()?.latency.len() == 1)
}

/// By renaming, so that nobody reads half a file.
fn replace(gateway: &Gateway, configuration: &Value) -> Result<(), String> {
    let file = &gateway.configuration_file;
    let new = gateway
        .directory
        .write("new.yaml", &format!("{configuration:#}\n"))?;
    std::fs::rename(new, file).map_err(|error| format!("{}: {error}", file.display()))
}

// === impl Trigger ===

impl Trigger {
    /// Reloads; the error is what the gateway says.
    fn pull(&self) -> Result<(), String> {
        match self {
            Self::Post(target) => match ask::post(target)? {
                (200..=299, _) => Ok(()),
                (status, body) => Err(format!("{status}: {body}")),
            },
            Self::Hangup(pid) => signal(*pid, Signal::HUP)
                .then_some(())
                .ok_or_else(|| format!("process {pid} is gone")),
            Self::Command(words) => {
                let (program, arguments) = words.split_first().ok_or("--command is empty")?;
                let output = Command::new(program).args(arguments).output();
                let output = output.map_err(|error| format!("{program}: {error}"))?;
                if output.status.success() {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("{}: {}", output.status, said.trim()))
            }
        }
    }
}
