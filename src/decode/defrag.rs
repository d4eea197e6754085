//! Puts IP fragments of both versions together. In: one fragment at a time, in any order. Out: the datagram's payload
//! when its last piece comes.
//!
//! Overlaps: for IPv4 the bytes that came first stay; an IPv6 datagram with overlapping fragments is thrown away, but not
//! for a fragment that brings nothing new (RFC 5722, RFC 8200 section 4.5, Linux). Bounds: bytes (bookkeeping included),
//! number of datagrams, 30 s (IPv4) or 60 s (IPv6) of packet time; the oldest datagram goes first.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Counters;
use super::meta::{Checksum, Hop, Hops, Net, Vlans};
use crate::packet::Timestamp;

/// Linux's `ipfrag_time`.
const TIMEOUT_V4: i64 = 30 * Timestamp::SECOND;
/// RFC 8200 section 4.5.
const TIMEOUT_V6: i64 = 60 * Timestamp::SECOND;
/// Largest payload of a datagram that can be fragmented.
const MAX_END: u32 = 65_535;
/// What a datagram takes beside its bytes and runs: its table slot and its places in the queue.
const OVERHEAD: usize = size_of::<(Key, Datagram)>() + 2 * size_of::<(Key, u64)>();

/// What the fields of a fragment say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Identification: 16 bits (IPv4) or 32 bits (IPv6).
    pub(super) id: u32,
    /// Place of its first byte in the datagram's payload.
    pub(super) offset: u16,
    /// Whether more fragments follow.
    pub(super) more: bool,
    /// IPv4 protocol, or the header that follows the IPv6 fragment header.
    pub(super) protocol: u8,
}

/// What the fragments of one datagram have in common. VLANs and the innermost tunnel are part of it, because tenants use
/// the same private addresses and a mirror port may see a packet on two VLANs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
    vlans: Vlans,
    tunnel: Option<Hop>,
}

impl Key {
    /// The key of a fragment; IPv6 leaves the protocol out (RFC 8200 section 4.5).
    pub(super) fn new(net: &Net, piece: &Piece, vlans: Vlans, hops: &Hops) -> Self {
        Self {
            source: net.source,
            destination: net.destination,
            protocol: if net.source.is_ipv4() { piece.protocol } else { 0 },
            id: piece.id,
            vlans,
            tunnel: hops.iter().last().copied(),
        }
    }

    fn timeout(&self) -> i64 {
        if self.source.is_ipv4() { TIMEOUT_V4 } else { TIMEOUT_V6 }
    }
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Insert {
    /// Others are missing, or it was a duplicate, or it contradicted the others.
    Waits,
    /// It cannot be a fragment: empty, beyond 64 KiB, or not a multiple of 8 bytes in the middle of an IPv6 datagram.
    Malformed,
    /// It was the last one missing: protocol of the first fragment, and the payload.
    Completes(u8, Vec<u8>),
}

/// The table of datagrams that wait for fragments.
#[derive(Debug)]
pub(super) struct Defrag {
    table: HashMap<Key, Datagram, RandomState>,
    /// Keys in the order in which their datagrams began, with the serial that tells a later datagram of the same key
    /// apart; entries of finished datagrams stay until they come to the front or make up half of the queue.
    queue: VecDeque<(Key, u64)>,
    serial: u64,
    memory: usize,
    max_memory: usize,
    max_datagrams: usize,
    /// A buffer to put the next datagram together in.
    spare: Vec<u8>,
}

impl Defrag {
    pub(super) fn new(max_memory: usize, max_datagrams: usize) -> Self {
        Self {
            table: HashMap::default(),
            queue: VecDeque::new(),
            serial: 0,
            memory: 0,
            max_memory,
            max_datagrams,
            spare: Vec::new(),
        }
    }

    /// Bytes held, bookkeeping included.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    #[cfg(test)]
    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Takes a fragment whose `data` is complete. `checksum` is that of its IP header: a receiver does not take a wrong
    /// one, so it gives way to right ones; where all are wrong, checksums are offloaded.
    pub(super) fn insert(
        &mut self,
        key: Key,
        piece: Piece,
        checksum: Checksum,
        data: &[u8],
        now: Timestamp,
        counters: &mut Counters,
    ) -> Insert {
        let Some(data) = usable(&key, &piece, data) else { return Insert::Malformed };
        self.expire(now, counters);
        if self.table.get(&key).is_some_and(|d| d.is_over(&key, now)) {
            self.remove(&key);
            counters.expired = counters.expired.wrapping_add(1);
        }
        if !self.table.contains_key(&key) {
            self.begin(key, checksum, now);
        }
        let Some(datagram) = self.table.get_mut(&key) else { return Insert::Waits };
        let before = datagram.cost();
        match (datagram.checksum, checksum) {
            (Checksum::Good, Checksum::Bad) => return Insert::Waits,
            (Checksum::Bad, Checksum::Good) => {
                *datagram = Datagram::new(datagram.began, datagram.serial, checksum);
            }
            _ => {}
        }
        let added = datagram.add(&piece, data, key.source.is_ipv6());
        self.memory = self.memory.saturating_sub(before).saturating_add(datagram.cost());
        match added {
            Added::Waits => self.evict(counters),
            Added::Conflicts => {
                self.remove(&key);
                counters.conflicting = counters.conflicting.wrapping_add(1);
            }
            Added::Completes => {
                counters.reassembled = counters.reassembled.wrapping_add(1);
                if let Some(datagram) = self.remove(&key) {
                    let mut whole = std::mem::take(&mut self.spare);
                    datagram.assemble(&mut whole);
                    return Insert::Completes(datagram.protocol, whole);
                }
            }
        }
        Insert::Waits
    }

    /// Takes a buffer back that [`Insert::Completes`] gave away.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare = buffer;
    }

    /// Gives up, oldest first, datagrams that began too long before `now`.
    pub(super) fn expire(&mut self, now: Timestamp, counters: &mut Counters) {
        while let Some(&(key, serial)) = self.queue.front() {
            match self.table.get(&key).filter(|d| d.serial == serial) {
                Some(datagram) if !datagram.is_over(&key, now) => break,
                Some(_) => {
                    self.remove(&key);
                    counters.expired = counters.expired.wrapping_add(1);
                }
                None => {}
            }
            self.queue.pop_front();
        }
    }

    fn begin(&mut self, key: Key, checksum: Checksum, now: Timestamp) {
        self.serial = self.serial.wrapping_add(1);
        let datagram = Datagram::new(now, self.serial, checksum);
        self.memory = self.memory.saturating_add(datagram.cost());
        self.table.insert(key, datagram);
        if self.queue.len() > self.table.len().saturating_mul(2).saturating_add(64) {
            let table = &self.table;
            self.queue.retain(|(key, serial)| table.get(key).is_some_and(|d| d.serial == *serial));
        }
        self.queue.push_back((key, self.serial));
    }

    fn remove(&mut self, key: &Key) -> Option<Datagram> {
        let datagram = self.table.remove(key)?;
        self.memory = self.memory.saturating_sub(datagram.cost());
        Some(datagram)
    }

    fn evict(&mut self, counters: &mut Counters) {
        while self.memory > self.max_memory || self.table.len() > self.max_datagrams {
            let Some((key, serial)) = self.queue.pop_front() else { return };
            if self.table.get(&key).is_some_and(|d| d.serial == serial) {
                self.remove(&key);
                counters.evicted = counters.evicted.wrapping_add(1);
            }
        }
    }
}

/// The part of a fragment's data that counts. Linux cuts IPv4 fragments with followers to a multiple of 8.
fn usable<'b>(key: &Key, piece: &Piece, data: &'b [u8]) -> Option<&'b [u8]> {
    let odd = if piece.more { data.len() & 7 } else { 0 };
    if odd > 0 && key.source.is_ipv6() {
        return None;
    }
    let data = data.get(..data.len().saturating_sub(odd))?;
    let end = u32::try_from(data.len()).ok()?.checked_add(u32::from(piece.offset))?;
    (!data.is_empty() && end <= MAX_END).then_some(data)
}

enum Added {
    Waits,
    Conflicts,
    Completes,
}

/// Bytes `start..end` of a datagram, kept from `at` on in its buffer.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u32,
    end: u32,
    at: u32,
}

/// A datagram that waits for fragments. What came is kept in the order of arrival, so that one far-off fragment costs
/// its own bytes and no more.
#[derive(Debug)]
struct Datagram {
    began: Timestamp,
    serial: u64,
    checksum: Checksum,
    protocol: u8,
    /// Where the last fragment ends, once it came.
    total: Option<u32>,
    /// Sum of all runs.
    covered: u32,
    /// In order, never overlapping.
    runs: Vec<Run>,
    bytes: Vec<u8>,
}

impl Datagram {
    fn new(began: Timestamp, serial: u64, checksum: Checksum) -> Self {
        let (runs, bytes) = (Vec::new(), Vec::new());
        Self { began, serial, checksum, protocol: 0, total: None, covered: 0, runs, bytes }
    }

    fn is_over(&self, key: &Key, now: Timestamp) -> bool {
        now.since(self.began) > key.timeout()
    }

    fn cost(&self) -> usize {
        let runs = self.runs.capacity().saturating_mul(size_of::<Run>());
        OVERHEAD.saturating_add(runs).saturating_add(self.bytes.capacity())
    }

    fn add(&mut self, piece: &Piece, data: &[u8], strict: bool) -> Added {
        let start = u32::from(piece.offset);
        let end = start.saturating_add(data.len() as u32); // `usable` checked
        let last = self.runs.last().map_or(0, |run| run.end);
        match self.total {
            Some(total) if end > total || (!piece.more && end != total) => return Added::Conflicts,
            None if !piece.more && end < last => return Added::Conflicts,
            _ => {}
        }
        let new = self.uncovered(start, end);
        if strict && new > 0 && new < end.saturating_sub(start) {
            return Added::Conflicts;
        }
        if !piece.more {
            self.total = Some(end);
        }
        if piece.offset == 0 {
            self.protocol = piece.protocol;
        }
        if new > 0 {
            self.fill(start, end, data);
            self.covered = self.covered.saturating_add(new);
        }
        if self.total == Some(self.covered) { Added::Completes } else { Added::Waits }
    }

    /// How many bytes of `start..end` did not come yet.
    fn uncovered(&self, start: u32, end: u32) -> u32 {
        let from = self.runs.partition_point(|run| run.end <= start);
        let runs = self.runs.get(from..).unwrap_or_default();
        let covered = runs.iter().take_while(|run| run.start < end).fold(0u32, |sum, run| {
            let common = run.end.min(end).saturating_sub(run.start.max(start));
            sum.saturating_add(common)
        });
        end.saturating_sub(start).saturating_sub(covered)
    }

    /// Puts those parts of `data` into the holes of `start..end`.
    fn fill(&mut self, start: u32, end: u32, data: &[u8]) {
        let mut index = self.runs.partition_point(|run| run.end <= start);
        let mut from = start;
        while from < end {
            let next = self.runs.get(index).copied().filter(|run| run.start < end);
            let hole_end = next.map_or(end, |run| run.start);
            if from < hole_end {
                let (a, b) = (from.saturating_sub(start) as usize, hole_end.saturating_sub(start) as usize);
                let at = self.bytes.len() as u32; // at most 64 KiB: runs never overlap
                self.bytes.extend_from_slice(data.get(a..b).unwrap_or_default());
                self.runs.insert(index, Run { start: from, end: hole_end, at });
                index = index.saturating_add(1);
            }
            let Some(next) = next else { break };
            from = next.end;
            index = index.saturating_add(1);
        }
    }

    fn assemble(&self, into: &mut Vec<u8>) {
        into.clear();
        for run in &self.runs {
            let len = run.end.saturating_sub(run.start);
            let range = run.at as usize..run.at.saturating_add(len) as usize;
            into.extend_from_slice(self.bytes.get(range).unwrap_or_default());
        }
    }
}
