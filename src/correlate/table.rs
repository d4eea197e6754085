//! A map that cannot grow past its bound: the entry that was not touched for longest makes room, and is counted.
//!
//! Hashing is seeded, so a sender who chooses keys cannot make them collide; nothing depends on the map's order.

use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// The bounded map. Keys are small; they are stored twice.
#[derive(Debug)]
pub struct Table<K, V> {
    map: HashMap<K, (V, u64), RandomState>,
    /// Touches in order; one is stale when the map holds a later number for its key.
    touches: VecDeque<(K, u64)>,
    next: u64,
    limit: usize,
    /// Entries that made room for others.
    pub evicted: u64,
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// An empty table for at most `limit` entries (at least one).
    pub fn new(limit: usize) -> Self {
        Self { map: HashMap::default(), touches: VecDeque::new(), next: 0, limit: limit.max(1), evicted: 0 }
    }

    /// Looks without touching.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(value, _)| value)
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The entry for `key`, made by `new` if it is not there; it counts as touched.
    pub fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.next += 1;
        let number = self.next;
        if self.map.len() >= self.limit && !self.map.contains_key(&key) {
            self.evict();
        }
        self.touches.push_back((key.clone(), number));
        if self.touches.len() > 2 * self.limit {
            self.touches.retain(|(key, number)| self.map.get(key).is_some_and(|(_, last)| last == number));
            self.touches.push_back((key.clone(), number));
        }
        let (value, last) = self.map.entry(key).or_insert_with(|| (new(), number));
        *last = number;
        value
    }

    fn evict(&mut self) {
        while let Some((key, number)) = self.touches.pop_front() {
            if let Entry::Occupied(entry) = self.map.entry(key)
                && entry.get().1 == number
            {
                entry.remove();
                self.evicted += 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn touching_one_entry_for_ever_stays_small() {
        let mut table = Table::new(4);
        for i in 0..1000u32 {
            table.entry(i % 3, || ());
        }
        assert!(table.touches.len() <= 9 && table.evicted == 0);
        for i in 0..1000u32 {
            table.entry(i, || ());
        }
        assert_eq!(table.map.len(), 4);
    }
}
