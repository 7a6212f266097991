//! The life of plugins, told as stories.

mod bounds;
mod parts;
mod strategies;
mod upkeep;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::json;
use tokio::task::LocalSet;

use super::*;
use crate::supervisor::{Observer, Runtime, SupervisionEvent, SupervisorHandle, SupervisorSpec};

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn mock(&self) -> MockTransport {
        let diary = self.clone();
        MockTransport::ok().traced(move |step| diary.note(step))
    }
}

impl LifecycleHooks for Diary {
    fn on_start(&self, info: &PluginInfo) {
        self.note(format!(
            "OnStart {} {} {}",
            info.name, info.r#type, info.version
        ));
    }

    fn on_stop(&self, info: &PluginInfo, error: Option<&str>) {
        self.note(format!("OnStop {} {error:?}", info.name));
    }

    fn on_error(&self, info: &PluginInfo, error: &str) {
        self.note(format!("OnError {} {error}", info.name));
    }

    fn on_restart(&self, info: &PluginInfo, attempt: u32) {
        self.note(format!("OnRestart {} {attempt}", info.name));
    }

    fn on_quarantined(&self, info: &PluginInfo, trial: Option<Duration>) {
        self.note(format!("OnQuarantined {} {trial:?}", info.name));
    }

    fn on_recovered(&self, info: &PluginInfo) {
        self.note(format!("OnRecovered {}", info.name));
    }

    fn on_replaced(&self, info: &PluginInfo, replacement: &Replacement) {
        self.note(format!("OnReplaced {} {replacement}", info.name));
    }
}

/// Tells a loader what happens in the tree, once there is one.
#[derive(Default)]
struct Ears(OnceLock<Loader>);

impl Observer for Ears {
    fn event(&self, event: &SupervisionEvent) {
        if let Some(loader) = self.0.get() {
            loader.hear(event);
        }
    }
}

struct Site {
    loader: Loader,
    diary: Diary,
    group: SupervisorHandle,
}

/// Runs a test with a loader, in time that only passes when everybody waits.
fn story<T: Future<Output = ()>>(test: impl FnOnce(Site) -> T) {
    run(SupervisorSpec::dynamic("plugins").quarantining(), test);
}

/// The same with plugins in this group.
fn run<T: Future<Output = ()>>(spec: SupervisorSpec, test: impl FnOnce(Site) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let ears = Arc::new(Ears::default());
        let observer = ears.clone();
        let group = spec.start(Runtime { observer, seed: 7 }).unwrap();
        group.ready().await;
        let diary = Diary::default();
        let loader = Loader::new(group.clone(), Arc::default(), Arc::new(diary.clone()));
        assert!(ears.0.set(loader.clone()).is_ok());
        test(Site {
            loader,
            diary,
            group: group.clone(),
        })
        .await;
        group.shutdown().await;
    });
}

fn telemetry(mock: &MockTransport) -> PluginSpec {
    PluginSpec::new("telemetry", Arc::new(mock.clone()))
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_start_a_crash_and_a_stop_are_told_in_order() {
    story(async |site| {
        let mock = site.diary.mock();
        let plugin = site.loader.load(telemetry(&mock)).await.unwrap();
        assert_eq!(
            site.diary.take(),
            ["connect", "health", "OnStart telemetry mock unknown"]
        );
        mock.refuse(1);
        mock.crash("exit status 9");
        until(|| plugin.state() == PluginState::Error).await;
        assert!(site.loader.registry().telemetry().is_none());
        let down = plugin.call("ping", &json!({})).await.unwrap_err();
        assert_eq!(down, CallError::NotRunning);
        assert!(down.is_retryable());
        until(|| plugin.state() == PluginState::Active).await;
        assert_eq!(
            site.diary.take(),
            [
                "OnError telemetry the plugin ended: exit status 9",
                "connect",
                "OnError telemetry the plugin cannot be reached: refused",
                "connect",
                "health",
                "OnRestart telemetry 2",
            ]
        );
        let view = site.loader.views().remove(0);
        assert_eq!((view.generation, view.restarts, view.error), (2, 2, None));
        let child = site.group.snapshot().child("telemetry").cloned().unwrap();
        assert_eq!((child.generation, child.restarts), (3, 2));
        site.loader.unload("telemetry").await.unwrap();
        assert_eq!(site.diary.take(), ["close", "OnStop telemetry None"]);
        assert_eq!(plugin.state(), PluginState::Stopped);
        assert!(site.loader.list().is_empty() && site.group.which_children().is_empty());
        let gone = site.loader.unload("telemetry").await.unwrap_err();
        assert_eq!(gone.to_string(), "plugin telemetry is not loaded");
    });
}

#[test]
fn a_plugin_is_registered_when_it_is_healthy_and_not_before() {
    story(async |site| {
        let mock = MockTransport::ok();
        let registry = site.loader.registry().clone();
        let (diary, seen) = (site.diary.clone(), registry.clone());
        let mock = mock.traced(move |step| {
            let registered = seen.telemetry().is_some();
            diary.note(format!("{step} registered={registered}"));
        });
        mock.ail(3);
        let loading = site.loader.load(telemetry(&mock));
        let states = async {
            until(|| site.loader.get("telemetry").is_some()).await;
            let plugin = site.loader.get("telemetry").unwrap();
            let mut states = plugin.0.lifecycle.watch();
            let mut trace = vec![states.borrow_and_update().state];
            while trace.last() != Some(&PluginState::Active) {
                states.changed().await.unwrap();
                trace.push(states.borrow_and_update().state);
            }
            trace
        };
        let (loaded, trace) = tokio::join!(loading, states);
        loaded.unwrap();
        let steps = [PluginState::Authenticating, PluginState::Active];
        assert!(trace.ends_with(&steps), "{trace:?}");
        let mut expected = vec!["connect registered=false"];
        expected.extend(["health registered=false"; 4]);
        expected.push("OnStart telemetry mock unknown");
        assert_eq!(site.diary.take(), expected);
        let counted = registry.telemetry().unwrap();
        counted
            .record_counter("mcp.tool.calls", 1, &[("k", "v")])
            .await
            .unwrap();
        let refused = counted.record_histogram("d", f64::NAN, &[]).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "params.value: expected a finite number"
        );
    });
}

#[test]
fn an_actor_that_panics_is_an_error_and_leaves_its_role() {
    story(async |site| {
        let armed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let fuse = armed.clone();
        let mock = MockTransport::ok().traced(move |_| {
            assert!(
                !fuse.swap(false, std::sync::atomic::Ordering::Relaxed),
                "boom"
            );
        });
        let plugin = site.loader.load(telemetry(&mock)).await.unwrap();
        site.diary.take();
        armed.store(true, std::sync::atomic::Ordering::Relaxed);
        let reloaded = site.loader.reload("telemetry").await.unwrap_err();
        assert!(
            reloaded
                .to_string()
                .ends_with("it ended while it was reloaded")
        );
        assert_eq!(plugin.state(), PluginState::Error);
        assert!(site.loader.registry().telemetry().is_none());
        until(|| plugin.state() == PluginState::Active).await;
        assert!(site.loader.registry().telemetry().is_some());
        assert_eq!(
            site.diary.take(),
            [
                "OnError telemetry the plugin's actor was ended",
                "OnRestart telemetry 1",
            ]
        );
    });
}

#[test]
fn names_and_roles_are_taken_once() {
    story(async |site| {
        let mock = MockTransport::ok();
        site.loader.load(telemetry(&mock)).await.unwrap();
        let again = site.loader.load(telemetry(&mock)).await.unwrap_err();
        assert_eq!(again.to_string(), "plugin telemetry is already loaded");
        let other = PluginSpec::new("other", Arc::new(mock)).role(Role::Telemetry);
        let error = site.loader.load(other).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "plugin other does not serve: telemetry plugin already registered"
        );
        assert_eq!(site.loader.list(), ["telemetry"]);
        assert_eq!(site.group.which_children().len(), 1);
        let holder = site.loader.registry().plugin(Role::Telemetry).unwrap();
        assert_eq!(holder.name(), "telemetry");
        assert_eq!(
            AlreadyRegistered(Role::AuthProvider).to_string(),
            "auth provider plugin already registered"
        );
    });
}

#[test]
fn everything_loaded_is_listed_and_can_be_unloaded() {
    story(async |site| {
        for name in ["b", "a", "c"] {
            let spec = PluginSpec::new(name, Arc::new(MockTransport::ok()));
            site.loader.load(spec).await.unwrap();
        }
        assert_eq!(site.loader.list(), ["a", "b", "c"]);
        assert_eq!(site.loader.info("b").unwrap().r#type, "mock");
        assert!(site.loader.info("d").is_none());
        site.diary.take();
        site.loader.unload_all().await.unwrap();
        assert_eq!(
            site.diary.take(),
            ["OnStop c None", "OnStop b None", "OnStop a None"]
        );
        assert!(site.loader.list().is_empty());
    });
}

#[test]
fn a_plugin_that_does_not_start_is_not_loaded() {
    story(async |site| {
        let mock = site.diary.mock();
        mock.refuse(u32::MAX);
        let error = site.loader.load(telemetry(&mock)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "plugin telemetry does not serve: the plugin cannot be reached: refused"
        );
        mock.refuse(0);
        mock.ail(u32::MAX);
        let error = site.loader.load(telemetry(&mock)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "plugin telemetry does not serve: the plugin is not healthy: plugin returned error: not yet"
        );
        assert!(mock.last().unwrap().is_closed());
        assert!(site.loader.list().is_empty() && site.group.which_children().is_empty());
    });
}

#[test]
fn a_reload_fails_no_call() {
    story(async |site| {
        let mock = site.diary.mock();
        let plugin = site.loader.load(telemetry(&mock)).await.unwrap();
        let first = mock.last().unwrap();
        let calls = async {
            for _ in 0..200 {
                plugin.call("ping", &json!({})).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reloads = async {
            for _ in 0..5 {
                mock.ail(1);
                site.loader.reload("telemetry").await.unwrap();
            }
        };
        tokio::join!(calls, reloads);
        until(|| first.is_closed()).await;
        assert!(!mock.last().unwrap().is_closed());
        assert_eq!(site.loader.views()[0].generation, 6);
        assert!(
            site.diary
                .take()
                .contains(&"OnRestart telemetry 1".to_owned())
        );
        mock.refuse(1);
        let failed = site.loader.reload("telemetry").await.unwrap_err();
        assert!(failed.to_string().ends_with("reached: refused"), "{failed}");
        plugin.call("ping", &json!({})).await.unwrap();
        assert!(site.loader.reload("other").await.is_err());
    });
}

#[test]
fn a_plugin_that_is_down_is_tried_at_once_by_a_reload() {
    story(async |site| {
        let mock = MockTransport::ok();
        let plugin = site.loader.load(telemetry(&mock)).await.unwrap();
        mock.refuse(100);
        mock.crash("gone");
        until(|| site.loader.views()[0].quarantined).await;
        assert_eq!(plugin.state(), PluginState::Error);
        mock.refuse(0);
        site.loader.reload("telemetry").await.unwrap();
        assert_eq!(plugin.state(), PluginState::Active);
        mock.refuse(100);
        mock.crash("gone");
        until(|| site.loader.views()[0].quarantined).await;
        site.loader.unload("telemetry").await.unwrap();
        assert_eq!(plugin.state(), PluginState::Stopped);
        assert!(
            site.diary
                .take()
                .last()
                .unwrap()
                .starts_with("OnStop telemetry Some")
        );
    });
}
