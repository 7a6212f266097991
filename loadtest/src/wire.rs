//! HTTP/1.1 framing of both directions, with keep-alive: one head and one body at a time, nothing interpreted.
//! The body of an event stream can be read piece by piece.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head that is accepted.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Longest body that is accepted.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// A connection that carries one message at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A request or an answer.
pub(crate) struct Received {
    /// Start line and headers.
    head: Bytes,
    pub(crate) body: Bytes,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: BytesMut::with_capacity(16 * 1024),
        })
    }

    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await
    }

    /// Reads the next message; `None` if the peer closed before it began.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Received>> {
        let Some(mut received) = self.receive_head().await? else {
            return Ok(None);
        };
        received.body = if received.is_chunked() {
            self.chunks().await?
        } else {
            let length = received
                .header("content-length")
                .map_or(Ok(0), str::parse)
                .map_err(|_| malformed("content-length"))?;
            self.exactly(length).await?
        };
        Ok(Some(received))
    }

    /// Reads the next message's head and leaves its body on the connection.
    pub(crate) async fn receive_head(&mut self) -> io::Result<Option<Received>> {
        let head = self.head().await?;
        Ok(head.map(|head| Received {
            head,
            body: Bytes::new(),
        }))
    }

    /// Reads the next chunk of a body that has no known end; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let line = self.line().await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let size = size.ok_or_else(|| malformed("chunk size"))?;
        if size == 0 {
            while !self.line().await?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.exactly(size).await?;
        self.exactly(2).await?;
        Ok(Some(chunk))
    }

    /// Whether the peer has closed it while nothing was asked.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// The bare stream, for who keeps it open without reading. What was read ahead is dropped.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    async fn head(&mut self) -> io::Result<Option<Bytes>> {
        let mut searched = 0_usize;
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n", searched) {
                return Ok(Some(self.buffer.split_to(end + 4).freeze()));
            }
            searched = self.buffer.len().saturating_sub(3);
            if searched > MAX_HEAD_BYTES {
                return Err(malformed("head: too long"));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    async fn chunks(&mut self) -> io::Result<Bytes> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        let mut body = BytesMut::from(first.as_ref());
        body.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(malformed("body: too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// A line without its end.
    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n", 0) {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(2);
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(malformed("line: too long"));
            }
            self.must_fill().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Bytes> {
        if length > MAX_BODY_BYTES {
            return Err(malformed("body: too long"));
        }
        while self.buffer.len() < length {
            self.must_fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn must_fill(&mut self) -> io::Result<()> {
        if self.fill().await? {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Reads what is there; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(4 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

// === impl Received ===

impl Received {
    /// What a test makes up.
    #[cfg(test)]
    pub(crate) fn new(head: &str, body: &str) -> Self {
        Self {
            head: Bytes::copy_from_slice(head.as_bytes()),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    /// The first line: a request line or a status line.
    pub(crate) fn start_line(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start_line().split(' ').nth(1)?.parse().ok()
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Whether the body comes in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    /// Whether the sender closes the connection after this message.
    pub(crate) fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|option| option.eq_ignore_ascii_case("close"))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.head)
            .unwrap_or_default()
            .split("\r\n")
    }
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    memmem::find(bytes.get(from..)?, what).map(|at| at + from)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn received(bytes: &'static [u8]) -> Vec<(String, Bytes)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut server = Connection::new(listener.accept().await.unwrap().0).unwrap();
        let writer = tokio::spawn(async move {
            // In small pieces, so that every wait is met.
            for piece in bytes.chunks(3) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut all = Vec::new();
        while let Some(message) = server.receive().await.unwrap() {
            all.push((message.start_line().to_owned(), message.body));
        }
        writer.await.unwrap();
        all
    }

    #[tokio::test]
    async fn lengths_and_chunks_follow_each_other() {
        let all = received(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 202 Accepted\r\n\r\n\
              HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
        )
        .await;
        let bodies: Vec<&[u8]> = all.iter().map(|(_, body)| body.as_ref()).collect();
        assert_eq!(bodies, [&b"hello"[..], b"", b"abc0123456789", b""]);
        assert_eq!(all[1].0, "HTTP/1.1 202 Accepted");
    }

    #[test]
    fn headers_are_found_by_name() {
        let received = Received {
            head: Bytes::from_static(b"HTTP/1.1 400 Bad\r\nA: 1\r\ncontent-TYPE:  x; y \r\n\r\n"),
            body: Bytes::new(),
        };
        assert_eq!(
            (
                received.status(),
                received.header("Content-Type"),
                received.header("b")
            ),
            (Some(400), Some("x; y"), None)
        );
    }
}
