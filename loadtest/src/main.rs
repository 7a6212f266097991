//! MCP load for weir and its peers, over real sockets: knows only the wire.
//!
//! ```text
//! weir-loadtest compare                                          weir beside nginx and others, one report
//! weir-loadtest run --url http://127.0.0.1:8811/mcp --pid PID     64 connections, each calls and waits, for 10 s
//! weir-loadtest run --url … --rate 5000                           5000 calls a second, whatever the answers do
//! weir-loadtest overload | kill | many | plugins | tenants | reloads | streams | sessions
//! weir-loadtest upstream --port 3001                              an echo server that costs as little as possible
//! ```
//! Only loopback is ever loaded. Room by room: [`wire`] frames HTTP/1.1, [`message`] and [`call`] write requests and check
//! answers, [`mod@line`] is a client's connection, [`load`] keeps connections busy and measures, [`process`] asks Linux what that
//! cost the process under load, [`measurement`] is what a run found, [`upstream`] is the server at the other end, [`plugin`] a plugin, [`stand`]
//! starts gateways and servers, [`scenario`] does to them what hurts, [`compare`] puts them side by side.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool reports on its standard output"
)]

mod call;
mod compare;
mod failure;
mod line;
mod load;
mod measurement;
mod message;
mod plugin;
mod process;
mod run;
mod scenario;
mod stand;
mod target;
mod upstream;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// MCP load for weir and its peers. Only loopback addresses are accepted.
#[derive(Parser)]
#[command(name = "weir-loadtest", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Puts direct calls, nginx, weir and other gateways side by side and writes a report.
    Compare(compare::Arguments),
    /// Calls a tool from many connections at once: as fast as the answers come, or at a fixed rate.
    Run(run::Arguments),
    /// Offers four times what the gateway can do, and looks what becomes of it.
    Overload(scenario::overload::Arguments),
    /// Kills the servers behind the gateway again and again, under load.
    Kill(scenario::kill::Arguments),
    /// 200 servers, of which one hangs and one crashes again and again.
    Many(scenario::many::Arguments),
    /// 200 plugins, of which one crashes again and again; then one that every call needs is killed again and again.
    Plugins(scenario::plugins::Arguments),
    /// Tenants whose request ids are the same call at the same time; each checks that the answer is its own.
    Tenants(scenario::tenants::Arguments),
    /// Reloads the configuration again and again, under load; every tenth is invalid.
    Reloads(scenario::reloads::Arguments),
    /// Opens many streams of events and asks what each costs.
    Streams(scenario::streams::Arguments),
    /// Opens many legacy sessions and asks what each costs while idle.
    Sessions(scenario::sessions::Arguments),
    /// Serves an MCP echo server (both eras) on loopback; prints `upstream ready URL`.
    Upstream(upstream::Arguments),
    /// Is a plugin of any role: prints `PORT=<n>` and answers HTTP there.
    Plugin(plugin::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Overload(arguments) => scenario::overload::run(&arguments),
        Command::Kill(arguments) => scenario::kill::run(&arguments),
        Command::Many(arguments) => scenario::many::run(&arguments),
        Command::Plugins(arguments) => scenario::plugins::run(&arguments),
        Command::Tenants(arguments) => scenario::tenants::run(&arguments),
        Command::Reloads(arguments) => scenario::reloads::run(&arguments),
        Command::Streams(arguments) => scenario::streams::run(&arguments),
        Command::Sessions(arguments) => scenario::sessions::run(&arguments),
        Command::Upstream(arguments) => upstream::serve(&arguments).map(|()| true),
        Command::Plugin(arguments) => plugin::serve(&arguments).map(|()| true),
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
