//! A connection whose owner keeps it himself, and may carry it from thread to thread.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use super::client::{self, HttpClientConfig};
use super::connect;
use super::connection::Connection;
use super::error::HttpError;
use super::framing::Framing;
use super::target::HttpTarget;

/// A connection outside of the pools of the threads, for who has the same few requests for one place from many threads.
/// One exchange at a time: [`send`](Self::send), then [`body`](Self::body). Dropping either future in between leaves it
/// of no use, and so does an error.
///
/// Its socket is woken by the runtime of the thread that connected it, so it is best used there.
#[derive(Debug)]
pub struct KeptConnection {
    connection: Connection,
    /// The body that is to be read yet.
    framing: Framing,
    /// Nothing that happened speaks against another exchange.
    keep_alive: bool,
}

/// As much of a body as was wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum KeptBody {
    /// All of it.
    Whole(Bytes),
    /// It is longer: its beginning, which may be empty. The connection is of no more use.
    Cut(Bytes),
}

// === impl KeptConnection ===

impl KeptConnection {
    /// Connects as a client with this configuration would.
    ///
    /// # Errors
    /// There is no connection in time. Nothing was written.
    pub async fn connect(
        target: &HttpTarget,
        config: &HttpClientConfig,
    ) -> Result<Self, HttpError> {
        let tls = config.tls.as_ref();
        let limit = config.connect_timeout;
        let stream = connect::connect(target.origin(), tls, &config.names, limit).await?;
        Ok(Self {
            connection: Connection::new(stream),
            framing: Framing::Length(0),
            keep_alive: true,
        })
    }

    /// Sends a request and returns the status of the answer. Headers of the connection are the connection's business.
    /// The caller bounds the time.
    ///
    /// # Errors
    /// [`HttpError::written`] says whether the request may have arrived.
    pub async fn send(
        &mut self,
        target: &HttpTarget,
        method: Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<StatusCode, HttpError> {
        self.keep_alive = false;
        let sent = self.connection.exchange(target, &method, headers, body);
        let head = sent.await?;
        client::check(&head)?;
        self.framing = head.framing;
        self.keep_alive = head.keep_alive;
        Ok(head.status)
    }

    /// The bytes that are to come of the body at least.
    pub fn announced(&self) -> u64 {
        self.framing.at_least()
    }

    /// Reads the body of the answer, but no more than a little over `cap` bytes of it. The caller bounds the time.
    ///
    /// # Errors
    /// The connection ended before the body did, or the body is not one of HTTP/1.1.
    pub async fn body(&mut self, cap: usize) -> Result<KeptBody, HttpError> {
        let announced = usize::try_from(self.framing.at_least()).unwrap_or(usize::MAX);
        let mut whole = BytesMut::new();
        while let Some(piece) = self.connection.piece(&mut self.framing).await? {
            if whole.is_empty() && self.framing.is_done() && piece.len() <= cap {
                return Ok(KeptBody::Whole(piece));
            }
            if whole.is_empty() {
                whole.reserve(announced.min(cap));
            }
            let room = cap - whole.len();
            whole.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if piece.len() > room {
                return Ok(KeptBody::Cut(whole.freeze()));
            }
        }
        Ok(KeptBody::Whole(whole.freeze()))
    }

    /// Whether another exchange may follow: the last one ended, and nothing has come that nobody asked for.
    pub fn is_usable(&mut self) -> bool {
        self.keep_alive
            && self.framing.is_done()
            && self.connection.rest()
            && self.connection.is_silent()
    }
}
