//! What is in force for one child.

use serde::Serialize;
use thiserror::Error;

use super::{Mode, Size};

/// What is in force for one child: the part of its sandbox that this system has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confinement {
    /// What was asked for where something is missing.
    pub mode: Mode,
    /// The account that it runs as, if it is not the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// It cannot gain rights by running another program.
    pub no_new_privileges: bool,
    /// It has none of the rights that root has beyond those of an owner of files.
    pub no_capabilities: bool,
    /// It sees only the files that are allowed.
    pub files: bool,
    /// It reaches only the TCP ports that are allowed.
    pub ports: bool,
    /// It sends signals to nobody but its own.
    pub signals: bool,
    /// System calls that it has no use for are refused.
    pub system_calls: bool,
    /// How much memory one process may allocate, and its group may have resident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// How many processes and threads there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// What was asked for and is not there. Never anything in mode `strict`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<&'static str>,
    /// What the operator may want to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A sandbox cannot be put in force; the child is not started.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// This system lacks what the sandbox needs.
    #[error(
        "its sandbox needs {} and this system has it not; write `sandbox: best_effort` to do without",
        .0.join(" and ")
    )]
    Missing(Vec<&'static str>),
    /// Only root gives a process another account.
    #[error("sandbox.user is {0} and the gateway does not run as root; write `user: keep`")]
    NotRoot(String),
    /// The account could not read the program.
    #[error(
        "sandbox.user is `own`, and another account cannot read {0}; change its mode or write `user: keep`"
    )]
    Unreachable(String),
    /// A path of the configuration is not there.
    #[error("sandbox.{key} names {path}, which cannot be opened: {error}")]
    Path {
        /// `read` or `write`.
        key: &'static str,
        /// The path.
        path: String,
        /// Why.
        error: String,
    },
    /// The kernel refuses what it said it has.
    #[error("cannot prepare its sandbox: {0}")]
    Prepare(String),
}
