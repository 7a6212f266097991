//! Servers that are child processes.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::LocalSet;
use weir_plugin_protocol::jsonrpc::Message;
use weir_plugin_protocol::mcp::{Era, Method, result_response};

use crate::supervisor::{GroupConfig, Runtime, SupervisorHandle, SupervisorSpec};
use crate::upstream::handshake;
use crate::upstream::stdio::{LinkError, SessionKey, StdioLink, Unsolicited};
use crate::upstream::{
    Endpoint, Federation, Link, ListKind, ServerName, SessionSink, UpstreamBoard, UpstreamEvent,
    UpstreamState, UpstreamsSetup, upstreams,
};

/// One server behind a board, in a tree of supervisors.
pub(super) struct Upstream {
    pub(super) board: UpstreamBoard,
    tree: SupervisorHandle,
    sink: Arc<Sink>,
}

/// Answers every request of a session with an empty result.
#[derive(Default)]
struct Sink(Mutex<Vec<String>>);

impl SessionSink for Sink {
    fn deliver(&self, _: &ServerName, link: &StdioLink, unsolicited: Unsolicited) {
        self.0
            .lock()
            .unwrap()
            .push(unsolicited.message.method().to_owned());
        if let Some(id) = unsolicited.message.id() {
            let (link, answer) = (link.clone(), result_response(id, r#"{"roots":[]}"#));
            let generation = unsolicited.generation;
            tokio::task::spawn_local(async move { link.send_to(generation, answer).await });
        }
    }
}

impl Upstream {
    /// Runs `test` with the servers of these configurations.
    pub(super) fn test<F: Future<Output = ()>>(
        servers: &[(&str, serde_json::Value)],
        test: impl FnOnce(Self) -> F,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let servers = servers.iter().map(|(name, config)| {
                (
                    ServerName::new(name).unwrap(),
                    serde_json::from_value(config.clone()).unwrap(),
                )
            });
            let sink = Arc::new(Sink::default());
            let (children, board) = upstreams(UpstreamsSetup {
                pins: crate::upstream::pins::Pins::off(),
                servers: servers.collect(),
                http: Default::default(),
                sink: Some(sink.clone()),
                supervision: GroupConfig::default(),
            });
            let group = children
                .into_iter()
                .fold(SupervisorSpec::dynamic("upstreams"), SupervisorSpec::child);
            let tree = group.start(Runtime::silent(1)).unwrap();
            let stop = tree.clone();
            test(Self { board, tree, sink }).await;
            stop.shutdown().await;
        });
    }

    fn script(kind: &str) -> (&'static str, serde_json::Value) {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/upstream/testdata/server.py"
        );
        (
            "script",
            json!({"type": "stdio", "command": "python3", "args": [script, kind], "timeout_ms": 5000}),
        )
    }

    pub(super) fn eras(&self) -> (bool, bool) {
        let eras = self.board.load().eras(&Endpoint::All);
        (eras.modern, eras.legacy)
    }

    pub(super) fn tools(&self, era: Era) -> usize {
        self.board
            .load()
            .list(&Endpoint::All, era, ListKind::Tools, |_, _, _| true)
            .items
            .len()
    }

    fn state(&self) -> UpstreamState {
        self.board.load().servers[0].state.clone()
    }

    /// Calls a tool for a session and returns the answer.
    pub(super) async fn call(
        &self,
        era: Era,
        tool: &str,
        arguments: &str,
    ) -> Result<Message, LinkError> {
        let route = self.board.load().route_tool(&Endpoint::All, era, tool);
        let Ok(route) = route else {
            return Err(LinkError::NotRunning);
        };
        let Link::Stdio(link) = route.link.link.clone() else {
            panic!()
        };
        let id = link.next_id();
        let members = format!(r#""name":"{}","arguments":{arguments}"#, route.own_name);
        let frame = handshake::request(
            id.json(),
            Method::ToolsCall,
            route.link.hello.version,
            &members,
        );
        let mut call = link.call(id, frame, Some(SessionKey(7))).await?;
        loop {
            match call.next().await.unwrap()? {
                progress if !progress.method().is_empty() => {}
                answer => return Ok(answer),
            }
        }
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Federation) -> bool) {
        let wait = async {
            while !condition(&self.board.load()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(SETTLED, wait).await.is_ok(),
            "{what}: {:?}",
            self.board.load()
        );
    }
}

fn text(answer: &Message) -> String {
    let answer: serde_json::Value = serde_json::from_slice(answer.raw()).unwrap();
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(super) const SETTLED: Duration = Duration::from_secs(30);

#[test]
fn each_kind_of_server_gets_its_faces() {
    for (kind, modern, legacy) in [
        ("both", true, true),
        ("legacy", false, true),
        ("modern", true, false),
        ("exits", false, true),
    ] {
        Upstream::test(&[Upstream::script(kind)], async |upstream| {
            assert!(upstream.board.settled(SETTLED).await, "{kind}");
            assert_eq!(
                (upstream.state(), upstream.eras()),
                (UpstreamState::Ready, (modern, legacy)),
                "{kind}"
            );
            for (era, spoken) in [(Era::Modern, modern), (Era::Legacy, legacy)] {
                assert_eq!(upstream.tools(era), if spoken { 4 } else { 0 }, "{kind}");
                if spoken {
                    upstream.call(era, "echo", "{}").await.unwrap();
                }
            }
        });
    }
}

#[test]
fn a_server_that_does_not_answer_a_probe_is_asked_otherwise() {
    Upstream::test(&[Upstream::script("silent")], async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        assert_eq!(
            (upstream.state(), upstream.eras()),
            (UpstreamState::Ready, (false, true))
        );
    });
}

#[test]
fn a_server_that_cannot_be_started_says_why_and_harms_nobody() {
    let nobody = (
        "nobody",
        json!({"type": "stdio", "command": "weir-no-such-program"}),
    );
    Upstream::test(
        &[
            Upstream::script("broken"),
            nobody,
            ("well", Upstream::script("both").1),
        ],
        async |upstream| {
            assert!(upstream.board.settled(SETTLED * 2).await);
            assert!(
                matches!(upstream.state(), UpstreamState::Down { reason } if reason.contains("exit")),
                "{:?}",
                upstream.state()
            );
            let federation = upstream.board.federation();
            let nobody = &federation.servers[1].state;
            assert!(
                matches!(nobody, UpstreamState::Down { reason } if reason.contains("weir-no-such-program")),
                "{nobody:?}"
            );
            assert_eq!(federation.servers[2].state, UpstreamState::Ready);
        },
    );
}

#[test]
fn a_process_that_dies_is_back_within_a_second() {
    Upstream::test(&[Upstream::script("both")], async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        let mut last = text(&upstream.call(Era::Legacy, "echo", "{}").await.unwrap());
        for _ in 0..3 {
            let died = upstream.call(Era::Legacy, "die", "{}").await;
            assert_eq!(died.unwrap_err(), LinkError::Died { retryable: false });
            let since = Instant::now();
            let answer = loop {
                match upstream.call(Era::Legacy, "echo", "{}").await {
                    Ok(answer) => break answer,
                    Err(LinkError::NotRunning | LinkError::Died { retryable: true }) => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(
                since.elapsed() < Duration::from_secs(2),
                "{:?}",
                since.elapsed()
            );
            assert_eq!(upstream.state(), UpstreamState::Ready);
            let pid = text(&answer);
            assert_ne!(pid, last);
            last = pid;
            // Long enough to count as healthy.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        // The other era's process did not notice.
        upstream.call(Era::Modern, "echo", "{}").await.unwrap();
    });
}

#[test]
fn changes_and_updates_are_told_in_both_eras() {
    for kind in ["legacy", "modern"] {
        Upstream::test(&[Upstream::script(kind)], async |upstream| {
            let era = if kind == "modern" {
                Era::Modern
            } else {
                Era::Legacy
            };
            assert!(upstream.board.settled(SETTLED).await);
            // A modern server's stream may not stand yet: until it does, it tells nobody.
            let mut events = upstream.board.events();
            let subscription = upstream
                .board
                .subscribe(&upstream.board.load().servers[0].name, "test://1");
            let event = tokio::time::timeout(SETTLED, events.recv())
                .await
                .unwrap()
                .unwrap();
            assert!(
                matches!(event, UpstreamEvent::ResourceUpdated { ref uri, .. } if uri == "test://1"),
                "{event:?}"
            );
            upstream.call(era, "grow", "{}").await.unwrap();
            let event = tokio::time::timeout(SETTLED, events.recv())
                .await
                .unwrap()
                .unwrap();
            assert!(matches!(event, UpstreamEvent::ToolsChanged(_)), "{event:?}");
            assert_eq!(upstream.tools(era), 5);
            drop(subscription);
        });
    }
}

#[test]
fn a_servers_request_goes_to_the_session_or_is_refused() {
    Upstream::test(&[Upstream::script("legacy")], async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        let asked = text(&upstream.call(Era::Legacy, "ask", "{}").await.unwrap());
        assert!(asked.contains(r#""roots": []"#), "{asked}");
        assert_eq!(*upstream.sink.0.lock().unwrap(), ["roots/list"]);
    });
}

#[test]
fn a_dead_actor_leaves_its_processes_to_the_next() {
    Upstream::test(&[Upstream::script("both")], async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        let old = text(&upstream.call(Era::Legacy, "echo", "{}").await.unwrap());
        upstream.tree.restart_child("script").await.unwrap();
        upstream
            .until("a new process", |federation| {
                federation.servers[0].state == UpstreamState::Ready
            })
            .await;
        let mut new = old.clone();
        while new == old {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Ok(answer) = upstream.call(Era::Legacy, "echo", "{}").await {
                new = text(&answer);
            }
        }
        // Nobody is left of the old ones.
        let old: i32 = old.parse().unwrap();
        let left = rustix::process::test_kill_process(rustix::process::Pid::from_raw(old).unwrap());
        assert!(left.is_err());
    });
}
