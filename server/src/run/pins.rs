//! What was approved of the servers' catalogues: where it is kept, and who is told of changes.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{error, info, warn};
use uuid::Uuid;
use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::builtin::line_store::{AuditTarget, Folder};
use weir_actors::builtin::{Clock, Outside};
use weir_actors::pipeline::Metrics;
use weir_actors::upstream::ListKind;
use weir_actors::upstream::pins::{
    PinChange, PinEvent, PinFile, PinPolicy, PinWatch, Pins, PinsSetup,
};
use weir_plugin_protocol::audit::AuditEvent;

use crate::config::{AuditConfig, Config};

/// Tells the log, the metrics and the audit log.
struct PinWatchman {
    metrics: Arc<Metrics>,
    audit: AuditLog,
}

/// Opens the pins that the configuration asks for. `records` is where the audit log is.
///
/// # Errors
/// A text for the operator: the file cannot be used.
pub(super) fn open(
    config: &Config,
    outside: &Outside,
    records: &AuditTarget,
    metrics: &Arc<Metrics>,
    audit: &AuditLog,
) -> Result<Pins, String> {
    let policies = config.pins.policies();
    let file = match policies.is_off() {
        true => None,
        false => place(config, outside, records),
    };
    match &file {
        Some(file) => info!(file = %file.display(), "pins are kept"),
        None if policies.is_off() => {}
        None => {
            warn!("pins are kept in memory only, there is no place for their file: set `pins.file`")
        }
    }
    Pins::open(PinsSetup {
        policies,
        file: file.as_deref().map(PinFile::new),
        clock: Clock::system(),
        watch: Some(Arc::new(PinWatchman {
            metrics: metrics.clone(),
            audit: audit.clone(),
        })),
    })
    .map_err(|error| format!("pins: {error}"))
}

/// The file that is configured, else one beside the audit log, else one where the audit log would be by default.
fn place(config: &Config, outside: &Outside, records: &AuditTarget) -> Option<PathBuf> {
    if let Some(file) = &config.pins.file {
        return Some(file.clone());
    }
    let (own, shared) = (config.pins.own_file_name(), config.pins.shared_file_name());
    let beside = match records {
        AuditTarget::File(log) if log.folder != Folder::Given => log.beside(&shared).ok(),
        // A device or a pipe has no state of ours beside it.
        AuditTarget::File(log) if log.path.is_file() => log.beside(&own).ok(),
        _ => None,
    };
    beside.or_else(|| {
        let places = AuditConfig::default().targets(&outside.environment).ok()?;
        places.iter().find_map(|place| match place {
            AuditTarget::File(log) => log.beside(&shared).ok(),
            _ => None,
        })
    })
}

/// Where the file of a configuration may be, for those who look for one that is there already.
pub(crate) fn places(config: &Config, outside: &Outside) -> Vec<PathBuf> {
    if let Some(file) = &config.pins.file {
        return vec![file.clone()];
    }
    let mut places = Vec::new();
    if let Some(log) = &config.audit.path {
        places.push(log.with_file_name(config.pins.own_file_name()));
    }
    let defaults = AuditConfig::default().targets(&outside.environment);
    for place in defaults.unwrap_or_default() {
        if let AuditTarget::File(log) = place {
            places.push(log.path.with_file_name(config.pins.shared_file_name()));
        }
    }
    places
}

// === impl PinWatchman ===

impl PinWatch for PinWatchman {
    fn pin_event(&self, event: &PinEvent) {
        self.metrics.pins.count(event);
        let PinEvent {
            what,
            server,
            object,
            pinned,
            current,
            policy,
            ..
        } = event;
        let (kind, name) = match object {
            Some((kind, name)) => (kind.singular(), name.as_str()),
            None => ("", ""),
        };
        let (word, policy_word) = (what.as_str(), policy.as_str());
        let hash = |hash: &Option<_>| hash.map(|hash| format!("{hash}")).unwrap_or_default();
        let (pinned, current) = (hash(pinned), hash(current));
        match what {
            PinChange::Trusted { objects } => {
                info!(%server, objects, "server seen for the first time, what it offers is pinned");
            }
            PinChange::Accepted => {
                info!(%server, kind, name, pinned, current, "pin accepted by an operator");
            }
            PinChange::Restored => info!(%server, kind, name, "object is as it was pinned again"),
            PinChange::More { objects } => {
                warn!(%server, objects, policy = policy_word, "more objects are not as they were pinned");
            }
            PinChange::Clash { with } => {
                warn!(%server, kind, name, with, "object refused: it looks like another one of the server");
            }
            PinChange::Drifted | PinChange::New | PinChange::Missing => {
                warn!(%server, kind, name, state = word, pinned, current, policy = policy_word, "object is not as it was pinned");
            }
        }
        let is_refused = match what {
            PinChange::Clash { .. } => true,
            PinChange::Drifted | PinChange::New | PinChange::Missing => {
                matches!(policy, PinPolicy::Block | PinPolicy::ServePinned)
            }
            _ => false,
        };
        let detail = match what {
            PinChange::Clash { with } => format!("{kind}, looks like {with:?}"),
            PinChange::Trusted { objects } => format!("{objects} objects approved at first sight"),
            PinChange::More { objects } => format!("{objects} more objects changed"),
            _ => format!("{kind}, policy {policy_word}"),
        };
        let is_tool = object
            .as_ref()
            .is_some_and(|(kind, _)| *kind == ListKind::Tools);
        let named = object.as_ref().map(|(_, name)| name.clone());
        let (tool, target) = if is_tool {
            (named, None)
        } else {
            (None, named)
        };
        let text = |hash: String| (!hash.is_empty()).then_some(hash);
        match self.audit.reserve() {
            Ok(slot) => slot.record(&AuditEvent {
                event_id: Uuid::now_v7().to_string().into(),
                event_type: what.audit_type(),
                mcp_server: Some(server.as_str().into()),
                tool: tool.map(Into::into),
                target: target.map(Into::into),
                result: if is_refused { "denied" } else { "ok" },
                reason: is_refused.then(|| match what {
                    PinChange::Clash { .. } => "name_clash".into(),
                    _ => "pin_mismatch".into(),
                }),
                pinned_sha256: text(pinned),
                current_sha256: text(current),
                detail: Some(detail.into()),
                ..AuditEvent::default()
            }),
            Err(error) => {
                error!(event_type = what.audit_type(), %server, %error, "event could not be recorded")
            }
        }
    }
}
