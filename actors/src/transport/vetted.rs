//! A transport whose plugin has to be what is required of it, and which can be exchanged for another one while the plugin
//! is loaded.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport, Requires, Said,
};

/// Reaches a plugin by another transport, and has nothing to do with one that does not fit. Cheap to clone; all clones
/// are the same.
///
/// Costs a call nothing but one indirection: versions are compared when the plugin says that it can serve.
#[derive(Clone)]
pub struct VettedTransport(Arc<ArcSwap<Way>>);

/// How a plugin is reached, and what is required of it.
#[derive(Clone)]
pub struct Way {
    /// How it is reached.
    pub transport: Arc<dyn PluginTransport>,
    /// What is required of it.
    pub requires: Requires,
    /// What is known of it if it says nothing itself.
    pub said: Said,
}

struct VettedClient {
    client: Arc<dyn PluginClient>,
    requires: Requires,
    said: Said,
    /// Why it does not fit.
    unfit: OnceLock<String>,
    refused: Notify,
}

// === impl VettedTransport ===

impl VettedTransport {
    /// A transport that goes this way.
    pub fn new(way: Way) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(way)))
    }

    /// Goes another way from the next instance on. Returns the way before.
    pub fn exchange(&self, way: Way) -> Way {
        Way::clone(&self.0.swap(Arc::new(way)))
    }
}

impl PluginTransport for VettedTransport {
    fn kind(&self) -> &'static str {
        self.0.load().transport.kind()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        let way = self.0.load_full();
        Box::pin(async move {
            let client: Arc<dyn PluginClient> = Arc::new(VettedClient {
                client: way.transport.connect().await?,
                requires: way.requires.clone(),
                said: way.said.clone(),
                unfit: OnceLock::new(),
                refused: Notify::new(),
            });
            Ok(client)
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.load().transport.files()
    }
}

// === impl VettedClient ===

impl PluginClient for VettedClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        self.client.call(call)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.client.close()
    }

    /// One that does not fit is not healthy, and has ended as far as the gateway is concerned: asking again would not help.
    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async {
            self.client.health().await?;
            match self.requires.check(&self.said()) {
                Ok(()) => Ok(()),
                Err(unfit) => {
                    let why = self.unfit.get_or_init(|| unfit.to_string()).clone();
                    self.refused.notify_waiters();
                    Err(CallError::Refused(why))
                }
            }
        })
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let refused = async {
                loop {
                    let refused = self.refused.notified();
                    if let Some(why) = self.unfit.get() {
                        return format!("it was refused: {why}");
                    }
                    refused.await;
                }
            };
            tokio::select! {
                biased;
                why = refused => why,
                how = self.client.ended() => how,
            }
        })
    }

    fn version(&self) -> String {
        let version = self.said().version;
        version.unwrap_or_else(|| self.client.version())
    }

    fn said(&self) -> Said {
        self.client.said().or(&self.said)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::MockTransport;

    fn way(requires: &str, said: &str) -> Way {
        Way {
            transport: Arc::new(MockTransport::ok()),
            requires: serde_json::from_str(requires).unwrap(),
            said: serde_json::from_str(said).unwrap(),
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_another_way_can_be_taken() {
        let old = way(r#"{"version":">=1.2"}"#, r#"{"version":"1.1.9"}"#);
        let transport = VettedTransport::new(old);
        let client = transport.connect().await.unwrap();
        let refused = "it is version 1.1.9, and >=1.2 is required";
        assert_eq!(
            client.health().await,
            Err(CallError::Refused(refused.to_owned()))
        );
        assert_eq!(client.ended().await, format!("it was refused: {refused}"));

        transport.exchange(way(r#"{"version":">=1.2"}"#, r#"{"version":"1.2.0"}"#));
        let client = transport.connect().await.unwrap();
        assert_eq!(client.health().await, Ok(()));
        assert_eq!(client.version(), "1.2.0");
        let params = json!({ "name": "n", "value": 1 });
        let call = Call::within(std::time::Duration::from_secs(1), "record-counter", &params);
        assert!(client.call(call).await.is_ok());
        assert_eq!(transport.kind(), MockTransport::ok().kind());
    }
}
