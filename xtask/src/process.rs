//! Running other programs, with a bound on their time.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The cargo that runs us, with arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// A program that is killed, with what it started, after `limit`. On a terminal Ctrl-C still reaches it.
pub(crate) fn bounded(limit: Duration, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    if std::io::stdin().is_terminal() {
        command.arg("--foreground");
    }
    command
        .arg("--kill-after=10")
        .arg(limit.as_secs().to_string())
        .arg(program)
        .args(arguments);
    command
}

/// Runs a program with our own output; an error says how it ended.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", name(&command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", name(&command)))
    }
}

/// Runs a program and hands each line of its standard output to `line`, which may print it.
pub(crate) fn lines(mut command: Command, mut line: impl FnMut(&str)) -> Result<(), String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", name(&command)))?;
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).split(b'\n') {
            line(&String::from_utf8_lossy(
                &text.map_err(|error| error.to_string())?,
            ));
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", name(&command)))
    }
}

/// Runs a program and returns its standard output.
pub(crate) fn output(mut command: Command) -> Result<String, String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", name(&command)))?;
    if !output.status.success() {
        return Err(format!("{}: {}", name(&command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// True if the program runs and says it is well.
pub(crate) fn works(program: impl AsRef<Path>, arguments: &[&str]) -> bool {
    Command::new(program.as_ref())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .take(6)
        .collect::<Vec<_>>()
        .join(" ")
}
