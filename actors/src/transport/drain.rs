//! What a plugin says besides its answers: read for ever, so that it never waits for a reader, and logged within bounds.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tracing::{debug, info, warn};

use crate::upstream::stdio::lines::{EXCERPT, Line, Lines, LogBudget, printable};

/// Lines logged per second and pipe. More are counted, and their number stands in the next line that is logged.
const LINES: u32 = 100;
const PERIOD: Duration = Duration::from_secs(1);

/// Words that a line begins with when somebody should look at it.
const ALARMS: [&str; 8] = [
    "error",
    "warn",
    "fatal",
    "critical",
    "panic",
    "exception",
    "traceback",
    "thread '",
];

/// The letters at the front of a line in which such a word is looked for: behind a time and a bracket, perhaps.
const FRONT_BYTES: usize = 64;

/// What has been said and how much of it may be logged.
#[derive(Debug)]
pub(super) struct Chatter {
    plugin: Arc<str>,
    stream: &'static str,
    budget: LogBudget,
}

/// Reads until the pipe ends. Of lines longer than 4 KiB the beginning is logged.
pub(super) async fn drain(pipe: impl AsyncRead + Unpin, plugin: Arc<str>, stream: &'static str) {
    let mut lines = Lines::new(pipe, EXCERPT);
    let mut chatter = Chatter::new(plugin.clone(), stream);
    loop {
        match lines.next().await {
            Ok(Some(Line::Whole(line) | Line::TooLong { head: line, .. })) => chatter.hear(&line),
            Ok(None) => return,
            Err(error) => {
                debug!(%plugin, stream, %error, "a pipe of the plugin cannot be read");
                return;
            }
        }
    }
}

// === impl Chatter ===

impl Chatter {
    pub(super) fn new(plugin: Arc<str>, stream: &'static str) -> Self {
        Self {
            plugin,
            stream,
            budget: LogBudget::new(LINES, PERIOD),
        }
    }

    /// Logs a line, if it is not one too many.
    pub(super) fn hear(&mut self, line: &[u8]) {
        let Some(suppressed) = self.budget.admit() else {
            return;
        };
        let (plugin, stream) = (&*self.plugin, self.stream);
        let text = printable(line, EXCERPT);
        match is_alarm(line) {
            true => {
                warn!(target: "weir::plugin", %plugin, stream, line = text, suppressed, "plugin says");
            }
            false => {
                info!(target: "weir::plugin", %plugin, stream, line = text, suppressed, "plugin says");
            }
        }
    }
}

fn is_alarm(line: &[u8]) -> bool {
    let front = line.get(..FRONT_BYTES).unwrap_or(line);
    ALARMS.iter().any(|alarm| {
        let mut places = front.windows(alarm.len()).enumerate();
        places.any(|(at, word)| {
            let before = at.checked_sub(1).and_then(|before| front.get(before));
            let begins = before.is_none_or(|before| !before.is_ascii_alphanumeric());
            begins && word.eq_ignore_ascii_case(alarm.as_bytes())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cries_is_heard() {
        for alarm in [
            "ERROR: no disk",
            "2026-01-01T00:00:00Z [warning] late",
            "Traceback (most recent call last):",
            "panic: runtime error",
            "thread 'main' panicked at src/main.rs",
        ] {
            assert!(is_alarm(alarm.as_bytes()), "{alarm}");
        }
        for calm in [
            "",
            "terrors",
            " * Running on http://127.0.0.1:1",
            "127.0.0.1 \"POST /call HTTP/1.1\" 200 -",
        ] {
            assert!(!is_alarm(calm.as_bytes()), "{calm}");
        }
        let far = format!("{}error", " ".repeat(FRONT_BYTES));
        assert!(!is_alarm(far.as_bytes()));
    }
}
