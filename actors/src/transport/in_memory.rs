//! The transport that leads to no other place: the parts of the gateway, called by the names of the contract.
//!
//! The pipeline does not come this way. It asks the same parts directly, without JSON between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use weir_plugin_protocol::audit::AuditEvent;
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::role::{
    Access, Answer, AuthProvider, PolicyError, PolicyEvaluator, TargetKind, TelemetryPlugin,
};
use weir_plugin_protocol::{Credentials, Secret, UserPrincipal};

use crate::builtin::audit_lines::AuditLog;
use crate::builtin::static_credentials::StaticCredentials;
use crate::plugin::call;
use crate::plugin::{BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport};
use crate::upstream::UpstreamBoard;

/// A part of the gateway that plays a role.
#[derive(Clone)]
pub enum Part {
    /// Answers `validate_credential`.
    Auth(Arc<dyn AuthProvider>),
    /// Answers `check_access`. Besides the arguments of the contract it reads `method` (by default `tools/call`) and
    /// `tool`.
    Policy(Arc<dyn PolicyEvaluator>),
    /// Answers `log_event`.
    Audit(AuditLog),
    /// Answers `record-counter`, `record-histogram` and `record-gauge`.
    Telemetry(Arc<dyn TelemetryPlugin>),
    /// Answers `list_credentials`: nothing is stored for users.
    CredentialStorage,
    /// Answers `inject_credentials` with the credentials of the configuration.
    AuthProxy(UpstreamBoard),
}

/// Reaches a part of the gateway.
#[derive(Clone)]
pub struct InMemoryTransport(Part);

struct InMemoryClient {
    part: Part,
    closed: AtomicBool,
}

#[derive(Deserialize)]
struct Credential {
    r#type: CredentialKind,
    value: Secret,
}

#[derive(Deserialize)]
struct Question {
    #[serde(flatten)]
    principal: UserPrincipal,
    mcp_server: String,
    method: Option<String>,
    tool: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    timestamp: String,
    event_type: String,
    tenant_id: Option<String>,
    user_id: Option<String>,
    mcp_server: Option<String>,
    tool: Option<String>,
    #[serde(default)]
    result: String,
}

#[derive(Deserialize)]
struct Measurement {
    name: String,
    value: serde_json::Number,
    #[serde(default)]
    attributes: Map<String, Value>,
}

// === impl InMemoryTransport ===

impl InMemoryTransport {
    /// A transport to this part.
    pub fn new(part: Part) -> Self {
        Self(part)
    }
}

impl PluginTransport for InMemoryTransport {
    fn kind(&self) -> &'static str {
        "in-memory"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        let client: Arc<dyn PluginClient> = Arc::new(InMemoryClient {
            part: self.0.clone(),
            closed: AtomicBool::new(false),
        });
        Box::pin(async move { Ok(client) })
    }
}

// === impl InMemoryClient ===

impl PluginClient for InMemoryClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        let Call { method, params, .. } = call;
        Box::pin(async move {
            if self.closed.load(Ordering::Acquire) {
                return Err(CallError::Closed);
            }
            call::check(method, params)?;
            let answer = self.part.answer(method, params).await?;
            Ok(answer.to_string().into())
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.closed.store(true, Ordering::Release);
        Box::pin(async { Ok(()) })
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

// === impl Part ===

impl Part {
    async fn answer(&self, method: &str, params: &Value) -> Result<Value, CallError> {
        match (self, method) {
            (Self::Auth(auth), "validate_credential") => validate(&**auth, params).await,
            (Self::Policy(policy), "check_access") => decide(&**policy, params).await,
            (Self::Audit(log), "log_event") => record(log, params),
            (
                Self::Telemetry(telemetry),
                "record-counter" | "record-histogram" | "record-gauge",
            ) => measure(&**telemetry, method, params),
            (Self::CredentialStorage, "list_credentials") => Ok(json!([])),
            (
                Self::CredentialStorage,
                "store_credential" | "retrieve_credential" | "delete_credential",
            ) => Err(CallError::Refused(
                "no credentials of users are stored in memory".to_owned(),
            )),
            (Self::AuthProxy(board), "inject_credentials") => {
                inject(&board.load().settings.credentials, params)
            }
            _ => Err(CallError::UnknownMethod(method.to_owned())),
        }
    }
}

async fn validate(auth: &dyn AuthProvider, params: &Value) -> Result<Value, CallError> {
    let credential: Credential = read(params)?;
    let credentials = Credentials {
        kind: credential.r#type,
        value: credential.value,
    };
    let principal = come(auth.validate_credential(Some(&credentials))).await;
    let principal = principal.map_err(|error| CallError::Refused(error.to_string()))?;
    serde_json::to_value(&*principal).map_err(|error| CallError::Malformed(error.to_string()))
}

async fn decide(policy: &dyn PolicyEvaluator, params: &Value) -> Result<Value, CallError> {
    let question: Question = read(params)?;
    let access = Access {
        method: question.method.as_deref().unwrap_or("tools/call"),
        server: Some(&question.mcp_server),
        kind: match question.tool {
            Some(_) => TargetKind::Tool,
            None => TargetKind::None,
        },
        name: question.tool.as_deref(),
        arguments: None,
    };
    let answer = policy.check_access(&question.principal, &access);
    match come(answer).await {
        Ok(()) => Ok(json!({ "allowed": true, "reason": "" })),
        Err(PolicyError::Denied(reason)) => Ok(json!({ "allowed": false, "reason": reason })),
        Err(error) => Err(CallError::Refused(error.to_string())),
    }
}

/// The log's own words are few: what the event was called and how it ended go into its detail.
fn record(log: &AuditLog, params: &Value) -> Result<Value, CallError> {
    let event: Event = read(params)?;
    let slot = log
        .reserve()
        .map_err(|error| CallError::Refused(error.to_string()))?;
    let detail = json!({
        "event_type": event.event_type,
        "result": event.result,
        "metadata": params.get("metadata"),
    });
    slot.record(&AuditEvent {
        event_id: Uuid::now_v7().to_string().into(),
        timestamp: event.timestamp.into(),
        event_type: "plugin.event",
        tenant_id: event.tenant_id.map(Into::into),
        user_id: event.user_id.map(Into::into),
        mcp_server: event.mcp_server.map(Into::into),
        tool: event.tool.map(Into::into),
        result: "ok",
        detail: Some(detail.to_string().into()),
        ..AuditEvent::default()
    });
    Ok(json!({ "result": "ok" }))
}

fn measure(
    telemetry: &dyn TelemetryPlugin,
    method: &str,
    params: &Value,
) -> Result<Value, CallError> {
    let measurement: Measurement = read(params)?;
    let attributes: Vec<(&str, &str)> = measurement
        .attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    let (name, value) = (&measurement.name, &measurement.value);
    let whole = value.as_i64().unwrap_or_default();
    match method {
        "record-counter" => telemetry.record_counter(name, whole, &attributes),
        "record-gauge" => telemetry.record_gauge(name, whole, &attributes),
        _ => telemetry.record_histogram(name, value.as_f64().unwrap_or_default(), &attributes),
    }
    Ok(json!({ "result": "ok" }))
}

fn inject(credentials: &StaticCredentials, params: &Value) -> Result<Value, CallError> {
    let mut headers = match params.get("headers") {
        Some(Value::Object(headers)) => headers.clone(),
        _ => Map::new(),
    };
    let server = params.get("mcp_server").and_then(Value::as_str);
    let own = server.and_then(|server| credentials.get(server));
    for (name, value) in own.iter().flat_map(|own| own.headers.iter()) {
        let value = value
            .to_str()
            .map_err(|_| CallError::Refused(format!("the header {name} is no text")))?;
        headers.retain(|key, _| !key.eq_ignore_ascii_case(name.as_str()));
        headers.insert(name.to_string(), value.into());
    }
    Ok(json!({ "headers": headers, "body": params.get("body") }))
}

async fn come<T>(answer: Answer<T>) -> T {
    match answer {
        Answer::Now(answer) => answer,
        Answer::Later(answer) => answer.await,
    }
}

/// The errors of serde may quote a value, which may be a secret: only the place is said.
fn read<'a, T: Deserialize<'a>>(params: &'a Value) -> Result<T, CallError> {
    T::deserialize(params)
        .map_err(|_| CallError::Refused("the parameters are not those of this method".to_owned()))
}
