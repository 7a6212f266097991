//! What was approved, server by server, and the JSON text that it is kept in.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use weir_plugin_protocol::mcp::Era;

use super::digest::Digest;
use crate::upstream::catalog::ListKind;
use crate::upstream::view::ServerName;

/// Everything that was approved.
pub type Records = BTreeMap<ServerName, Record>;

/// What names an object at its server: the list that it is in, and its name, URI or URI template.
pub type Key = (ListKind, String);

/// What was approved of one server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// When the server was seen for the first time, RFC 3339.
    pub first_seen: String,
    /// The objects. One may look different in each era.
    pub pins: BTreeMap<Key, Vec<Pin>>,
}

/// An approved object.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// The eras in which it was offered when it was approved.
    pub eras: Eras,
    /// Its hash; none: what is offered next is approved.
    pub sha256: Option<Digest>,
    /// When it was approved, RFC 3339.
    pub first_seen: String,
    /// The object as the server wrote it; a file that was filled by hand may have only the hash.
    pub object: Option<Bytes>,
}

/// A set of eras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eras {
    modern: bool,
    legacy: bool,
}

/// A text that is no file of pins.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoPins {
    /// It is not the JSON that is expected.
    #[error("it is not a file of pins: {0}")]
    Json(String),
    /// A hash and its object do not belong together: somebody changed one of them.
    #[error("server {server}, {kind} {name:?}: the object is not the one that was hashed")]
    Mismatch {
        /// The server.
        server: ServerName,
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    servers: BTreeMap<String, ServerText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerText {
    #[serde(default)]
    first_seen: String,
    pins: Vec<PinText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinText {
    kind: KindText,
    name: String,
    #[serde(default = "both_eras")]
    eras: Vec<EraText>,
    sha256: Option<Digest>,
    #[serde(default)]
    first_seen: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindText {
    Tool,
    Prompt,
    Resource,
    Template,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EraText {
    Modern,
    Legacy,
}

/// Reads the text of a file. Every object is hashed and compared with its hash.
///
/// # Errors
/// See [`NoPins`].
pub fn read(text: &[u8]) -> Result<Records, NoPins> {
    let json = |error: String| NoPins::Json(error);
    let file: FileText = serde_json::from_slice(text).map_err(|error| json(error.to_string()))?;
    if file.version != VERSION {
        return Err(json(format!("version {} is not known here", file.version)));
    }
    let mut records = Records::new();
    for (server, text) in file.servers {
        let server = ServerName::new(&server).map_err(json)?;
        let mut record = Record {
            first_seen: text.first_seen,
            pins: BTreeMap::new(),
        };
        for pin in text.pins {
            let kind = ListKind::from(pin.kind);
            let object = pin
                .object
                .map(|object| Bytes::from(object.get().to_owned()));
            let hashed = object.as_deref().map(Digest::of);
            if pin.sha256.is_some() && hashed.is_some_and(|hashed| Some(hashed) != pin.sha256) {
                return Err(NoPins::Mismatch {
                    server,
                    kind: kind.singular(),
                    name: pin.name,
                });
            }
            let pins = record.pins.entry((kind, pin.name)).or_default();
            pins.push(Pin {
                eras: pin.eras.into_iter().map(Era::from).collect(),
                sha256: pin.sha256,
                first_seen: pin.first_seen,
                object,
            });
        }
        records.insert(server, record);
    }
    Ok(records)
}

/// Writes the text of a file.
pub fn write(records: &Records) -> Vec<u8> {
    let servers = records.iter().map(|(server, record)| {
        let pins = record.pins.iter().flat_map(|((kind, name), pins)| {
            pins.iter().map(move |pin| PinText {
                kind: (*kind).into(),
                name: name.clone(),
                eras: pin.eras.iter().map(EraText::from).collect(),
                sha256: pin.sha256,
                first_seen: pin.first_seen.clone(),
                object: pin.object.as_deref().and_then(raw_value),
            })
        });
        let text = ServerText {
            first_seen: record.first_seen.clone(),
            pins: pins.collect(),
        };
        (server.to_string(), text)
    });
    let file = FileText {
        version: VERSION,
        servers: servers.collect(),
    };
    let mut text = serde_json::to_vec_pretty(&file).unwrap_or_default();
    text.push(b'\n');
    text
}

fn raw_value(object: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(object).ok()
}

fn both_eras() -> Vec<EraText> {
    vec![EraText::Modern, EraText::Legacy]
}

// === impl Record ===

impl Record {
    /// A server of which nothing is approved yet.
    pub(super) fn seen_at(now: &str) -> Self {
        Self {
            first_seen: now.to_owned(),
            pins: BTreeMap::new(),
        }
    }

    /// The pin that an object was approved by: any era's, for what is the same in one is no other thing in the other.
    pub(super) fn approves(&self, key: &Key, digest: Digest) -> bool {
        let mut pins = self.pins.get(key).into_iter().flatten();
        pins.any(|pin| pin.sha256 == Some(digest))
    }

    /// The pin of an object in one era, else in the other.
    pub(super) fn pin(&self, key: &Key, era: Era) -> Option<&Pin> {
        let pins = self.pins.get(key)?;
        let own = pins.iter().find(|pin| pin.eras.contains(era));
        own.or_else(|| pins.first())
    }

    /// Returns true if the object was approved in this very era.
    pub(super) fn knows(&self, key: &Key, era: Era) -> bool {
        let mut pins = self.pins.get(key).into_iter().flatten();
        pins.any(|pin| pin.eras.contains(era))
    }

    /// Approves an object in one era. What was approved there before no longer is.
    pub(super) fn approve(&mut self, key: Key, era: Era, digest: Digest, object: Bytes, now: &str) {
        self.revoke(&key, era);
        let pins = self.pins.entry(key).or_default();
        match pins.iter_mut().find(|pin| pin.sha256 == Some(digest)) {
            Some(pin) => {
                pin.eras.insert(era);
                pin.object.get_or_insert(object);
            }
            None => pins.push(Pin {
                eras: [era].into_iter().collect(),
                sha256: Some(digest),
                first_seen: now.to_owned(),
                object: Some(object),
            }),
        }
    }

    /// Forgets what was approved under this name in one era.
    pub(super) fn revoke(&mut self, key: &Key, era: Era) {
        let Some(pins) = self.pins.get_mut(key) else {
            return;
        };
        for pin in pins.iter_mut() {
            pin.eras.remove(era);
        }
        pins.retain(|pin| !pin.eras.is_empty());
        if pins.is_empty() {
            self.pins.remove(key);
        }
    }

    /// Has what is offered next under this name approved, whatever it is. False: nothing is pinned there.
    pub fn renew(&mut self, key: &Key) -> bool {
        let Some(pins) = self.pins.get_mut(key) else {
            return false;
        };
        for pin in pins {
            pin.sha256 = None;
            pin.object = None;
        }
        true
    }
}

// === impl Eras ===

impl Eras {
    pub(super) fn contains(self, era: Era) -> bool {
        match era {
            Era::Modern => self.modern,
            Era::Legacy => self.legacy,
        }
    }

    fn insert(&mut self, era: Era) {
        self.set(era, true);
    }

    fn remove(&mut self, era: Era) {
        self.set(era, false);
    }

    fn set(&mut self, era: Era, is_in: bool) {
        match era {
            Era::Modern => self.modern = is_in,
            Era::Legacy => self.legacy = is_in,
        }
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn iter(self) -> impl Iterator<Item = Era> {
        [Era::Modern, Era::Legacy]
            .into_iter()
            .filter(move |era| self.contains(*era))
    }
}

impl FromIterator<Era> for Eras {
    fn from_iter<I: IntoIterator<Item = Era>>(eras: I) -> Self {
        let mut set = Self::default();
        for era in eras {
            set.insert(era);
        }
        set
    }
}

// === impl KindText ===

impl From<KindText> for ListKind {
    fn from(kind: KindText) -> Self {
        match kind {
            KindText::Tool => Self::Tools,
            KindText::Prompt => Self::Prompts,
            KindText::Resource => Self::Resources,
            KindText::Template => Self::Templates,
        }
    }
}

impl From<ListKind> for KindText {
    fn from(kind: ListKind) -> Self {
        match kind {
            ListKind::Tools => Self::Tool,
            ListKind::Prompts => Self::Prompt,
            ListKind::Resources => Self::Resource,
            ListKind::Templates => Self::Template,
        }
    }
}

// === impl EraText ===

impl From<EraText> for Era {
    fn from(era: EraText) -> Self {
        match era {
            EraText::Modern => Self::Modern,
            EraText::Legacy => Self::Legacy,
        }
    }
}

impl From<Era> for EraText {
    fn from(era: Era) -> Self {
        match era {
            Era::Modern => Self::Modern,
            Era::Legacy => Self::Legacy,
        }
    }
}
