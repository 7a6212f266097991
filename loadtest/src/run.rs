//! `weir-loadtest run`: one load on one endpoint.

use std::time::Duration;

use crate::call::CallText;
use crate::line::Caller;
use crate::load::{Pace, Plan};
use crate::message::Era;
use crate::target::Target;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The MCP endpoint, for example `http://127.0.0.1:8811/mcp`.
    #[arg(long)]
    url: Target,
    /// Open loop: so many calls a second, whatever the answers do. Without it each connection sends the next call when the
    /// last was answered.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Connections. With --rate, what it begins with.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// With --rate: connections that may be opened when all wait for an answer.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    max_connections: u16,
    /// Legacy sessions of each connection; they take turns.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    sessions: u16,
    /// Measured time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Time before that, under the same load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warmup_seconds: u64,
    /// Longest wait for an answer; then the call has failed and its connection is closed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    answer_limit_seconds: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// The tool; it gets `{"message": TEXT}` and must answer without an error.
    #[arg(long, default_value = "echo")]
    tool: String,
    /// Bytes of TEXT.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    message_bytes: u32,
    /// TEXT begins with this and a number, and the answer has to contain both: finds answers to somebody else's calls.
    #[arg(long, value_parser = mark)]
    mark: Option<String>,
    /// The protocol era of the calls.
    #[arg(long, value_enum, default_value_t = Era::Modern)]
    era: Era,
    /// One more request header, for example `Authorization: Bearer KEY`. May be repeated.
    #[arg(long)]
    header: Vec<String>,
    /// The process under load: its CPU time and memory, and that of everything it started, are reported too.
    #[arg(long)]
    pid: Option<u32>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs and reports; true if every call was answered as it should.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let connections = usize::from(arguments.connections);
    let pace = arguments.rate.map_or(Pace::Closed, |rate| Pace::Open {
        rate: rate.into(),
        max_connections: connections.max(arguments.max_connections.into()),
    });
    let plan = Plan {
        targets: vec![arguments.url.clone()],
        pace,
        connections,
        sessions: arguments.sessions.into(),
        threads: arguments.threads.into(),
        warmup: Duration::from_secs(arguments.warmup_seconds),
        measured: Duration::from_secs(arguments.seconds),
        calls: None,
        answer_limit: Duration::from_secs(arguments.answer_limit_seconds),
        text: CallText {
            era: arguments.era,
            tool: arguments.tool.clone(),
            message_bytes: arguments.message_bytes as usize,
            mark: None,
        },
        callers: vec![Caller {
            headers: arguments.header.clone(),
            mark: arguments.mark.clone(),
        }],
        pid: arguments.pid,
        others: Vec::new(),
    };
    let measurement = plan.run()?;
    if arguments.json {
        println!("{}", measurement.to_json());
    } else {
        println!("{measurement}");
    }
    Ok(measurement.failures.is_empty())
}

/// Marks are searched for as bytes, so JSON must not have to escape them.
fn mark(text: &str) -> Result<String, String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a mark has 1 to 64 of A-Z a-z 0-9 - _ .".to_owned())
    }
}
