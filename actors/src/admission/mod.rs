//! How much is let in, and what is said to the rest.
//!
//! Read in this order: [`config`] and [`servers`] are what an operator writes, [`rate`] how a rate is kept, [`callers`]
//! what each caller has taken, in a [`table`] that cannot grow beyond its bound. The way to a server is a [`gate`]: a
//! [`bulkhead`] bounds its calls, a [`circuit`] decides by the last seconds ([`window`]) when it is left alone;
//! [`gates`] has those of all servers. [`memory`] says when nothing more should be begun.

mod bulkhead;
pub mod callers;
mod circuit;
pub mod config;
mod gate;
pub mod gates;
mod memory;
pub mod rate;
pub mod servers;
mod table;
mod window;

pub use callers::{Called, Caller, Callers, Limit, Limited, MAX_ACCOUNTS, Place};
pub use circuit::{CircuitState, Failure};
pub use config::{LimitRule, PrincipalLimits};
pub use gate::{Gate, GateView, Passage, Refused, Switched};
pub use gates::Gates;
pub use memory::{MemoryGuard, Pressure, Reading};
pub use rate::Rate;
pub use servers::{ServerLimits, ServerLimitsConfig, ServersLimits, UpstreamLimits};
