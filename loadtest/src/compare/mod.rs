//! `weir-loadtest compare`: direct calls, nginx, weir and other gateways side by side, in one run, in rounds that take turns,
//! so that what the machine does besides is shared by all. Writes what was found as Markdown, HTML and JSON.

mod chart;
mod contestant;
mod environment;
mod goals;
mod html;
mod markdown;
mod nginx;
mod peer;
mod rounds;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::message::Era;
use crate::stand::{self, Directory, Upstream, patch};

use self::contestant::Contestant;
use self::environment::Environment;
use self::peer::Peer;
use self::rounds::{Load, Rounds};

/// Descriptors for connections on both sides.
const DESCRIPTORS: u64 = 8_192;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// weir's program.
    #[arg(long, default_value = "target/release/weir")]
    weir: PathBuf,
    /// JSON that is put over weir's configuration; null removes a key.
    #[arg(long, default_value = "{}", value_parser = patch)]
    set: Value,
    /// nginx's program, a path or a name.
    #[arg(long, default_value = "nginx")]
    nginx: String,
    /// Another gateway: `NAME=URL=COMMAND LINE`. It is started without a shell, its words split as a shell would;
    /// `{upstream}` in them is the server's URL, `{upstream_authority}` its host and port. May be repeated.
    #[arg(long)]
    peer: Vec<Peer>,
    /// What is left out: `nginx`, `weir` or `weir default`. May be repeated.
    #[arg(long, value_parser = [NGINX, WEIR, WEIR_DEFAULT])]
    without: Vec<String>,
    /// Connections of the closed loops.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 16], value_parser = clap::value_parser!(u16).range(1..=4_000))]
    connections: Vec<u16>,
    /// Calls a second of the open loop, at which all have the same to do; 0 leaves it out.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rate: u32,
    /// Rounds; medians are reported.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measured time of each in each round.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Time before that, under the same load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warmup_seconds: u64,
    /// The protocol era of the calls.
    #[arg(long, value_enum, default_value_t = Era::Modern)]
    era: Era,
    /// Bytes of each call's message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    message_bytes: u32,
    /// The port of the server behind all, for peers whose configuration names it; 0 picks one.
    #[arg(long, default_value_t = 0)]
    upstream_port: u16,
    /// Where `compare.md`, `compare.html` and `compare.json` are written.
    #[arg(long, default_value = "target/loadtest")]
    out: PathBuf,
    /// Exits with 1 if a goal was not met. Without it, only failed calls are an error.
    #[arg(long)]
    strict: bool,
}

/// The names of those that are always there.
const DIRECT: &str = "direct";
const NGINX: &str = "nginx";
const WEIR: &str = "weir";
const WEIR_DEFAULT: &str = "weir default";

/// Runs and reports; true if every call was answered as it should and, if asked for, every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let environment = Environment::now(arguments)?;
    stand::raise_descriptors(DESCRIPTORS)?;
    let directory = Directory::new()?;
    let port = ["--port".to_owned(), arguments.upstream_port.to_string()];
    let upstream = Upstream::start(directory.path(), "upstream", &port)?;
    let mut contestants = contestants(arguments, &upstream, &directory)?;
    for contestant in &mut contestants {
        contestant.wait_until_ready(arguments.era)?;
    }
    let mut loads: Vec<Load> = arguments
        .connections
        .iter()
        .map(|n| Load::Closed(*n))
        .collect();
    if arguments.rate > 0 {
        loads.push(Load::Open(arguments.rate));
    }
    let rounds = Rounds {
        loads,
        rounds: arguments.rounds,
        warmup: Duration::from_secs(arguments.warmup_seconds),
        measured: Duration::from_secs(arguments.seconds),
        era: arguments.era,
        message_bytes: arguments.message_bytes as usize,
        upstream: upstream.pid(),
    };
    let results = rounds.run(&mut contestants)?;
    drop(contestants);

    let goals = goals::judge(&results);
    let files = [
        ("md", markdown::report(&environment, &results, &goals)),
        ("html", html::report(&environment, &results, &goals)),
        (
            "json",
            format!("{:#}\n", results.to_json(&environment, &goals)),
        ),
    ];
    let failed = |error: std::io::Error| format!("{}: {error}", arguments.out.display());
    fs::create_dir_all(&arguments.out).map_err(failed)?;
    for (extension, content) in &files {
        fs::write(arguments.out.join(format!("compare.{extension}")), content).map_err(failed)?;
    }
    let [(_, text), ..] = &files;
    println!("{text}");
    println!(
        "written to {}/compare.md, .html and .json",
        arguments.out.display()
    );
    let met = goals.iter().all(|goal| goal.met);
    Ok(results.failed() == 0 && (met || !arguments.strict))
}

fn contestants(
    arguments: &Arguments,
    upstream: &Upstream,
    directory: &Directory,
) -> Result<Vec<Contestant>, String> {
    let with = |name: &str| !arguments.without.iter().any(|without| without == name);
    let mut contestants = vec![Contestant::direct(upstream)];
    if with(NGINX) {
        contestants.push(nginx::start(&arguments.nginx, upstream, directory)?);
    }
    if with(WEIR) {
        contestants.push(Contestant::weir(arguments, upstream)?);
    }
    if with(WEIR_DEFAULT) {
        contestants.push(Contestant::weir_default(arguments, upstream)?);
    }
    for peer in &arguments.peer {
        contestants.push(peer.start(upstream, directory)?);
    }
    Ok(contestants)
}
