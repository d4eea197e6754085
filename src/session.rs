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

/// No entry.
const NONE: u32 = u32::MAX;
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
    entries: Vec<Entry<S>>,
    /// Indices into `entries` by key.
    index: HashTable<u32>,
    hasher: RandomState,
    wheel: Wheel,
    /// Head of the list of unused entries.
    free: u32,
    /// The entry of the last packet: packets come in trains.
    recent: u32,
    /// Where the search for candidates goes on.
    hand: usize,
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
            entries: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            wheel: Wheel::default(),
            free: NONE,
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
        let at = match self.entries.get(self.recent as usize) {
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
        let entry = &mut self.entries[at as usize];
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
        self.entries.get_mut(at as usize).map(|entry| &mut entry.value)
    }

    /// Takes out what has been idle for too long at packet time `now`, rounded up to a whole second. Call it on ticks;
    /// times that go back do nothing.
    pub fn expire(&mut self, now: Timestamp, expired: &mut impl FnMut(S)) {
        self.weigh(self.recent);
        let mut due = self.wheel.take_due(now, &mut self.entries);
        while let Some(entry) = self.entries.get_mut(due as usize) {
            let at = due;
            due = entry.next;
            if now.seconds() < second_of(entry.deadline) {
                self.wheel.add(at, &mut self.entries);
                continue;
            }
            self.counters.expired = self.counters.expired.wrapping_add(1);
            if let Some(value) = self.unlink(at) {
                self.release(at);
                expired(value);
            }
        }
    }

    /// Takes out everything, in the order of the table's places.
    pub fn drain(&mut self, ended: &mut impl FnMut(S)) {
        self.index.clear();
        self.wheel = Wheel::default();
        (self.free, self.recent, self.hand, self.bytes) = (NONE, NONE, 0, 0);
        for entry in self.entries.drain(..).filter(|entry| entry.live) {
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
        let entries = self.entries.capacity().saturating_mul(size_of::<Entry<S>>());
        entries.saturating_add(self.index.allocation_size()).saturating_add(self.bytes).saturating_add(WHEEL_BYTES)
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
                if let Some(entry) = self.entries.get_mut(at as usize) {
                    (entry.key, entry.reversed, entry.live, entry.deadline) = (key, reversed, true, deadline);
                }
                at
            }
            None => {
                self.place(Entry { value: S::default(), deadline, key, reversed, live: true, next: NONE, weight: 0 })
            }
        };
        let Self { index, entries, hasher, .. } = self;
        index.insert_unique(hash, at, |at| entries.get(*at as usize).map_or(0, |entry| hasher.hash_one(entry.key)));
        at
    }

    /// Puts an entry into an unused place, and into the wheel.
    fn place(&mut self, entry: Entry<S>) -> u32 {
        let at = match self.entries.get_mut(self.free as usize) {
            Some(unused) => {
                let at = self.free;
                self.free = unused.next;
                *unused = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len().saturating_sub(1) as u32
            }
        };
        self.wheel.add(at, &mut self.entries);
        at
    }

    /// Takes an entry out of the index and its value out of the entry.
    fn unlink(&mut self, at: u32) -> Option<S> {
        let entry = self.entries.get_mut(at as usize)?;
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

    /// Puts a place, already out of index and wheel, into the list of unused ones.
    fn release(&mut self, at: u32) {
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.next = self.free;
            self.free = at;
        }
    }

    /// Learns what the value at `at` holds by now.
    fn weigh(&mut self, at: u32) {
        if let Some(entry) = self.entries.get_mut(at as usize) {
            let weight = u32::try_from(entry.value.memory()).unwrap_or(u32::MAX);
            self.bytes = self.bytes.saturating_sub(entry.weight as usize).saturating_add(weight as usize);
            entry.weight = weight;
        }
    }

    /// Empties heavy entries until the bytes are within the bound, or no other than the present one is heavy.
    fn relieve(&mut self, evicted: &mut impl FnMut(S)) {
        while self.bytes > self.config.bytes {
            let Some(at) = self.candidate(|entry| entry.weight > 0) else { return };
            let Some(entry) = self.entries.get_mut(at as usize) else { return };
            self.bytes = self.bytes.saturating_sub(entry.weight as usize);
            entry.weight = 0;
            self.counters.evicted = self.counters.evicted.wrapping_add(1);
            evicted(std::mem::take(&mut entry.value));
        }
    }

    /// The least useful of the next few entries that `suits`: of the lowest worth, the one that is idle for longest.
    fn candidate(&mut self, suits: impl Fn(&Entry<S>) -> bool) -> Option<u32> {
        let mut best: Option<(Keep, Timestamp, usize)> = None;
        let mut looked_at = 0usize;
        for _ in 0..self.entries.len() {
            let at = self.hand;
            self.hand = at.saturating_add(1);
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some(entry) = self.entries.get(at).filter(|entry| entry.live && suits(entry)) else { continue };
            if at == self.recent as usize {
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
        best.map(|(_, _, at)| at as u32)
    }
}

#[inline]
fn is_at<S>(entries: &[Entry<S>], at: u32, key: &Key) -> bool {
    entries.get(at as usize).is_some_and(|entry| entry.key == *key)
}

/// The first whole second after a deadline.
fn second_of(deadline: Timestamp) -> i64 {
    deadline.seconds().saturating_add(1)
}

/// Buckets of one second each; entries that are due later than the last of them are looked at in between.
const BUCKETS: usize = 1 << 9;
const WHEEL_BYTES: usize = BUCKETS.saturating_mul(size_of::<Bucket>());

/// A queue of entries, linked through [`Entry::next`].
#[derive(Clone, Copy, Debug)]
struct Bucket {
    head: u32,
    tail: u32,
}

const EMPTY: Bucket = Bucket { head: NONE, tail: NONE };

/// See the module. An entry is in exactly one bucket, that of its deadline when it was put there, or an earlier one.
#[derive(Debug)]
struct Wheel {
    buckets: Box<[Bucket; BUCKETS]>,
    /// The second up to which buckets were emptied; `None` before the first tick.
    done: Option<i64>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { buckets: Box::new([EMPTY; BUCKETS]), done: None }
    }
}

impl Wheel {
    fn bucket(&mut self, second: i64) -> &mut Bucket {
        #[expect(clippy::indexing_slicing, reason = "the remainder is below the array's length")]
        &mut self.buckets[second.rem_euclid(BUCKETS as i64) as usize]
    }

    /// Queues an entry.
    fn add<S>(&mut self, at: u32, entries: &mut [Entry<S>]) {
        let Some(entry) = entries.get_mut(at as usize) else { return };
        entry.next = NONE;
        let second = second_of(entry.deadline);
        let second = match self.done {
            // Not in a bucket that was just emptied, nor beyond the horizon.
            Some(done) => second.clamp(done.saturating_add(1), done.saturating_add(BUCKETS as i64)),
            None => second,
        };
        let bucket = self.bucket(second);
        let tail = std::mem::replace(&mut bucket.tail, at);
        match entries.get_mut(tail as usize) {
            Some(last) => last.next = at,
            None => bucket.head = at,
        }
    }

    /// Takes out all entries of the seconds up to `now`, as one list.
    fn take_due<S>(&mut self, now: Timestamp, entries: &mut [Entry<S>]) -> u32 {
        let second = now.seconds();
        let all = BUCKETS as i64;
        // Before the first tick entries were queued without a horizon, so every bucket may hold what is due.
        let steps = self.done.map_or(all, |done| second.saturating_sub(done).min(all));
        if steps <= 0 {
            return NONE;
        }
        self.done = Some(second);
        let mut list = EMPTY;
        for step in (0..steps).rev() {
            let bucket = std::mem::replace(self.bucket(second.saturating_sub(step)), EMPTY);
            if bucket.head == NONE {
                continue;
            }
            match entries.get_mut(list.tail as usize) {
                Some(last) => last.next = bucket.head,
                None => list.head = bucket.head,
            }
            list.tail = bucket.tail;
        }
        list.head
    }
}

#[cfg(test)]
mod tests;
