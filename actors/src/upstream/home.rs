//! What an upstream's actor knows of its server, and how that becomes the published state.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use weir_plugin_protocol::mcp::Era;

use super::board::UpstreamBoard;
use super::desk::Desk;
use super::inbox::Inbox;
use super::view::{LinkView, ServerName, ServerView, UpstreamState};

/// One server, as its actor sees it. Lost with the actor; what is published stays.
pub(super) struct Home {
    pub(super) board: UpstreamBoard,
    pub(super) server: ServerName,
    pub(super) desk: Arc<Desk>,
    modern: EraHome,
    legacy: EraHome,
    /// Rung when an era is back: the server may be another one now, so what was not spoken is asked for again.
    returned: Notify,
}

pub(super) struct EraHome {
    status: RefCell<Status>,
    /// Failures in a row.
    failures: Cell<u32>,
    pub(super) inbox: Rc<Inbox>,
}

/// What is known of one era.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    /// Nobody has asked yet.
    Unknown,
    /// It is spoken, and the connection stands.
    Up,
    /// It is not spoken, or not to be spoken.
    None(String),
    /// It cannot be reached.
    Down(String),
}

/// Failures in a row after which a server is shown as quarantined: by then a try comes twenty seconds or more after
/// the one before.
const MANY: u32 = 8;

// === impl Home ===

impl Home {
    pub(super) fn new(board: &UpstreamBoard, desk: &Arc<Desk>) -> Self {
        let desk = desk.clone();
        let home = |era| EraHome {
            status: RefCell::new(Status::Unknown),
            failures: Cell::new(0),
            inbox: Rc::new(Inbox::new(board.clone(), desk.clone(), era)),
        };
        let (board, server) = (board.clone(), desk.name.clone());
        let (modern, legacy) = (home(Era::Modern), home(Era::Legacy));
        Self {
            board,
            server,
            desk,
            modern,
            legacy,
            returned: Notify::new(),
        }
    }

    /// What is known of the server, by this instance of it.
    pub(super) fn view(&self) -> Option<Arc<ServerView>> {
        self.board.view(&self.desk)
    }

    pub(super) fn era(&self, era: Era) -> &EraHome {
        match era {
            Era::Modern => &self.modern,
            Era::Legacy => &self.legacy,
        }
    }

    /// Publishes a face that can be called: of its catalogue, which is as it was read, what the pins let pass.
    pub(super) fn up(&self, face: LinkView) {
        let home = self.era(face.era);
        let returned = home.failures.replace(0) > 0;
        home.status.replace(Status::Up);
        let pins = self.board.pins();
        pins.put(&self.desk, face.era, face.catalog.clone());
        self.publish(|view| {
            // Judged while the board is held, so that the last word is the last one published.
            let judged = pins.judge(&self.desk, face.era);
            let catalog = judged.unwrap_or_else(|| face.catalog.clone());
            view.put(LinkView { catalog, ..face });
        });
        pins.flush();
        if returned {
            self.returned.notify_waiters();
        }
    }

    /// Notes a failure and returns how many there were in a row. The face stays as it was last seen.
    pub(super) fn down(&self, era: Era, reason: impl Into<String>) -> u32 {
        let home = self.era(era);
        home.status.replace(Status::Down(reason.into()));
        home.failures.set(home.failures.get().saturating_add(1));
        self.publish(|_| {});
        home.failures.get()
    }

    /// Takes the face of an era away that is not spoken.
    pub(super) fn none(&self, era: Era, reason: impl Into<String>) {
        self.era(era).status.replace(Status::None(reason.into()));
        self.board.pins().withdraw(&self.desk, era);
        self.publish(|view| match era {
            Era::Modern => view.modern = None,
            Era::Legacy => view.legacy = None,
        });
    }

    /// Whether the era's connection stands.
    pub(super) fn is_up(&self, era: Era) -> bool {
        *self.era(era).status.borrow() == Status::Up
    }

    /// Waits until an era is back after it was gone.
    pub(super) async fn returned(&self) {
        self.returned.notified().await;
    }

    fn publish(&self, change: impl FnOnce(&mut ServerView)) {
        let state = self.state();
        self.board.publish(&self.desk, |view| {
            change(view);
            // What was published before the actor's restart is not taken back while it starts.
            if state != UpstreamState::Starting || view.unknown() {
                view.state = state.clone();
            }
        });
        if state != UpstreamState::Starting {
            self.board.pins().settled(&self.server);
        }
    }

    fn state(&self) -> UpstreamState {
        let (modern, legacy) = (self.modern.status.borrow(), self.legacy.status.borrow());
        let failures = self.modern.failures.get().max(self.legacy.failures.get());
        let gone = |reason: String| match failures {
            MANY.. => UpstreamState::Quarantined { reason },
            _ => UpstreamState::Down { reason },
        };
        match (&*modern, &*legacy) {
            (Status::Unknown, _) | (_, Status::Unknown) => UpstreamState::Starting,
            (Status::Up, _) | (_, Status::Up) => UpstreamState::Ready,
            (Status::Down(reason), _) | (_, Status::Down(reason)) => gone(reason.clone()),
            (Status::None(modern), Status::None(legacy)) => gone(format!(
                "it speaks no known revision (modern: {modern}; legacy: {legacy})"
            )),
        }
    }
}

/// However an actor ends: nobody keeps the server then.
impl Drop for Home {
    fn drop(&mut self) {
        self.board.publish(&self.desk, |view| {
            let reason = "nobody is connected to it".into();
            view.state = UpstreamState::Down { reason };
        });
        if self.view().is_none() {
            self.board.pins().forget(&self.desk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::federation::tests::fake;
    use super::*;

    fn home() -> Home {
        let server = ServerName::new("a").unwrap();
        let board = UpstreamBoard::new([server.clone()]);
        let desk = board.desk(&server).unwrap();
        Home::new(&board, &desk)
    }

    fn state(home: &Home) -> UpstreamState {
        home.board.load().servers[0].state.clone()
    }

    fn face(era: Era) -> LinkView {
        LinkView::clone(fake("a").view().face(era).unwrap())
    }

    #[test]
    fn a_server_is_ready_when_every_era_is_decided_and_one_is_up() {
        let home = home();
        home.up(face(Era::Legacy));
        assert_eq!(state(&home), UpstreamState::Starting);
        home.none(Era::Modern, "no");
        assert_eq!(state(&home), UpstreamState::Ready);
        home.down(Era::Legacy, "it died");
        assert_eq!(
            state(&home),
            UpstreamState::Down {
                reason: "it died".into()
            }
        );
        assert!(home.board.load().servers[0].legacy.is_some());
        home.up(face(Era::Legacy));
        assert_eq!(state(&home), UpstreamState::Ready);
    }

    #[test]
    fn one_era_is_enough_and_none_is_not() {
        let home = home();
        home.up(face(Era::Modern));
        home.down(Era::Legacy, "busy");
        assert_eq!(state(&home), UpstreamState::Ready);
        home.none(Era::Legacy, "old");
        home.none(Era::Modern, "new");
        assert!(
            matches!(state(&home), UpstreamState::Down { reason } if reason.contains("old") && reason.contains("new"))
        );
        assert!(home.board.load().servers[0].unknown());
    }

    #[test]
    fn many_failures_are_quarantine() {
        let home = home();
        home.none(Era::Modern, "no");
        for _ in 0..MANY {
            assert!(matches!(
                state(&home),
                UpstreamState::Starting | UpstreamState::Down { .. }
            ));
            home.down(Era::Legacy, "it dies");
        }
        assert!(matches!(state(&home), UpstreamState::Quarantined { .. }));
    }
}
