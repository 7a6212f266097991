//! What is wrong with a configuration that has the right shape.

use thiserror::Error;

/// A value that cannot be used. The text never holds a secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{key}: {problem}")]
pub struct Misconfigured {
    /// The way to the value from the owner's own block, such as `providers[0].issuers[1].algorithms`.
    pub key: String,
    /// What is wrong, `; `, what to do about it.
    pub problem: String,
}

// === impl Misconfigured ===

impl Misconfigured {
    /// Names a value and what is wrong with it.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }

    /// The same problem, seen from one level further out.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let key = if self.key.is_empty() {
            outer.to_owned()
        } else if self.key.starts_with('[') {
            format!("{outer}{}", self.key)
        } else {
            format!("{outer}.{}", self.key)
        };
        Self { key, ..self }
    }
}
