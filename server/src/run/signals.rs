//! When the process is asked to stop, or to open its files again.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, from the moment of [`Signals::listen`]: none is lost between two calls of
/// [`Signals::next`].
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether somebody sits before it.
    on_terminal: bool,
}

/// What the process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To stop, by the signal of this name.
    Stop(&'static str),
    /// To open its files again (SIGHUP).
    Reopen,
}

// === impl Signals ===

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            on_terminal: io::stdin().is_terminal(),
        })
    }

    /// Waits for the next signal. SIGHUP asks to stop if it comes because the terminal is gone.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hangup.recv() => if self.on_terminal && !io::stdin().is_terminal() {
                Asked::Stop("SIGHUP")
            } else {
                Asked::Reopen
            },
        }
    }
}
