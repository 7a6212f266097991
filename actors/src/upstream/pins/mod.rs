//! What servers offer is what was approved.
//!
//! A server that changes the description of a tool after somebody agreed to use it (a rug pull) changes what a model does.
//! So every object of a catalogue is pinned when its server is seen for the first time, and compared whenever the
//! catalogue is read again. Requests notice nothing of it: what a policy decides stands in the published catalogue.
//!
//! Read in this order: [`config`] is what an operator wants, [`digest`] the hash of an object and [`record`] what was
//! approved; [`judge`] compares it with an offer, [`clash`] refuses names that look alike, [`withheld`] is what clients are
//! kept from. The [`book`] remembers all of it, [`event`]s are told of it, the [`file`] keeps it; [`page`] and [`diff`] show it.

pub mod config;

pub mod digest;
pub mod record;

pub mod clash;
mod judge;
mod withheld;

mod book;
mod diff;
mod event;
mod file;
mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use thiserror::Error;
use tracing::error;
use weir_plugin_protocol::mcp::Era;

use self::book::{Book, Place};
use self::judge::Offer;
use super::catalog::ListKind;
use super::desk::{Desk, lock};
use super::view::{Catalog, ServerName};
use crate::builtin::{Clock, rfc3339};

pub use book::NotAccepted;
pub use config::{PinPolicies, PinPolicy, PinsConfig};
pub use diff::{Difference, differences};
pub use digest::Digest;
pub use event::{PinChange, PinEvent, PinWatch};
pub use file::{PinFile, PinFileError};
pub use page::{ObjectPin, PIN_STATES, PinsPage, ServerPins};
pub use record::{Key, NoPins, Record, Records};
pub use withheld::{Withheld, WithheldFor};

/// What pins need from the house.
pub struct PinsSetup {
    /// What an operator wants.
    pub policies: PinPolicies,
    /// Where they are kept; none: in memory, until the process ends.
    pub file: Option<PinFile>,
    /// The wall clock.
    pub clock: Clock,
    /// Who is told.
    pub watch: Option<Arc<dyn PinWatch>>,
}

/// The pins of all servers. Cheap to clone; all clones are the same pins.
#[derive(Clone)]
pub struct Pins(Arc<Inner>);

struct Inner {
    book: Mutex<Book>,
    file: Option<PinFile>,
    /// One writer of the file at a time, and why the last one failed.
    saved: Mutex<Option<String>>,
    clock: Clock,
    watch: Option<Arc<dyn PinWatch>>,
}

/// Why something was not accepted.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// It cannot be.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// It is, but only until the gateway is restarted: the file could not be written.
    #[error("accepted, but not for good: {0}")]
    NotSaved(#[from] PinFileError),
}

// === impl Pins ===

impl Pins {
    /// Reads the file.
    ///
    /// # Errors
    /// It is there and cannot be used. Nothing may be served then: whoever changed it could have anything approved.
    pub fn open(setup: PinsSetup) -> Result<Self, PinFileError> {
        let records = match &setup.file {
            Some(file) if !setup.policies.is_off() => file.read()?,
            _ => Records::new(),
        };
        let book = Book::new(setup.policies, records);
        Ok(Self(Arc::new(Inner {
            book: Mutex::new(book),
            file: setup.file,
            saved: Mutex::new(None),
            clock: setup.clock,
            watch: setup.watch,
        })))
    }

    /// Pins nothing. Names that look alike are refused all the same.
    pub fn off() -> Self {
        let book = Book::new(PinPolicies::all(PinPolicy::Off), Records::new());
        Self(Arc::new(Inner {
            book: Mutex::new(book),
            file: None,
            saved: Mutex::new(None),
            clock: Clock::new(|| 0),
            watch: None,
        }))
    }

    /// Takes in what an instance of a server offers. All hashing is done here.
    pub(super) fn put(&self, desk: &Desk, era: Era, catalog: Arc<Catalog>) {
        let place = place(desk, era);
        let before = lock(&self.0.book)
            .faces
            .get(&place)
            .map(|face| face.offer.clone());
        let offer = Offer::new(catalog, before.as_deref());
        lock(&self.0.book).put(place, offer);
    }

    /// What an instance of a server offers, as it was read last.
    pub(super) fn offered(&self, desk: &Desk, era: Era) -> Option<Arc<Catalog>> {
        let book = lock(&self.0.book);
        let face = book.faces.get(&place(desk, era));
        face.map(|face| face.offer.catalog.clone())
    }

    /// What clients get of what an instance of a server offers; none: it offers nothing yet.
    pub(super) fn judge(&self, desk: &Desk, era: Era) -> Option<Arc<Catalog>> {
        lock(&self.0.book).judge(&place(desk, era), &self.now())
    }

    /// An instance of a server does not speak an era any more.
    pub(super) fn withdraw(&self, desk: &Desk, era: Era) {
        lock(&self.0.book).faces.remove(&place(desk, era));
    }

    /// An instance of a server is gone.
    pub(super) fn forget(&self, desk: &Desk) {
        lock(&self.0.book)
            .faces
            .retain(|place, _| place.child != desk.child);
    }

    /// It is decided which eras a server speaks: from now on only what was approved is.
    pub(super) fn settled(&self, server: &ServerName) {
        lock(&self.0.book).settled(server);
    }

    /// Tells what happened, and has it written down.
    pub(super) fn flush(&self) {
        self.tell();
        if lock(&self.0.book).unsaved.is_empty() {
            return;
        }
        let pins = self.clone();
        let save = move || {
            // It is logged and shown; the next change tries again.
            let _ = pins.save();
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(save)),
            Err(_) => save(),
        }
    }

    /// Writes what is not on the disk yet. Blocks until it is.
    ///
    /// # Errors
    /// The file cannot be written. What was approved counts until the process ends.
    pub fn save(&self) -> Result<(), PinFileError> {
        let mut trouble = lock(&self.0.saved);
        let changed: Vec<(ServerName, Option<Record>)> = {
            let mut book = lock(&self.0.book);
            let unsaved = std::mem::take(&mut book.unsaved);
            let record = |server: ServerName| (server.clone(), book.records.get(&server).cloned());
            unsaved.into_iter().map(record).collect()
        };
        let Some(file) = self.0.file.as_ref().filter(|_| !changed.is_empty()) else {
            return Ok(());
        };
        let servers: Vec<ServerName> = changed.iter().map(|(server, _)| server.clone()).collect();
        let result = file.replace(changed);
        *trouble = result.as_ref().err().map(ToString::to_string);
        if let Err(error) = &result {
            error!(%error, "pins cannot be written, they are kept in memory only");
            lock(&self.0.book).unsaved.extend(servers);
        }
        result
    }

    /// Approves what a server offers now, one object or all. Whoever calls this has the catalogues published anew.
    pub(super) fn accept(
        &self,
        server: &ServerName,
        only: Option<&Key>,
    ) -> Result<usize, NotAccepted> {
        lock(&self.0.book).accept(server, only, &self.now())
    }

    /// Every server that was seen.
    pub fn seen(&self) -> Vec<ServerName> {
        let book = lock(&self.0.book);
        let mut servers: Vec<ServerName> = book
            .faces
            .keys()
            .map(|place| place.server.clone())
            .collect();
        servers.dedup();
        servers
    }

    /// Puts other policies in force. Whoever calls this has the catalogues published anew.
    pub(super) fn set_policies(&self, policies: PinPolicies) {
        lock(&self.0.book).policies = policies;
    }

    /// The state of everything, for operators.
    pub fn page(&self) -> PinsPage {
        let file = self
            .0
            .file
            .as_ref()
            .map(|file| file.path().display().to_string());
        let trouble = lock(&self.0.saved).clone();
        lock(&self.0.book).page(file, trouble)
    }

    /// How many objects of each server are in which of [`PIN_STATES`].
    pub fn counts(&self) -> BTreeMap<ServerName, BTreeMap<&'static str, usize>> {
        lock(&self.0.book).counts()
    }

    pub(super) fn tell(&self) {
        let events = std::mem::take(&mut lock(&self.0.book).events);
        if let Some(watch) = &self.0.watch {
            events.iter().for_each(|event| watch.pin_event(event));
        }
    }

    fn now(&self) -> String {
        rfc3339::format(self.0.clock.now(), 0)
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pins").finish_non_exhaustive()
    }
}

fn place(desk: &Desk, era: Era) -> Place {
    Place {
        server: desk.name.clone(),
        child: desk.child.clone(),
        era,
    }
}

/// Reads what an operator calls a kind of objects: `tool`, `prompt`, `resource`, `template`.
pub fn kind_of(word: &str) -> Option<ListKind> {
    ListKind::ALL
        .into_iter()
        .find(|kind| kind.singular() == word)
}

#[cfg(test)]
mod tests;
