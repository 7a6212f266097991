//! The mailboxes of plugins: each is a way to reach one, behind the same two traits
//! ([`PluginTransport`](crate::plugin::PluginTransport), [`PluginClient`](crate::plugin::PluginClient)).

pub mod in_memory;

pub use in_memory::{InMemoryTransport, Part};
