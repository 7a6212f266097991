//! What a server is told again when it has lost the session: what the client asked for once, and expects to hold.

use std::collections::{BTreeMap, BTreeSet};

use super::Session;
use crate::upstream::ServerName;

/// Resources of servers with sessions of their own that one session may watch and that are subscribed to again.
const MAX_WATCHED: usize = 256;

/// What a new session at a server is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// The log level, raw JSON.
    pub level: Option<String>,
    /// URIs of resources that the client watches, raw JSON.
    pub watched: Vec<String>,
}

/// What a session remembers for that.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    level: Option<String>,
    watched: BTreeMap<ServerName, BTreeSet<String>>,
}

// === impl Session ===

impl Session {
    /// Remembers the log level (raw JSON) that the client asked for.
    pub fn set_level(&self, level: &str) {
        self.lock().wishes.level = Some(level.to_owned());
    }

    /// Remembers that the client watches a resource (raw JSON of its URI), or does not any more.
    pub fn watch(&self, server: &ServerName, uri: &str, watches: bool) {
        let mut state = self.lock();
        let watched = &mut state.wishes.watched;
        if watches {
            if watched.values().map(BTreeSet::len).sum::<usize>() < MAX_WATCHED {
                let uris = watched.entry(server.clone()).or_default();
                uris.insert(uri.to_owned());
            }
        } else if let Some(uris) = watched.get_mut(server) {
            uris.remove(uri);
        }
    }

    /// What a new session at a server is told.
    pub fn again(&self, server: &ServerName) -> Again {
        let state = self.lock();
        let watched = state.wishes.watched.get(server);
        Again {
            level: state.wishes.level.clone(),
            watched: watched.into_iter().flatten().cloned().collect(),
        }
    }
}
