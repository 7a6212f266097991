//! One connection to a server of HTTP+SSE (2024-11-05), from the stream that is opened until nothing of it is left.
//!
//! The stream says where to post; what is posted is answered on the stream. To everybody else that is what a child
//! process is: one link that all sessions share.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use thiserror::Error;
use tokio::time::timeout;

use super::link::{Shared, StdioLink};
use super::process::Published;
use super::running::{Frame, Outbox, Running};
use super::stdout::Reader;
use super::{LinkError, call::CallSlot};
use crate::upstream::http::{EventStream, HttpClient, HttpClientConfig, HttpError, HttpTarget};

/// Messages that are being posted at once; more wait in the link's queue. A server may take its time to accept one.
const MAX_POSTS: usize = 32;

/// Bytes of the answer to a post, which says nothing.
const POST_ANSWER: usize = 64 * 1024;

/// The longest time that a probe takes.
const PROBE: Duration = Duration::from_secs(5);

/// The way to a server of HTTP+SSE.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Remote {
    pub(in crate::upstream) http: HttpClientConfig,
    /// Where the stream is.
    pub(in crate::upstream) target: HttpTarget,
    /// Of every request.
    pub(in crate::upstream) headers: HeaderMap,
    /// How long the stream may take to say where to post, and a post to be accepted.
    pub(in crate::upstream) timeout: Duration,
}

/// Why there is no connection though nobody asked.
#[derive(Debug, Error)]
pub(in crate::upstream) enum RemoteEnd {
    #[error("cannot be reached: {0}")]
    Http(#[from] HttpError),
    #[error("answered with HTTP status {0}")]
    Status(StatusCode),
    #[error("is no event stream that says where to post")]
    NoEndpoint,
    #[error("told to post somewhere else: {0}")]
    Elsewhere(String),
    #[error("did not say in time where to post")]
    Silent,
    #[error("ended")]
    Ended,
}

/// Where messages are posted.
struct Postbox<'a> {
    client: &'a HttpClient,
    remote: &'a Remote,
    target: HttpTarget,
    running: Arc<Running>,
}

// === impl Remote ===

impl Remote {
    /// Whether a server of HTTP+SSE is there.
    pub(in crate::upstream) async fn is_there(&self) -> bool {
        let client = HttpClient::new(self.http.clone());
        let opening = self.open(&client, POST_ANSWER);
        matches!(timeout(PROBE.min(self.timeout), opening).await, Ok(Ok(_)))
    }

    /// Opens the stream. Returns it with the place to post to.
    async fn open(
        &self,
        client: &HttpClient,
        max_event: usize,
    ) -> Result<(EventStream, HttpTarget), RemoteEnd> {
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let opening = client.send(&self.target, Method::GET, headers, Bytes::new());
        let answer = Box::pin(opening).await?;
        if !answer.status.is_success() {
            return Err(RemoteEnd::Status(answer.status));
        }
        if !answer.is_event_stream() {
            return Err(RemoteEnd::NoEndpoint);
        }
        let mut events = answer.events(max_event);
        while let Some(event) = events.next().await {
            let event = event?;
            match event.event.as_deref() {
                Some("endpoint") => {
                    let reference = String::from_utf8_lossy(&event.data);
                    let target = self.target.resolve(reference.trim());
                    let target = target.map_err(|error| RemoteEnd::Elsewhere(error.to_string()))?;
                    return Ok((events, target));
                }
                _ if event.data.is_empty() => {}
                _ => return Err(RemoteEnd::NoEndpoint),
            }
        }
        Err(RemoteEnd::NoEndpoint)
    }
}

// === impl StdioLink ===

impl StdioLink {
    /// Connects to a server and carries the link's messages until the connection ends. Dropped before, it closes the
    /// connection; calls in flight are lost either way, and learn it at once.
    pub(in crate::upstream) async fn carry(&self, remote: Remote) -> RemoteEnd {
        match carry(&self.0, &remote).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }
}

async fn carry(shared: &Arc<Shared>, remote: &Remote) -> Result<Infallible, RemoteEnd> {
    let client = HttpClient::new(remote.http.clone());
    let opening = remote.open(&client, shared.spec.max_line);
    let opened = timeout(remote.timeout, opening).await;
    let (mut events, target) = opened.map_err(|_| RemoteEnd::Silent)??;
    let (published, mut outbox) = Published::new(shared, 0);
    let postbox = Postbox {
        client: &client,
        remote,
        target,
        running: published.running.clone(),
    };
    let mut reader = Reader::new(shared.clone(), published.running.clone());
    let mut posts = FuturesUnordered::new();
    loop {
        tokio::select! {
            event = events.next() => match event.transpose()? {
                None => return Err(RemoteEnd::Ended),
                // Any other event is none of ours.
                Some(event) if event.event.is_none() && !event.data.is_empty() => {
                    reader.line(event.data);
                }
                Some(_) => {}
            },
            Some(posted) = posts.next() => posted?,
            frame = next(&mut outbox), if posts.len() < MAX_POSTS => posts.push(postbox.post(frame)),
        }
    }
}

/// The next message to post. What the link itself has to say goes first.
async fn next(outbox: &mut Outbox) -> Frame {
    let next = tokio::select! {
        biased;
        Some(text) = outbox.control.recv() => Some(Frame { text, call: None }),
        Some(frame) = outbox.frames.recv() => Some(frame),
        else => None,
    };
    match next {
        Some(frame) => frame,
        // The queues live as long as the connection.
        None => std::future::pending().await,
    }
}

// === impl Postbox ===

impl Postbox<'_> {
    /// Posts one message. What is not accepted fails the call that it makes; an error means that the connection is of
    /// no use any more.
    async fn post(&self, frame: Frame) -> Result<(), RemoteEnd> {
        let Frame { text, call } = frame;
        if call.as_ref().is_some_and(|call| !call.begin_writing()) {
            return Ok(());
        }
        let mut headers = self.remote.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let posting = async {
            let sending = self.client.send(&self.target, Method::POST, headers, text);
            let answer = Box::pin(sending).await?;
            let status = answer.status;
            // Read to the end, so that the connection can be used again.
            let _ = answer.bytes(POST_ANSWER).await;
            Ok::<_, HttpError>(status)
        };
        let error = match timeout(self.remote.timeout, posting).await {
            Ok(Ok(status)) if status.is_success() => return Ok(()),
            Ok(Ok(
                status @ (StatusCode::NOT_FOUND
                | StatusCode::GONE
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN),
            )) => return Err(RemoteEnd::Status(status)),
            Ok(Ok(StatusCode::PAYLOAD_TOO_LARGE)) => LinkError::TooLarge,
            Ok(Ok(_)) => LinkError::Malformed,
            Ok(Err(error)) => LinkError::Died {
                retryable: !error.written,
            },
            Err(_) => LinkError::Timeout,
        };
        if let Some(call) = call {
            self.fail(&call, error);
        }
        Ok(())
    }

    fn fail(&self, call: &Arc<CallSlot>, error: LinkError) {
        let pending = &self.running.pending;
        if let Some(number) = pending.number_of(call) {
            match error {
                // The server may be working on it all the same.
                LinkError::Timeout | LinkError::Died { retryable: false } => {
                    pending.abandon(number);
                }
                _ => drop(pending.remove(number)),
            }
        }
        call.finish(Err(error));
    }
}
