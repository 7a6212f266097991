//! The calls that one start of the process owes an answer to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SessionKey;
use super::call::{CallSlot, Caller};

/// Calls that were given up and that the process has not answered, as far as they are remembered one by one. A server
/// that honours a cancellation need not answer, so they may stay for as long as its process lives.
const MAX_GHOSTS: usize = 1024;

/// Calls by number. Closed for good when the process ends.
#[derive(Debug)]
pub(super) struct Pending {
    open: Mutex<Option<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    calls: HashMap<u64, Arc<CallSlot>>,
    /// Whose the calls were that nobody waits for any more, though the process may be working on them.
    ghosts: HashMap<u64, Caller>,
    /// There were too many ghosts: from now on nobody knows whose work the process does.
    haunted: bool,
}

// === impl Pending ===

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            open: Mutex::new(Some(Open::default())),
        }
    }

    /// Adds a call; false if the process has ended.
    #[must_use]
    pub(super) fn insert(&self, number: u64, slot: Arc<CallSlot>) -> bool {
        match &mut *self.open() {
            Some(open) => {
                open.calls.insert(number, slot);
                true
            }
            None => false,
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<CallSlot>> {
        self.open().as_ref()?.calls.get(&number).cloned()
    }

    /// Takes the call that the process has done; nothing if nobody waits for it.
    pub(super) fn remove(&self, number: u64) -> Option<Arc<CallSlot>> {
        let mut open = self.open();
        let open = open.as_mut()?;
        open.ghosts.remove(&number);
        open.calls.remove(&number)
    }

    /// The number of a call that waits.
    pub(super) fn number_of(&self, call: &Arc<CallSlot>) -> Option<u64> {
        let open = self.open();
        let mut calls = open.as_ref()?.calls.iter();
        calls
            .find(|(_, slot)| Arc::ptr_eq(slot, call))
            .map(|(number, _)| *number)
    }

    /// Gives a call up. True if the process may be working on it: then it still counts for whose work that is.
    pub(super) fn abandon(&self, number: u64) -> bool {
        let mut open = self.open();
        let Some(open) = &mut *open else {
            return false;
        };
        let Some(slot) = open.calls.remove(&number) else {
            return false;
        };
        let written = slot.abandon();
        if written && slot.caller != Caller::Gateway {
            open.remember(number, slot.caller);
        }
        written
    }

    /// Ends every call, and every later one.
    pub(super) fn close(&self) {
        let open = self.open().take();
        for slot in open.into_iter().flat_map(|open| open.calls.into_values()) {
            slot.die();
        }
    }

    /// The session whose work is all that the process can be doing, if there is one.
    pub(super) fn sole_session(&self) -> Option<SessionKey> {
        let open = self.open();
        let open = open.as_ref().filter(|open| !open.haunted)?;
        let calls = open.calls.values().map(|slot| slot.caller);
        let mut callers = calls
            .chain(open.ghosts.values().copied())
            .filter(|caller| *caller != Caller::Gateway);
        let Caller::Session(first) = callers.next()? else {
            return None;
        };
        callers
            .all(|caller| caller == Caller::Session(first))
            .then_some(first)
    }

    /// The call without a session that is all that the process can be working on, if there is one.
    pub(super) fn sole_sessionless(&self) -> Option<Arc<CallSlot>> {
        let open = self.open();
        let open = open.as_ref().filter(|open| !open.haunted)?;
        if !open.ghosts.is_empty() {
            return None;
        }
        let mut calls = open
            .calls
            .values()
            .filter(|slot| slot.caller != Caller::Gateway);
        let first = calls.next()?;
        let alone = calls.next().is_none() && first.caller == Caller::Sessionless;
        alone.then(|| Arc::clone(first))
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Open ===

impl Open {
    fn remember(&mut self, number: u64, caller: Caller) {
        if self.ghosts.len() < MAX_GHOSTS && !self.haunted {
            self.ghosts.insert(number, caller);
            return;
        }
        self.haunted = true;
        self.ghosts = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERS: Caller = Caller::Session(SessionKey(7));
    const HIS: Caller = Caller::Session(SessionKey(8));

    fn call(pending: &Pending, number: u64, caller: Caller) -> Arc<CallSlot> {
        let slot = Arc::new(CallSlot::new(caller));
        assert!(pending.insert(number, Arc::clone(&slot)));
        slot
    }

    /// A call that the process may have seen.
    fn written(pending: &Pending, number: u64, caller: Caller) {
        assert!(call(pending, number, caller).begin_writing());
    }

    #[test]
    fn names_a_session_only_if_all_calls_are_its() {
        let pending = Pending::new();
        assert_eq!(pending.sole_session(), None);
        call(&pending, 1, HERS);
        call(&pending, 2, HERS);
        call(&pending, 3, Caller::Gateway);
        assert_eq!(pending.sole_session(), Some(SessionKey(7)));
        call(&pending, 4, Caller::Sessionless);
        assert_eq!(pending.sole_session(), None);
        pending.remove(4);
        call(&pending, 5, HIS);
        assert_eq!(pending.sole_session(), None);
        pending.remove(5);
        assert_eq!(pending.sole_session(), Some(SessionKey(7)));
    }

    #[test]
    fn a_call_that_was_given_up_counts_until_it_is_answered() {
        let pending = Pending::new();
        written(&pending, 1, HERS);
        assert!(pending.abandon(1));
        assert!(pending.get(1).is_none());
        assert_eq!(pending.sole_session(), Some(SessionKey(7)));
        written(&pending, 2, HIS);
        assert_eq!(pending.sole_session(), None);
        assert!(pending.remove(1).is_none(), "nobody gets the late answer");
        assert_eq!(pending.sole_session(), Some(SessionKey(8)));
        // What was never written is nobody's work.
        call(&pending, 3, HERS);
        assert!(!pending.abandon(3));
        assert_eq!(pending.sole_session(), Some(SessionKey(8)));
    }

    #[test]
    fn nobody_is_named_after_too_many_were_given_up() {
        let pending = Pending::new();
        let count = MAX_GHOSTS as u64;
        for number in 0..count {
            written(&pending, number, HERS);
            assert!(pending.abandon(number));
        }
        assert_eq!(pending.sole_session(), Some(SessionKey(7)));
        written(&pending, count, HERS);
        assert!(pending.abandon(count));
        for number in 0..=count {
            pending.remove(number);
        }
        written(&pending, count + 1, HERS);
        assert_eq!(pending.sole_session(), None);
        pending.remove(count + 1);
        written(&pending, count + 2, Caller::Sessionless);
        assert!(pending.sole_sessionless().is_none());
    }

    #[test]
    fn finds_the_only_call_without_a_session() {
        let pending = Pending::new();
        let is_alone = || pending.sole_sessionless().is_some();
        written(&pending, 1, Caller::Gateway);
        assert!(!is_alone());
        written(&pending, 2, Caller::Sessionless);
        assert!(is_alone());
        written(&pending, 3, Caller::Sessionless);
        assert!(!is_alone());
        assert!(pending.abandon(3));
        assert!(!is_alone());
        pending.remove(3);
        assert!(pending.abandon(1));
        assert!(is_alone(), "an ended stream does no work");
        written(&pending, 4, HERS);
        assert!(!is_alone());
        pending.remove(2);
        assert!(!is_alone());
    }

    #[test]
    fn takes_no_calls_after_the_end() {
        let pending = Pending::new();
        let slot = call(&pending, 1, Caller::Sessionless);
        pending.close();
        assert!(pending.get(1).is_none());
        assert!(!pending.abandon(1));
        assert!(!pending.insert(2, slot));
    }
}
