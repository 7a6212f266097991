//! From what is approved and what is offered to what clients get.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use weir_plugin_protocol::jsonrpc::member;
use weir_plugin_protocol::mcp::{Era, header_annotations};

use super::clash::clashes;
use super::config::PinPolicy;
use super::digest::Digest;
use super::event::PinChange;
use super::record::{Key, Record};
use super::withheld::WithheldFor;
use crate::upstream::catalog::ListKind;
use crate::upstream::view::{Catalog, Item};

/// A catalogue as it was read, and the hashes of its items.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) catalog: Arc<Catalog>,
    digests: [Vec<Digest>; 4],
}

/// How an object is not as it was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    Drifted {
        pinned: Option<Digest>,
        current: Digest,
    },
    New {
        current: Digest,
    },
    Missing {
        pinned: Option<Digest>,
    },
    Clash {
        with: String,
        current: Digest,
    },
}

/// What is odd about an offer, by object.
pub(super) type Oddities = BTreeMap<Key, Oddity>;

/// Looks at one offer.
pub(super) struct Judge<'a> {
    pub(super) era: Era,
    /// Whether what was never seen is approved.
    pub(super) trusting: bool,
    /// What clients got before; who has a name keeps it.
    pub(super) before: Option<&'a Catalog>,
    /// The time, RFC 3339.
    pub(super) now: &'a str,
}

// === impl Offer ===

impl Offer {
    /// Hashes a catalogue. What has the same bytes as `before` is not hashed again.
    pub(super) fn new(catalog: Arc<Catalog>, before: Option<&Self>) -> Self {
        let digests = ListKind::ALL.map(|kind| {
            let before = before.into_iter().flat_map(|before| before.items(kind));
            let known: HashMap<&[u8], Digest> = before
                .map(|(item, digest)| (item.raw.as_ref(), digest))
                .collect();
            let digest = |item: &Item| {
                let known = known.get(item.raw.as_ref()).copied();
                known.unwrap_or_else(|| Digest::of(&item.raw))
            };
            catalog.list(kind).items.iter().map(digest).collect()
        });
        Self { catalog, digests }
    }

    /// The items of one list.
    pub(super) fn items(&self, kind: ListKind) -> impl Iterator<Item = (&Item, Digest)> {
        let digests = self.digests.get(kind.position()).into_iter().flatten();
        self.catalog.list(kind).items.iter().zip(digests.copied())
    }

    /// The items of every list.
    pub(super) fn objects(&self) -> impl Iterator<Item = (ListKind, &Item, Digest)> {
        let of_kind = move |kind| self.items(kind).map(move |(item, hash)| (kind, item, hash));
        ListKind::ALL.into_iter().flat_map(of_kind)
    }
}

// === impl Judge ===

impl Judge<'_> {
    /// Compares an offer with what is approved; `record` is none where nobody asks for that. Returns what is odd, and
    /// how many objects were approved on the way.
    pub(super) fn compare(
        &self,
        offer: &Offer,
        mut record: Option<&mut Record>,
    ) -> (Oddities, usize) {
        let (mut odd, mut trusted) = (Oddities::new(), 0);
        for kind in ListKind::ALL {
            self.find_clashes(kind, offer, record.as_deref(), &mut odd);
            let Some(record) = &mut record else {
                continue;
            };
            for (item, current) in offer.items(kind) {
                let key = (kind, item.key.clone());
                if odd.contains_key(&key) {
                    continue;
                }
                let pin = record.pin(&key, self.era);
                let is_renewed = pin.is_some_and(|pin| pin.sha256.is_none());
                if is_renewed || (self.trusting && !record.knows(&key, self.era)) {
                    record.approve(key, self.era, current, item.raw.clone(), self.now);
                    trusted += 1;
                } else if !record.approves(&key, current) {
                    let oddity = match pin.map(|pin| pin.sha256) {
                        Some(pinned) => Oddity::Drifted { pinned, current },
                        None => Oddity::New { current },
                    };
                    odd.insert(key, oddity);
                }
            }
            self.find_missing(kind, offer, record, &mut odd);
        }
        (odd, trusted)
    }

    /// Refuses tools and prompts that look like another one. URIs are not looked at: nobody picks them by their looks.
    fn find_clashes(
        &self,
        kind: ListKind,
        offer: &Offer,
        record: Option<&Record>,
        odd: &mut Oddities,
    ) {
        if !matches!(kind, ListKind::Tools | ListKind::Prompts) {
            return;
        }
        let items = &offer.catalog.list(kind).items;
        let approved = |name: &str| {
            let key = (kind, name.to_owned());
            record.is_some_and(|record| record.pin(&key, self.era).is_some())
        };
        let before = self
            .before
            .map_or(&[][..], |before| &before.list(kind).items);
        for (place, with) in clashes(items, approved, before) {
            if let Some((item, current)) = offer.items(kind).nth(place) {
                odd.insert((kind, item.key.clone()), Oddity::Clash { with, current });
            }
        }
    }

    fn find_missing(&self, kind: ListKind, offer: &Offer, record: &Record, odd: &mut Oddities) {
        let items = offer.catalog.list(kind).items.iter();
        let offered: HashSet<&str> = items.map(|item| item.key.as_str()).collect();
        for (key, pins) in record.pins.range((kind, String::new())..) {
            if key.0 != kind {
                break;
            }
            let pin = pins.iter().find(|pin| pin.eras.contains(self.era));
            if let Some(pin) = pin.filter(|_| !offered.contains(key.1.as_str())) {
                let pinned = pin.sha256;
                odd.insert(key.clone(), Oddity::Missing { pinned });
            }
        }
    }
}

/// The catalogue that clients see: the offer itself, if nothing about it matters.
pub(super) fn publish(
    offer: &Offer,
    odd: &Oddities,
    policy: PinPolicy,
    record: Option<&Record>,
    era: Era,
) -> Arc<Catalog> {
    let matters = |oddity: &Oddity| match oddity {
        Oddity::Clash { .. } => true,
        _ => !matches!(policy, PinPolicy::Warn | PinPolicy::Off),
    };
    if !odd.values().any(matters) {
        return offer.catalog.clone();
    }
    let mut catalog = Catalog::clone(&offer.catalog);
    // What is pinned and shown instead, by object; none: what is offered is left out.
    let mut instead: HashMap<&Key, Option<&bytes::Bytes>> = HashMap::new();
    for (key, oddity) in odd.iter().filter(|(_, oddity)| matters(oddity)) {
        let is_shown = policy == PinPolicy::ServePinned && matches!(oddity, Oddity::Drifted { .. });
        let pin = record
            .filter(|_| is_shown)
            .and_then(|record| record.pin(key, era));
        let object = pin.and_then(|pin| pin.object.as_ref());
        if object.is_none() {
            catalog.withheld.put(key.0, key.1.clone(), oddity.reason());
        }
        instead.insert(key, object);
    }
    for kind in ListKind::ALL {
        let items = std::mem::take(&mut catalog.list_mut(kind).items);
        let mut kept = Vec::with_capacity(items.len());
        for mut item in items {
            let key = (kind, item.key.clone());
            match instead.get(&key) {
                None => kept.push(item),
                Some(None) => {}
                Some(Some(object)) => {
                    item.raw = (*object).clone();
                    if kind == ListKind::Tools {
                        catalog.read_headers(&item);
                    }
                    kept.push(item);
                }
            }
        }
        catalog.list_mut(kind).items = kept;
    }
    Arc::new(catalog)
}

// === impl Catalog ===

impl Catalog {
    /// Notes which arguments of a tool travel as headers, as this object of it says.
    fn read_headers(&mut self, tool: &Item) {
        let text = std::str::from_utf8(&tool.raw).unwrap_or_default();
        let headers =
            member(text, "inputSchema").and_then(|schema| header_annotations(schema).ok());
        self.param_headers.remove(&tool.key);
        if let Some(headers) = headers.filter(|headers| !headers.is_empty()) {
            self.param_headers.insert(tool.key.clone(), headers);
        }
    }
}

// === impl Oddity ===

impl Oddity {
    pub(super) fn change(&self) -> PinChange {
        match self {
            Self::Drifted { .. } => PinChange::Drifted,
            Self::New { .. } => PinChange::New,
            Self::Missing { .. } => PinChange::Missing,
            Self::Clash { with, .. } => PinChange::Clash { with: with.clone() },
        }
    }

    pub(super) fn pinned(&self) -> Option<Digest> {
        match self {
            Self::Drifted { pinned, .. } | Self::Missing { pinned } => *pinned,
            Self::New { .. } | Self::Clash { .. } => None,
        }
    }

    pub(super) fn current(&self) -> Option<Digest> {
        match self {
            Self::Drifted { current, .. } | Self::New { current } | Self::Clash { current, .. } => {
                Some(*current)
            }
            Self::Missing { .. } => None,
        }
    }

    fn reason(&self) -> WithheldFor {
        match self {
            Self::Clash { with, .. } => WithheldFor::Clash { with: with.clone() },
            _ => WithheldFor::PinMismatch {
                pinned: self.pinned(),
                current: self.current(),
            },
        }
    }
}
