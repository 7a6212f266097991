//! The audit log is opened: where the configuration says, or at the first place of this user that can be written to.

use tracing::warn;
use weir_actors::builtin::Outside;
use weir_actors::builtin::line_store::{AuditTarget, DiskLines};

use crate::config::Config;

/// Opens the audit log. Returns where it is.
///
/// # Errors
/// A text for the operator: why there is no place for it.
pub(super) fn open(config: &Config, outside: &Outside) -> Result<(AuditTarget, DiskLines), String> {
    let targets = config
        .audit
        .targets(&outside.environment)
        .map_err(|error| format!("audit.{error}"))?;
    let mut failures = Vec::new();
    for target in targets {
        match DiskLines::open(&target) {
            Ok(lines) => {
                for failure in failures {
                    warn!(place = %target, failure, "audit records are not where they were expected");
                }
                return Ok((target, lines));
            }
            Err(error) => failures.push(format!("{target} cannot be opened: {error}")),
        }
    }
    let failures = failures.join(", ");
    Err(format!(
        "audit: {failures}; set `audit.path`, or `audit.sink: stdout`"
    ))
}
