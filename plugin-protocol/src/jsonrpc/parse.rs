//! From a body to messages.

use bytes::Bytes;
use bytestring::ByteString;

use super::envelope::{self, Envelope};
use super::scan::{Flaw, Scanner, What};
use super::{Limits, Message, ParseError};

/// The content of a request body.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly always one message, and a box for it would be an allocation each"
)]
pub enum Payload {
    /// One message.
    Single(Message),
    /// An array of at least one and at most 100 messages; all share the bytes of the body.
    Batch(Vec<Message>),
}

/// The most messages a batch may hold.
const BATCH_MESSAGES: usize = 100;

/// Reads a body: a message or a batch.
///
/// Checks the whole text: JSON, UTF-8, the nesting depth, the id, and that no key stands twice, or in another case than
/// it should, in the objects that the gateway acts on (the message, `params`, `params._meta`, `result`, `result._meta`,
/// `error`). Deeper objects are not looked at.
///
/// # Errors
/// `-32700` if it is not JSON, `-32600` if it is not a message or not an acceptable one.
pub fn parse(body: Bytes, limits: &Limits) -> Result<Payload, ParseError> {
    let text = text_of(body)?;
    let mut scanner = Scanner::new(&text, limits.depth);
    scanner.blanks();
    if scanner.peek() == b'[' {
        return batch(&text, scanner, limits).map(Payload::Batch);
    }
    single(&text, scanner, limits).map(Payload::Single)
}

// === impl Message ===

impl Message {
    /// Reads a single message: a line of a child process, the data of an event, the body of an answer.
    ///
    /// # Errors
    /// As [`parse`]; a batch is refused with `-32600`.
    pub fn parse(body: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        let text = text_of(body)?;
        let mut scanner = Scanner::new(&text, limits.depth);
        scanner.blanks();
        single(&text, scanner, limits)
    }
}

fn text_of(body: Bytes) -> Result<ByteString, ParseError> {
    if u32::try_from(body.len()).is_err() {
        return Err(ParseError::not_a_message(0, "message of 4 GiB or more"));
    }
    if body.starts_with(b"\xEF\xBB\xBF") {
        return Err(ParseError::not_json(0, "byte order mark"));
    }
    ByteString::try_from(body)
        .map_err(|error| ParseError::not_json(error.valid_up_to(), "invalid UTF-8"))
}

fn single(
    text: &ByteString,
    mut scanner: Scanner<'_>,
    limits: &Limits,
) -> Result<Message, ParseError> {
    let start = scanner.at();
    if scanner.peek() != b'{' {
        return Err(not_an_object(scanner, start));
    }
    let envelope = envelope::read(&mut scanner, 0).map_err(|flaw| flawed(flaw, text))?;
    let end = scanner.at();
    finish(&mut scanner).map_err(|flaw| flawed(flaw, text))?;
    message(text, envelope, start, end, limits)
}

fn batch(
    text: &ByteString,
    mut scanner: Scanner<'_>,
    limits: &Limits,
) -> Result<Vec<Message>, ParseError> {
    let mut messages = Vec::new();
    // The first element that is no acceptable message. The rest must still be JSON.
    let mut refused = None;
    let mut count = 0;
    let start = scanner.at();
    scanner.step();
    scanner.blanks();
    if scanner.peek() == b']' {
        refused = Some(ParseError::not_a_message(start, "empty batch"));
        scanner.step();
    } else {
        loop {
            count += 1;
            let at = scanner.at();
            if count > BATCH_MESSAGES {
                refused.get_or_insert_with(|| {
                    ParseError::not_a_message(at, "batch of more than 100 messages")
                });
            }
            if scanner.peek() == b'{' && refused.is_none() {
                let envelope =
                    envelope::read(&mut scanner, 1).map_err(|flaw| flawed(flaw, text))?;
                match message(text, envelope, at, scanner.at(), limits) {
                    Ok(message) => messages.push(message),
                    Err(error) => refused = Some(ParseError { id: None, ..error }),
                }
            } else {
                let is_object = scanner.peek() == b'{';
                scanner.value(1).map_err(|flaw| flawed(flaw, text))?;
                if !is_object {
                    refused.get_or_insert_with(|| {
                        ParseError::not_a_message(at, "element of a batch is no object")
                    });
                }
            }
            scanner.blanks();
            if scanner.peek() != b',' {
                break;
            }
            scanner.step();
            scanner.blanks();
        }
        scanner.expect(b']').map_err(|flaw| flawed(flaw, text))?;
    }
    finish(&mut scanner).map_err(|flaw| flawed(flaw, text))?;
    match refused {
        Some(error) => Err(error),
        None => Ok(messages),
    }
}

fn message(
    text: &ByteString,
    envelope: Envelope<'_>,
    start: usize,
    end: usize,
    limits: &Limits,
) -> Result<Message, ParseError> {
    let own = if end - start == text.len() {
        text.clone()
    } else {
        text.slice_ref(text.get(start..end).unwrap_or_default())
    };
    Message::judge(own, envelope, start, limits).map_err(|error| *error)
}

/// Only blanks may follow.
fn finish(scanner: &mut Scanner<'_>) -> Result<(), Flaw> {
    scanner.blanks();
    if scanner.finished() {
        Ok(())
    } else {
        Err(scanner.flaw(What::Unexpected))
    }
}

fn not_an_object(mut scanner: Scanner<'_>, start: usize) -> ParseError {
    let is_array = scanner.peek() == b'[';
    match scanner.value(0).and_then(|()| finish(&mut scanner)) {
        Err(flaw) => flawed(flaw, scanner.text()),
        Ok(()) if is_array => {
            ParseError::not_a_message(start, "batch where one message is expected")
        }
        Ok(()) => ParseError::not_a_message(start, "value that is no object"),
    }
}

#[cold]
fn flawed(flaw: Flaw, text: &str) -> ParseError {
    let offset = flaw.at as usize;
    match flaw.what {
        What::TooDeep | What::LargeId => ParseError::not_a_message(offset, flaw.what.text()),
        What::Unexpected if offset >= text.len() => ParseError::not_json(offset, "unexpected end"),
        what => ParseError::not_json(offset, what.text()),
    }
}
