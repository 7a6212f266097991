//! What hurts a gateway, done to it: each room is one subcommand, bounded in time, and ends in a table.

mod ask;
mod findings;
mod site;
mod steady;

pub(crate) mod kill;
pub(crate) mod many;
pub(crate) mod overload;
pub(crate) mod plugins;
pub(crate) mod reloads;
pub(crate) mod sessions;
pub(crate) mod streams;
pub(crate) mod tenants;
