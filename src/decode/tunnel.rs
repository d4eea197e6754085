//! Tunnels over IP: IP in IP, GRE with everything that it carries (Ethernet, ERSPAN, PPP, MPLS), VXLAN, GENEVE, GTP-U,
//! MPLS over UDP, GUE, TZSP, L2TPv3, Teredo, LISP, CAPWAP, ESP without encryption.
//!
//! Tunnels over UDP are told by the destination port and a header in which nothing contradicts; anything else on such a
//! port stays plain UDP. On other ports a tunnel is one only if what it carries is right to the byte.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod gre;

use etherparse::EtherType;

use super::Walk;
use super::link::{MPLS_MULTICAST, MPLS_UNICAST, NSH};
use super::meta::{Hop, Layer, Meta, Stop, Transport, TunnelKind};
use super::span::Span;
use crate::bytes::Reader;

/// Destination ports; those of VXLAN are configured.
const VXLAN_GPE: u16 = 4790;
const GENEVE: u16 = 6081;
const GTP_U: u16 = 2152;
const CAPWAP: u16 = 5247;
pub(super) const TEREDO: u16 = 3544;
const LISP: u16 = 4341;
const GUE: u16 = 6080;
const MPLS_UDP: u16 = 6635;
const TZSP: u16 = 37008;
/// Source or destination port.
pub(super) const L2TP: u16 = 1701;

/// Most service headers in a row.
const MAX_SERVICE_HEADERS: usize = 4;
/// Most GTP-U extension headers.
const MAX_GTP_EXTENSIONS: usize = 8;

/// What GRE and others announce Ethernet as.
const TRANSPARENT_ETHERNET: EtherType = EtherType(0x6558);

const CUT: Stop = Stop::Cut(Layer::Tunnel);

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    Ethernet,
    Ip,
    Ppp,
    Mpls,
    /// A service header, then one of the others.
    Nsh,
}

impl Carries {
    fn ethertype(ethertype: u16) -> Option<Self> {
        match EtherType(ethertype) {
            EtherType::IPV4 | EtherType::IPV6 => Some(Self::Ip),
            TRANSPARENT_ETHERNET => Some(Self::Ethernet),
            MPLS_UNICAST | MPLS_MULTICAST => Some(Self::Mpls),
            NSH => Some(Self::Nsh),
            _ => None,
        }
    }
}

/// A tunnel header that was read.
struct Tunnel<'b> {
    kind: TunnelKind,
    id: Option<u32>,
    carries: Carries,
    inner: Span<'b>,
}

impl<F: FnMut(&Meta, &[u8])> Walk<'_, F> {
    #[inline]
    pub(super) fn is_tunnel_port(&self, port: u16) -> bool {
        matches!(port, VXLAN_GPE | GENEVE | GTP_U | CAPWAP | TEREDO | LISP | GUE | MPLS_UDP | TZSP | L2TP)
            || self.decoder.vxlan_ports.contains(&port)
    }

    /// A datagram to the port of a tunnel: opened if it is one.
    #[cold]
    pub(super) fn udp_tunnel(&mut self, meta: &mut Meta, port: u16, segment: Span<'_>) {
        let tunnel = segment.skip(usize::from(meta.header_len)).and_then(|payload| match port {
            VXLAN_GPE => vxlan_gpe(payload),
            GENEVE => geneve(payload),
            GTP_U => gtp_u(payload),
            TEREDO => teredo(payload),
            LISP => lisp(payload),
            GUE => gue(payload),
            MPLS_UDP => mpls_udp(payload),
            TZSP => tzsp(payload),
            L2TP => l2tp_udp(payload),
            CAPWAP => capwap(payload),
            _ => vxlan(payload).or_else(|| lisp_ethernet(payload)),
        });
        match tunnel {
            Some(tunnel) => self.open(meta, segment, tunnel),
            None => self.finish(meta, segment.bytes),
        }
    }

    /// A datagram to any other port: opened if it is a whole packet of IP, or of GRE, VXLAN, GENEVE or TZSP with one (ports
    /// are agreed on out of sight). Lengths and, where there is one, the checksum have to be right.
    #[cold]
    pub(super) fn udp_packet(&mut self, meta: &mut Meta, segment: Span<'_>) {
        match segment.skip(usize::from(meta.header_len)).and_then(fou) {
            Some(tunnel) => self.open(meta, segment, tunnel),
            None => self.finish(meta, segment.bytes),
        }
    }

    /// A service header behind its own ethertype.
    pub(super) fn service_header(&mut self, meta: &mut Meta, span: Span<'_>) {
        match nsh(span) {
            Some((carries, inner)) => self.open(meta, span, Tunnel { kind: TunnelKind::Nsh, id: None, carries, inner }),
            None => self.stop(meta, span, Stop::NotIp),
        }
    }

    /// A frame behind a header of `len` bytes of its own ethertype.
    pub(super) fn frame_behind(&mut self, meta: &mut Meta, span: Span<'_>, len: Option<usize>, kind: TunnelKind) {
        match len.and_then(|len| span.skip(len)) {
            Some(inner) => self.open(meta, span, Tunnel { kind, id: None, carries: Carries::Ethernet, inner }),
            None => self.stop(meta, span, Stop::Cut(Layer::Link)),
        }
    }

    /// ESP (RFC 4303): index and sequence number, then IP where nothing is encrypted (RFC 2410). Whether that is so was
    /// agreed on out of sight: the packet's checksum and length have to be right.
    pub(super) fn esp(&mut self, meta: &mut Meta, span: Span<'_>) {
        meta.transport = Transport::Other;
        match span.skip(8).and_then(leading_ip) {
            Some(inner) => {
                self.open(meta, span, Tunnel { kind: TunnelKind::Esp, id: None, carries: Carries::Ip, inner });
            }
            None => self.finish(meta, span.bytes),
        }
    }

    /// Ethernet in IP (RFC 3378): four bits of version, twelve of zeros, a frame.
    pub(super) fn ether_ip(&mut self, meta: &mut Meta, span: Span<'_>) {
        meta.transport = Transport::Other;
        match span.skip(2).filter(|_| span.bytes.starts_with(&[0x30, 0])) {
            Some(inner) => {
                let tunnel = Tunnel { kind: TunnelKind::EtherIp, id: None, carries: Carries::Ethernet, inner };
                self.open(meta, span, tunnel);
            }
            None => self.finish(meta, span.bytes),
        }
    }

    /// MPLS in IP (RFC 4023).
    pub(super) fn mpls_in_ip(&mut self, meta: &mut Meta, span: Span<'_>) {
        meta.transport = Transport::Other;
        match mpls_udp(span) {
            Some(_) => self.mpls(meta, span),
            None => self.finish(meta, span.bytes),
        }
    }

    /// L2TP version 3 over IP (RFC 3931 section 4.1.1) with Ethernet. How long the cookie is was agreed on out of sight: what
    /// follows has to look like a frame.
    pub(super) fn l2tp(&mut self, meta: &mut Meta, span: Span<'_>) {
        meta.transport = Transport::Other;
        match l2tp(span) {
            Some(tunnel) => self.open(meta, span, tunnel),
            None if meta.missing > 0 => self.stop(meta, span, CUT),
            None => self.finish(meta, span.bytes),
        }
    }

    /// IP in IP (RFC 2003, 2473, 4213), both versions in both.
    pub(super) fn ip_in_ip(&mut self, meta: &mut Meta, inner: Span<'_>) {
        meta.transport = Transport::Other;
        self.open(meta, inner, Tunnel { kind: TunnelKind::IpIp, id: None, carries: Carries::Ip, inner });
    }

    /// GRE (RFC 2784, 2890; version 1: RFC 2637). What it carries and we do not open stays an ordinary IP protocol.
    pub(super) fn gre(&mut self, meta: &mut Meta, span: Span<'_>) {
        meta.transport = Transport::Other;
        match gre::header(span).ok_or(CUT).and_then(|header| header.tunnel()) {
            Ok(Some(tunnel)) => self.open(meta, span, tunnel),
            Ok(None) => self.finish(meta, span.bytes),
            Err(stop) => self.stop(meta, span, stop),
        }
    }

    fn open(&mut self, outer: &mut Meta, segment: Span<'_>, mut tunnel: Tunnel<'_>) {
        if tunnel.carries == Carries::Nsh {
            let Some((carries, inner)) = nsh(tunnel.inner) else { return self.finish(outer, segment.bytes) };
            (tunnel.carries, tunnel.inner) = (carries, inner);
        }
        let ends = outer.net.map(|net| (net.source, net.destination));
        let hop = Hop { kind: tunnel.kind, ends, id: tunnel.id };
        let Some(mut meta) = self.enter(outer, segment.bytes, hop, tunnel.inner) else { return };
        match tunnel.carries {
            Carries::Ethernet => self.ethernet(&mut meta, tunnel.inner),
            Carries::Ip => self.ip(&mut meta, tunnel.inner),
            Carries::Ppp => self.ppp(&mut meta, tunnel.inner),
            Carries::Mpls => self.mpls(&mut meta, tunnel.inner),
            Carries::Nsh => {}
        }
    }
}

/// VXLAN (RFC 7348), also with Group Based Policy. Reserved bits must be 0, as Linux demands.
fn vxlan(span: Span<'_>) -> Option<Tunnel<'_>> {
    let header = span.bytes.first_chunk::<8>()?;
    let [.., a, b, c, 0] = *header else { return None };
    let fits = matches!(*header, [0x08, 0, 0, 0, ..] | [0x88, 0 | 0x08 | 0x40 | 0x48, ..]);
    let id = Some(u32::from_be_bytes([0, a, b, c]));
    let inner = span.skip(8).filter(|_| fits)?;
    Some(Tunnel { kind: TunnelKind::Vxlan, id, carries: Carries::Ethernet, inner })
}

/// VXLAN with Generic Protocol Extension (draft-ietf-nvo3-vxlan-gpe).
fn vxlan_gpe(span: Span<'_>) -> Option<Tunnel<'_>> {
    let &[flags, 0, 0, next, a, b, c, 0] = span.bytes.first_chunk::<8>()? else { return None };
    let id = Some(u32::from_be_bytes([0, a, b, c]));
    let carries = match (flags, next) {
        (0x08, 0) | (0x0c, 3) => Carries::Ethernet,
        (0x0c, 1 | 2) => Carries::Ip,
        (0x0c, 4) => Carries::Nsh,
        (0x0c, 5) => Carries::Mpls,
        _ => return None,
    };
    Some(Tunnel { kind: TunnelKind::Vxlan, id, carries, inner: span.skip(8)? })
}

/// Network Service Header (RFC 8300): version and length in the first two bytes, what follows in the fourth, perhaps another
/// such header. A whole packet of IP is one whatever it is announced as: drafts had other numbers.
fn nsh(mut span: Span<'_>) -> Option<(Carries, Span<'_>)> {
    for _ in 0..MAX_SERVICE_HEADERS {
        let &[first, len, _, next, ..] = span.bytes else { return None };
        let words = usize::from(len & 0x3f);
        span = span.skip(words.saturating_mul(4)).filter(|_| words >= 2)?;
        let carries = match (first >> 6, next) {
            (0, 1..=3) if is_whole_ip(&span) => Carries::Ip,
            (0, 1 | 2) => Carries::Ip,
            (0, 3) => Carries::Ethernet,
            (0, 4) => continue,
            (0, 5) => Carries::Mpls,
            _ => return None,
        };
        return Some((carries, span));
    }
    None
}

/// A packet of IP, or GRE without options, VXLAN, GENEVE or TZSP and then one, and nothing behind it.
fn fou(span: Span<'_>) -> Option<Tunnel<'_>> {
    let carries_whole = |tunnel: &Tunnel<'_>| match tunnel.carries {
        Carries::Ip => is_whole_ip(&tunnel.inner),
        Carries::Ethernet => is_whole_frame(&tunnel.inner),
        Carries::Ppp | Carries::Mpls | Carries::Nsh => false,
    };
    match span.bytes {
        [0x45..=0x4f | 0x60..=0x6f, ..] => {
            Some(Tunnel { kind: TunnelKind::Fou, id: None, carries: Carries::Ip, inner: span }).filter(carries_whole)
        }
        [0, 0, a, b, ..] => {
            let carries = Carries::ethertype(u16::from_be_bytes([*a, *b]))?;
            let gre = span.skip(4).map(|inner| Tunnel { kind: TunnelKind::Fou, id: None, carries, inner });
            gre.filter(carries_whole).or_else(|| geneve(span).filter(carries_whole))
        }
        [8, 0, 0, 0, ..] => vxlan(span).filter(carries_whole),
        [1, ..] => tzsp(span).filter(carries_whole),
        [_, ..] | [] => None,
    }
}

/// Whether bytes are an Ethernet frame with a whole packet of IP and nothing behind it.
fn is_whole_frame(span: &Span<'_>) -> bool {
    is_ethernet(span) && span.skip(14).is_some_and(|packet| is_whole_ip(&packet))
}

/// The packet of IPv4 that bytes begin with, told by its checksum; something follows it.
fn leading_ip(span: Span<'_>) -> Option<Span<'_>> {
    let &[first @ 0x45..=0x4f, _, a, b, ..] = span.bytes else { return None };
    let header = span.bytes.get(..usize::from(first & 0x0f).saturating_mul(4))?;
    let total = usize::from(u16::from_be_bytes([a, b]));
    let fits = ones_sum(header) == 0xffff && (header.len()..span.wire()).contains(&total);
    fits.then(|| span.trim(total))
}

/// Whether bytes are a packet of IP by its length and, in version 4, its checksum.
fn is_whole_ip(span: &Span<'_>) -> bool {
    match span.bytes {
        [0x45..=0x4f, _, a, b, ..] => {
            let header = usize::from(span.bytes.first().map_or(0, |first| first & 0x0f)).saturating_mul(4);
            let is_long = usize::from(u16::from_be_bytes([*a, *b])) == span.wire();
            is_long && span.bytes.get(..header).is_some_and(|header| ones_sum(header) == 0xffff)
        }
        [0x60..=0x6f, _, _, _, a, b, next, ..] => {
            let is_long = usize::from(u16::from_be_bytes([*a, *b])).saturating_add(40) == span.wire();
            is_long && matches!(next, 0 | 4 | 6 | 17 | 41 | 43 | 44 | 47 | 58 | 60)
        }
        _ => false,
    }
}

/// Sum of 16-bit words in ones' complement: 0xffff over a header whose checksum is right.
fn ones_sum(header: &[u8]) -> u32 {
    let words = header.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair)));
    let sum = words.fold(0u32, u32::saturating_add); // of 30 words at most
    (sum & 0xffff).saturating_add(sum >> 16)
}

/// Whether bytes begin like a packet of IP.
fn is_ip(span: &Span<'_>) -> bool {
    matches!(span.bytes.first(), Some(0x45..=0x4f | 0x60..=0x6f))
}

/// Whether bytes begin like an Ethernet frame with IP or a tag.
fn is_ethernet(span: &Span<'_>) -> bool {
    match span.bytes.get(12..15) {
        Some(&[8, 0, first]) => first >> 4 == 4,
        Some(&[0x86, 0xdd, first]) => first >> 4 == 6,
        Some(&[8, 6, _] | &[0x81, 0, _]) => true,
        _ => false,
    }
}

/// MPLS over UDP (RFC 7510): a label stack whose end is near.
fn mpls_udp(span: Span<'_>) -> Option<Tunnel<'_>> {
    let ends = span.bytes.chunks_exact(4).take(super::MAX_TAGS).any(|label| label.get(2).is_some_and(|b| b & 1 == 1));
    ends.then_some(Tunnel { kind: TunnelKind::MplsUdp, id: None, carries: Carries::Mpls, inner: span })
}

/// GUE: version 0 has a header with the protocol of what follows, version 1 is the packet itself.
fn gue(span: Span<'_>) -> Option<Tunnel<'_>> {
    let &[first, protocol, ..] = span.bytes else { return None };
    let inner = match (first >> 6, first & 0x20, protocol) {
        (0, 0, 4 | 41) => span.skip(4)?.skip(usize::from(first & 0x1f).saturating_mul(4))?,
        (1, ..) => span,
        _ => return None,
    };
    is_ip(&inner).then_some(Tunnel { kind: TunnelKind::Gue, id: None, carries: Carries::Ip, inner })
}

/// TZSP: version, type, protocol (1 is Ethernet), then tags with their length up to the one that ends them.
fn tzsp(span: Span<'_>) -> Option<Tunnel<'_>> {
    let &[1, 0 | 1, 0, 1, ..] = span.bytes else { return None };
    let mut rest = Reader::new(span.bytes.get(4..)?);
    loop {
        match rest.u8()? {
            0 => {}
            1 => break,
            _ => {
                let len = rest.u8()?;
                rest.skip(usize::from(len))?;
            }
        }
    }
    let inner = span.skip(span.bytes.len().saturating_sub(rest.len()))?;
    Some(Tunnel { kind: TunnelKind::Tzsp, id: None, carries: Carries::Ethernet, inner })
}

/// Session id, a cookie of 0, 4 or 8 bytes, a sublayer of 0 or 4, a frame or a packet of PPP. Session 0 is control.
fn l2tp(span: Span<'_>) -> Option<Tunnel<'_>> {
    let id = Reader::new(span.bytes).u32().filter(|id| *id != 0)?;
    let inners = || [4, 8, 12, 16].into_iter().filter_map(|len| span.skip(len));
    let (carries, inner) = match inners().find(is_ethernet) {
        Some(frame) => (Carries::Ethernet, frame),
        None => (Carries::Ppp, inners().find(is_ppp)?),
    };
    Some(Tunnel { kind: TunnelKind::L2tp, id: Some(id), carries, inner })
}

/// The same in a datagram: version 3 (RFC 3931 section 4.1.2) behind four bytes, version 2 (RFC 2661 section 3.1) with
/// fields that its flags announce, then PPP. Control messages are none.
fn l2tp_udp(span: Span<'_>) -> Option<Tunnel<'_>> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    let mut header = Reader::new(span.bytes);
    let flags = header.u16().filter(|flags| flags & CONTROL == 0)?;
    match flags & 0x000f {
        3 => return l2tp(span.skip(4)?),
        2 => {}
        _ => return None,
    }
    if flags & LENGTH != 0 {
        header.skip(2)?;
    }
    let id = header.u32()?; // tunnel and session
    if flags & SEQUENCE != 0 {
        header.skip(4)?;
    }
    if flags & OFFSET != 0 {
        let padding = header.u16()?;
        header.skip(usize::from(padding))?;
    }
    let inner = span.skip(span.bytes.len().saturating_sub(header.len())).filter(is_ppp)?;
    Some(Tunnel { kind: TunnelKind::L2tp, id: Some(id), carries: Carries::Ppp, inner })
}

/// Whether bytes begin like a packet of IP in PPP.
fn is_ppp(span: &Span<'_>) -> bool {
    let bytes = span.bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(span.bytes);
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    matches!(bytes, [0x21, 0x45..=0x4f, ..] | [0x57, 0x60..=0x6f, ..])
}

/// Teredo: IPv6, behind authentication and origin if there are any (RFC 4380 section 5.1.1).
fn teredo(span: Span<'_>) -> Option<Tunnel<'_>> {
    let mut inner = span;
    if let [0, 1, id, value, ..] = inner.bytes {
        inner = inner.skip(usize::from(*id).saturating_add(usize::from(*value)).saturating_add(13))?;
    }
    if inner.bytes.starts_with(&[0, 0]) {
        inner = inner.skip(8)?;
    }
    let is_v6 = inner.bytes.len() >= 40 && inner.bytes.first().is_some_and(|first| first >> 4 == 6);
    is_v6.then_some(Tunnel { kind: TunnelKind::Teredo, id: None, carries: Carries::Ip, inner })
}

/// LISP (RFC 9300 section 5.1): eight bytes, then IP; with the flag P what follows stands in the fourth (RFC 9305).
fn lisp(span: Span<'_>) -> Option<Tunnel<'_>> {
    const NEXT: u8 = 0x04;
    let &[flags, _, _, next, ..] = span.bytes else { return None };
    let inner = span.skip(8)?;
    let tunnel = |carries| Some(Tunnel { kind: TunnelKind::Lisp, id: None, carries, inner });
    match (flags & NEXT, next) {
        (NEXT, 3) if is_ethernet(&inner) => tunnel(Carries::Ethernet),
        (NEXT, 4) => tunnel(Carries::Nsh),
        _ => tunnel(Carries::Ip).filter(|_| is_ip(&inner)),
    }
}

/// LISP of Ethernet (draft-smith-lisp-layer2), on a port of VXLAN: flags, nonce and instance, then a frame.
fn lisp_ethernet(span: Span<'_>) -> Option<Tunnel<'_>> {
    let tunnel = |inner| Tunnel { kind: TunnelKind::Lisp, id: None, carries: Carries::Ethernet, inner };
    span.skip(8).filter(is_whole_frame).map(tunnel)
}

/// CAPWAP (RFC 5415 section 4.3): a header whose length in words stands in its second byte. What is opened is a whole frame
/// of Ethernet: no fragment, and not one of the air.
fn capwap(span: Span<'_>) -> Option<Tunnel<'_>> {
    const AIR: u8 = 0x01;
    const FRAGMENT: u8 = 0x80;
    let &[0, length, binding, flags, ..] = span.bytes else { return None };
    let is_frame = binding & AIR == 0 && flags & FRAGMENT == 0;
    let inner = span.skip(usize::from(length >> 3).saturating_mul(4)).filter(|inner| is_frame && is_ethernet(inner))?;
    Some(Tunnel { kind: TunnelKind::Capwap, id: None, carries: Carries::Ethernet, inner })
}

/// GENEVE (RFC 8926), options skipped.
fn geneve(span: Span<'_>) -> Option<Tunnel<'_>> {
    let &[first, flags, p, q, a, b, c, 0] = span.bytes.first_chunk::<8>()? else { return None };
    if first >> 6 != 0 || flags & 0x3f != 0 {
        return None;
    }
    let options = usize::from(first & 0x3f).saturating_mul(4);
    let carries = Carries::ethertype(u16::from_be_bytes([p, q]))?;
    let id = Some(u32::from_be_bytes([0, a, b, c]));
    Some(Tunnel { kind: TunnelKind::Geneve, id, carries, inner: span.skip(8)?.skip(options)? })
}

/// GTP-U version 1 (3GPP TS 29.281 section 5) with a user packet of IP.
fn gtp_u(span: Span<'_>) -> Option<Tunnel<'_>> {
    const G_PDU: u8 = 255;
    let mut header = Reader::new(span.bytes);
    let (flags, kind, length, id) = (header.u8()?, header.u8()?, header.u16()?, header.u32()?);
    if flags >> 5 != 1 || flags & 0x10 == 0 || kind != G_PDU {
        return None;
    }
    let mut rest = span.skip(8)?;
    if usize::from(length) > rest.wire() {
        return None;
    }
    rest = rest.trim(usize::from(length));
    if flags & 0x07 != 0 {
        // Sequence number, N-PDU number and next extension type stand there if any of their flags is set.
        let mut next = *rest.bytes.get(3)?;
        rest = rest.skip(4)?;
        for _ in 0..MAX_GTP_EXTENSIONS {
            if flags & 0x04 == 0 || next == 0 {
                break;
            }
            // Length in units of 4 bytes, the next type in the last one.
            let len = usize::from(*rest.bytes.first()?).saturating_mul(4);
            next = *rest.bytes.get(len.checked_sub(1)?)?;
            rest = rest.skip(len)?;
        }
    }
    let fits = matches!(rest.bytes.first()? >> 4, 4 | 6);
    fits.then_some(Tunnel { kind: TunnelKind::GtpU, id: Some(id), carries: Carries::Ip, inner: rest })
}
