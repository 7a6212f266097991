//! The plugins of another configuration put in the place of those that run: only what is different is touched.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use weir_actors::plugin::{Dependencies, Plan, Plugin, PluginState, Requires, Upkeep};
use weir_actors::supervisor::{ChildState, CommandError};
use weir_actors::transport::Way;

use super::Plugged;

/// Longest wait until plugins that are new serve. They are tried on after it.
const SETTLE: Duration = Duration::from_secs(10);

/// What a reload did to plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::run) struct PluginChanges {
    /// Plugins that are new.
    pub(in crate::run) added: Vec<String>,
    /// Plugins of which another instance serves now, and which served all the time.
    pub(in crate::run) replaced: Vec<String>,
    /// Plugins that are not there any more.
    pub(in crate::run) removed: Vec<String>,
    /// What went wrong.
    #[serde(skip)]
    pub(in crate::run) warnings: Vec<String>,
}

/// What becomes of a plugin that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on as it is.
    Stays,
    /// Another instance takes over.
    Switches,
    /// It goes, and perhaps another one of its name comes.
    Goes,
}

// === impl Plugged ===

impl Plugged {
    /// The keys of plugins that are not what they were, though their entries may be the same: a file says something else.
    pub(in crate::run) fn differing(&self, plugins: &[Plugin]) -> Vec<String> {
        let differs = |plugin: &&Plugin| {
            let seated = self.seated.get(&plugin.name);
            seated.is_some_and(|seated| seated.plugin.manifest != plugin.manifest)
        };
        plugins
            .iter()
            .filter(differs)
            .map(|plugin| plugin.key.clone())
            .collect()
    }

    /// Unloads the plugins that are gone, has new instances take over where a plugin is reached or made differently, and
    /// loads those that are new.
    pub(in crate::run) async fn change(&mut self, plugins: &[Plugin]) -> PluginChanges {
        self.direct(plugins);
        let mut changes = PluginChanges::default();
        let fates: BTreeMap<String, Fate> = self
            .seated
            .iter()
            .map(|(name, seated)| {
                let now = plugins.iter().find(|plugin| plugin.name == *name);
                (
                    name.clone(),
                    now.map_or(Fate::Goes, |now| fate(&seated.plugin, now)),
                )
            })
            .collect();
        let order = self.order.clone();
        self.let_go(&fates);
        for name in order.iter().rev() {
            if fates.get(name) == Some(&Fate::Goes) {
                self.unload(name, plugins, &mut changes).await;
            }
        }
        for plugin in plugins {
            match fates.get(&plugin.name) {
                Some(Fate::Stays) => self.rename(plugin),
                Some(Fate::Switches) => self.switch(plugin, &mut changes).await,
                Some(Fate::Goes) | None => self.add(plugin, &mut changes),
            }
        }
        self.seat(&mut changes).await;
        changes
    }

    /// The steward forgets who goes, before they do.
    fn let_go(&self, fates: &BTreeMap<String, Fate>) {
        let stays = |plugin: &&Plugin| fates.get(&plugin.name) != Some(&Fate::Goes);
        let plugins: Vec<&Plugin> = self.seated.values().map(|seated| &seated.plugin).collect();
        let requires: Vec<_> = plugins
            .into_iter()
            .filter(stays)
            .map(|plugin| (plugin.name.clone(), plugin.requires()))
            .collect();
        // Whoever needs one that goes is not looked after until everybody is there again.
        let known = |name: &String| requires.iter().any(|(known, _)| known == name);
        let mut kept = requires.clone();
        for (_, requires) in &mut kept {
            requires.plugins.retain(|name, _| known(name));
        }
        let pairs = kept
            .iter()
            .map(|(name, requires)| (name.as_str(), requires));
        let dependencies = Dependencies::of(pairs).unwrap_or_default();
        let children = self.children.clone();
        self.steward.plan(Plan {
            dependencies,
            children,
        });
    }

    async fn unload(&mut self, name: &str, plugins: &[Plugin], changes: &mut PluginChanges) {
        self.seated.remove(name);
        self.children.remove(name);
        match self.loader.unload(name).await {
            Ok(()) if plugins.iter().all(|plugin| plugin.name != name) => {
                changes.removed.push(name.to_owned());
            }
            Ok(()) => {}
            Err(error) => changes.warnings.push(error.to_string()),
        }
    }

    /// Takes note of what other parts of the gateway read in an entry.
    fn rename(&mut self, plugin: &Plugin) {
        if let Some(seated) = self.seated.get_mut(&plugin.name) {
            seated.plugin = plugin.clone();
        }
    }

    async fn switch(&mut self, plugin: &Plugin, changes: &mut PluginChanges) {
        let keyed = |text: String| format!("plugins.{}: {text}", plugin.key);
        let way = match self.way(plugin) {
            Ok(way) => way,
            Err(text) => return changes.warnings.push(keyed(text)),
        };
        let Some(seated) = self.seated.get_mut(&plugin.name) else {
            return;
        };
        let handle = self.loader.get(&plugin.name);
        let served = handle.is_some_and(|handle| handle.state() == PluginState::Active);
        let before: Way = seated.transport.exchange(way);
        if !served && self.children.contains_key(&plugin.name) {
            // The steward starts it when what it needs serves.
            seated.plugin = plugin.clone();
            return;
        }
        match self.loader.reload(&plugin.name).await {
            Ok(()) => {
                seated.plugin = plugin.clone();
                changes.replaced.push(plugin.name.clone());
            }
            Err(error) if served => {
                seated.transport.exchange(before);
                changes
                    .warnings
                    .push(keyed(format!("{error}; the instance before goes on")));
            }
            Err(error) => {
                seated.plugin = plugin.clone();
                changes
                    .warnings
                    .push(keyed(format!("{error}; it is tried again")));
            }
        }
    }

    fn add(&mut self, plugin: &Plugin, changes: &mut PluginChanges) {
        let keyed = |text: String| format!("plugins.{}: {text}", plugin.key);
        match self.enlist_one(plugin) {
            Ok(child) => {
                self.children.insert(plugin.name.clone(), child);
                changes.added.push(plugin.name.clone());
            }
            Err(text) => changes.warnings.push(keyed(text)),
        }
    }

    /// Gives everybody a place in the group: those that need others by the steward, the rest at once.
    async fn seat(&mut self, changes: &mut PluginChanges) {
        let dependencies = self.put_in_order();
        let needy: Vec<String> = dependencies.dependents().map(str::to_owned).collect();
        let tree = self.group.snapshot();
        let mut awaited = Vec::new();
        for name in self.order.clone() {
            if needy.contains(&name) {
                continue;
            }
            let child = self.children.remove(&name);
            let started = match (tree.child(&name), child) {
                (None, Some(child)) => self.group.start_child(child).await,
                (Some(found), _) if found.state == ChildState::Down => {
                    self.group.restart_child(&name).await
                }
                _ => continue,
            };
            match started {
                Ok(()) | Err(CommandError::Duplicate(_)) => awaited.push(name),
                Err(error) => changes.warnings.push(format!("plugin {name}: {error}")),
            }
        }
        let children = self.children.clone();
        if !needy.is_empty() {
            // It is there already if somebody was needy before.
            let _there = self.group.start_child(self.steward.child()).await;
        }
        self.steward.plan(Plan {
            dependencies,
            children,
        });
        let deadline = Instant::now() + SETTLE;
        for name in awaited {
            let Some(plugin) = self.loader.get(&name) else {
                continue;
            };
            let mut states = plugin.follow();
            let decided = async {
                while !matches!(plugin.state(), PluginState::Active | PluginState::Error) {
                    if states.changed().await.is_err() {
                        return;
                    }
                }
            };
            let _late = timeout_at(deadline, decided).await;
            if plugin.state() != PluginState::Active {
                let views = self.loader.views();
                let view = views.iter().find(|view| view.name == name);
                let why = view.and_then(|view| view.error.clone());
                let why = why.unwrap_or_else(|| "it takes long to start".to_owned());
                let key = self
                    .seated
                    .get(&name)
                    .map_or(&name, |seated| &seated.plugin.key);
                changes.warnings.push(format!(
                    "plugins.{key}: plugin {name} does not serve: {why}; it is tried again"
                ));
            }
        }
    }

    /// Knows again who needs whom, and shows it.
    pub(super) fn put_in_order(&mut self) -> Dependencies {
        let mut requires: BTreeMap<String, Requires> = self
            .seated
            .iter()
            .map(|(name, seated)| (name.clone(), seated.plugin.requires()))
            .collect();
        // One that could not be made is not there, and whoever needs it waits, or does without.
        let needed: Vec<String> = requires
            .values()
            .flat_map(|requires| requires.plugins.keys().cloned())
            .collect();
        for name in needed {
            requires.entry(name).or_default();
        }
        let pairs = requires
            .iter()
            .map(|(name, requires)| (name.as_str(), requires));
        // The configuration was checked: nobody goes in circles.
        let dependencies = Dependencies::of(pairs).unwrap_or_default();
        self.order = dependencies.order().to_vec();
        self.page
            .note(self.seated.values().map(|seated| &seated.plugin));
        dependencies
    }
}

fn fate(before: &Plugin, now: &Plugin) -> Fate {
    let place = |plugin: &Plugin| (plugin.key.clone(), plugin.role(), plugin.transport());
    if place(before) != place(now) || Upkeep::of(&before.entry) != Upkeep::of(&now.entry) {
        return Fate::Goes;
    }
    let made = |plugin: &Plugin| {
        (
            plugin.provider.clone(),
            plugin.manifest.clone(),
            plugin.requires(),
        )
    };
    match made(before) == made(now) {
        true => Fate::Stays,
        false => Fate::Switches,
    }
}
