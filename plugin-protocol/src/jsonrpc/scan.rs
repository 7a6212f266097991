//! The grammar of JSON (RFC 8259), checked in one pass without recursion and without allocating.
//!
//! The text is valid UTF-8 before the scan starts. Strings are searched eight bytes at a time.

/// A position in a text and why the text ends to make sense there. Small, so that results travel in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) at: u32,
    pub(super) what: What,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum What {
    Unexpected,
    Control,
    Escape,
    Surrogate,
    Number,
    Range,
    LargeId,
    TooDeep,
}

/// Reads a text from left to right. Every method leaves `at` behind what it read.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

/// Digits that any number format can hold; longer numbers are looked at.
const SHORT_NUMBER: usize = 300;
/// The longest number that is carried.
const LONGEST_NUMBER: usize = 1024;

const LOW_BITS: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// How deep the scanner can count: one bit for each open object or array.
pub(super) const MAX_DEPTH: usize = 64;

// === impl What ===

impl What {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected character",
            Self::Control => "control character in a string",
            Self::Escape => "unknown escape in a string",
            Self::Surrogate => "lone surrogate in a string",
            Self::Number => "malformed number",
            Self::Range => "number out of range",
            Self::LargeId => "\"id\" is out of range",
            Self::TooDeep => "nested too deep",
        }
    }
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    /// A scanner that allows `depth` objects and arrays in each other, at most [`MAX_DEPTH`].
    pub(super) fn new(text: &'a str, depth: usize) -> Self {
        Self {
            text,
            at: 0,
            depth: u32::try_from(depth.min(MAX_DEPTH)).unwrap_or(0),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    pub(super) fn finished(&self) -> bool {
        self.at >= self.text.len()
    }

    /// The text between two positions that this scanner has been at.
    pub(super) fn between(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// The next byte; zero, which is never right, at the end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Flaw> {
        if self.peek() != byte {
            return Err(self.flaw(What::Unexpected));
        }
        self.at += 1;
        Ok(())
    }

    /// Checks that one more object or array may be opened inside `open` others.
    #[inline]
    pub(super) fn may_open(&self, open: u32) -> Result<(), Flaw> {
        if open >= self.depth {
            Err(self.flaw(What::TooDeep))
        } else {
            Ok(())
        }
    }

    /// The flaw of a text that goes on where it should have ended.
    pub(super) fn unexpected(&self) -> Flaw {
        self.flaw(What::Unexpected)
    }

    #[cold]
    pub(super) fn flaw(&self, what: What) -> Flaw {
        Flaw {
            at: u32::try_from(self.at).unwrap_or(u32::MAX),
            what,
        }
    }

    /// Reads a string. True if it has escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<bool, Flaw> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.at += plain_run(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ if self.finished() => return Err(self.flaw(What::Unexpected)),
                _ => return Err(self.flaw(What::Control)),
            }
        }
    }

    /// Reads the key of a member and the colon. Gives the raw key without its quotes, and whether it has escapes.
    #[inline]
    pub(super) fn key(&mut self) -> Result<(&'a str, bool), Flaw> {
        let start = self.at;
        let escaped = self.string()?;
        let key = self.between(start + 1, self.at - 1);
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok((key, escaped))
    }

    /// Reads any value inside `outside` open objects and arrays.
    pub(super) fn value(&mut self, outside: u32) -> Result<(), Flaw> {
        // One bit for each container opened here, the innermost lowest: set for an object.
        let mut objects = 0_u64;
        let mut open = 0_u32;
        loop {
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                b'{' => {
                    self.may_open(outside + open)?;
                    self.at += 1;
                    self.blanks();
                    open += 1;
                    objects = (objects << 1) | 1;
                    if self.peek() != b'}' {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.may_open(outside + open)?;
                    self.at += 1;
                    self.blanks();
                    open += 1;
                    objects <<= 1;
                    if self.peek() != b']' {
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => return Err(self.flaw(What::Unexpected)),
            }
            // A value is complete: close what ends here, then go on to the next one.
            loop {
                if open == 0 {
                    return Ok(());
                }
                self.blanks();
                let in_object = objects & 1 == 1;
                match self.peek() {
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    b',' => {
                        self.at += 1;
                        self.blanks();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    _ => return Err(self.flaw(What::Unexpected)),
                }
                self.at += 1;
                open -= 1;
                objects >>= 1;
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        let end = self.at + word.len();
        if self.text.as_bytes().get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.flaw(What::Unexpected));
        }
        self.at = end;
        Ok(())
    }

    ///
    /// One that no common parser can hold is refused: behind the gateway it would be read as something else, or stop
    /// a server.
    fn number(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        let exponent = matches!(self.peek(), b'e' | b'E');
        if exponent {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        if exponent || self.at - start > SHORT_NUMBER {
            return self.in_range(start);
        }
        Ok(())
    }

    /// Checks the number that began at `start`.
    #[cold]
    fn in_range(&self, start: usize) -> Result<(), Flaw> {
        let number = self.text.get(start..self.at).unwrap_or_default();
        let value = number
            .get(..LONGEST_NUMBER + 1)
            .map_or_else(|| number.parse::<f64>(), |_| Ok(f64::INFINITY));
        match value {
            Ok(value) if value.is_finite() => Ok(()),
            _ => Err(Flaw {
                at: u32::try_from(start).unwrap_or(u32::MAX),
                what: What::Range,
            }),
        }
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Result<(), Flaw> {
        if !self.peek().is_ascii_digit() {
            return Err(self.flaw(What::Number));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    #[cold]
    fn escape(&mut self) -> Result<(), Flaw> {
        let backslash = self.at;
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                return Ok(());
            }
            b'u' => {}
            _ => return Err(self.flaw(What::Escape)),
        }
        let first = self.code_unit()?;
        let alone = Flaw {
            what: What::Surrogate,
            at: u32::try_from(backslash).unwrap_or(u32::MAX),
        };
        match first {
            0xD800..=0xDBFF => {
                if self.text.as_bytes().get(self.at..self.at + 2) != Some(b"\\u") {
                    return Err(alone);
                }
                self.at += 1;
                if matches!(self.code_unit()?, 0xDC00..=0xDFFF) {
                    Ok(())
                } else {
                    Err(alone)
                }
            }
            0xDC00..=0xDFFF => Err(alone),
            _ => Ok(()),
        }
    }

    /// Reads `u` and four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u32, Flaw> {
        let mut unit = 0;
        for _ in 0..4 {
            self.at += 1;
            match char::from(self.peek()).to_digit(16) {
                Some(digit) => unit = unit * 16 + digit,
                None => return Err(self.flaw(What::Escape)),
            }
        }
        self.at += 1;
        Ok(unit)
    }
}

/// How many bytes come before the first quote, backslash or control character.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut run = 0;
    for word in words {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return run + special.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    run + rest
        .iter()
        .take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20))
        .count()
}

/// Sets the high bit of each byte that ends a plain run. Bits above the lowest one set may be wrong, it never is.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let quote = word ^ (LOW_BITS * b'"' as u64);
    let backslash = word ^ (LOW_BITS * b'\\' as u64);
    let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
    let quote = quote.wrapping_sub(LOW_BITS) & !quote;
    let backslash = backslash.wrapping_sub(LOW_BITS) & !backslash;
    (control | quote | backslash) & HIGH_BITS
}
