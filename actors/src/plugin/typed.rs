//! Plugins by role: the calls of the role as functions, and the answers as types. Every answer is read as
//! [`answer`](super::answer) says: what is missing or of another type is an error.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use weir_plugin_protocol::audit::LogEvent;
use weir_plugin_protocol::credential::{CredentialInfo, ProxyRequest, ProxyResponse};
use weir_plugin_protocol::policy::Decision;
use weir_plugin_protocol::provision::{ProvisionedServer, ServerDef};
use weir_plugin_protocol::{Credentials, Secret, UserPrincipal};

use super::answer;
use super::client::CallError;
use super::handle::PluginHandle;
use super::limits::CALL_DEADLINE;

/// The longest name of a user or tenant that a plugin may say, in bytes: it goes into every record.
const MAX_IDENTITY_BYTES: usize = 256;
/// The most roles, and the most groups, of one principal.
const MAX_MEMBERSHIPS: usize = 256;
/// The most items of a list that a plugin answers.
const MAX_ITEMS: usize = 4096;

/// A plugin that says who is calling.
#[derive(Clone, Debug)]
pub struct AuthClient(pub(super) PluginHandle);

/// A plugin that decides.
#[derive(Clone, Debug)]
pub struct PolicyClient(pub(super) PluginHandle);

/// A plugin that keeps credentials of users.
#[derive(Clone, Debug)]
pub struct CredentialClient(pub(super) PluginHandle);

/// A plugin that puts credentials into requests.
#[derive(Clone, Debug)]
pub struct ProxyClient(pub(super) PluginHandle);

/// A plugin that records.
#[derive(Clone, Debug)]
pub struct AuditClient(pub(super) PluginHandle);

/// A plugin that counts and measures.
#[derive(Clone, Debug)]
pub struct TelemetryClient(pub(super) PluginHandle);

/// A plugin that starts servers.
#[derive(Clone, Debug)]
pub struct ProvisionerClient(pub(super) PluginHandle);

/// Who a plugin says is calling, and for how long it says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The caller.
    pub principal: UserPrincipal,
    /// When the credential ends to be good, in seconds since 1970: `expires_at` of the answer, or `exp` or `expires_at`
    /// of its `metadata`.
    pub until: Option<u64>,
}

/// What a policy plugin is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub principal: &'a UserPrincipal,
    /// May use this server.
    pub mcp_server: &'a str,
    /// For that, where it is asked so closely.
    pub detail: Option<Detail<'a>>,
}

/// What exactly somebody wants of a server.
#[derive(Clone, Copy, Debug)]
pub struct Detail<'a> {
    /// The MCP method.
    pub method: &'a str,
    /// The tool's own name at its server.
    pub tool: Option<&'a str>,
    /// The name of the prompt, or the URI of the resource.
    pub target: Option<&'a str>,
}

/// Which credential is meant.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CredentialKey<'a> {
    /// Whose.
    pub user_id: &'a str,
    /// For which server.
    pub mcp_server: &'a str,
    /// What it is.
    pub credential_type: &'a str,
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
    ) -> Result<Validated, CallError> {
        let params = json!({ "type": credentials.kind, "value": credentials.value.expose() });
        let answer = self.0.call("validate_credential", &params).await?;
        validated(answer::unwrap(&answer)?)
    }
}

// === impl PolicyClient ===

impl PolicyClient {
    /// Decides whether a principal may use a server.
    ///
    /// # Errors
    /// The plugin cannot be asked or does not say. Nobody may do anything then.
    pub async fn check_access(&self, question: Question<'_>) -> Result<Decision, CallError> {
        let Question {
            principal,
            mcp_server,
            detail,
        } = question;
        let mut params = json!({
            "user_id": principal.user_id,
            "roles": principal.roles,
            "groups": principal.groups,
            "mcp_server": mcp_server,
        });
        if let Some(params) = params.as_object_mut() {
            let mut add = |name: &str, text: Option<&str>| {
                if let Some(text) = text {
                    params.insert(name.to_owned(), text.into());
                }
            };
            add("tenant_id", principal.tenant_id.as_deref());
            if let Some(detail) = detail {
                add("method", Some(detail.method));
                add("tool", detail.tool);
                add("target", detail.target);
            }
        }
        answer::read(&self.0.call("check_access", &params).await?)
    }
}

// === impl CredentialClient ===

impl CredentialClient {
    /// Stores a credential in place of the one before.
    ///
    /// # Errors
    /// It was not stored, as far as anybody knows.
    pub async fn store(&self, key: CredentialKey<'_>, value: &Secret) -> Result<(), CallError> {
        let mut params = to_value(&key)?;
        if let Some(params) = params.as_object_mut() {
            params.insert("value".to_owned(), value.expose().into());
        }
        answer::acknowledged(&self.0.call("store_credential", &params).await?)
    }

    /// Fetches a credential; nothing if none is stored: an empty `value`, `null`, or an answer without it.
    ///
    /// # Errors
    /// The plugin refuses, or cannot be asked.
    pub async fn retrieve(&self, key: CredentialKey<'_>) -> Result<Option<Secret>, CallError> {
        let params = to_value(&key)?;
        let answer = answer::unwrap(&self.0.call("retrieve_credential", &params).await?)?;
        let Value::Object(mut members) = answer else {
            return match answer {
                Value::Null => Ok(None),
                _ => Err(malformed("expected an object with `value`")),
            };
        };
        match members.remove("value") {
            Some(Value::String(value)) if !value.is_empty() => Ok(Some(Secret::new(value))),
            Some(Value::String(_) | Value::Null) => Ok(None),
            Some(_) => Err(malformed("`value` is no text")),
            None => Err(malformed("`value` is missing")),
        }
    }

    /// Forgets a credential.
    ///
    /// # Errors
    /// It is still there, as far as anybody knows.
    pub async fn delete(&self, key: CredentialKey<'_>) -> Result<(), CallError> {
        let params = to_value(&key)?;
        answer::acknowledged(&self.0.call("delete_credential", &params).await?)
    }

    /// What is stored for a user, without the values.
    ///
    /// # Errors
    /// The plugin refuses, cannot be asked, or answers more than 4096 items.
    pub async fn list(&self, user_id: &str) -> Result<Vec<CredentialInfo>, CallError> {
        let params = json!({ "user_id": user_id });
        let answer = self.0.call("list_credentials", &params).await?;
        items(answer::unwrap(&answer)?, "credentials")
    }
}

// === impl ProxyClient ===

impl ProxyClient {
    /// Puts credentials into a request.
    ///
    /// # Errors
    /// The plugin refuses, cannot be asked, or its answer has no `headers`.
    pub async fn inject_credentials(
        &self,
        request: &ProxyRequest,
    ) -> Result<ProxyResponse, CallError> {
        let params = to_value(request)?;
        answer::read(&self.0.call("inject_credentials", &params).await?)
    }
}

// === impl AuditClient ===

impl AuditClient {
    /// Records an event.
    ///
    /// # Errors
    /// It was not recorded, as far as anybody knows.
    pub async fn log_event(&self, event: &LogEvent) -> Result<(), CallError> {
        let params = to_value(event)?;
        answer::acknowledged(&self.0.call("log_event", &params).await?)
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

    /// What it answers is not looked at, unless it is a refusal.
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
        self.0.call(method, &params).await.map(drop)
    }
}

// === impl ProvisionerClient ===

impl ProvisionerClient {
    /// Starts a server for a user, who waits no longer than `patience`.
    ///
    /// # Errors
    /// The plugin refuses, cannot be asked, or what it started has no id or no endpoint, or is another user's.
    pub async fn provision(
        &self,
        server: &ServerDef,
        user_id: &str,
        patience: Duration,
    ) -> Result<ProvisionedServer, CallError> {
        let params = json!({ "server": server, "user_id": user_id });
        let deadline = Instant::now() + patience.min(CALL_DEADLINE);
        let answer = self.0.call_before(deadline, "provision", &params).await?;
        let provisioned: ProvisionedServer = answer::read(&answer)?;
        match provisioned {
            ProvisionedServer { ref id, .. } if id.is_empty() => Err(malformed("`id` is empty")),
            ProvisionedServer { ref endpoint, .. } if endpoint.is_empty() => {
                Err(malformed("`endpoint` is empty"))
            }
            ProvisionedServer {
                user_id: ref whose, ..
            } if whose != user_id => Err(malformed("`user_id` is another one")),
            provisioned => Ok(provisioned),
        }
    }

    /// Ends a server.
    ///
    /// # Errors
    /// It runs on, as far as anybody knows.
    pub async fn deprovision(&self, server_id: &str) -> Result<(), CallError> {
        let params = json!({ "server_id": server_id });
        answer::acknowledged(&self.0.call("deprovision", &params).await?)
    }

    /// The servers of a user.
    ///
    /// # Errors
    /// The plugin refuses, cannot be asked, or answers more than 4096 items.
    pub async fn list(&self, user_id: &str) -> Result<Vec<ProvisionedServer>, CallError> {
        let params = json!({ "user_id": user_id });
        items(
            answer::unwrap(&self.0.call("list", &params).await?)?,
            "servers",
        )
    }
}

/// Reads a principal. One without a name, or with one that no record could hold, is none.
fn validated(mut answer: Value) -> Result<Validated, CallError> {
    let expires_at = answer
        .as_object_mut()
        .and_then(|members| members.remove("expires_at"));
    let principal: UserPrincipal = answer::object(answer)?;
    for (key, text) in [
        ("user_id", Some(&principal.user_id)),
        ("tenant_id", principal.tenant_id.as_ref()),
    ] {
        match text {
            Some(text) if text.is_empty() => return Err(malformed(&format!("`{key}` is empty"))),
            Some(text) if text.len() > MAX_IDENTITY_BYTES => {
                return Err(malformed(&format!("`{key}` is longer than 256 bytes")));
            }
            _ => {}
        }
    }
    for (key, names) in [("roles", &principal.roles), ("groups", &principal.groups)] {
        let too_long = names.iter().any(|name| name.len() > MAX_IDENTITY_BYTES);
        if names.len() > MAX_MEMBERSHIPS || too_long {
            return Err(malformed(&format!(
                "`{key}` has more than 256 names, or one longer than 256 bytes"
            )));
        }
    }
    let metadata = &principal.metadata;
    let ends = [
        expires_at.as_ref(),
        metadata.get("exp"),
        metadata.get("expires_at"),
    ];
    let mut until = None;
    for end in ends.into_iter().flatten().filter(|end| !end.is_null()) {
        let end = moment(end).ok_or_else(|| malformed("`expires_at` is no moment"))?;
        until = Some(until.map_or(end, |until: u64| until.min(end)));
    }
    Ok(Validated { principal, until })
}

/// Seconds since 1970, as a number or as RFC 3339.
fn moment(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            let whole = number.as_u64();
            whole.or_else(|| number.as_f64().filter(|at| *at >= 0.0).map(|at| at as u64))
        }
        Value::String(text) => crate::builtin::rfc3339::parse(text),
        _ => None,
    }
}

/// A list, bare or as a member.
fn items<T: serde::de::DeserializeOwned>(answer: Value, key: &str) -> Result<Vec<T>, CallError> {
    let list = match answer {
        // The empty list of a writer who has no other.
        Value::Null => return Ok(Vec::new()),
        Value::Object(mut members) => members
            .remove(key)
            .ok_or_else(|| malformed("expected a list"))?,
        list => list,
    };
    match &list {
        Value::Array(items) if items.len() > MAX_ITEMS => Err(CallError::TooLarge),
        Value::Array(_) => answer::typed(list),
        Value::Null => Ok(Vec::new()),
        _ => Err(malformed("expected a list")),
    }
}

fn to_value(params: &impl Serialize) -> Result<Value, CallError> {
    serde_json::to_value(params).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> CallError {
    CallError::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests;
