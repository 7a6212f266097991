//! One connection and the exchange on it: a request is written while its answer may already arrive.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::error::{HttpError, HttpErrorKind};
use super::framing::Framing;
use super::head::{self, AnswerHead};
use super::stream::Stream;
use super::target::HttpTarget;

/// Room for what is read at once, in bytes.
const READ_BYTES: usize = 8 * 1024;
/// Room for what is read at once of a body that is known to be large.
const MAX_READ_BYTES: usize = 128 * 1024;
/// Bodies up to this size are written together with the head.
const JOINED_BODY_BYTES: usize = 16 * 1024;
/// A buffer that grew beyond this is not kept with an idle connection.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// A connection that is alive as far as is known.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// What arrived and was not taken yet.
    read: BytesMut,
    /// What is to be written before the body.
    write: BytesMut,
}

/// A request that is written while its answer is waited for.
struct Sending {
    body: Bytes,
    /// A part of the request left the process.
    written: bool,
    /// Nothing more can be written: the upstream has closed its side, or has failed.
    broken: bool,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            write: BytesMut::new(),
        }
    }

    /// Sends a request and waits for the head of its answer. The connection is of no use after an error.
    pub(super) async fn exchange(
        &mut self,
        target: &HttpTarget,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<AnswerHead, HttpError> {
        self.write.clear();
        head::write(&mut self.write, target, method, headers, body.len());
        let mut sending = Sending {
            body: Bytes::new(),
            written: false,
            broken: false,
        };
        if body.len() <= JOINED_BODY_BYTES {
            self.write.extend_from_slice(body);
        } else {
            sending.body = body.clone();
        }
        let mut head = poll_fn(|context| self.poll_exchange(&mut sending, context)).await?;
        // Who answers before the request has ended may not read the rest of it.
        if sending.broken || !self.write.is_empty() || !sending.body.is_empty() {
            head.keep_alive = false;
        }
        Ok(head)
    }

    /// The next piece of a body; nothing at its end. Cancel safe.
    pub(super) async fn piece(
        &mut self,
        framing: &mut Framing,
    ) -> Result<Option<Bytes>, HttpError> {
        loop {
            if let Some(piece) = framing.take(&mut self.read)? {
                return Ok(Some(piece));
            }
            if framing.is_done() {
                return Ok(None);
            }
            let expected = usize::try_from(framing.at_least()).unwrap_or(usize::MAX);
            let read = poll_fn(|context| self.poll_read(expected, context)).await;
            match read.map_err(|error| closed(true, error))? {
                0 if *framing == Framing::UntilClosed => return Ok(None),
                0 => return Err(HttpError::new(HttpErrorKind::Closed, true)),
                _ => {}
            }
        }
    }

    /// True if the connection may be kept: nothing came that belongs to no answer, and the buffers are small.
    pub(super) fn rest(&mut self) -> bool {
        for buffer in [&mut self.read, &mut self.write] {
            if buffer.capacity() > KEPT_BUFFER_BYTES && buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
        self.read.is_empty()
    }

    /// True while an idle connection is neither closed nor spoken on by the upstream.
    pub(super) fn is_silent(&mut self) -> bool {
        self.stream.is_silent()
    }

    fn poll_exchange(
        &mut self,
        sending: &mut Sending,
        context: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, HttpError>> {
        if let Poll::Ready(Err(error)) = self.poll_send(sending, context) {
            if !sending.written {
                return Poll::Ready(Err(closed(false, error)));
            }
            // It may have answered before it closed: too large, not authorised.
            sending.broken = true;
        }
        loop {
            let before = self.read.len();
            match ready!(self.poll_read(READ_BYTES, context)) {
                Ok(0) => {
                    return Poll::Ready(Err(HttpError::new(
                        HttpErrorKind::Closed,
                        sending.written,
                    )));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(closed(sending.written, error))),
            }
            // Only the end of a line can be the end of the head: who sends byte by byte costs no more than others.
            let arrived = self.read.get(before..).unwrap_or_default();
            if memchr::memchr(b'\n', arrived).is_none() && self.read.len() < head::MAX_HEAD_BYTES {
                continue;
            }
            if let Some(head) = head::read(&mut self.read)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Writes what can be written.
    fn poll_send(
        &mut self,
        sending: &mut Sending,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if sending.broken {
            return Poll::Ready(Ok(()));
        }
        loop {
            let is_head = !self.write.is_empty();
            let rest: &[u8] = if is_head { &self.write } else { &sending.body };
            if rest.is_empty() {
                return Pin::new(&mut self.stream).poll_flush(context);
            }
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            sending.written = true;
            if is_head {
                self.write.advance(count);
            } else {
                sending.body.advance(count);
            }
        }
    }

    /// Reads what is there behind what was read before; 0 at the end.
    fn poll_read(&mut self, expected: usize, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.read.capacity() - self.read.len();
        if room < READ_BYTES / 2 {
            self.read
                .reserve(expected.clamp(READ_BYTES, MAX_READ_BYTES));
        }
        pin!(self.stream.read_buf(&mut self.read)).poll(context)
    }
}

fn closed(written: bool, error: io::Error) -> HttpError {
    HttpError::because(HttpErrorKind::Closed, written, error)
}
