//! What becomes of requests, and how long it takes.

use prometheus::Error;

use super::bounds::REQUEST;
use super::cell::{Count, Timing};
use super::family::Family;
use super::register::Register;

/// Counts and times of requests.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) verdicts: Family<[&'static str; 2], Count>,
    pub(super) duration: Family<[&'static str; 1], Timing>,
    pub(super) overhead: Family<[&'static str; 0], Timing>,
}

// === impl Requests ===

impl Requests {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            verdicts: register.closed(
                "weir_requests_total",
                "Requests that reached the gateway, by method and verdict.",
                &["method", "verdict"],
                (),
            )?,
            duration: register.closed(
                "weir_request_duration_seconds",
                "From arrival to answer.",
                &["method"],
                &REQUEST,
            )?,
            overhead: register.closed(
                "weir_overhead_seconds",
                "From arrival to answer without waiting for the upstream, for a place at it or for the request's body; streams that wait for events are left out.",
                &[],
                &REQUEST,
            )?,
        })
    }
}
