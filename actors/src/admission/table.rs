//! A table that never grows beyond its bound: who was not seen for longest makes room.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of the table, each with a lock of its own: workers rarely meet.
const SHARDS: usize = 32;

/// Entries by key, at most so many. Room for a new one is made by the second-chance rule: a hand goes round and takes
/// the first entry that was not used since it last passed. An entry that somebody holds is never taken.
#[derive(Debug)]
pub(super) struct Table<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    per_shard: usize,
}

#[derive(Debug)]
struct Shard<T> {
    places: HashMap<u64, usize, BuildHasherDefault<AsIs>>,
    entries: Vec<Entry<T>>,
    hand: usize,
}

#[derive(Debug)]
struct Entry<T> {
    key: u64,
    value: Arc<T>,
    used: bool,
}

/// The keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

// === impl Table ===

impl<T> Table<T> {
    /// A table for at most `capacity` entries. It is empty at first and takes memory as entries come.
    pub(super) fn new(capacity: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                places: HashMap::default(),
                entries: Vec::new(),
                hand: 0,
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            per_shard: (capacity / SHARDS).max(1),
        }
    }

    /// The entry of a key, made if there is none. Nothing if there is no room: everybody else in that part of the table
    /// is in the middle of something.
    pub(super) fn get(&self, key: u64, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        // The low bits find the place within the part.
        let shard = self.shards.get((key >> 40) as usize % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.places.get(&key).copied();
        if let Some(entry) = known.and_then(|place| shard.entries.get_mut(place)) {
            entry.used = true;
            return Some(entry.value.clone());
        }
        let place = if shard.entries.len() < self.per_shard {
            shard.entries.len()
        } else {
            shard.make_room()?
        };
        let value = Arc::new(make());
        let entry = Entry {
            key,
            value: value.clone(),
            used: true,
        };
        match shard.entries.get_mut(place) {
            Some(old) => *old = entry,
            None => shard.entries.push(entry),
        }
        shard.places.insert(key, place);
        Some(value)
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        let length = |shard: &Mutex<Shard<T>>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.len()
        };
        self.shards.iter().map(length).sum()
    }
}

// === impl Shard ===

impl<T> Shard<T> {
    /// Forgets one entry and returns its place.
    fn make_room(&mut self) -> Option<usize> {
        // Twice round: the first time may only have taken second chances.
        for _ in 0..self.entries.len() * 2 {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = self.entries.get_mut(place)?;
            if std::mem::take(&mut entry.used) || Arc::strong_count(&entry.value) > 1 {
                continue;
            }
            let key = entry.key;
            self.places.remove(&key);
            return Some(place);
        }
        None
    }
}

// === impl AsIs ===

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn the_bound_holds_and_the_regulars_stay() {
        let table: Table<u64> = Table::new(1_000);
        let spread = RandomState::new();
        let regular = spread.hash_one("regular");
        for stranger in 0..50_000_u64 {
            table.get(spread.hash_one(stranger), || stranger).unwrap();
            if stranger % 10 == 0 {
                table.get(regular, || u64::MAX).unwrap();
            }
            assert!(table.len() <= 1_000);
        }
        let mut made = false;
        table.get(regular, || {
            made = true;
            0
        });
        assert!(!made, "the one that came often was forgotten");
    }

    #[test]
    fn what_is_held_is_not_forgotten() {
        let table: Table<u64> = Table::new(SHARDS);
        // All in one part of the table, which has one place.
        let held = table.get(1, || 1).unwrap();
        assert!(table.get(2, || 2).is_none());
        drop(held);
        assert_eq!(table.get(2, || 2).as_deref(), Some(&2));
        assert_eq!(table.len(), 1);
    }
}
