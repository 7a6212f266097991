//! The state of all pins, as operators see it.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_plugin_protocol::mcp::Era;

use super::book::{Book, Place};
use super::diff::{Difference, differences};
use super::digest::Digest;
use super::judge::Oddity;
use super::record::Key;
use crate::upstream::view::ServerName;

/// All servers and their objects, what is odd first.
#[derive(Clone, Debug, Serialize)]
pub struct PinsPage {
    /// Where the pins are kept; none: only in memory.
    pub file: Option<String>,
    /// Why the file is not up to date; none: it is.
    pub trouble: Option<String>,
    /// The servers.
    pub servers: Vec<ServerPins>,
    /// Their objects.
    pub objects: Vec<ObjectPin>,
    /// Objects that are not shown because there are too many.
    pub left_off: usize,
}

/// One server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerPins {
    /// Its name.
    pub server: ServerName,
    /// What happens to what is odd.
    pub policy: &'static str,
    /// When it was seen for the first time, RFC 3339.
    pub first_seen: Option<String>,
    /// The hash of everything that is approved.
    pub pinned: Option<Digest>,
    /// The hash of everything that is offered; none: it was not seen since the gateway was started.
    pub current: Option<Digest>,
    /// How many objects are in which state.
    pub states: BTreeMap<&'static str, usize>,
}

/// One object of a server.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectPin {
    /// The server.
    pub server: ServerName,
    /// `tool`, `prompt`, `resource` or `template`.
    pub kind: &'static str,
    /// Its name, URI or URI template.
    pub name: String,
    /// `pinned`, `drifted`, `new`, `missing`, or `clash` with the name of another one.
    pub state: &'static str,
    /// The era in which that is so, where the two differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// The hash of what is approved.
    pub pinned: Option<Digest>,
    /// The hash of what is offered.
    pub current: Option<Digest>,
    /// When the approved one was seen for the first time, RFC 3339.
    pub first_seen: Option<String>,
    /// Whether clients are kept from what is offered.
    pub withheld: bool,
    /// The name that a clash is with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clashes_with: Option<String>,
    /// What is different.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Difference>,
}

/// The states that are counted.
pub const PIN_STATES: [&str; 5] = ["pinned", "drifted", "new", "missing", "clash"];

/// The most objects that are shown.
const MAX_OBJECTS: usize = 10_000;
/// The most objects whose changes are shown.
const MAX_CHANGED: usize = 100;

// === impl Book ===

impl Book {
    /// How many objects of each server are in which state.
    pub(super) fn counts(&self) -> BTreeMap<ServerName, BTreeMap<&'static str, usize>> {
        let mut counts = BTreeMap::new();
        for server in self.servers() {
            let mut states: BTreeMap<_, _> = PIN_STATES.iter().map(|state| (*state, 0)).collect();
            let odd = self.odd(server);
            let record = self.records.get(server);
            let is_odd = |key: &&Key| odd.contains_key(*key);
            let pins = || record.into_iter().flat_map(|record| record.pins.keys());
            states.insert("pinned", pins().count() - pins().filter(is_odd).count());
            for (oddity, _) in odd.values() {
                *states.entry(oddity.change().as_str()).or_default() += 1;
            }
            counts.insert(server.clone(), states);
        }
        counts
    }

    pub(super) fn page(&self, file: Option<String>, trouble: Option<String>) -> PinsPage {
        let mut counts = self.counts();
        let servers: Vec<ServerPins> = self
            .servers()
            .map(|server| {
                let (pinned, current) = self.catalogues(server);
                ServerPins {
                    server: server.clone(),
                    policy: self.policies.of(server).as_str(),
                    first_seen: self
                        .records
                        .get(server)
                        .map(|record| record.first_seen.clone()),
                    pinned,
                    current,
                    states: counts.remove(server).unwrap_or_default(),
                }
            })
            .collect();
        let total: usize = servers
            .iter()
            .flat_map(|server| server.states.values())
            .sum();
        let mut objects = Vec::new();
        for server in self.servers() {
            self.show_odd(server, &mut objects);
        }
        for server in self.servers() {
            self.show_pinned(server, &mut objects);
        }
        objects.truncate(MAX_OBJECTS);
        PinsPage {
            file,
            trouble,
            servers,
            left_off: total.saturating_sub(objects.len()),
            objects,
        }
    }

    /// Every server that was seen or is pinned.
    fn servers(&self) -> impl Iterator<Item = &ServerName> {
        let mut servers: Vec<&ServerName> = self.faces.keys().map(|place| &place.server).collect();
        servers.extend(self.records.keys());
        servers.sort_unstable();
        servers.dedup();
        servers.into_iter()
    }

    /// What is odd about a server, and in which era; the first era's word counts.
    fn odd<'a>(&'a self, server: &ServerName) -> BTreeMap<&'a Key, (&'a Oddity, &'a Place)> {
        let mut odd = BTreeMap::new();
        let faces = self.faces.iter();
        for (place, face) in faces.filter(|(place, _)| place.server == *server) {
            for (key, oddity) in &face.odd {
                odd.entry(key).or_insert((oddity, place));
            }
        }
        odd
    }

    fn show_odd(&self, server: &ServerName, objects: &mut Vec<ObjectPin>) {
        let record = self.records.get(server);
        for (key, (oddity, place)) in self.odd(server) {
            if objects.len() >= MAX_OBJECTS {
                return;
            }
            let (face, era) = (self.faces.get(place), place.era);
            let pin = record.and_then(|record| record.pin(key, era));
            let with = match oddity {
                Oddity::Clash { with, .. } => Some(with.clone()),
                _ => None,
            };
            let mut faces = self.seen(server);
            let is_everywhere = faces.all(|(_, face)| face.odd.get(key) == Some(oddity));
            let pinned = pin.and_then(|pin| pin.object.as_deref());
            let items = face.map(|face| &face.offer.catalog.list(key.0).items);
            let mut items = items.into_iter().flatten();
            let is_compared = objects.len() < MAX_CHANGED;
            let current = items.find(|item| is_compared && item.key == key.1);
            let changes = match (pinned, current) {
                (Some(pinned), Some(current)) => differences(
                    std::str::from_utf8(pinned).unwrap_or_default(),
                    std::str::from_utf8(&current.raw).unwrap_or_default(),
                ),
                _ => Vec::new(),
            };
            let withheld = face.and_then(|face| face.withheld(key));
            objects.push(ObjectPin {
                server: server.clone(),
                kind: key.0.singular(),
                name: key.1.clone(),
                state: oddity.change().as_str(),
                era: (!is_everywhere).then_some(match era {
                    Era::Modern => "modern",
                    Era::Legacy => "legacy",
                }),
                pinned: oddity.pinned(),
                current: oddity.current(),
                first_seen: pin.map(|pin| pin.first_seen.clone()),
                withheld: withheld.is_some(),
                clashes_with: with,
                changes,
            });
        }
    }

    fn show_pinned(&self, server: &ServerName, objects: &mut Vec<ObjectPin>) {
        let odd = self.odd(server);
        let was_seen = self.seen(server).next().is_some();
        let pins = self
            .records
            .get(server)
            .into_iter()
            .flat_map(|record| &record.pins);
        for (key, pins) in pins.filter(|(key, _)| !odd.contains_key(key)) {
            let Some(pin) = pins.first().filter(|_| objects.len() < MAX_OBJECTS) else {
                return;
            };
            objects.push(ObjectPin {
                server: server.clone(),
                kind: key.0.singular(),
                name: key.1.clone(),
                state: "pinned",
                era: None,
                pinned: pin.sha256,
                current: pin.sha256.filter(|_| was_seen),
                first_seen: Some(pin.first_seen.clone()),
                withheld: false,
                clashes_with: None,
                changes: Vec::new(),
            });
        }
    }
}
