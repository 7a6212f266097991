//! What the outer rooms hand in, so that everything here also runs under virtual time and on a simulated disk.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::upstream::http::AddressRule;

/// Tells the wall-clock time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

/// Looks up an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Reads small files: key sets, key lists, secrets.
pub trait ReadFile: Send + Sync + 'static {
    /// Returns the content of a file of at most `cap` bytes; a larger one is an error. May block: never called on the
    /// way of a request.
    fn read(&self, path: &Path, cap: usize) -> io::Result<Vec<u8>>;
}

/// Fetches the JWKS document of an issuer.
pub trait JwksFetch: Send + Sync + 'static {
    /// Gets `url`: status 200 only, no redirect followed, at most [`super::jwt::JWKS_MAX_BYTES`] bytes read. The caller
    /// stops waiting after [`super::jwt::JWKS_TIMEOUT`]. The host may lead only to `addresses`. The error is a text for
    /// the log.
    fn fetch(&self, url: &str, addresses: AddressRule)
    -> BoxFuture<'static, Result<Bytes, String>>;
}

/// Everything from outside that the built-ins use.
#[derive(Clone)]
pub struct Outside {
    /// The wall clock.
    pub clock: Clock,
    /// The disk.
    pub files: Arc<dyn ReadFile>,
    /// The environment variables.
    pub environment: Environment,
    /// The way to the JWKS documents of issuers.
    pub jwks: Arc<dyn JwksFetch>,
}

/// The real disk. Relative paths are relative to `base`, which is the directory of the configuration file.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Where relative paths begin; empty: the working directory.
    pub base: PathBuf,
}

/// Refuses to fetch anything: for gateways without a JWT issuer, and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFetch;

// === impl Clock ===

impl Clock {
    /// A clock that asks `now` for the seconds since 1970-01-01T00:00:00Z.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The clock of the operating system. Only outer rooms ask for it.
    pub fn system() -> Self {
        Self::new(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs())
        })
    }

    /// Returns the seconds since 1970-01-01T00:00:00Z.
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({})", self.now())
    }
}

// === impl Outside ===

impl Outside {
    /// The real clock, disk (relative to `base`) and environment, with `jwks` to reach issuers.
    pub fn real(base: impl Into<PathBuf>, jwks: Arc<dyn JwksFetch>) -> Self {
        Self {
            clock: Clock::system(),
            files: Arc::new(Disk { base: base.into() }),
            environment: Arc::new(|name| std::env::var(name).ok()),
            jwks,
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outside").finish_non_exhaustive()
    }
}

// === impl Disk ===

impl ReadFile for Disk {
    fn read(&self, path: &Path, cap: usize) -> io::Result<Vec<u8>> {
        let file = std::fs::File::open(self.base.join(path))?;
        let mut content = Vec::new();
        let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut content)?;
        if content.len() > cap {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {cap} bytes"),
            ));
        }
        Ok(content)
    }
}

// === impl NoFetch ===

impl JwksFetch for NoFetch {
    fn fetch(
        &self,
        _url: &str,
        _addresses: AddressRule,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(std::future::ready(Err(
            "nothing is fetched in this process".to_owned(),
        )))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A clock, a disk, an environment and a network that a test moves by hand.

    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    pub(crate) const NOW: u64 = 1_800_000_000;

    /// The world of a test.
    #[derive(Clone)]
    pub(crate) struct World(Arc<Inner>);

    struct Inner {
        now: AtomicU64,
        files: Mutex<HashMap<PathBuf, Vec<u8>>>,
        variables: Mutex<HashMap<String, String>>,
        pages: Mutex<HashMap<String, Result<Bytes, String>>>,
        fetches: AtomicUsize,
    }

    impl World {
        pub(crate) fn new() -> Self {
            Self(Arc::new(Inner {
                now: AtomicU64::new(NOW),
                files: Mutex::default(),
                variables: Mutex::default(),
                pages: Mutex::default(),
                fetches: AtomicUsize::new(0),
            }))
        }

        pub(crate) fn outside(&self) -> Outside {
            let (clock, variables) = (self.clone(), self.clone());
            Outside {
                clock: Clock::new(move || clock.0.now.load(Ordering::SeqCst)),
                files: Arc::new(self.clone()),
                environment: Arc::new(move |name| {
                    variables.0.variables.lock().unwrap().get(name).cloned()
                }),
                jwks: Arc::new(self.clone()),
            }
        }

        pub(crate) fn pass(&self, seconds: u64) {
            self.0.now.fetch_add(seconds, Ordering::SeqCst);
        }

        pub(crate) fn file(&self, path: &str, content: impl Into<Vec<u8>>) {
            self.0
                .files
                .lock()
                .unwrap()
                .insert(path.into(), content.into());
        }

        pub(crate) fn variable(&self, name: &str, value: &str) {
            self.0
                .variables
                .lock()
                .unwrap()
                .insert(name.into(), value.into());
        }

        pub(crate) fn page(&self, url: &str, answer: Result<String, String>) {
            self.0
                .pages
                .lock()
                .unwrap()
                .insert(url.into(), answer.map(Bytes::from));
        }

        pub(crate) fn fetches(&self) -> usize {
            self.0.fetches.load(Ordering::SeqCst)
        }
    }

    impl ReadFile for World {
        fn read(&self, path: &Path, cap: usize) -> io::Result<Vec<u8>> {
            let files = self.0.files.lock().unwrap();
            let content = files
                .get(path)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            if content.len() > cap {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            Ok(content.clone())
        }
    }

    impl JwksFetch for World {
        fn fetch(
            &self,
            url: &str,
            _addresses: AddressRule,
        ) -> BoxFuture<'static, Result<Bytes, String>> {
            self.0.fetches.fetch_add(1, Ordering::SeqCst);
            let answer = self.0.pages.lock().unwrap().get(url).cloned();
            Box::pin(async move {
                tokio::task::yield_now().await;
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        }
    }
}
