//! The task that drains what the process writes to its standard error, for ever, into the log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;

use super::lines::{Line, Lines, LogBudget, printable};
use super::link::Shared;

/// The longest line that is logged, in bytes; longer ones are cut.
const MAX_LINE: usize = 4 * 1024;

/// Lines logged per second and server; more are counted and not logged.
const LINES: u32 = 100;
const PERIOD: Duration = Duration::from_secs(1);

/// Reads until the process closes its standard error.
pub(super) async fn drain(pipe: impl AsyncRead + Unpin, shared: Arc<Shared>) -> io::Result<()> {
    let mut lines = Lines::new(pipe, MAX_LINE);
    let mut budget = LogBudget::new(LINES, PERIOD);
    let server = &*shared.spec.server;
    while let Some(line) = lines.next().await? {
        let text = match &line {
            Line::Whole(text) | Line::TooLong { head: text, .. } => text,
        };
        match budget.admit() {
            Some(suppressed) => {
                let line = printable(text, MAX_LINE);
                tracing::info!(target: "weir::upstream", %server, line, suppressed, "server says");
            }
            None => shared.counters.unlogged_lines.count(),
        }
    }
    Ok(())
}
