//! Generic Routing Encapsulation with all that it is used for: EtherTypes, ERSPAN, PPTP.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::super::meta::{Stop, TunnelKind};
use super::super::span::Span;
use super::{CUT, Carries, Tunnel};
use crate::bytes::Reader;

/// Protocol types of GRE beside EtherTypes.
const ERSPAN_1_2: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
const PPP: u16 = 0x880b;
/// GRE flags (RFC 2784, RFC 2890, RFC 2637) and version.
const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;
/// Most source route entries in a GRE header.
const MAX_ROUTES: usize = 16;

/// A GRE header.
pub(super) struct Gre<'b> {
    flags: u16,
    protocol: u16,
    key: Option<u32>,
    payload: Span<'b>,
}

/// `None` if it is cut, or contradicts itself.
pub(super) fn header(span: Span<'_>) -> Option<Gre<'_>> {
    let mut header = Reader::new(span.bytes);
    let (flags, protocol) = (header.u16()?, header.u16()?);
    let version = flags & VERSION;
    if version == 0 && flags & (CHECKSUM | ROUTING) != 0 {
        header.skip(4)?;
    }
    let key = if flags & KEY != 0 { Some(header.u32()?) } else { None };
    if flags & SEQUENCE != 0 {
        header.skip(4)?;
    }
    if version == 1 && flags & ACKNOWLEDGMENT != 0 {
        header.skip(4)?;
    }
    if version == 0 && flags & ROUTING != 0 {
        skip_routes(&mut header)?;
    }
    let payload = span.skip(span.bytes.len().saturating_sub(header.len()))?;
    Some(Gre { flags, protocol, key, payload })
}

/// Source route entries (RFC 1701): family, offset, length, addresses; ends with family and length 0.
fn skip_routes(header: &mut Reader<'_>) -> Option<()> {
    for _ in 0..MAX_ROUTES {
        let (family, _, length) = (header.u16()?, header.u8()?, header.u8()?);
        if family == 0 && length == 0 {
            return Some(());
        }
        header.skip(usize::from(length))?;
    }
    None
}

impl<'b> Gre<'b> {
    /// What it carries, if that is opened.
    pub(super) fn tunnel(&self) -> Result<Option<Tunnel<'b>>, Stop> {
        match (self.flags & VERSION, self.protocol) {
            (0, ERSPAN_1_2 | ERSPAN_3) => self.erspan(),
            (0, protocol) => Ok(Carries::ethertype(protocol).map(|carries| Tunnel {
                kind: TunnelKind::Gre,
                id: self.key,
                carries,
                inner: self.payload,
            })),
            (1, PPP) => Ok(self.pptp()),
            _ => Ok(None),
        }
    }

    /// Version 1 (RFC 2637): the key is payload length and call id; a bare acknowledgment carries nothing.
    fn pptp(&self) -> Option<Tunnel<'b>> {
        let key = self.key?;
        let inner = self.payload.trim(usize::try_from(key >> 16).ok()?);
        let carries_packet = inner.wire() > 0 && self.flags & SEQUENCE != 0;
        let id = Some(key & 0xffff);
        carries_packet.then_some(Tunnel { kind: TunnelKind::Gre, id, carries: Carries::Ppp, inner })
    }

    /// ERSPAN (draft-foschiano-erspan): type I is a bare frame, II and III have a header of their own.
    fn erspan(&self) -> Result<Option<Tunnel<'b>>, Stop> {
        let (inner, id) = if self.protocol == ERSPAN_1_2 && self.flags & SEQUENCE == 0 {
            (self.payload, None)
        } else {
            let header = self.payload.bytes;
            let &[first, _, a, b, ..] = header else { return Err(CUT) };
            let len = match (first >> 4, header.get(11)) {
                (1, _) => 8,
                (2, Some(last)) if last & 1 == 1 => 20, // with a platform specific subheader
                (2, Some(_)) => 12,
                (2, None) => return Err(CUT),
                _ => return Ok(None),
            };
            let session = u16::from_be_bytes([a, b]) & 0x03ff;
            (self.payload.skip(len).ok_or(CUT)?, Some(u32::from(session)))
        };
        Ok(Some(Tunnel { kind: TunnelKind::Erspan, id, carries: Carries::Ethernet, inner }))
    }
}
