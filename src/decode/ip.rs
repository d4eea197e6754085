//! IPv4, IPv6 with its extension headers, and fragments: from the IP header to the transport header.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::err::{ip_auth, ipv4, ipv6};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};

use super::defrag::{Insert, Key, Piece};
use super::meta::{Checksum, Layer, Meta, Net, Stop, Transport};
use super::span::Span;
use super::{MAX_EXTENSIONS, Walk};
use crate::bytes::Reader;

impl<F: FnMut(&Meta, &[u8])> Walk<'_, F> {
    /// IP of the version that its first four bits say.
    pub(super) fn ip(&mut self, meta: &mut Meta, span: Span<'_>) {
        match span.bytes.first().map(|b| b >> 4) {
            Some(4) => self.ipv4(meta, span),
            Some(6) => self.ipv6(meta, span),
            Some(_) => self.stop(meta, span, Stop::Malformed(Layer::Ip)),
            None => self.stop(meta, span, Stop::Cut(Layer::Ip)),
        }
    }

    /// IPv4 (RFC 791). Total length 0 is what segmentation offload leaves there: the frame's length counts then.
    #[inline]
    pub(super) fn ipv4(&mut self, meta: &mut Meta, span: Span<'_>) {
        let header = match Ipv4HeaderSlice::from_slice(span.bytes) {
            Ok(header) => header,
            Err(ipv4::HeaderSliceError::Len(_)) => return self.stop(meta, span, Stop::Cut(Layer::Ip)),
            Err(ipv4::HeaderSliceError::Content(_)) => return self.stop(meta, span, Stop::Malformed(Layer::Ip)),
        };
        let total = match header.total_len() {
            0 => span.wire(),
            n => usize::from(n),
        };
        let header_len = header.slice().len();
        let Some(body) = span.trim(total).skip(header_len).filter(|_| total >= header_len) else {
            return self.stop(meta, span, Stop::Malformed(Layer::Ip));
        };
        let protocol = header.protocol().0;
        meta.net = Some(Net {
            checksum: header_checksum(header.slice()),
            ..Net::new(IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), protocol, header.ttl())
        });
        if header.is_fragmenting_payload() {
            let piece = Piece {
                id: u32::from(header.identification()),
                offset: header.fragments_offset().byte_offset(),
                more: header.more_fragments(),
                protocol,
            };
            return self.fragment(meta, piece, body);
        }
        self.transport(meta, protocol, body);
    }

    /// IPv6 (RFC 8200). Payload length 0 means a jumbo payload (RFC 2675) or segmentation offload.
    pub(super) fn ipv6(&mut self, meta: &mut Meta, span: Span<'_>) {
        let header = match Ipv6HeaderSlice::from_slice(span.bytes) {
            Ok(header) => header,
            Err(ipv6::HeaderSliceError::Len(_)) => return self.stop(meta, span, Stop::Cut(Layer::Ip)),
            Err(ipv6::HeaderSliceError::Content(_)) => return self.stop(meta, span, Stop::Malformed(Layer::Ip)),
        };
        let Some(mut body) = span.skip(header.slice().len()) else {
            return self.stop(meta, span, Stop::Cut(Layer::Ip));
        };
        let protocol = header.next_header();
        let announced = match header.payload_length() {
            0 if protocol == IpNumber::IPV6_HEADER_HOP_BY_HOP => jumbo_length(body.bytes),
            0 => None,
            n => Some(usize::from(n)),
        };
        body = body.trim(announced.unwrap_or_else(|| body.wire()));
        meta.net = Some(Net::new(
            IpAddr::V6(header.source_addr()),
            IpAddr::V6(header.destination_addr()),
            protocol.0,
            header.hop_limit(),
        ));
        self.extensions(meta, protocol, body);
    }

    /// IPv6 extension headers, up to the transport header.
    fn extensions(&mut self, meta: &mut Meta, mut next: IpNumber, mut body: Span<'_>) {
        for _ in 0..MAX_EXTENSIONS {
            let (header, following) = match next {
                IpNumber::IPV6_FRAGMENTATION_HEADER => {
                    let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(body.bytes) else {
                        return self.stop(meta, body, Stop::Cut(Layer::Ip));
                    };
                    if header.is_fragmenting_payload() {
                        return self.fragment_v6(meta, header, body);
                    }
                    (header.slice(), header.next_header())
                }
                IpNumber::AUTHENTICATION_HEADER => match IpAuthHeaderSlice::from_slice(body.bytes) {
                    Ok(header) => (header.slice(), header.next_header()),
                    Err(ip_auth::HeaderSliceError::Len(_)) => return self.stop(meta, body, Stop::Cut(Layer::Ip)),
                    Err(_) => return self.stop(meta, body, Stop::Malformed(Layer::Ip)),
                },
                next if Ipv6RawExtHeaderSlice::header_type_supported(next) => {
                    let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(body.bytes) else {
                        return self.stop(meta, body, Stop::Cut(Layer::Ip));
                    };
                    (header.slice(), header.next_header())
                }
                IpNumber(protocol) => {
                    set_protocol(meta, protocol);
                    return self.transport(meta, protocol, body);
                }
            };
            let Some(rest) = body.skip(header.len()) else {
                return self.stop(meta, body, Stop::Cut(Layer::Ip));
            };
            (next, body) = (following, rest);
            set_protocol(meta, next.0);
        }
        self.stop(meta, body, Stop::TooDeep);
    }

    /// Authentication headers over IPv4 (RFC 4302), and what they authenticate.
    #[cold]
    pub(super) fn authenticated(&mut self, meta: &mut Meta, mut body: Span<'_>) {
        for _ in 0..MAX_EXTENSIONS {
            let Ok(header) = IpAuthHeaderSlice::from_slice(body.bytes) else { break };
            let Some(rest) = body.skip(header.slice().len()) else { break };
            let next = header.next_header();
            set_protocol(meta, next.0);
            if next != IpNumber::AUTHENTICATION_HEADER {
                return self.transport(meta, next.0, rest);
            }
            body = rest;
        }
        meta.transport = Transport::Other;
        self.finish(meta, body.bytes);
    }

    fn fragment_v6(&mut self, meta: &mut Meta, header: Ipv6FragmentHeaderSlice<'_>, body: Span<'_>) {
        let piece = Piece {
            id: header.identification(),
            offset: header.fragment_offset().byte_offset(),
            more: header.more_fragments(),
            protocol: header.next_header().0,
        };
        set_protocol(meta, piece.protocol);
        match body.skip(header.slice().len()) {
            Some(rest) => self.fragment(meta, piece, rest),
            None => self.stop(meta, body, Stop::Cut(Layer::Ip)),
        }
    }

    /// A fragment of either version: waits for its others, or completes them. One that the snaplen cut can complete
    /// nothing; if it is the first, it is read as far as it goes.
    #[cold]
    fn fragment(&mut self, meta: &mut Meta, piece: Piece, body: Span<'_>) {
        let decoder = &mut *self.decoder;
        decoder.counters.fragments = decoder.counters.fragments.wrapping_add(1);
        let Some(net) = &mut meta.net else { return self.stop(meta, body, Stop::Malformed(Layer::Ip)) };
        if net.reassembled {
            // Fragments within fragments of one packet are of no use to anybody but an attacker of the stack.
            return self.stop(meta, body, Stop::Malformed(Layer::Ip));
        }
        net.fragment = true;
        if body.missing() > 0 {
            return match piece.offset {
                0 => self.extensions_or_transport(meta, piece.protocol, body),
                _ => self.stop(meta, body, Stop::Fragment),
            };
        }
        let key = Key::new(net, &piece, meta.vlans, &meta.hops);
        match decoder.defrag.insert(key, piece, net.checksum, body.bytes, meta.time, &mut decoder.counters) {
            Insert::Waits => self.stop(meta, body, Stop::Fragment),
            Insert::Malformed => self.stop(meta, body, Stop::Malformed(Layer::Ip)),
            Insert::Completes(protocol, datagram) => {
                (net.fragment, net.reassembled) = (false, true);
                self.extensions_or_transport(meta, protocol, Span::whole(&datagram));
                self.decoder.defrag.recycle(datagram);
            }
        }
    }

    fn extensions_or_transport(&mut self, meta: &mut Meta, protocol: u8, body: Span<'_>) {
        if meta.net.is_some_and(|net| net.source.is_ipv6()) {
            return self.extensions(meta, IpNumber(protocol), body);
        }
        self.transport(meta, protocol, body);
    }
}

fn set_protocol(meta: &mut Meta, protocol: u8) {
    if let Some(net) = &mut meta.net {
        net.protocol = protocol;
    }
}

/// Checks an IPv4 header's checksum. A field of 0 is wrong too: whether that is offload, the stream must judge.
#[inline]
fn header_checksum(header: &[u8]) -> Checksum {
    match Sum16BitWords::new().add_slice(header).ones_complement() {
        0 => Checksum::Good,
        _ => Checksum::Bad,
    }
}

/// The jumbo payload option (type 0xC2) of a hop-by-hop header.
fn jumbo_length(header: &[u8]) -> Option<usize> {
    let mut options = Reader::new(Ipv6RawExtHeaderSlice::from_slice(header).ok()?.payload());
    loop {
        let kind = options.u8()?;
        if kind == 0 {
            continue; // Pad1
        }
        let len = options.u8()?;
        let mut value = options.sub(usize::from(len))?;
        if kind == 0xC2 {
            return usize::try_from(value.u32()?).ok();
        }
    }
}
