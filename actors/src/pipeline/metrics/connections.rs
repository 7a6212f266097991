//! Connections of clients, below the requests.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use super::register::Register;

/// Counts of what slow clients do.
#[derive(Debug)]
pub struct ConnectionMetrics {
    /// Cut because the head of a request did not end.
    pub slow_heads: IntCounter,
    /// Cut because the client took nothing of its answer.
    pub slow_readers: IntCounter,
    /// Cut because nothing was asked.
    pub idle: IntCounter,
    /// Bodies that are waited for.
    pub uploads: IntGauge,
    /// Their bytes.
    pub upload_bytes: IntGauge,
}

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        let cut: IntCounterVec = register.counters(
            "weir_connections_cut_total",
            "Connections of clients that were cut: slow_head, slow_reader or idle.",
            &["reason"],
        )?;
        Ok(Self {
            slow_heads: cut.with_label_values(&["slow_head"]),
            slow_readers: cut.with_label_values(&["slow_reader"]),
            idle: cut.with_label_values(&["idle"]),
            uploads: register.gauge("weir_uploads", "Bodies of requests that are waited for.")?,
            upload_bytes: register.gauge(
                "weir_upload_bytes",
                "Bytes that have come of bodies that are waited for.",
            )?,
        })
    }
}
