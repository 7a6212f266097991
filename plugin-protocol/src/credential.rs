//! Credentials for upstream servers: what a credential storage lists, and what an auth proxy is asked and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One credential that is stored for a user, without its value: an item of the answer to `list_credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialInfo {
    /// The MCP server that it is for.
    pub server: String,
    /// What it is: `bearer`, `api_key`, ….
    pub cred_type: String,
    /// When it was stored, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When it ends to be good, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// One request on its last hop to a server, before it is sent: the parameters of `inject_credentials`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRequest {
    /// The caller.
    pub user_id: String,
    /// The tenant of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The server, by its name in the configuration.
    pub mcp_server: String,
    /// Where the request goes.
    pub target_url: String,
    /// The HTTP method: `POST`, or `GET` for a stream.
    pub method: String,
    /// The headers that it will have, by names in lower case. Secrets of the gateway are not among them.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What an auth proxy makes of a [`ProxyRequest`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyResponse {
    /// Headers to be set. Those that the request has already may be repeated.
    pub headers: BTreeMap<String, String>,
    /// Another body, or the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

// === impl ProxyResponse ===

impl std::fmt::Debug for ProxyResponse {
    /// The names of the headers alone: their values are secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ProxyResponse")
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}
