//! All upstreams, as a branch of the supervision tree.

use std::sync::Arc;

use super::actor::UpstreamActor;
use super::board::UpstreamBoard;
use super::config::ServerConfig;
use super::desk::Desk;
use super::http::HttpClientConfig;
use super::pins::Pins;
use super::session_sink::SessionSink;
use super::view::ServerName;
use crate::supervisor::{ChildSpec, GroupConfig, Intensity, OnExhausted, Strategy, SupervisorSpec};

/// What the upstreams need from the house.
#[derive(Clone)]
pub struct UpstreamsSetup {
    /// The servers, in the order of the configuration.
    pub servers: Vec<(ServerName, ServerConfig)>,
    /// How HTTP servers are connected to by the gateway itself.
    pub http: HttpClientConfig,
    /// Who takes what child processes say to a session; `None`: their requests are refused.
    pub sink: Option<Arc<dyn SessionSink>>,
    /// What of their catalogues was approved.
    pub pins: Pins,
    /// How an operator wants them kept. `children` are servers by name.
    pub supervision: GroupConfig,
}

/// Describes the children of the group `upstreams`, and makes the board that they publish on.
///
/// Each server is a group of its own: its [`UpstreamActor`] (`actor`) and, for a child process, one owner per era
/// (`modern`, `legacy`). All of it lives on the thread that the group is started on, which needs a `LocalSet`. A
/// server whose actor fails too often is quarantined; the others do not notice.
pub fn upstreams(setup: UpstreamsSetup) -> (Vec<ChildSpec>, UpstreamBoard) {
    let names = setup.servers.iter().map(|(name, _)| name.clone());
    let board = UpstreamBoard::pinned(names, setup.pins);
    let hub = Hub {
        board: board.clone(),
        http: setup.http,
        sink: setup.sink,
        supervision: setup.supervision,
    };
    let children = setup.servers.into_iter().filter_map(|(server, config)| {
        let desk = board.desk(&server)?;
        Some(hub.child(desk, config))
    });
    (children.collect(), board)
}

/// Describes the children that keep servers.
#[derive(Clone)]
pub(super) struct Hub {
    pub(super) board: UpstreamBoard,
    pub(super) http: HttpClientConfig,
    pub(super) sink: Option<Arc<dyn SessionSink>>,
    pub(super) supervision: GroupConfig,
}

// === impl Hub ===

impl Hub {
    /// The child that keeps one instance of a server.
    pub(super) fn child(&self, desk: Arc<Desk>, config: ServerConfig) -> ChildSpec {
        let supervision = of_one_server(&self.supervision, &desk.name);
        let group = SupervisorSpec::new(desk.child.clone(), Strategy::OneForOne);
        let actor = UpstreamActor {
            board: self.board.clone(),
            desk,
            config,
            http: self.http.clone(),
            sink: self.sink.clone(),
            group: group.handle(),
        };
        let actor = ChildSpec::task("actor", move |context| actor.clone().run(context))
            .quarantined(Intensity::DEFAULT);
        let group = ChildSpec::supervisor(group.child(actor).configured(&supervision));
        match self.supervision.is_coupled() {
            true => group,
            false => group.quarantined(Intensity::DEFAULT),
        }
    }
}

/// What an operator says of one server, said of everything that it is made of.
fn of_one_server(upstreams: &GroupConfig, server: &ServerName) -> GroupConfig {
    let own = upstreams.children.get(server.as_str());
    let children = ["actor", "modern", "legacy"]
        .into_iter()
        .filter_map(|part| Some((part.to_owned(), own?.clone())));
    let coupled = upstreams.is_coupled();
    GroupConfig {
        strategy: None,
        // A failure that siblings share is not mended below them.
        intensity: if coupled {
            Some(0)
        } else {
            upstreams.intensity
        },
        on_exhausted: if coupled {
            Some(OnExhausted::Escalate)
        } else {
            upstreams.on_exhausted
        },
        children: children.collect(),
        ..upstreams.clone()
    }
}
