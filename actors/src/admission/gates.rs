//! The ways to all servers, and who is told when one of them is closed or opened.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};
use uuid::Uuid;
use weir_plugin_protocol::audit::AuditEvent;

use super::gate::{Gate, GateView, Passage, Refused, Switched};
use crate::builtin::audit_lines::AuditLog;
use crate::upstream::ServerName;

/// The ways to all servers, for all workers. What is counted outlives a change of the configuration.
#[derive(Default)]
pub struct Gates {
    gates: ArcSwap<HashMap<ServerName, Arc<Gate>>>,
    audit: Option<AuditLog>,
}

// === impl Gates ===

impl Gates {
    /// Nobody has asked for a server yet. Circuits that open and close are recorded in `audit`.
    pub fn new(audit: AuditLog) -> Self {
        Self {
            gates: ArcSwap::default(),
            audit: Some(audit),
        }
    }

    /// Lets a call through to a server if nothing holds it up: the way that nearly all take.
    pub fn try_enter(&self, server: &ServerName, places: usize) -> Option<Passage> {
        self.gates.load().get(server)?.try_enter(places)
    }

    /// Lets a call through to a server as soon as it has one of `places`, within `patience`.
    ///
    /// # Errors
    /// The server is left alone, or has too much to do.
    pub async fn enter(
        &self,
        server: &ServerName,
        places: usize,
        patience: Duration,
    ) -> Result<Passage, Refused> {
        let gate = self.gates.load().get(server).cloned();
        let gate = gate.unwrap_or_else(|| self.make(server));
        gate.enter(places, patience).await
    }

    /// Whether a call may be sent to a server a second time now; that is counted.
    pub fn may_retry(&self, server: &ServerName) -> bool {
        let gates = self.gates.load();
        gates.get(server).is_some_and(|gate| gate.may_retry())
    }

    /// What is to be seen of the way to a server; nothing before the first call.
    pub fn view(&self, server: &ServerName) -> Option<GateView> {
        self.gates.load().get(server).map(|gate| gate.view())
    }

    /// Tells of a circuit that was switched.
    pub fn tell(&self, server: &ServerName, switched: Switched) {
        let (event_type, detail) = match switched {
            Switched::Opened(alone) => {
                warn!(%server, ?alone, "server failed too often and is left alone");
                ("circuit.open", format!("tried again in {alone:?}"))
            }
            Switched::Closed => {
                info!(%server, "server works again");
                ("circuit.closed", String::new())
            }
        };
        let Some(audit) = &self.audit else { return };
        match audit.reserve() {
            Ok(slot) => slot.record(&AuditEvent {
                event_id: Uuid::now_v7().to_string().into(),
                event_type,
                mcp_server: Some(server.as_str().into()),
                result: "ok",
                detail: Some(detail.into()),
                ..AuditEvent::default()
            }),
            Err(error) => {
                tracing::error!(%server, event_type, %error, "event could not be recorded")
            }
        }
    }

    /// Names come from the configuration: there are as many as ever were in it.
    fn make(&self, server: &ServerName) -> Arc<Gate> {
        let new = Arc::<Gate>::default();
        self.gates.rcu(|gates| {
            let mut gates = HashMap::clone(gates);
            gates.entry(server.clone()).or_insert_with(|| new.clone());
            gates
        });
        self.gates.load().get(server).cloned().unwrap_or(new)
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gates")
            .field("servers", &self.gates.load().len())
            .finish_non_exhaustive()
    }
}
