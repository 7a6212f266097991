//! From names to addresses: every name is asked for once at a time, whoever wants to know.
//!
//! The name service of the system blocks whoever asks it, for as long as it likes. So it is asked on threads of their
//! own, at most one for each name and [`MAX_LOOKUPS`] altogether: a name that hangs costs its own server, not the
//! others, and no thread pool.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long an answer is good. Short, so that a server may move; long enough for a burst of connections.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// How long it is good that there is none.
const BAD_FOR: Duration = Duration::from_secs(1);
/// How long is waited for an answer. The lookup goes on, and its answer is there for who comes later.
const PATIENCE: Duration = Duration::from_secs(4);
/// Lookups under way at once.
const MAX_LOOKUPS: usize = 32;
/// Names that are remembered.
const MAX_NAMES: usize = 1024;

/// Knows the addresses of names. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

/// Whom to ask.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a host. May block, and for long.
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Why there is no address.
#[derive(Clone, Debug, Error)]
pub(super) enum NameError {
    /// What the name service said.
    #[error("{0}")]
    Failed(Arc<str>),
    #[error("the name service does not answer")]
    Slow,
    #[error("{MAX_LOOKUPS} lookups are under way")]
    Busy,
}

type Found = Result<Arc<[IpAddr]>, Arc<str>>;

struct Shared {
    lookup: Box<dyn Lookup>,
    patience: Duration,
    known: Mutex<HashMap<Box<str>, Known>>,
}

enum Known {
    /// Until then.
    Found(Found, Instant),
    /// Being asked for since then.
    Asked(watch::Receiver<Option<Found>>, Instant),
}

/// The name service of the operating system.
struct System;

// === impl Names ===

impl Names {
    /// Asks somebody else than the operating system.
    pub fn from(lookup: impl Lookup) -> Self {
        Self::with_patience(lookup, PATIENCE)
    }

    pub(super) fn with_patience(lookup: impl Lookup, patience: Duration) -> Self {
        Self(Arc::new(Shared {
            lookup: Box::new(lookup),
            patience,
            known: Mutex::default(),
        }))
    }

    /// The addresses of a host, at least one.
    pub(super) async fn addresses(&self, host: &str) -> Result<Arc<[IpAddr]>, NameError> {
        let (mut answer, since) = match self.ask(host)? {
            Known::Found(found, _) => return found.map_err(NameError::Failed),
            Known::Asked(answer, since) => (answer, since),
        };
        // Who comes late does not wait long for what has hung for long.
        let left = self.0.patience.saturating_sub(since.elapsed());
        let found = match timeout(left, answer.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(_)) => None,
            Err(_) => return Err(NameError::Slow),
        };
        let ended = || Err(Arc::from("the lookup ended without an answer"));
        found.unwrap_or_else(ended).map_err(NameError::Failed)
    }

    /// What is known, or the lookup that is under way.
    fn ask(&self, host: &str) -> Result<Known, NameError> {
        let mut known = self.0.known();
        let now = Instant::now();
        match known.get(host) {
            Some(Known::Found(found, until)) if now < *until => {
                return Ok(Known::Found(found.clone(), *until));
            }
            Some(Known::Asked(answer, since)) if answer.has_changed().is_ok() => {
                return Ok(Known::Asked(answer.clone(), *since));
            }
            _ => {}
        }
        known.retain(|_, known| match known {
            Known::Found(_, until) => now < *until,
            Known::Asked(answer, _) => answer.has_changed().is_ok(),
        });
        let asked = known
            .values()
            .filter(|known| matches!(known, Known::Asked(..)))
            .count();
        if asked >= MAX_LOOKUPS || known.len() >= MAX_NAMES {
            return Err(NameError::Busy);
        }
        let (sender, answer) = watch::channel(None);
        let (shared, name) = (Arc::clone(&self.0), Box::<str>::from(host));
        let thread = thread::Builder::new().name("weir-names".to_owned());
        let begun = thread.spawn(move || shared.look_up(&name, &sender));
        begun.map_err(|error| NameError::Failed(error.to_string().into()))?;
        known.insert(host.into(), Known::Asked(answer.clone(), now));
        Ok(Known::Asked(answer, now))
    }
}

impl Default for Names {
    /// Asks the operating system.
    fn default() -> Self {
        Self::from(System)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Names")
            .field("known", &self.0.known().len())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, remembers and tells. On a thread of its own.
    fn look_up(&self, host: &str, answer: &watch::Sender<Option<Found>>) {
        let found: Found = match self.lookup.addresses(host) {
            Ok(addresses) if addresses.is_empty() => Err("the name has no address".into()),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(error.to_string().into()),
        };
        let good_for = if found.is_ok() { GOOD_FOR } else { BAD_FOR };
        let until = Instant::now() + good_for;
        let known = Known::Found(found.clone(), until);
        self.known().insert(host.into(), known);
        answer.send_replace(Some(found));
    }
}

// === impl System ===

impl Lookup for System {
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in (host, 0).to_socket_addrs()? {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Condvar;

    use super::*;

    /// Answers after it was let go, and counts.
    #[derive(Default)]
    struct Desk {
        asked: Mutex<HashMap<String, usize>>,
        held: Mutex<Vec<String>>,
        bell: Condvar,
    }

    #[derive(Clone, Default)]
    struct Shelf(Arc<Desk>);

    impl Shelf {
        fn holding(hosts: &[&str]) -> Self {
            let shelf = Self::default();
            *shelf.0.held.lock().unwrap() = hosts.iter().map(ToString::to_string).collect();
            shelf
        }

        fn let_go(&self) {
            self.0.held.lock().unwrap().clear();
            self.0.bell.notify_all();
        }

        fn asked(&self, host: &str) -> usize {
            self.0.asked.lock().unwrap().get(host).copied().unwrap_or(0)
        }
    }

    impl Lookup for Shelf {
        fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            *self
                .0
                .asked
                .lock()
                .unwrap()
                .entry(host.to_owned())
                .or_default() += 1;
            let held = self.0.held.lock().unwrap();
            let held = self
                .0
                .bell
                .wait_while(held, |held| held.iter().any(|name| name == host));
            drop(held.unwrap());
            if host.starts_with("no-") {
                return Err(io::Error::other("no such name"));
            }
            Ok(vec![IpAddr::from([10, 0, 0, 1])])
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_whoever_wants_to_know() {
        let shelf = Shelf::holding(&["slow"]);
        let names = Names::from(shelf.clone());
        let many: Vec<_> = (0..100)
            .map(|_| {
                let names = names.clone();
                tokio::spawn(async move { names.addresses("slow").await.unwrap().len() })
            })
            .collect();
        // Others are not held up by it.
        names.addresses("quick").await.unwrap();
        shelf.let_go();
        for one in many {
            assert_eq!(one.await.unwrap(), 1);
        }
        names.addresses("slow").await.unwrap();
        assert_eq!((shelf.asked("slow"), shelf.asked("quick")), (1, 1));
        for _ in 0..2 {
            let none = names.addresses("no-such").await;
            assert!(matches!(none, Err(NameError::Failed(_))), "{none:?}");
        }
        assert_eq!(shelf.asked("no-such"), 1);
    }

    #[tokio::test]
    async fn a_name_that_hangs_is_not_waited_for_again() {
        let hosts: Vec<String> = (0..MAX_LOOKUPS)
            .map(|number| format!("hangs-{number}"))
            .collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let shelf = Shelf::holding(&hosts);
        let names = Names::with_patience(shelf.clone(), Duration::from_millis(50));
        for host in &hosts[1..] {
            let slow = names.addresses(host).await;
            assert!(matches!(slow, Err(NameError::Slow)), "{slow:?}");
        }
        names.addresses("quick").await.unwrap();
        for _ in 0..2 {
            let slow = names.addresses(hosts[0]).await;
            assert!(matches!(slow, Err(NameError::Slow)), "{slow:?}");
        }
        assert_eq!(shelf.asked(hosts[0]), 1);
        let busy = names.addresses("one more").await;
        assert!(matches!(busy, Err(NameError::Busy)), "{busy:?}");
        // What is known is known all the same, and what comes late is not lost.
        names.addresses("quick").await.unwrap();
        shelf.let_go();
        while names.addresses(hosts[0]).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(shelf.asked(hosts[0]), 1);
    }
}
