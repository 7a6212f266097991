//! What a child process may do.
//!
//! Read in this order: [`SandboxConfig`] is what the operator wrote, [`Sandbox`] what it means for a plugin or for a
//! server.

mod config;
mod size;

pub use config::{Mode, Sandbox, SandboxConfig, SandboxRules, SandboxUser};
pub use size::{NotASize, Size};
