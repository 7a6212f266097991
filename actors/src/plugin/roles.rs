//! The roles that plugins play, and the parts of the gateway that play them in memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::builtin::in_memory::PluginKind;

/// The roles that a plugin can play.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Says who is calling.
    AuthProvider,
    /// Keeps credentials for upstream servers.
    CredentialStorage,
    /// Puts credentials into upstream requests.
    AuthProxy,
    /// Records what happened.
    AuditSink,
    /// Decides who may do what.
    PolicyEvaluator,
    /// Starts MCP servers.
    McpProvisioner,
    /// Counts and measures.
    Telemetry,
}

/// The parts that are built in, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InMemory {
    /// Everybody is `desktop-user`, an admin.
    DesktopImplicit,
    /// Keys from the `auth` block.
    ApiKeys,
    /// Tokens, checked as the `auth` block says.
    Jwt,
    /// Everybody may do everything.
    AlwaysAllow,
    /// The rules of the `policy` block.
    Rules,
    /// Audit lines to standard output.
    Stdout,
    /// Audit lines to standard error.
    Stderr,
    /// Audit lines to the file that the `audit` block names.
    File,
    /// No credentials are stored or put in.
    NoCredentials,
    /// The credentials of the `credentials` block.
    StaticCredentials,
    /// Measures go to `/metrics` alone.
    Noop,
}

// === impl Role ===

impl Role {
    /// Every role, in the order of the documentation.
    pub const ALL: [Role; 7] = [
        Role::AuthProvider,
        Role::CredentialStorage,
        Role::AuthProxy,
        Role::AuditSink,
        Role::PolicyEvaluator,
        Role::McpProvisioner,
        Role::Telemetry,
    ];

    /// The role of a key.
    pub fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.key() == key)
    }

    /// The role that a plugin of this key plays unless it says another one: the role of the key, or of the short word
    /// that processes are named with.
    pub fn named(key: &str) -> Option<Self> {
        match key {
            "auth" => Some(Role::AuthProvider),
            "credentials" => Some(Role::CredentialStorage),
            "audit" => Some(Role::AuditSink),
            "policy" => Some(Role::PolicyEvaluator),
            "provisioner" => Some(Role::McpProvisioner),
            _ => Self::of(key),
        }
    }

    /// Its key in the block.
    pub fn key(self) -> &'static str {
        match self {
            Role::AuthProvider => "auth_provider",
            Role::CredentialStorage => "credential_storage",
            Role::AuthProxy => "auth_proxy",
            Role::AuditSink => "audit_sink",
            Role::PolicyEvaluator => "policy_evaluator",
            Role::McpProvisioner => "mcp_provisioner",
            Role::Telemetry => "telemetry",
        }
    }

    /// What a plugin of this role can be asked: over MCP, the tools that it must have.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Role::AuthProvider => &["validate_credential"],
            Role::CredentialStorage => &[
                "store_credential",
                "retrieve_credential",
                "delete_credential",
                "list_credentials",
            ],
            Role::AuthProxy => &["inject_credentials"],
            Role::AuditSink => &["log_event"],
            Role::PolicyEvaluator => &["check_access"],
            Role::McpProvisioner => &["provision", "deprovision", "list"],
            Role::Telemetry => &["record-counter", "record-histogram", "record-gauge"],
        }
    }

    pub(super) fn words(self) -> &'static str {
        let kind = match self {
            Role::AuthProvider => PluginKind::AuthProvider,
            Role::CredentialStorage => PluginKind::CredentialStorage,
            Role::AuthProxy => PluginKind::AuthProxy,
            Role::AuditSink => PluginKind::AuditSink,
            Role::PolicyEvaluator => PluginKind::PolicyEvaluator,
            Role::McpProvisioner => PluginKind::McpProvisioner,
            Role::Telemetry => PluginKind::Telemetry,
        };
        kind.as_str()
    }

    pub(super) fn names() -> String {
        Self::ALL.map(Role::key).join(", ")
    }

    pub(super) fn choices(self) -> String {
        let names: Vec<_> = InMemory::ALL
            .iter()
            .filter(|(role, _, _)| *role == self)
            .map(|(_, name, _)| *name)
            .collect();
        if names.is_empty() {
            "; this role has none".to_owned()
        } else {
            format!("; use {}", names.join(" or "))
        }
    }
}

// === impl InMemory ===

impl InMemory {
    const ALL: [(Role, &'static str, InMemory); 13] = [
        (
            Role::AuthProvider,
            "desktop-implicit",
            InMemory::DesktopImplicit,
        ),
        (Role::AuthProvider, "api-keys", InMemory::ApiKeys),
        (Role::AuthProvider, "jwt", InMemory::Jwt),
        (Role::PolicyEvaluator, "always-allow", InMemory::AlwaysAllow),
        (Role::PolicyEvaluator, "rules", InMemory::Rules),
        (Role::AuditSink, "stdout", InMemory::Stdout),
        (Role::AuditSink, "stderr", InMemory::Stderr),
        (Role::AuditSink, "file", InMemory::File),
        (Role::CredentialStorage, "none", InMemory::NoCredentials),
        (
            Role::CredentialStorage,
            "static",
            InMemory::StaticCredentials,
        ),
        (Role::AuthProxy, "none", InMemory::NoCredentials),
        (Role::AuthProxy, "static", InMemory::StaticCredentials),
        (Role::Telemetry, "noop", InMemory::Noop),
    ];

    /// The built-in part of a role by its name.
    pub fn of(role: Role, name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(its_role, its_name, _)| *its_role == role && *its_name == name)
            .map(|(_, _, part)| *part)
    }
}
