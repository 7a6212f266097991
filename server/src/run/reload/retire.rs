//! What becomes of instances of servers that do not serve any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};
use weir_actors::builtin::static_credentials::ServerCredentials;
use weir_actors::pipeline::Metrics;
use weir_actors::session::Sessions;
use weir_actors::upstream::{Departed, Succession};

/// Instances that may finish their calls at a time. One more, and the oldest is cut off: somebody reloads faster than
/// calls end.
const MAX_RETIRING: usize = 32;

/// Lets instances finish what they are doing, and stops them then.
pub(super) struct Retirement {
    succession: Succession,
    sessions: Sessions,
    metrics: Arc<Metrics>,
    /// Rung to cut one off, oldest first.
    cuts: Mutex<VecDeque<Arc<Notify>>>,
}

// === impl Retirement ===

impl Retirement {
    pub(super) fn new(succession: Succession, sessions: Sessions, metrics: Arc<Metrics>) -> Self {
        let cuts = Mutex::default();
        Self {
            succession,
            sessions,
            metrics,
            cuts,
        }
    }

    /// Stops an instance as soon as no request is at it, at the latest after `patience`. `credentials` are those that
    /// the server had there; `moved` says that clients' sessions are of no use any more.
    pub(super) fn take(
        self: &Arc<Self>,
        mut departed: Departed,
        credentials: Option<Arc<ServerCredentials>>,
        moved: bool,
        patience: Duration,
    ) {
        let (this, cut) = (self.clone(), self.place());
        self.metrics.reloads.retiring.inc();
        actix_rt::spawn(async move {
            let server = departed.server().clone();
            let finished = tokio::select! {
                () = departed.idle() => true,
                () = tokio::time::sleep(patience) => false,
                () = cut.notified() => false,
            };
            match finished {
                true => info!(%server, "replaced server has finished its calls"),
                false => warn!(%server, "calls at a replaced server are cut off"),
            }
            if moved && let Some(target) = &departed.target {
                this.sessions.leave(&server, target, credentials.as_ref());
            }
            this.succession.stop(&departed).await;
            this.leave(&cut);
        });
    }

    fn place(&self) -> Arc<Notify> {
        let cut = Arc::new(Notify::new());
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        if cuts.len() >= MAX_RETIRING
            && let Some(oldest) = cuts.pop_front()
        {
            oldest.notify_one();
        }
        cuts.push_back(cut.clone());
        cut
    }

    fn leave(&self, cut: &Arc<Notify>) {
        self.metrics.reloads.retiring.dec();
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.retain(|known| !Arc::ptr_eq(known, cut));
    }
}
