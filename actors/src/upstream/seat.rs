//! One instance of a server on the board, and when nobody needs it any more.

use std::sync::Arc;

use tokio::sync::watch;

use super::desk::Desk;

/// The place of one instance of a server in the snapshots. Every snapshot with the instance in it holds it, and every
/// request holds a snapshot: when the last one is dropped, no request is or will be at the instance.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) desk: Arc<Desk>,
    held: watch::Sender<()>,
}

/// Tells when an instance that has left the board is idle.
#[derive(Clone, Debug)]
pub(super) struct Vacancy(watch::Receiver<()>);

// === impl Seat ===

impl Seat {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        let held = watch::Sender::new(());
        Self { desk, held }
    }

    pub(super) fn vacancy(&self) -> Vacancy {
        Vacancy(self.held.subscribe())
    }
}

// === impl Vacancy ===

impl Vacancy {
    /// Resolves when no snapshot with the instance is left.
    pub(super) async fn vacant(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// Whether no snapshot with the instance is left.
    pub(super) fn is_vacant(&self) -> bool {
        self.0.has_changed().is_err()
    }
}
