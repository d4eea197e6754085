//! The table of conversations: what is known of each pair of ends, found by both directions of its packets.
//!
//! In: the ends of each packet, the packet time, and how long its conversation may be idle; ticks of packet time. Out:
//! the entry to work on, and entries that are over through callbacks. Bound: entries and bytes of [`Config`]; when one
//! is reached, the least useful of a few candidates makes room ([`Evict`]). An entry costs about 60 bytes beside its
//! value. A packet costs one lookup, a tick only what is due: entries wait in a wheel of one-second buckets and are
//! looked at again when their bucket comes up. What leaves, and in which order, depends on the packets alone.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::conn::Endpoint;
use crate::packet::Timestamp;
use crate::pair::{AddressPair, number};
use crate::table::{Linked, NONE, Slab, Wheel};

/// How much an entry is worth keeping; smaller ones make room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Of no interest so far.
    Least,
    /// Being read.
    More,
    /// What the program is there for.
    Most,
}

/// What the table asks of its values.
pub trait Evict {
    /// How much it is worth.
    fn keep(&self) -> Keep;

    /// Bytes that it holds elsewhere.
    fn memory(&self) -> usize;
}

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most entries at once.
    pub entries: usize,
    /// Most bytes that all values hold elsewhere.
    pub bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { entries: 1 << 20, bytes: 256 << 20 }
    }
}

/// What the table has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries made.
    pub created: u64,
    /// Entries that ended because they were idle.
    pub expired: u64,
    /// Entries, or values of entries, that ended early to make room.
    pub evicted: u64,
}

/// The two ends, turned so that both directions have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    /// Address of the lower end, then of the other.
    addresses: AddressPair,
    /// Port of the lower end in the upper half, then of the other.
    ports: u32,
    v4: bool,
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addresses.hash(state);
        state.write_u32(self.ports);
    }
}

impl Key {
    /// The key, and whether the ends were turned round for it.
    #[inline]
    fn new(source: Endpoint, destination: Endpoint) -> (Self, bool) {
        let (from, to) = ((number(source.ip), source.port), (number(destination.ip), destination.port));
        let reversed = from > to;
        let (low, high) = if reversed { (to, from) } else { (from, to) };
        let ports = u32::from(low.1) << 16 | u32::from(high.1);
        (Self { addresses: AddressPair::new(low.0, high.0), ports, v4: source.ip.is_ipv4() }, reversed)
    }

    fn ends(&self) -> (Endpoint, Endpoint) {
        let (low, high) = self.addresses.addresses(self.v4);
        (Endpoint { ip: low, port: (self.ports >> 16) as u16 }, Endpoint { ip: high, port: self.ports as u16 })
    }
}

/// One conversation.
#[derive(Debug)]
pub struct Entry<S> {
    /// What hangs on it.
    pub value: S,
    /// When it has been idle for too long.
    deadline: Timestamp,
    key: Key,
    /// Whether the first packet's ends stand in the key the other way round.
    reversed: bool,
    /// Whether the entry is in use.
    live: bool,
    /// Next entry in the bucket, or in the list of unused ones.
    next: u32,
    /// Bytes that `value` was last seen to hold.
    weight: u32,
}

impl<S> Linked for Entry<S> {
    fn next(&self) -> u32 {
        self.next
    }

    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

impl<S> Entry<S> {
    /// Source and destination of its first packet.
    pub fn ends(&self) -> (Endpoint, Endpoint) {
        let (low, high) = self.key.ends();
        if self.reversed { (high, low) } else { (low, high) }
    }

    /// Counts the packet that was just looked up as the first: `forward` is what the lookup said of it.
    pub fn set_forward(&mut self, forward: bool) {
        self.reversed ^= !forward;
    }
}

/// Entries that are due more seconds ahead are looked at in between.
const HORIZON: usize = 1 << 9;
/// Candidates that are looked at to make room, as long as one of the least worth is among them.
const FEW_CANDIDATES: usize = 4;
/// The same otherwise.
const CANDIDATES: usize = 32;
/// The same, as long as only entries of the highest worth were found. When not even so many hold a lesser one, as many
/// evictions pass before such a long look is worth it again.
const MORE_CANDIDATES: usize = 1024;

/// A table with this many entries (with its index about 25 MB) does not fit into the processor's last cache.
const COLD: usize = 1 << 18;

/// See the module.
#[derive(Debug)]
pub struct Table<S> {
    config: Config,
    entries: Slab<Entry<S>>,
    /// Indices into `entries` by key.
    index: HashTable<u32>,
    hasher: RandomState,
    wheel: Wheel,
    /// The entry of the last packet: packets come in trains.
    recent: u32,
    /// Where the search for candidates goes on.
    hand: u32,
    /// Bytes held by all values as last seen.
    bytes: usize,
    counters: Counters,
    /// Evictions for which a long look at candidates would find nothing better.
    barren: usize,
}

impl<S: Evict + Default> Table<S> {
    /// An empty table.
    pub fn new(config: Config) -> Self {
        Self {
            config: Config { entries: config.entries.clamp(1, NONE as usize), ..config },
            entries: Slab::default(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            wheel: Wheel::new(HORIZON),
            recent: NONE,
            hand: 0,
            bytes: 0,
            counters: Counters::default(),
            barren: 0,
        }
    }

    /// The entry of a packet, made with a default value if there is none, and whether the packet goes the way that the
    /// entry's first one went. It may be idle for `idle` nanoseconds from `now`. Values that have to make room go to
    /// `evicted`.
    pub fn touch(
        &mut self,
        source: Endpoint,
        destination: Endpoint,
        now: Timestamp,
        idle: i64,
        evicted: &mut impl FnMut(S),
    ) -> (&mut Entry<S>, bool) {
        self.weigh(self.recent);
        let (key, reversed) = Key::new(source, destination);
        let at = match self.entries.get(self.recent) {
            Some(entry) if entry.key == key => self.recent,
            _ => {
                let hash = self.hasher.hash_one(key);
                match self.index.find(hash, |at| is_at(&self.entries, *at, &key)) {
                    Some(at) => *at,
                    None => self.create(key, hash, reversed, now.plus(idle), evicted),
                }
            }
        };
        self.recent = at;
        if self.bytes > self.config.bytes {
            self.relieve(evicted);
        }
        #[expect(clippy::indexing_slicing, reason = "found or created just now")]
        let entry = &mut self.entries[at];
        entry.deadline = now.plus(idle);
        let forward = entry.reversed == reversed;
        (entry, forward)
    }

    /// Brings what [`Self::touch`] will need for these ends into the processor's cache, in a table too large for that. The
    /// look-ups do not depend on each other, so the processor waits for memory once and not for each.
    pub fn warm(&self, ends: impl Iterator<Item = (Endpoint, Endpoint)>) {
        if self.index.len() < COLD {
            return;
        }
        let found = ends.filter(|(source, destination)| {
            let (key, _) = Key::new(*source, *destination);
            self.index.find(self.hasher.hash_one(key), |at| is_at(&self.entries, *at, &key)).is_some()
        });
        std::hint::black_box(found.count());
    }

    /// The value between two ends, in whichever direction, if there is one. Does not count as activity.
    pub fn find(&mut self, source: Endpoint, destination: Endpoint) -> Option<&mut S> {
        let (key, _) = Key::new(source, destination);
        let hash = self.hasher.hash_one(key);
        let at = *self.index.find(hash, |at| is_at(&self.entries, *at, &key))?;
        self.weigh(self.recent);
        self.recent = at;
        self.entries.get_mut(at).map(|entry| &mut entry.value)
    }

    /// Takes out what has been idle for too long at packet time `now`, rounded up to a whole second. Call it on ticks;
    /// times that go back do nothing.
    pub fn expire(&mut self, now: Timestamp, expired: &mut impl FnMut(S)) {
        self.weigh(self.recent);
        let mut due = self.wheel.take_due(now, &mut self.entries);
        while let Some(entry) = self.entries.get_mut(due) {
            let at = due;
            due = entry.next;
            let deadline = entry.deadline;
            if now.seconds() < second_of(deadline) {
                self.wheel.add(at, second_of(deadline), &mut self.entries);
                continue;
            }
            self.counters.expired = self.counters.expired.wrapping_add(1);
            if let Some(value) = self.unlink(at) {
                self.entries.release(at);
                expired(value);
            }
        }
    }

    /// Takes out everything, in the order of the table's places.
    pub fn drain(&mut self, ended: &mut impl FnMut(S)) {
        self.index.clear();
        self.wheel = Wheel::new(HORIZON);
        (self.recent, self.hand, self.bytes) = (NONE, 0, 0);
        for entry in self.entries.drain().filter(|entry| entry.live) {
            ended(entry.value);
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Memory held in bytes, that of the values included.
    pub fn memory(&self) -> usize {
        let places = self.entries.memory().saturating_add(self.index.allocation_size());
        places.saturating_add(self.bytes).saturating_add(self.wheel.memory())
    }

    #[inline(never)]
    fn create(&mut self, key: Key, hash: u64, reversed: bool, deadline: Timestamp, evicted: &mut impl FnMut(S)) -> u32 {
        self.counters.created = self.counters.created.wrapping_add(1);
        let full = self.index.len() >= self.config.entries;
        self.recent = NONE;
        let at = match if full { self.candidate(|_| true) } else { None } {
            // The newcomer takes the place, and the place keeps its turn in the wheel: it is looked at there in time.
            Some(at) => {
                self.counters.evicted = self.counters.evicted.wrapping_add(1);
                if let Some(value) = self.unlink(at) {
                    evicted(value);
                }
                if let Some(entry) = self.entries.get_mut(at) {
                    (entry.key, entry.reversed, entry.live, entry.deadline) = (key, reversed, true, deadline);
                }
                at
            }
            None => {
                let value = S::default();
                let at =
                    self.entries.insert(Entry { value, deadline, key, reversed, live: true, next: NONE, weight: 0 });
                self.wheel.add(at, second_of(deadline), &mut self.entries);
                at
            }
        };
        let Self { index, entries, hasher, .. } = self;
        index.insert_unique(hash, at, |at| entries.get(*at).map_or(0, |entry| hasher.hash_one(entry.key)));
        at
    }

    /// Takes an entry out of the index and its value out of the entry.
    fn unlink(&mut self, at: u32) -> Option<S> {
        let entry = self.entries.get_mut(at)?;
        let hash = self.hasher.hash_one(entry.key);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        if self.recent == at {
            self.recent = NONE;
        }
        self.bytes = self.bytes.saturating_sub(entry.weight as usize);
        (entry.live, entry.weight) = (false, 0);
        Some(std::mem::take(&mut entry.value))
    }

    /// Learns what the value at `at` holds by now.
    fn weigh(&mut self, at: u32) {
        if let Some(entry) = self.entries.get_mut(at) {
            let weight = u32::try_from(entry.value.memory()).unwrap_or(u32::MAX);
            self.bytes = self.bytes.saturating_sub(entry.weight as usize).saturating_add(weight as usize);
            entry.weight = weight;
        }
    }

    /// Empties heavy entries until the bytes are within the bound, or no other than the present one is heavy.
    fn relieve(&mut self, evicted: &mut impl FnMut(S)) {
        while self.bytes > self.config.bytes {
            let Some(at) = self.candidate(|entry| entry.weight > 0) else { return };
            let Some(entry) = self.entries.get_mut(at) else { return };
            self.bytes = self.bytes.saturating_sub(entry.weight as usize);
            entry.weight = 0;
            self.counters.evicted = self.counters.evicted.wrapping_add(1);
            evicted(std::mem::take(&mut entry.value));
        }
    }

    /// The least useful of the next few entries that `suits`: of the lowest worth, the one that is idle for longest.
    fn candidate(&mut self, suits: impl Fn(&Entry<S>) -> bool) -> Option<u32> {
        let mut best: Option<(Keep, Timestamp, u32)> = None;
        let mut looked_at = 0usize;
        for _ in 0..self.entries.places() {
            let at = self.hand;
            self.hand = at.saturating_add(1);
            if self.hand as usize >= self.entries.places() {
                self.hand = 0;
            }
            let Some(entry) = self.entries.get(at).filter(|entry| entry.live && suits(entry)) else { continue };
            if at == self.recent {
                continue;
            }
            let rank = (entry.value.keep(), entry.deadline, at);
            best = Some(best.map_or(rank, |best| best.min(rank)));
            looked_at = looked_at.saturating_add(1);
            let enough = match best {
                Some((Keep::Least, ..)) => FEW_CANDIDATES,
                Some((Keep::Most, ..)) if self.barren == 0 => MORE_CANDIDATES,
                _ => CANDIDATES,
            };
            if looked_at >= enough {
                break;
            }
        }
        self.barren = match best {
            Some((Keep::Most, ..)) if looked_at >= MORE_CANDIDATES => MORE_CANDIDATES,
            _ => self.barren.saturating_sub(1),
        };
        best.map(|(_, _, at)| at)
    }
}

#[inline]
fn is_at<S>(entries: &Slab<Entry<S>>, at: u32, key: &Key) -> bool {
    entries.get(at).is_some_and(|entry| entry.key == *key)
}

/// The first whole second after a deadline.
fn second_of(deadline: Timestamp) -> i64 {
    deadline.seconds().saturating_add(1)
}

#[cfg(test)]
mod tests;
