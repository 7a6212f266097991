//! Refusals that come in floods: counted, and recorded once a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;
use weir_plugin_protocol::audit::AuditEvent;

use super::{line, rfc3339};

/// How long refusals are counted before they are recorded.
const PERIOD: Duration = Duration::from_secs(1);
/// Callers and reasons that are told apart within one period; what comes beyond is counted by its reason alone.
const MAX_KINDS: usize = 1024;

/// A request that was refused because there was too much, by what such requests are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shed {
    /// The tenant of the caller.
    pub tenant_id: Option<String>,
    /// The caller, if it was authenticated.
    pub user_id: Option<String>,
    /// Where it comes from, if it is not known who it is.
    pub address: Option<IpAddr>,
    /// The server that it was for, if it is the server that had too much.
    pub server: Option<String>,
    /// Which limit.
    pub reason: String,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// What was counted since the last record.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counted: Mutex<Counted>,
    begun: Notify,
    /// Whether anything is counted: nobody takes the lock for nothing.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Counted {
    kinds: HashMap<Shed, Count>,
    /// When the first of them came.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Count {
    requests: u64,
    /// Seconds since 1970 of the first one.
    first: u64,
}

// === impl Tally ===

impl Tally {
    pub(super) fn count(&self, shed: Shed, now: impl FnOnce() -> u64) {
        let mut counted = self.lock();
        let full = counted.kinds.len() >= MAX_KINDS && !counted.kinds.contains_key(&shed);
        let shed = match full {
            true => Shed {
                tenant_id: None,
                user_id: None,
                address: None,
                ..shed
            },
            false => shed,
        };
        let fresh = || Count {
            requests: 0,
            first: now(),
        };
        counted.kinds.entry(shed).or_insert_with(fresh).requests += 1;
        if counted.since.is_none() {
            counted.since = Some(Instant::now());
            self.any.store(true, Ordering::Release);
            drop(counted);
            self.begun.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Whether what is counted should be recorded.
    pub(super) fn is_due(&self) -> bool {
        let since = self.lock().since;
        since.is_some_and(|since| since.elapsed() >= PERIOD)
    }

    /// Resolves when what is counted should be recorded. Cancel safe.
    pub(super) async fn due(&self) {
        loop {
            let since = self.lock().since;
            match since {
                Some(since) => return sleep_until(since + PERIOD).await,
                None => self.begun.notified().await,
            }
        }
    }

    /// Takes what was counted, as lines.
    pub(super) fn take(&self) -> Vec<String> {
        let kinds = {
            let mut counted = self.lock();
            counted.since = None;
            self.any.store(false, Ordering::Release);
            std::mem::take(&mut counted.kinds)
        };
        let lines = kinds.into_iter().map(|(shed, count)| shed.line(&count));
        lines.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shed ===

impl Shed {
    fn line(self, count: &Count) -> String {
        line::write(&AuditEvent {
            event_id: Uuid::now_v7().to_string().into(),
            timestamp: rfc3339::format(count.first, 0).into(),
            event_type: "mcp.shed",
            tenant_id: self.tenant_id.map(Into::into),
            user_id: self.user_id.map(Into::into),
            mcp_server: self.server.map(Into::into),
            result: "refused",
            reason: Some(self.reason.into()),
            client_address: self.address.map(|address| address.to_string().into()),
            status: self.status,
            count: Some(count.requests),
            ..AuditEvent::default()
        })
    }
}
