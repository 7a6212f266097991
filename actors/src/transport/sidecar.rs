//! Plugins that somebody else runs: a container of the same pod, a service of the same machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use weir_plugin_protocol::Secret;

use super::http_call::HttpCall;
use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport, Said,
};
use crate::upstream::http::{HttpClientConfig, InvalidTarget};

/// Reaches a plugin at its address.
///
/// Whoever runs it starts and stops it; the gateway notices. A connection begins with the question for its health, whose
/// answer may still be that it is not ready. When nobody is there to be connected to, the instance has ended as far as the
/// gateway is concerned, and is connected to anew with growing pauses; calls fail at once in the meantime.
#[derive(Clone)]
pub struct SidecarTransport {
    url: String,
    headers: HeaderMap,
    config: HttpClientConfig,
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
        };
        transport.http()?;
        Ok(transport)
    }

    fn http(&self) -> Result<HttpCall, InvalidTarget> {
        HttpCall::new(&self.url, self.headers.clone(), self.config.clone())
    }
}

impl PluginTransport for SidecarTransport {
    fn kind(&self) -> &'static str {
        "sidecar"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async move {
            let http = self
                .http()
                .map_err(|error| ConnectError(error.to_string()))?;
            match http.health().await {
                // It is there. Whether it can serve is asked until it can.
                Ok(()) | Err(CallError::Refused(_) | CallError::UnknownMethod(_)) => {}
                Err(CallError::Unreachable(why) | CallError::Lost(why)) => {
                    return Err(ConnectError(why));
                }
                Err(error) => return Err(ConnectError(error.to_string())),
            }
            let client: Arc<dyn PluginClient> = Arc::new(SidecarClient(http));
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
