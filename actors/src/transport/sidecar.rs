//! Plugins that somebody else runs: a container of the same pod, a service of the same machine.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};
use weir_plugin_protocol::Secret;

use super::http_call::HttpCall;
use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport, Said,
};
use crate::supervisor::Backoff;
use crate::supervisor::backoff::{Failures, Jitter};
use crate::upstream::http::{AddressRule, HttpClientConfig, InvalidTarget};

/// Reaches a plugin at its address.
///
/// Whoever runs it starts and stops it; the gateway notices. A connection begins with the question for its health, whose
/// answer may still be that it is not ready. When nobody is there to be connected to, the instance has ended as far as the
/// gateway is concerned, and calls fail at once. Connecting anew is tried with growing pauses, from 100 ms to 2 s; after
/// some seconds it has failed, and the supervisor begins again.
#[derive(Clone)]
pub struct SidecarTransport {
    url: String,
    headers: HeaderMap,
    config: HttpClientConfig,
    patience: Duration,
    rule: AddressRule,
}

/// Why an address cannot be one of a plugin.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidSidecar {
    /// The address.
    #[error("{0}")]
    Url(#[from] InvalidTarget),
    /// The address has a query, behind which no path can be put.
    #[error("the address of a plugin has no query: /call and /health are put behind it")]
    Query,
    /// A header. Its value is not repeated.
    #[error("the header {0} is not one that can be sent")]
    Header(String),
}

struct SidecarClient(HttpCall);

/// How long one connecting tries. So long that absence alone is not taken for a crash loop: by default a plugin may fail
/// five times in 30 s.
const PATIENCE: Duration = Duration::from_secs(9);

/// The pauses between two tries. Sidecars of one pod shall not all be tried in step.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(100),
    min: Duration::from_millis(100),
    factor: 2.0,
    cap: Duration::from_secs(2),
    jitter: 0.2,
    reset_after: Duration::MAX,
};

// === impl SidecarTransport ===

impl SidecarTransport {
    /// A transport to `url`, below which are `/call` and `/health`. `headers` are sent with every request; their values
    /// are never logged.
    ///
    /// # Errors
    /// The address or a header is unusable.
    pub fn new(
        url: &str,
        headers: &BTreeMap<String, Secret>,
        config: HttpClientConfig,
    ) -> Result<Self, InvalidSidecar> {
        if url.contains('?') {
            return Err(InvalidSidecar::Query);
        }
        let mut map = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            let invalid = || InvalidSidecar::Header(name.clone());
            let key = HeaderName::try_from(name.as_str()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        let transport = Self {
            url: url.to_owned(),
            headers: map,
            config,
            patience: PATIENCE,
            rule: AddressRule::Auto,
        };
        transport.http()?;
        Ok(transport)
    }

    /// Sets where its name may lead. Default [`AddressRule::Auto`].
    #[must_use]
    pub fn under(mut self, rule: AddressRule) -> Self {
        self.rule = rule;
        self
    }

    /// Sets how long one connecting tries. Default 9 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn try_connect(&self) -> Result<SidecarClient, ConnectError> {
        let http = self
            .http()
            .map_err(|error| ConnectError(error.to_string()))?;
        match http.health().await {
            // It is there. Whether it can serve is asked until it can.
            Ok(()) | Err(CallError::Refused(_) | CallError::UnknownMethod(_)) => {
                Ok(SidecarClient(http))
            }
            Err(CallError::Unreachable(why) | CallError::Lost(why)) => Err(ConnectError(why)),
            Err(error) => Err(ConnectError(error.to_string())),
        }
    }

    async fn patiently(&self) -> Result<SidecarClient, ConnectError> {
        let deadline = Instant::now() + self.patience;
        let seed = RandomState::new().hash_one(&self.url);
        let (mut failures, mut jitter) = (Failures::default(), Jitter::new(seed));
        loop {
            // Who takes the connection and says nothing is not waited for either.
            let error = match timeout_at(deadline, self.try_connect()).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => error,
                Err(_) => return Err(ConnectError("no answer in time".to_owned())),
            };
            let next = Instant::now() + PAUSES.next(&mut failures, &mut jitter);
            if next >= deadline {
                return Err(error);
            }
            sleep_until(next).await;
        }
    }

    fn http(&self) -> Result<HttpCall, InvalidTarget> {
        let http = HttpCall::new(&self.url, self.headers.clone(), self.config.clone())?;
        Ok(http.under(self.rule))
    }
}

impl PluginTransport for SidecarTransport {
    fn kind(&self) -> &'static str {
        "sidecar"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async move {
            let client: Arc<dyn PluginClient> = Arc::new(self.patiently().await?);
            Ok(client)
        })
    }
}

// === impl SidecarClient ===

impl PluginClient for SidecarClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(self.0.call(call))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.0.close();
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.0.health())
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        Box::pin(self.0.gone())
    }

    fn version(&self) -> String {
        self.0.version()
    }

    fn said(&self) -> Said {
        self.0.said()
    }
}
