//! Lines of a pipe: where the pipe cuts them makes no difference, and none is longer than allowed.

use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Runtime;
use weir_actors::upstream::stdio::lines::{EXCERPT, Line, Lines};

use crate::taker::{Taker, chunks};

/// Gives one chunk per read.
struct Pipe<'a>(std::vec::IntoIter<&'a [u8]>, &'a [u8]);

/// See [`holds`].
pub fn run(data: &[u8]) {
    let mut taker = Taker::new(data);
    let max_line = EXCERPT + usize::from(taker.byte());
    let lengths = taker.piece();
    holds(taker.rest(), lengths, max_line);
}

/// Whatever a pipe says and however it is cut: its lines are those between the line feeds, without the empty ones; of one
/// that is longer than `max_line`, which is at least [`EXCERPT`], the two ends are left.
pub fn holds(said: &[u8], lengths: &[u8], max_line: usize) {
    let whole = read(chunks(said, &[]), max_line);
    assert_eq!(
        read(chunks(said, lengths), max_line),
        whole,
        "cut at {lengths:?}"
    );
    assert_eq!(
        read(chunks(said, &[0]), max_line),
        whole,
        "cut at every byte"
    );
    let expected = said
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let expected: Vec<&[u8]> = expected.filter(|line| !line.is_empty()).collect();
    assert_eq!(whole.len(), expected.len());
    for (line, expected) in whole.iter().zip(expected) {
        match line {
            Line::Whole(line) => {
                assert_eq!(line, expected);
                assert!(line.len() <= max_line);
            }
            Line::TooLong { head, tail } => {
                assert!(
                    expected.len() + 1 > max_line,
                    "{} bytes are not too long",
                    expected.len()
                );
                assert!(head.len() <= EXCERPT && tail.len() <= EXCERPT);
                assert!(expected.starts_with(head));
                assert!(expected.ends_with(tail));
            }
        }
    }
}

fn read(chunks: Vec<&[u8]>, max_line: usize) -> Vec<Line> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    });
    runtime.block_on(async {
        let mut lines = Lines::new(Pipe(chunks.into_iter(), b""), max_line);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        found
    })
}

// === impl Pipe ===

impl AsyncRead for Pipe<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.1.is_empty() {
            self.1 = self.0.next().unwrap_or_default();
        }
        let (now, later) = self.1.split_at(self.1.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.1 = later;
        Poll::Ready(Ok(()))
    }
}
