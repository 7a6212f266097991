//! Ids of audit events: UUIDs of version 7, many from one question to the system's source of randomness.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use uuid::{Builder, Uuid};

/// Random bytes in an id of version 7.
const RANDOM_BYTES: usize = 10;
/// Ids made from one portion of randomness.
const PORTION: usize = 64;

/// Random bytes of one thread. Every byte is used once.
struct Portion {
    bytes: [u8; RANDOM_BYTES * PORTION],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Portion> = const {
        RefCell::new(Portion { bytes: [0; RANDOM_BYTES * PORTION], used: RANDOM_BYTES * PORTION })
    };
}

/// Makes the id of an event that happened at `wall`.
pub(super) fn event_id(wall: SystemTime) -> Uuid {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let random = RANDOM.with_borrow_mut(Portion::next);
    match random {
        Some(random) => Builder::from_unix_timestamp_millis(millis, &random).into_uuid(),
        None => Uuid::now_v7(),
    }
}

// === impl Portion ===

impl Portion {
    /// Unused bytes; nothing if the source gives none.
    fn next(&mut self) -> Option<[u8; RANDOM_BYTES]> {
        if self.used >= self.bytes.len() {
            rand::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let next = self.bytes.get(self.used..)?.first_chunk().copied();
        self.used += RANDOM_BYTES;
        next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_of_version_7_and_differ_within_a_moment() {
        let wall = UNIX_EPOCH + Duration::from_millis(1_785_223_800_123);
        let ids: HashSet<Uuid> = (0..PORTION * 5).map(|_| event_id(wall)).collect();
        assert_eq!(ids.len(), PORTION * 5);
        for id in ids {
            assert_eq!(id.get_version_num(), 7);
            let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
            assert_eq!((seconds, nanos / 1_000_000), (1_785_223_800, 123));
        }
    }

    #[test]
    fn later_events_have_greater_ids() {
        let wall = UNIX_EPOCH + Duration::from_millis(1_785_223_800_123);
        assert!(event_id(wall) < event_id(wall + Duration::from_millis(1)));
    }
}
