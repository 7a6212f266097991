//! Where one worker's operations are counted, found by looking once and kept.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use super::family::Shard;
use super::names::OTHER;
use super::operation::{Ended, Handles, Operations};
use crate::upstream::{LinkView, ServerName};

/// Different ends of one tool's calls that are kept. A server that thinks up error codes loses only time.
const MAX_ENDS: usize = 64;

/// The handles of one worker. Losing it costs a look for each.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Ledger {
    /// By the address of the face of a server that the requests went to.
    links: HashMap<usize, OfLink, RandomState>,
    /// What had no server.
    here: Ends,
}

/// One face of a server. A changed catalogue is a new face.
#[derive(Debug)]
struct OfLink {
    /// While this is here, no other face has the address.
    link: Weak<LinkView>,
    /// By the name of tool or prompt; empty for everything else.
    names: HashMap<Box<str>, Ends, RandomState>,
}

/// What was found for an operation, by how it ended.
#[derive(Debug, Default)]
struct Ends(Vec<(Ended, Handles)>);

/// What has to be known to look.
pub(super) struct Search<'a> {
    pub(super) operations: &'a Operations,
    pub(super) shard: Shard,
    /// Names that are kept for one face at most.
    pub(super) max_names: usize,
}

// === impl Ledger ===

impl Ledger {
    /// Finds where an operation is counted: here, or else by a search that takes locks. `name` is that of a tool or
    /// prompt.
    pub(super) fn find(
        &mut self,
        search: &Search<'_>,
        ended: &Ended,
        at: Option<(&ServerName, &Arc<LinkView>)>,
        name: Option<&str>,
        count: impl FnOnce(&Handles),
    ) {
        let Some((server, link)) = at else {
            return self
                .here
                .find(ended, count, || search.run(ended, None, None));
        };
        let address = Arc::as_ptr(link).addr();
        let key = name.unwrap_or_default();
        let at = Some((server, link.as_ref()));
        if let Some(of) = self.links.get_mut(&address) {
            if let Some(ends) = of.names.get_mut(key) {
                return ends.find(ended, count, || search.run(ended, at, name));
            }
        } else {
            self.links.retain(|_, of| of.link.strong_count() > 0);
        }
        let of = self.links.entry(address).or_insert_with(|| OfLink {
            link: Arc::downgrade(link),
            names: HashMap::default(),
        });
        let (key, name) = if of.names.len() < search.max_names {
            (key, name)
        } else {
            (OTHER, Some(OTHER))
        };
        let ends = of.names.entry(key.into()).or_default();
        ends.find(ended, count, || search.run(ended, at, name));
    }
}

// === impl Ends ===

impl Ends {
    fn find(&mut self, ended: &Ended, count: impl FnOnce(&Handles), run: impl FnOnce() -> Handles) {
        if let Some((_, handles)) = self.0.iter().find(|(known, _)| known == ended) {
            return count(handles);
        }
        if self.0.len() >= MAX_ENDS {
            self.0.clear();
        }
        let handles = run();
        count(&handles);
        self.0.push((*ended, handles));
    }
}

// === impl Search ===

impl Search<'_> {
    pub(super) fn run(
        &self,
        ended: &Ended,
        at: Option<(&ServerName, &LinkView)>,
        name: Option<&str>,
    ) -> Handles {
        self.operations.handles(ended, at, name, self.shard)
    }
}
