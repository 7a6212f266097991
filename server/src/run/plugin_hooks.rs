//! What happens to plugins: logged and recorded.

use std::time::Duration;

use serde_json::{Value, json};
use weir_actors::builtin::audit_lines::AuditLog;
use weir_actors::plugin::{LifecycleHooks, LoggingHooks, PluginInfo, PluginState, Replacement};

use super::observer::record_as;

/// Writes what happens to plugins to the log and to the audit log.
pub(super) struct AuditHooks(pub(super) AuditLog);

// === impl AuditHooks ===

impl AuditHooks {
    /// Every record says which plugin, and which of its instances.
    fn record(
        &self,
        event_type: &'static str,
        result: &'static str,
        plugin: &PluginInfo,
        more: Value,
    ) {
        let mut detail = json!({
            "plugin": plugin.name,
            "type": plugin.r#type,
            "version": plugin.version,
            "generation": plugin.generation,
        });
        if let (Some(detail), Value::Object(more)) = (detail.as_object_mut(), more) {
            detail.extend(more);
        }
        record_as(&self.0, event_type, result, detail.to_string());
    }
}

impl LifecycleHooks for AuditHooks {
    fn on_state(&self, plugin: &PluginInfo, state: PluginState) {
        LoggingHooks.on_state(plugin, state);
    }

    fn on_start(&self, plugin: &PluginInfo) {
        LoggingHooks.on_start(plugin);
        self.record("plugin.start", "ok", plugin, Value::Null);
    }

    fn on_stop(&self, plugin: &PluginInfo, error: Option<&str>) {
        LoggingHooks.on_stop(plugin, error);
        let result = if error.is_some() { "error" } else { "ok" };
        self.record("plugin.stop", result, plugin, json!({ "error": error }));
    }

    fn on_error(&self, plugin: &PluginInfo, error: &str) {
        LoggingHooks.on_error(plugin, error);
        self.record("plugin.error", "error", plugin, json!({ "error": error }));
    }

    fn on_restart(&self, plugin: &PluginInfo, attempt: u32) {
        LoggingHooks.on_restart(plugin, attempt);
        let attempt = json!({ "attempt": attempt });
        self.record("plugin.restart", "ok", plugin, attempt);
    }

    fn on_reload(&self, plugin: &PluginInfo) {
        LoggingHooks.on_reload(plugin);
        self.record("plugin.reload", "ok", plugin, Value::Null);
    }

    fn on_quarantined(&self, plugin: &PluginInfo, trial: Option<Duration>) {
        LoggingHooks.on_quarantined(plugin, trial);
        let trial = json!({ "trial_seconds": trial.map(|trial| trial.as_secs_f64()) });
        self.record("plugin.quarantined", "error", plugin, trial);
    }

    fn on_recovered(&self, plugin: &PluginInfo) {
        LoggingHooks.on_recovered(plugin);
        self.record("plugin.recovered", "ok", plugin, Value::Null);
    }

    fn on_replaced(&self, plugin: &PluginInfo, replacement: &Replacement) {
        LoggingHooks.on_replaced(plugin, replacement);
        let replacement = serde_json::to_value(replacement).unwrap_or(Value::Null);
        self.record("plugin.integrity", "error", plugin, replacement);
    }
}
