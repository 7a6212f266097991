//! Who is calling.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// The validated caller, as an auth provider answers it. `user_id` is required and never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPrincipal {
    /// The stable name of the user.
    pub user_id: String,
    /// The tenant that the user belongs to, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Roles, as policy rules name them.
    #[serde(
        default,
        deserialize_with = "crate::nullable::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub roles: Vec<String>,
    /// Groups, as policy rules name them.
    #[serde(
        default,
        deserialize_with = "crate::nullable::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub groups: Vec<String>,
    /// Whatever else the provider said; never interpreted by the gateway.
    #[serde(
        default,
        deserialize_with = "crate::nullable::or_default",
        skip_serializing_if = "serde_json::Map::is_empty"
    )]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// What a client presented to prove who it is.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The kind of credential: `bearer` for an `Authorization: Bearer` token, `api_key` for an `X-API-Key` header.
    pub kind: CredentialKind,
    /// The secret itself.
    pub value: Secret,
}

/// Where a credential was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// `X-API-Key: …`.
    ApiKey,
}

// === impl UserPrincipal ===

impl UserPrincipal {
    /// A principal with a name and nothing else.
    pub fn named(user_id: impl Into<String>) -> Self {
        Self {
            user_id: user_id.into(),
            tenant_id: None,
            roles: Vec::new(),
            groups: Vec::new(),
            metadata: serde_json::Map::new(),
        }
    }

    /// A key that tells principals apart: two principals have the same key exactly if tenant and user are the same.
    pub fn key(&self) -> String {
        match &self.tenant_id {
            Some(tenant) => format!("t{}:{tenant}{}", tenant.len(), self.user_id),
            None => format!("u{}", self.user_id),
        }
    }
}
