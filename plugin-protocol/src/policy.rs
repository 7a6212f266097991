//! What a policy evaluator answers.

use serde::{Deserialize, Serialize};

/// The answer to `check_access`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether access is allowed. Never assumed: an answer without it is no answer.
    pub allowed: bool,
    /// Why, or why not. The client of a refused request is shown it.
    #[serde(default, deserialize_with = "crate::nullable::or_default")]
    pub reason: String,
}
