//! Event streams: where the network cuts them makes no difference, and they mean what the standard says.

use bytes::Bytes;
use weir_actors::upstream::sse::{SseEvent, SseParser};

use crate::taker::{Taker, chunks};

/// See [`holds`].
pub fn run(data: &[u8]) {
    let mut taker = Taker::new(data);
    let cap = match taker.byte() {
        0 => 16,
        byte => usize::from(byte) * 64,
    };
    let lengths = taker.piece();
    holds(taker.rest(), lengths, cap);
}

/// Whatever the stream is and wherever it is cut: it has the events of a plain reading of the standard, up to the first
/// that is longer than `cap`.
pub fn holds(stream: &[u8], lengths: &[u8], cap: usize) {
    let whole = read(&[stream], cap);
    assert_eq!(
        read(&chunks(stream, lengths), cap),
        whole,
        "cut at {lengths:?}"
    );
    assert_eq!(read(&chunks(stream, &[0]), cap), whole, "cut at every byte");
    let expected = plainly(stream);
    assert!(whole.0.len() <= expected.len());
    assert_eq!(whole.0, expected[..whole.0.len()]);
    if !whole.1 {
        assert_eq!(whole.0.len(), expected.len());
    }
    if cap >= stream.len() {
        assert!(!whole.1, "nothing is too large");
    }
    for event in &whole.0 {
        assert!(event.data.len() <= cap);
    }
}

/// The events before the first that is too large, and whether there is one.
fn read(chunks: &[&[u8]], cap: usize) -> (Vec<SseEvent>, bool) {
    let mut parser = SseParser::new(cap);
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = parser.next() {
            match event {
                Ok(event) => events.push(event),
                Err(_) => return (events, true),
            }
        }
    }
    (events, false)
}

/// Reads the lines one after the other, as the standard describes it; what has any field is an event.
fn plainly(stream: &[u8]) -> Vec<SseEvent> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut events = Vec::new();
    let (mut event, mut data, mut any) = (SseEvent::default(), Vec::new(), false);
    for line in lines(stream) {
        if line.is_empty() {
            let mut event = std::mem::take(&mut event);
            event.data = std::mem::take(&mut data).join(&b'\n').into();
            events.extend(std::mem::take(&mut any).then_some(event));
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = String::from_utf8_lossy(value);
        match name {
            b"data" => data.push(value),
            b"event" if matches!(&*text, "" | "message") => event.event = None,
            b"event" => event.event = Some(text.into()),
            b"id" if !value.contains(&0) => event.id = Some(text.into()),
            b"retry" => match text.parse() {
                Ok(number) if value.iter().all(u8::is_ascii_digit) => event.retry = Some(number),
                _ => continue,
            },
            _ => continue,
        }
        any = true;
    }
    events
}

/// The lines that are ended.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        lines.push(&rest[..end]);
        let is_pair = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(is_pair)..];
    }
    lines
}
