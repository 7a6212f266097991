//! What a child process says about the work of one session, and who takes it.

use weir_plugin_protocol::jsonrpc::{Kind, Message};
use weir_plugin_protocol::mcp::Method;

use super::stdio::{StdioLink, Unsolicited};
use super::view::ServerName;

/// Takes what a child process says about the work of one session: its requests to the client, and its log messages.
pub trait SessionSink: Send + Sync {
    /// Takes a message whose session is known. Must not block; a request is answered with
    /// [`StdioLink::send_to`] the start of the process that asked, now or later.
    fn deliver(&self, server: &ServerName, link: &StdioLink, unsolicited: Unsolicited);
}

/// Requests to the client and what goes with them; the rest concerns the catalogue.
pub(super) fn concerns_session(message: &Message) -> bool {
    use Method::{
        NotificationPromptsListChanged, NotificationResourcesListChanged,
        NotificationResourcesUpdated, NotificationToolsListChanged, Ping,
    };
    let method = Method::parse(message.method());
    let ours = [
        NotificationToolsListChanged,
        NotificationPromptsListChanged,
        NotificationResourcesListChanged,
        NotificationResourcesUpdated,
    ];
    matches!(message.kind(), Kind::Request | Kind::Notification)
        && method != Ping
        && !ours.contains(&method)
}
