use std::time::Duration;

use super::super::{LifecycleHooks, MockTransport, NoHooks, PluginSpec, PluginState, Requires};
use super::*;
use crate::supervisor::{Runtime, SupervisorSpec};

/// Plugins of which some need others, on a group that runs in time that only passes when everybody waits.
fn story<T: Future<Output = ()>>(
    plugins: &[(&str, &str)],
    test: impl FnOnce(Loader, Steward, BTreeMap<String, MockTransport>) -> T,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut spec = SupervisorSpec::dynamic("plugins").quarantining();
        let hooks: Arc<dyn LifecycleHooks> = Arc::new(NoHooks);
        let loader = Loader::new(spec.handle(), Arc::default(), hooks);
        let steward = Steward::new(loader.clone(), spec.handle());
        let requires: Vec<(&str, Requires)> = plugins
            .iter()
            .map(|(name, requires)| (*name, serde_json::from_str(requires).unwrap()))
            .collect();
        let pairs = requires.iter().map(|(name, requires)| (*name, requires));
        let dependencies = Dependencies::of(pairs).unwrap();
        let needy: Vec<String> = dependencies.dependents().map(str::to_owned).collect();
        let mut children = BTreeMap::new();
        let mut mocks = BTreeMap::new();
        for name in dependencies.order() {
            let mock = MockTransport::ok();
            let plugin = PluginSpec::new(name.clone(), Arc::new(mock.clone()));
            mocks.insert(name.clone(), mock);
            let child = loader.enlist(plugin).unwrap();
            match needy.contains(name) {
                true => drop(children.insert(name.clone(), child)),
                false => spec = spec.child(child),
            }
        }
        steward.plan(Plan {
            dependencies,
            children,
        });
        let group = spec
            .child(steward.child())
            .start(Runtime::silent(7))
            .unwrap();
        test(loader, steward, mocks).await;
        group.shutdown().await;
    });
}

async fn until(loader: &Loader, name: &str, state: PluginState) {
    let plugin = loader.get(name).unwrap();
    let mut states = plugin.follow();
    while plugin.state() != state {
        let changed = tokio::time::timeout(Duration::from_secs(120), states.changed());
        let changed = changed.await;
        assert!(
            changed.is_ok(),
            "{name} is {:?}, not {state:?}",
            plugin.state()
        );
    }
}

#[test]
fn one_that_stops_on_loss_comes_after_what_it_needs_and_goes_with_it() {
    let plugins = [
        ("audit", r#"{"plugins":{"auth":"*"},"on_loss":"stop"}"#),
        ("auth", "{}"),
        ("zed", r#"{"plugins":{"audit":"*"},"on_loss":"stop"}"#),
    ];
    story(&plugins, async |loader, steward, mocks| {
        until(&loader, "zed", PluginState::Active).await;
        assert_eq!(loader.get("audit").unwrap().state(), PluginState::Active);
        assert_eq!(steward.verdicts()["audit"], Verdict::Run);

        mocks["auth"].refuse(3);
        mocks["auth"].crash("killed");
        until(&loader, "zed", PluginState::Stopped).await;
        assert_eq!(loader.get("audit").unwrap().state(), PluginState::Stopped);
        let waits = Verdict::Wait("plugin auth does not serve".to_owned());
        assert_eq!(steward.verdicts()["audit"], waits);

        until(&loader, "auth", PluginState::Active).await;
        until(&loader, "zed", PluginState::Active).await;
        assert_eq!(loader.get("audit").unwrap().state(), PluginState::Active);
    });
}

#[test]
fn one_that_does_without_is_only_shown_as_degraded() {
    let plugins = [("audit", r#"{"plugins":{"auth":"*"}}"#), ("auth", "{}")];
    story(&plugins, async |loader, steward, mocks| {
        until(&loader, "audit", PluginState::Active).await;
        mocks["auth"].refuse(2);
        mocks["auth"].crash("killed");
        until(&loader, "auth", PluginState::Error).await;
        tokio::task::yield_now().await;
        let lost = Verdict::RunDegraded("plugin auth does not serve".to_owned());
        while steward.verdicts()["audit"] != lost {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(loader.get("audit").unwrap().state(), PluginState::Active);
        until(&loader, "auth", PluginState::Active).await;
        while steward.verdicts()["audit"] != Verdict::Run {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_version_that_is_too_old_holds_back() {
    let plugins = [("audit", r#"{"plugins":{"auth":">=1.2"}}"#), ("auth", "{}")];
    story(&plugins, async |loader, steward, _mocks| {
        until(&loader, "auth", PluginState::Active).await;
        let old = "plugin auth is version unknown, and >=1.2 is required";
        let waits = Verdict::Wait(old.to_owned());
        while steward.verdicts().get("audit") != Some(&waits) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            loader.get("audit").unwrap().state(),
            PluginState::Discovered
        );
    });
}
