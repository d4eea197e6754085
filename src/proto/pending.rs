//! Requests that wait for their answer: a bounded table with packet-time deadlines, for protocols without connections.
//!
//! Bounded by entries and bytes; when full, the eighth that has waited longest is given back at once. What is given
//! back comes in the order of first packets, so the order of the hash table never shows.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::packet::Timestamp;

/// Bounds of a [`Pending`] table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits, in nanoseconds of packet time.
    pub timeout: i64,
    /// Most requests that wait at a time.
    pub entries: usize,
    /// Most bytes that they take, as the caller counts them.
    pub bytes: usize,
}

impl Default for Limits {
    /// Packetbeat's `transaction_timeout` of 10 s; 65,536 requests in 64 MiB.
    fn default() -> Self {
        Self { timeout: 10 * Timestamp::SECOND, entries: 65_536, bytes: 64 << 20 }
    }
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    /// Number of its packet, and its place among those of the same packet.
    first: (u64, u64),
    deadline: Timestamp,
    bytes: usize,
}

/// The table. `V` is what waits, `K` what its answer is found by.
#[derive(Debug)]
pub struct Pending<K, V> {
    entries: HashMap<K, Entry<V>, foldhash::fast::RandomState>,
    limits: Limits,
    bytes: usize,
    inserted: u64,
    /// No entry has an earlier deadline.
    earliest: Timestamp,
}

impl<K: Hash + Eq, V> Pending<K, V> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        let entries = HashMap::with_hasher(foldhash::fast::RandomState::default());
        Self { entries, limits, bytes: 0, inserted: 0, earliest: Timestamp(i64::MAX) }
    }

    /// Adds a request that came at `now` in packet `first`, and gives back what had to go for it, oldest first.
    /// The caller has taken out what waited under the same key.
    #[must_use]
    pub fn insert(&mut self, key: K, value: V, bytes: usize, first: u64, now: Timestamp) -> Vec<(u64, V)> {
        let deadline = now.plus(self.limits.timeout);
        self.earliest = self.earliest.min(deadline);
        self.bytes = self.bytes.saturating_add(bytes);
        self.inserted = self.inserted.wrapping_add(1);
        self.entries.insert(key, Entry { value, first: (first, self.inserted), deadline, bytes });
        if self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes {
            self.shed()
        } else {
            Vec::new()
        }
    }

    /// Takes a request out: itself, the number of its packet, and whether its time is over at `now`.
    pub fn take(&mut self, key: &K, now: Timestamp) -> Option<(V, u64, bool)> {
        let entry = self.entries.remove(key)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some((entry.value, entry.first.0, entry.deadline <= now))
    }

    /// Takes out what has waited its time at `now`, oldest first.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(u64, V)> {
        if now < self.earliest {
            return Vec::new();
        }
        let out = self.extract(|entry| entry.deadline <= now);
        self.earliest = self.entries.values().map(|entry| entry.deadline).min().unwrap_or(Timestamp(i64::MAX));
        out
    }

    /// Takes out everything, oldest first.
    pub fn drain(&mut self) -> Vec<(u64, V)> {
        self.earliest = Timestamp(i64::MAX);
        self.extract(|_| true)
    }

    /// Number of requests that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes out the oldest eighth. A whole walk for so many, so that a flood costs a few steps per request.
    fn shed(&mut self) -> Vec<(u64, V)> {
        let mut firsts: Vec<_> = self.entries.values().map(|entry| entry.first).collect();
        let nth = firsts.len() / 8;
        let (_, &mut last, _) = firsts.select_nth_unstable(nth);
        self.extract(|entry| entry.first <= last)
    }

    fn extract(&mut self, mut leaves: impl FnMut(&Entry<V>) -> bool) -> Vec<(u64, V)> {
        let mut out: Vec<_> = self.entries.extract_if(|_, entry| leaves(entry)).map(|(_, entry)| entry).collect();
        self.bytes = out.iter().fold(self.bytes, |left, entry| left.saturating_sub(entry.bytes));
        out.sort_by_key(|entry| entry.first);
        out.into_iter().map(|entry| (entry.first.0, entry.value)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use super::*;

    fn table(entries: usize, bytes: usize) -> Pending<u32, u32> {
        Pending::new(Limits { timeout: 10, entries, bytes })
    }

    #[test]
    fn a_request_is_given_back_once_and_says_when_it_is_late() {
        let mut pending = table(8, 800);
        assert!(pending.insert(1, 11, 1, 5, Timestamp(100)).is_empty());
        assert_eq!(pending.take(&2, Timestamp(100)), None);
        assert_eq!(pending.take(&1, Timestamp(109)), Some((11, 5, false)));
        assert_eq!(pending.take(&1, Timestamp(109)), None);
        assert!(pending.insert(1, 12, 1, 6, Timestamp(100)).is_empty());
        assert_eq!(pending.take(&1, Timestamp(110)), Some((12, 6, true)));
        assert_eq!(pending.bytes, 0);
    }

    #[test]
    fn what_expires_comes_in_order_of_packets_even_if_time_ran_backwards() {
        let mut pending = table(100, 800);
        for (key, time) in [(0, 500), (1, 40), (2, 30), (3, 20), (4, 35)] {
            assert!(pending.insert(key, key, 1, u64::from(key), Timestamp(time)).is_empty());
        }
        assert_eq!(pending.expire(Timestamp(29)), []);
        assert_eq!(pending.expire(Timestamp(45)), [(2, 2), (3, 3), (4, 4)]);
        assert_eq!(pending.drain(), [(0, 0), (1, 1)]);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_full_table_gives_back_the_oldest_eighth() {
        let mut pending = table(16, usize::MAX);
        let mut shed = Vec::new();
        for key in 0..40 {
            shed.extend(pending.insert(key, key, 1, u64::from(key), Timestamp(0)));
            assert!(pending.len() <= 16);
        }
        let mut all = shed.clone();
        all.extend(pending.drain());
        assert_eq!(all, (0..40).map(|k| (u64::from(k), k)).collect::<Vec<_>>());
        let mut pending = table(100, 1000);
        let shed: usize = (0..20).map(|k| pending.insert(k, k, 100, u64::from(k), Timestamp(0)).len()).sum();
        assert!(shed >= 10 && pending.bytes <= 1000);
    }
}
