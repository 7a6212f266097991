//! Keeps actors alive: a supervisor in the manner of Erlang/OTP, on actix.
//!
//! A [`SupervisorSpec`] names a group of [`ChildSpec`]s. Started, it is a [`Supervisor`]: it starts its children in
//! order, watches them, and restarts them from their factories when they panic, fail or stop answering. Others reach
//! a child through its [`Slot`], which survives restarts. Read in this order: [`child`] is what a child promises,
//! [`strategy`] decides (pure code, OTP to the letter), [`actor`] obeys, [`config`] is what an operator may change.
//!
//! Two ways to count restarts. OTP counts **per supervisor**: more than `intensity` restarts of its children within
//! `period` and the supervisor stops them all, then itself, and its own supervisor decides. A child whose
//! `on_exhausted` is [`OnExhausted::Quarantine`] is counted **on its own**: over the limit it alone is set aside and
//! tried again at long intervals, its siblings keep running, and nothing escalates.

pub mod actor;
pub mod backoff;
pub mod child;
pub mod config;
pub mod context;
pub mod duration;
pub mod event;
pub mod exit;
pub mod group;
pub mod handle;
pub mod intensity;
pub mod slot;
pub mod spec;
pub mod strategy;
pub mod tree;

mod body;
mod command;
mod control;
mod cradle;
mod heartbeat;
mod member;

pub use actor::Supervisor;
pub use backoff::Backoff;
pub use child::{ChildPolicy, ChildSpec, Kind, OnExhausted, Placement, Restart, Shutdown, Spawner};
pub use config::{BackoffConfig, ChildConfig, GroupConfig, SupervisionConfig};
pub use context::{ChildContext, Protected};
pub use event::{EventKind, Observer, Silent, SupervisionEvent};
pub use exit::{Cause, Exit, Kill};
pub use group::{AutoShutdown, SpecError, Strategy};
pub use handle::{CommandError, Ended, SupervisorHandle};
pub use intensity::Intensity;
pub use slot::Slot;
pub use spec::{Runtime, SupervisorSpec};

pub use tree::{ChildSnapshot, ChildState, TreeSnapshot};
