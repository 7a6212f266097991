//! What came of a reload, for operators.

use std::time::Duration;

use serde_json::{Value, json};
use weir_actors::upstream::{ServerName, UpstreamState};

use crate::config::ConfigError;
use crate::run::plugged::PluginChanges;

/// What came of one reload.
#[derive(Clone, Debug)]
pub enum Report {
    /// Something was different, and is in force.
    Applied(Applied),
    /// Nothing was different.
    Unchanged {
        /// Keys that differ from what the gateway was started with and need a restart.
        needs_restart: Vec<String>,
    },
    /// The configuration is refused as a whole. Nothing was changed.
    Invalid(ConfigError),
    /// The configuration is good, and could not be carried out. Nothing was changed.
    Failed(String),
}

/// What a reload has changed.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The number of the settings that hold now.
    pub serial: u64,
    /// The keys that differ from the reading before, and `credentials…` or `auth…` whose files do.
    pub changed: Vec<String>,
    /// Servers that are new.
    pub added: Vec<(ServerName, UpstreamState)>,
    /// Servers of which another instance serves now.
    pub replaced: Vec<(ServerName, UpstreamState)>,
    /// Servers that are not there any more.
    pub removed: Vec<ServerName>,
    /// Plugins that are new, replaced or gone.
    pub(in crate::run) plugins: Box<PluginChanges>,
    /// Keys that differ from what the gateway was started with and need a restart.
    pub needs_restart: Vec<String>,
    /// What went wrong without keeping the rest from being put in force.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

// === impl Report ===

impl Report {
    /// The word in metrics, logs and answers.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Unchanged { .. } => "unchanged",
            Self::Invalid(_) => "invalid",
            Self::Failed(_) => "failed",
        }
    }

    /// The HTTP status that an operator is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Applied(_) | Self::Unchanged { .. } => 200,
            Self::Invalid(_) => 422,
            Self::Failed(_) => 500,
        }
    }

    /// Everything, for an operator. Shows no value of the configuration.
    pub fn to_json(&self) -> Value {
        let result = self.result();
        match self {
            Self::Applied(applied) => json!({
                "result": result,
                "serial": applied.serial,
                "changed": applied.changed,
                "servers": {
                    "added": states(&applied.added),
                    "replaced": states(&applied.replaced),
                    "removed": applied.removed,
                },
                "plugins": applied.plugins,
                "needs_restart": applied.needs_restart,
                "warnings": applied.warnings,
                "took_ms": u64::try_from(applied.took.as_millis()).unwrap_or(u64::MAX),
            }),
            Self::Unchanged { needs_restart } => {
                json!({ "result": result, "needs_restart": needs_restart })
            }
            Self::Invalid(error) => json!({ "result": result, "problems": problems(error) }),
            Self::Failed(reason) => json!({ "result": result, "reason": reason }),
        }
    }
}

fn states(servers: &[(ServerName, UpstreamState)]) -> Value {
    let servers = servers
        .iter()
        .map(|(name, state)| json!({ "name": name, "status": state }));
    servers.collect()
}

fn problems(error: &ConfigError) -> Value {
    let problems = error.problems.iter().map(|problem| {
        json!({
            "file": error.file,
            "line": problem.place.line,
            "column": problem.place.column,
            "key": problem.path,
            "problem": problem.what,
            "remedy": problem.remedy,
        })
    });
    problems.collect()
}
