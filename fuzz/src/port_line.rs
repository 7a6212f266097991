//! The first line of a plugin process: where the pipe cuts it makes no difference, and only one form is a port.

use bytes::Bytes;
use weir_actors::transport::port_line::{MAX_LINE_BYTES, PortLine, PortLineError, parse};

use crate::taker::{Taker, chunks};

/// The port and what came behind its line, or the text of the error.
type Said = Result<(u16, Bytes), String>;

/// See [`holds`].
pub fn run(data: &[u8]) {
    let mut taker = Taker::new(data);
    let lengths = taker.piece();
    holds(taker.rest(), lengths);
}

/// Whatever a process says and however it is cut: the port is the one of its first line, which is not longer than
/// allowed, and nothing behind the line is lost.
pub fn holds(said: &[u8], lengths: &[u8]) {
    let whole = read(&chunks(said, &[]));
    assert_eq!(read(&chunks(said, lengths)), whole, "cut at {lengths:?}");
    assert_eq!(read(&chunks(said, &[0])), whole, "cut at every byte");
    let (line, rest) = match said.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&said[..end], &said[end + 1..]),
        None => (said, &[][..]),
    };
    let port = plainly(line).filter(|_| line.len() <= MAX_LINE_BYTES);
    match (&whole, port) {
        (Ok((found, behind)), Some(port)) => {
            assert_eq!(*found, port);
            assert_eq!(behind, rest);
        }
        (Err(error), None) => assert!(error.len() < 1000 && !error.contains('\n'), "{error}"),
        (found, port) => panic!("{found:?}, and the line says {port:?}"),
    }
}

/// Hands over one piece after the other. What is left when the line is there comes behind it.
fn read(pieces: &[&[u8]]) -> Said {
    let mut line = PortLine::default();
    for (read, piece) in pieces.iter().enumerate() {
        if let Some((port, behind)) = line.push(piece).map_err(said)? {
            let rest = [&behind[..], &pieces[read + 1..].concat()].concat();
            return Ok((port, rest.into()));
        }
    }
    line.finish().map(|port| (port, Bytes::new())).map_err(said)
}

fn plainly(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.trim_ascii()).ok()?;
    let digits = text.strip_prefix("PORT=")?;
    let port = digits
        .bytes()
        .try_fold(0_u64, |number, digit| match digit {
            b'0'..=b'9' => Some((number * 10 + u64::from(digit - b'0')).min(1 << 20)),
            _ => None,
        })?;
    assert_eq!(
        parse(line).ok(),
        u16::try_from(port).ok().filter(|port| *port > 0)
    );
    u16::try_from(port).ok().filter(|port| *port > 0)
}

fn said(error: PortLineError) -> String {
    error.to_string()
}
