//! MCP load for weir and its peers, over real sockets: knows only the wire.
//!
//! ```text
//! weir-loadtest upstream --port 3001                              an echo server that costs as little as possible
//! weir-loadtest run --url http://127.0.0.1:8811/mcp --pid PID     64 connections, each calls and waits, for 10 s
//! ```
//! Only loopback is ever loaded. Room by room: [`wire`] frames HTTP/1.1, [`call`] writes a request and checks its answer,
//! [`load`] keeps connections busy and measures, [`process`] asks Linux what that cost the process under load,
//! [`measurement`] is what a run found, [`upstream`] is the server at the other end.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool reports on its standard output"
)]

mod call;
mod load;
mod measurement;
mod process;
mod target;
mod upstream;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::call::Era;
use crate::load::Plan;
use crate::target::Target;

/// MCP load for weir and its peers. Only loopback addresses are accepted.
#[derive(Parser)]
#[command(name = "weir-loadtest", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves an MCP echo server (both eras) on loopback; prints `upstream ready URL`.
    Upstream {
        /// The port; 0 picks one.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Threads, each with its own connections.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
        threads: u16,
    },
    /// Calls a tool from many connections at once, as fast as the answers come.
    Run(RunArguments),
}

#[derive(clap::Args)]
struct RunArguments {
    /// The MCP endpoint, for example `http://127.0.0.1:8811/mcp`.
    #[arg(long)]
    url: Target,
    /// Calls in flight: each connection sends the next call when the last was answered.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Measured time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Time before that, under the same load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warmup_seconds: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// The tool; it gets `{"message": TEXT}` and must answer without an error.
    #[arg(long, default_value = "echo")]
    tool: String,
    /// Bytes of TEXT.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    message_bytes: u32,
    /// The protocol era of the calls.
    #[arg(long, value_enum, default_value_t = Era::Modern)]
    era: Era,
    /// One more request header, for example `Authorization: Bearer KEY`. May be repeated.
    #[arg(long)]
    header: Vec<String>,
    /// The process under load: its CPU time and memory are reported too.
    #[arg(long)]
    pid: Option<u32>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Upstream { port, threads } => upstream::serve(port, threads).map(|()| true),
        Command::Run(arguments) => run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("weir-loadtest: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs and reports; true if every call was answered as it should.
fn run(arguments: &RunArguments) -> Result<bool, String> {
    let plan = Arc::new(Plan {
        target: arguments.url.clone(),
        connections: arguments.connections.into(),
        threads: arguments.threads.into(),
        warmup: Duration::from_secs(arguments.warmup_seconds),
        measured: Duration::from_secs(arguments.seconds),
        tool: arguments.tool.clone(),
        message_bytes: arguments.message_bytes as usize,
        era: arguments.era,
        headers: arguments.header.clone(),
        pid: arguments.pid,
    });
    let measurement = load::run(&plan)?;
    if arguments.json {
        println!("{}", measurement.to_json());
    } else {
        println!("{measurement}");
    }
    Ok(measurement.failures.is_empty())
}
