//! Servers that come, change and go while the gateway runs.
//!
//! A server that is new or changed is a new instance beside those that serve: it is started, greeted and listed, and
//! takes its place when the board is given the new order of servers. The instance that it replaces finishes what it is
//! doing and is stopped then; nobody who has found it in a snapshot is sent away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::board::UpstreamBoard;
use super::config::ServerConfig;
use super::desk::Desk;
use super::http::HttpTarget;
use super::hub::{Hub, UpstreamsSetup};
use super::seat::Vacancy;
use super::view::{Link, ServerName, UpstreamState};
use crate::settings::Settings;
use crate::supervisor::{CommandError, GroupConfig, SupervisorHandle};

/// Starts and stops instances of servers in the group `upstreams`. Cheap to clone.
#[derive(Clone)]
pub struct Succession {
    hub: Hub,
    group: SupervisorHandle,
    /// Numbers the instances after the first.
    last: Arc<AtomicU64>,
}

/// An instance that is started and does not serve yet.
#[derive(Clone, Debug)]
pub struct Newcomer(Arc<Desk>);

/// An instance that does not serve any more.
#[derive(Debug)]
pub struct Departed {
    desk: Arc<Desk>,
    /// Where it is, if it is reached over HTTP.
    pub target: Option<Arc<HttpTarget>>,
    vacancy: Vacancy,
}

/// Who takes a place in the order of servers.
#[derive(Clone, Debug)]
pub enum Place {
    /// The instance that serves, if there is one.
    Stay(ServerName),
    /// Another instance.
    Take(Newcomer),
}

// === impl Succession ===

impl Succession {
    /// For the servers of `board`, which live in `group`. `setup` says how they are kept; its servers do not matter.
    pub fn new(board: UpstreamBoard, group: SupervisorHandle, setup: UpstreamsSetup) -> Self {
        let UpstreamsSetup {
            http,
            sink,
            supervision,
            servers: _,
            pins: _,
        } = setup;
        let hub = Hub {
            board,
            http,
            sink,
            supervision,
        };
        Self {
            hub,
            group,
            last: Arc::new(AtomicU64::new(1)),
        }
    }

    /// How instances that are started from now on are kept.
    pub fn supervise(&mut self, supervision: GroupConfig) {
        self.hub.supervision = supervision;
    }

    /// Starts an instance of a server beside the one that serves, if there is one. What clients watch at the server
    /// stays watched.
    ///
    /// # Errors
    /// The group cannot start it.
    pub async fn start(
        &self,
        server: &ServerName,
        config: ServerConfig,
    ) -> Result<Newcomer, CommandError> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let child: Arc<str> = format!("{server}~{number}").into();
        let desk = match self.hub.board.desk(server) {
            Some(known) => known.successor(child),
            None => Desk::new(server.clone(), child),
        };
        let desk = Arc::new(desk);
        self.hub.board.expect(desk.clone());
        let newcomer = Newcomer(desk.clone());
        match self.group.start_child(self.hub.child(desk, config)).await {
            Ok(()) => Ok(newcomer),
            Err(error) => {
                self.hub.board.dismiss(&newcomer.0);
                Err(error)
            }
        }
    }

    /// Waits until each of these is ready, or has failed for the first time. False: the time was up before.
    pub async fn decided(&self, newcomers: &[Newcomer], patience: Duration) -> bool {
        let desks: Vec<_> = newcomers.iter().map(|one| one.0.clone()).collect();
        self.hub.board.decided(&desks, patience).await
    }

    /// What an instance is doing.
    pub fn state(&self, newcomer: &Newcomer) -> UpstreamState {
        let view = self.hub.board.view(&newcomer.0);
        view.map_or(UpstreamState::Starting, |view| view.state.clone())
    }

    /// Puts servers in this order, and settings, in the place of those that serve, in one step. Returns the instances
    /// that do not serve any more.
    pub fn install(&self, settings: Arc<Settings>, places: &[Place]) -> Vec<Departed> {
        let board = &self.hub.board;
        let desks = places.iter().filter_map(|place| match place {
            Place::Stay(server) => board.desk(server),
            Place::Take(newcomer) => Some(newcomer.0.clone()),
        });
        let desks: Vec<_> = desks.collect();
        let gone = board.seat(settings, &desks);
        let departed = gone.iter().map(|view| {
            let link = view.legacy.as_ref().or(view.modern.as_ref());
            let target = link.and_then(|face| match &face.link {
                Link::Http(target) => Some(target.clone()),
                Link::Stdio(_) => None,
            });
            Departed {
                desk: view.seat.desk.clone(),
                target,
                vacancy: view.seat.vacancy(),
            }
        });
        departed.collect()
    }

    /// Stops what was started and never took a place: whoever started it did not come to an end.
    pub async fn sweep(&self) {
        for desk in self.hub.board.expected() {
            self.dismiss(&Newcomer(desk)).await;
        }
    }

    /// Stops an instance that is not to serve after all.
    pub async fn dismiss(&self, newcomer: &Newcomer) {
        self.hub.board.dismiss(&newcomer.0);
        // An error means that it is gone already, or that everything is being stopped.
        let _gone = self.group.delete_child(&newcomer.0.child).await;
    }

    /// Stops an instance that does not serve any more.
    pub async fn stop(&self, departed: &Departed) {
        let _gone = self.group.delete_child(&departed.desk.child).await;
    }
}

// === impl Newcomer ===

impl Newcomer {
    /// The server.
    pub fn server(&self) -> &ServerName {
        &self.0.name
    }
}

// === impl Departed ===

impl Departed {
    /// The server.
    pub fn server(&self) -> &ServerName {
        &self.desk.name
    }

    /// Resolves when no request is at the instance any more, and none can come: at once if there is none now.
    pub async fn idle(&mut self) {
        self.vacancy.vacant().await;
    }

    /// Whether no request is at the instance any more.
    pub fn is_idle(&self) -> bool {
        self.vacancy.is_vacant()
    }
}
