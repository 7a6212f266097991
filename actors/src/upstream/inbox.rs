//! What a server says to the gateway itself, of its own accord.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use weir_plugin_protocol::jsonrpc::{Field, Kind, Message};
use weir_plugin_protocol::mcp::{Era, Method, code, error_response, result_response};

use super::board::UpstreamBoard;
use super::catalog::ListKind;
use super::desk::Desk;
use super::view::UpstreamEvent;

/// Takes in what concerns the catalogue and the resources of one server in one era. Never waits.
#[derive(Debug)]
pub(super) struct Inbox {
    era: Era,
    board: UpstreamBoard,
    desk: Arc<Desk>,
    /// By [`ListKind::position`]: the server says that the list changed.
    changed: [Cell<bool>; 4],
    bell: Notify,
}

// === impl Inbox ===

impl Inbox {
    pub(super) fn new(board: UpstreamBoard, desk: Arc<Desk>, era: Era) -> Self {
        Self {
            era,
            board,
            desk,
            changed: Default::default(),
            bell: Notify::new(),
        }
    }

    /// Takes a message in and returns the answer that it asks for, if it asks for one.
    pub(super) fn take(&self, message: &Message) -> Option<Bytes> {
        match (message.kind(), Method::parse(message.method())) {
            (Kind::Request, Method::Ping) => message.id().map(|id| result_response(id, "{}")),
            (Kind::Request, _) => Some(error_response(
                message.id(),
                code::INTERNAL_ERROR,
                "no single session to ask",
                None,
            )),
            (Kind::Notification, Method::NotificationToolsListChanged) => {
                self.mark(&[ListKind::Tools]);
                None
            }
            (Kind::Notification, Method::NotificationPromptsListChanged) => {
                self.mark(&[ListKind::Prompts]);
                None
            }
            (Kind::Notification, Method::NotificationResourcesListChanged) => {
                self.mark(&[ListKind::Resources, ListKind::Templates]);
                None
            }
            (Kind::Notification, Method::NotificationResourcesUpdated) => {
                self.updated(message);
                None
            }
            (Kind::Notification, Method::NotificationSubscriptionsAcknowledged) => None,
            _ => {
                self.desk.count_unheard();
                None
            }
        }
    }

    /// Has all lists read again: something may have been missed.
    pub(super) fn mark_all(&self) {
        self.mark(&ListKind::ALL);
    }

    /// Waits until a list changed.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The lists that changed since the last time.
    pub(super) fn drain(&self) -> Vec<ListKind> {
        ListKind::ALL
            .into_iter()
            .filter(|kind| self.cell(*kind).is_some_and(|changed| changed.take()))
            .collect()
    }

    /// Has these lists read again.
    pub(super) fn mark(&self, kinds: &[ListKind]) {
        for cell in kinds.iter().filter_map(|kind| self.cell(*kind)) {
            cell.set(true);
        }
        self.bell.notify_one();
    }

    fn cell(&self, kind: ListKind) -> Option<&Cell<bool>> {
        self.changed.get(kind.position())
    }

    fn updated(&self, message: &Message) {
        // The URI may be one below a watched one, so it is only asked whether anything is watched. An instance that
        // does not serve, not yet or not any more, has nothing to say to clients.
        let watched = self.desk.watches() && self.board.is_seated(&self.desk);
        match (message.text(Field::Uri), message.slice(Field::Params)) {
            (Some(uri), Some(params)) if watched => {
                let (server, uri) = (self.desk.name.clone(), uri.into_owned());
                self.board.announce(UpstreamEvent::ResourceUpdated {
                    era: self.era,
                    server,
                    uri,
                    params,
                });
            }
            _ => self.desk.count_unheard(),
        }
    }
}
