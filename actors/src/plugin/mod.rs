//! Plugins: what an operator may name in the `plugins` block, and what runs of it.
//!
//! Read in this order: `config` is the block as it is written, `roles` what plugins can be, `meaning` what the block
//! says, [`versions`] and [`dependencies`] what fits together. Then what runs: [`client`] is how a plugin is spoken to,
//! [`call`] what may be said, [`lifecycle`] the states of its life; [`loader`] loads plugins, `instance` is the actor that
//! keeps one as [`upkeep`] says, within [`limits`], in good [`health`] and of [`integrity`]; `record` is what is known of
//! it, `handle` is how it is called over its restarts, `steward` lets it run when what it needs does, [`registry`] and
//! `typed` find it by its role, and `answer` reads what it says. [`mock`] is a transport for tests; the others have a
//! [room](crate::transport) of their own.

pub mod call;
pub mod client;
pub mod dependencies;
pub mod health;
pub mod integrity;
pub mod lifecycle;
pub mod limits;
pub mod loader;
pub mod mock;
pub mod registry;
pub mod upkeep;
pub mod versions;

mod answer;
mod config;
mod handle;
mod instance;
mod meaning;
mod record;
mod roles;
mod seat;
mod steward;
mod tenure;
mod typed;

#[cfg(test)]
mod tests;

pub use call::InvalidCall;
pub use client::{BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport};
pub use config::{
    InlineServer, PluginEntry, PluginTls, PluginsConfig, ServerReference, SidecarConfig,
    SubprocessConfig,
};
pub use dependencies::{Dependencies, DependencyError, Verdict};
pub use handle::{PluginHandle, PluginSpec};
pub use health::HealthConfig;
pub use instance::{PluginActor, PluginFailure};
pub use integrity::{OnChange, Replacement};
pub use lifecycle::{LifecycleHooks, LoggingHooks, NoHooks, PluginInfo, PluginState};
pub use limits::{CALL_DEADLINE, Limits};
pub use loader::{LoadError, Loader, PluginView};
pub use meaning::{McpServer, Plugin, PluginConfigError, Provider, RemoteServer, disorder};
pub use mock::{MockPluginClient, MockTransport};
pub use registry::{AlreadyRegistered, Registry};
pub use roles::{InMemory, Role};
pub use seat::Seat;
pub use steward::{Plan, Steward};
pub use typed::{
    AuditClient, AuthClient, CredentialClient, CredentialKey, Detail, PolicyClient,
    ProvisionerClient, ProxyClient, Question, TelemetryClient, Validated,
};
pub use upkeep::Upkeep;
pub use versions::{Manifest, OnLoss, Requires, Said, VersionRange};
