//! Headers that contradict what they came with, and were overlooked because the configuration says so.

use std::time::Duration;

use moka::sync::Cache;
use weir_plugin_protocol::UserPrincipal;

use super::Desk;

/// Callers that are remembered; of more, some are logged again.
const MAX_CALLERS: u64 = 10_000;

/// How long a caller is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Callers whose headers were overlooked: each is logged once. One for all workers.
#[derive(Clone, Debug)]
pub struct Overlooked(Cache<String, ()>);

// === impl Overlooked ===

impl Default for Overlooked {
    fn default() -> Self {
        let callers = Cache::builder()
            .max_capacity(MAX_CALLERS)
            .time_to_live(REMEMBERED);
        Self(callers.build())
    }
}

impl Desk {
    /// Counts a request whose `MCP-Protocol-Version` was overlooked, and says once of every caller that it sends such.
    pub(super) fn overlook(&self, principal: &UserPrincipal, what: &'static str) {
        self.metrics.sessions.tolerated_headers.inc();
        if self
            .overlooked
            .0
            .entry(principal.key())
            .or_insert(())
            .is_fresh()
        {
            tracing::warn!(user = %principal.user_id, what, "MCP-Protocol-Version is overlooked, because http.protocol_headers is tolerant");
        }
    }
}
