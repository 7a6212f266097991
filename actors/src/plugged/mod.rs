//! The roles of the pipeline as plugins play them.
//!
//! A stage asks for a role as [`weir_plugin_protocol::role`] has it and does not know who plays it. Here are the players
//! that lead to plugins: each asks whoever has the seat in the [`Registry`](crate::plugin::Registry) at the time, and
//! nobody is let through while it is empty. Read in this order: `config` is what can be set, [`memory`] keeps what plugins
//! said for a while; then the roles in the order of the pipeline: [`auth`], [`policy`], [`storage`] and [`proxy`] with
//! [`outfit`], which puts what they give into requests; [`audit`] and [`telemetry`] are only told.
//! [`Ensemble`] is all of them.

pub mod audit;
pub mod auth;
pub mod config;
pub mod memory;
pub mod outfit;
pub mod policy;
pub mod proxy;
pub mod storage;
pub mod telemetry;

mod ensemble;
mod fingerprint;

#[cfg(test)]
mod tests;

pub use config::{CacheConfig, Decides};
pub use ensemble::{Direction, Ensemble};
pub use outfit::Outfit;
pub use storage::owner_of;
