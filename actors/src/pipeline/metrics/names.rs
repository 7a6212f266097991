//! Names that come from servers, as labels: so many and no more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// What everything is called that has no place of its own.
pub(super) const OTHER: &str = "other";

/// The longest name that becomes a label, in bytes.
const MAX_LENGTH: usize = 128;

/// The names that are labels. The first ones stay; the rest is [`OTHER`].
#[derive(Debug)]
pub(super) struct Names {
    max: usize,
    known: Mutex<HashSet<Arc<str>>>,
    other: Arc<str>,
}

// === impl Names ===

impl Names {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            known: Mutex::default(),
            other: OTHER.into(),
        }
    }

    /// The label for a name.
    pub(super) fn label(&self, name: &str) -> Arc<str> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return name.clone();
        }
        if known.len() >= self.max || name.len() > MAX_LENGTH {
            return self.other.clone();
        }
        let name: Arc<str> = name.into();
        known.insert(name.clone());
        name
    }
}
