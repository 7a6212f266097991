//! How a reload is asked for.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use super::{Ask, Report};

/// Asks for reloads. Cheap to clone; works from any thread.
#[derive(Clone)]
pub struct ReloadHandle {
    asks: mpsc::Sender<Ask>,
    last: Arc<ArcSwapOption<Report>>,
}

/// Who wants a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// SIGHUP.
    Signal,
    /// A file is another one.
    File,
    /// An operator, over the admin listener.
    Operator,
}

// === impl Origin ===

impl Origin {
    /// The word in logs and audit records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File => "file changed",
            Self::Operator => "POST /reload",
        }
    }
}

// === impl ReloadHandle ===

impl ReloadHandle {
    pub(super) fn new(asks: mpsc::Sender<Ask>) -> Self {
        let last = Arc::default();
        Self { asks, last }
    }

    /// Asks for a reload without waiting for it. While many wait, one more would do nothing else than they.
    pub(crate) fn ask(&self, origin: Origin) {
        let answer = None;
        let _enough = self.asks.try_send(Ask { origin, answer });
    }

    /// Has the configuration read again and returns what came of it; nothing if the gateway is stopping.
    pub(crate) async fn reload(&self, origin: Origin) -> Option<Arc<Report>> {
        let (answer, report) = oneshot::channel();
        let answer = Some(answer);
        self.asks.send(Ask { origin, answer }).await.ok()?;
        report.await.ok()
    }

    /// What came of the last reload, if there was one.
    pub(crate) fn last(&self) -> Option<Arc<Report>> {
        self.last.load_full()
    }

    pub(super) fn publish(&self, report: Arc<Report>) {
        self.last.store(Some(report));
    }
}
