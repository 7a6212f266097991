//! Waiting for a server's first word, and not longer than somebody wants it.

use std::future::Future;

use crate::pipeline::{Exchange, Refusal};
use crate::upstream::ServerName;

/// Bounds the first contact by the deadline, and gives it up when the client is gone.
pub(super) async fn within<T>(
    exchange: &mut Exchange,
    server: &ServerName,
    contact: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let deadline = exchange.arrival().deadline;
    tokio::select! {
        biased;
        contact = contact => contact,
        () = exchange.client_gone() => Err(Refusal::Cancelled),
        () = tokio::time::sleep_until(deadline) => Err(Refusal::UpstreamTimeout { server: server.to_string() }),
    }
}
