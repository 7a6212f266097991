//! Where interceptors stand on the conveyor: [`request`] between policy and credentials, [`response`] between dispatch
//! and telemetry. Without any of them a request passes with one look at its settings.

mod context;

pub(super) mod request;
pub(super) mod response;
