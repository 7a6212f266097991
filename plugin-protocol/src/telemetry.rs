//! What a telemetry plugin is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The parameters of `record-counter` and `record-gauge` (whole numbers), and of `record-histogram` (also fractions).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The metric, such as `mcp.tool.calls`.
    pub name: String,
    /// What is added, observed or set.
    pub value: serde_json::Number,
    /// What it is about.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}
