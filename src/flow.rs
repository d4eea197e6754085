//! Flow records as Packetbeat reports them: counters per 5-tuple, pair of MACs and VLAN ids.
//!
//! In: the [`Meta`] of every level of every packet, and ticks of packet time. Out: a [`Record`] per flow when it has
//! been idle for the timeout, when its place is needed, at the end, and every period where one is set. Bound: the
//! number of flows given to [`Table::new`]; a flow costs about 150 bytes, and records leave one by one. A packet costs
//! one lookup, a tick only what is due: flows wait in a wheel of one-second buckets and are looked at again when their
//! bucket comes up.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::conn::Proto;
use crate::decode::meta::{Mac, Meta, Net, Transport, Vlans};
use crate::packet::Timestamp;
use crate::pair::{AddressPair, number};
use crate::table::{Linked, NONE, Slab, Wheel};

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes on the wire, link headers included.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// One flow at its end (or at a periodic report). The sender of its first packet is the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Source and destination address; `None` for frames that are not IP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// TCP or UDP with source and destination port. All else between two addresses is one flow.
    pub ports: Option<(Proto, u16, u16)>,
    /// Type and code of the last ICMP message that the source sent, if it sent one and they are not both 0 (in which
    /// case Packetbeat does not know that the flow is ICMP).
    pub icmp: Option<(u8, u8)>,
    /// Source and destination MAC.
    pub macs: Option<(Mac, Mac)>,
    /// VLAN ids.
    pub vlans: Vlans,
    /// Time of the first packet.
    pub first: Timestamp,
    /// Time of the last packet; not before `first`.
    pub last: Timestamp,
    /// Packet time of this report.
    pub reported: Timestamp,
    /// Number of the first packet.
    pub first_index: u64,
    /// Tunnels around it: tells apart the flows that one packet begins.
    pub level: u8,
    /// What the source sent.
    pub source: Counters,
    /// What the destination sent.
    pub destination: Counters,
    /// Whether the flow is over (idle, evicted or end of run), not just reported.
    pub last_report: bool,
}

impl Record {
    /// Tells apart the flows that one packet begins: by tunnels around them, and a frame's own before that of what it
    /// carries where both have as many (some framings hold an IP packet without being a tunnel).
    pub fn rank(&self) -> u8 {
        rank(self.level, self.addresses.is_some())
    }
}

/// See [`Record::rank`].
fn rank(level: u8, is_ip: bool) -> u8 {
    level.saturating_mul(2).saturating_add(u8::from(is_ip))
}

/// When flows end and are reported.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most flows that are tracked at once.
    pub max_flows: usize,
    /// Idle time after which a flow is over, in nanoseconds of packet time.
    pub timeout: i64,
    /// Time between reports of flows that go on, in nanoseconds; 0 reports at the end only.
    pub period: i64,
    /// Count anew after each report.
    pub delta: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_flows: 1 << 20, timeout: 30 * Timestamp::SECOND, period: 0, delta: false }
    }
}

/// What the table has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Flows begun.
    pub begun: u64,
    /// Flows that ended because they were idle.
    pub expired: u64,
    /// Flows that ended early because the table was full.
    pub evicted: u64,
}

/// All flows that are going on.
#[derive(Debug)]
pub struct Table {
    config: Config,
    entries: Slab<Entry>,
    /// Indices into `entries` by key.
    index: HashTable<u32>,
    hasher: RandomState,
    wheel: Wheel,
    /// Number of entries in use, forgotten ones among them until their time in the wheel comes.
    used: usize,
    /// The entry of the last packet: packets come in trains.
    recent: u32,
    next_report: Option<Timestamp>,
    stats: Stats,
}

/// Longest look-ahead in seconds; flows with a longer timeout are looked at in between.
const MAX_HORIZON: i64 = 1 << 12;

impl Table {
    /// An empty table.
    pub fn new(config: Config) -> Self {
        Self {
            config: Config { max_flows: config.max_flows.clamp(1, NONE as usize), ..config },
            entries: Slab::default(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            wheel: wheel(config.timeout),
            used: 0,
            recent: NONE,
            next_report: None,
            stats: Stats::default(),
        }
    }

    /// Counts one level of one packet. A flow that had to make room goes to `out`.
    ///
    /// Fragments of IPv4 packets count with the one that completes them, as in Packetbeat; frames with neither MACs
    /// nor addresses belong to no flow.
    pub fn touch(&mut self, meta: &Meta, out: &mut Vec<Record>) {
        let Some((key, reversed)) = Key::of(meta) else {
            return;
        };
        let at = match self.entries.get(self.recent) {
            Some(entry) if entry.key == key => self.recent,
            _ => self.find_or_begin(key, reversed, meta, out),
        };
        self.recent = at;
        let entry = &mut self.entries[at];
        entry.last = entry.last.max(meta.time);
        let from_source = entry.reversed == reversed;
        let counters = if from_source { &mut entry.source } else { &mut entry.destination };
        counters.packets += 1;
        counters.bytes += u64::from(meta.wire_len);
        if from_source && let Transport::Icmp { kind, code } = meta.transport {
            entry.icmp = [kind, code];
        }
    }

    /// The flow of this packet turned out to be of no interest: it will not be reported.
    pub fn forget(&mut self, meta: &Meta) {
        let Some((key, _)) = Key::of(meta) else { return };
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.index.find_entry(hash, |at| self.entries[*at].key == key) {
            let (at, _) = found.remove();
            self.entries[at].forgotten = true;
            if self.recent == at {
                self.recent = NONE;
            }
        }
    }

    /// Reports what is due at packet time `now`: flows idle for longer than the timeout (rounded up to a whole second of
    /// the clock), in the order in which they began, and before them all flows if a period has passed. Call it on ticks;
    /// times that go back do nothing. Records are made one by one: there may be as many as the table has flows.
    pub fn expire(&mut self, now: Timestamp, out: &mut impl FnMut(Record)) {
        self.report_period(now, out);
        let mut over = Vec::new();
        let mut due = self.wheel.take_due(now, &mut self.entries);
        while due != NONE {
            let at = due;
            let entry = &self.entries[at];
            due = entry.next;
            let deadline = entry.deadline(self.config.timeout);
            if now.seconds() >= deadline {
                over.push(entry.place(at));
            } else {
                self.wheel.add(at, deadline, &mut self.entries);
            }
        }
        over.sort_unstable();
        for Place { at, .. } in over {
            let forgotten = self.entries[at].forgotten;
            let record = self.end(at, now);
            self.stats.expired += 1;
            if !forgotten {
                out(record);
            }
        }
    }

    /// Reports every flow as over, in the order in which they began; the table is empty afterwards.
    pub fn finish(&mut self, now: Timestamp, out: &mut impl FnMut(Record)) {
        for Place { at, .. } in self.places(|_| true) {
            out(self.entries[at].record(now, true));
        }
        self.index.clear();
        self.entries = Slab::default();
        self.wheel = wheel(self.config.timeout);
        (self.recent, self.used) = (NONE, 0);
    }

    /// Flows going on.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is going on.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.entries.memory() + self.index.allocation_size() + self.wheel.memory()
    }

    fn find_or_begin(&mut self, key: Key, reversed: bool, meta: &Meta, out: &mut Vec<Record>) -> u32 {
        let hash = self.hasher.hash_one(key);
        if let Some(at) = self.index.find(hash, |at| self.entries[*at].key == key) {
            return *at;
        }
        if self.used >= self.config.max_flows {
            self.evict(meta.time, out);
        }
        let entry = Entry {
            key,
            first: meta.time,
            last: meta.time,
            first_index: meta.index,
            source: Counters::default(),
            destination: Counters::default(),
            next: NONE,
            reversed,
            level: meta.hops.iter().count() as u8,
            icmp: [0, 0],
            forgotten: false,
        };
        let deadline = entry.deadline(self.config.timeout);
        let at = self.entries.insert(entry);
        let hasher = |at: &u32| self.hasher.hash_one(self.entries[*at].key);
        self.index.insert_unique(hash, at, hasher);
        self.wheel.add(at, deadline, &mut self.entries);
        self.stats.begun += 1;
        self.used += 1;
        at
    }

    /// Ends a flow that has been idle for long: the first in the wheel that saw no packet since it was queued, or the
    /// last of a few that did.
    fn evict(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        const TRIES: usize = 16;
        let timeout = self.config.timeout;
        for left in (0..TRIES).rev() {
            let next = self.wheel.take_next(&mut self.entries, |entry: &Entry| entry.deadline(timeout));
            let Some((at, is_idle)) = next else { return };
            let entry = &self.entries[at];
            if left == 0 || is_idle {
                let forgotten = entry.forgotten;
                let record = self.end(at, now);
                if !forgotten {
                    out.push(record);
                }
                self.stats.evicted += 1;
                return;
            }
            self.wheel.add(at, entry.deadline(timeout), &mut self.entries);
        }
    }

    /// Takes a flow, already out of the wheel, out of the table.
    fn end(&mut self, at: u32, now: Timestamp) -> Record {
        let entry = &self.entries[at];
        if !entry.forgotten
            && let Ok(found) = self.index.find_entry(self.hasher.hash_one(entry.key), |other| *other == at)
        {
            found.remove();
        }
        self.used -= 1;
        if self.recent == at {
            self.recent = NONE;
        }
        let record = self.entries[at].record(now, true);
        self.entries.release(at);
        record
    }

    /// The flows that are `wanted`, in the order in which they began: output never depends on the order of the table.
    fn places(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Place> {
        let entries = self.index.iter().map(|at| (*at, &self.entries[*at]));
        let mut places: Vec<_> =
            entries.filter(|(_, entry)| wanted(entry)).map(|(at, entry)| entry.place(at)).collect();
        places.sort_unstable();
        places
    }

    /// All flows, when a period has passed.
    fn report_period(&mut self, now: Timestamp, out: &mut impl FnMut(Record)) {
        let Config { period, delta, .. } = self.config;
        if period <= 0 {
            return;
        }
        let due = self.next_report.is_some_and(|next| now >= next);
        if due || self.next_report.is_none() {
            let boundary = now.0.div_euclid(period).saturating_add(1).saturating_mul(period);
            self.next_report = Some(Timestamp(boundary));
        }
        if !due {
            return;
        }
        // Of those that are over the last report follows at once.
        for Place { at, .. } in self.places(|entry| now.seconds() < entry.deadline(self.config.timeout)) {
            let entry = &mut self.entries[at];
            out(entry.record(now, false));
            if delta {
                (entry.source, entry.destination) = Default::default();
            }
        }
    }
}

/// Where a flow is, ordered as flows are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    first_index: u64,
    rank: u8,
    at: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    first: Timestamp,
    last: Timestamp,
    first_index: u64,
    source: Counters,
    destination: Counters,
    /// Next entry in the bucket, or in the list of unused ones.
    next: u32,
    /// Whether the first packet's ends stand in the key the other way round.
    reversed: bool,
    level: u8,
    icmp: [u8; 2],
    /// No longer in the index, and not to be reported.
    forgotten: bool,
}

impl Linked for Entry {
    fn next(&self) -> u32 {
        self.next
    }

    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

impl Entry {
    /// The first whole second after it has been idle for the timeout.
    fn deadline(&self, timeout: i64) -> i64 {
        self.last.plus(timeout).seconds().saturating_add(1)
    }

    fn place(&self, at: u32) -> Place {
        Place { first_index: self.first_index, rank: rank(self.level, self.key.addresses().is_some()), at }
    }

    fn record(&self, now: Timestamp, last_report: bool) -> Record {
        let key = &self.key;
        Record {
            addresses: key.addresses().map(|pair| turned(pair, self.reversed)),
            ports: key.proto().zip(Some(turned(key.ports(), self.reversed))).map(|(proto, (a, b))| (proto, a, b)),
            icmp: Some((self.icmp[0], self.icmp[1])).filter(|icmp| *icmp != (0, 0)),
            macs: key.macs().map(|pair| turned(pair, self.reversed)),
            vlans: key.vlans(),
            first: self.first,
            last: self.last,
            reported: now.max(self.last),
            first_index: self.first_index,
            level: self.level,
            source: self.source,
            destination: self.destination,
            last_report,
        }
    }
}

/// What makes a flow: MACs, VLAN ids, addresses and ports, each pair turned so that both directions have one key. As in
/// Packetbeat the first pair that differs (MACs before addresses before ports) decides for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    addresses: AddressPair,
    /// For either end its MAC in the lower 48 bits, and above it its port with swapped bytes: Packetbeat compares ports
    /// as they stand in memory, least significant byte first.
    low: u64,
    high: u64,
    /// VLAN ids of 12 bits each, the outermost in the lowest, then their number in 8 bits, then which parts there are.
    facts: u64,
}

const HAS_MACS: u64 = 1 << 56;
const IS_V4: u64 = 2 << 56;
const IS_V6: u64 = 4 << 56;
const IS_TCP: u64 = 8 << 56;
const IS_UDP: u64 = 16 << 56;

/// Where the port, and the number of VLAN ids, begins.
const ABOVE_48: u32 = 48;
const VLAN_BITS: u32 = 12;
const VLAN_MASK: u16 = (1 << VLAN_BITS) - 1;
const _: () = assert!(Vlans::MAX * VLAN_BITS as usize <= ABOVE_48 as usize, "all ids fit below their number");

impl Key {
    /// The key of a packet, and whether its ends were turned round; `None` when it belongs to no flow.
    #[inline]
    fn of(meta: &Meta) -> Option<(Self, bool)> {
        let vlans = meta.vlans.ids();
        if meta.net.is_some_and(|net| net.fragment && net.source.is_ipv4()) {
            return None;
        }
        if meta.macs.is_none() && meta.net.is_none() && vlans.is_empty() {
            return None;
        }
        let mut pairs = Pairs::default();
        let mut key = Self { facts: (vlans.len() as u64) << ABOVE_48, ..Self::default() };
        if let Some((source, destination)) = meta.macs {
            key.facts |= HAS_MACS;
            (key.low, key.high) = pairs.order(mac_number(source), mac_number(destination));
        }
        for (nth, id) in (0..).zip(vlans) {
            key.facts |= u64::from(*id & VLAN_MASK) << (nth * VLAN_BITS);
        }
        if let Some(Net { source, destination, .. }) = meta.net {
            key.facts |= if source.is_ipv4() { IS_V4 } else { IS_V6 };
            let (low, high) = pairs.order(number(source), number(destination));
            key.addresses = AddressPair::new(low, high);
            if let Some((source, destination)) = meta.ports() {
                key.facts |= if matches!(meta.transport, Transport::Tcp(_)) { IS_TCP } else { IS_UDP };
                let (low, high) = pairs.order(source.swap_bytes(), destination.swap_bytes());
                key.low |= u64::from(low) << ABOVE_48;
                key.high |= u64::from(high) << ABOVE_48;
            }
        }
        Some((key, pairs.reversed == Some(true)))
    }

    fn has(&self, part: u64) -> bool {
        self.facts & part != 0
    }

    fn macs(&self) -> Option<(Mac, Mac)> {
        self.has(HAS_MACS).then_some((mac(self.low), mac(self.high)))
    }

    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        self.has(IS_V4 | IS_V6).then(|| self.addresses.addresses(self.has(IS_V4)))
    }

    fn proto(&self) -> Option<Proto> {
        match (self.has(IS_TCP), self.has(IS_UDP)) {
            (true, _) => Some(Proto::Tcp),
            (_, true) => Some(Proto::Udp),
            _ => None,
        }
    }

    /// Ports of the lower end and of the other, if there are any.
    fn ports(&self) -> (u16, u16) {
        let port = |end: u64| ((end >> ABOVE_48) as u16).swap_bytes();
        (port(self.low), port(self.high))
    }

    fn vlans(&self) -> Vlans {
        let mut vlans = Vlans::default();
        for nth in 0..(self.facts >> ABOVE_48) as u8 {
            vlans.push((self.facts >> (u32::from(nth) * VLAN_BITS)) as u16 & VLAN_MASK);
        }
        vlans
    }
}

fn turned<T>((low, high): (T, T), reversed: bool) -> (T, T) {
    if reversed { (high, low) } else { (low, high) }
}

/// A MAC as a number, in order.
fn mac_number([a, b, c, d, e, f]: Mac) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The MAC in the lower 48 bits.
fn mac(number: u64) -> Mac {
    let [_, _, mac @ ..] = number.to_be_bytes();
    mac
}

/// Turns pairs as the first unequal one of them demands. Also the order in which a flow's id is written.
#[derive(Default)]
pub(crate) struct Pairs {
    reversed: Option<bool>,
}

impl Pairs {
    /// The pair in the flow's order.
    pub(crate) fn order<T: Ord>(&mut self, source: T, destination: T) -> (T, T) {
        if self.reversed.is_none() && source != destination {
            self.reversed = Some(source > destination);
        }
        if self.reversed == Some(true) { (destination, source) } else { (source, destination) }
    }
}

/// An empty wheel for flows with such a timeout, in nanoseconds.
fn wheel(timeout: i64) -> Wheel {
    Wheel::new((timeout / Timestamp::SECOND).saturating_add(3).clamp(2, MAX_HORIZON) as usize)
}

#[cfg(test)]
mod tests;
