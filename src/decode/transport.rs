//! TCP, UDP and ICMP headers, and their checksums.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use etherparse::err::tcp;
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::Walk;
use super::meta::{Checksum, Layer, Meta, Stop, Tcp, TcpFlags, Transport};
use super::span::Span;
use super::tunnel::{L2TP, TEREDO};
use crate::bytes::Reader;

/// IP protocol numbers that are looked into.
pub(super) mod protocol {
    pub(in super::super) const ICMP: u8 = 1;
    pub(in super::super) const IPV4: u8 = 4;
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const IPV6: u8 = 41;
    pub(in super::super) const GRE: u8 = 47;
    pub(in super::super) const ESP: u8 = 50;
    pub(in super::super) const AH: u8 = 51;
    pub(in super::super) const ICMPV6: u8 = 58;
    pub(in super::super) const ETHER_IP: u8 = 97;
    pub(in super::super) const L2TP: u8 = 115;
    pub(in super::super) const MPLS: u8 = 137;
}

impl<F: FnMut(&Meta, &[u8])> Walk<'_, F> {
    /// What an IP packet carries: a transport, or another packet.
    #[inline]
    pub(super) fn transport(&mut self, meta: &mut Meta, protocol: u8, segment: Span<'_>) {
        match protocol {
            protocol::TCP => self.tcp(meta, segment),
            protocol::UDP => self.udp(meta, segment),
            _ => self.rare(meta, protocol, segment),
        }
    }

    #[inline]
    fn tcp(&mut self, meta: &mut Meta, segment: Span<'_>) {
        let header = match TcpHeaderSlice::from_slice(segment.bytes) {
            Ok(header) => header,
            Err(tcp::HeaderSliceError::Len(_)) => return self.tcp_cut(meta, segment),
            Err(tcp::HeaderSliceError::Content(_)) => {
                return self.stop(meta, segment, Stop::Malformed(Layer::Transport));
            }
        };
        let mut fields = tcp_fields(&header);
        read_options(header.options(), &mut fields);
        meta.transport = Transport::Tcp(fields);
        meta.header_len = header.slice().len() as u8; // at most 60
        meta.missing = segment.missing();
        self.finish(meta, segment.bytes);
    }

    /// A TCP header that is not all there. If only options are missing, cut by the snaplen, the fixed fields still say
    /// where the segment belongs (a SYN in a capture of 68 bytes per packet); the payload is missing then.
    #[cold]
    fn tcp_cut(&mut self, meta: &mut Meta, segment: Span<'_>) {
        let mut padded = [0; 60];
        let fixed = segment.bytes.len().min(padded.len());
        if let (true, Some(to), Some(from)) = (fixed >= 20, padded.get_mut(..fixed), segment.bytes.get(..fixed)) {
            to.copy_from_slice(from);
            if let Ok(header) = TcpHeaderSlice::from_slice(&padded) {
                if header.slice().len() > segment.wire() {
                    return self.stop(meta, segment, Stop::Malformed(Layer::Transport));
                }
                let mut fields = tcp_fields(&header);
                read_options(from.get(20..).unwrap_or_default(), &mut fields);
                meta.transport = Transport::Tcp(fields);
                meta.header_len = header.slice().len() as u8;
                let payload = segment.wire().saturating_sub(header.slice().len());
                meta.missing = u32::try_from(payload).unwrap_or(u32::MAX);
            }
        }
        self.stop(meta, segment, Stop::Cut(Layer::Transport));
    }

    #[inline]
    fn udp(&mut self, meta: &mut Meta, segment: Span<'_>) {
        let Ok(header) = UdpHeaderSlice::from_slice(segment.bytes) else {
            return self.stop(meta, segment, Stop::Cut(Layer::Transport));
        };
        let segment = match header.length() {
            0 => segment, // a jumbogram, or segmentation offload
            n if usize::from(n) < header.slice().len() => {
                return self.stop(meta, segment, Stop::Malformed(Layer::Transport));
            }
            n => segment.trim(usize::from(n)),
        };
        let destination = header.destination_port();
        meta.transport = Transport::Udp { source: header.source_port(), destination, checksum: Checksum::Unknown };
        meta.header_len = header.slice().len() as u8;
        meta.missing = segment.missing();
        if self.is_tunnel_port(destination) {
            return self.udp_tunnel(meta, destination, segment);
        }
        if let from @ (TEREDO | L2TP) = header.source_port() {
            return self.udp_tunnel(meta, from, segment); // a server answers from its port
        }
        let first = segment.bytes.get(header.slice().len());
        if first.is_some_and(|first| matches!(first, 0 | 1 | 8 | 0x45..=0x4f | 0x60..=0x6f)) {
            return self.udp_packet(meta, segment);
        }
        self.finish(meta, segment.bytes);
    }

    #[inline(never)]
    fn rare(&mut self, meta: &mut Meta, protocol: u8, segment: Span<'_>) {
        let v6 = meta.net.is_some_and(|net| net.source.is_ipv6());
        meta.missing = segment.missing();
        match protocol {
            protocol::ICMP if !v6 => self.icmp(meta, segment),
            protocol::ICMPV6 if v6 => self.icmp(meta, segment),
            protocol::IPV4 | protocol::IPV6 => self.ip_in_ip(meta, segment),
            protocol::GRE => self.gre(meta, segment),
            protocol::L2TP => self.l2tp(meta, segment),
            protocol::ETHER_IP => self.ether_ip(meta, segment),
            protocol::MPLS => self.mpls_in_ip(meta, segment),
            protocol::ESP => self.esp(meta, segment),
            protocol::AH if !v6 => self.authenticated(meta, segment),
            _ => {
                meta.transport = Transport::Other;
                self.finish(meta, segment.bytes);
            }
        }
    }

    fn icmp(&mut self, meta: &mut Meta, segment: Span<'_>) {
        let Some(&[kind, code, _, _]) = segment.bytes.first_chunk::<4>() else {
            return self.stop(meta, segment, Stop::Cut(Layer::Transport));
        };
        meta.transport = Transport::Icmp { kind, code };
        meta.header_len = 4;
        self.finish(meta, segment.bytes);
    }
}

#[inline]
fn tcp_fields(header: &TcpHeaderSlice<'_>) -> Tcp {
    Tcp {
        source: header.source_port(),
        destination: header.destination_port(),
        seq: header.sequence_number(),
        ack: header.acknowledgment_number(),
        flags: TcpFlags(header.slice().get(13).copied().unwrap_or_default()),
        window: header.window_size(),
        urgent: header.urgent_pointer(),
        ..Tcp::default()
    }
}

/// Timestamps and window scale. Ends at the first option that contradicts itself, as receivers do; unlike the crate's
/// iterator it passes over kinds that it does not know (MPTCP, Fast Open).
#[inline]
fn read_options(options: &[u8], tcp: &mut Tcp) {
    // What nearly every segment of nearly every stack carries: NOP, NOP, timestamps.
    if let [1, 1, 8, 10, a, b, c, d, e, f, g, h] = *options {
        tcp.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
    } else if !options.is_empty() {
        scan_options(options, tcp);
    }
}

fn scan_options(options: &[u8], tcp: &mut Tcp) -> Option<()> {
    let mut options = Reader::new(options);
    loop {
        let kind = options.u8()?;
        match kind {
            0 => return None, // end of list
            1 => continue,    // NOP
            _ => {}
        }
        let len = options.u8()?;
        let mut value = options.sub(usize::from(len.checked_sub(2)?))?;
        match (kind, len) {
            (3, 3) => tcp.window_scale = value.u8(),
            (8, 10) => tcp.timestamps = value.u32().zip(value.u32()),
            _ => {}
        }
    }
}

/// Computes the TCP or UDP checksum of a level over its segment, the slice that came with `meta`. Decoding leaves it
/// `Unknown`, because it costs a pass over every byte and only streams that are looked into need it. `Unknown` where
/// bytes are missing, for UDP without checksum over IPv4, and for other transports.
pub fn verify_checksum(meta: &Meta, segment: &[u8]) -> Checksum {
    let Some(net) = meta.net else { return Checksum::Unknown };
    if meta.missing > 0 || meta.stop.is_some() {
        return Checksum::Unknown;
    }
    match meta.transport {
        Transport::Tcp(_) => {}
        Transport::Udp { .. } => {
            if net.source.is_ipv4() && segment.get(6..8) == Some(&[0, 0]) {
                return Checksum::Unknown;
            }
        }
        _ => return Checksum::Unknown,
    }
    let addresses = match (net.source, net.destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => sum_of_words(&a.octets()).wrapping_add(sum_of_words(&b.octets())),
        (IpAddr::V6(a), IpAddr::V6(b)) => sum_of_words(&a.octets()).wrapping_add(sum_of_words(&b.octets())),
        _ => return Checksum::Unknown,
    };
    let len = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    let rest = sum_of_words(&len.to_be_bytes()).wrapping_add(sum_of_words(&[0, net.protocol]));
    let sum = addresses.wrapping_add(rest).wrapping_add(sum_of_words(segment));
    if is_all_ones(sum) { Checksum::Good } else { Checksum::Bad }
}

/// Adds up 16-bit words, two at a time, in this machine's byte order: whether the sum is all ones does not depend on it
/// (RFC 1071 section 2). Cannot overflow for less than 16 GB. Most of the work where payloads are verified.
fn sum_of_words(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    pairs.iter().chain([&last]).map(|pair| u64::from(u32::from_ne_bytes(*pair))).fold(0, u64::wrapping_add)
}

/// Whether words whose ones' complement sum this is (not folded yet) carry the checksum that they should.
fn is_all_ones(sum: u64) -> bool {
    let folded = (0..4).fold(sum, |sum, _| (sum & 0xffff).wrapping_add(sum >> 16));
    folded == 0xffff
}
