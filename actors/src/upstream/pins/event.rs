//! What is told of pins: to the log, the metrics and the audit log.

use weir_plugin_protocol::mcp::Era;

use super::config::PinPolicy;
use super::digest::Digest;
use super::record::Key;
use crate::upstream::view::ServerName;

/// Told of everything that happens to pins. Called from the thread that reads catalogues and from that of the admin
/// listener: it must be quick and must not wait.
pub trait PinWatch: Send + Sync + 'static {
    /// Something happened.
    fn pin_event(&self, event: &PinEvent);
}

/// Something that happened to pins. An object that stays as it is is told of once, not at every reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinEvent {
    /// What happened.
    pub what: PinChange,
    /// The server.
    pub server: ServerName,
    /// The era in which it was seen; none where that does not matter.
    pub era: Option<Era>,
    /// The object; none for what concerns the server as a whole.
    pub object: Option<Key>,
    /// The hash of what is approved.
    pub pinned: Option<Digest>,
    /// The hash of what is offered.
    pub current: Option<Digest>,
    /// What happens to it.
    pub policy: PinPolicy,
}

/// What happened to pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinChange {
    /// A server was seen for the first time, and what it offers was approved. The hashes are those of the whole catalogue.
    Trusted {
        /// How many objects.
        objects: usize,
    },
    /// An object is not the one that was approved.
    Drifted,
    /// An object was not there when the server was approved.
    New,
    /// An approved object is not offered any more.
    Missing,
    /// An object is as it was approved, after it was not.
    Restored,
    /// An object is refused because it looks like another one.
    Clash {
        /// The name of that.
        with: String,
    },
    /// An operator approved an object as it is now, or that it is gone.
    Accepted,
    /// More objects changed at once than are told of one by one.
    More {
        /// How many more.
        objects: usize,
    },
}

// === impl PinChange ===

impl PinChange {
    /// Every word, for the metrics.
    pub const WORDS: [&'static str; 8] = [
        "trusted", "drifted", "new", "missing", "restored", "clash", "accepted", "more",
    ];

    /// One word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Trusted { .. } => "trusted",
            Self::Drifted => "drifted",
            Self::New => "new",
            Self::Missing => "missing",
            Self::Restored => "restored",
            Self::Clash { .. } => "clash",
            Self::Accepted => "accepted",
            Self::More { .. } => "more",
        }
    }

    /// The type of the audit event.
    pub fn audit_type(&self) -> &'static str {
        match self {
            Self::Trusted { .. } => "pin.trusted",
            Self::Drifted => "pin.drifted",
            Self::New => "pin.new",
            Self::Missing => "pin.missing",
            Self::Restored => "pin.restored",
            Self::Clash { .. } => "pin.clash",
            Self::Accepted => "pin.accepted",
            Self::More { .. } => "pin.more",
        }
    }
}
