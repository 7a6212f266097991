//! Where one worker's operations are counted, found by looking once and kept.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use weir_plugin_protocol::mcp::Method;

use super::family::Shard;
use super::names::OTHER;
use super::operation::{Ended, Handles, Operations};
use crate::upstream::{LinkView, ListKind, ServerName};

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
        let at = (server, link.as_ref());
        if let Some(of) = self.links.get_mut(&address) {
            if let Some(ends) = of.names.get_mut(name.unwrap_or_default()) {
                return ends.find(ended, count, || search.run(ended, Some(at), name));
            }
        } else {
            self.links.retain(|_, of| of.link.strong_count() > 0);
        }
        let of = self.links.entry(address).or_insert_with(|| OfLink {
            link: Arc::downgrade(link),
            names: HashMap::default(),
        });
        let full = of.names.len() >= search.max_names;
        let name = name.map(|name| {
            if full {
                OTHER
            } else {
                listed(ended, link, name)
            }
        });
        let ends = of.names.entry(name.unwrap_or_default().into()).or_default();
        ends.find(ended, count, || search.run(ended, Some(at), name));
    }

    /// Names that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.links.values().map(|of| of.names.len()).sum()
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
    /// Finds where an operation is counted without keeping it.
    pub(super) fn run(
        &self,
        ended: &Ended,
        at: Option<(&ServerName, &LinkView)>,
        name: Option<&str>,
    ) -> Handles {
        let name = at
            .zip(name)
            .map(|((_, link), name)| listed(ended, link, name));
        self.operations.handles(ended, at, name, self.shard)
    }
}

/// The name of a tool or prompt, if the server lists it: a client may ask one server for anything.
fn listed<'a>(ended: &Ended, link: &LinkView, name: &'a str) -> &'a str {
    let kind = ended.method.method().and_then(|method| match method {
        Method::ToolsCall => Some(ListKind::Tools),
        Method::PromptsGet => Some(ListKind::Prompts),
        _ => None,
    });
    let list = kind.map(|kind| link.catalog.list(kind));
    let is_listed = list.is_some_and(|list| list.items.iter().any(|item| item.key == name));
    if is_listed { name } else { OTHER }
}
