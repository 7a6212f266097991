//! What the rest of the gateway sees of the upstream servers: immutable snapshots, swapped as a whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use weir_plugin_protocol::jsonrpc::member;
use weir_plugin_protocol::mcp::{Era, HeaderAnnotation, Version};

use super::desk::Desk;
use super::http::HttpTarget;
use super::index::Index;
use super::pins::Withheld;
use super::seat::Seat;
use super::stdio::StdioLink;
use crate::settings::Settings;

/// The name of a configured server: `[A-Za-z0-9-]{1,32}`, no `__`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

/// All servers, in the order of the configuration, and the settings that belong to them. Published as one `Arc`; a
/// change is a new `Federation`, made by [`Federation::new`] or [`Federation::with`], which also prepare what requests
/// look up in it.
#[derive(Clone, Debug, Default)]
pub struct Federation {
    /// Every configured server, also those that are down.
    pub servers: Vec<Arc<ServerView>>,
    /// What requests to them are judged by. Before the first configuration nobody is let in.
    pub settings: Arc<Settings>,
    pub(super) index: Arc<Index>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// Its name.
    pub name: ServerName,
    /// What it is doing.
    pub state: UpstreamState,
    /// Its face in the modern era, if it has one. Kept (with its last catalogue) while the server is down.
    pub modern: Option<Arc<LinkView>>,
    /// Its face in the legacy era, if it has one.
    pub legacy: Option<Arc<LinkView>>,
    /// Which instance of it this is.
    pub(super) seat: Arc<Seat>,
}

/// What an upstream is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum UpstreamState {
    /// Not connected yet.
    Starting,
    /// Connected and listed.
    Ready,
    /// Connected before, not now; a restart or retry is under way.
    Down {
        /// Why.
        reason: String,
    },
    /// Restarted too often; tried again at long intervals.
    Quarantined {
        /// Why.
        reason: String,
    },
}

/// One server in one era.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// The era.
    pub era: Era,
    /// How it is reached.
    pub link: Link,
    /// What it said of itself.
    pub hello: Arc<Hello>,
    /// What it offers.
    pub catalog: Arc<Catalog>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Link {
    /// Streamable HTTP.
    Http(Arc<HttpTarget>),
    /// A child process.
    Stdio(StdioLink),
}

/// A server's answer to `initialize` or `server/discover`, each part as raw JSON.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The revision in use.
    pub version: Version,
    /// `capabilities`, an object.
    pub capabilities: Bytes,
    /// `serverInfo`, an object, if it gave one.
    pub server_info: Option<Bytes>,
    /// `instructions`, a JSON string, if it gave one.
    pub instructions: Option<Bytes>,
}

/// The lists of one server, every page of them.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Tools; those with unusable names or headers are left out.
    pub tools: List,
    /// Prompts.
    pub prompts: List,
    /// Resources.
    pub resources: List,
    /// Resource templates.
    pub templates: List,
    /// Arguments of tools that travel as `Mcp-Param-*` headers too, by the tool's own name. Most tools have none.
    pub param_headers: HashMap<String, Vec<HeaderAnnotation>>,
    /// What the server offers and clients do not get: it is not in the lists.
    pub withheld: Withheld,
}

/// One list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The items in the server's order.
    pub items: Vec<Item>,
    /// How long the server says the list may be kept, in milliseconds, and from when; `None`: it did not say.
    pub ttl_ms: Option<u64>,
    /// True if the server said `cacheScope: private` (or nothing, in the legacy era).
    pub private: bool,
    /// When it was fetched; `None`: the server does not offer this kind.
    pub fetched: Option<Instant>,
    /// True if the server tells when the list changes, so that it is fetched again without being asked for.
    pub announced: bool,
}

/// One tool, prompt, resource or template.
#[derive(Clone, Debug)]
pub struct Item {
    /// `name` of tools and prompts, `uri` of resources, `uriTemplate` of templates.
    pub key: String,
    /// The object as the server wrote it.
    pub raw: Bytes,
}

/// Something changed upstream that clients may want to hear of. Sent on a bounded broadcast: a receiver that lags
/// treats it as "everything changed".
#[derive(Clone, Debug)]
pub enum UpstreamEvent {
    /// The tools of a server were swapped for new ones.
    ToolsChanged(ServerName),
    /// The prompts were swapped.
    PromptsChanged(ServerName),
    /// The resources or templates were swapped.
    ResourcesChanged(ServerName),
    /// The configuration was read again, and what these servers offer or are allowed to show is different now. Some of
    /// them may be gone.
    Reconfigured {
        /// Which of their lists.
        list: ChangedList,
        /// The servers.
        servers: Arc<[ServerName]>,
    },
    /// A subscribed resource was updated; the `params` of the notification as raw JSON.
    ResourceUpdated {
        /// The era in which the server said so. The two children of a server that speaks both are told of each other's
        /// changes by nobody, so each era's clients hear of their own.
        era: Era,
        /// The server.
        server: ServerName,
        /// The URI.
        uri: String,
        /// `params` as the server wrote it.
        params: Bytes,
    },
}

/// The lists that clients are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedList {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources and templates.
    Resources,
}

// === impl ChangedList ===

impl ChangedList {
    /// The word in the names of notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
        }
    }
}

// === impl ServerName ===

impl ServerName {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, String> {
        let usable = !name.is_empty()
            && name.len() <= 32
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !usable || name.contains("__") || name.starts_with('_') || name.ends_with('_') {
            return Err(format!(
                "server name {name:?}: use 1 to 32 of A-Z a-z 0-9 - _, without `__` and no `_` at either end"
            ));
        }
        Ok(Self(name.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for ServerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

// === impl ServerView ===

impl ServerView {
    /// Whether this is the instance with this desk.
    pub(super) fn is_at(&self, desk: &Arc<Desk>) -> bool {
        Arc::ptr_eq(&self.seat.desk, desk)
    }

    /// The face in one era.
    pub fn face(&self, era: Era) -> Option<&Arc<LinkView>> {
        match era {
            Era::Modern => self.modern.as_ref(),
            Era::Legacy => self.legacy.as_ref(),
        }
    }
}

impl ServerView {
    /// Puts a face in the place of the one of its era.
    pub(super) fn put(&mut self, face: LinkView) {
        match face.era {
            Era::Modern => self.modern = Some(Arc::new(face)),
            Era::Legacy => self.legacy = Some(Arc::new(face)),
        }
    }
}

// === impl Hello ===

impl Hello {
    /// Whether a capability is declared, with whatever value but `false` and `null`.
    pub fn has(&self, capability: &str) -> bool {
        self.declared(capability).is_some()
    }

    /// Whether a capability is declared with this member `true`, as in `tools.listChanged`.
    pub fn has_flag(&self, capability: &str, flag: &str) -> bool {
        self.declared(capability)
            .and_then(|value| member(value, flag))
            == Some("true")
    }

    fn declared(&self, capability: &str) -> Option<&str> {
        let capabilities = std::str::from_utf8(&self.capabilities).ok()?;
        member(capabilities, capability).filter(|value| !matches!(*value, "false" | "null"))
    }
}

/// The era that it is not.
pub(super) fn other(era: Era) -> Era {
    match era {
        Era::Modern => Era::Legacy,
        Era::Legacy => Era::Modern,
    }
}
