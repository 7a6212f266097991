//! Messages as lines, on threads of their own. Both threads end with their pipe, or with the process: nobody waits for
//! them.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tracing::debug;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// Small messages that wait together are written together.
const WRITE: usize = 64 * 1024;

/// How long a pipe is left alone that somebody else made non-blocking.
const PAUSE: Duration = Duration::from_millis(2);

/// A line of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end, and not empty.
    Whole(Bytes),
    /// Longer than allowed; it was skipped.
    TooLong,
}

/// Splits what comes into lines.
struct Splitter {
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    /// Whether the rest of a line that is too long is being skipped.
    skipping: bool,
    max_line: usize,
}

/// Reads standard input until it ends or nobody takes its lines.
pub(super) fn read(max_line: usize, lines: mpsc::Sender<Line>) -> io::Result<()> {
    let mut pipe = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let reader = thread::Builder::new().name("weir-stdin".to_owned());
    reader.spawn(move || {
        if let Err(error) = split(&mut pipe, max_line, |line| {
            lines.blocking_send(line).is_ok()
        }) {
            debug!(%error, "standard input ended");
        }
    })?;
    Ok(())
}

/// Writes messages to standard output, each as a line, until an empty one comes or nobody reads.
pub(super) fn write(messages: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let writer = thread::Builder::new().name("weir-stdout".to_owned());
    writer.spawn(move || {
        if let Err(error) = print(Patient(pipe), messages) {
            debug!(%error, "standard output ended");
        }
    })?;
    Ok(())
}

fn split(
    pipe: &mut impl Read,
    max_line: usize,
    mut take: impl FnMut(Line) -> bool,
) -> io::Result<()> {
    let mut splitter = Splitter::new(max_line);
    let mut chunk = vec![0; READ];
    loop {
        let count = match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(error),
        };
        splitter.add(chunk.get(..count).unwrap_or_default());
        while let Some(line) = splitter.next() {
            if !take(line) {
                return Ok(());
            }
        }
    }
    // What stands there without a line end is a line.
    if let Some(line) = splitter.rest() {
        take(line);
    }
    Ok(())
}

fn print(pipe: impl Write, mut messages: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut pipe = BufWriter::with_capacity(WRITE, pipe);
    loop {
        let message = match messages.try_recv() {
            Ok(message) => message,
            Err(_) => {
                pipe.flush()?;
                match messages.blocking_recv() {
                    Some(message) => message,
                    None => return Ok(()),
                }
            }
        };
        if message.is_empty() {
            return pipe.flush();
        }
        // A line break in JSON can only be white space.
        for part in message.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            match part.split_last() {
                Some((b'\n' | b'\r', part)) => {
                    pipe.write_all(part)?;
                    pipe.write_all(b" ")?;
                }
                _ => pipe.write_all(part)?,
            }
        }
        pipe.write_all(b"\n")?;
    }
}

// === impl Splitter ===

impl Splitter {
    fn new(max_line: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
            max_line,
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next line that is there whole, or known to be too long.
    fn next(&mut self) -> Option<Line> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(length) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                // A carriage return may be its end.
                if self.buffer.len() > self.max_line + 1 {
                    self.buffer.clear();
                    self.searched = 0;
                    if !std::mem::replace(&mut self.skipping, true) {
                        return Some(Line::TooLong);
                    }
                }
                return None;
            };
            let line = self.buffer.split_to(self.searched + length + 1);
            self.searched = 0;
            if let Some(line) = self.finish(line) {
                return Some(line);
            }
        }
    }

    fn rest(&mut self) -> Option<Line> {
        let line = self.buffer.split();
        self.finish(line)
    }

    fn finish(&mut self, line: BytesMut) -> Option<Line> {
        if std::mem::take(&mut self.skipping) {
            return None; // It was reported when it became too long.
        }
        let line = line.freeze();
        let text = line.trim_ascii();
        match text.len() {
            0 => None,
            length if length > self.max_line => Some(Line::TooLong),
            _ => Some(Line::Whole(line.slice_ref(text))),
        }
    }
}

/// A pipe that blocks, also if somebody else has made it non-blocking.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &str, max_line: usize) -> Vec<String> {
        let mut lines = Vec::new();
        split(&mut text.as_bytes(), max_line, |line| {
            lines.push(match line {
                Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                Line::TooLong => "too long".to_owned(),
            });
            true
        })
        .unwrap();
        lines
    }

    #[test]
    fn lines_end_in_any_way() {
        assert_eq!(lines_of("a\r\n\n  \nb\nc", 10), ["a", "b", "c"]);
        assert!(lines_of("", 10).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_once_and_skipped() {
        let long = "x".repeat(READ * 2);
        assert_eq!(
            lines_of(&format!("1234567890\n{long}\nb\n"), 10),
            ["1234567890", "too long", "b"]
        );
        assert_eq!(lines_of("12345678901\nb", 10), ["too long", "b"]);
        assert_eq!(lines_of(&long, 10), ["too long"]);
    }

    #[test]
    fn a_message_is_one_line() {
        let (sender, receiver) = mpsc::channel(4);
        for message in [&b"{\n\"a\":1}"[..], b"{}", b"", b"after the end"] {
            sender.try_send(Bytes::from_static(message)).unwrap();
        }
        let mut out = Vec::new();
        print(&mut out, receiver).unwrap();
        assert_eq!(out, b"{ \"a\":1}\n{}\n");
    }
}
