//! The clients of all threads: for futures that may be polled by any thread, which a client may not.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;

use super::client::{HttpClient, HttpClientConfig};

thread_local! {
    /// The clients that this thread has made, as long as somebody may ask for them.
    static MADE: RefCell<Vec<(Weak<HttpClientConfig>, HttpClient)>> = const { RefCell::new(Vec::new()) };
}

/// One client in each thread that asks, each with connections of its own. Cheap to clone; clones share the clients.
///
/// It must be used inside a `LocalSet` or actix system, as its clients must.
#[derive(Clone, Debug)]
pub struct HttpClients(Arc<HttpClientConfig>);

/// Ends a task when nobody waits for it any more.
struct Abort(AbortHandle);

// === impl HttpClients ===

impl HttpClients {
    /// Clients that are all made like this.
    pub fn new(config: HttpClientConfig) -> Self {
        Self(Arc::new(config))
    }

    /// The client of this thread.
    pub fn here(&self) -> HttpClient {
        MADE.with_borrow_mut(|made| {
            let mut mine = None;
            made.retain(|(config, client)| {
                if config.as_ptr() == Arc::as_ptr(&self.0) {
                    mine = Some(client.clone());
                }
                config.strong_count() > 0
            });
            mine.unwrap_or_else(|| {
                let client = HttpClient::new(HttpClientConfig::clone(&self.0));
                made.push((Arc::downgrade(&self.0), client.clone()));
                client
            })
        })
    }

    /// Does work with the client of the thread that first asks how it goes, as a task of that thread. Dropping the
    /// future ends the work. Nothing is returned if the work panicked.
    pub async fn work<T, F>(&self, work: impl FnOnce(HttpClient) -> F) -> Option<T>
    where
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let task = tokio::task::spawn_local(work(self.here()));
        let _abort = Abort(task.abort_handle());
        task.await.ok()
    }
}

// === impl Abort ===

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent<T: Send>(value: T) -> T {
        value
    }

    #[tokio::test(flavor = "local")]
    async fn a_thread_has_one_client_as_long_as_it_may_be_asked_for() {
        let clients = HttpClients::new(HttpClientConfig::default());
        let other = HttpClients::new(HttpClientConfig::default());
        for _ in 0..3 {
            let idle = sent(clients.work(async |client| client.idle_connections())).await;
            assert_eq!(idle, Some(0));
            other.clone().here();
        }
        assert_eq!(MADE.with_borrow(Vec::len), 2);
        drop(other);
        clients.here();
        assert_eq!(MADE.with_borrow(Vec::len), 1);
        let lost: Option<()> = clients.work(async |_| panic!("on purpose")).await;
        assert_eq!(lost, None);
    }
}
