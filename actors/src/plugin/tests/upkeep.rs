//! Plugins that are asked too much, hang, fail again and again, or are not what they were.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::super::*;
use super::{story, until};
use crate::supervisor::duration::Span;
use crate::supervisor::{ChildConfig, OnExhausted, Restart};

/// Plugins that take their time: a call sleeps for its `ms` and answers which instance it was.
#[derive(Clone, Default)]
struct Sleepers {
    instances: Arc<AtomicU32>,
    /// Answers no question for health while it is set.
    hangs: Arc<AtomicBool>,
    probes: Arc<AtomicU32>,
    probing: Arc<AtomicU32>,
    last: Arc<std::sync::Mutex<Option<Arc<MockPluginClient>>>>,
    files: Vec<PathBuf>,
}

struct Sleeper {
    number: u32,
    of: Sleepers,
    end: Arc<MockPluginClient>,
}

impl Sleepers {
    fn crash(&self) {
        let last = self.last.lock().unwrap().clone();
        last.unwrap().crash("gone");
    }
}

impl PluginTransport for Sleepers {
    fn kind(&self) -> &'static str {
        "sleepers"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        let end = Arc::new(MockPluginClient::new(|_, _| Err(CallError::Closed)));
        *self.last.lock().unwrap() = Some(end.clone());
        // A new process does not hang.
        self.hangs.store(false, Ordering::Relaxed);
        let client: Arc<dyn PluginClient> = Arc::new(Sleeper {
            number: self.instances.fetch_add(1, Ordering::Relaxed) + 1,
            of: self.clone(),
            end,
        });
        Box::pin(async move { Ok(client) })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }
}

impl PluginClient for Sleeper {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(async move {
            sleep(Duration::from_millis(
                call.params["ms"].as_u64().unwrap_or(0),
            ))
            .await;
            Ok(self.number.to_string().into())
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.end.close()
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        self.end.ended()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            self.of.probes.fetch_add(1, Ordering::Relaxed);
            let others = self.of.probing.fetch_add(1, Ordering::Relaxed);
            assert_eq!(others, 0, "asked twice at once");
            let _asked = Asked(self.of.probing.clone());
            match self.of.hangs.load(Ordering::Relaxed) {
                true => std::future::pending().await,
                false => Ok(()),
            }
        })
    }
}

struct Asked(Arc<AtomicU32>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spec(sleepers: &Sleepers, change: impl FnOnce(&mut Upkeep)) -> PluginSpec {
    let mut spec = PluginSpec::new("p", Arc::new(sleepers.clone()));
    change(&mut spec.upkeep);
    spec
}

fn narrow(upkeep: &mut Upkeep) {
    upkeep.limits.max_calls = 1.try_into().unwrap();
    upkeep.limits.queue = 1;
}

/// How long a call took and what it answered.
async fn timed(plugin: &PluginHandle, ms: u64) -> (Duration, Result<Bytes, CallError>) {
    let begun = Instant::now();
    let answer = plugin.call("ping", &json!({ "ms": ms })).await;
    (begun.elapsed(), answer)
}

#[test]
fn calls_wait_for_their_turn_for_so_long_and_so_many() {
    story(async |site| {
        let sleepers = Sleepers::default();
        let plugin = site.loader.load(spec(&sleepers, narrow)).await.unwrap();
        let calls = [50, 5, 5].map(|ms| timed(&plugin, ms));
        let answers = join_all(calls).await;
        let ms = |(took, answer): &(Duration, Result<Bytes, CallError>)| {
            (
                took.as_millis(),
                answer.as_ref().map_err(CallError::outcome).map(|_| ()),
            )
        };
        let answers: Vec<_> = answers.iter().map(ms).collect();
        assert!(
            (50..55).contains(&answers[0].0) && answers[0].1 == Ok(()),
            "{answers:?}"
        );
        assert!((55..60).contains(&answers[1].0), "{answers:?}");
        assert_eq!(answers[1].1, Ok(()));
        assert_eq!(answers[2], (0, Err("busy")));

        let calls = [150, 5].map(|ms| timed(&plugin, ms));
        let answers = join_all(calls).await;
        assert!(answers[0].1.is_ok());
        assert_eq!(answers[1].1, Err(CallError::Busy));
        assert!(answers[1].0 < Duration::from_millis(105), "{answers:?}");
        let view = &site.loader.views()[0];
        assert_eq!((view.in_flight, view.waiting), (0, 0));
        assert_eq!(view.calls, [("busy", 2), ("ok", 3)].into());
    });
}

#[test]
fn whoever_waits_goes_to_the_next_instance_or_has_an_answer_soon() {
    story(async |site| {
        let sleepers = Sleepers::default();
        let loaded = site.loader.load(spec(&sleepers, |upkeep| {
            narrow(upkeep);
            upkeep.limits.drain_timeout = Span(Duration::from_secs(1));
        }));
        let plugin = loaded.await.unwrap();
        let reload = async {
            sleep(Duration::from_millis(10)).await;
            site.loader.reload("p").await.unwrap();
        };
        let calls = [500, 5].map(|ms| timed(&plugin, ms));
        let (answers, ()) = tokio::join!(join_all(calls), reload);
        assert_eq!(answers[0].1.as_deref(), Ok(&b"1"[..]), "drained");
        assert_eq!(answers[1].1.as_deref(), Ok(&b"2"[..]));
        assert!(answers[1].0 < Duration::from_millis(30), "{answers:?}");

        // The one in flight is lost at once; the one that waits is told soon that nobody is there.
        let crash = async {
            sleep(Duration::from_millis(10)).await;
            sleepers.crash();
        };
        let calls = [500, 5].map(|ms| timed(&plugin, ms));
        let (answers, ()) = tokio::join!(join_all(calls), crash);
        assert_eq!(answers[0].1, Err(CallError::Lost("gone".to_owned())));
        assert_eq!(answers[1].1, Err(CallError::NotRunning));
        for (took, answer) in &answers {
            assert!(*took <= Duration::from_millis(10 + 50), "{took:?}");
            assert!(answer.as_ref().unwrap_err().is_retryable());
        }

        // Here is the next one, before anybody notices.
        let spec = spec(&sleepers, |upkeep| {
            narrow(upkeep);
            upkeep.supervision.backoff.first = Some(Span(Duration::ZERO));
        });
        until(|| plugin.state() == PluginState::Active).await;
        site.loader.unload("p").await.unwrap();
        let plugin = site.loader.load(spec).await.unwrap();
        let crash = async {
            sleep(Duration::from_millis(10)).await;
            sleepers.crash();
        };
        let calls = [500, 5].map(|ms| timed(&plugin, ms));
        let (answers, ()) = tokio::join!(join_all(calls), crash);
        assert_eq!(answers[0].1, Err(CallError::Lost("gone".to_owned())));
        assert!(answers[1].1.is_ok(), "{answers:?}");
    });
}

#[test]
fn a_plugin_that_hangs_is_found_by_three_questions_and_restarted() {
    story(async |site| {
        let sleepers = Sleepers::default();
        let plugin = site.loader.load(spec(&sleepers, |_| {})).await.unwrap();
        assert_eq!(sleepers.probes.load(Ordering::Relaxed), 1);
        sleepers.hangs.store(true, Ordering::Relaxed);
        let hung = Instant::now();
        let (_, lost) = timed(&plugin, 29_000).await;
        let CallError::Lost(how) = lost.unwrap_err() else {
            panic!("not lost");
        };
        assert!(how.contains("not healthy any more"), "{how}");
        assert_eq!(sleepers.probes.load(Ordering::Relaxed), 1 + 3);
        assert!(
            hung.elapsed() <= Duration::from_secs(3 * 5 + 2),
            "{:?}",
            hung.elapsed()
        );
        assert_eq!(site.loader.views()[0].missed, 3);
        until(|| plugin.state() == PluginState::Active).await;
        let (_, answer) = timed(&plugin, 0).await;
        assert_eq!(answer.as_deref(), Ok(&b"2"[..]));
        assert_eq!(site.loader.views()[0].missed, 0);
    });
}

#[test]
fn a_plugin_that_is_busy_is_asked_all_the_same_and_goes_on() {
    story(async |site| {
        let sleepers = Sleepers::default();
        let loaded = site.loader.load(spec(&sleepers, |upkeep| {
            narrow(upkeep);
            upkeep.limits.call_timeout = Span(Duration::from_secs(600));
        }));
        let plugin = loaded.await.unwrap();
        let (_, answer) = timed(&plugin, 300_000).await;
        assert_eq!(answer.as_deref(), Ok(&b"1"[..]));
        let probes = sleepers.probes.load(Ordering::Relaxed);
        assert!((59..=62).contains(&probes), "{probes}");
    });
}

#[test]
fn two_missed_questions_are_not_three() {
    story(async |site| {
        let mock = MockTransport::ok();
        let spec = PluginSpec::new("p", Arc::new(mock.clone()));
        site.loader.load(spec).await.unwrap();
        for _ in 0..10 {
            mock.ail(2);
            sleep(Duration::from_secs(15)).await;
        }
        let view = &site.loader.views()[0];
        assert_eq!((view.generation, view.restarts), (1, 0));
        mock.ail(3);
        until(|| site.loader.views()[0].generation == 2).await;
    });
}

#[test]
fn a_plugin_that_fails_too_often_is_quarantined_tried_and_recovers() {
    story(async |site| {
        let mock = MockTransport::ok();
        let mut spec = PluginSpec::new("p", Arc::new(mock.clone()));
        spec.upkeep.supervision = ChildConfig {
            intensity: Some(2),
            ..ChildConfig::default()
        };
        let plugin = site.loader.load(spec).await.unwrap();
        mock.refuse(100);
        mock.crash("gone");
        until(|| site.loader.views()[0].quarantined).await;
        let view = &site.loader.views()[0];
        // Two restarts are allowed, and failed; 30 s until the trial, give or take a fifth.
        assert_eq!((view.restarts, view.generation), (2, 1));
        let trial = view.trial_in_seconds.unwrap();
        assert!((24.0..=36.0).contains(&trial), "{trial}");
        mock.refuse(0);
        until(|| plugin.state() == PluginState::Active).await;
        let (quarantined, recovered) = ("OnQuarantined p", "OnRecovered p");
        let told = site.diary.take();
        let count =
            |told: &[String], what: &str| told.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!((count(&told, quarantined), count(&told, recovered)), (1, 0));
        sleep(Duration::from_secs(61)).await;
        assert_eq!(count(&site.diary.take(), recovered), 1);

        // An operator does not wait for the trial.
        mock.refuse(100);
        mock.crash("gone");
        until(|| site.loader.views()[0].quarantined).await;
        mock.refuse(0);
        let asked = Instant::now();
        site.loader.restart("p").await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1));
        let view = &site.loader.views()[0];
        assert_eq!((view.quarantined, view.state), (false, PluginState::Active));
        // And it may fail as often as before.
        mock.crash("gone");
        until(|| plugin.state() == PluginState::Error).await;
        until(|| plugin.state() == PluginState::Active).await;
    });
}

#[test]
fn a_restart_stops_what_runs_and_starts_anew() {
    story(async |site| {
        let mock = site.diary.mock();
        let spec = PluginSpec::new("p", Arc::new(mock.clone()));
        site.loader.load(spec).await.unwrap();
        let first = mock.last().unwrap();
        site.diary.take();
        site.loader.restart("p").await.unwrap();
        assert!(first.is_closed());
        assert_eq!(
            site.diary.take(),
            [
                "close",
                "OnStop p None",
                "connect",
                "health",
                "OnStart p mock unknown"
            ]
        );
        assert_eq!(site.loader.views()[0].generation, 2);
        let gone = site.loader.restart("q").await.unwrap_err();
        assert_eq!(gone, LoadError::Unknown("q".to_owned()));
    });
}

#[test]
fn what_is_temporary_is_not_restarted_but_can_be() {
    story(async |site| {
        let mock = MockTransport::ok();
        let mut spec = PluginSpec::new("p", Arc::new(mock.clone()));
        spec.upkeep.supervision.restart = Some(Restart::Temporary);
        let plugin = site.loader.load(spec).await.unwrap();
        mock.crash("gone");
        until(|| site.group.which_children().is_empty()).await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!(plugin.state(), PluginState::Error);
        site.loader.restart("p").await.unwrap();
        assert_eq!(plugin.state(), PluginState::Active);
        // What says how it is supervised in its own entry is told when it contradicts itself.
        let mut spec = PluginSpec::new("q", Arc::new(mock));
        spec.upkeep.supervision = ChildConfig {
            on_exhausted: Some(OnExhausted::Escalate),
            intensity: Some(1),
            ..ChildConfig::default()
        };
        let refused = site.loader.load(spec).await.unwrap_err();
        assert!(
            matches!(refused, LoadError::Supervision { .. }),
            "{refused}"
        );
    });
}

#[test]
fn one_of_many_that_ends_again_and_again_is_its_own_affair() {
    story(async |site| {
        let sick = Sleepers::default();
        let spec = PluginSpec::new("sick", Arc::new(sick.clone()));
        let sick_plugin = site.loader.load(spec).await.unwrap();
        let mut well = Vec::new();
        for number in 0..199 {
            let transport = Arc::new(Sleepers::default());
            let spec = PluginSpec::new(format!("p{number}"), transport);
            well.push(site.loader.load(spec).await.unwrap());
        }
        for _ in 0..600 {
            if sick_plugin.state() == PluginState::Active {
                sick.crash();
            }
            let calls = join_all(well.iter().map(|plugin| timed(plugin, 5))).await;
            for (took, answer) in calls {
                assert!(
                    answer.is_ok() && took < Duration::from_millis(10),
                    "{took:?}"
                );
            }
            sleep(Duration::from_millis(95)).await;
        }
        for view in site.loader.views() {
            let calm = (view.generation, view.restarts, view.quarantined);
            match &*view.name {
                // Five restarts in thirty seconds, then it is left alone.
                "sick" => assert!(view.quarantined && view.restarts >= 5, "{view:?}"),
                _ => assert_eq!(calm, (1, 0, false)),
            }
        }
    });
}

/// A plugin of one file that says `text`.
fn of_file(text: &str) -> (Sleepers, PathBuf) {
    let name = format!("weir-plugin-{}-{text}", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).unwrap();
    let files = vec![file.clone()];
    let sleepers = Sleepers {
        files,
        ..Sleepers::default()
    };
    (sleepers, file)
}

/// Puts another file in the place of this one.
fn replace(file: &std::path::Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, file).unwrap();
}

#[test]
fn a_file_that_is_replaced_takes_over() {
    let (sleepers, file) = of_file("one");
    story(async |site| {
        let plugin = site.loader.load(spec(&sleepers, |_| {})).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        // The same again is no other.
        replace(&file, "one");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(site.loader.views()[0].generation, 1);
        site.diary.take();
        replace(&file, "two");
        let calls = async {
            while site.loader.views()[0].generation == 1 {
                timed(&plugin, 1).await.1.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), calls)
            .await
            .unwrap();
        let told = site.diary.take();
        assert_eq!(told.len(), 2, "{told:?}");
        // SHA-256 of `one` and of `two`.
        assert!(
            told[0].contains("was sha256:7692c3ad3540bb80")
                && told[0].contains("is sha256:3fc4ccfe745870e2"),
            "{told:?}"
        );
        assert_eq!(told[1], "OnRestart p 1");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(site.loader.views()[0].generation, 2);
        std::fs::remove_file(&file).unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(site.loader.views()[0].generation, 2);
    });
}

#[test]
fn a_file_that_is_replaced_is_not_run_if_it_is_to_be_quarantined() {
    let (sleepers, file) = of_file("three");
    story(async |site| {
        let spec = spec(&sleepers, |upkeep| upkeep.on_change = OnChange::Quarantine);
        let plugin = site.loader.load(spec).await.unwrap();
        replace(&file, "four");
        until(|| site.loader.views()[0].quarantined).await;
        assert_eq!(timed(&plugin, 0).await.1, Err(CallError::NotRunning));
        let view = &site.loader.views()[0];
        assert!(
            view.error.as_ref().unwrap().contains("was replaced"),
            "{view:?}"
        );
        assert_eq!(
            (view.state, view.trial_in_seconds),
            (PluginState::Error, None)
        );
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(sleepers.instances.load(Ordering::Relaxed), 1);
        // Somebody has looked at it.
        site.loader.restart("p").await.unwrap();
        assert_eq!(sleepers.instances.load(Ordering::Relaxed), 2);
        assert!(!site.loader.views()[0].quarantined);

        // Replaced, and killed before anybody has looked.
        replace(&file, "five");
        sleepers.crash();
        until(|| site.loader.views()[0].quarantined).await;
        assert_eq!(sleepers.instances.load(Ordering::Relaxed), 2);
        site.loader.reload("p").await.unwrap();
        assert_eq!(sleepers.instances.load(Ordering::Relaxed), 3);
        let told = site.diary.take();
        let integrity = told.iter().filter(|line| line.starts_with("OnReplaced p"));
        assert_eq!(integrity.count(), 2, "{told:?}");
        site.loader.unload("p").await.unwrap();
    });
    std::fs::remove_file(&file).unwrap();
}
