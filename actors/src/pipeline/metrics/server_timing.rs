//! The `Server-Timing` header of an answer: where its time went.
//!
//! <https://www.w3.org/TR/server-timing/>; durations are milliseconds. It says nothing but durations.

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::Stage;
use super::stamps::Stamps;

/// The header's name.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The stages that it names.
const STAGES: [Stage; 3] = [Stage::Auth, Stage::Policy, Stage::Credential];

/// What a request took as a whole and at its server.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct Whole {
    pub(in crate::pipeline) upstream: Duration,
    pub(in crate::pipeline) total: Duration,
}

/// The header. `whole` is missing while the answer is still being made, as in the head of an event stream.
pub(super) fn header(stamps: &Stamps, whole: Option<Whole>) -> Option<(HeaderName, HeaderValue)> {
    let mut text = String::with_capacity(128);
    let mut entry = |name: &str, duration: Duration| {
        let separator = if text.is_empty() { "" } else { ", " };
        let milliseconds = duration.as_secs_f64() * 1e3;
        let _infallible = write!(text, "{separator}{name};dur={milliseconds:.3}");
    };
    for stage in STAGES {
        if let Some(spent) = stamps.spent(stage) {
            entry(stage.as_str(), spent);
        }
    }
    if let Some(Whole { upstream, total }) = whole {
        if !upstream.is_zero() {
            entry("upstream", upstream);
        }
        entry("total", total);
    }
    let value = HeaderValue::from_str(&text).ok()?;
    (!text.is_empty()).then_some((SERVER_TIMING, value))
}
