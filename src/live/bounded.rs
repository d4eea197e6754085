//! A map of bounded size.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that forgets what came first: a value is kept while no more than `most` others are added after it.
pub(super) struct Bounded<K, V> {
    map: HashMap<K, (u64, V), foldhash::fast::RandomState>,
    /// Keys as they were added, each with the number of that time: some have been taken or added anew since.
    order: VecDeque<(K, u64)>,
    added: u64,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { map: HashMap::default(), order: VecDeque::new(), added: 0, most }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.added += 1;
        self.map.insert(key, (self.added, value));
        self.order.push_back((key, self.added));
        if self.order.len() > self.most
            && let Some((first, then)) = self.order.pop_front()
            && self.map.get(&first).is_some_and(|(added, _)| *added == then)
        {
            self.map.remove(&first);
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(_, value)| value)
    }

    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_forgets_what_came_first() {
        let mut table = Bounded::new(3);
        (0..5).for_each(|n| table.insert(n, n));
        table.insert(3, 30);
        assert_eq!([0, 1, 2, 3, 4].map(|n| table.get(&n).copied()), [None, None, None, Some(30), Some(4)]);
        for n in 0..100 {
            table.insert(n, n);
            table.take(&n);
        }
        assert!(table.order.len() <= 3);
    }

    /// As the kernel uses the address of a socket again for the next.
    #[test]
    fn a_key_that_is_used_again_and_again_is_found_each_time() {
        let mut table = Bounded::new(3);
        for n in 0..100 {
            table.insert(7, n);
            assert_eq!(table.take(&7), Some(n));
        }
        for n in 0..100 {
            table.insert(7, n);
            assert_eq!(table.get(&7), Some(&n));
        }
        assert!(table.order.len() <= 3);
    }
}
