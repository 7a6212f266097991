//! What a server says besides its answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken, ProtocolVersion};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::{ClientHandler, RoleClient};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Collects what is heard.
#[derive(Clone, Default)]
pub(crate) struct Ears(Arc<Shared>);

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    bell: Notify,
}

/// What was heard so far.
#[derive(Default)]
pub(crate) struct Heard {
    progress: Vec<(ProgressToken, f64)>,
    pub(crate) tools_changed: usize,
}

// === impl Ears ===

impl Ears {
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(&mut self.0.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something was heard; false if it was not.
    pub(crate) async fn until(&self, limit: Duration, there: impl Fn(&Heard) -> bool) -> bool {
        let waiting = async {
            loop {
                let rung = self.0.bell.notified();
                if self.look(|heard| there(heard)) {
                    return;
                }
                rung.await;
            }
        };
        timeout(limit, waiting).await.is_ok()
    }

    /// Whether the era of the connection is the modern one.
    pub(crate) fn modern(&self, client: &RunningService<RoleClient, Self>) -> bool {
        let info = client.peer_info();
        info.is_some_and(|info| info.protocol_version >= ProtocolVersion::V_2026_07_28)
    }

    fn hear(&self, hear: impl FnOnce(&mut Heard)) {
        self.look(hear);
        self.0.bell.notify_waiters();
    }
}

impl ClientHandler for Ears {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(|heard| {
            heard
                .progress
                .push((params.progress_token, params.progress))
        });
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.tools_changed += 1);
    }
}

// === impl Heard ===

impl Heard {
    pub(crate) fn progress_of(&self, token: &ProgressToken) -> Vec<f64> {
        let of_it = self.progress.iter().filter(|(of, _)| of == token);
        of_it.map(|(_, progress)| *progress).collect()
    }
}
