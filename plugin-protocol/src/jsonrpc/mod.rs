//! JSON-RPC envelopes: carry bytes, do not understand them.
//!
//! One strict scan ([`parse`]) checks the whole text and notes where the few members are that the gateway acts on.
//! Everything else stays as it arrived: a [`Message`] is the received bytes plus a table of positions, reading a
//! [`Field`] is a table look-up, and [`Rewrite`] splices edits into the original bytes.

mod canonical;
mod envelope;
mod error;
mod field;
mod level;
mod message;
mod parse;
mod raw;
mod rewrite;
mod scan;

pub use canonical::{NotCanonical, canonical};
pub use error::ParseError;
pub use field::Field;
pub use message::{Kind, Limits, Message};
pub use parse::{Payload, parse};
pub use raw::{array_items, member, object_members, quote, single_line, unquote};
pub use rewrite::Rewrite;

#[cfg(test)]
mod tests;
