//! Server-sent events, parsed as they arrive.
//!
//! The format is the one of the [HTML standard](https://html.spec.whatwg.org/multipage/server-sent-events.html). The
//! parser first looks for the blank line that ends an event, wherever the chunks are cut, and reads the fields of the
//! whole event then: an event that came in one chunk is a slice of it.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use thiserror::Error;

/// One event of a stream.
///
/// Unlike a browser, the parser also hands out events without data: MCP primes a stream with an event that only has an
/// id, and announces a deliberate close with one that only has `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The type; `None` for the default type (absent, empty or `message`).
    pub event: Option<Box<str>>,
    /// The id, if the event set one; the empty id resets the last id.
    pub id: Option<Box<str>>,
    /// The reconnection time in milliseconds, if the event set one.
    pub retry: Option<u64>,
    /// The data; several `data` lines are joined with a line feed. A single one is not copied if it came in one chunk.
    pub data: Bytes,
}

/// An incremental parser: [`push`](Self::push) what arrived, then take events with [`next`](Self::next) until there
/// is none. An event that is not ended when the stream ends is discarded, as the standard wants it.
#[derive(Debug)]
pub struct SseParser {
    /// What arrived and was not looked at.
    chunk: Bytes,
    /// The beginning of an event whose end is not there yet.
    partial: BytesMut,
    boundary: Boundary,
    at_start: bool,
    cap: usize,
}

/// An event is longer than the parser was told to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an event is longer than {cap} bytes")]
pub struct EventTooLarge {
    cap: usize,
}

/// Where the search for the blank line stands.
#[derive(Clone, Copy, Debug)]
struct Boundary {
    /// No byte of the current line was seen yet.
    line_is_empty: bool,
    /// The last line ended with a carriage return; a line feed that follows belongs to it.
    after_return: bool,
}

// === impl SseParser ===

impl SseParser {
    /// A parser for one stream; an event (all its lines with comments) may have `cap` bytes.
    pub fn new(cap: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            boundary: Boundary {
                line_is_empty: true,
                after_return: false,
            },
            at_start: true,
            cap,
        }
    }

    /// Takes what arrived. The events before it must have been taken out, else they are joined by a copy.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
            return;
        }
        let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
        joined.extend_from_slice(&self.chunk);
        joined.extend_from_slice(&chunk);
        self.chunk = joined.freeze();
    }

    /// The next complete event; `None` until more arrives. After an error the stream cannot be continued.
    #[expect(
        clippy::should_implement_trait,
        reason = "None is not the end, more may be pushed"
    )]
    pub fn next(&mut self) -> Option<Result<SseEvent, EventTooLarge>> {
        loop {
            let end = self.boundary.find(&self.chunk);
            let length = end.unwrap_or(self.chunk.len());
            if self.partial.len() + length > self.cap {
                return Some(Err(EventTooLarge { cap: self.cap }));
            }
            let piece = self.chunk.split_to(length);
            if end.is_none() {
                self.partial.extend_from_slice(&piece);
                return None;
            }
            let mut block = piece;
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(&block);
                block = self.partial.split().freeze();
            }
            if std::mem::take(&mut self.at_start) && block.starts_with(b"\xEF\xBB\xBF") {
                block.advance(3);
            }
            if let Some(event) = read_event(&block) {
                return Some(Ok(event));
            }
        }
    }
}

// === impl Boundary ===

impl Boundary {
    /// The length up to and with the end of the blank line that ends the event, if it is in `chunk`.
    fn find(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut position = 0;
        while let Some(&byte) = chunk.get(position) {
            let continues_line_end = std::mem::take(&mut self.after_return) && byte == b'\n';
            if continues_line_end {
                position += 1;
                continue;
            }
            if byte != b'\n' && byte != b'\r' {
                self.line_is_empty = false;
                let rest = chunk.get(position..).unwrap_or_default();
                position += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                continue;
            }
            position += 1;
            self.after_return = byte == b'\r';
            if std::mem::replace(&mut self.line_is_empty, true) {
                return Some(position);
            }
        }
        None
    }
}

// === fields ===

/// Reads the lines of one event; `None` if there was no field at all.
fn read_event(block: &Bytes) -> Option<SseEvent> {
    let mut event = SseEvent::default();
    let mut any = false;
    let mut data: Option<Bytes> = None;
    let mut more_data: Option<BytesMut> = None;

    let mut rest: &[u8] = block;
    while !rest.is_empty() {
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after.get(1..).unwrap_or_default();
        let (name, value) = field(line);
        match name {
            b"data" => match (&data, &mut more_data) {
                (None, _) => data = Some(block.slice_ref(value)),
                (Some(first), None) => {
                    let mut joined = BytesMut::with_capacity(block.len());
                    joined.extend_from_slice(first);
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(value);
                    more_data = Some(joined);
                }
                (Some(_), Some(joined)) => {
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(value);
                }
            },
            b"event" if value.is_empty() || value == b"message" => event.event = None,
            b"event" => event.event = Some(text(value)),
            b"id" if memchr(0, value).is_none() => event.id = Some(text(value)),
            b"retry" => match number(value) {
                Some(milliseconds) => event.retry = Some(milliseconds),
                None => continue,
            },
            _ => continue,
        }
        any = true;
    }
    event.data = more_data.map(BytesMut::freeze).or(data).unwrap_or_default();
    any.then_some(event)
}

/// Splits a line into the name and the value of the field; a comment has the empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some((name, value)) = memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
    else {
        return (line, line.split_at(line.len()).1);
    };
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

fn text(value: &[u8]) -> Box<str> {
    String::from_utf8_lossy(value).into()
}

/// ASCII digits only; a number that is too large counts as absent.
fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: usize = 4096;

    fn drain(parser: &mut SseParser) -> Vec<SseEvent> {
        std::iter::from_fn(|| parser.next())
            .map(|event| event.unwrap())
            .collect()
    }

    fn parse(stream: &[u8]) -> Vec<SseEvent> {
        let mut parser = SseParser::new(CAP);
        parser.push(Bytes::copy_from_slice(stream));
        drain(&mut parser)
    }

    fn data(text: &str) -> SseEvent {
        SseEvent {
            data: Bytes::copy_from_slice(text.as_bytes()),
            ..SseEvent::default()
        }
    }

    /// The standard, read literally: the whole text, line by line.
    fn model(stream: &[u8]) -> Vec<SseEvent> {
        let text = String::from_utf8(stream.to_vec()).unwrap();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut events = Vec::new();
        let mut lines: Vec<&str> = text.split('\n').collect();
        lines.pop();
        let (mut event, mut any, mut datas) = (SseEvent::default(), false, Vec::new());
        for line in lines {
            if line.is_empty() {
                event.data = Bytes::from(datas.join("\n"));
                if any {
                    events.push(event);
                }
                (event, any, datas) = (SseEvent::default(), false, Vec::new());
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "data" => datas.push(value),
                "event" => {
                    event.event = Some(value)
                        .filter(|name| !["", "message"].contains(name))
                        .map(Into::into);
                }
                "id" if !value.contains('\0') => event.id = Some(value.into()),
                "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                    event.retry = Some(value.parse().unwrap());
                }
                _ => continue,
            }
            any = true;
        }
        events
    }

    #[test]
    fn reads_fields_and_line_ends() {
        assert_eq!(parse(b"data: a\n\n"), [data("a")]);
        assert_eq!(
            parse(b"data:a\r\rdata:b\r\n\r\ndata: c\n\r\n"),
            [data("a"), data("b"), data("c")]
        );
        assert_eq!(parse(b"data: a\ndata:\ndata:  b\n\n"), [data("a\n\n b")]);
        assert_eq!(parse(b"\xEF\xBB\xBFdata: a\n\n"), [data("a")]);
        assert_eq!(parse(b"data: a\n\n\xEF\xBB\xBFdata: b\n\n"), [data("a")]);
        assert_eq!(
            parse(b": ping\n\n:\n\nfoo: bar\n\ndata: a\n\n"),
            [data("a")]
        );
        assert_eq!(parse(b"data\n\n"), [data("")]);
        assert_eq!(parse(b"event: message\ndata: a\n\n"), [data("a")]);
        assert_eq!(parse(b"data: unfinished\n"), []);
        assert_eq!(parse(b"retry: -1\nretry: 99999999999999999999\n\n"), []);
        let full = SseEvent {
            event: Some("endpoint".into()),
            id: Some("7".into()),
            retry: Some(1500),
            data: Bytes::from_static(b"/m"),
        };
        assert_eq!(
            parse(b"event: endpoint\nid:7\nid: a\0b\nretry: 1500\ndata: /m\n\n"),
            [full]
        );
        let primed = SseEvent {
            id: Some("".into()),
            ..SseEvent::default()
        };
        assert_eq!(parse(b"id\ndata\n\n"), [primed]);
    }

    #[test]
    fn hands_out_a_slice_of_the_chunk() {
        let chunk = Bytes::from_static(b"data: abc\n\n");
        let mut parser = SseParser::new(CAP);
        parser.push(chunk.clone());
        let event = parser.next().unwrap().unwrap();
        assert_eq!(event.data.as_ptr(), chunk[6..].as_ptr());
    }

    #[test]
    fn refuses_an_endless_event() {
        let mut parser = SseParser::new(16);
        parser.push(Bytes::from_static(b"data: 0123456789"));
        assert_eq!(parser.next(), None);
        parser.push(Bytes::from_static(b"x"));
        assert_eq!(parser.next(), Some(Err(EventTooLarge { cap: 16 })));

        let mut parser = SseParser::new(16);
        parser.push(Bytes::from_static(
            b"data: 0123\n\ndata: 0123456789abcdef\n\n",
        ));
        assert_eq!(parser.next(), Some(Ok(data("0123"))));
        assert_eq!(parser.next(), Some(Err(EventTooLarge { cap: 16 })));
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "\u{feff}",
            "data",
            "data:",
            "data: ",
            "event: x",
            "event: message",
            "id: 1",
            "id:",
            "retry: 5",
            "retry:x",
            ":",
            ": ping",
            "\n",
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            "\r\r",
            "\r\n\r\n",
            " ",
            "é",
            "{\"a\":1}",
            "\0",
            "unknown: y",
        ]);
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard(stream in streams()) {
            prop_assert_eq!(parse(&stream), model(&stream));
        }

        #[test]
        fn does_not_care_where_chunks_are_cut(stream in streams(), cuts in prop::collection::vec(0usize..200, 0..12)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut parser = SseParser::new(CAP);
            let mut events = Vec::new();
            for cut in cuts.windows(2) {
                parser.push(Bytes::copy_from_slice(&stream[cut[0]..cut[1]]));
                events.extend(drain(&mut parser));
            }
            prop_assert_eq!(events, parse(&stream));
        }

        #[test]
        fn survives_anything(stream in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(&stream);
        }
    }
}
