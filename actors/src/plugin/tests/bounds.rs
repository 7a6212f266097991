//! Plugins that do not answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::*;
use super::story;

#[test]
fn calls_in_flight_are_lost_with_their_instance_and_bounded() {
    /// Never answers.
    struct Silent(Arc<MockPluginClient>);

    impl PluginClient for Silent {
        fn call<'a>(&'a self, _call: Call<'a>) -> BoxFuture<'a, Result<bytes::Bytes, CallError>> {
            Box::pin(std::future::pending())
        }

        fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
            Box::pin(std::future::pending())
        }

        fn ended(&self) -> BoxFuture<'_, String> {
            self.0.ended()
        }
    }

    struct Silence(Arc<MockPluginClient>);

    impl PluginTransport for Silence {
        fn kind(&self) -> &'static str {
            "silence"
        }

        fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
            let client: Arc<dyn PluginClient> = Arc::new(Silent(self.0.clone()));
            Box::pin(async move { Ok(client) })
        }
    }

    story(async |site| {
        let mock = Arc::new(MockPluginClient::new(|_, _| Err(CallError::Closed)));
        let mut spec = PluginSpec::new("silent", Arc::new(Silence(mock.clone())));
        spec.upkeep.limits.queue = 0;
        let max_calls = spec.upkeep.limits.max_calls.get();
        let plugin = site.loader.load(spec).await.unwrap();
        let nothing = json!({});
        assert_eq!(plugin.call("ping", &nothing).await, Err(CallError::Timeout));
        let calls = (0..=max_calls).map(|_| plugin.call("ping", &nothing));
        let crash = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            mock.crash("gone");
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), crash);
        let count = |error: &CallError| {
            let wanted =
                |answer: &&Result<_, CallError>| answer.as_ref().is_err_and(|e| e == error);
            answers.iter().filter(wanted).count()
        };
        assert_eq!(count(&CallError::Busy), 1);
        assert_eq!(
            count(&CallError::Lost("gone".to_owned())),
            max_calls as usize
        );
    });
}

#[test]
fn a_plugin_that_does_not_close_is_stopped_all_the_same() {
    struct Stubborn;

    impl PluginClient for Stubborn {
        fn call<'a>(&'a self, _call: Call<'a>) -> BoxFuture<'a, Result<bytes::Bytes, CallError>> {
            Box::pin(std::future::pending())
        }

        fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
            Box::pin(std::future::pending())
        }
    }

    impl PluginTransport for Stubborn {
        fn kind(&self) -> &'static str {
            "stubborn"
        }

        fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
            Box::pin(async { Ok(Arc::new(Stubborn) as Arc<dyn PluginClient>) })
        }
    }

    story(async |site| {
        let spec = PluginSpec::new("telemetry", Arc::new(Stubborn));
        let plugin = site.loader.load(spec).await.unwrap();
        site.loader.unload("telemetry").await.unwrap();
        assert_eq!(plugin.state(), PluginState::Stopped);
        assert!(site.loader.registry().telemetry().is_none());
        let told = site.diary.take();
        assert_eq!(
            told.last().unwrap(),
            "OnStop telemetry Some(\"the plugin did not answer in time\")"
        );
    });
}
