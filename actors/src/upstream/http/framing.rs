//! Where the body of an answer ends (RFC 9112, sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};

use super::error::HttpError;
use super::head::unusable;

/// The longest size line of a chunk, extensions included, and the longest trailer line, in bytes.
const MAX_LINE_BYTES: usize = 4096;

/// The most bytes of all trailer lines together.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// Pieces up to this size are copied out, so that the connection keeps its buffer; larger ones take it with them.
const COPIED_BYTES: usize = 16 * 1024;

/// What remains of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes.
    Length(u64),
    /// Everything until the connection ends.
    UntilClosed,
    /// Chunks.
    Chunked(Chunk),
}

/// Where the reading of chunks stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Before a size line.
    Size,
    /// Within the data of a chunk: this much remains.
    Data(u64),
    /// Before the line end that follows the data.
    DataEnd,
    /// In the trailers, of which this much was read.
    Trailers(usize),
    /// Behind everything.
    Done,
}

// === impl Framing ===

impl Framing {
    /// A body in chunks, at its beginning.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// True when nothing remains.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// The bytes that remain at least.
    pub(super) fn at_least(&self) -> u64 {
        match self {
            Self::Length(length) | Self::Chunked(Chunk::Data(length)) => *length,
            Self::UntilClosed | Self::Chunked(_) => 0,
        }
    }

    /// Takes the next piece of the body out of `buffer`; nothing if that needs more bytes or the body is done.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, HttpError> {
        match self {
            Self::Length(left) => Ok(piece(buffer, left)),
            Self::UntilClosed => {
                let mut everything = u64::MAX;
                Ok(piece(buffer, &mut everything))
            }
            Self::Chunked(chunk) => chunk.take(buffer),
        }
    }
}

// === impl Chunk ===

impl Chunk {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, HttpError> {
        loop {
            match self {
                Self::Data(left) => {
                    let piece = piece(buffer, left);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    if piece.is_some() || *self != Self::DataEnd {
                        return Ok(piece);
                    }
                }
                Self::DataEnd => match line(buffer)? {
                    Some(0) => {
                        buffer.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(unusable("a chunk is longer than its size")),
                    None => return Ok(None),
                },
                Self::Size => {
                    let Some(length) = line(buffer)? else {
                        return Ok(None);
                    };
                    let size = size(buffer.get(..length).unwrap_or_default())
                        .ok_or_else(|| unusable("malformed chunk size"))?;
                    buffer.advance(length + 2);
                    *self = match size {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    };
                }
                Self::Trailers(read) => match line(buffer)? {
                    Some(0) => {
                        buffer.advance(2);
                        *self = Self::Done;
                    }
                    Some(length) if *read + length <= MAX_TRAILER_BYTES => {
                        *read += length;
                        buffer.advance(length + 2);
                    }
                    Some(_) => return Err(unusable("too many trailers")),
                    None => return Ok(None),
                },
                Self::Done => return Ok(None),
            }
        }
    }
}

/// Takes what is there, but no more than `left`.
fn piece(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    if length == 0 {
        return None;
    }
    *left -= length as u64;
    if length > COPIED_BYTES {
        return Some(buffer.split_to(length).freeze());
    }
    let copy = Bytes::copy_from_slice(buffer.get(..length)?);
    buffer.advance(length);
    Some(copy)
}

/// The length of the line at the front, without its end; nothing if its end is not there yet.
fn line(buffer: &BytesMut) -> Result<Option<usize>, HttpError> {
    let window = buffer.get(..MAX_LINE_BYTES).unwrap_or(buffer);
    match memchr::memchr(b'\n', window) {
        Some(end) => match end.checked_sub(1) {
            Some(length) if buffer.get(length) == Some(&b'\r') => Ok(Some(length)),
            _ => Err(unusable("a line of a chunked body without CR LF")),
        },
        None if buffer.len() < MAX_LINE_BYTES => Ok(None),
        None => Err(unusable("a line of a chunked body is too long")),
    }
}

/// The number at the begin of a size line; extensions mean nothing to us.
fn size(line: &[u8]) -> Option<u64> {
    let number = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let is_number =
        !number.is_empty() && number.len() <= 16 && number.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(number).ok().filter(|_| is_number)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body that arrives in pieces of these sizes.
    fn read(text: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, bool), ()> {
        let mut framing = Framing::chunked();
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        let mut rest = text;
        let mut sizes = sizes.iter().copied().cycle();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            let (now, later) = rest.split_at(size);
            buffer.extend_from_slice(now);
            rest = later;
            while let Some(piece) = framing.take(&mut buffer).map_err(|_| ())? {
                body.extend_from_slice(&piece);
            }
        }
        Ok((body, framing.is_done()))
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in [
            "x\r\n",
            "\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "11111111111111111\r\n",
            "1 1\r\n",
            "1\r\na\n",
        ] {
            assert_eq!(read(text.as_bytes(), &[usize::MAX]), Err(()), "{text:?}");
        }
        let long = format!("1;{}\r\n", "x".repeat(MAX_LINE_BYTES));
        assert_eq!(read(long.as_bytes(), &[usize::MAX]), Err(()));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILER_BYTES));
        assert_eq!(read(trailers.as_bytes(), &[usize::MAX]), Err(()));
    }

    #[test]
    fn extensions_and_trailers_are_read_over() {
        let text = b"3;a=b\r\nabc\r\n2 ;c\r\nde\r\n0\r\nx-t: 1\r\n\r\n";
        assert_eq!(read(text, &[usize::MAX]), Ok((b"abcde".to_vec(), true)));
    }

    proptest! {
        #[test]
        fn wherever_it_is_cut_it_is_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40_000), 0..4),
            sizes in prop::collection::vec(1_usize..30_000, 1..5),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read(&text, &sizes), Ok((chunks.concat(), true)));
        }
    }
}
