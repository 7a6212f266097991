//! A plugin puts credentials into requests on their last hop.

use std::sync::Arc;

use weir_plugin_protocol::credential::{ProxyRequest, ProxyResponse};
use weir_plugin_protocol::role::{Answer, AuthProxy, CredentialError};

use crate::plugin::{CallError, Registry};

/// The proxy that asks a plugin, for every request anew: what it answers may depend on every byte.
pub struct PluginProxy {
    registry: Arc<Registry>,
}

// === impl PluginProxy ===

impl PluginProxy {
    /// One that asks whoever plays the role.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

impl AuthProxy for PluginProxy {
    fn inject_credentials(
        &self,
        request: ProxyRequest,
    ) -> Answer<Result<ProxyResponse, CredentialError>> {
        let unavailable = |error: CallError| CredentialError::Unavailable(error.to_string());
        let Some(plugin) = self.registry.auth_proxy() else {
            return Answer::Now(Err(unavailable(CallError::NotRunning)));
        };
        Answer::Later(Box::pin(async move {
            let answer = plugin.inject_credentials(&request).await;
            answer.map_err(unavailable)
        }))
    }
}
