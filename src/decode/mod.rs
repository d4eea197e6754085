//! Opens a captured packet down to its innermost transport payload.
//!
//! In: a [`Packet`]. Out: one call per level, outermost first: what tunnels carry it (`innermost` false), then the packet
//! itself, each as a [`Meta`] and the bytes from its transport header on ([`Meta::payload`] finds the payload in them).
//! Whatever is damaged, unknown or cut is reported as far as it could be read, with a [`Stop`]; nothing here fails.
//!
//! Each layer is a method of [`Walk`] that reads its header and calls the next one, so Ethernet, IPv4 and TCP are one
//! straight line; everything rarer hangs off it. Depth is bounded: [`meta::Hops::MAX`] tunnels, [`MAX_TAGS`] tags or labels,
//! [`MAX_EXTENSIONS`] IPv6 extension headers; memory by the fragment table ([`Config::memory`]).

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

pub mod meta;

mod defrag;
mod ip;
mod link;
mod span;
mod transport;
mod tunnel;

use self::defrag::Defrag;
use self::meta::{Hop, Meta, Stop};
use self::span::Span;
use crate::packet::{Packet, Timestamp};

pub use self::transport::verify_checksum;

/// Most VLAN tags, LLC headers or MPLS labels in a row.
const MAX_TAGS: usize = 8;
/// Most IPv6 extension headers in a row.
const MAX_EXTENSIONS: usize = 16;

/// Settings of a [`Decoder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// UDP destination ports on which VXLAN is looked for.
    pub vxlan_ports: Vec<u16>,
    /// Bytes that waiting fragments may take, bookkeeping included.
    pub memory: usize,
    /// How many datagrams may wait for fragments.
    pub datagrams: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { vxlan_ports: vec![4789, 8472], memory: 16 << 20, datagrams: 8192 }
    }
}

/// What was seen, and what was given up and why, since the decoder was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets given to the decoder.
    pub packets: u64,
    /// Tunnels entered.
    pub tunnels: u64,
    /// VLAN ids that [`meta::Vlans`] had no room for.
    pub vlans_skipped: u64,
    /// IP fragments, at any level.
    pub fragments: u64,
    /// Datagrams put together from them.
    pub reassembled: u64,
    /// Datagrams given up because others needed the room.
    pub evicted: u64,
    /// Datagrams whose fragments did not all come in time.
    pub expired: u64,
    /// Datagrams thrown away because their fragments contradict each other (IPv6 overlaps, two different ends).
    pub conflicting: u64,
    stops: [u64; Stop::ALL.len()],
}

impl Counters {
    /// How many levels ended for which reason; only reasons that occurred, in a fixed order.
    pub fn stops(&self) -> impl Iterator<Item = (Stop, u64)> {
        Stop::ALL.into_iter().zip(self.stops).filter(|&(_, n)| n > 0)
    }

    /// How many levels ended for this reason.
    pub fn stopped(&self, stop: Stop) -> u64 {
        self.stops().find(|&(s, _)| s == stop).map_or(0, |(_, n)| n)
    }

    fn stop(&mut self, stop: Stop) {
        if let Some((_, n)) = Stop::ALL.iter().zip(&mut self.stops).find(|(s, _)| **s == stop) {
            *n = n.saturating_add(1);
        }
    }
}

/// Opens packets; holds the fragments that wait for others.
#[derive(Debug)]
pub struct Decoder {
    vxlan_ports: Vec<u16>,
    defrag: Defrag,
    counters: Counters,
}

impl Decoder {
    /// A decoder without any fragments.
    pub fn new(config: Config) -> Self {
        Self {
            vxlan_ports: config.vxlan_ports,
            defrag: Defrag::new(config.memory, config.datagrams),
            counters: Counters::default(),
        }
    }

    /// Opens `packet` and calls `visit` for each level, outermost first, at least once. The last call, and only that, has
    /// `innermost` set. The second argument is the level's bytes from the transport header on, as far as captured, without
    /// link-layer padding; where there is no transport header, what follows the last header that was read.
    ///
    /// For flow records: a level with `stop` = [`Stop::Fragment`] counts nowhere (its datagram is counted once, when it
    /// is complete, with the frame length of the packet that completed it, as Packetbeat does), and neither does a level
    /// with neither `macs` nor `net`.
    pub fn decode(&mut self, packet: &Packet<'_>, visit: &mut impl FnMut(&Meta, &[u8])) {
        self.counters.packets = self.counters.packets.wrapping_add(1);
        let mut meta = Meta::new(packet.index, packet.time, packet.interface, packet.wire_len);
        Walk { decoder: self, visit }.link(&mut meta, packet.link, Span::new(packet.data, packet.wire_len));
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Gives up datagrams that have waited too long at `now` (30 s for IPv4, 60 s for IPv6).
    pub fn expire(&mut self, now: Timestamp) {
        self.defrag.expire(now, &mut self.counters);
    }

    /// Bytes held for fragments.
    pub fn memory(&self) -> usize {
        self.defrag.memory()
    }
}

/// One packet on its way through the layers. The methods are in the files of their layers; each ends in exactly one
/// [`Walk::finish`] with `innermost` set.
struct Walk<'d, F> {
    decoder: &'d mut Decoder,
    visit: &'d mut F,
}

impl<F: FnMut(&Meta, &[u8])> Walk<'_, F> {
    /// Reports the innermost level.
    #[inline]
    fn finish(&mut self, meta: &Meta, segment: &[u8]) {
        (self.visit)(meta, segment);
    }

    /// Reports the innermost level, which could not be read to its payload.
    #[cold]
    fn stop(&mut self, meta: &mut Meta, rest: Span<'_>, stop: Stop) {
        self.decoder.counters.stop(stop);
        meta.stop = Some(stop);
        (self.visit)(meta, rest.bytes);
    }

    /// Reports `outer` as what carries `inner`, and starts the level inside; `None` when that would be too deep, which is
    /// reported too. An outer level of which there is nothing to say (MPLS or PPPoE without Ethernet around it) is not
    /// reported: the inner one takes its place.
    fn enter(&mut self, outer: &mut Meta, segment: &[u8], hop: Hop, inner: Span<'_>) -> Option<Meta> {
        let mut meta = if outer.net.is_some() || outer.macs.is_some() {
            outer.innermost = false;
            (self.visit)(outer, segment);
            Meta { hops: outer.hops.clone(), ..Meta::new(outer.index, outer.time, outer.interface, inner.wire_len()) }
        } else {
            outer.clone()
        };
        if meta.hops.push(hop) {
            self.decoder.counters.tunnels = self.decoder.counters.tunnels.wrapping_add(1);
            return Some(meta);
        }
        self.stop(&mut meta, inner, Stop::TooDeep);
        None
    }
}

#[cfg(test)]
mod tests;
