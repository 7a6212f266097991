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
    "pins",
    "plugins",
    "policy",
    "reload",
    "sealing",
    "servers",
    "supervision.upstreams.children",
];

/// Exceptions from [`APPLIED`]: what is made once, with the parts that keep it.
const FIXED: &[&str] = &["limits.max_streams", "limits.session_idle", "pins.file"];

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
    // Without pins at the start there is no file for them.
    let without_pins = started.config.pins.policies().is_off();
    let fixed = |key: &str| !is_applied(key) || (without_pins && is_below(key, "pins"));
    let changes = whole(started.changes(now), started, now).into_iter();
    changes
        .filter(|key| fixed(key) && !same_address(key))
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
            ("max_streams", old.max_streams != new.max_streams),
            ("session_idle", old.session_idle != new.session_idle),
        ],
        "pins" => vec![("file", started.pins.file != now.pins.file)],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn loaded(text: &str) -> Loaded {
        let folder = std::env::temp_dir().join(format!("weir-plan-{}", uuid::Uuid::now_v7()));
        std::fs::write(&folder, text).unwrap();
        let loaded = config::load_whole(&config::Source::File(folder.clone()), |_| {});
        std::fs::remove_file(folder).unwrap();
        loaded.unwrap()
    }

    #[test]
    fn what_needs_a_restart_is_named_and_nothing_else() {
        let started = loaded("workers: 2\nlimits: { deadline: 5s }\n");
        for (text, expected) in [
            (
                "workers: 2\nlimits: { deadline: 6s, max_body_bytes: 1000, max_in_flight: 9 }\n",
                &[][..],
            ),
            (
                "workers: 3\nlimits: { deadline: 5s, session_idle: 1m }\n",
                &["workers", "limits.session_idle"],
            ),
            (
                "workers: 2\nlog: { level: debug }\nadmin: { allowed_hosts: [a] }\n",
                &[],
            ),
            (
                "workers: 2\nlog: { level: debug, format: json }\nadmin: { listen: '127.0.0.1:1' }\n",
                &["log.format", "admin.listen"],
            ),
            (
                "workers: 2\nsupervision: { upstreams: { children: { time: { heartbeat: 'off' } } } }\n",
                &[],
            ),
            (
                "workers: 2\nsupervision: { root: { intensity: 9 } }\n",
                &["supervision"],
            ),
            (
                "workers: 2\naudit: { queue: 100 }\nsealing: { keys: [] }\nlisten: '127.0.0.1:1'\n",
                &["audit", "listen"],
            ),
            ("limits: { deadline: 5s }\n", &["workers"]),
        ] {
            assert_eq!(needs_restart(&started, &loaded(text)), expected, "{text}");
        }
    }

    /// Whoever adds a block decides what a reload does with it: what is not named needs a restart.
    #[test]
    fn every_block_is_known() {
        let schema: serde_json::Value = serde_json::from_str(&config::schema()).unwrap();
        let blocks = schema["properties"].as_object().unwrap();
        for block in APPLIED.iter().chain(FIXED) {
            let first = block.split('.').next().unwrap();
            assert!(blocks.contains_key(first), "{block} is not a key");
        }
    }

    #[test]
    fn servers_stay_come_and_are_replaced() {
        let server = |url: &str| {
            let config = format!(r#"{{"type":"http","url":"{url}"}}"#);
            serde_json::from_str::<ServerConfig>(&config).unwrap()
        };
        let named = |name: &str, url: &str| (ServerName::new(name).unwrap(), server(url));
        let before = [
            named("a", "http://h/1"),
            named("b", "http://h/2"),
            named("c", "http://h/3"),
        ];
        let now = [
            named("d", "http://h/4"),
            named("b", "http://h/9"),
            named("c", "http://h/3"),
            named("a", "http://h/1"),
        ];
        let none = BTreeMap::new();
        let kept: BTreeMap<String, ChildConfig> = [("c".to_owned(), ChildConfig::default())].into();
        let steps = steps(&before, &now, [&none, &kept]);
        let steps: Vec<_> = steps.into_iter().map(|(_, step)| step).collect();
        let expected = [
            Step::Add(server("http://h/4")),
            Step::Replace(server("http://h/9")),
            Step::Replace(server("http://h/3")),
            Step::Stay,
        ];
        assert_eq!(steps, expected);
    }
}
