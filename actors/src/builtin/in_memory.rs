//! The `in-memory` provider: implementations that the `plugins` block of the configuration selects by name, one
//! create function for each kind of plugin.

use std::convert::Infallible;
use std::sync::Arc;

use thiserror::Error;
use weir_plugin_protocol::role::{AuthProvider, PolicyEvaluator, TelemetryPlugin};

use super::always_allow::AlwaysAllow;
use super::audit_lines::AuditTarget;
use super::desktop_implicit::DesktopImplicit;
use super::noop_telemetry::NoopTelemetry;

/// Who implements a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The gateway itself.
    InMemory,
    /// An MCP server.
    Mcp,
}

/// The kinds of plugins, by the words that errors use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginKind {
    /// Validates credentials.
    AuthProvider,
    /// Keeps the credentials of users.
    CredentialStorage,
    /// Puts credentials into upstream requests.
    AuthProxy,
    /// Records.
    AuditSink,
    /// Decides.
    PolicyEvaluator,
    /// Starts servers.
    McpProvisioner,
    /// Receives metrics.
    Telemetry,
}

/// A provider that does not exist.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown provider: {0}")]
pub struct UnknownProvider(pub String);

/// An implementation that the gateway does not have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown in-memory {} implementation: {name}", kind.as_str())]
pub struct UnknownImplementation {
    /// What it should have implemented.
    pub kind: PluginKind,
    /// The name that was asked for.
    pub name: String,
}

/// `desktop-implicit`.
pub fn create_auth_provider(
    implementation: &str,
) -> Result<Arc<dyn AuthProvider>, UnknownImplementation> {
    match implementation {
        "desktop-implicit" => Ok(Arc::new(DesktopImplicit::new())),
        _ => Err(PluginKind::AuthProvider.unknown(implementation)),
    }
}

/// No implementation in memory: storing credentials needs a plugin.
pub fn create_credential_storage(
    implementation: &str,
) -> Result<Infallible, UnknownImplementation> {
    Err(PluginKind::CredentialStorage.unknown(implementation))
}

/// No implementation in memory: the gateway's own credentials are under `credentials`.
pub fn create_auth_proxy(implementation: &str) -> Result<Infallible, UnknownImplementation> {
    Err(PluginKind::AuthProxy.unknown(implementation))
}

/// `stdout` or `stderr`: where the audit lines go.
pub fn create_audit_sink(implementation: &str) -> Result<AuditTarget, UnknownImplementation> {
    match implementation {
        "stdout" => Ok(AuditTarget::Stdout),
        "stderr" => Ok(AuditTarget::Stderr),
        _ => Err(PluginKind::AuditSink.unknown(implementation)),
    }
}

/// `always-allow`.
pub fn create_policy_evaluator(
    implementation: &str,
) -> Result<Arc<dyn PolicyEvaluator>, UnknownImplementation> {
    match implementation {
        "always-allow" => Ok(Arc::new(AlwaysAllow)),
        _ => Err(PluginKind::PolicyEvaluator.unknown(implementation)),
    }
}

/// No implementation in memory: starting servers for users needs a plugin.
pub fn create_mcp_provisioner(implementation: &str) -> Result<Infallible, UnknownImplementation> {
    Err(PluginKind::McpProvisioner.unknown(implementation))
}

/// `noop`.
pub fn create_telemetry(
    implementation: &str,
) -> Result<Arc<dyn TelemetryPlugin>, UnknownImplementation> {
    match implementation {
        "noop" => Ok(Arc::new(NoopTelemetry)),
        _ => Err(PluginKind::Telemetry.unknown(implementation)),
    }
}

// === impl Provider ===

impl Provider {
    /// Reads the value of `provider`.
    pub fn parse(name: &str) -> Result<Self, UnknownProvider> {
        match name {
            "in-memory" => Ok(Self::InMemory),
            "mcp" => Ok(Self::Mcp),
            _ => Err(UnknownProvider(name.to_owned())),
        }
    }
}

// === impl PluginKind ===

impl PluginKind {
    /// The words that errors use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthProvider => "auth provider",
            Self::CredentialStorage => "credential storage",
            Self::AuthProxy => "auth proxy",
            Self::AuditSink => "audit sink",
            Self::PolicyEvaluator => "policy evaluator",
            Self::McpProvisioner => "MCP provisioner",
            Self::Telemetry => "telemetry plugin",
        }
    }

    fn unknown(self, name: &str) -> UnknownImplementation {
        UnknownImplementation {
            kind: self,
            name: name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_plugin_protocol::UserPrincipal;
    use weir_plugin_protocol::role::{Access, Answer, TargetKind};

    use super::*;

    fn text<T>(result: Result<T, UnknownImplementation>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn what_exists_is_selected_by_name() {
        let auth = create_auth_provider("desktop-implicit").unwrap();
        let Answer::Now(Ok(user)) = auth.validate_credential(None) else {
            panic!("refused");
        };
        assert_eq!(user.user_id, "desktop-user");
        let policy = create_policy_evaluator("always-allow").unwrap();
        let access = Access {
            method: "tools/call",
            server: Some("s"),
            kind: TargetKind::Tool,
            name: Some("t"),
            arguments: None,
        };
        let nobody = UserPrincipal::named("x");
        assert!(matches!(
            policy.check_access(&nobody, &access),
            Answer::Now(Ok(()))
        ));
        assert!(policy.visible(&nobody, "s", TargetKind::Tool, "t"));
        create_telemetry("noop")
            .unwrap()
            .record_counter("c", 1, &[]);
        assert_eq!(create_audit_sink("stdout"), Ok(AuditTarget::Stdout));
        assert_eq!(create_audit_sink("stderr"), Ok(AuditTarget::Stderr));
    }

    #[test]
    fn what_does_not_exist_is_named_with_its_kind() {
        let unknown = "unknown in-memory";
        for (text, kind) in [
            (text(create_auth_provider("x")), "auth provider"),
            (text(create_credential_storage("x")), "credential storage"),
            (text(create_auth_proxy("x")), "auth proxy"),
            (text(create_audit_sink("x")), "audit sink"),
            (text(create_policy_evaluator("x")), "policy evaluator"),
            (text(create_mcp_provisioner("x")), "MCP provisioner"),
            (text(create_telemetry("x")), "telemetry plugin"),
        ] {
            assert_eq!(text, format!("{unknown} {kind} implementation: x"));
        }
        assert_eq!(
            Provider::parse("grpc").unwrap_err().to_string(),
            "unknown provider: grpc"
        );
        assert_eq!(Provider::parse("mcp"), Ok(Provider::Mcp));
    }
}
