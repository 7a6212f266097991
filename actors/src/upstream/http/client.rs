//! The client of one thread.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::HttpAnswer;
use super::connect::{self, Connected, TlsTrust};
use super::error::{HttpError, HttpErrorKind};
use super::names::Names;
use super::pool::{Connection, Failure, Lease, Pool};
use super::target::HttpTarget;

/// The longest head of an answer, and the most that is read ahead of its reader.
const MAX_READ_AHEAD: usize = 128 * 1024;

/// Headers that belong to a connection: they are this client's business, never the caller's.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    TE,
    EXPECT,
    ACCEPT_ENCODING,
];

/// How a client connects and what it keeps.
#[derive(Clone, Debug)]
pub struct HttpClientConfig {
    /// Whom to trust for `https`; `None`: `https` targets fail with [`HttpErrorKind::Tls`].
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
/// It must be used inside a `LocalSet` or actix system, where the tasks that move the bytes run.
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
        let mut request = prepare(target, method, headers, body);
        if let Some(mut lease) = self.0.pool.checkout(target.origin()) {
            match lease.send(request).await {
                Ok(response) => return accept(response, lease),
                Err(Failure::Unsent(unsent, _)) => request = *unsent,
                Err(Failure::Sent(error)) => return Err(HttpError::from_hyper(error, true)),
            }
        }
        let mut lease = self.connect(target).await?;
        match lease.send(request).await {
            Ok(response) => accept(response, lease),
            Err(Failure::Unsent(_, error)) => Err(HttpError::from_hyper(error, false)),
            Err(Failure::Sent(error)) => Err(HttpError::from_hyper(error, true)),
        }
    }

    /// How many unused connections are kept.
    pub fn idle_connections(&self) -> usize {
        self.0.pool.len()
    }

    async fn connect(&self, target: &HttpTarget) -> Result<Lease, HttpError> {
        let config = &self.0.config;
        let origin = target.origin();
        let connected = connect::connect(
            origin,
            config.tls.as_ref(),
            &config.names,
            config.connect_timeout,
        )
        .await?;
        let connection = match connected {
            Connected::Plain(stream) => drive(stream).await?,
            Connected::Encrypted(stream) => drive(stream).await?,
        };
        Ok(self.0.pool.lend(origin.clone(), connection))
    }
}

/// Starts the task that moves the bytes of a connection.
async fn drive(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<Connection, HttpError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_READ_AHEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| HttpError::from_hyper(error, false))?;
    let driver = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to an upstream ended");
        }
    });
    Ok(Connection {
        sender,
        driver: driver.abort_handle(),
    })
}

fn prepare(
    target: &HttpTarget,
    method: Method,
    mut headers: HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    headers.insert(HOST, target.authority().clone());
    // hyper writes the length of a body, but says nothing when there is none.
    if body.is_empty() && method == Method::POST {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.request_uri();
    *request.headers_mut() = headers;
    request
}

/// Checks the head: what we did not ask for cannot be passed on.
fn accept(
    response: http::Response<hyper::body::Incoming>,
    lease: Lease,
) -> Result<HttpAnswer, HttpError> {
    let (head, body) = response.into_parts();
    let unasked = |what| Err(HttpError::because(HttpErrorKind::Protocol, true, what));
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return unasked("the upstream switched protocols");
    }
    let encoding = head.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return unasked("the upstream compressed its answer");
    }
    Ok(HttpAnswer::new(head.status, head.headers, body, lease))
}
