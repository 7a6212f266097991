//! The objects the gateway acts on: where their members are, and that each is there once and under its own name.

use std::borrow::Cow;
use std::collections::HashSet;

use super::level::{FIELDS, Level, VERSION_KEY};
use super::scan::{Flaw, Scanner, What};
use super::{Field, unquote};

/// A piece of a text, in bytes. Empty: not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Where each [`Field`] of a message is.
pub(super) type Spans = [Span; FIELDS];

/// What one message turned out to hold. Positions count from its opening brace.
pub(super) struct Envelope<'a> {
    pub(super) spans: Spans,
    /// The value of `jsonrpc`.
    pub(super) version: Span,
    /// The first thing that is well-formed but not acceptable. The scan goes on behind it: the id may still come.
    pub(super) fault: Option<Fault<'a>>,
    /// True if there are two ids, so that neither can be believed.
    pub(super) id_in_doubt: bool,
}

/// Something that is JSON but not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault<'a> {
    /// Bytes from the start of the whole text.
    pub(super) at: usize,
    pub(super) what: &'static str,
    pub(super) key: &'a str,
}

/// A scan of one message inside a text.
struct Reading<'s, 'a> {
    scanner: &'s mut Scanner<'a>,
    base: usize,
    envelope: Envelope<'a>,
}

/// The keys met in one object that are no fields.
#[derive(Default)]
struct Strangers<'a> {
    first: [&'a str; FEW],
    /// How many of `first` are taken.
    plain: usize,
    /// Those beyond the first, and those that are written with escapes, as they are meant.
    more: HashSet<Cow<'a, str>>,
    count: usize,
}

/// How many strangers an object may have before remembering them needs memory.
const FEW: usize = 6;
/// How many strangers an object that we act on may have at all.
const MOST: usize = 1024;

/// Reads the message that begins at the scanner's position with `{`, inside `open` other containers.
pub(super) fn read<'a>(scanner: &mut Scanner<'a>, open: u32) -> Result<Envelope<'a>, Flaw> {
    let envelope = Envelope {
        spans: [Span::default(); FIELDS],
        version: Span::default(),
        fault: None,
        id_in_doubt: false,
    };
    let base = scanner.at();
    let mut reading = Reading {
        scanner,
        base,
        envelope,
    };
    reading.object(Level::Top, open)?;
    Ok(reading.envelope)
}

// === impl Span ===

impl Span {
    pub(super) fn is_there(self) -> bool {
        self.end > self.start
    }

    pub(super) fn of(self, text: &str) -> Option<&str> {
        if self.is_there() {
            text.get(self.start as usize..self.end as usize)
        } else {
            None
        }
    }
}

/// An id that no number format can hold is JSON all the same: the message is what is wrong.
#[cold]
fn in_field(field: Field, flaw: Flaw) -> Flaw {
    let what = match (field, flaw.what) {
        (Field::Id, What::Range) => What::LargeId,
        (_, what) => what,
    };
    Flaw { what, ..flaw }
}

// === impl Reading ===

impl<'a> Reading<'_, 'a> {
    fn object(&mut self, level: Level, open: u32) -> Result<(), Flaw> {
        self.scanner.may_open(open)?;
        self.scanner.expect(b'{')?;
        self.scanner.blanks();
        if self.scanner.peek() == b'}' {
            self.scanner.step();
            return Ok(());
        }
        let mut strangers = Strangers::default();
        loop {
            let key_at = self.scanner.at();
            let (key, escaped) = self.scanner.key()?;
            if escaped {
                self.escaped_member(level, open, key, key_at, &mut strangers)?;
            } else if let Some(field) = level.field(key) {
                self.field(field, open, key, key_at)?;
            } else {
                self.stranger(level, open, key, Cow::Borrowed(key), key_at, &mut strangers)?;
            }
            self.scanner.blanks();
            match self.scanner.peek() {
                b',' => {
                    self.scanner.step();
                    self.scanner.blanks();
                }
                _ => return self.scanner.expect(b'}'),
            }
        }
    }

    fn field(&mut self, field: Field, open: u32, key: &'a str, key_at: usize) -> Result<(), Flaw> {
        let known = self.span(field).is_there();
        let start = self.scanner.at();
        match field.opens() {
            Some(inner) if !known && self.scanner.peek() == b'{' => self.object(inner, open + 1)?,
            _ => self
                .scanner
                .value(open + 1)
                .map_err(|flaw| in_field(field, flaw))?,
        }
        if known {
            self.id_in_doubt(field);
            self.fault(key_at, "duplicate key", key);
            return Ok(());
        }
        let span = self.span_from(start);
        if let Some(slot) = self.envelope.spans.get_mut(field.index()) {
            *slot = span;
        }
        Ok(())
    }

    fn stranger(
        &mut self,
        level: Level,
        open: u32,
        key: &'a str,
        meant: Cow<'a, str>,
        key_at: usize,
        strangers: &mut Strangers<'a>,
    ) -> Result<(), Flaw> {
        let start = self.scanner.at();
        self.scanner.value(open + 1)?;
        if level == Level::Top && meant == VERSION_KEY {
            if self.envelope.version.is_there() {
                self.fault(key_at, "duplicate key", key);
            }
            self.envelope.version = self.span_from(start);
            return Ok(());
        }
        if level.look_alike(&meant).is_some() {
            self.fault(key_at, "key differs from a known one by case only:", key);
        } else if let Err(what) = strangers.meet(meant) {
            self.fault(key_at, what, key);
        }
        Ok(())
    }

    /// A member whose key has escapes: it is what its unescaped key says.
    #[cold]
    fn escaped_member(
        &mut self,
        level: Level,
        open: u32,
        key: &'a str,
        key_at: usize,
        strangers: &mut Strangers<'a>,
    ) -> Result<(), Flaw> {
        let meant = unescape(key);
        match level.field(&meant) {
            Some(field) => self.field(field, open, key, key_at),
            None => self.stranger(level, open, key, Cow::Owned(meant), key_at, strangers),
        }
    }

    fn span(&self, field: Field) -> Span {
        self.envelope
            .spans
            .get(field.index())
            .copied()
            .unwrap_or_default()
    }

    fn span_from(&self, start: usize) -> Span {
        let here = |at: usize| u32::try_from(at - self.base).unwrap_or(u32::MAX);
        Span {
            start: here(start),
            end: here(self.scanner.at()),
        }
    }

    fn id_in_doubt(&mut self, field: Field) {
        self.envelope.id_in_doubt |= field == Field::Id;
    }

    #[cold]
    fn fault(&mut self, at: usize, what: &'static str, key: &'a str) {
        self.envelope.fault.get_or_insert(Fault { at, what, key });
    }
}

// === impl Strangers ===

impl<'a> Strangers<'a> {
    /// Remembers a key; says what is wrong if it was met before or is one too many.
    #[inline]
    fn meet(&mut self, key: Cow<'a, str>) -> Result<(), &'static str> {
        if self.count == MOST {
            return Err("more than 1024 unknown keys, the first beyond is");
        }
        let few = self.first.get(..self.plain).unwrap_or_default();
        if few.contains(&key.as_ref()) || (!self.more.is_empty() && self.more.contains(&key)) {
            return Err("duplicate key");
        }
        match (key, self.first.get_mut(self.plain)) {
            (Cow::Borrowed(plain), Some(slot)) => {
                *slot = plain;
                self.plain += 1;
            }
            (key, _) => {
                self.more.insert(key);
            }
        }
        self.count += 1;
        Ok(())
    }
}

fn unescape(key: &str) -> String {
    unquote(&format!("\"{key}\""))
        .unwrap_or_default()
        .into_owned()
}
