//! Plugins as operators see them: what they do, what they are, and whom they wait for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use weir_actors::plugin::{Loader, McpServer, Plugin, Provider, Steward, Verdict};

use crate::run::processes;

/// Everything that is shown of plugins. Cheap to clone; all clones show the same.
#[derive(Clone)]
pub(in crate::run) struct PluginPage {
    pub(super) loader: Loader,
    pub(super) steward: Steward,
    notes: Arc<ArcSwap<BTreeMap<String, Map<String, Value>>>>,
}

// === impl PluginPage ===

impl PluginPage {
    pub(super) fn new(loader: Loader, steward: Steward) -> Self {
        let notes = Arc::default();
        Self {
            loader,
            steward,
            notes,
        }
    }

    /// Shows what is written of these.
    pub(super) fn note<'a>(&self, plugins: impl Iterator<Item = &'a Plugin>) {
        let notes = plugins.map(|plugin| (plugin.name.clone(), note(plugin)));
        self.notes.store(Arc::new(notes.collect()));
    }

    /// The plugins, in alphabetical order. Never waits for one, and shows no secret.
    pub(in crate::run) fn to_json(&self) -> Value {
        let notes = self.notes.load();
        let verdicts = self.steward.verdicts();
        let views = self.loader.views();
        let shown = views.iter().map(|view| {
            let mut shown = serde_json::to_value(view).unwrap_or(Value::Null);
            if let Some(members) = shown.as_object_mut() {
                match verdicts.get(&view.name) {
                    Some(Verdict::Wait(why)) => {
                        members.insert("waits_for".to_owned(), why.as_str().into());
                    }
                    Some(Verdict::RunDegraded(why)) => {
                        members.insert("degraded".to_owned(), why.as_str().into());
                    }
                    Some(Verdict::Run) | None => {}
                }
                let processes = processes::of_plugin(&view.name);
                if !processes.is_empty() {
                    members.insert("processes".to_owned(), processes.into());
                }
                members.extend(notes.get(&view.name).cloned().unwrap_or_default());
            }
            shown
        });
        Value::Array(shown.collect())
    }
}

/// What the configuration and its manifest say of a plugin, and where it is.
fn note(plugin: &Plugin) -> Map<String, Value> {
    let mut note = Map::new();
    let mut say = |key: &str, value: Value| drop(note.insert(key.to_owned(), value));
    if let Some(category) = &plugin.manifest.category {
        say("category", category.as_str().into());
    }
    match &plugin.provider {
        Provider::Subprocess(process) | Provider::Stdio(process) => {
            say("path", process.exec.as_str().into());
        }
        Provider::Sidecar(sidecar) => say("url", bare(&sidecar.url).into()),
        Provider::Mcp(McpServer::Remote(server)) => say("url", bare(&server.url).into()),
        Provider::Mcp(_) | Provider::InMemory(_) => {}
    }
    let requires = plugin.requires();
    if requires != weir_actors::plugin::Requires::default() {
        say("requires", json!(requires));
    }
    note
}

/// A URL without what may be a secret: its query.
fn bare(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
