//! What a child process may do.
//!
//! Read in this order: [`SandboxConfig`] is what the operator wrote and [`Sandbox`] what it means for a plugin or for a
//! server; `policy` decides with the `probe` of this system what is put in force, which a [`Confinement`] tells; `paths`,
//! `filter` and `account` prepare the parts of it; `undertaker` sees to it that nobody outlives the gateway; and
//! `kernel` is what runs between fork and exec, the one file of weir with `unsafe` in it.

mod account;
mod config;
mod confinement;
mod filter;
mod kernel;
mod paths;
mod policy;
mod probe;
mod size;
mod undertaker;

pub use config::{Mode, Sandbox, SandboxConfig, SandboxRules, SandboxUser};
pub use confinement::{Confinement, SandboxError};
pub use probe::Probe;
pub use size::{NotASize, Size};

pub(crate) use kernel::Entry;
pub(crate) use policy::prepare;
pub(crate) use undertaker::Registration;
