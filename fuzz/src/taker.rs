//! Structured input from arbitrary bytes.

/// Takes pieces from the front of some bytes. When they are used up, what it gives is zero or empty.
#[derive(Clone, Debug)]
pub struct Taker<'a>(&'a [u8]);

// === impl Taker ===

impl<'a> Taker<'a> {
    /// Takes from these.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// Some bytes: as many as the next byte says.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }

    /// Some bytes, or none at all.
    pub fn optional(&mut self) -> Option<&'a [u8]> {
        (self.byte() & 3 != 0).then(|| self.piece())
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts data into chunks: the lengths come one after the other and over again. Without any, all of it is one chunk.
pub fn chunks<'a>(data: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    let mut rest = data;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = lengths
            .next()
            .map_or(rest.len(), |length| usize::from(*length) + 1);
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
