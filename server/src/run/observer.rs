//! What happens in the supervision tree: logged, counted and recorded.

use std::sync::Arc;

use tracing::{error, info, warn};
use uuid::Uuid;
use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::pipeline::Metrics;
use weir_actors::plugin::Loader;
use weir_actors::supervisor::{EventKind, Observer, SupervisionEvent};
use weir_plugin_protocol::audit::AuditEvent;

/// Tells the log, the metrics and the audit log.
pub(super) struct Watchman {
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: AuditLog,
    /// Hears what happens to plugins.
    pub(super) plugins: Loader,
}

impl Observer for Watchman {
    fn event(&self, event: &SupervisionEvent) {
        self.plugins.hear(event);
        let SupervisionEvent {
            supervisor,
            child,
            generation,
            kind,
        } = event;
        let (event_type, detail) = match kind {
            EventKind::RestartScheduled { delay } => {
                let group = supervisor.split('/').nth(1).unwrap_or("root");
                self.metrics
                    .supervision
                    .restarts
                    .with_label_values(&[group])
                    .inc();
                warn!(%supervisor, %child, generation, ?delay, "child is being restarted");
                ("supervisor.restart", format!("again in {delay:?}"))
            }
            EventKind::Quarantined { trial } => {
                self.metrics.supervision.quarantined.inc();
                error!(%supervisor, %child, ?trial, "child was restarted too often and is quarantined");
                ("supervisor.quarantine", format!("next trial in {trial:?}"))
            }
            EventKind::Recovered => {
                self.metrics.supervision.quarantined.dec();
                info!(%supervisor, %child, "child has recovered");
                ("supervisor.recovered", String::new())
            }
            EventKind::Exhausted => {
                error!(%supervisor, %child, "child was restarted too often, its supervisor gives up");
                ("supervisor.exhausted", String::new())
            }
            EventKind::Exited {
                exit,
                expected: false,
                ..
            } => {
                warn!(%supervisor, %child, generation, %exit, "child ended");
                return;
            }
            _ => {
                tracing::debug!(%supervisor, %child, generation, ?kind, "supervision");
                return;
            }
        };
        record(
            &self.audit,
            event_type,
            format!("{supervisor}/{child} generation {generation} {detail}"),
        );
    }
}

/// Records an event of the gateway itself.
pub(super) fn record(audit: &AuditLog, event_type: &'static str, detail: String) {
    record_as(audit, event_type, "ok", detail);
}

/// The same, with a result of `ok` or `error`.
pub(super) fn record_as(
    audit: &AuditLog,
    event_type: &'static str,
    result: &'static str,
    detail: String,
) {
    match audit.reserve() {
        Ok(slot) => slot.record(&AuditEvent {
            event_id: Uuid::now_v7().to_string().into(),
            event_type,
            result,
            detail: Some(detail.as_str().into()),
            ..AuditEvent::default()
        }),
        Err(error) => error!(event_type, detail, %error, "event could not be recorded"),
    }
}
