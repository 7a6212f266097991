//! Events that become lines, sinks that fail, and hostile texts.

use std::io;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::builtin::line_store::{FileTarget, Folder, Outcome};
use crate::builtin::outside::Environment;

/// A store in memory that a test can break.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Vec<u8>>,
    appends: usize,
    /// Bytes that still fit before writes fail.
    room: Option<usize>,
    /// True: jobs do not end.
    stuck: bool,
    /// How the next rotation goes, once.
    rotation: Option<io::Result<()>>,
    job: Option<Job>,
}

impl Memory {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn text(&self) -> String {
        self.with(|state| String::from_utf8(state.files.concat()).unwrap())
    }
}

impl State {
    fn work(&mut self) -> Option<Outcome> {
        if self.stuck {
            return None;
        }
        if self.files.is_empty() {
            self.files.push(Vec::new());
        }
        let mut written = 0;
        let mut result = Ok(());
        match self.job.take()? {
            Job::Reopen => self.files.push(Vec::new()),
            Job::Append(lines) => {
                self.appends += 1;
                written = self.room.unwrap_or(lines.len()).min(lines.len());
                self.room = self.room.map(|room| room - written);
                self.files.last_mut().unwrap().extend(&lines[..written]);
                if written < lines.len() {
                    result = Err(io::Error::from(io::ErrorKind::StorageFull));
                }
            }
        }
        let rotation = self.rotation.take();
        Some(Outcome {
            written,
            result,
            rotation,
        })
    }
}

impl LineStore for Memory {
    fn submit(&mut self, job: Job) {
        self.with(|state| {
            assert!(state.job.is_none(), "one job at a time");
            state.job = Some(job);
        });
    }

    fn outcome(&mut self) -> BoxFuture<'_, Outcome> {
        Box::pin(async {
            loop {
                if let Some(outcome) = self.with(State::work) {
                    return outcome;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    }
}

fn clock() -> Clock {
    Clock::new(|| 1_785_223_800)
}

fn start(capacity: usize) -> (AuditLog, AuditWriter, Memory) {
    let store = Memory::default();
    let capacity = NonZeroUsize::new(capacity).unwrap();
    let (log, writer) = audit_log(store.clone(), capacity, clock());
    (log, writer, store)
}

fn event(tool: &str) -> AuditEvent<'_> {
    AuditEvent {
        event_type: "mcp.request",
        tool: Some(tool.into()),
        result: "ok",
        method: "tools/call".into(),
        ..AuditEvent::default()
    }
}

fn tools(text: &str) -> Vec<String> {
    let tool = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["tool"].as_str().unwrap().to_owned()
    };
    text.lines().map(tool).collect()
}

#[tokio::test(start_paused = true)]
async fn events_become_lines_in_order_and_few_writes() {
    let (log, mut writer, store) = start(100);
    for index in 0..100 {
        log.reserve().unwrap().record(&event(&index.to_string()));
    }
    assert_eq!(log.reserve().unwrap_err(), AuditFull::Full);
    let running = tokio::spawn(async move { writer.run().await });
    log.flush().await.unwrap();
    let names: Vec<String> = (0..100).map(|index: u32| index.to_string()).collect();
    assert_eq!(tools(&store.text()), names);
    assert!(
        store
            .text()
            .contains("\"timestamp\":\"2026-07-28T07:30:00.000000Z\"")
    );
    assert!(store.with(|state| state.appends) <= 2);
    assert_eq!(
        log.counters(),
        AuditCounters {
            accepted: 100,
            written: 100,
            failed: 0,
            refused: 1,
            rotated: 0,
            unrotated: 0,
            queued: 0,
            healthy: true
        }
    );
    drop(log);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_dropped_gives_its_place_back() {
    let (log, writer, _store) = start(1);
    let slot = log.reserve().unwrap();
    assert_eq!(log.reserve().unwrap_err(), AuditFull::Full);
    drop(slot);
    assert!(log.reserve().is_ok());
    drop(writer);
    assert_eq!(log.reserve().unwrap_err(), AuditFull::Closed);
    assert_eq!(log.flush().await, Err(AuditFull::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_failing_sink_refuses_until_a_retry_works_and_loses_nothing() {
    let (log, mut writer, store) = start(10);
    store.with(|state| state.room = Some(30));
    let late = log.reserve().unwrap();
    log.reserve().unwrap().record(&event("a"));
    let running = tokio::spawn(async move { writer.run().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(log.reserve().unwrap_err(), AuditFull::Failing);
    late.record(&event("b"));
    assert!(log.counters().failed > 1);
    assert!(!log.counters().healthy);

    store.with(|state| state.room = None);
    log.flush().await.unwrap();
    assert_eq!(tools(&store.text()), ["a", "b"]);
    assert!(log.reserve().is_ok());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stuck_sink_fills_the_queue_and_then_refuses() {
    let (log, mut writer, store) = start(4);
    store.with(|state| state.stuck = true);
    let running = tokio::spawn(async move { writer.run().await });
    let mut recorded = 0;
    while let Ok(slot) = log.reserve() {
        slot.record(&event(&recorded.to_string()));
        recorded += 1;
        tokio::task::yield_now().await;
        assert!(recorded < 100);
    }
    store.with(|state| state.stuck = false);
    log.flush().await.unwrap();
    assert_eq!(tools(&store.text()).len(), recorded);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_writer_neither_loses_nor_repeats() {
    let (log, mut writer, store) = start(1000);
    for index in 0..500 {
        log.reserve().unwrap().record(&event(&index.to_string()));
        store.with(|state| state.stuck = index % 3 != 0);
        // Cancelled wherever it is.
        let _ = writer.run().now_or_never();
    }
    store.with(|state| state.stuck = false);
    let running = tokio::spawn(async move { writer.run().await });
    log.flush().await.unwrap();
    let names: Vec<String> = (0..500).map(|index: u32| index.to_string()).collect();
    assert_eq!(tools(&store.text()), names);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_reopened_file_begins_with_a_whole_line() {
    let (log, mut writer, store) = start(10);
    let running = tokio::spawn(async move { writer.run().await });
    log.reserve().unwrap().record(&event("a"));
    log.flush().await.unwrap();
    let line_bytes = store.text().len();
    store.with(|state| state.room = Some(line_bytes + 20));
    log.reserve().unwrap().record(&event("b"));
    log.reserve().unwrap().record(&event("c"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    log.reopen();
    tokio::time::sleep(Duration::from_millis(1)).await;
    store.with(|state| state.room = None);
    log.flush().await.unwrap();
    let (old, new) = store.with(|state| (state.files[0].clone(), state.files[1].clone()));
    let old = String::from_utf8(old).unwrap();
    assert_eq!(old.lines().count(), 3, "two whole lines and a torn one");
    assert_eq!(tools(std::str::from_utf8(&new).unwrap()), ["c"]);
    running.abort();
}

#[test]
fn hostile_texts_stay_inside_their_line() {
    let hostile = "x\n{\"event\":\"fake\"}\r\u{1b}[31m\u{9b}31m\u{2028}\u{2029}\0\u{202e}\u{feff}\u{e0041}\"\\";
    let line = line::write(&event(hostile));
    assert!(
        line.chars()
            .all(|c| !c.is_control() && !('\u{2000}'..='\u{2fff}').contains(&c)),
        "{line}"
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["tool"], hostile);
    assert!(value.get("event").is_none());
}

#[test]
fn endless_texts_are_cut() {
    let line = line::write(&event(&"é".repeat(4 * 1024 * 1024)));
    assert!(line.len() < 2048);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(value["tool"].as_str().unwrap().ends_with('…'));
    assert_eq!(value["result"], "ok");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_fails_is_counted_and_stops_nothing() {
    let (log, mut writer, store) = start(10);
    let running = tokio::spawn(async move { writer.run().await });
    for (name, rotation) in [
        ("a", Err(io::Error::from(io::ErrorKind::PermissionDenied))),
        ("b", Ok(())),
    ] {
        store.with(|state| state.rotation = Some(rotation));
        log.reserve().unwrap().record(&event(name));
        log.flush().await.unwrap();
    }
    let counters = log.counters();
    assert_eq!((counters.rotated, counters.unrotated), (1, 1));
    assert!(counters.healthy && counters.failed == 0);
    assert_eq!(tools(&store.text()), ["a", "b"]);
    running.abort();
}

fn parse(text: &str) -> AuditConfig {
    serde_json::from_str(text).unwrap()
}

/// The places that are configured, for a user with these variables.
fn targets(text: &str, variables: &[(&'static str, &'static str)]) -> Vec<AuditTarget> {
    let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
    let environment: Environment =
        Arc::new(move |name| variables.get(name).map(|value| (*value).to_owned()));
    parse(text).targets(&environment).unwrap()
}

#[test]
fn the_configuration_names_one_target() {
    assert_eq!(targets(r#"{"sink":"stdout"}"#, &[]), [AuditTarget::Stdout]);
    assert_eq!(targets(r#"{"sink":"stderr"}"#, &[]), [AuditTarget::Stderr]);
    let text = r#"{"sink":"file","path":"/a","queue":5,"rotate_bytes":70000,"keep":3}"#;
    let [
        AuditTarget::File(FileTarget {
            path,
            folder,
            rotation,
        }),
    ] = &targets(text, &[])[..]
    else {
        panic!("one file");
    };
    assert_eq!((path.to_str(), folder), (Some("/a"), &Folder::Given));
    assert_eq!(rotation.bytes.unwrap().get(), 70000);
    assert_eq!(rotation.keep.unwrap().get(), 3);
    assert_eq!(parse(text).capacity().get(), 5);
    assert_eq!(targets(r#"{"path":"/a"}"#, &[]).len(), 1);
    for (text, key) in [
        (r#"{"sink":"stdout","path":"/a"}"#, "path"),
        (r#"{"sink":"stderr","keep":0}"#, "keep"),
        (r#"{"sink":"stdout","rotate_bytes":0}"#, "rotate_bytes"),
        (r#"{"rotate_bytes":65535}"#, "rotate_bytes"),
        (r#"{"path":""}"#, "path"),
    ] {
        assert_eq!(parse(text).check().unwrap_err().key, key, "{text}");
    }
    assert!(serde_json::from_str::<AuditConfig>(r#"{"queue":0}"#).is_err());
}

#[test]
fn the_default_is_a_file_of_this_user() {
    let user = rustix::process::geteuid().as_raw();
    let shared = format!("/var/tmp/weir-{user}/audit.jsonl");
    for (variables, places) in [
        (
            &[("XDG_STATE_HOME", "/state"), ("HOME", "/home/ada")][..],
            &[
                "/state/weir/audit.jsonl",
                "/home/ada/.local/state/weir/audit.jsonl",
                &shared,
            ][..],
        ),
        (
            &[("XDG_STATE_HOME", "state"), ("HOME", "/home/ada")],
            &["/home/ada/.local/state/weir/audit.jsonl", &shared],
        ),
        (&[("XDG_STATE_HOME", ""), ("HOME", "")], &[&shared]),
        (&[], &[&shared]),
    ] {
        for text in ["{}", r#"{"sink":"file"}"#] {
            let found: Vec<String> = targets(text, variables)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, places);
        }
    }
    let Some(AuditTarget::File(last)) = targets("{}", &[("HOME", "/home/ada")]).pop() else {
        panic!("a file");
    };
    assert_eq!(last.folder, Folder::Private);
    assert_eq!(last.rotation.bytes.unwrap().get(), 256 << 20);
    assert_eq!(last.rotation.keep.unwrap().get(), 8);
    let AuditTarget::File(endless) = targets(r#"{"rotate_bytes":0,"keep":0}"#, &[]).remove(0)
    else {
        panic!("a file");
    };
    assert_eq!(
        (endless.rotation.bytes, endless.rotation.keep),
        (None, None)
    );
}

proptest! {
    #[test]
    fn every_event_is_one_valid_line(tool: String, method: String, user: Option<String>) {
        let mut event = event(&tool);
        event.method = method.clone().into();
        event.user_id = user.clone().map(Into::into);
        let line = line::write(&event);
        prop_assert!(!line.contains(['\n', '\r']));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value["tool"].as_str(), Some(tool.as_str()));
        prop_assert_eq!(value["method"].as_str(), Some(method.as_str()));
        prop_assert_eq!(value["user_id"].as_str(), user.as_deref());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_one_line_a_second_and_every_request_of_it_is_counted() {
    let (log, mut writer, store) = start(4);
    let running = tokio::spawn(async move { writer.run().await });
    let shed = |user: &str| Shed {
        user_id: Some(user.to_owned()),
        reason: "principal_rate".to_owned(),
        status: 429,
        ..Shed::default()
    };
    // The places are all taken: they are not needed for counting.
    let places: Vec<_> = (0..4).map(|_| log.reserve().unwrap()).collect();
    for second in 1..=3 {
        for _ in 0..1_000 {
            log.tally(shed("noisy"));
        }
        log.tally(shed("other"));
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(store.text().lines().count(), second * 2);
    }
    // What is counted last is not lost when the log is closed.
    for place in places {
        place.tally(shed("noisy"));
    }
    log.flush().await.unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for line in store.text().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["event_type"], "mcp.shed");
        assert_eq!(
            (&line["reason"], &line["status"]),
            (&"principal_rate".into(), &429.into())
        );
        *counts
            .entry(line["user_id"].as_str().unwrap().to_owned())
            .or_insert(0) += line["count"].as_u64().unwrap();
    }
    assert_eq!(
        counts,
        [("noisy".to_owned(), 3_004), ("other".to_owned(), 3)].into()
    );
    let counters = log.counters();
    assert_eq!(
        (counters.accepted, counters.written, counters.queued),
        (7, 7, 0)
    );
    drop(log);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_names_in_a_flood_do_not_fill_the_memory() {
    let (log, mut writer, store) = start(4);
    for number in 0..10_000 {
        log.tally(Shed {
            user_id: Some(number.to_string()),
            reason: "in_flight".to_owned(),
            ..Shed::default()
        });
    }
    let running = tokio::spawn(async move { writer.run().await });
    log.flush().await.unwrap();
    let text = store.text();
    let lines = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["count"].as_u64().unwrap()
    });
    let counts: Vec<u64> = lines.collect();
    assert!(counts.len() <= 1_025, "{}", counts.len());
    assert_eq!(counts.iter().sum::<u64>(), 10_000);
    drop(log);
    running.await.unwrap();
}
