//! What the gateway says of itself: log lines on standard error, and panics as log lines.

use std::fmt;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatEvent, FormatFields};

use crate::config::{LogConfig, LogFormat};

/// What says too much of itself at `info`; a configured level for the same module wins.
const QUIET: &str = "actix_server=warn,actix_http=off";

/// Puts another filter in the place of the one that logging was started with.
type Adjust = Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>;

/// Logging is the process's, and so is this.
static ADJUST: OnceLock<Adjust> = OnceLock::new();

/// Starts logging. The first call of a process counts; later ones change nothing.
pub fn start(config: &LogConfig) {
    let filter = filter(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let text = match config.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that nobody is there to read is dropped; complaining about it on standard error would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let (started, adjust): (_, Adjust) = if text {
        let format = Plain(tracing_subscriber::fmt::format().compact().with_ansi(false));
        let builder = builder.with_ansi(false).event_format(format);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        let adjust = Box::new(move |filter| handle.reload(filter));
        (builder.try_init(), adjust)
    } else {
        let builder = builder.json().flatten_event(true);
        let builder = builder.with_current_span(false).with_span_list(false);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        let adjust = Box::new(move |filter| handle.reload(filter));
        (builder.try_init(), adjust)
    };
    if started.is_ok() {
        let _first = ADJUST.set(adjust);
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// Logs at another level from now on. Without effect before [`start`].
///
/// # Errors
/// What is wrong with the level.
pub fn adjust(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    match ADJUST.get() {
        Some(adjust) => adjust(filter).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// Reads a level or a list of `module=level`.
///
/// # Errors
/// What is wrong with it.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    let words = ["off", "error", "warn", "info", "debug", "trace"];
    let bare = |directive: &str| words.contains(&directive.to_ascii_lowercase().as_str());
    if level.trim().is_empty() {
        return Err("the level is empty".to_owned());
    }
    if let Some(unknown) = level
        .split(',')
        .map(str::trim)
        .find(|directive| !directive.contains(['=', '[']) && !bare(directive))
    {
        return Err(format!("{unknown:?} is not a level"));
    }
    EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|error| format!("{level:?} is not a filter: {error}"))
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        panic = message.unwrap_or("(no text)"),
        place,
        thread = thread.name().unwrap_or("unnamed"),
        "a part panicked"
    );
}

/// Lines for people: whatever a field contains, a line stays one line and cannot move the cursor.
struct Plain<F>(F);

impl<S, N, F> FormatEvent<S, N> for Plain<F>
where
    S: tracing::Subscriber + for<'lookup> tracing_subscriber::registry::LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&escaped(line.trim_end_matches('\n')))?;
        writer.write_str("\n")
    }
}

/// Writes control characters as escapes.
fn escaped(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.contains(char::is_control) {
        return line.into();
    }
    let mut text = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(escaped("plain é"), "plain é");
        assert_eq!(escaped("a\nb\u{1b}[2Jc\u{9b}"), "a\\nb\\u{1b}[2Jc\\u{9b}");
    }

    #[test]
    fn filters_are_checked() {
        for level in ["info", "warn,weir=debug", "DEBUG", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["", "loud", "info,verbose", "weir=loud"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }
}
