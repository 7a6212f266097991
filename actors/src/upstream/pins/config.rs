//! The `pins` block of the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::upstream::view::ServerName;

/// What clients get when a server offers something else than what was approved.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PinsConfig {
    /// What happens to tools, prompts, resources and templates that are not as they were approved. Default `warn`.
    pub policy: PinPolicy,
    /// Where the pins are kept: a JSON file, written anew as a whole. It is made when the first server is seen; one that
    /// was filled before is kept to. Default: `pins.json` beside the audit file, else in the directory for the state of
    /// programs, under a name of this configuration's own.
    pub file: Option<PathBuf>,
    /// Servers by name for which something else is wanted.
    pub servers: BTreeMap<String, ServerPinsConfig>,
    /// Tells files of several configurations in one directory apart.
    #[serde(skip)]
    owner: Option<String>,
}

/// What is wanted for one server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerPinsConfig {
    /// What happens to what this server offers and nobody approved.
    pub policy: PinPolicy,
}

/// What happens to objects of a server that are not as they were approved.
///
/// Whatever the policy is, each is logged, counted and recorded in the audit log with both hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PinPolicy {
    /// Clients get what the server offers now.
    #[default]
    Warn,
    /// Clients see the object that was approved, and calls go on to the server. What has no approved object is not
    /// listed, and calling it is answered 403.
    ServePinned,
    /// What changed or is new is not listed, and calling it is answered 403, until it is accepted.
    Block,
    /// Nothing is pinned, compared or reported.
    Off,
}

/// The policies of all servers.
#[derive(Clone, Debug, Default)]
pub struct PinPolicies {
    every: PinPolicy,
    own: BTreeMap<String, PinPolicy>,
}

/// The name of the file, if nothing tells it apart.
const FILE: &str = "pins.json";

// === impl PinsConfig ===

impl PinsConfig {
    /// The policies.
    pub fn policies(&self) -> PinPolicies {
        let own = self.servers.iter();
        PinPolicies {
            every: self.policy,
            own: own
                .map(|(name, server)| (name.clone(), server.policy))
                .collect(),
        }
    }

    /// Lets a relative path begin at the directory of the configuration file, and ties the default name to that file.
    pub fn belong_to(&mut self, config: &Path) {
        let directory = config.parent().unwrap_or(Path::new(""));
        if let Some(file) = &mut self.file {
            *file = directory.join(&*file);
        }
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        self.owned_by(config.as_os_str().as_encoded_bytes());
    }

    /// Ties the default name to whatever tells this configuration from others.
    pub fn owned_by(&mut self, owner: &[u8]) {
        let hash = digest(&SHA256, owner);
        let hash: String = hash.as_ref().iter().take(4).map(hex).collect();
        self.owner = Some(hash);
    }

    /// The name of the file in a directory that nobody else's configuration uses.
    pub fn own_file_name(&self) -> String {
        FILE.to_owned()
    }

    /// The name of the file in a directory that other configurations use too.
    pub fn shared_file_name(&self) -> String {
        match &self.owner {
            Some(owner) => format!("pins-{owner}.json"),
            None => FILE.to_owned(),
        }
    }
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

// === impl PinPolicies ===

impl PinPolicies {
    /// One policy for all.
    pub fn all(policy: PinPolicy) -> Self {
        Self {
            every: policy,
            own: BTreeMap::new(),
        }
    }

    /// The policy of a server.
    pub fn of(&self, server: &ServerName) -> PinPolicy {
        self.own.get(server.as_str()).copied().unwrap_or(self.every)
    }

    /// Returns true if no server is looked at.
    pub fn is_off(&self) -> bool {
        let mut policies = self.own.values().chain([&self.every]);
        policies.all(|policy| *policy == PinPolicy::Off)
    }
}

// === impl PinPolicy ===

impl PinPolicy {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::ServePinned => "serve_pinned",
            Self::Block => "block",
            Self::Off => "off",
        }
    }
}
