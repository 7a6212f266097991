//! Who needs whom: the order in which plugins are started, and what becomes of one while another that it needs does not
//! serve. Only decides; who carries it out is the steward.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::lifecycle::PluginState;
use super::versions::{OnLoss, Requires, VersionRange};

/// What all plugins need of each other. Needs nobody twice, and nobody in a circle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    of: BTreeMap<String, Needs>,
    order: Vec<String>,
}

/// What one plugin needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Needs {
    plugins: BTreeMap<String, VersionRange>,
    on_loss: OnLoss,
}

/// Why plugins cannot be put in order.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DependencyError {
    /// A plugin needs one that is not there.
    #[error(
        "it needs the plugin {needed}, which is not there; add it, or remove it from `requires.plugins`"
    )]
    Unknown {
        /// Who needs it.
        plugin: String,
        /// What it needs.
        needed: String,
    },
    /// Plugins need each other in a circle: the first is also the last.
    #[error("plugins need each other in a circle: {}; remove one of these from `requires.plugins`", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// A plugin as those see it that need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is doing.
    pub state: PluginState,
    /// What it says its version is.
    pub version: Option<String>,
}

/// What is to become of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs: everything that it needs serves.
    Run,
    /// It runs without something that it needs; what.
    RunDegraded(String),
    /// It does not run; what it waits for.
    Wait(String),
}

// === impl Dependencies ===

impl Dependencies {
    /// Puts plugins in order.
    ///
    /// # Errors
    /// Everything that is needed and not there, or one circle.
    pub fn of<'a>(
        plugins: impl IntoIterator<Item = (&'a str, &'a Requires)>,
    ) -> Result<Self, Vec<DependencyError>> {
        let needs = |requires: &Requires| Needs {
            plugins: requires.plugins.clone(),
            on_loss: requires.on_loss,
        };
        let of: BTreeMap<String, Needs> = plugins
            .into_iter()
            .map(|(name, requires)| (name.to_owned(), needs(requires)))
            .collect();
        let mut errors = Vec::new();
        for (plugin, needs) in &of {
            for needed in needs.plugins.keys().filter(|name| !of.contains_key(*name)) {
                errors.push(DependencyError::Unknown {
                    plugin: plugin.clone(),
                    needed: needed.clone(),
                });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        match ordered(&of) {
            Ok(order) => Ok(Self { of, order }),
            Err(cycle) => Err(vec![DependencyError::Cycle(cycle)]),
        }
    }

    /// The plugins in the order in which they are started: what is needed comes first, else by name.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// The plugins that need others, in the same order.
    pub fn dependents(&self) -> impl Iterator<Item = &str> {
        let needy = |name: &&String| self.of.get(*name).is_some_and(|of| !of.plugins.is_empty());
        self.order.iter().filter(needy).map(String::as_str)
    }

    /// The names of the plugins that one needs.
    pub fn needs(&self, name: &str) -> impl Iterator<Item = &str> {
        let needs = self.of.get(name).into_iter();
        needs.flat_map(|needs| needs.plugins.keys().map(String::as_str))
    }

    /// What is to become of a plugin that runs, or does not yet, while the others are as `look` says; nothing is seen of
    /// one that is not loaded.
    ///
    /// A version that does not fit always holds it back. One that waits for its first start waits until what it needs
    /// serves or is known to be down, so that plugins start in their order also where they would do without.
    pub fn verdict(&self, name: &str, runs: bool, look: impl Fn(&str) -> Option<Seen>) -> Verdict {
        let Some(needs) = self.of.get(name) else {
            return Verdict::Run;
        };
        let mut degraded = None;
        for (needed, range) in &needs.plugins {
            let seen = look(needed);
            let state = seen
                .as_ref()
                .map_or(PluginState::Stopped, |seen| seen.state);
            if state == PluginState::Active {
                let version = seen.and_then(|seen| seen.version);
                if range.admits(version.as_deref()) {
                    continue;
                }
                let version = version.as_deref().unwrap_or(super::versions::UNKNOWN);
                return Verdict::Wait(format!(
                    "plugin {needed} is version {version}, and {range} is required"
                ));
            }
            let is_coming = matches!(
                state,
                PluginState::Discovered | PluginState::Loading | PluginState::Authenticating
            );
            let lost = format!("plugin {needed} does not serve");
            if needs.on_loss == OnLoss::Stop || (is_coming && !runs) {
                return Verdict::Wait(lost);
            }
            degraded.get_or_insert(lost);
        }
        degraded.map_or(Verdict::Run, Verdict::RunDegraded)
    }
}

/// The names so that what is needed comes first; else a circle.
fn ordered(of: &BTreeMap<String, Needs>) -> Result<Vec<String>, Vec<String>> {
    let mut order = Vec::with_capacity(of.len());
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for first in of.keys() {
        // The way from `first`, each with what of its needs was not visited: no recursion, however long the chain.
        let mut way: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut next = Some(first.as_str());
        loop {
            if let Some(name) = next.take()
                && !done.contains(name)
            {
                if let Some(start) = way.iter().position(|(visited, _)| *visited == name) {
                    let circle = way.iter().skip(start).map(|(name, _)| *name);
                    return Err(circle.chain([name]).map(str::to_owned).collect());
                }
                let needs = of.get(name).into_iter();
                let needs = needs.flat_map(|needs| needs.plugins.keys().rev());
                way.push((name, needs.map(String::as_str).collect()));
            }
            let Some((name, left)) = way.last_mut() else {
                break;
            };
            match left.pop() {
                Some(needed) => next = Some(needed),
                None => {
                    done.insert(name);
                    order.push((*name).to_owned());
                    way.pop();
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requires(needs: &[(&str, &str)], on_loss: OnLoss) -> Requires {
        let range = |text: &str| text.parse().unwrap();
        Requires {
            plugins: needs
                .iter()
                .map(|(name, versions)| ((*name).to_owned(), range(versions)))
                .collect(),
            on_loss,
            ..Requires::default()
        }
    }

    fn serving(version: &str) -> Seen {
        Seen {
            state: PluginState::Active,
            version: Some(version.to_owned()),
        }
    }

    fn in_state(state: PluginState) -> Option<Seen> {
        let version = None;
        Some(Seen { state, version })
    }

    #[test]
    fn what_is_needed_comes_first_else_the_alphabet() {
        let (audit, other) = (requires(&[("zed", "*")], OnLoss::Stop), Requires::default());
        let found = Dependencies::of([("audit", &audit), ("zed", &other), ("mid", &other)]);
        let found = found.unwrap();
        assert_eq!(found.order(), ["zed", "audit", "mid"]);
        assert_eq!(found.dependents().collect::<Vec<_>>(), ["audit"]);
        assert_eq!(found.needs("audit").collect::<Vec<_>>(), ["zed"]);
    }

    #[test]
    fn circles_and_strangers_are_refused_by_name() {
        let needs = |name| requires(&[(name, "*")], OnLoss::Degrade);
        let (a, b, c) = (needs("b"), needs("c"), needs("b"));
        let errors = Dependencies::of([("a", &a), ("b", &b), ("c", &c)]).unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "plugins need each other in a circle: b -> c -> b; remove one of these from `requires.plugins`"
            ]
        );
        let errors = Dependencies::of([("a", &needs("a"))]).unwrap_err();
        assert_eq!(
            errors,
            [DependencyError::Cycle(vec!["a".to_owned(), "a".to_owned()])]
        );
        let errors = Dependencies::of([("a", &needs("x"))]).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "it needs the plugin x, which is not there; add it, or remove it from `requires.plugins`"
        );
    }

    #[test]
    fn a_loss_degrades_or_stops_and_a_wrong_version_holds_back() {
        use PluginState::{Active, Discovered, Error, Loading};
        for on_loss in [OnLoss::Degrade, OnLoss::Stop] {
            let audit = requires(&[("auth", ">=1.2")], on_loss);
            let none = Requires::default();
            let found = Dependencies::of([("audit", &audit), ("auth", &none)]).unwrap();
            let verdict = |runs, seen: Option<Seen>| found.verdict("audit", runs, |_| seen.clone());
            let lost = "plugin auth does not serve".to_owned();
            for runs in [false, true] {
                assert_eq!(verdict(runs, Some(serving("1.2.1"))), Verdict::Run);
                let old = "plugin auth is version 1.1, and >=1.2 is required";
                assert_eq!(
                    verdict(runs, Some(serving("1.1"))),
                    Verdict::Wait(old.to_owned())
                );
                let silent = "plugin auth is version unknown, and >=1.2 is required";
                assert_eq!(
                    verdict(runs, in_state(Active)),
                    Verdict::Wait(silent.to_owned())
                );
                assert_eq!(found.verdict("auth", runs, |_| None), Verdict::Run);
                let down = match on_loss {
                    OnLoss::Stop => Verdict::Wait(lost.clone()),
                    OnLoss::Degrade => Verdict::RunDegraded(lost.clone()),
                };
                assert_eq!(verdict(runs, in_state(Error)), down);
                assert_eq!(verdict(runs, None), down);
            }
            for state in [Discovered, Loading] {
                assert_eq!(verdict(false, in_state(state)), Verdict::Wait(lost.clone()));
            }
        }
    }

    /// Some plugins, each of which needs some with a smaller number if `acyclic`, else any.
    fn some_plugins(acyclic: bool) -> impl Strategy<Value = Vec<(String, Requires)>> {
        prop::collection::vec(
            (prop::collection::vec(0usize..12, 0..4), any::<bool>()),
            1..12,
        )
        .prop_map(move |drawn| {
            let count = drawn.len();
            let name = |index: usize| format!("p{index:02}");
            let plugin = |(index, (needs, stops)): (usize, (Vec<usize>, bool))| {
                let bound = if acyclic { index } else { count };
                let needs: Vec<_> = needs
                    .into_iter()
                    .filter(|_| bound > 0)
                    .map(|need| name(need % bound))
                    .collect();
                let needs: Vec<_> = needs.iter().map(|need| (need.as_str(), "*")).collect();
                let on_loss = if stops { OnLoss::Stop } else { OnLoss::Degrade };
                (name(index), requires(&needs, on_loss))
            };
            drawn.into_iter().enumerate().map(plugin).collect()
        })
    }

    fn put(plugins: &[(String, Requires)]) -> Result<Dependencies, Vec<DependencyError>> {
        Dependencies::of(
            plugins
                .iter()
                .map(|(name, requires)| (name.as_str(), requires)),
        )
    }

    proptest! {
        #[test]
        fn an_order_has_everybody_once_and_after_what_it_needs(plugins in some_plugins(true)) {
            let found = put(&plugins).unwrap();
            let order = found.order();
            prop_assert_eq!(order.len(), plugins.len());
            let at = |name: &str| order.iter().position(|found| found == name).unwrap();
            for (name, requires) in &plugins {
                for needed in requires.plugins.keys() {
                    prop_assert!(at(needed) < at(name), "{needed} comes after {name}: {order:?}");
                }
            }
        }

        #[test]
        fn a_circle_that_is_told_is_one(plugins in some_plugins(false)) {
            let known: BTreeMap<_, _> = plugins.iter().cloned().collect();
            match put(&plugins) {
                Ok(found) => prop_assert_eq!(found.order().len(), plugins.len()),
                Err(errors) => {
                    let [DependencyError::Cycle(circle)] = errors.as_slice() else {
                        return Err(TestCaseError::fail(format!("{errors:?}")));
                    };
                    prop_assert_eq!(circle.first(), circle.last());
                    for pair in circle.windows(2) {
                        prop_assert!(known[&pair[0]].plugins.contains_key(&pair[1]));
                    }
                    let once: BTreeSet<_> = circle.iter().skip(1).collect();
                    prop_assert_eq!(once.len() + 1, circle.len());
                }
            }
        }

        /// Plugins die and come back; who carries out the verdicts comes to rest, and then nobody runs who must not,
        /// and everybody runs who may.
        #[test]
        fn verdicts_come_to_rest_and_keep_their_word(
            plugins in some_plugins(true),
            blows in prop::collection::vec((0usize..12, any::<bool>()), 0..24),
        ) {
            let found = put(&plugins).unwrap();
            let known: BTreeMap<_, _> = plugins.iter().cloned().collect();
            // Whether its own program would serve, and whether it is let run.
            let mut sound: BTreeMap<String, bool> = known.keys().map(|name| (name.clone(), true)).collect();
            let mut runs: BTreeMap<String, bool> = known.keys().map(|name| (name.clone(), false)).collect();
            for (index, is_sound) in std::iter::once((0, true)).chain(blows) {
                let names: Vec<_> = known.keys().cloned().collect();
                let name = &names[index % names.len()];
                sound.insert(name.clone(), is_sound);
                let mut rounds = 0;
                loop {
                    let serves = |name: &str| runs[name] && sound[name];
                    let look = |name: &str| in_state(match serves(name) {
                        true => PluginState::Active,
                        false if runs[name] => PluginState::Error,
                        false => PluginState::Stopped,
                    });
                    let changed = names.iter().find_map(|name| {
                        let wanted = !matches!(found.verdict(name, runs[name], look), Verdict::Wait(_));
                        (wanted != runs[name]).then(|| (name.clone(), wanted))
                    });
                    let Some((name, wanted)) = changed else { break };
                    runs.insert(name, wanted);
                    rounds += 1;
                    prop_assert!(rounds <= 12 * 12, "never comes to rest");
                }
                for (name, requires) in &known {
                    let lost = requires.plugins.keys().any(|needed| !(runs[needed] && sound[needed]));
                    let may_run = !(lost && requires.on_loss == OnLoss::Stop);
                    prop_assert_eq!(runs[name], may_run, "{}", name);
                }
            }
        }
    }
}
