//! `metrics:` in the configuration.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

/// `metrics:` in the configuration. Whatever clients and servers do, the series stay within these bounds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Tools, and as many prompts, that are counted by their names, over all servers; the first that are called. Those
    /// that come later, and those that their server does not list, are counted under the name `other`. Default 1000.
    pub max_names: usize,
    /// Combinations of labels that one metric may have. What comes later is counted under `other`. Default 10000.
    pub max_series: usize,
    /// One request in this many is timed stage by stage, for `weir_stage_duration_seconds` and
    /// `weir_stage_wait_seconds`. 1 times each, which costs about half a microsecond a request. Default 16.
    pub stage_sample: NonZeroU32,
    /// Whether answers say in a `Server-Timing` header where their time went. Only authenticated callers are told.
    /// Default `on_request`.
    pub server_timing: ServerTiming,
}

/// Whether answers have a `Server-Timing` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerTiming {
    /// Every answer to an authenticated caller.
    Always,
    /// Answers to requests with the header `Weir-Timing: 1`.
    #[default]
    OnRequest,
    /// None.
    Never,
}

// === impl MetricsConfig ===

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            max_names: 1000,
            max_series: 10_000,
            stage_sample: NonZeroU32::new(16).unwrap_or(NonZeroU32::MIN),
            server_timing: ServerTiming::default(),
        }
    }
}

// === impl ServerTiming ===

impl ServerTiming {
    /// Whether a request is answered with the header; `asked` says whether its client asked for it.
    pub fn applies(self, asked: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Always => true,
            Self::OnRequest => asked(),
            Self::Never => false,
        }
    }
}
