//! What a server offers and clients do not get.

use std::collections::HashMap;

use super::digest::Digest;
use crate::upstream::catalog::ListKind;

/// The objects of a catalogue that are kept from clients, and why. Most catalogues have none.
#[derive(Clone, Debug, Default)]
pub struct Withheld {
    by_kind: [HashMap<String, WithheldFor>; 4],
}

/// Why an object is kept from clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WithheldFor {
    /// It is not what was approved.
    PinMismatch {
        /// The hash of what was approved; none: nothing was.
        pinned: Option<Digest>,
        /// The hash of what is offered; none: nothing is.
        current: Option<Digest>,
    },
    /// It looks like another one of the same server.
    Clash {
        /// The name of that.
        with: String,
    },
}

// === impl Withheld ===

impl Withheld {
    /// Why an object is kept from clients, by its own name or URI; `None`: it is not.
    pub fn get(&self, kind: ListKind, key: &str) -> Option<&WithheldFor> {
        let of_kind = self.by_kind.get(kind.position())?;
        if of_kind.is_empty() {
            return None;
        }
        of_kind.get(key)
    }

    /// Returns true if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.by_kind.iter().all(HashMap::is_empty)
    }

    pub(super) fn put(&mut self, kind: ListKind, key: String, reason: WithheldFor) {
        if let Some(of_kind) = self.by_kind.get_mut(kind.position()) {
            of_kind.insert(key, reason);
        }
    }
}
