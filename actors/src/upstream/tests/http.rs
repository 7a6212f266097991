//! Servers over HTTP.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::LocalSet;
use weir_plugin_protocol::mcp::Era;

use super::site::Site;
use crate::upstream::actor::door;
use crate::upstream::config::ServerConfig;
use crate::upstream::home::Home;
use crate::upstream::http_server::HttpServer;
use crate::upstream::{
    Endpoint, Federation, ListKind, ServerName, UpstreamBoard, UpstreamEvent, UpstreamState,
};

/// One server behind a board, and what keeps it.
struct Upstream {
    site: Site,
    board: UpstreamBoard,
    server: Rc<HttpServer>,
}

impl Upstream {
    /// Runs `test` with a server that behaves as `change` says.
    fn test<F: Future<Output = ()>>(change: impl FnOnce(&Site), test: impl FnOnce(Rc<Self>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let site = Site::start().await;
            change(&site);
            let board = UpstreamBoard::new([name()]);
            let desk = board.desk(&name()).unwrap();
            let home = Rc::new(Home::new(&board, &desk));
            let ServerConfig::Http(config) = site.config() else {
                panic!()
            };
            let server = Rc::new(HttpServer {
                home,
                door: door(&config, Default::default()).unwrap(),
                protocol: config.protocol,
                old: None,
                legacy: RefCell::new(None),
            });
            let running = server.clone();
            let running = tokio::task::spawn_local(async move { Box::pin(running.run()).await });
            test(Rc::new(Self {
                site,
                board,
                server,
            }))
            .await;
            running.abort();
        });
    }

    fn tools(&self, era: Era) -> usize {
        self.board
            .load()
            .list(&Endpoint::All, era, ListKind::Tools, |_, _, _| true)
            .items
            .len()
    }

    fn eras(&self) -> (bool, bool) {
        let eras = self.board.load().eras(&Endpoint::All);
        (eras.modern, eras.legacy)
    }

    fn state(&self) -> UpstreamState {
        self.board.load().servers[0].state.clone()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Federation) -> bool) {
        let wait = async {
            while !condition(&self.board.load()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(done.is_ok(), "{what}: {:?}", self.board.load());
    }
}

fn name() -> ServerName {
    ServerName::new("site").unwrap()
}

fn ready(federation: &Federation) -> bool {
    federation.servers[0].state == UpstreamState::Ready
}

const SETTLED: Duration = Duration::from_secs(10);

#[test]
fn a_server_of_both_eras_has_two_faces_with_every_page_of_its_lists() {
    let many = |site: &Site| {
        site.change(|site| site.tools = (0..101).map(|number| format!("t{number}")).collect())
    };
    Upstream::test(many, async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        assert_eq!(
            (upstream.state(), upstream.eras()),
            (UpstreamState::Ready, (true, true))
        );
        assert_eq!(
            (upstream.tools(Era::Modern), upstream.tools(Era::Legacy)),
            (101, 101)
        );
        assert_eq!(upstream.site.count("POST tools/list"), 6);
        let federation = upstream.board.load();
        assert_eq!(
            federation.servers[0]
                .legacy
                .as_ref()
                .unwrap()
                .hello
                .version
                .as_str(),
            "2025-06-18"
        );
    });
}

#[test]
fn a_server_of_one_era_has_one_face() {
    for modern in [true, false] {
        let one = |site: &Site| site.change(|site| (site.modern, site.legacy) = (modern, !modern));
        Upstream::test(one, async |upstream| {
            assert!(upstream.board.settled(SETTLED).await);
            assert_eq!(
                (upstream.state(), upstream.eras()),
                (UpstreamState::Ready, (modern, !modern))
            );
        });
    }
}

#[test]
fn a_status_that_says_nothing_about_the_era_is_asked_again() {
    for status in [401, 403, 500, 503] {
        Upstream::test(
            |site| site.change(|site| site.status = Some(status)),
            async |upstream| {
                assert!(upstream.board.settled(SETTLED).await);
                assert!(
                    matches!(upstream.state(), UpstreamState::Down { reason } if reason.contains(&status.to_string()))
                );
                upstream.site.change(|site| site.status = None);
                upstream.until("ready", ready).await;
                upstream
                    .until("both eras", |federation| {
                        federation.servers[0].modern.is_some()
                            && federation.servers[0].legacy.is_some()
                    })
                    .await;
            },
        );
    }
}

#[test]
fn answers_on_streams_are_read_and_pings_answered() {
    Upstream::test(
        |site| site.change(|site| site.streams = true),
        async |upstream| {
            assert!(upstream.board.settled(SETTLED).await);
            assert_eq!(
                (upstream.tools(Era::Modern), upstream.tools(Era::Legacy)),
                (1, 1)
            );
            let answer = upstream.site.seen("POST answer", 1).await;
            assert_eq!(
                answer,
                json!({"jsonrpc": "2.0", "id": "ping", "result": {}})
            );
        },
    );
}

#[test]
fn a_changed_list_is_read_again_swapped_and_then_told() {
    for modern in [true, false] {
        let one = |site: &Site| site.change(|site| (site.modern, site.legacy) = (modern, !modern));
        Upstream::test(one, async |upstream| {
            let era = if modern { Era::Modern } else { Era::Legacy };
            upstream
                .site
                .seen(
                    if modern {
                        "POST subscriptions/listen"
                    } else {
                        "GET"
                    },
                    1,
                )
                .await;
            upstream.until("ready", ready).await;
            let mut events = upstream.board.events();
            upstream.site.change(|site| site.tools.push("new".into()));
            tokio::time::sleep(Duration::from_millis(20)).await;
            upstream
                .site
                .tell(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            let event = tokio::time::timeout(SETTLED, events.recv())
                .await
                .unwrap()
                .unwrap();
            assert!(matches!(event, UpstreamEvent::ToolsChanged(_)), "{event:?}");
            assert_eq!(upstream.tools(era), 2);
        });
    }
}

#[test]
fn a_list_that_cannot_be_read_stays_as_it_was() {
    Upstream::test(
        |_| {},
        async |upstream| {
            assert!(upstream.board.settled(SETTLED).await);
            upstream.site.change(|site| site.lists_fail = true);
            upstream.board.refresh(&name(), Era::Modern).await;
            assert_eq!(
                (upstream.tools(Era::Modern), upstream.state()),
                (1, UpstreamState::Ready)
            );
            upstream.site.change(|site| {
                site.lists_fail = false;
                site.tools.clear();
            });
            upstream.board.refresh(&name(), Era::Modern).await;
            assert_eq!(
                (upstream.tools(Era::Modern), upstream.tools(Era::Legacy)),
                (0, 1)
            );
        },
    );
}

#[test]
fn an_ended_session_is_begun_anew() {
    let legacy = |site: &Site| site.change(|site| site.modern = false);
    Upstream::test(legacy, async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        upstream.site.change(|site| {
            site.session += 1;
            site.tools.push("new".into());
        });
        upstream.board.refresh(&name(), Era::Legacy).await;
        upstream.site.seen("POST initialize", 2).await;
        upstream
            .until("new tools", |federation| {
                federation.servers[0]
                    .legacy
                    .as_ref()
                    .unwrap()
                    .catalog
                    .tools
                    .items
                    .len()
                    == 2
            })
            .await;
        upstream.server.goodbye().await;
        upstream.site.seen("DELETE", 1).await;
    });
}

#[test]
fn a_server_of_both_eras_is_subscribed_to_once() {
    Upstream::test(
        |_| {},
        async |upstream| {
            assert!(upstream.board.settled(SETTLED).await);
            let first = upstream.site.seen("POST subscriptions/listen", 1).await;
            assert_eq!(
                first["params"]["notifications"],
                json!({"toolsListChanged": true})
            );
            let one = upstream.board.subscribe(&name(), "test://1").unwrap();
            let two = upstream.board.subscribe(&name(), "test://2").unwrap();
            let second = upstream.site.seen("POST subscriptions/listen", 2).await;
            assert_eq!(
                second["params"]["notifications"]["resourceSubscriptions"],
                json!(["test://1", "test://2"])
            );
            assert_eq!(upstream.site.count("POST resources/subscribe"), 0);
            let mut events = upstream.board.events();
            tokio::time::sleep(Duration::from_millis(50)).await;
            upstream.site.tell(json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "test://1", "z": 1.0}}));
            let event = tokio::time::timeout(SETTLED, events.recv())
                .await
                .unwrap()
                .unwrap();
            let UpstreamEvent::ResourceUpdated { uri, params, .. } = event else {
                panic!("{event:?}")
            };
            assert_eq!(
                (uri.as_str(), params.as_ref()),
                ("test://1", &br#"{"uri":"test://1","z":1.0}"#[..])
            );
            drop(one);
            let third = upstream.site.seen("POST subscriptions/listen", 3).await;
            assert_eq!(
                third["params"]["notifications"]["resourceSubscriptions"],
                json!(["test://2"])
            );
            drop(two);
        },
    );
}

#[test]
fn a_legacy_server_is_told_of_each_subscription() {
    let legacy = |site: &Site| site.change(|site| site.modern = false);
    Upstream::test(legacy, async |upstream| {
        assert!(upstream.board.settled(SETTLED).await);
        let subscription = upstream.board.subscribe(&name(), "test://\"1").unwrap();
        assert_eq!(
            upstream.site.seen("POST resources/subscribe", 1).await["params"]["uri"],
            "test://\"1"
        );
        drop(subscription);
        upstream.site.seen("POST resources/unsubscribe", 1).await;
        assert_eq!(upstream.site.count("POST resources/subscribe"), 1);
    });
}

#[test]
fn what_changes_between_the_first_lists_and_the_stream_is_not_missed() {
    for modern in [true, false] {
        let one = |site: &Site| {
            site.change(|site| {
                (site.modern, site.legacy) = (modern, !modern);
                site.before_the_stream = Some("late".into());
            });
        };
        Upstream::test(one, async |upstream| {
            let era = if modern { Era::Modern } else { Era::Legacy };
            let face = |federation: &Federation| federation.servers[0].face(era).cloned();
            upstream
                .until("two tools", |federation| {
                    face(federation).is_some_and(|face| face.catalog.tools.items.len() == 2)
                })
                .await;
        });
    }
}

#[test]
fn a_closed_stream_is_opened_again_and_what_was_missed_is_read() {
    let modern = |site: &Site| site.change(|site| site.legacy = false);
    Upstream::test(modern, async |upstream| {
        upstream.site.seen("POST subscriptions/listen", 1).await;
        upstream.until("ready", ready).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        upstream
            .site
            .change(|site| site.tools.push("missed".into()));
        upstream.site.tell(json!("close"));
        upstream.site.seen("POST subscriptions/listen", 2).await;
        upstream
            .until("two tools", |federation| {
                federation.servers[0]
                    .modern
                    .as_ref()
                    .unwrap()
                    .catalog
                    .tools
                    .items
                    .len()
                    == 2
            })
            .await;
    });
}
