//! What the end of one plugin means for the others, and the order of a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::*;
use super::{Diary, run, until};
use crate::supervisor::{ChildConfig, Strategy, SupervisorSpec};

/// Ends the second of three plugins and says which were started anew, in the order of their starts.
fn started_anew(strategy: Strategy) -> Vec<String> {
    let mut anew = Vec::new();
    let spec = SupervisorSpec::new("plugins", strategy);
    run(spec, async |site| {
        let mut mocks = Vec::new();
        for name in ["one", "two", "three"] {
            let mock = MockTransport::ok();
            let spec = PluginSpec::new(name, Arc::new(mock.clone()));
            site.loader.load(spec).await.unwrap();
            mocks.push(mock);
        }
        site.diary.take();
        mocks[1].crash("gone");
        let all_serve = || {
            let views = site.loader.views();
            let two = views.iter().find(|view| view.name == "two").unwrap();
            let serve = views.iter().all(|view| view.state == PluginState::Active);
            serve && two.generation == 2
        };
        until(all_serve).await;
        let told = site.diary.take();
        let started = told.iter().filter_map(|line| {
            let mut words = line.split(' ');
            matches!(words.next(), Some("OnStart" | "OnRestart"))
                .then(|| words.next().unwrap().to_owned())
        });
        anew = started.collect();
    });
    anew
}

#[test]
fn the_end_of_one_plugin_means_for_the_others_what_the_operator_says() {
    assert_eq!(started_anew(Strategy::OneForOne), ["two"]);
    assert_eq!(started_anew(Strategy::RestForOne), ["two", "three"]);
    assert_eq!(started_anew(Strategy::OneForAll), ["one", "two", "three"]);
}

/// Notes every step besides what it is told anyway.
struct Steps {
    diary: Diary,
    calls: AtomicU64,
}

impl LifecycleHooks for Steps {
    fn on_state(&self, _info: &PluginInfo, state: PluginState) {
        self.diary.note(state.as_str());
    }

    fn on_start(&self, info: &PluginInfo) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.diary.on_start(info);
    }

    fn on_stop(&self, info: &PluginInfo, error: Option<&str>) {
        self.diary.on_stop(info, error);
    }
}

#[test]
fn a_plugin_takes_the_steps_of_a_start_in_order() {
    let spec = SupervisorSpec::dynamic("plugins").quarantining();
    run(spec, async |site| {
        let diary = Diary::default();
        let hooks = Arc::new(Steps {
            diary: diary.clone(),
            calls: AtomicU64::new(0),
        });
        let loader = Loader::new(site.group.clone(), Arc::default(), hooks.clone());
        let (notes, registry) = (diary.clone(), loader.registry().clone());
        let mock = MockTransport::ok().traced(move |step| {
            let registered = if registry.telemetry().is_some() {
                "registered"
            } else {
                "unregistered"
            };
            notes.note(format!("{step}, {registered}"));
        });
        let mut plugin = PluginSpec::new("telemetry", Arc::new(mock));
        plugin.upkeep.supervision = ChildConfig::default();
        loader.load(plugin).await.unwrap();
        assert!(loader.registry().telemetry().is_some());
        assert_eq!(
            diary.take(),
            [
                "loading",
                "connect, unregistered",
                "authenticating",
                "health, unregistered",
                "active",
                "OnStart telemetry mock unknown",
            ]
        );
        loader.unload("telemetry").await.unwrap();
        assert_eq!(
            diary.take(),
            [
                "shutting_down",
                "close, registered",
                "stopped",
                "OnStop telemetry None"
            ]
        );
        assert!(loader.registry().telemetry().is_none());
        assert_eq!(hooks.calls.load(Ordering::Relaxed), 1);
    });
}
