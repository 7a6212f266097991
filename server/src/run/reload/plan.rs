//! What is different between two configurations, and what of that can be changed while the gateway runs.

use std::collections::BTreeMap;

use weir_actors::supervisor::ChildConfig;
use weir_actors::upstream::{ServerConfig, ServerName};

use crate::config::{Config, Loaded};

/// Keys that are put in force by a reload, with all that is below them. Whatever is not here needs a restart, so that a
/// key which nobody has thought of is never taken for one that is in force.
const APPLIED: &[&str] = &[
    "admin.allow_remote",
    "admin.allowed_hosts",
    "auth",
    "credentials",
    "drain_timeout",
    "http",
    "limits",
    "log.level",
    "plugins",
    "policy",
    "reload",
    "sealing",
    "servers",
    "supervision.upstreams.children",
];

/// Exceptions from [`APPLIED`]: what is made once, with the parts that keep it.
const FIXED: &[&str] = &[
    "limits.max_in_flight",
    "limits.max_streams",
    "limits.session_idle",
];

/// What becomes of one server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// It goes on as it is.
    Stay,
    /// It is new.
    Add(ServerConfig),
    /// Another instance takes its place.
    Replace(ServerConfig),
}

/// The keys that differ from those that the gateway was started with, and cannot be put in force before the next start.
pub(super) fn needs_restart(started: &Loaded, now: &Loaded) -> Vec<String> {
    let same_address = |key: &str| match key {
        // The command line wins over the file.
        "listen" => started.config.listen == now.config.listen,
        "admin.listen" => started.config.admin.listen == now.config.admin.listen,
        _ => false,
    };
    let changes = whole(started.changes(now), started, now);
    let fixed = changes.into_iter();
    fixed
        .filter(|key| !is_applied(key) && !same_address(key))
        .collect()
}

/// Whether one of these keys is `block` or below it.
pub(super) fn touches(changes: &[String], block: &str) -> bool {
    changes.iter().any(|key| is_below(key, block))
}

/// What becomes of each server of the new configuration, in its order. `equipped` are the servers with what weir proves
/// itself with.
pub(super) fn steps(
    before: &[(ServerName, ServerConfig)],
    equipped: &[(ServerName, ServerConfig)],
    supervision: [&BTreeMap<String, ChildConfig>; 2],
) -> Vec<(ServerName, Step)> {
    let [kept_before, kept_now] = supervision;
    let steps = equipped.iter().map(|(name, config)| {
        let known = before.iter().find(|(known, _)| known == name);
        let kept_alike = kept_before.get(name.as_str()) == kept_now.get(name.as_str());
        let step = match known {
            None => Step::Add(config.clone()),
            Some((_, known)) if known.is_reached_like(config) && kept_alike => Step::Stay,
            Some(_) => Step::Replace(config.clone()),
        };
        (name.clone(), step)
    });
    steps.collect()
}

/// A block that came or went as a whole stands for what is in it: part of that may be in force and part not.
fn whole(changes: Vec<String>, started: &Loaded, now: &Loaded) -> Vec<String> {
    let mut keys = Vec::with_capacity(changes.len());
    for key in changes {
        let is_mixed = APPLIED
            .iter()
            .chain(FIXED)
            .any(|other| *other != key && is_below(other, &key));
        match is_mixed {
            true => keys.extend(mixed(&key, &started.config, &now.config)),
            false => keys.push(key),
        }
    }
    keys
}

/// The keys of a block of which only a part needs a restart, where the values differ.
fn mixed(block: &str, started: &Config, now: &Config) -> Vec<String> {
    let (old, new) = (&started.limits, &now.limits);
    let differs = match block {
        "admin" => vec![("listen", started.admin.listen != now.admin.listen)],
        "log" => vec![("format", started.log.format != now.log.format)],
        "limits" => vec![
            ("max_in_flight", old.max_in_flight != new.max_in_flight),
            ("max_streams", old.max_streams != new.max_streams),
            ("session_idle", old.session_idle != new.session_idle),
        ],
        "supervision" | "supervision.upstreams" => {
            let without_servers = |config: &Config| {
                let mut supervision = config.supervision.clone();
                supervision.upstreams.children.clear();
                supervision
            };
            return match without_servers(started) == without_servers(now) {
                true => Vec::new(),
                false => vec![block.to_owned()],
            };
        }
        _ => return vec![block.to_owned()],
    };
    let differs = differs.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(key, _)| format!("{block}.{key}")).collect()
}

fn is_applied(key: &str) -> bool {
    let below = |blocks: &[&str]| blocks.iter().any(|block| is_below(key, block));
    below(APPLIED) && !below(FIXED)
}

fn is_below(key: &str, block: &str) -> bool {
    key.strip_prefix(block)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
