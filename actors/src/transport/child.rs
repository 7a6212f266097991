//! The process of a plugin: watched until it ends, and ended as a whole.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::ChildStdin;
use tokio::sync::{oneshot, watch};
use tracing::{debug, info};

use crate::process::Group;

/// How long a process has to obey SIGTERM before its group is killed.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// A process that a task watches. Dropping it has the process ended in the same way as [`close`](Self::close), but nobody
/// waits for it.
#[derive(Debug)]
pub(super) struct PluginChild {
    /// Sent or dropped: the process is to be ended.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    end: watch::Receiver<Option<End>>,
}

#[derive(Clone, Debug)]
enum End {
    Asked,
    ByItself(Arc<str>),
}

// === impl PluginChild ===

impl PluginChild {
    /// Watches a process. `stdin` is held until the process is to be ended: a plugin may end with it.
    pub(super) fn watch(
        plugin: Arc<str>,
        mut group: Group,
        stdin: Option<ChildStdin>,
        grace: Duration,
    ) -> Self {
        let (stop, asked) = oneshot::channel();
        let (tell, end) = watch::channel(None);
        tokio::spawn(async move {
            let pid = group.pid();
            info!(%plugin, pid, "plugin process started");
            let status = tokio::select! {
                biased;
                status = group.wait() => Some(status),
                _ = asked => None,
            };
            let end = match status {
                Some(status) => {
                    group.end();
                    let how =
                        status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    info!(%plugin, pid, how, "plugin process ended");
                    End::ByItself(how.into())
                }
                None => {
                    drop(stdin);
                    group.stop(grace).await;
                    debug!(%plugin, pid, "plugin process was ended");
                    End::Asked
                }
            };
            tell.send_replace(Some(end));
        });
        Self {
            stop: Mutex::new(Some(stop)),
            end,
        }
    }

    /// Asks the process to end with SIGTERM, kills who is left of its group after the grace, and returns when nobody is.
    /// Doing so again waits for the same.
    pub(super) async fn close(&self) {
        drop(
            self.stop
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut end = self.end.clone();
        // An error means that the runtime which watched it is gone, and killed it.
        let _ = end.wait_for(Option::is_some).await;
    }

    /// How it ended, if it did so by itself.
    pub(super) fn last_words(&self) -> Option<Arc<str>> {
        match &*self.end.borrow() {
            Some(End::ByItself(how)) => Some(how.clone()),
            _ => None,
        }
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&self) -> Arc<str> {
        let mut end = self.end.clone();
        loop {
            if let Some(how) = self.last_words() {
                return how;
            }
            if end.changed().await.is_err() && self.last_words().is_none() {
                std::future::pending::<()>().await;
            }
        }
    }
}
