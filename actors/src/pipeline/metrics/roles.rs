//! Plugins that play a role of the pipeline.

use std::sync::Arc;

use prometheus::{Error, IntCounter, IntCounterVec};

use super::register::Register;
use crate::plugged::telemetry::Books;

/// How often plugins were asked, and what they were told.
#[derive(Debug)]
pub struct RoleMetrics {
    /// Of the auth provider.
    pub auth: CacheCounts,
    /// Of the policy evaluator.
    pub policy: CacheCounts,
    /// Of the credential storage.
    pub credentials: CacheCounts,
    /// Events for the audit sink.
    pub audit: StreamCounts,
    /// Measurements for the telemetry plugin.
    pub telemetry: StreamCounts,
    /// What the telemetry plugin is told.
    pub books: Arc<Books>,
}

/// Where the answers of one role came from.
#[derive(Clone, Debug)]
pub struct CacheCounts {
    /// From memory.
    pub hit: IntCounter,
    /// The plugin was to be asked.
    pub miss: IntCounter,
    /// The plugin was asked and there was no answer, or none that counts.
    pub unavailable: IntCounter,
}

/// What became of what a plugin is only told.
#[derive(Clone, Debug)]
pub struct StreamCounts {
    /// The plugin took it.
    pub sent: IntCounter,
    /// The queue was full.
    pub overflow: IntCounter,
    /// The plugin did not take it.
    pub failed: IntCounter,
}

// === impl RoleMetrics ===

impl RoleMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        let cache = |name, help| {
            let outcomes = register.counters(name, help, &["outcome"])?;
            Ok::<_, Error>(CacheCounts {
                hit: outcomes.with_label_values(&["hit"]),
                miss: outcomes.with_label_values(&["miss"]),
                unavailable: outcomes.with_label_values(&["unavailable"]),
            })
        };
        Ok(Self {
            auth: cache(
                "weir_auth_cache_total",
                "Credentials that the auth plugin is to judge, by where the verdict came from; also those that had none.",
            )?,
            policy: cache(
                "weir_policy_cache_total",
                "Questions to the policy plugin, by where the verdict came from; also those that had none.",
            )?,
            credentials: cache(
                "weir_credential_cache_total",
                "Credentials of users from the storage plugin, by where they came from; also those that could not be had.",
            )?,
            audit: StreamCounts::register(
                register,
                "weir_audit_plugin_events_total",
                "Events that the audit plugin has taken.",
                "weir_audit_plugin_dropped_total",
                "Events that the audit plugin was not told, by reason. The audit log has them.",
            )?,
            telemetry: StreamCounts::register(
                register,
                "weir_telemetry_plugin_measurements_total",
                "Measurements that the telemetry plugin has taken.",
                "weir_telemetry_plugin_dropped_total",
                "Measurements that the telemetry plugin was not told, by reason.",
            )?,
            books: Arc::default(),
        })
    }
}

// === impl StreamCounts ===

impl StreamCounts {
    fn register(
        register: &Register<'_>,
        sent: &str,
        sent_help: &str,
        dropped: &str,
        dropped_help: &str,
    ) -> Result<Self, Error> {
        let reasons: IntCounterVec = register.counters(dropped, dropped_help, &["reason"])?;
        Ok(Self {
            sent: register.counter(sent, sent_help)?,
            overflow: reasons.with_label_values(&["overflow"]),
            failed: reasons.with_label_values(&["failed"]),
        })
    }
}
