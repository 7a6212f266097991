//! How much is let in, and what is said to the rest.
//!
//! Read in this order: [`config`] is what an operator writes about callers, [`rate`] how a rate is kept, [`callers`]
//! what each caller has taken, in a [`table`] that cannot grow beyond its bound.

pub mod callers;
pub mod config;
pub mod rate;
mod table;

pub use callers::{Called, Caller, Callers, Limit, Limited, MAX_ACCOUNTS, Place};
pub use config::{LimitRule, PrincipalLimits};
pub use rate::Rate;
