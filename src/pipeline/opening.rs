//! Connections that have opened and said nothing yet.
//!
//! In: the first packets of a connection, as long as they carry no payload. Out: the same packets again, when the first
//! payload shows whether the connection is worth following. Many never are (scans, floods, TLS), and a million that
//! wait cost what is kept here: [`PACKETS`] packets in 120 bytes.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use crate::conn::Endpoint;
use crate::decode::meta::{Checksum, Mac, Meta, Net, Tcp, TcpFlags, Transport, Vlans};
use crate::packet::Timestamp;

/// SYN, SYN-ACK, ACK.
const PACKETS: usize = 3;
/// IP protocol number of TCP.
const TCP: u8 = 6;
/// No VLAN (ids have 12 bits).
const NO_VLAN: u16 = u16::MAX;

/// No window scale option. A packet with this shift is not kept.
const NO_SCALE: u8 = u8::MAX;

/// See the module.
pub(super) struct Opening {
    first: u64,
    time: Timestamp,
    macs: Option<(Mac, Mac)>,
    vlan: u16,
    ethertype: u16,
    interface: u16,
    len: u8,
    packets: [Packed; PACKETS],
}

/// What differs from packet to packet.
#[derive(Clone, Copy, Default)]
struct Packed {
    /// Nanoseconds since the first one.
    after: u32,
    seq: u32,
    ack: u32,
    timestamps: (u32, u32),
    window: u16,
    wire_len: u16,
    /// [`NO_SCALE`] where there is none.
    window_scale: u8,
    flags: TcpFlags,
    ttl: u8,
    bits: Bits,
}

/// Small facts in one byte.
#[derive(Clone, Copy, Default)]
struct Bits(u8);

impl Bits {
    const FORWARD: u8 = 1;
    const TIMESTAMPS: u8 = 2;
    const TCP_GOOD: u8 = 4;
    const TCP_BAD: u8 = 8;
    const IP_GOOD: u8 = 16;
    const IP_BAD: u8 = 32;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn set(&mut self, bit: u8, holds: bool) {
        self.0 |= if holds { bit } else { 0 };
    }

    fn checksum(self, good: u8, bad: u8) -> Checksum {
        match (self.has(good), self.has(bad)) {
            (true, _) => Checksum::Good,
            (_, true) => Checksum::Bad,
            _ => Checksum::Unknown,
        }
    }
}

impl Packed {
    /// `None` where a packet says more than can be kept. `sum`: its TCP checksum, computed.
    fn new(meta: &Meta, tcp: &Tcp, sum: Checksum, forward: bool, first: Timestamp) -> Option<Self> {
        let net = meta.net?;
        let plain = !tcp.flags.any(TcpFlags::FIN | TcpFlags::RST | TcpFlags::URG)
            && tcp.urgent == 0
            && tcp.window_scale != Some(NO_SCALE);
        if !plain || net.fragment || net.reassembled || meta.missing > 0 || meta.stop.is_some() || !meta.hops.is_empty()
        {
            return None;
        }
        let mut bits = Bits::default();
        bits.set(Bits::FORWARD, forward);
        bits.set(Bits::TIMESTAMPS, tcp.timestamps.is_some());
        bits.set(Bits::TCP_GOOD, sum == Checksum::Good);
        bits.set(Bits::TCP_BAD, sum == Checksum::Bad);
        bits.set(Bits::IP_GOOD, net.checksum == Checksum::Good);
        bits.set(Bits::IP_BAD, net.checksum == Checksum::Bad);
        Some(Self {
            after: u32::try_from(meta.time.since(first)).ok()?,
            seq: tcp.seq,
            ack: tcp.ack,
            timestamps: tcp.timestamps.unwrap_or_default(),
            window: tcp.window,
            wire_len: u16::try_from(meta.wire_len).ok()?,
            window_scale: tcp.window_scale.unwrap_or(NO_SCALE),
            flags: tcp.flags,
            ttl: net.ttl,
            bits,
        })
    }

    fn tcp(&self, source: u16, destination: u16) -> Tcp {
        Tcp {
            source,
            destination,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            timestamps: self.bits.has(Bits::TIMESTAMPS).then_some(self.timestamps),
            window_scale: Some(self.window_scale).filter(|scale| *scale != NO_SCALE),
            checksum: self.bits.checksum(Bits::TCP_GOOD, Bits::TCP_BAD),
        }
    }
}

/// The id of a packet with one VLAN tag at most.
fn vlan(meta: &Meta) -> Option<u16> {
    match meta.vlans.ids() {
        [] => Some(NO_VLAN),
        [id] => Some(*id),
        _ => None,
    }
}

impl Opening {
    /// Begins with a SYN without payload; `None` for any other packet, and where it says more than can be kept. `sum`
    /// computes its TCP checksum.
    pub(super) fn new(meta: &Meta, tcp: &Tcp, payload: &[u8], sum: impl FnOnce() -> Checksum) -> Option<Self> {
        if !payload.is_empty() || !tcp.flags.syn() || tcp.flags.ack() {
            return None;
        }
        let (vlan, interface) = (vlan(meta)?, u16::try_from(meta.interface).ok()?);
        let first = Packed::new(meta, tcp, sum(), true, meta.time)?;
        let mut packets = [Packed::default(); PACKETS];
        *packets.first_mut()? = first;
        let (macs, ethertype) = (meta.macs, meta.ethertype);
        Some(Self { first: meta.index, time: meta.time, macs, vlan, ethertype, interface, len: 1, packets })
    }

    /// Keeps another packet, sent the way of the first one or not; `false` where it can not, or carries payload.
    pub(super) fn push(
        &mut self,
        meta: &Meta,
        tcp: &Tcp,
        payload: &[u8],
        forward: bool,
        sum: impl FnOnce() -> Checksum,
    ) -> bool {
        let again = tcp.flags.syn() && !tcp.flags.ack() && self.syn() != tcp.seq;
        let macs = if forward { meta.macs } else { meta.macs.map(|(a, b)| (b, a)) };
        let same = macs == self.macs
            && vlan(meta) == Some(self.vlan)
            && meta.ethertype == self.ethertype
            && meta.interface == u32::from(self.interface);
        if again || !same || !payload.is_empty() {
            return false;
        }
        let Some(slot) = self.packets.get_mut(usize::from(self.len)) else { return false };
        let Some(packed) = Packed::new(meta, tcp, sum(), forward, self.time) else { return false };
        *slot = packed;
        self.len = self.len.saturating_add(1);
        true
    }

    /// Sequence number of its SYN.
    pub(super) fn syn(&self) -> u32 {
        self.packets.first().map_or(0, |first| first.seq)
    }

    /// The packets as they came between `ends`, the first one's source and destination, all with its number.
    pub(super) fn packets(&self, ends: (Endpoint, Endpoint)) -> impl Iterator<Item = (Meta, Tcp)> {
        self.packets.iter().take(usize::from(self.len)).map(move |packed| {
            let forward = packed.bits.has(Bits::FORWARD);
            let (source, destination) = if forward { ends } else { (ends.1, ends.0) };
            let tcp = packed.tcp(source.port, destination.port);
            let mut vlans = Vlans::default();
            if self.vlan != NO_VLAN {
                vlans.push(self.vlan);
            }
            let checksum = packed.bits.checksum(Bits::IP_GOOD, Bits::IP_BAD);
            let time = self.time.plus(i64::from(packed.after));
            let meta = Meta {
                macs: if forward { self.macs } else { self.macs.map(|(a, b)| (b, a)) },
                vlans,
                ethertype: self.ethertype,
                net: Some(Net { checksum, ..Net::new(source.ip, destination.ip, TCP, packed.ttl) }),
                transport: Transport::Tcp(tcp),
                ..Meta::new(self.first, time, u32::from(self.interface), u32::from(packed.wire_len))
            };
            (meta, tcp)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Endpoint, Endpoint) {
        let end = |last, port| Endpoint { ip: [10, 0, 0, last].into(), port };
        (end(1, 40_000), end(2, 80))
    }

    fn packet(flags: u8, forward: bool, after: i64) -> (Meta, Tcp) {
        let (source, destination) = if forward { ends() } else { (ends().1, ends().0) };
        let tcp = Tcp {
            source: source.port,
            destination: destination.port,
            seq: 7,
            ack: 9,
            flags: TcpFlags(flags),
            window: 1000,
            timestamps: Some((1, 2)),
            window_scale: Some(7).filter(|_| flags & TcpFlags::SYN != 0),
            checksum: Checksum::Good,
            ..Tcp::default()
        };
        let mut vlans = Vlans::default();
        vlans.push(12);
        let meta = Meta {
            macs: Some(if forward { ([1; 6], [2; 6]) } else { ([2; 6], [1; 6]) }),
            vlans,
            ethertype: 0x0800,
            net: Some(Net { checksum: Checksum::Bad, ..Net::new(source.ip, destination.ip, TCP, 64) }),
            transport: Transport::Tcp(tcp),
            ..Meta::new(5, Timestamp::new(1, after), 3, 74)
        };
        (meta, tcp)
    }

    fn opening() -> Option<Opening> {
        let (meta, tcp) = packet(TcpFlags::SYN, true, 0);
        Opening::new(&meta, &tcp, b"", || Checksum::Good)
    }

    #[test]
    fn a_handshake_comes_back_as_it_was() {
        let given = [
            packet(TcpFlags::SYN, true, 0),
            packet(TcpFlags::SYN | TcpFlags::ACK, false, 400),
            packet(TcpFlags::ACK, true, 900),
        ];
        let Some(mut opening) = opening() else { panic!("a SYN opens") };
        for (n, (meta, tcp)) in given.iter().enumerate().skip(1) {
            assert!(opening.push(meta, tcp, b"", n != 1, || Checksum::Good), "packet {n}");
        }
        let got: Vec<_> = opening.packets(ends()).collect();
        assert_eq!(format!("{got:?}"), format!("{given:?}"));
        let (meta, tcp) = packet(TcpFlags::ACK, true, 1000);
        assert!(!opening.push(&meta, &tcp, b"", true, || Checksum::Good), "there is no room for a fourth");
        assert!(size_of::<Opening>() <= 120);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        type Change = fn(&mut Meta, &mut Tcp);
        let changes: [(&str, Change); 9] = [
            ("another VLAN", |meta, _| meta.vlans = Vlans::default()),
            ("another MAC", |meta, _| meta.macs = None),
            ("another interface", |meta, _| meta.interface = 4),
            ("much later", |meta, _| meta.time = meta.time.plus(5 * Timestamp::SECOND)),
            ("earlier", |meta, _| meta.time = Timestamp(0)),
            ("a FIN", |_, tcp| tcp.flags = TcpFlags(TcpFlags::FIN | TcpFlags::ACK)),
            ("urgent", |_, tcp| tcp.urgent = 1),
            ("cut", |meta, _| meta.missing = 1),
            ("another SYN", |_, tcp| (tcp.flags, tcp.seq) = (TcpFlags(TcpFlags::SYN), 8)),
        ];
        for (name, change) in changes {
            let (mut meta, mut tcp) = packet(TcpFlags::ACK, true, 10);
            change(&mut meta, &mut tcp);
            let kept = opening().is_some_and(|mut opening| opening.push(&meta, &tcp, b"", true, || Checksum::Good));
            assert!(!kept, "{name}");
        }
        let (meta, tcp) = packet(TcpFlags::ACK, true, 10);
        assert!(Opening::new(&meta, &tcp, b"", || Checksum::Good).is_none(), "no SYN");
        assert!(!opening().is_some_and(|mut opening| opening.push(&meta, &tcp, b"x", true, || Checksum::Good)));
    }
}
