//! The first line of a plugin process: `PORT=<n>`, where it listens on the loopback.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::upstream::stdio::lines::printable;

/// How long a plugin may take until it says its port.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The longest first line, in bytes. Nothing near that length can be a port.
pub const MAX_LINE_BYTES: usize = 256;

/// How much is read at once: little more than the line is ever held.
const READ_BYTES: usize = 256;

/// How much of a first line an error repeats, in bytes.
const EXCERPT_BYTES: usize = 80;

/// A first line that says no port.
#[derive(Debug, Error)]
pub enum PortLineError {
    /// It is something else.
    #[error("the first line of the plugin's standard output is not PORT=<n> but: {0}")]
    NotAPort(String),
    /// What stands behind `PORT=` cannot be listened on.
    #[error("the plugin reported a port that is no number from 1 to 65535: {0}")]
    BadPort(String),
    /// It ended before it said anything.
    #[error("plugin closed stdout without reporting port")]
    Closed,
    /// It said nothing in time.
    #[error("the plugin did not report its port within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The pipe cannot be read.
    #[error("the plugin's standard output cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Takes the first line out of a stream, however that is cut into pieces. Holds at most [`MAX_LINE_BYTES`] and one piece.
#[derive(Debug, Default)]
pub struct PortLine {
    held: BytesMut,
}

// === impl PortLine ===

impl PortLine {
    /// Takes a piece. Returns the port, and what came behind the line, as soon as the line is there.
    ///
    /// # Errors
    /// The line says no port, or cannot do so any more.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<(u16, Bytes)>, PortLineError> {
        match memchr::memchr(b'\n', piece) {
            Some(end) => {
                let (line, rest) = piece.split_at(end);
                self.hold(line)?;
                let port = parse(&self.held)?;
                Ok(Some((
                    port,
                    Bytes::copy_from_slice(rest.get(1..).unwrap_or_default()),
                )))
            }
            None => self.hold(piece).map(|()| None),
        }
    }

    /// The stream has ended: what stands there is the line.
    ///
    /// # Errors
    /// The line says no port.
    pub fn finish(self) -> Result<u16, PortLineError> {
        match self.held.is_empty() {
            true => Err(PortLineError::Closed),
            false => parse(&self.held),
        }
    }

    fn hold(&mut self, piece: &[u8]) -> Result<(), PortLineError> {
        let room = MAX_LINE_BYTES - self.held.len();
        self.held
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
        match piece.len() > room {
            true => Err(PortLineError::NotAPort(excerpt(&self.held))),
            false => Ok(()),
        }
    }
}

/// Reads a first line without its end; white space around it means nothing.
///
/// # Errors
/// It says no port.
pub fn parse(line: &[u8]) -> Result<u16, PortLineError> {
    let line = line.trim_ascii();
    let Some(number) = line.strip_prefix(b"PORT=") else {
        return Err(PortLineError::NotAPort(excerpt(line)));
    };
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(number).ok().filter(|_| is_number);
    match text.and_then(|text| text.parse().ok()) {
        Some(port) if port > 0 => Ok(port),
        _ => Err(PortLineError::BadPort(excerpt(number))),
    }
}

/// Waits for the line at the front of a pipe. Returns the port, and what was read behind the line.
///
/// # Errors
/// There is no such line, or none within `patience`.
pub async fn read(
    pipe: &mut (impl AsyncRead + Unpin),
    patience: Duration,
) -> Result<(u16, Bytes), PortLineError> {
    let reading = async {
        let mut line = PortLine::default();
        let mut piece = BytesMut::with_capacity(READ_BYTES);
        loop {
            piece.clear();
            if pipe.read_buf(&mut piece).await? == 0 {
                return line.finish().map(|port| (port, Bytes::new()));
            }
            if let Some(found) = line.push(&piece)? {
                return Ok(found);
            }
        }
    };
    match timeout(patience, reading).await {
        Ok(read) => read,
        Err(_) => Err(PortLineError::Silent(patience)),
    }
}

fn excerpt(line: &[u8]) -> String {
    printable(line, EXCERPT_BYTES)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn a_line_is_a_port_or_one_of_two_errors() {
        for (line, port) in [("PORT=1", 1), ("PORT=65535", 65535), (" PORT=8080\r", 8080)] {
            assert_eq!(parse(line.as_bytes()).unwrap(), port, "{line}");
        }
        for line in [
            "", "port 80", "port=80", "PORT:80", "PORT =80", "xPORT=80", "80",
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(
                matches!(error, PortLineError::NotAPort(_)),
                "{line}: {error}"
            );
        }
        for line in [
            "PORT=",
            "PORT=abc",
            "PORT=0",
            "PORT=65536",
            "PORT=99999",
            "PORT=-1",
            "PORT=+1",
            "PORT= 80",
            "PORT=80 x",
            "PORT=1e3",
            "PORT=127.0.0.1:80",
            "PORT=http://evil.test:80",
            "PORT=\u{663}",
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(
                matches!(error, PortLineError::BadPort(_)),
                "{line}: {error}"
            );
        }
        let error = parse(b"PORT=\x1b[2J").unwrap_err().to_string();
        assert!(!error.contains('\x1b'), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_the_end_are_errors_of_their_own() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let error = read(&mut ours, PATIENCE).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the plugin did not report its port within 10 s"
        );
        drop(theirs);
        let error = read(&mut ours, PATIENCE).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "plugin closed stdout without reporting port"
        );
    }

    #[tokio::test]
    async fn noise_without_end_is_refused_after_a_line_of_it() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
        let noise = tokio::spawn(async move {
            let mut written = 0;
            while written < 1 << 20 && theirs.write_all(&[b'x'; 1024]).await.is_ok() {
                written += 1024;
            }
            let _ = theirs.write_all(b"\nPORT=80\n").await;
        });
        let error = read(&mut ours, PATIENCE).await.unwrap_err().to_string();
        assert!(
            error.contains("not PORT=<n> but: xxx") && error.len() < 200,
            "{error}"
        );
        drop(ours);
        noise.await.unwrap();
    }

    #[tokio::test]
    async fn what_comes_behind_the_line_is_not_lost() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(b"PORT=81\nhello\nworld").await.unwrap();
        let (port, rest) = read(&mut ours, PATIENCE).await.unwrap();
        assert_eq!((port, rest), (81, Bytes::from_static(b"hello\nworld")));
    }
}
