//! What requests look up in a federation, computed once when it is published.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_plugin_protocol::jsonrpc::{member, quote};
use weir_plugin_protocol::mcp::{Era, UriTemplate};

use super::catalog::ListKind;
use super::merge::{Merged, merge};
use super::view::{Catalog, LinkView, ServerName, ServerView};

/// The two eras of a federation, prepared.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    modern: EraIndex,
    legacy: EraIndex,
}

/// What all servers with a face in one era offer together.
#[derive(Clone, Debug, Default)]
pub(super) struct EraIndex {
    /// By [`ListKind::position`].
    lists: [Vec<Entry>; 4],
    /// Place in the list by exposed name, by [`ListKind::position`].
    names: [HashMap<Arc<str>, usize>; 4],
    /// Templates that can be matched: the place of the server, and the template.
    templates: Vec<(usize, UriTemplate)>,
    /// The renamed items of each server, to be used again while its catalogue stays.
    shelves: Vec<Option<Shelf>>,
    /// What the servers say of themselves, merged.
    pub(super) hello: Merged,
    /// What is hidden because an earlier server has it.
    hidden: Vec<Hidden>,
}

/// One offered item.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Place of its server in the federation.
    pub(super) server: usize,
    /// Place in the server's own list.
    pub(super) item: usize,
    /// The object with its exposed name.
    pub(super) raw: Bytes,
}

/// A resource or template that a later server also has, and that clients of the federation do not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The server that loses.
    pub server: ServerName,
    /// The server that has it.
    pub owner: ServerName,
    /// The URI or URI template.
    pub key: String,
}

/// One server's tools and prompts under their exposed names.
#[derive(Clone, Debug)]
struct Shelf {
    catalog: Arc<Catalog>,
    tools: Arc<[(Arc<str>, Bytes)]>,
    prompts: Arc<[(Arc<str>, Bytes)]>,
}

// === impl Index ===

impl Index {
    /// Prepares `servers`, using again what `before` prepared for catalogues that are still the same.
    pub(super) fn new(servers: &[Arc<ServerView>], before: &Self) -> Self {
        Self {
            modern: EraIndex::new(Era::Modern, servers, &before.modern),
            legacy: EraIndex::new(Era::Legacy, servers, &before.legacy),
        }
    }

    /// What was prepared for `old` servers, as what comes before `new` ones: only the places of the servers differ.
    pub(super) fn moved(&self, old: &[ServerName], new: &[ServerName]) -> Self {
        let place = |server: usize| {
            let name = old.get(server)?;
            new.iter().position(|known| known == name)
        };
        // With one server more or less, the others may be called otherwise.
        let same_names = (old.len() > 1) == (new.len() > 1);
        Self {
            modern: self.modern.moved(new.len(), same_names, &place),
            legacy: self.legacy.moved(new.len(), same_names, &place),
        }
    }

    pub(super) fn era(&self, era: Era) -> &EraIndex {
        match era {
            Era::Modern => &self.modern,
            Era::Legacy => &self.legacy,
        }
    }
}

// === impl EraIndex ===

impl EraIndex {
    fn new(era: Era, servers: &[Arc<ServerView>], before: &Self) -> Self {
        let prefixed = servers.len() > 1;
        let mut index = Self::default();
        for (place, server) in servers.iter().enumerate() {
            let Some(face) = server.face(era) else {
                index.shelves.push(None);
                continue;
            };
            let old = before.shelves.get(place).and_then(Option::as_ref);
            let shelf = match old.filter(|old| old.is_of(&face.catalog)) {
                Some(old) => old.clone(),
                None => Shelf::new(&server.name, face, prefixed),
            };
            index.put_renamed(ListKind::Tools, place, &shelf.tools);
            index.put_renamed(ListKind::Prompts, place, &shelf.prompts);
            for kind in [ListKind::Resources, ListKind::Templates] {
                let owner = |uri: &str| before.still_owned(kind, uri, place, servers, era);
                index.put_by_uri(kind, place, servers, &face.catalog, owner);
            }
            index.shelves.push(Some(shelf));
        }
        index.hello = merge(
            servers
                .iter()
                .filter_map(|server| Some((&server.name, server.face(era)?.hello.as_ref()))),
        );
        index
    }

    /// Owners of URIs and shelves at their new places; servers that are gone own nothing.
    fn moved(
        &self,
        servers: usize,
        same_names: bool,
        place: &impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let mut index = Self::default();
        for kind in [ListKind::Resources, ListKind::Templates] {
            let Some(names) = self.names.get(kind.position()) else {
                continue;
            };
            for (uri, entry) in names {
                let known = self.list(kind).get(*entry);
                if let Some((entry, server)) =
                    known.and_then(|entry| Some((entry, place(entry.server)?)))
                {
                    let raw = entry.raw.clone();
                    let item = entry.item;
                    index.put(kind, uri.clone(), Entry { server, item, raw });
                }
            }
        }
        index.shelves = vec![None; servers];
        for (server, shelf) in self.shelves.iter().enumerate() {
            if same_names
                && let Some(shelf_at) = place(server).and_then(|place| index.shelves.get_mut(place))
            {
                shelf_at.clone_from(shelf);
            }
        }
        index
    }

    pub(super) fn list(&self, kind: ListKind) -> &[Entry] {
        self.lists.get(kind.position()).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find(&self, kind: ListKind, exposed: &str) -> Option<&Entry> {
        let place = self.names.get(kind.position())?.get(exposed)?;
        self.list(kind).get(*place)
    }

    /// The place of the first server with a template that `uri` fits.
    pub(super) fn fitting(&self, uri: &str) -> Option<usize> {
        self.templates
            .iter()
            .find(|(_, template)| template.matches(uri))
            .map(|(server, _)| *server)
    }

    pub(super) fn hidden(&self) -> &[Hidden] {
        &self.hidden
    }

    fn put_renamed(&mut self, kind: ListKind, server: usize, items: &[(Arc<str>, Bytes)]) {
        for (item, (name, raw)) in items.iter().enumerate() {
            self.put(
                kind,
                name.clone(),
                Entry {
                    server,
                    item,
                    raw: raw.clone(),
                },
            );
        }
    }

    /// The server other than `newcomer` that had this URI before and still offers it. Whoever comes later gets it only
    /// when the owner gives it up, wherever the newcomer stands in the configuration.
    fn still_owned(
        &self,
        kind: ListKind,
        uri: &str,
        newcomer: usize,
        servers: &[Arc<ServerView>],
        era: Era,
    ) -> Option<usize> {
        let owner = self.find(kind, uri)?.server;
        let catalog = &servers.get(owner)?.face(era)?.catalog;
        let offers = || catalog.list(kind).items.iter().any(|item| item.key == uri);
        (owner != newcomer && offers()).then_some(owner)
    }

    fn put_by_uri(
        &mut self,
        kind: ListKind,
        server: usize,
        servers: &[Arc<ServerView>],
        catalog: &Catalog,
        earlier_owner: impl Fn(&str) -> Option<usize>,
    ) {
        for (item, resource) in catalog.list(kind).items.iter().enumerate() {
            let listed = self.find(kind, &resource.key).map(|entry| entry.server);
            let owner = listed.or_else(|| earlier_owner(&resource.key));
            match owner
                .and_then(|owner| servers.get(owner))
                .zip(servers.get(server))
            {
                Some((owner, loser)) => self.hidden.push(Hidden {
                    server: loser.name.clone(),
                    owner: owner.name.clone(),
                    key: resource.key.clone(),
                }),
                None => {
                    if kind == ListKind::Templates
                        && let Ok(template) = UriTemplate::parse(&resource.key)
                    {
                        self.templates.push((server, template));
                    }
                    let entry = Entry {
                        server,
                        item,
                        raw: resource.raw.clone(),
                    };
                    self.put(kind, resource.key.as_str().into(), entry);
                }
            }
        }
    }

    fn put(&mut self, kind: ListKind, name: Arc<str>, entry: Entry) {
        if let (Some(list), Some(names)) = (
            self.lists.get_mut(kind.position()),
            self.names.get_mut(kind.position()),
        ) {
            names.insert(name, list.len());
            list.push(entry);
        }
    }
}

// === impl Shelf ===

impl Shelf {
    /// Whether a catalogue, perhaps fetched again, still has the same tools and prompts.
    fn is_of(&self, catalog: &Arc<Catalog>) -> bool {
        let same = |kind| self.catalog.list(kind).same_items(catalog.list(kind));
        Arc::ptr_eq(&self.catalog, catalog) || same(ListKind::Tools) && same(ListKind::Prompts)
    }

    fn new(server: &ServerName, face: &LinkView, prefixed: bool) -> Self {
        let renamed = |kind: ListKind| {
            let items = face.catalog.list(kind).items.iter();
            items
                .map(|item| match prefixed {
                    true => {
                        let exposed = exposed_name(server, &item.key);
                        let raw = rename(&item.raw, &exposed).unwrap_or_else(|| item.raw.clone());
                        (exposed.into(), raw)
                    }
                    false => (item.key.as_str().into(), item.raw.clone()),
                })
                .collect()
        };
        Self {
            catalog: face.catalog.clone(),
            tools: renamed(ListKind::Tools),
            prompts: renamed(ListKind::Prompts),
        }
    }
}

/// The name under which a federation of several servers offers a tool or prompt: `server__tool`. No two servers can
/// meet there: a server's name holds no `__` and does not end in `_`.
pub fn exposed_name(server: &ServerName, own: &str) -> String {
    format!("{server}{SEPARATOR}{own}")
}

pub(super) const SEPARATOR: &str = "__";

/// Replaces the value of `name` in an item; every other byte stays.
fn rename(raw: &Bytes, name: &str) -> Option<Bytes> {
    let text = std::str::from_utf8(raw).ok()?;
    let old = member(text, "name")?;
    let start = (old.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let (before, after) = (text.get(..start)?, text.get(start + old.len()..)?);
    Some([before, &quote(name), after].concat().into())
}
