//! A map that cannot grow past its bound: the entry that was not touched for longest makes room, and is counted.
//!
//! Hashing is seeded, so a sender who chooses keys cannot make them collide; nothing depends on the map's order.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// The bounded map.
///
/// Entries lie one after the other in the order in which they came, and are linked in the order in which they were
/// touched; the index is of places only, so that most of it stays in a cache however large the values are.
#[derive(Debug)]
pub struct Table<K, V> {
    /// Places in `slots`, by the hashes of their keys.
    index: HashTable<Place>,
    slots: Vec<Slot<K, V>>,
    /// Touched last.
    newest: Place,
    /// Not touched for longest.
    oldest: Place,
    seed: RandomState,
    limit: usize,
    /// Entries that made room for others.
    pub evicted: u64,
}

/// Number of a slot.
type Place = u32;
/// No slot.
const NONE: Place = Place::MAX;

/// An entry, and the ones touched next after and before it.
#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    newer: Place,
    older: Place,
}

impl<K: Eq + Hash, V> Table<K, V> {
    /// An empty table for at most `limit` entries (at least one).
    pub fn new(limit: usize) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            newest: NONE,
            oldest: NONE,
            seed: RandomState::default(),
            limit: limit.clamp(1, NONE as usize),
            evicted: 0,
        }
    }

    /// Looks without touching.
    pub fn peek(&self, key: &K) -> Option<&V> {
        if self.is_empty() {
            return None; // nothing was hashed yet
        }
        self.find(self.seed.hash_one(key), key).map(|place| &self.slots[place as usize].value)
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The entry for `key`, made by `new` if it is not there; it counts as touched.
    pub fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let hash = self.seed.hash_one(&key);
        let place = match self.find(hash, &key) {
            Some(place) => {
                self.unlink(place);
                place
            }
            None => self.insert(hash, key, new()),
        };
        self.link_newest(place);
        &mut self.slots[place as usize].value
    }

    /// All values, the one that was not touched for longest first.
    pub fn oldest_first(&self) -> impl Iterator<Item = &V> {
        let first = self.slots.get(self.oldest as usize);
        std::iter::successors(first, |slot| self.slots.get(slot.newer as usize)).map(|slot| &slot.value)
    }

    fn find(&self, hash: u64, key: &K) -> Option<Place> {
        self.index.find(hash, |place| self.slots[*place as usize].key == *key).copied()
    }

    /// Stores a new entry, not linked yet: in the slot of the oldest when there is no room.
    fn insert(&mut self, hash: u64, key: K, value: V) -> Place {
        let slot = Slot { key, value, newer: NONE, older: NONE };
        let place = if self.slots.len() >= self.limit {
            let oldest = self.oldest;
            self.unlink(oldest);
            let hash = self.seed.hash_one(&self.slots[oldest as usize].key);
            if let Ok(entry) = self.index.find_entry(hash, |place| *place == oldest) {
                entry.remove();
            }
            self.slots[oldest as usize] = slot;
            self.evicted += 1;
            oldest
        } else {
            self.slots.push(slot);
            (self.slots.len() - 1) as Place // below the limit
        };
        let Self { index, slots, seed, .. } = self;
        index.insert_unique(hash, place, |place| seed.hash_one(&slots[*place as usize].key));
        place
    }

    fn unlink(&mut self, place: Place) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: Place) {
        let before = std::mem::replace(&mut self.newest, place);
        let slot = &mut self.slots[place as usize];
        (slot.newer, slot.older) = (NONE, before);
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn the_least_recently_touched_entry_makes_room() {
        let mut table = Table::new(2);
        *table.entry("a", || 0) += 1;
        *table.entry("b", || 0) += 1;
        *table.entry("a", || 0) += 1;
        table.entry("c", || 7);
        assert_eq!((table.peek(&"a"), table.peek(&"b"), table.peek(&"c")), (Some(&2), None, Some(&7)));
        assert_eq!(table.evicted, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        /// The table holds the keys touched last, and counts the others as evicted each time that they go.
        #[test]
        fn what_was_touched_last_is_kept(limit in 1usize..6, keys in proptest::collection::vec(0u8..8, 0..200)) {
            let mut table = Table::new(limit);
            let mut order: Vec<(u8, u32)> = Vec::new(); // oldest first, each with how often it was touched
            let mut evicted = 0;
            for key in keys {
                *table.entry(key, || 0u32) += 1;
                let known = order.iter().position(|(known, _)| *known == key);
                let times = known.map_or(0, |at| order.remove(at).1);
                if order.len() >= limit {
                    order.remove(0);
                    evicted += 1;
                }
                order.push((key, times + 1));
                for key in 0..8 {
                    let kept = order.iter().find(|(known, _)| *known == key).map(|(_, times)| times);
                    prop_assert_eq!(table.peek(&key), kept);
                }
                prop_assert_eq!(table.evicted, evicted);
            }
        }
    }
}
