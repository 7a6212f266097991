//! What can be set for plugins that play a role.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::supervisor::duration::Span;

/// How long the answers of a plugin hold. For `auth_provider`, `policy_evaluator` and `credential_storage`.
///
/// Another instance of the plugin (a restart, a reload) and `POST /plugins/forget` of the admin listener end what an
/// instance has said at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// How long a yes, or a credential, is remembered; shorter if the plugin says when it ends. `0s`: not at all. Default
    /// 60s.
    pub ttl: Span,
    /// How long a no is remembered. That nobody could be asked is never remembered. `0s`: not at all. Default 5s.
    pub negative_ttl: Span,
    /// The most answers that are remembered of each kind; the least used go first. Default 10000.
    pub entries: NonZeroU32,
}

/// How closely a policy plugin is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decides {
    /// Once for each caller and server: what is allowed is the whole server.
    #[default]
    Server,
    /// For each method, tool, prompt and resource: `method`, `tool` and `target` are added to the question. A list asks for
    /// each of its items that is not remembered.
    Target,
}

// === impl CacheConfig ===

impl Default for CacheConfig {
    fn default() -> Self {
        const ENTRIES: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
        Self {
            ttl: Span(Duration::from_secs(60)),
            negative_ttl: Span(Duration::from_secs(5)),
            entries: ENTRIES,
        }
    }
}
