//! What a capture yields: timestamps, link types, packets, and the batches that carry them between threads.
//!
//! A [`PacketBatch`] is one byte arena plus an index of packets, reused over and over, so that handing a packet on
//! never costs an allocation. A reader whose buffer holds packets as they are to be handed on need not copy them either:
//! it gives the buffer itself and takes the arena for its next one ([`PacketBatch::open_window`]).

use std::fmt;

/// Packet time: nanoseconds since the Unix epoch, UTC. Captures may hold any value; nothing here assumes order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Nanoseconds in a second.
    pub const SECOND: i64 = 1_000_000_000;

    /// From whole seconds and nanoseconds; values beyond the range (year 2262) saturate.
    pub fn new(seconds: i64, nanos: i64) -> Self {
        Self(seconds.saturating_mul(Self::SECOND).saturating_add(nanos))
    }

    /// Whole seconds, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(Self::SECOND)
    }

    /// Nanoseconds within the second, 0..1e9.
    pub fn subsec_nanos(self) -> u32 {
        self.0.rem_euclid(Self::SECOND) as u32
    }

    /// Nanoseconds from `earlier` to `self`; negative when `self` is the earlier one.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `self` moved by `nanos`, saturating.
    pub fn plus(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds(), self.subsec_nanos())
    }
}

/// Link-layer header type as in capture files (LINKTYPE_ values of pcap, "Link-layer header types").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, address family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP.
    pub const PPP: Self = Self(9);
    /// DLT_RAW as some BSDs number it.
    pub const RAW_BSD: Self = Self(12);
    /// DLT_RAW as OpenBSD numbers it.
    pub const RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE without Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP, version by the first nibble.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback, address family big-endian.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// Linux cooked capture, version 2 (`-i any`).
    pub const LINUX_SLL2: Self = Self(276);
}

/// One captured packet; the bytes are borrowed from the batch or the reader.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'b> {
    /// Position in the whole run, from 0 over all inputs: the order of everything that is written.
    pub index: u64,
    /// When it was captured.
    pub time: Timestamp,
    /// Link type of its first header.
    pub link: LinkType,
    /// Capture interface: number within the file's section or of the live interface; 0 where there is only one.
    pub interface: u32,
    /// Length on the wire in bytes; at least `data.len()` except in damaged captures.
    pub wire_len: u32,
    /// The captured bytes.
    pub data: &'b [u8],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    time: Timestamp,
    start: u32,
    len: u32,
    wire_len: u32,
    interface: u32,
    link: LinkType,
}

impl Slot {
    fn packet<'b>(&self, arena: &'b [u8], index: u64) -> Packet<'b> {
        let start = self.start as usize;
        Packet {
            index,
            time: self.time,
            link: self.link,
            interface: self.interface,
            wire_len: self.wire_len,
            data: arena.get(start..start + self.len as usize).unwrap_or_default(),
        }
    }
}

/// A reusable batch of packets in capture order. Bounded by [`PacketBatch::MAX_BYTES`] and [`PacketBatch::MAX_PACKETS`].
#[derive(Debug, Default)]
pub struct PacketBatch {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    first_index: u64,
    bytes_read: u64,
    max_packets: Option<usize>,
    /// Packets stand in a reader's buffer, which is or will be the arena.
    window: bool,
}

impl PacketBatch {
    /// An empty batch that is full at `packets`, at the latest at [`Self::MAX_PACKETS`].
    pub fn limited_to(packets: usize) -> Self {
        Self { max_packets: Some(packets.clamp(1, Self::MAX_PACKETS)), ..Self::default() }
    }

    /// A batch is full at this many bytes (one packet may exceed it).
    pub const MAX_BYTES: usize = 256 * 1024;
    /// A batch is full at this many packets.
    pub const MAX_PACKETS: usize = 1024;

    /// Empties the batch, keeps its memory, and says which run-wide index the next packet gets.
    pub fn clear(&mut self, first_index: u64) {
        // A buffer that is to be exchanged for another keeps its length: nobody has to fill it with zeros again.
        if !self.window {
            self.arena.clear();
        }
        self.slots.clear();
        self.first_index = first_index;
        self.bytes_read = 0;
    }

    /// Appends a packet; the caller checks [`Self::is_full`] between packets.
    pub fn push(&mut self, time: Timestamp, link: LinkType, interface: u32, wire_len: u32, data: &[u8]) {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(data);
        self.slots.push(Slot { time, start, len: data.len() as u32, wire_len, interface, link });
    }

    /// From now on packets are given by their places in the caller's buffer, with [`Self::push_within`], until that is
    /// exchanged for [`Self::window`]. For empty batches.
    pub fn open_window(&mut self) {
        self.window = true;
    }

    /// The opposite: packets are copied. For empty batches.
    pub fn copy(&mut self) {
        if self.window {
            self.window = false;
            self.arena.clear();
        }
    }

    /// Appends a packet whose bytes stand at `at` in the buffer that is being read; copies them unless a window is open.
    pub fn push_within(&mut self, time: Timestamp, link: LinkType, wire_len: u32, at: usize, data: &[u8]) {
        if !self.window {
            return self.push(time, link, 0, wire_len, data);
        }
        self.slots.push(Slot { time, start: at as u32, len: data.len() as u32, wire_len, interface: 0, link });
    }

    /// The arena, for the caller to exchange for its buffer, if packets stand in that.
    pub fn window(&mut self) -> Option<&mut Vec<u8>> {
        (self.window && !self.slots.is_empty()).then_some(&mut self.arena)
    }

    /// Keeps the packets for which `keep` holds; those that stay are numbered on from the first index without gaps.
    /// `keep` sees them with the numbers they had before.
    pub fn retain(&mut self, mut keep: impl FnMut(&Packet<'_>) -> bool) {
        let (arena, first_index, mut at) = (&self.arena, self.first_index, 0);
        self.slots.retain(|slot| {
            let packet = slot.packet(arena, first_index + at);
            at += 1;
            keep(&packet)
        });
    }

    /// Whether no further packet should be added.
    pub fn is_full(&self) -> bool {
        let bytes = if self.window { 0 } else { self.arena.len() };
        self.slots.len() >= self.max_packets.unwrap_or(Self::MAX_PACKETS) || bytes >= Self::MAX_BYTES
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it holds no packet.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Index of the packet after the last one.
    pub fn next_index(&self) -> u64 {
        self.first_index + self.slots.len() as u64
    }

    /// Bytes of input consumed for this batch (for progress), set by the reader.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Records how many input bytes this batch took.
    pub fn set_bytes_read(&mut self, bytes: u64) {
        self.bytes_read = bytes;
    }

    /// Captured bytes of its packets.
    pub fn captured_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.len)).sum()
    }

    /// Where `bytes`, a part of one of its packets, begins, for [`Self::at`]; `None` for bytes that stand elsewhere.
    pub fn locate(&self, bytes: &[u8]) -> Option<u32> {
        let start = bytes.as_ptr().addr().checked_sub(self.arena.as_ptr().addr())?;
        let end = start.checked_add(bytes.len())?;
        (end <= self.arena.len()).then(|| u32::try_from(start).ok())?
    }

    /// The `len` bytes at a place that [`Self::locate`] gave.
    pub fn at(&self, start: u32, len: u32) -> &[u8] {
        let start = start as usize;
        self.arena.get(start..start + len as usize).unwrap_or_default()
    }

    /// Memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.arena.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// The packets in capture order.
    pub fn iter(&self) -> impl Iterator<Item = Packet<'_>> {
        self.slots.iter().zip(self.first_index..).map(|(slot, index)| slot.packet(&self.arena, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_back_what_was_pushed_and_numbers_it() {
        let mut batch = PacketBatch::default();
        batch.clear(7);
        batch.push(Timestamp::new(1, 5), LinkType::ETHERNET, 0, 60, b"abc");
        batch.push(Timestamp::new(2, 0), LinkType::RAW, 3, 4, b"");
        let got: Vec<_> = batch.iter().map(|p| (p.index, p.time, p.link, p.interface, p.wire_len, p.data)).collect();
        assert_eq!(
            got,
            [
                (7, Timestamp(1_000_000_005), LinkType::ETHERNET, 0, 60, &b"abc"[..]),
                (8, Timestamp(2_000_000_000), LinkType::RAW, 3, 4, &b""[..]),
            ]
        );
        assert_eq!(batch.next_index(), 9);
    }

    #[test]
    fn parts_of_packets_are_found_again() {
        let mut batch = PacketBatch::default();
        batch.push(Timestamp(0), LinkType::RAW, 0, 3, b"abc");
        batch.push(Timestamp(0), LinkType::RAW, 0, 3, b"def");
        let part = batch.iter().nth(1).map_or(&b""[..], |packet| &packet.data[1..]);
        let place = batch.locate(part);
        assert_eq!((place, place.map(|start| batch.at(start, 2))), (Some(4), Some(&b"ef"[..])));
        assert_eq!((batch.locate(b"ef"), batch.at(5, 2)), (None, &b""[..]));
    }

    #[test]
    fn what_is_retained_is_numbered_anew() {
        let mut batch = PacketBatch::default();
        batch.clear(10);
        for data in [b"a", b"b", b"c"] {
            batch.push(Timestamp(0), LinkType::RAW, 0, 1, data);
        }
        batch.retain(|packet| packet.index != 11);
        let got: Vec<_> = batch.iter().map(|p| (p.index, p.data)).collect();
        assert_eq!(got, [(10, &b"a"[..]), (11, &b"c"[..])]);
        assert_eq!(batch.next_index(), 12);
    }

    #[test]
    fn times_before_the_epoch_keep_a_positive_fraction() {
        let t = Timestamp(-1);
        assert_eq!((t.seconds(), t.subsec_nanos()), (-1, 999_999_999));
    }
}
