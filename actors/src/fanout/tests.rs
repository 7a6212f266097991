//! Message plugins that are functions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::intercept::tests::Slow;
use crate::pipeline::{Metrics, MetricsConfig};
use crate::plugin::{Loader, MockTransport, NoHooks, PluginSpec, PluginState, Seat};
use crate::supervisor::{Runtime, SupervisorHandle, SupervisorSpec};

type Heard = Arc<Mutex<Vec<(Duration, String, Value)>>>;

struct Site {
    loader: Loader,
    group: SupervisorHandle,
    metrics: Arc<Metrics>,
    began: Instant,
    outlets: Mutex<Vec<Arc<Outlet>>>,
}

impl Site {
    /// A message plugin that writes down what it is told, and takes `pause` for each.
    async fn plug(&self, name: &str, pause: Duration, config: Value) -> (Heard, MockTransport) {
        let heard = Heard::default();
        let (began, own) = (self.began, heard.clone());
        let mock = MockTransport::new(move |method, params| {
            let entry = (began.elapsed(), method.to_owned(), params.clone());
            own.lock().unwrap().push(entry);
            Ok(r#"{"result":"ok"}"#.into())
        });
        let transport = Arc::new(Slow(pause, mock.clone()));
        self.loader
            .load(PluginSpec::new(name, transport))
            .await
            .unwrap();
        let config: MessagesConfig = serde_json::from_value(config).unwrap();
        let seat = Seat::new(self.loader.clone(), name);
        let outlet = Outlet::new(seat, config, self.metrics.fanout.of(name));
        self.group.start_child(outlet.child()).await.unwrap();
        self.outlets.lock().unwrap().push(outlet);
        (heard, mock)
    }

    fn fanout(&self) -> Arc<Fanout> {
        Fanout::new(std::mem::take(&mut *self.outlets.lock().unwrap())).unwrap()
    }
}

fn story<T: Future<Output = ()>>(paused: bool, test: impl FnOnce(Site) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let spec = SupervisorSpec::dynamic("plugins").quarantining();
        let group = spec.start(Runtime::silent(7)).unwrap();
        group.ready().await;
        test(Site {
            loader: Loader::new(group.clone(), Arc::default(), Arc::new(NoHooks)),
            group: group.clone(),
            metrics: Metrics::new(MetricsConfig::default()).unwrap(),
            began: Instant::now(),
            outlets: Mutex::default(),
        })
        .await;
        group.shutdown().await;
    });
}

fn say(fanout: &Fanout, session: &str, text: &str) {
    let what = What::Message {
        data: Bytes::copy_from_slice(text.as_bytes()),
        direction: Direction::Inbound,
    };
    fanout.tell(what, format!("c-{text}").into(), Some(session.into()));
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_words_of_the_contract_reach_the_plugin() {
    story(true, async |site| {
        let (heard, _) = site.plug("log", Duration::ZERO, json!({})).await;
        let fanout = site.fanout();
        say(&fanout, "s1", r#"{ "jsonrpc": "2.0" }"#);
        let data = Bytes::from_static(b"\xff\xfe");
        let what = What::Message {
            data,
            direction: Direction::Outbound,
        };
        fanout.tell(what, "c2".into(), None);
        let (message, kind) = ("server s is down".to_owned(), "upstream_down".to_owned());
        fanout.tell(What::Error { message, kind }, "c3".into(), None);
        let data = vec![("stream", "session".to_owned())];
        fanout.tell(
            What::Stream {
                event: StreamEvent::Start,
                data,
            },
            "c4".into(),
            None,
        );
        until(|| heard.lock().unwrap().len() == 4).await;
        let mut heard: Vec<_> = std::mem::take(&mut *heard.lock().unwrap())
            .into_iter()
            .map(|(_, method, params)| (method, params))
            .collect();
        for (_, params) in &mut heard {
            let time = params.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(time.as_str().unwrap().ends_with('Z'));
        }
        let expected = [
            (
                "handle-message",
                json!({ "data": r#"{ "jsonrpc": "2.0" }"#, "direction": "inbound", "correlation_id": r#"c-{ "jsonrpc": "2.0" }"#, "session_id": "s1" }),
            ),
            (
                "handle-message",
                json!({ "encoding": "base64", "data": "//4=", "direction": "outbound", "correlation_id": "c2" }),
            ),
            (
                "handle-error",
                json!({ "error_message": "server s is down", "error_type": "upstream_down", "correlation_id": "c3" }),
            ),
            (
                "handle-stream-event",
                json!({ "type": "start", "data": { "stream": "session" }, "correlation_id": "c4" }),
            ),
        ];
        assert_eq!(
            heard,
            expected.map(|(method, params)| (method.to_owned(), params))
        );
    });
}

#[test]
fn a_plugin_that_sleeps_delays_nobody() {
    story(true, async |site| {
        let sleep = Duration::from_millis(200);
        let (sleeping, _) = site.plug("sleeping", sleep, json!({})).await;
        let (quick, _) = site.plug("quick", Duration::ZERO, json!({})).await;
        let fanout = site.fanout();
        let began = Instant::now();
        say(&fanout, "s", "1");
        say(&fanout, "s", "2");
        assert_eq!(
            began.elapsed(),
            Duration::ZERO,
            "whoever passes a message goes on"
        );
        until(|| fanout.views()[0].delivered == 2).await;
        let since =
            |heard: &Heard, number: usize| heard.lock().unwrap()[number].0 - (began - site.began);
        assert!(since(&quick, 1) < Duration::from_millis(10));
        assert!(since(&sleeping, 0) < Duration::from_millis(10));
        assert!(since(&sleeping, 1) < Duration::from_millis(210));
        assert!(began.elapsed() < Duration::from_millis(420));
    });
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_for_the_slow_one_alone() {
    story(true, async |site| {
        let hour = Duration::from_secs(3600);
        let config = json!({ "queue": 4, "timeout": "50ms" });
        let (hung, _) = site.plug("hung", hour, config).await;
        let (quick, _) = site.plug("quick", Duration::ZERO, json!({})).await;
        let (small, _) = site
            .plug("small", Duration::ZERO, json!({ "queue_bytes": 600 }))
            .await;
        let fanout = site.fanout();
        for number in 0..10 {
            say(&fanout, "s", &number.to_string());
        }
        until(|| fanout.views().iter().all(|view| view.waiting == 0)).await;
        until(|| fanout.views()[0].timeout == 4).await;
        assert_eq!(quick.lock().unwrap().len(), 10);
        let of = |heard: &Heard| -> Vec<String> {
            let heard = heard.lock().unwrap();
            heard
                .iter()
                .map(|(_, _, params)| params["data"].as_str().unwrap().to_owned())
                .collect()
        };
        // The oldest are kept: what is there is whole up to the gap.
        assert_eq!(of(&hung), ["0", "1", "2", "3"]);
        assert_eq!(of(&small), ["0", "1"]);
        let views = fanout.views();
        assert_eq!(
            (views[0].dropped, views[1].dropped, views[2].dropped),
            (6, 0, 8)
        );
        assert!(views.iter().all(|view| view.waiting_bytes == 0));
        let text = site.metrics.text();
        for line in [
            r#"weir_plugin_messages_total{outcome="dropped",plugin="hung"} 6"#,
            r#"weir_plugin_messages_total{outcome="timeout",plugin="hung"} 4"#,
            r#"weir_plugin_messages_total{outcome="delivered",plugin="quick"} 10"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    });
}

#[test]
fn a_plugin_that_is_started_again_misses_nothing() {
    story(true, async |site| {
        let (heard, mock) = site.plug("log", Duration::ZERO, json!({})).await;
        let fanout = site.fanout();
        say(&fanout, "s", "before");
        until(|| heard.lock().unwrap().len() == 1).await;
        mock.refuse(1);
        mock.crash("exit status 9");
        let plugin = site.loader.get("log").unwrap();
        until(|| plugin.state() != PluginState::Active).await;
        for number in 0..100 {
            say(&fanout, "s", &number.to_string());
        }
        until(|| fanout.views()[0].delivered == 101).await;
        assert_eq!(fanout.views()[0].failed, 0);
    });
}

/// Ten plugins, five thousand messages, fifty sessions: in real time, and printed.
#[test]
fn sessions_stay_in_order_for_every_plugin() {
    const MESSAGES: usize = 5_000;
    const SESSIONS: usize = 50;
    story(false, async |site| {
        let mut all = Vec::new();
        for number in 0..10 {
            let config = json!({ "queue": MESSAGES });
            all.push(
                site.plug(&format!("p{number}"), Duration::ZERO, config)
                    .await
                    .0,
            );
        }
        let fanout = site.fanout();
        let began = Instant::now();
        for number in 0..MESSAGES {
            say(
                &fanout,
                &format!("s{}", number % SESSIONS),
                &number.to_string(),
            );
            if number % 100 == 99 {
                tokio::task::yield_now().await;
            }
        }
        let offered = began.elapsed();
        until(|| {
            fanout
                .views()
                .iter()
                .all(|view| view.delivered == MESSAGES as u64)
        })
        .await;
        println!(
            "{MESSAGES} messages for 10 plugins: offered in {offered:?}, told in {:?}",
            began.elapsed()
        );
        for heard in &all {
            let mut last = vec![None; SESSIONS];
            for (_, _, params) in heard.lock().unwrap().iter() {
                let number: usize = params["data"].as_str().unwrap().parse().unwrap();
                let last = &mut last[number % SESSIONS];
                assert!(
                    last.is_none_or(|last| last + SESSIONS == number),
                    "{last:?} then {number}"
                );
                *last = Some(number);
            }
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}
