//! HTTP to upstream servers: one client per thread, connections kept alive, nothing retried that was written.
//!
//! Read in this order: [`HttpTarget`] is where to, [`AddressRule`] where that may lead, [`Names`] finds it,
//! [`HttpClient`] sends ([`HttpClients`] where futures must be `Send`), [`HttpAnswer`] and [`EventStream`] are what comes
//! back. Below them: `pool` lends connections, `connection` exchanges a request for an answer, `head` and `framing` are
//! the rules of HTTP/1.1. [`KeptConnection`] is one connection for who has a pool of his own. It is our own client
//! because a request is written and its answer read by the task that waits for it: no other task is woken, nothing is
//! handed over.

mod address;
mod answer;
mod client;
mod clients;
mod connect;
mod connection;
mod error;
mod framing;
mod head;
mod kept;
mod names;
mod pool;
mod stream;
mod target;

pub use address::AddressRule;
pub use answer::{EventStream, HttpAnswer};
pub use client::{HttpClient, HttpClientConfig};
pub use clients::HttpClients;
pub use connect::{TlsTrust, TrustError};
pub use error::{HttpError, HttpErrorKind};
pub use kept::{KeptBody, KeptConnection};
pub use names::{Lookup, Names};
pub use target::{HttpTarget, InvalidTarget};

#[cfg(test)]
mod tests;
