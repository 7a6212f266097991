//! What a plugin has to do, one thing after the other, asked of one that runs.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use weir_actors::plugin::{Call, CallError, PluginClient, PluginTransport, Requires, Role};

/// How long it may take until it can be spoken to, and then until it is healthy.
const START_LIMIT: Duration = Duration::from_secs(15);
/// What a plugin should take until it is healthy.
const START_GOAL: Duration = Duration::from_secs(2);
/// Between two questions for its health.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// What a process has after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Calls at the same time.
const CROWD: usize = 16;
/// As long as parameters may be, less what is around them.
const LONG: usize = 1000 * 1024;

/// What came of one check.
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) grade: Grade,
    pub(super) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    Passed,
    /// The gateway can live with it.
    Warned,
    Failed,
}

// === impl Grade ===

impl Grade {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Warned => "warning",
            Self::Failed => "FAILED",
        }
    }
}

/// Starts a plugin, asks it everything, and ends it. A plugin that does not start is asked nothing.
pub(super) async fn run(transport: &dyn PluginTransport, role: Option<Role>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |check, grade, detail: String| {
        findings.push(Finding {
            check,
            grade,
            detail,
        });
    };
    let begun = Instant::now();
    let client = match timeout(START_LIMIT, transport.connect()).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            let error = error.to_string();
            let advice = match start_advice(transport.kind(), &error) {
                "" => String::new(),
                advice => format!("; {advice}"),
            };
            find("start", Grade::Failed, format!("{error}{advice}"));
            return findings;
        }
        Err(_) => {
            let detail = format!("nothing was to be reached within {START_LIMIT:?}");
            find("start", Grade::Failed, detail);
            return findings;
        }
    };
    let client = client.as_ref();
    find("start", Grade::Passed, String::new());
    let healthy = becomes_healthy(client).await;
    let took = begun.elapsed();
    match healthy {
        Ok(()) if took <= START_GOAL => {
            find("health", Grade::Passed, format!("after {}", shown(took)));
        }
        Ok(()) => {
            let detail = format!(
                "only after {}; aim at less than {}",
                shown(took),
                shown(START_GOAL)
            );
            find("health", Grade::Warned, detail);
        }
        Err(error) => {
            find(
                "health",
                Grade::Failed,
                format!("{error}; answer GET /health with 200"),
            );
            let _closed = client.close().await;
            return findings;
        }
    }
    let said = client.said();
    let version = said.version.clone().unwrap_or_else(|| "unknown".to_owned());
    let protocol = said.protocol.clone().unwrap_or_else(|| "1".to_owned());
    match Requires::default().check(&said) {
        Ok(()) => find(
            "versions",
            Grade::Passed,
            format!("version {version}, protocol {protocol}"),
        ),
        Err(unfit) => find("versions", Grade::Failed, unfit.to_string()),
    }
    let unknown = call(client, "weir-test-no-such-method", &json!({})).await;
    let (grade, detail) = match unknown {
        Err(CallError::UnknownMethod(_) | CallError::Refused(_)) => (Grade::Passed, String::new()),
        Ok(_) => (
            Grade::Warned,
            "a method that it does not have is answered as if it had it; answer with an error"
                .to_owned(),
        ),
        Err(error) => (Grade::Failed, error.to_string()),
    };
    find("unknown method", grade, detail);
    if let Some(role) = role {
        for (check, grade, detail) in plays(client, role).await {
            find(check, grade, detail);
        }
    }
    let (method, params) = harmless(role);
    let mut long = params.clone();
    if let Some(members) = long.as_object_mut() {
        members.insert("weir_test".to_owned(), "x".repeat(LONG).into());
    }
    let answered = call(client, method, &long).await;
    let (grade, detail) = match (answered, timeout(CALL_LIMIT, client.health()).await) {
        (Ok(_) | Err(CallError::Refused(_) | CallError::UnknownMethod(_)), Ok(Ok(()))) => {
            (Grade::Passed, String::new())
        }
        (Err(error), Ok(Ok(()))) => (
            Grade::Warned,
            format!("{error}; take up to 1 MiB, or answer with an error"),
        ),
        (_, Ok(Err(error))) => (Grade::Failed, format!("it did not survive them: {error}")),
        (_, Err(_)) => (Grade::Failed, "it does not answer any more".to_owned()),
    };
    find("1 MB of params", grade, detail);
    let crowd = join_all((0..CROWD).map(|_| call(client, method, &params))).await;
    let unanswered = crowd.iter().find_map(|answer| match answer {
        Ok(_) | Err(CallError::Refused(_) | CallError::UnknownMethod(_)) => None,
        Err(error) => Some(error.to_string()),
    });
    match unanswered {
        None => find("16 at once", Grade::Passed, String::new()),
        Some(error) => find(
            "16 at once",
            Grade::Failed,
            format!("{error}; answer calls in parallel"),
        ),
    }
    let ending = Instant::now();
    let closed = timeout(GRACE * 2, client.close()).await;
    let took = ending.elapsed();
    match closed {
        Ok(Ok(())) if took < GRACE => find("end", Grade::Passed, format!("in {}", shown(took))),
        Ok(Ok(())) => find(
            "end",
            Grade::Failed,
            "it had to be killed; end on SIGTERM".to_owned(),
        ),
        Ok(Err(error)) => find("end", Grade::Failed, error.to_string()),
        Err(_) => find("end", Grade::Failed, "it does not end".to_owned()),
    }
    findings
}

/// What to do about a plugin that does not start.
fn start_advice(kind: &str, error: &str) -> &'static str {
    match kind {
        _ if error.contains("cannot start") => {
            "check the path, and whether the account that it is started as may execute it"
        }
        "subprocess" => "print PORT=<n> as the first line on standard output, and flush it",
        "sidecar" | "mcp" => "is it running, at this address?",
        _ => "",
    }
}

async fn becomes_healthy(client: &dyn PluginClient) -> Result<(), String> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let sick = tokio::select! {
            health = client.health() => match health {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            },
            how = client.ended() => return Err(format!("it ended: {how}")),
            () = tokio::time::sleep_until(deadline) => "no answer".to_owned(),
        };
        if Instant::now() >= deadline {
            return Err(sick);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A call as its answer means it.
async fn call(client: &dyn PluginClient, method: &str, params: &Value) -> Result<Value, CallError> {
    let call = Call::within(CALL_LIMIT, method, params);
    let answer = tokio::select! {
        answer = client.call(call) => answer?,
        how = client.ended() => return Err(CallError::Lost(how)),
        () = tokio::time::sleep(CALL_LIMIT) => return Err(CallError::Timeout),
    };
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|error| CallError::Malformed(error.to_string()))?;
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        return Err(CallError::Refused(error.to_string()));
    }
    Ok(answer.get("result").cloned().unwrap_or(answer))
}

type Line = (&'static str, Grade, String);

/// Something that a plugin may be asked any number of times.
fn harmless(role: Option<Role>) -> (&'static str, Value) {
    match role {
        Some(Role::AuthProvider) => (
            "validate_credential",
            json!({ "type": "api_key", "value": "weir-test" }),
        ),
        Some(Role::PolicyEvaluator) => ("check_access", principal()),
        Some(Role::CredentialStorage) => ("list_credentials", json!({ "user_id": "weir-test" })),
        Some(Role::McpProvisioner) => ("list", json!({ "user_id": "weir-test" })),
        Some(Role::AuthProxy) => ("inject_credentials", request()),
        Some(Role::AuditSink) => ("log_event", event()),
        Some(Role::Telemetry) | None => {
            ("record-counter", json!({ "name": "weir.test", "value": 1 }))
        }
    }
}

fn principal() -> Value {
    json!({ "user_id": "weir-test", "roles": [], "groups": [], "mcp_server": "weir-test" })
}

fn request() -> Value {
    json!({ "user_id": "weir-test", "mcp_server": "weir-test", "target_url": "http://127.0.0.1:1/mcp", "method": "POST", "headers": {} })
}

fn event() -> Value {
    json!({ "timestamp": "2026-01-01T00:00:00Z", "event_type": "weir.test", "user_id": "weir-test", "result": "ok" })
}

/// The calls of a role, good and bad.
async fn plays(client: &dyn PluginClient, role: Role) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    match role {
        Role::AuthProvider => {
            let (method, params) = harmless(Some(role));
            let named = |answer: &Value| {
                answer["user_id"]
                    .as_str()
                    .is_some_and(|user| !user.is_empty())
            };
            lines.push(match call(client, method, &params).await {
                Ok(answer) if named(&answer) => (method, Grade::Warned, "a made-up credential is taken for somebody's; refuse what you do not know".to_owned()),
                Ok(_) => (method, Grade::Failed, "the answer has no `user_id` and is no error; the gateway would refuse everybody".to_owned()),
                Err(CallError::Refused(_)) => (method, Grade::Passed, "a made-up credential is refused".to_owned()),
                Err(error) => (method, Grade::Failed, error.to_string()),
            });
        }
        Role::PolicyEvaluator => {
            let (method, params) = harmless(Some(role));
            let is_good = |answer: &Value| answer["allowed"].is_boolean();
            lines.push(
                expect(
                    client,
                    method,
                    &params,
                    is_good,
                    "`allowed` is not true or false",
                )
                .await,
            );
        }
        Role::AuthProxy => {
            let (method, params) = harmless(Some(role));
            let is_good = |answer: &Value| answer["headers"].is_object();
            lines.push(
                expect(
                    client,
                    method,
                    &params,
                    is_good,
                    "`headers` is not an object",
                )
                .await,
            );
        }
        Role::AuditSink => {
            lines.push(expect(client, "log_event", &event(), |_| true, "").await);
        }
        Role::McpProvisioner => {
            let (method, params) = harmless(Some(role));
            lines.push(
                expect(
                    client,
                    method,
                    &params,
                    Value::is_array,
                    "the answer is not a list",
                )
                .await,
            );
        }
        Role::Telemetry => {
            for (method, value) in [
                ("record-counter", json!(1)),
                ("record-histogram", json!(1.5)),
                ("record-gauge", json!(-1)),
            ] {
                let params =
                    json!({ "name": "weir.test", "value": value, "attributes": { "by": "weir" } });
                lines.push(expect(client, method, &params, |_| true, "").await);
            }
        }
        Role::CredentialStorage => {
            let key = |more: Value| {
                let mut key = json!({ "user_id": "weir-test", "mcp_server": "weir-test", "credential_type": "weir-test" });
                if let (Some(key), Value::Object(more)) = (key.as_object_mut(), more) {
                    key.extend(more);
                }
                key
            };
            let value = json!({ "value": "made up by weir" });
            lines.push(expect(client, "store_credential", &key(value), |_| true, "").await);
            let same = |answer: &Value| answer["value"] == "made up by weir";
            lines.push(
                expect(
                    client,
                    "retrieve_credential",
                    &key(json!({})),
                    same,
                    "`value` is not what was stored",
                )
                .await,
            );
            let user = json!({ "user_id": "weir-test" });
            lines.push(
                expect(
                    client,
                    "list_credentials",
                    &user,
                    Value::is_array,
                    "the answer is not a list",
                )
                .await,
            );
            lines.push(expect(client, "delete_credential", &key(json!({})), |_| true, "").await);
        }
    }
    let (method, _) = harmless(Some(role));
    lines.push(match call(client, method, &json!({})).await {
        Ok(_) => ("without params", Grade::Warned, format!("{method} without its parameters is answered as if they were there; answer with an error")),
        Err(CallError::Refused(_)) => ("without params", Grade::Passed, String::new()),
        Err(error) => ("without params", Grade::Failed, error.to_string()),
    });
    lines
}

async fn expect(
    client: &dyn PluginClient,
    method: &'static str,
    params: &Value,
    is_good: impl Fn(&Value) -> bool,
    otherwise: &str,
) -> Line {
    match call(client, method, params).await {
        Ok(answer) if is_good(&answer) => (method, Grade::Passed, String::new()),
        Ok(_) => (method, Grade::Failed, otherwise.to_owned()),
        Err(error) => (method, Grade::Failed, error.to_string()),
    }
}

fn shown(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
