//! The client of one thread.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method};

use super::answer::HttpAnswer;
use super::connect::{self, TlsTrust};
use super::connection::Connection;
use super::error::HttpError;
use super::head::{AnswerHead, unusable};
use super::names::Names;
use super::pool::{Lease, Pool};
use super::target::HttpTarget;

/// How a client connects and what it keeps.
#[derive(Clone, Debug)]
pub struct HttpClientConfig {
    /// Whom to trust for `https`; `None`: `https` targets fail with [`HttpErrorKind::Tls`](super::HttpErrorKind::Tls).
    pub tls: Option<TlsTrust>,
    /// The time for resolving, connecting and the TLS handshake together. Default 5 s.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Default 30 s.
    pub idle_timeout: Duration,
    /// How many unused connections are kept per origin; more are closed. Default 64.
    pub max_idle: usize,
    /// Who knows the addresses of names; shared by the clients of all threads.
    pub names: Names,
}

/// The HTTP/1.1 client of one thread: connections are kept alive, redirects are not followed, nothing is decompressed.
/// Cheap to clone; clones share their connections.
///
/// It must be used inside a `LocalSet` or actix system, where the task that closes idle connections runs.
#[derive(Clone, Debug)]
pub struct HttpClient(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    config: HttpClientConfig,
    pool: Rc<Pool>,
}

// === impl HttpClientConfig ===

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            tls: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            max_idle: 64,
            names: Names::default(),
        }
    }
}

// === impl HttpClient ===

impl HttpClient {
    /// Makes a client without connections.
    pub fn new(config: HttpClientConfig) -> Self {
        let pool = Rc::new(Pool::new(config.idle_timeout, config.max_idle));
        Self(Rc::new(Inner { config, pool }))
    }

    /// Sends a request and returns when the head of the answer is there; the caller bounds the time.
    ///
    /// Headers of the connection (`Host`, `Content-Length`, `Accept-Encoding`, `Connection` and the like) are set or
    /// left out by the client whatever `headers` says. A kept connection that turns out to be closed before anything
    /// was written is replaced by a fresh one, once; all else that fails is the caller's decision, see
    /// [`HttpError::written`]. Dropping the future closes the connection it used.
    pub async fn send(
        &self,
        target: &HttpTarget,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, HttpError> {
        if let Some(mut lease) = self.0.pool.checkout(target.origin()) {
            match lease
                .connection
                .exchange(target, &method, &headers, &body)
                .await
            {
                Ok(head) => return accept(head, lease),
                Err(error) if error.written => return Err(error),
                Err(_) => {}
            }
        }
        let mut lease = self.connect(target).await?;
        let head = lease
            .connection
            .exchange(target, &method, &headers, &body)
            .await?;
        accept(head, lease)
    }

    /// How many unused connections are kept.
    pub fn idle_connections(&self) -> usize {
        self.0.pool.len()
    }

    async fn connect(&self, target: &HttpTarget) -> Result<Lease, HttpError> {
        let config = &self.0.config;
        let origin = target.origin();
        let stream = connect::connect(
            origin,
            config.tls.as_ref(),
            &config.names,
            config.connect_timeout,
        )
        .await?;
        Ok(self.0.pool.lend(origin.clone(), Connection::new(stream)))
    }
}

fn accept(head: AnswerHead, lease: Lease) -> Result<HttpAnswer, HttpError> {
    check(&head)?;
    Ok(HttpAnswer::new(head, lease))
}

/// Checks the head: what we did not ask for cannot be passed on.
pub(super) fn check(head: &AnswerHead) -> Result<(), HttpError> {
    let encoding = head.headers.get(CONTENT_ENCODING);
    match encoding {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(unusable("the upstream compressed its answer"))
        }
        _ => Ok(()),
    }
}
