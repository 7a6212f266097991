//! HTTP to upstream servers: one client per thread, connections kept alive, nothing retried that was written.
//!
//! Read in this order: [`HttpTarget`] is where to, [`AddressRule`] where that may lead, [`Names`] finds it, [`HttpClient`] sends, [`HttpAnswer`] and [`EventStream`] are what
//! comes back.

mod address;
mod answer;
mod client;
mod connect;
mod error;
mod names;
mod pool;
mod target;

pub use address::AddressRule;
pub use answer::{EventStream, HttpAnswer};
pub use client::{HttpClient, HttpClientConfig};
pub use connect::{TlsTrust, TrustError};
pub use error::{HttpError, HttpErrorKind};
pub use names::{Lookup, Names};
pub use target::{HttpTarget, InvalidTarget};

#[cfg(test)]
mod tests;
