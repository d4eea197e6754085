//! Link layers and what lies between them and IP: VLAN tags, LLC/SNAP, MPLS, PPPoE, PPP.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use etherparse::{EtherType, Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use super::meta::{Hop, Layer, Meta, Stop, TunnelKind};
use super::span::Span;
use super::{MAX_TAGS, Walk};
use crate::bytes::Reader;
use crate::packet::LinkType;

/// EtherTypes that the crate has no name for.
pub(super) const MPLS_UNICAST: EtherType = EtherType(0x8847);
pub(super) const MPLS_MULTICAST: EtherType = EtherType(0x8848);
const PPPOE_SESSION: EtherType = EtherType(0x8864);
/// RFC 8300 section 10.
pub(super) const NSH: EtherType = EtherType(0x894F);
/// IEEE 802.1ah, RFC 6325, IEEE 802.1AE, Cisco.
const PBB: EtherType = EtherType(0x88E7);
const TRILL: EtherType = EtherType(0x22F3);
const MACSEC: EtherType = EtherType(0x88E5);
const CISCO_METADATA: EtherType = EtherType(0x8909);
/// Smaller values are the length of an 802.3 frame (IEEE 802.3 clause 3.2.6).
const MIN_ETHERTYPE: u16 = 0x0600;

impl<F: FnMut(&Meta, &[u8])> Walk<'_, F> {
    /// A captured packet of the given link type.
    #[inline]
    pub(super) fn link(&mut self, meta: &mut Meta, link: LinkType, span: Span<'_>) {
        match link {
            LinkType::ETHERNET => self.ethernet(meta, span),
            _ => self.other_link(meta, link, span),
        }
    }

    fn other_link(&mut self, meta: &mut Meta, link: LinkType, span: Span<'_>) {
        match link {
            LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 | LinkType::IPV6 => {
                self.ip(meta, span)
            }
            LinkType::NULL | LinkType::LOOP => self.loopback(meta, span),
            LinkType::LINUX_SLL => self.cooked(meta, span, 14, 16),
            LinkType::LINUX_SLL2 => self.cooked(meta, span, 0, 20),
            LinkType::PPP | LinkType::PPP_HDLC => self.ppp(meta, span),
            LinkType::PPP_ETHER => self.pppoe(meta, span),
            LinkType::NFLOG => self.nflog(meta, span),
            _ => self.stop(meta, span, Stop::LinkType),
        }
    }

    /// An Ethernet frame.
    #[inline]
    pub(super) fn ethernet(&mut self, meta: &mut Meta, span: Span<'_>) {
        let Ok(header) = Ethernet2HeaderSlice::from_slice(span.bytes) else {
            return self.stop(meta, span, Stop::Cut(Layer::Link));
        };
        let Some(rest) = span.skip(header.slice().len()) else {
            return self.stop(meta, span, Stop::Cut(Layer::Link));
        };
        meta.macs = Some((header.source(), header.destination()));
        let ethertype = header.ether_type();
        if ethertype == EtherType::IPV4 {
            meta.ethertype = ethertype.0;
            return self.ipv4(meta, rest);
        }
        self.ethertype(meta, ethertype, rest);
    }

    /// What an EtherType announces, after any VLAN tags and LLC/SNAP.
    ///
    /// Packetbeat opens 802.1Q and 802.1ad tags, but neither 0x9100 nor 802.3 frames: it counts those as flows of their
    /// MACs. So where IP follows them, the frame is a level of its own, and the IP packet another.
    pub(super) fn ethertype(&mut self, meta: &mut Meta, mut ethertype: EtherType, mut span: Span<'_>) {
        let mut unopened: Option<Meta> = None;
        for _ in 0..=MAX_TAGS {
            meta.ethertype = if ethertype.0 < MIN_ETHERTYPE { 0 } else { ethertype.0 };
            let opened = match ethertype {
                EtherType::IPV4 | EtherType::IPV6 => {
                    if let Some(outer) = unopened.filter(|outer| outer.macs.is_some()) {
                        (self.visit)(&outer, span.bytes);
                    }
                    return if ethertype == EtherType::IPV4 { self.ipv4(meta, span) } else { self.ipv6(meta, span) };
                }
                EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING | EtherType::VLAN_DOUBLE_TAGGED_FRAME => {
                    if ethertype == EtherType::VLAN_DOUBLE_TAGGED_FRAME {
                        unopened.get_or_insert_with(|| as_outer(meta));
                    }
                    self.vlan(meta, span)
                }
                MPLS_UNICAST | MPLS_MULTICAST => return self.mpls(meta, span),
                PPPOE_SESSION => return self.pppoe(meta, span),
                NSH => return self.service_header(meta, span),
                // a tag of flags and a service's number
                PBB => return self.frame_behind(meta, span, Some(4), TunnelKind::Pbb),
                TRILL => return self.frame_behind(meta, span, trill_len(span), TunnelKind::Trill),
                MACSEC | CISCO_METADATA => {
                    unopened.get_or_insert_with(|| as_outer(meta));
                    if ethertype == MACSEC { macsec(span) } else { cisco_metadata(span) }
                }
                EtherType(length) if length < MIN_ETHERTYPE => {
                    unopened.get_or_insert_with(|| as_outer(meta));
                    llc(span.trim(usize::from(length)))
                }
                _ => Err(Stop::NotIp),
            };
            match opened {
                Ok((inner, rest)) => (ethertype, span) = (inner, rest),
                Err(stop) => return self.stop(meta, span, stop),
            }
        }
        self.stop(meta, span, Stop::TooDeep);
    }

    fn vlan<'b>(&mut self, meta: &mut Meta, span: Span<'b>) -> Result<(EtherType, Span<'b>), Stop> {
        let tag = SingleVlanHeaderSlice::from_slice(span.bytes).map_err(|_| Stop::Cut(Layer::Link))?;
        if !meta.vlans.push(tag.vlan_identifier().value()) {
            let counters = &mut self.decoder.counters;
            counters.vlans_skipped = counters.vlans_skipped.wrapping_add(1);
        }
        let rest = span.skip(tag.slice().len()).ok_or(Stop::Cut(Layer::Link))?;
        Ok((tag.ether_type(), rest))
    }

    /// BSD loopback: an address family in the byte order of some host, then IP.
    fn loopback(&mut self, meta: &mut Meta, span: Span<'_>) {
        let (Some(family), Some(rest)) = (span.bytes.first_chunk::<4>(), span.skip(4)) else {
            return self.stop(meta, span, Stop::Cut(Layer::Link));
        };
        // AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin.
        match u32::from_le_bytes(*family).min(u32::from_be_bytes(*family)) {
            2 | 10 | 23 | 24 | 28 | 30 => self.ip(meta, rest),
            _ => self.stop(meta, rest, Stop::NotIp),
        }
    }

    /// Linux cooked capture: an EtherType at `at` in a header of `len` bytes, whatever the device's ARPHRD type.
    fn cooked(&mut self, meta: &mut Meta, span: Span<'_>, at: usize, len: usize) {
        let protocol = span.bytes.get(at..).and_then(|b| b.first_chunk::<2>());
        let (Some(protocol), Some(rest)) = (protocol, span.skip(len)) else {
            return self.stop(meta, span, Stop::Cut(Layer::Link));
        };
        match u16::from_be_bytes(*protocol) {
            // LINUX_SLL_P_802_2: an LLC header follows.
            4 => match llc(rest) {
                Ok((ethertype, rest)) => self.ethertype(meta, ethertype, rest),
                Err(stop) => self.stop(meta, rest, stop),
            },
            other if other < MIN_ETHERTYPE => self.stop(meta, rest, Stop::NotIp),
            ethertype => self.ethertype(meta, EtherType(ethertype), rest),
        }
    }

    /// PPP (RFC 1661, RFC 1662), with or without address and control, with or without protocol field compression.
    pub(super) fn ppp(&mut self, meta: &mut Meta, span: Span<'_>) {
        let framed = span.bytes.starts_with(&[0xff, 0x03]);
        let span = if framed { span.skip(2).unwrap_or(span) } else { span };
        let (protocol, rest) = match *span.bytes {
            [one, ..] if one & 1 == 1 => (u16::from(one), span.skip(1)),
            [high, low, ..] => (u16::from_be_bytes([high, low]), span.skip(2)),
            _ => (0, None),
        };
        match (protocol, rest) {
            (_, None) => self.stop(meta, span, Stop::Cut(Layer::Link)),
            (0x0021 | 0x0057, Some(rest)) => self.ip(meta, rest),
            (0x0281 | 0x0283, Some(rest)) => self.mpls(meta, rest),
            (_, Some(rest)) => self.stop(meta, rest, Stop::NotIp),
        }
    }

    /// PPPoE (RFC 2516): version and type 1, code 0 for session data.
    fn pppoe(&mut self, meta: &mut Meta, span: Span<'_>) {
        let mut header = Reader::new(span.bytes);
        let fields = (|| Some((header.u8()?, header.u8()?, header.u16()?, header.u16()?)))();
        match (fields, span.skip(6)) {
            (Some((0x11, 0, session, length)), Some(rest)) => {
                let ppp = rest.trim(usize::from(length));
                let hop = Hop { kind: TunnelKind::Pppoe, ends: None, id: Some(u32::from(session)) };
                if let Some(mut inner) = self.enter(meta, span.bytes, hop, ppp) {
                    self.ppp(&mut inner, ppp);
                }
            }
            (Some((0x11, _, _, _)), Some(rest)) => self.stop(meta, rest, Stop::NotIp),
            (Some(_), _) => self.stop(meta, span, Stop::Malformed(Layer::Link)),
            _ => self.stop(meta, span, Stop::Cut(Layer::Link)),
        }
    }

    /// MPLS labels (RFC 3032), then IP or an Ethernet pseudo-wire (RFC 4448).
    pub(super) fn mpls(&mut self, meta: &mut Meta, span: Span<'_>) {
        let mut rest = span;
        for _ in 0..MAX_TAGS {
            let (Some(entry), Some(after)) = (rest.bytes.first_chunk::<4>(), rest.skip(4)) else {
                return self.stop(meta, rest, Stop::Cut(Layer::Link));
            };
            rest = after;
            let entry = u32::from_be_bytes(*entry);
            if entry & 0x100 == 0 {
                continue; // not the bottom of the stack
            }
            let hop = Hop { kind: TunnelKind::Mpls, ends: None, id: Some(entry >> 12) };
            let frame = pseudo_wire(rest);
            let Some(mut inner) = self.enter(meta, span.bytes, hop, frame.unwrap_or(rest)) else { return };
            return match frame {
                Some(frame) => self.ethernet(&mut inner, frame),
                None => self.ip(&mut inner, rest),
            };
        }
        self.stop(meta, rest, Stop::TooDeep);
    }

    /// Linux netfilter log: attributes in the byte order of the capturing host; number 9 holds the IP packet.
    fn nflog(&mut self, meta: &mut Meta, span: Span<'_>) {
        let Some(attributes) = span.skip(4) else { return self.stop(meta, span, Stop::Cut(Layer::Link)) };
        for order in [u16::from_le_bytes, u16::from_be_bytes] {
            if let Some(packet) = nflog_payload(attributes, order) {
                return self.ip(meta, packet);
            }
        }
        self.stop(meta, attributes, Stop::NotIp);
    }
}

/// Bytes of a TRILL header: two of flags with the length of options in words, two nicknames, options.
fn trill_len(span: Span<'_>) -> Option<usize> {
    let flags = span.bytes.first_chunk().map(|flags| u16::from_be_bytes(*flags))?;
    Some(usize::from(flags >> 6 & 0x1f).saturating_mul(4).saturating_add(6))
}

/// A security tag (IEEE 802.1AE clause 9.3) over what is not encrypted.
fn macsec(span: Span<'_>) -> Result<(EtherType, Span<'_>), Stop> {
    const ENCRYPTED: u8 = 0x0c;
    const CHANNEL: u8 = 0x20;
    match span.bytes.first() {
        Some(flags) if flags & ENCRYPTED != 0 => Err(Stop::NotIp),
        Some(flags) => announced(span, if flags & CHANNEL == 0 { 6 } else { 14 }),
        None => Err(Stop::Cut(Layer::Link)),
    }
}

/// Cisco's metadata: version, length of the options in words, options.
fn cisco_metadata(span: Span<'_>) -> Result<(EtherType, Span<'_>), Stop> {
    match *span.bytes {
        [1, words, ..] => announced(span, usize::from(words).saturating_mul(4).saturating_add(2)),
        _ => Err(Stop::NotIp),
    }
}

/// The EtherType behind `len` bytes, and what follows it.
fn announced(span: Span<'_>, len: usize) -> Result<(EtherType, Span<'_>), Stop> {
    let ethertype = span.bytes.get(len..).and_then(|rest| rest.first_chunk());
    let rest = span.skip(len.saturating_add(2));
    ethertype
        .zip(rest)
        .map(|(ethertype, rest)| (EtherType(u16::from_be_bytes(*ethertype)), rest))
        .ok_or(Stop::Cut(Layer::Link))
}

fn as_outer(meta: &Meta) -> Meta {
    Meta { innermost: false, ..meta.clone() }
}

/// LLC (IEEE 802.2): SNAP with an EtherType (RFC 1042), or IP's own service access point.
fn llc(span: Span<'_>) -> Result<(EtherType, Span<'_>), Stop> {
    let (ethertype, len) = match *span.bytes {
        [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, a, b, ..] => (u16::from_be_bytes([a, b]), 8),
        [0x06, 0x06, 0x03, ..] => (EtherType::IPV4.0, 3),
        [_, _, _, ..] => return Err(Stop::NotIp),
        _ => return Err(Stop::Cut(Layer::Link)),
    };
    if ethertype < MIN_ETHERTYPE {
        return Err(Stop::NotIp);
    }
    span.skip(len).map(|rest| (EtherType(ethertype), rest)).ok_or(Stop::Cut(Layer::Link))
}

/// The Ethernet frame after MPLS labels, if what follows is not IP. A control word (RFC 4385) is optional and says only
/// that its first four bits are 0, so a frame to a MAC beginning with 0, 4 or 6 must be told by what is in it.
fn pseudo_wire(span: Span<'_>) -> Option<Span<'_>> {
    let behind_word = span.skip(4);
    match span.bytes.first()? >> 4 {
        4 | 6 if !looks_like_frame(span.bytes) || looks_like_ip(span) => None,
        0 if behind_word.is_some_and(|s| looks_like_frame(s.bytes)) || !looks_like_frame(span.bytes) => behind_word,
        _ => Some(span),
    }
}

/// Whether an Ethernet header is followed by what its EtherType says, for the EtherTypes that occur.
fn looks_like_frame(frame: &[u8]) -> bool {
    let Some((header, payload)) = frame.split_at_checked(12) else { return false };
    let group_source = header.get(6).is_some_and(|b| b & 1 == 1);
    match *payload {
        [0x08, 0x00, first, ..] => !group_source && first >> 4 == 4,
        [0x86, 0xdd, first, ..] => !group_source && first >> 4 == 6,
        [0x08, 0x06, 0, 1, ..]
        | [0x81, 0x00, ..]
        | [0x88, 0xa8, ..]
        | [0x91, 0x00, ..]
        | [0x88, 0x47, ..]
        | [0x88, 0x64, ..]
        | [0x88, 0xcc, ..] => !group_source,
        _ => false,
    }
}

/// Whether the length in an IP header is exactly what there is.
fn looks_like_ip(span: Span<'_>) -> bool {
    let word = |a: u8, b: u8| usize::from(u16::from_be_bytes([a, b]));
    match *span.bytes {
        [first, _, a, b, ..] if first >> 4 == 4 => word(a, b) == span.wire(),
        [first, _, _, _, a, b, ..] if first >> 4 == 6 => word(a, b).saturating_add(40) == span.wire(),
        _ => false,
    }
}

fn nflog_payload(mut span: Span<'_>, order: fn([u8; 2]) -> u16) -> Option<Span<'_>> {
    const PAYLOAD: u16 = 9;
    loop {
        let &[a, b, c, d] = span.bytes.first_chunk::<4>()?;
        let length = usize::from(order([a, b]));
        // The top bits of the type are flags of netlink (nested, network order).
        let kind = order([c, d]) & 0x3fff;
        if length < 4 || length > span.wire() {
            return None;
        }
        if kind == PAYLOAD {
            return span.trim(length).skip(4);
        }
        span = span.skip(length.next_multiple_of(4))?;
    }
}
