//! The way to one message plugin: a queue, and the task that empties it.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::OutletView;
use super::config::MessagesConfig;
use super::note::Note;
use crate::pipeline::metrics::fanout::{Delivery, OutletCounts};
use crate::plugin::{CallError, Seat};
use crate::supervisor::{ChildContext, ChildSpec};

/// The pause before a plugin that is being started again is told again.
const PAUSE: Duration = Duration::from_millis(25);

/// How long a queue may take to be emptied when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The way to one message plugin.
///
/// Notes are told in the order in which they were offered, one after the other, so those of a session stay in order. The
/// queue outlives its task: a restart loses the note in hand.
pub struct Outlet {
    seat: Seat,
    config: MessagesConfig,
    sender: mpsc::Sender<Arc<Note>>,
    receiver: Mutex<mpsc::Receiver<Arc<Note>>>,
    bytes: AtomicUsize,
    counts: OutletCounts,
}

/// How plugins say that they failed: `error` as every plugin may, `success` as the first message plugins did.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    success: Option<bool>,
}

// === impl Outlet ===

impl Outlet {
    /// An empty queue for the plugin in this seat.
    pub fn new(seat: Seat, config: MessagesConfig, counts: OutletCounts) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(config.queue.get());
        Arc::new(Self {
            seat,
            config,
            sender,
            receiver: Mutex::new(receiver),
            bytes: AtomicUsize::new(0),
            counts,
        })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        self.seat.name()
    }

    pub(super) fn is_like(&self, config: &MessagesConfig) -> bool {
        self.config == *config
    }

    /// Takes a note if there is room; else it is dropped and counted. Never waits.
    pub(super) fn offer(&self, note: &Arc<Note>) {
        let size = note.size();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(size) <= self.config.queue_bytes.get();
        if !fits || self.sender.try_send(note.clone()).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped();
        }
    }

    /// The task that tells the plugin.
    pub(super) fn child(self: &Arc<Self>) -> ChildSpec {
        let outlet = self.clone();
        ChildSpec::task(self.child_name(), move |context| {
            outlet.clone().run(context)
        })
        .heartbeat(None)
    }

    pub(super) fn child_name(&self) -> String {
        format!("{} messages", self.name())
    }

    async fn run(self: Arc<Self>, context: ChildContext) -> Result<(), Infallible> {
        let mut notes = self.receiver.lock().await;
        let emptied = async {
            while let Some(note) = notes.recv().await {
                self.pass(&note).await;
                context.progress();
            }
        };
        tokio::select! {
            () = emptied => return Ok(()),
            () = context.stopping() => {}
        }
        let rest = async {
            while let Ok(note) = notes.try_recv() {
                self.pass(&note).await;
            }
        };
        let _late = tokio::time::timeout(LAST_WORDS, rest).await;
        Ok(())
    }

    async fn pass(&self, note: &Note) {
        self.bytes.fetch_sub(note.size(), Ordering::Relaxed);
        let delivery = self.tell(note).await;
        self.counts.count(delivery, note.born.elapsed());
    }

    /// Tells the plugin, and tells it again while it is being started: that may take a moment.
    async fn tell(&self, note: &Note) -> Delivery {
        let timeout = self.config.timeout.0;
        let patience = note.born + timeout;
        loop {
            let told = match self.seat.plugin() {
                Some(plugin) => {
                    let deadline = Instant::now() + timeout;
                    plugin
                        .call_before(deadline, note.method(), note.params())
                        .await
                }
                None => Err(CallError::NotRunning),
            };
            match told {
                Ok(answer) if is_good(&answer) => return Delivery::Delivered,
                Ok(_) => return Delivery::Failed,
                Err(CallError::Timeout) => return Delivery::Timeout,
                Err(CallError::NotRunning | CallError::Busy) if Instant::now() < patience => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::debug!(plugin = self.name(), %error, method = note.method(), "message plugin was not told");
                    return Delivery::Failed;
                }
            }
        }
    }

    pub(super) fn view(&self) -> OutletView {
        let [delivered, failed, timeout, dropped] = self.counts.totals();
        OutletView {
            plugin: self.name().to_owned(),
            waiting: self.sender.max_capacity() - self.sender.capacity(),
            waiting_bytes: self.bytes.load(Ordering::Relaxed),
            delivered,
            failed,
            timeout,
            dropped,
        }
    }
}

/// Whether an answer says nothing of a failure. What else it says is the plugin's own affair.
fn is_good(answer: &[u8]) -> bool {
    if !answer.trim_ascii_start().starts_with(b"{") {
        return true;
    }
    match serde_json::from_slice::<Said<'_>>(answer) {
        Ok(said) => {
            said.success != Some(false)
                && said
                    .error
                    .is_none_or(|error| matches!(error.get(), "null" | "\"\""))
        }
        Err(_) => false,
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outlet")
            .field("plugin", &self.name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::is_good;

    #[test]
    fn answers_say_whether_they_are_good() {
        for good in [
            "{}",
            "",
            "ok",
            "null",
            r#"{"result":"ok"}"#,
            r#"{"success":true,"error":""}"#,
            r#"{"error":null}"#,
        ] {
            assert!(is_good(good.as_bytes()), "{good}");
        }
        for bad in [
            r#"{"success":false}"#,
            r#"{"error":"full"}"#,
            r#"{"success":"#,
        ] {
            assert!(!is_good(bad.as_bytes()), "{bad}");
        }
    }
}
