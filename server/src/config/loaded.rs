//! A configuration together with the file that it was read from, so that two readings can be compared key by key.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Config;
use super::problem::Place;
use super::tree::{Kind, Node, Path, Step};

/// The most keys that a comparison names.
const MAX_CHANGES: usize = 100;

/// A checked configuration and its file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    root: Node,
}

// === impl Loaded ===

impl Loaded {
    pub(super) fn new(config: Config, root: Node) -> Self {
        Self { config, root }
    }

    /// The keys whose values differ, such as `servers.time.url`, in the order of the newer file; those that are gone
    /// come last. At most 100. No value is named: it may be a secret.
    pub fn changes(&self, newer: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        compare(
            Some(&self.root),
            Some(&newer.root),
            &mut Path::default(),
            &mut changes,
        );
        changes
    }
}

impl From<Config> for Loaded {
    /// A configuration without a file.
    fn from(config: Config) -> Self {
        Self::new(config, Node::empty(Place::default()))
    }
}

// === impl Config ===

impl Config {
    /// The files that are read along with the configuration: API keys, key sets, secrets, what plugins say of
    /// themselves. Relative ones begin at its
    /// directory.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.auth.files();
        files.extend(self.credentials.files());
        files.extend(self.plugins.files());
        files
    }
}

fn compare(old: Option<&Node>, new: Option<&Node>, path: &mut Path, changes: &mut Vec<String>) {
    if changes.len() >= MAX_CHANGES {
        return;
    }
    match (old.map(|node| &node.kind), new.map(|node| &node.kind)) {
        (Some(Kind::Map(before)), Some(Kind::Map(after))) => {
            let known: BTreeSet<String> =
                after.iter().map(|entry| entry.step.to_string()).collect();
            let gone = before
                .iter()
                .filter(|entry| !known.contains(&entry.step.to_string()));
            let steps: Vec<&Step> = after.iter().chain(gone).map(|entry| &entry.step).collect();
            for step in steps {
                path.0.push(step.clone());
                let at = |node: Option<&Node>| {
                    let node = node?.get(std::slice::from_ref(step))?;
                    Some(node.clone())
                };
                compare(at(old).as_ref(), at(new).as_ref(), path, changes);
                path.0.pop();
            }
        }
        (Some(Kind::List(before)), Some(Kind::List(after))) if before.len() == after.len() => {
            for (before, after) in before.iter().zip(after) {
                path.0.push(after.step.clone());
                compare(Some(&before.value), Some(&after.value), path, changes);
                path.0.pop();
            }
        }
        (Some(Kind::Scalar(before)), Some(Kind::Scalar(after)))
            if before.text == after.text && before.is_null() == after.is_null() => {}
        (None, None) => {}
        _ => changes.push(path.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load_whole_text;
    use super::*;

    fn loaded(text: &str) -> Loaded {
        load_whole_text(text, "weir.yaml", &|_| None).unwrap()
    }

    #[test]
    fn two_readings_are_compared_key_by_key() {
        let old = loaded(
            "servers:\n  a: { type: http, url: 'http://h/1' }\n  b: { type: http, url: 'http://h/2' }\nworkers: 2\n",
        );
        for (text, expected) in [
            (
                "workers: 2\nservers: { b: { type: http, url: 'http://h/2' }, a: { type: http, url: 'http://h/1' } }\n",
                vec![],
            ),
            (
                "servers:\n  a: { type: http, url: 'http://h/9' }\n  c: { type: http, url: 'http://h/2' }\nworkers: 2\n",
                vec!["servers.a.url", "servers.c", "servers.b"],
            ),
            (
                "http: { allowed_hosts: [x] }\nservers:\n  a: { type: http, url: 'http://h/1' }\n  b: { type: http, url: 'http://h/2' }\n",
                vec!["http", "workers"],
            ),
        ] {
            assert_eq!(old.changes(&loaded(text)), expected, "{text}");
        }
    }

    #[test]
    fn lists_are_compared_member_by_member_while_they_are_equally_long() {
        let rules = |rules: &str| loaded(&format!("policy: {{ rules: [{rules}] }}\n"));
        let one = rules("{ name: a, effect: allow }, { name: b, effect: allow }");
        let other = rules("{ name: a, effect: allow }, { name: b, effect: deny }");
        assert_eq!(one.changes(&other), ["policy.rules[1].effect"]);
        assert_eq!(
            one.changes(&rules("{ name: a, effect: allow }")),
            ["policy.rules"]
        );
    }
}
