//! What is approved, what is offered, and what was told of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use thiserror::Error;
use weir_plugin_protocol::mcp::Era;

use super::config::{PinPolicies, PinPolicy};
use super::digest::Digest;
use super::event::{PinChange, PinEvent};
use super::judge::{Judge, Oddities, Oddity, Offer, publish};
use super::record::{Key, Record, Records};
use super::withheld::WithheldFor;
use crate::upstream::view::{Catalog, ServerName, other};

/// Everything that is known of pins.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) policies: PinPolicies,
    pub(super) records: Records,
    /// What each instance of a server offers in each era, as it was read.
    pub(super) faces: BTreeMap<Place, FaceBook>,
    /// Servers that nobody knew before and whose eras are not both decided yet: what they offer is approved.
    trusting: HashSet<ServerName>,
    /// Servers whose record is not on the disk yet.
    pub(super) unsaved: HashSet<ServerName>,
    /// What was not told yet.
    pub(super) events: Vec<PinEvent>,
}

/// One instance of a server in one era.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) server: ServerName,
    /// The instance: while a server is replaced, there are two.
    pub(super) child: Arc<str>,
    pub(super) era: Era,
}

/// One instance of a server in one era.
#[derive(Debug)]
pub(super) struct FaceBook {
    pub(super) offer: Arc<Offer>,
    /// What clients got of the last offer that was judged.
    published: Option<Arc<Catalog>>,
    /// What was odd about it.
    pub(super) odd: Oddities,
}

/// Why nothing was accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotAccepted {
    /// The server is not configured, or was never reached.
    #[error("the server {0} was not seen since the gateway was started")]
    NotSeen(ServerName),
    /// There is no such object.
    #[error("the server {server} has no {kind} {name:?}, and none is pinned")]
    Unknown {
        /// The server.
        server: ServerName,
        /// What it should be.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object looks like another one. No approval makes the two distinct.
    #[error("{name:?} looks like {with:?} of the same server; rename one of them there")]
    Clash {
        /// The object.
        name: String,
        /// The other one.
        with: String,
    },
}

/// The most objects of one reading that are told of one by one.
const MAX_TOLD: usize = 32;

// === impl FaceBook ===

impl FaceBook {
    /// Why clients are kept from an object.
    pub(super) fn withheld(&self, key: &Key) -> Option<&WithheldFor> {
        self.published.as_ref()?.withheld.get(key.0, &key.1)
    }
}

// === impl Book ===

impl Book {
    pub(super) fn new(policies: PinPolicies, records: Records) -> Self {
        Self {
            policies,
            records,
            faces: BTreeMap::new(),
            trusting: HashSet::new(),
            unsaved: HashSet::new(),
            events: Vec::new(),
        }
    }

    /// Takes in what a server offers in an era.
    pub(super) fn put(&mut self, place: Place, offer: Offer) {
        let offer = Arc::new(offer);
        match self.faces.get_mut(&place) {
            Some(face) => face.offer = offer,
            None => {
                let face = FaceBook {
                    offer,
                    published: None,
                    odd: Oddities::new(),
                };
                self.faces.insert(place, face);
            }
        }
    }

    /// Says what clients get of what a server offers in an era.
    pub(super) fn judge(&mut self, place: &Place, now: &str) -> Option<Arc<Catalog>> {
        let (server, era) = (&place.server, place.era);
        let policy = self.policies.of(server);
        let is_on = policy != PinPolicy::Off;
        let face = self.faces.get(place)?;
        if is_on && !self.records.contains_key(server) {
            let record = Record::seen_at(now);
            self.records.insert(server.clone(), record);
            self.trusting.insert(server.clone());
            self.unsaved.insert(server.clone());
        }
        let judge = Judge {
            era,
            trusting: self.trusting.contains(server),
            before: face.published.as_deref(),
            now,
        };
        let record = self.records.get_mut(server).filter(|_| is_on);
        let (odd, trusted) = judge.compare(&face.offer, record);
        let record = self.records.get(server);
        let catalog = publish(&face.offer, &odd, policy, record, era);
        if trusted > 0 {
            self.unsaved.insert(server.clone());
            self.tell_of_all(server, era, PinChange::Trusted { objects: trusted });
        }
        self.tell(place, &odd);
        let face = self.faces.get_mut(place)?;
        face.odd = odd;
        face.published = Some(catalog.clone());
        Some(catalog)
    }

    /// Approves what is offered now: one object, or all of a server's. Returns how many there were.
    pub(super) fn accept(
        &mut self,
        server: &ServerName,
        only: Option<&Key>,
        now: &str,
    ) -> Result<usize, NotAccepted> {
        if self.seen(server).next().is_none() {
            return Err(NotAccepted::NotSeen(server.clone()));
        }
        if let Some(key) = only {
            self.acceptable(server, key)?;
        }
        let mut accepted = Vec::new();
        let faces = self.faces.iter_mut();
        for (place, face) in faces.filter(|(place, _)| place.server == *server) {
            let era = place.era;
            let record = self.records.entry(server.clone()).or_default();
            let mut kept = Oddities::new();
            for (key, oddity) in std::mem::take(&mut face.odd) {
                let is_meant = only.is_none_or(|only| *only == key);
                if !is_meant || matches!(oddity, Oddity::Clash { .. }) {
                    kept.insert(key, oddity);
                    continue;
                }
                match oddity.current() {
                    Some(current) => {
                        let items = &face.offer.catalog.list(key.0).items;
                        let Some(item) = items.iter().find(|item| item.key == key.1) else {
                            continue;
                        };
                        record.approve(key.clone(), era, current, item.raw.clone(), now);
                    }
                    None => record.revoke(&key, era),
                }
                if !accepted.iter().any(|(known, _)| *known == key) {
                    accepted.push((key, oddity));
                }
            }
            face.odd = kept;
        }
        if accepted.is_empty() {
            return Ok(0);
        }
        self.unsaved.insert(server.clone());
        let count = accepted.len();
        for (key, oddity) in accepted.into_iter().take(MAX_TOLD) {
            let event = self.event(server, None, Some(key), PinChange::Accepted);
            self.events.push(PinEvent {
                pinned: oddity.pinned(),
                current: oddity.current(),
                ..event
            });
        }
        if let Some(objects) = count.checked_sub(MAX_TOLD).filter(|more| *more > 0) {
            let event = self.event(server, None, None, PinChange::More { objects });
            self.events.push(event);
        }
        Ok(count)
    }

    /// Both eras of a server were seen: from now on only what was approved is.
    pub(super) fn settled(&mut self, server: &ServerName) {
        self.trusting.remove(server);
    }

    /// Every face of a server that was seen.
    pub(super) fn seen(&self, server: &ServerName) -> impl Iterator<Item = (&Place, &FaceBook)> {
        let faces = self.faces.iter();
        faces.filter(move |(place, _)| place.server == *server)
    }

    /// The hashes of everything that is approved of a server, and of everything that it offers in any era.
    pub(super) fn catalogues(&self, server: &ServerName) -> (Option<Digest>, Option<Digest>) {
        let pinned = self.records.get(server).map(|record| {
            let pins = record.pins.iter().flat_map(|((kind, name), pins)| {
                let hashes = pins.iter().filter_map(|pin| pin.sha256);
                hashes.map(move |hash| (*kind, name.as_str(), hash))
            });
            Digest::of_all(pins)
        });
        let objects = self.seen(server).flat_map(|(_, face)| face.offer.objects());
        let objects = objects.map(|(kind, item, hash)| (kind, item.key.as_str(), hash));
        let was_seen = self.seen(server).next().is_some();
        let current = was_seen.then(|| Digest::of_all(objects));
        (pinned, current)
    }

    /// Says why an object cannot be accepted.
    fn acceptable(&self, server: &ServerName, key: &Key) -> Result<(), NotAccepted> {
        let mut clash = None;
        for (_, face) in self.seen(server) {
            match face.odd.get(key) {
                Some(Oddity::Clash { with, .. }) => clash = Some(with.clone()),
                Some(_) => return Ok(()),
                None => {}
            }
        }
        let name = key.1.clone();
        let record = self.records.get(server);
        match clash {
            Some(with) => Err(NotAccepted::Clash { name, with }),
            None if record.is_some_and(|record| record.pins.contains_key(key)) => Ok(()),
            None => Err(NotAccepted::Unknown {
                server: server.clone(),
                kind: key.0.singular(),
                name,
            }),
        }
    }

    /// Tells what is odd now and was not before, and what is no longer.
    fn tell(&mut self, place: &Place, odd: &Oddities) {
        let (server, era) = (&place.server, place.era);
        let nothing = Oddities::new();
        let odd_at = |place| self.faces.get(place).map_or(&nothing, |face| &face.odd);
        let elsewhere = Place {
            era: other(era),
            ..place.clone()
        };
        let (before, elsewhere) = (odd_at(place), odd_at(&elsewhere));
        let mut told = Vec::new();
        for (key, oddity) in odd {
            if ![before, elsewhere]
                .iter()
                .any(|known| known.get(key) == Some(oddity))
            {
                told.push((key, oddity.change(), oddity.pinned(), oddity.current()));
            }
        }
        let record = self.records.get(server);
        for key in before.keys() {
            let is_good = !odd.contains_key(key) && !elsewhere.contains_key(key);
            let pin = record.and_then(|record| record.pin(key, era));
            if let Some(pin) = pin.filter(|_| is_good) {
                told.push((key, PinChange::Restored, pin.sha256, pin.sha256));
            }
        }
        let more = told.len().saturating_sub(MAX_TOLD);
        let told = told.into_iter().take(MAX_TOLD);
        let events: Vec<PinEvent> = told
            .map(|(key, what, pinned, current)| PinEvent {
                pinned,
                current,
                ..self.event(server, Some(era), Some(key.clone()), what)
            })
            .collect();
        self.events.extend(events);
        if more > 0 {
            self.tell_of_all(server, era, PinChange::More { objects: more });
        }
    }

    /// Tells of a server as a whole, with the hashes of its whole catalogue.
    fn tell_of_all(&mut self, server: &ServerName, era: Era, what: PinChange) {
        let (pinned, current) = self.catalogues(server);
        let event = self.event(server, Some(era), None, what);
        self.events.push(PinEvent {
            pinned,
            current,
            ..event
        });
    }

    fn event(
        &self,
        server: &ServerName,
        era: Option<Era>,
        object: Option<Key>,
        what: PinChange,
    ) -> PinEvent {
        PinEvent {
            what,
            server: server.clone(),
            era,
            object,
            pinned: None,
            current: None,
            policy: self.policies.of(server),
        }
    }
}
