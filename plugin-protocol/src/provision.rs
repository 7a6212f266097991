//! Servers that a provisioner starts for one user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A server to be started: the `server` of `provision`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerDef {
    /// Its name, by which users and policies know it.
    pub name: String,
    /// What it is: `image`, `remote`, `registry`, or a word that the provisioner knows.
    pub r#type: String,
    /// The container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where it is described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it is, if it runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Variables in its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A server that was started: the answer to `provision`, and an item of that to `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionedServer {
    /// What it is called to be ended.
    pub id: String,
    /// The name of its definition.
    pub name: String,
    /// Its URL.
    pub endpoint: String,
    /// What it does: `running`, `starting`, ….
    #[serde(default, deserialize_with = "crate::nullable::or_default")]
    pub status: String,
    /// Whose it is.
    pub user_id: String,
}
