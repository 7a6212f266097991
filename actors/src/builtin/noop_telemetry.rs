//! The telemetry plugin that does nothing.

use weir_plugin_protocol::role::TelemetryPlugin;

/// Drops every metric. The gateway's own `/metrics` does not depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopTelemetry;

// === impl NoopTelemetry ===

impl TelemetryPlugin for NoopTelemetry {
    fn record_counter(&self, _name: &str, _value: i64, _attributes: &[(&str, &str)]) {}

    fn record_histogram(&self, _name: &str, _value: f64, _attributes: &[(&str, &str)]) {}

    fn record_gauge(&self, _name: &str, _value: i64, _attributes: &[(&str, &str)]) {}
}
