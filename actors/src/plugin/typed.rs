//! Plugins by role: the calls of the role as functions, and the answers as types. An answer that lacks what it must
//! have is an error, so that nobody is let in by an empty one.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_plugin_protocol::{Credentials, UserPrincipal};

use super::client::CallError;
use super::handle::PluginHandle;

/// A plugin that says who is calling.
#[derive(Clone, Debug)]
pub struct AuthClient(pub(super) PluginHandle);

/// A plugin that decides.
#[derive(Clone, Debug)]
pub struct PolicyClient(pub(super) PluginHandle);

/// A plugin that records.
#[derive(Clone, Debug)]
pub struct AuditClient(pub(super) PluginHandle);

/// A plugin that counts and measures.
#[derive(Clone, Debug)]
pub struct TelemetryClient(pub(super) PluginHandle);

/// What a policy plugin decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Decision {
    /// Whether access is allowed.
    pub allowed: bool,
    /// Why, or why not.
    #[serde(default)]
    pub reason: String,
}

// === impl AuthClient ===

impl AuthClient {
    /// Says who presented the credentials.
    ///
    /// # Errors
    /// The plugin refuses, cannot be asked, or names nobody.
    pub async fn validate_credential(
        &self,
        credentials: &Credentials,
    ) -> Result<UserPrincipal, CallError> {
        let params = json!({ "type": credentials.kind, "value": credentials.value.expose() });
        let answer = self.0.call("validate_credential", &params).await?;
        let principal: UserPrincipal = serde_json::from_slice(&answer).map_err(malformed)?;
        if principal.user_id.is_empty() {
            return Err(CallError::Malformed("`user_id` is empty".to_owned()));
        }
        Ok(principal)
    }
}

// === impl PolicyClient ===

impl PolicyClient {
    /// Decides whether a principal may use a server.
    ///
    /// # Errors
    /// The plugin cannot be asked or does not say. Nobody may do anything then.
    pub async fn check_access(
        &self,
        principal: &UserPrincipal,
        mcp_server: &str,
    ) -> Result<Decision, CallError> {
        let mut params = json!({
            "user_id": principal.user_id,
            "roles": principal.roles,
            "groups": principal.groups,
            "mcp_server": mcp_server,
        });
        if let (Some(tenant), Some(params)) = (&principal.tenant_id, params.as_object_mut()) {
            params.insert("tenant_id".to_owned(), tenant.as_str().into());
        }
        let answer = self.0.call("check_access", &params).await?;
        serde_json::from_slice(&answer).map_err(malformed)
    }
}

// === impl AuditClient ===

impl AuditClient {
    /// Records an event, an object with `event_type` and what else the contract has.
    ///
    /// # Errors
    /// It was not recorded, as far as anybody knows.
    pub async fn log_event(&self, event: Map<String, Value>) -> Result<(), CallError> {
        self.0
            .call("log_event", &Value::Object(event))
            .await
            .map(|_| ())
    }
}

// === impl TelemetryClient ===

impl TelemetryClient {
    /// Adds to a counter.
    ///
    /// # Errors
    /// It was not counted, as far as anybody knows.
    pub async fn record_counter(
        &self,
        name: &str,
        value: i64,
        attributes: &[(&str, &str)],
    ) -> Result<(), CallError> {
        self.record("record-counter", name, value.into(), attributes)
            .await
    }

    /// Records one observation.
    ///
    /// # Errors
    /// It is not finite, or was not recorded, as far as anybody knows.
    pub async fn record_histogram(
        &self,
        name: &str,
        value: f64,
        attributes: &[(&str, &str)],
    ) -> Result<(), CallError> {
        self.record("record-histogram", name, value.into(), attributes)
            .await
    }

    /// Sets a gauge.
    ///
    /// # Errors
    /// It was not set, as far as anybody knows.
    pub async fn record_gauge(
        &self,
        name: &str,
        value: i64,
        attributes: &[(&str, &str)],
    ) -> Result<(), CallError> {
        self.record("record-gauge", name, value.into(), attributes)
            .await
    }

    async fn record(
        &self,
        method: &str,
        name: &str,
        value: Value,
        attributes: &[(&str, &str)],
    ) -> Result<(), CallError> {
        let attributes: Map<String, Value> = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect();
        let params = json!({ "name": name, "value": value, "attributes": attributes });
        self.0.call(method, &params).await.map(|_| ())
    }
}

fn malformed(error: serde_json::Error) -> CallError {
    CallError::Malformed(error.to_string())
}
