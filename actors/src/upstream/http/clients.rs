//! The clients of all threads: for futures that may be polled by any thread, which a client may not.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use actix_rt::Arbiter;
use tokio::sync::oneshot;

use super::client::{HttpClient, HttpClientConfig};

thread_local! {
    /// The clients that this thread has made, as long as somebody may ask for them.
    static MADE: RefCell<Vec<(Weak<HttpClientConfig>, HttpClient)>> = const { RefCell::new(Vec::new()) };
}

/// One client in each thread that asks, each with connections of its own. Cheap to clone; clones share the clients.
///
/// Only threads of actix can ask: the work is a task of theirs, whatever task it is that asks.
#[derive(Clone, Debug)]
pub struct HttpClients(Arc<HttpClientConfig>);

// === impl HttpClients ===

impl HttpClients {
    /// Clients that are all made like this.
    pub fn new(config: HttpClientConfig) -> Self {
        Self(Arc::new(config))
    }

    /// The client of this thread.
    fn here(&self) -> HttpClient {
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

    /// Starts work with the client of this thread, as a task of this thread. False if it has none.
    pub fn spawn<F>(&self, work: impl FnOnce(HttpClient) -> F + Send + 'static) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        let Some(thread) = Arbiter::try_current() else {
            return false;
        };
        let clients = self.clone();
        // The asking task may be one that other threads could have: only the thread's own loop may start local ones.
        thread.spawn_fn(move || {
            actix_rt::spawn(work(clients.here()));
        })
    }

    /// Does work with the client of the thread that first asks how it goes, as a task of that thread. Dropping the
    /// future ends the work. Nothing is returned if the work panicked, or the thread has no client.
    pub async fn work<T, F>(&self, work: impl FnOnce(HttpClient) -> F + Send + 'static) -> Option<T>
    where
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (mut asker, done) = oneshot::channel();
        self.spawn(move |client| {
            let work = work(client);
            async move {
                tokio::select! {
                    biased;
                    () = asker.closed() => {}
                    done = work => drop(asker.send(done)),
                }
            }
        });
        done.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent<T: Send>(value: T) -> T {
        value
    }

    #[actix_rt::test]
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

    /// Tasks that could move to other threads are polled outside of what local tasks live in.
    #[actix_rt::test]
    async fn any_task_of_a_thread_may_ask() {
        let clients = HttpClients::new(HttpClientConfig::default());
        let asking = clients.clone();
        let asked = tokio::spawn(async move { asking.work(async |_| 7).await });
        assert_eq!(asked.await.unwrap(), Some(7));
        // And a thread without a loop hears that it cannot.
        let stranger = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(clients.work(async |_| 7))
        });
        assert_eq!(stranger.join().unwrap(), None);
    }
}
