//! How a request came to the gateway, where that makes a difference to what is done with it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

/// How a request came.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// Streamable HTTP: each request has its own answer.
    #[default]
    Http,
    /// Standard input of this process: there are no headers, and one client.
    Stdio,
    /// HTTP+SSE of 2024-11-05: the request opens the stream that all answers go to.
    SseStream(Arc<SseStream>),
    /// HTTP+SSE of 2024-11-05: the request was posted for this stream; nothing: there is none of that name.
    SsePost(Option<Arc<SseStream>>),
}

/// The stream of one client of HTTP+SSE, while it is open.
pub struct SseStream {
    /// Where the client posts: a path with the stream's name, which nobody can guess.
    endpoint: String,
    /// The key of the principal who opened it; set before the client learns the name.
    owner: OnceLock<String>,
    /// The legacy session that `initialize` began on it.
    session: Mutex<Option<String>>,
    frames: Mutex<Option<mpsc::Receiver<Bytes>>>,
    under_way: AtomicUsize,
}

/// A request whose answer the stream is kept open for. Dropping it says that the answer is on the stream.
#[derive(Debug)]
pub struct UnderWay(Arc<SseStream>);

// === impl SseStream ===

impl SseStream {
    /// A stream that shows what `frames` brings: JSON-RPC messages. `endpoint` is the URL that it is told to post to.
    pub fn new(endpoint: String, frames: mpsc::Receiver<Bytes>) -> Self {
        Self {
            endpoint,
            owner: OnceLock::new(),
            session: Mutex::default(),
            frames: Mutex::new(Some(frames)),
            under_way: AtomicUsize::new(0),
        }
    }

    /// Where the client posts.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the principal with this key opened it.
    pub fn is_owned_by(&self, principal: &str) -> bool {
        self.owner.get().is_some_and(|owner| owner == principal)
    }

    /// Gives it to a principal, and its messages to the caller; nothing if that was done before.
    pub(super) fn open(&self, principal: String) -> Option<mpsc::Receiver<Bytes>> {
        let frames = lock(&self.frames).take()?;
        self.owner.set(principal).ok()?;
        Some(frames)
    }

    /// The id of its legacy session.
    pub fn session(&self) -> Option<String> {
        lock(&self.session).clone()
    }

    /// Notes the session that was begun; returns the one before.
    pub fn set_session(&self, id: Option<String>) -> Option<String> {
        std::mem::replace(&mut *lock(&self.session), id)
    }

    /// Notes a request whose answer will go to the stream.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Whether the answers to all requests are on the stream.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }
}

impl fmt::Debug for SseStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint lets its reader post: it is no text for a log.
        formatter.debug_struct("SseStream").finish_non_exhaustive()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Transport ===

impl Transport {
    /// Whether the principal may use the stream that the request was posted for.
    pub(super) fn admits(&self, principal: &weir_plugin_protocol::UserPrincipal) -> bool {
        match self {
            Self::SsePost(stream) => stream
                .as_ref()
                .is_some_and(|stream| stream.is_owned_by(&principal.key())),
            Self::Http | Self::Stdio | Self::SseStream(_) => true,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
