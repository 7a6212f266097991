//! The server at the other end: one tool, `echo`, in both eras, at the least cost that still reads every request properly.
//! It can be told to be slow, to hang, to crash, to answer much, and to mix answers up.

mod answer;
mod behaviour;
mod http;
mod stdio;

use std::sync::Arc;

pub(crate) use self::behaviour::Behaviour;

/// The command line.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// The port; 0 picks one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads, each with its own connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Speaks over its standard input and output instead of HTTP.
    #[arg(long, conflicts_with_all = ["port", "threads", "streams"])]
    stdio: bool,
    /// Answers requests for streams of events (GET, `subscriptions/listen`) and keeps them open.
    #[arg(long)]
    streams: bool,
    /// Ends when its standard input does, so that it does not outlive who started it.
    #[arg(long, conflicts_with = "stdio")]
    leash: bool,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// Serves until killed, or until its input ends.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), String> {
    let state = Arc::new(behaviour::State::new(arguments.behaviour.clone()));
    state.crash_in_time();
    if arguments.leash {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    if arguments.stdio {
        stdio::serve(&state)
    } else {
        http::serve(arguments.port, arguments.threads, arguments.streams, &state)
    }
}
