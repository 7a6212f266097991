//! Lines of a pipe, with a limit, and what may be logged of them.

use std::io;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Duration, Instant};

/// How much is read at once. A line keeps the block it came in alive, so the blocks are not large.
const READ: usize = 16 * 1024;

/// How much of a line that is too long is kept, at either end, in bytes.
pub const EXCERPT: usize = 4 * 1024;

/// Splits what a pipe says into lines without their ends: a line feed, or a carriage return and a line feed.
#[derive(Debug)]
pub struct Lines<R> {
    pipe: R,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    /// The beginning of the line that is being skipped because it is too long.
    skipping: Option<Bytes>,
    max_line: usize,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// All of it.
    Whole(Bytes),
    /// A line that was longer than allowed.
    TooLong {
        /// Its first bytes, at most [`EXCERPT`].
        head: Bytes,
        /// Its last bytes, at most [`EXCERPT`].
        tail: Bytes,
    },
}

/// Lets a number of log lines through per period.
#[derive(Debug)]
pub(crate) struct LogBudget {
    per_period: u32,
    period: Duration,
    since: Instant,
    used: u32,
    suppressed: u64,
}

// === impl Lines ===

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads from `pipe`; of a line longer than `max_line` bytes only the two ends are kept, and little more than that is
    /// ever held of it.
    pub fn new(pipe: R, max_line: usize) -> Self {
        Self {
            pipe,
            buffer: BytesMut::new(),
            searched: 0,
            skipping: None,
            max_line,
        }
    }

    /// The next line that is not empty; `None` at the end of the pipe. What stands there without a line end is a line.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            while let Some(line) = self.split() {
                if line != Line::Whole(Bytes::new()) {
                    return Ok(Some(line));
                }
            }
            // The last byte may be the carriage return of a line end that is not there yet.
            if self.buffer.len() > self.max_line + 1 {
                self.skip();
            }
            self.buffer.reserve(READ);
            if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                let line = self.finish(rest);
                return Ok(Some(line).filter(|line| *line != Line::Whole(Bytes::new())));
            }
        }
    }

    fn split(&mut self) -> Option<Line> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(length) = memchr(b'\n', fresh) else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + length + 1);
        self.searched = 0;
        line.truncate(line.len() - 1);
        let line = line.freeze();
        Some(self.finish(line))
    }

    fn finish(&mut self, mut line: Bytes) -> Line {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        match self.skipping.take() {
            Some(head) => Line::TooLong {
                head,
                tail: excerpt_of_end(&line),
            },
            None if line.len() > self.max_line => Line::TooLong {
                head: line.slice(..line.len().min(EXCERPT)),
                tail: excerpt_of_end(&line),
            },
            None => Line::Whole(line),
        }
    }

    /// Forgets the middle of a line that is too long already.
    fn skip(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let head = buffer.get(..buffer.len().min(EXCERPT)).unwrap_or_default();
        self.skipping
            .get_or_insert_with(|| Bytes::copy_from_slice(head));
        let tail = buffer.len().saturating_sub(EXCERPT + 1);
        let tail = buffer.get(tail..).unwrap_or_default();
        self.buffer.extend_from_slice(tail);
        self.searched = self.buffer.len();
    }
}

/// A copy of the last bytes.
fn excerpt_of_end(line: &[u8]) -> Bytes {
    let start = line.len().saturating_sub(EXCERPT);
    Bytes::copy_from_slice(line.get(start..).unwrap_or_default())
}

// === impl LogBudget ===

impl LogBudget {
    pub(crate) fn new(per_period: u32, period: Duration) -> Self {
        Self {
            per_period,
            period,
            since: Instant::now(),
            used: 0,
            suppressed: 0,
        }
    }

    /// Whether a line may be logged now, and how many were suppressed since the last one that was.
    pub(crate) fn admit(&mut self) -> Option<u64> {
        let now = Instant::now();
        if now.duration_since(self.since) >= self.period {
            self.since = now;
            self.used = 0;
        }
        if self.used >= self.per_period {
            self.suppressed += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// A text that cannot forge log lines or move a cursor: control and direction characters are escaped.
pub(crate) fn printable(line: &[u8], max: usize) -> String {
    let shown = line.get(..max).unwrap_or(line);
    let mut text = String::with_capacity(shown.len());
    for letter in String::from_utf8_lossy(shown).chars() {
        let is_invisible = letter.is_control()
            || matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
        if is_invisible {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    if shown.len() < line.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives one chunk per read.
    struct Chunks(Vec<Vec<u8>>);

    impl AsyncRead for Chunks {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.0.is_empty() {
                buffer.put_slice(&self.0.remove(0));
            }
            Poll::Ready(Ok(()))
        }
    }

    fn read(chunks: Vec<Vec<u8>>, max_line: usize) -> Vec<Line> {
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        let mut lines = Lines::new(Chunks(chunks.collect()), max_line);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut read = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                read.push(line);
            }
            read
        })
    }

    fn whole(text: &str) -> Line {
        Line::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn splits_lines() {
        let chunks = vec![b"a\nb".to_vec(), b"c\r\n\n\r".to_vec(), b"\nd".to_vec()];
        assert_eq!(read(chunks, 100), [whole("a"), whole("bc"), whole("d")]);
    }

    #[test]
    fn skips_what_is_too_long_and_keeps_its_ends() {
        let long: Vec<u8> = (0..100_000u32)
            .map(|number| b'a' + (number % 26) as u8)
            .collect();
        let chunks = long.chunks(9_000).map(<[u8]>::to_vec);
        let chunks = [b"x\n".to_vec()]
            .into_iter()
            .chain(chunks)
            .chain([b"\ny\n".to_vec()]);
        let lines = read(chunks.collect(), 20_000);
        let too_long = Line::TooLong {
            head: Bytes::copy_from_slice(&long[..EXCERPT]),
            tail: Bytes::copy_from_slice(&long[long.len() - EXCERPT..]),
        };
        assert_eq!(lines, [whole("x"), too_long, whole("y")]);
    }

    #[test]
    fn what_is_logged_is_one_line() {
        let hostile = "a\r\n\u{1b}[2J\u{2028}\u{202e}\u{85}é".as_bytes();
        assert_eq!(
            printable(hostile, 100),
            r"a\r\n\u{1b}[2J\u{2028}\u{202e}\u{85}é"
        );
        assert_eq!(printable(b"abc", 2), "ab…");
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_counts_what_it_suppressed() {
        let mut budget = LogBudget::new(2, Duration::from_secs(1));
        assert_eq!(
            [budget.admit(), budget.admit(), budget.admit()],
            [Some(0), Some(0), None]
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.admit(), Some(1));
    }

    proptest! {
        #[test]
        fn does_not_care_where_chunks_are_cut(
            text in "[ab\r\n]{0,60}",
            cuts in prop::collection::vec(0usize..60, 0..8),
        ) {
            let text = text.into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_vec()).collect();
            let expected: Vec<Line> = text
                .split(|&byte| byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .filter(|line| !line.is_empty())
                .map(|line| Line::Whole(Bytes::copy_from_slice(line)))
                .collect();
            prop_assert_eq!(read(chunks, 1000), expected);
        }
    }
}
