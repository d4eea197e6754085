//! pcapng: several sections of either byte order, several interfaces, every kind of packet block.
//!
//! In: blocks. Out: packets in a batch, each with its interface's link type. Unknown blocks and options are skipped, the
//! section length is not needed. Bounds: a block is at most [`MAX_RECORD`] bytes, a section has at most
//! [`PcapNg::MAX_INTERFACES`] interfaces. Format: draft-ietf-opsawg-pcapng.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;

use super::format::{Fields, MAX_PACKET, MAX_RECORD, MAX_WIRE, Order, Stop, TimeRange, Window};
use super::report::Report;
use crate::packet::{LinkType, PacketBatch, Timestamp};

/// Block types.
mod kind {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const ENHANCED_PACKET: u32 = 6;
    pub(super) const SYSTEMD_JOURNAL: u32 = 9;
    pub(super) const DECRYPTION_SECRETS: u32 = 10;
    pub(super) const CUSTOM: u32 = 0x0bad;
    pub(super) const CUSTOM_NO_COPY: u32 = 0x4000_0bad;
}

/// Byte-order magic of a section header, in the section's own order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Type and length before a block's body.
const HEAD: usize = 8;
/// Type, length, and the length again.
const FRAME: usize = HEAD + 4;

/// The current section.
#[derive(Default)]
pub(super) struct PcapNg {
    order: Order,
    interfaces: Vec<Interface>,
    /// Number of the section's first interface: interfaces are numbered through all sections of a file, because they
    /// may differ in everything.
    first_interface: u32,
    times: TimeRange,
    /// Length on the wire that the last packet told of itself, if none can have it.
    overlong: Option<u32>,
}

/// What an interface description says of its packets.
#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    /// 0 is no limit.
    snaplen: u32,
    resolution: Resolution,
    /// Seconds to add to every time.
    offset: i64,
}

/// A block in its frame.
struct Block<'a> {
    kind: u32,
    order: Order,
    length: usize,
    body: &'a [u8],
    /// The length at its end.
    trailer: u32,
}

impl PcapNg {
    /// First bytes of every file, in either byte order.
    pub(super) const MAGIC: [u8; 4] = kind::SECTION.to_be_bytes();
    /// Interfaces of a section beyond this many are not known.
    const MAX_INTERFACES: usize = 1 << 16;

    /// Whether `bytes`, which begin with [`Self::MAGIC`], are a section header; `None` if they are too few to tell.
    pub(super) fn is_section(bytes: &[u8]) -> Option<bool> {
        bytes.get(HEAD..).and_then(<[u8]>::first_chunk).map(|magic| order_of(*magic).is_some())
    }

    /// See [`super::format::Format::fill`].
    pub(super) fn fill(&mut self, piece: Window<'_>, batch: &mut PacketBatch, report: &mut Report) -> (usize, Stop) {
        let mut used = 0;
        let stop = loop {
            if batch.is_full() {
                break Stop::Full;
            }
            let here = piece.after(used);
            let block = match self.frame(here.bytes) {
                Ok(block) => block,
                Err(stop) => break stop,
            };
            if block.trailer as usize != block.length {
                match self.followed(here, block.length) {
                    Some(true) => report.damage(here.offset, || {
                        format!("a block begins with length {} and ends with length {}", block.length, block.trailer)
                    }),
                    Some(false) => {
                        break Stop::Bad("the lengths at the beginning and the end of a block differ".into());
                    }
                    None => break Stop::Need(block.length.saturating_add(FRAME)),
                }
            }
            if let Err(text) = self.block(&block, batch) {
                report.damage(here.offset, || text.into_owned());
            }
            if let Some(told) = self.overlong.take() {
                report.overlong(here.offset, told);
            }
            used = used.saturating_add(block.length);
        };
        (used, stop)
    }

    /// Length of the block at the start of `bytes`, if there may be one: a known type, and the same length at both ends
    /// as far as they can be seen.
    pub(super) fn looks_valid(&self, bytes: &[u8]) -> Option<usize> {
        let mut fields = Fields::new(bytes, self.order);
        let kind = fields.u32()?;
        let known = matches!(
            kind,
            kind::SECTION | kind::INTERFACE
                ..=kind::ENHANCED_PACKET
                    | kind::SYSTEMD_JOURNAL
                    | kind::DECRYPTION_SECRETS
                    | kind::CUSTOM
                    | kind::CUSTOM_NO_COPY
        );
        if !known {
            return None;
        }
        let order = if kind == kind::SECTION { order_of(*bytes.get(HEAD..)?.first_chunk()?)? } else { self.order };
        let length = order.u32(*bytes.get(4..)?.first_chunk()?) as usize;
        if length > (MAX_PACKET as usize).saturating_add(4096) || check_length(length as u32).is_err() {
            return None;
        }
        let trailer = bytes.get(length.checked_sub(4)?..)?.first_chunk()?;
        (order.u32(*trailer) as usize == length).then_some(length)
    }

    /// The block at the start of `bytes`, as far as its lengths are sane and its bytes are there.
    #[inline]
    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Block<'a>, Stop> {
        let Some(&[k0, k1, k2, k3, l0, l1, l2, l3]) = bytes.first_chunk::<HEAD>() else { return Err(Stop::Need(HEAD)) };
        let kind = self.order.u32([k0, k1, k2, k3]);
        let order = if kind == kind::SECTION {
            let Some(magic) = bytes.get(HEAD..).and_then(<[u8]>::first_chunk) else { return Err(Stop::Need(FRAME)) };
            order_of(*magic).ok_or_else(|| Stop::Bad("a section header without byte-order magic".into()))?
        } else {
            self.order
        };
        let announced = order.u32([l0, l1, l2, l3]);
        check_length(announced).map_err(Stop::Bad)?;
        let length = announced as usize;
        let Some(whole) = bytes.get(..length) else { return Err(Stop::Need(length)) };
        let (body, trailer) = whole.get(HEAD..).and_then(<[u8]>::split_last_chunk).unwrap_or((&[], &[0; 4]));
        Ok(Block { kind, order, length, body, trailer: order.u32(*trailer) })
    }

    /// Whether a block, or the end of the file, follows a block of `length` bytes; `None` if more bytes are needed.
    fn followed(&self, here: Window<'_>, length: usize) -> Option<bool> {
        match here.after(length).bytes {
            [] if here.last => Some(true),
            after if after.len() < FRAME => here.last.then_some(false),
            after => Some(!matches!(self.frame(after), Err(Stop::Bad(_)))),
        }
    }

    /// Takes in a block. What is wrong inside it comes back as words; the block is then skipped.
    fn block(&mut self, block: &Block<'_>, batch: &mut PacketBatch) -> Result<(), Cow<'static, str>> {
        match block.kind {
            kind::ENHANCED_PACKET => self.enhanced_packet(Fields::new(block.body, self.order), batch),
            kind::PACKET => self.packet(Fields::new(block.body, self.order), batch),
            kind::SIMPLE_PACKET => self.simple_packet(Fields::new(block.body, self.order), batch),
            kind::INTERFACE => self.interface(Fields::new(block.body, self.order)),
            kind::SECTION => {
                self.order = block.order;
                self.first_interface = self.first_interface.wrapping_add(self.interfaces.len() as u32);
                self.interfaces.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Enhanced Packet Block.
    #[inline]
    fn enhanced_packet(&mut self, mut fields: Fields<'_>, batch: &mut PacketBatch) -> Result<(), Cow<'static, str>> {
        let number = fields.u32().ok_or(SHORT)?;
        self.timed_packet(number, fields, batch)
    }

    /// Packet Block, the obsolete form of the Enhanced Packet Block.
    fn packet(&mut self, mut fields: Fields<'_>, batch: &mut PacketBatch) -> Result<(), Cow<'static, str>> {
        let (number, _drops) = (fields.u16().ok_or(SHORT)?, fields.u16().ok_or(SHORT)?);
        self.timed_packet(u32::from(number), fields, batch)
    }

    /// Simple Packet Block: of the first interface, and without a time, so it gets that of the packet before.
    fn simple_packet(&mut self, mut fields: Fields<'_>, batch: &mut PacketBatch) -> Result<(), Cow<'static, str>> {
        let interface = *self.interfaces.first().ok_or_else(|| unknown_interface(0))?;
        let wire_len = fields.u32().ok_or(SHORT)?;
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let time = self.times.last();
        // Without a captured length of its own, a block that is too short for its packet was cut by a snapshot length
        // that the interface does not tell.
        let caplen = wire_len.min(snaplen).min(fields.rest.len() as u32);
        self.push(0, interface, time, caplen, wire_len, fields.rest, batch)
    }

    #[inline]
    fn timed_packet(
        &mut self,
        number: u32,
        mut fields: Fields<'_>,
        batch: &mut PacketBatch,
    ) -> Result<(), Cow<'static, str>> {
        let (high, low) = (fields.u32().ok_or(SHORT)?, fields.u32().ok_or(SHORT)?);
        let (caplen, wire_len) = (fields.u32().ok_or(SHORT)?, fields.u32().ok_or(SHORT)?);
        let interface = *self.interfaces.get(number as usize).ok_or_else(|| unknown_interface(number))?;
        let units = u64::from(high) << 32 | u64::from(low);
        let time = Timestamp::new(interface.offset, interface.resolution.nanos(units));
        self.push(number, interface, time, caplen, wire_len, fields.rest, batch)
    }

    #[inline]
    #[allow(clippy::too_many_arguments, reason = "the fields of one block, once")]
    fn push(
        &mut self,
        number: u32,
        interface: Interface,
        time: Timestamp,
        caplen: u32,
        wire_len: u32,
        rest: &[u8],
        batch: &mut PacketBatch,
    ) -> Result<(), Cow<'static, str>> {
        let data = rest.get(..caplen as usize).unwrap_or(rest);
        let number = self.first_interface.wrapping_add(number);
        let captured = data.len() as u32;
        let is_sane = wire_len <= MAX_WIRE.max(captured);
        let wire = if is_sane { wire_len.max(captured) } else { captured };
        self.overlong = (!is_sane).then_some(wire_len);
        batch.push(time, interface.link, number, wire, data);
        self.times.see(time);
        if data.len() < caplen as usize {
            return Err(format!("a packet of {caplen} bytes stands in a block that has room for {}", rest.len()).into());
        }
        Ok(())
    }

    /// Interface Description Block.
    fn interface(&mut self, mut fields: Fields<'_>) -> Result<(), Cow<'static, str>> {
        if self.interfaces.len() >= Self::MAX_INTERFACES {
            return Err(format!("a section has more than {} interfaces", Self::MAX_INTERFACES).into());
        }
        let (link, _reserved) = (fields.u16().ok_or(SHORT)?, fields.u16().ok_or(SHORT)?);
        let snaplen = fields.u32().ok_or(SHORT)?;
        let mut interface = Interface { link: LinkType(link), snaplen, resolution: Resolution::MICROS, offset: 0 };
        while let Some((code, value)) = option(&mut fields) {
            match (code, value) {
                (IF_TSRESOL, &[resolution, ..]) => interface.resolution = Resolution::new(resolution),
                (IF_TSOFFSET, &[a, b, c, d, e, f, g, h, ..]) => {
                    let (first, second) = (self.order.u32([a, b, c, d]), self.order.u32([e, f, g, h]));
                    let (low, high) = match self.order {
                        Order::Little => (first, second),
                        Order::Big => (second, first),
                    };
                    interface.offset = (u64::from(high) << 32 | u64::from(low)).cast_signed();
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }
}

/// Option codes of the interface description.
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;

/// The next option; `None` at the end of the options, whether marked or not.
fn option<'a>(fields: &mut Fields<'a>) -> Option<(u16, &'a [u8])> {
    let (code, length) = (fields.u16()?, usize::from(fields.u16()?));
    if code == 0 {
        return None;
    }
    let value = fields.take(length)?;
    // The last option may lack its padding.
    fields.take(length.wrapping_neg() & 3);
    Some((code, value))
}

/// Unit of an interface's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// So many nanoseconds.
    Nanos(u64),
    /// A nanosecond is so many of it.
    PerNano(u64),
    /// 2 to the minus n-th of a second.
    Binary(u8),
}

impl Resolution {
    const MICROS: Self = Self::Nanos(1000);

    /// From option if_tsresol: 10 to the minus `code`-th, or 2 to the minus the lower seven bits if the highest is set.
    fn new(code: u8) -> Self {
        match code {
            0..=9 => Self::Nanos(10u64.saturating_pow(9u32.saturating_sub(u32::from(code)))),
            // Of a unit so small that 64 bits of it do not make a nanosecond, nothing is left.
            10..=0x7f => 10u64.checked_pow(u32::from(code).saturating_sub(9)).map_or(Self::Nanos(0), Self::PerNano),
            0x80.. => Self::Binary(code & 0x7f),
        }
    }

    /// `units` in nanoseconds, saturating.
    #[inline]
    fn nanos(self, units: u64) -> i64 {
        let nanos = match self {
            Self::Nanos(unit) => units.saturating_mul(unit),
            Self::PerNano(count) => units.checked_div(count).unwrap_or(units),
            Self::Binary(bits) => {
                let nanos = u128::from(units).saturating_mul(u128::from(Timestamp::SECOND.unsigned_abs()));
                u64::try_from(nanos >> bits).unwrap_or(u64::MAX)
            }
        };
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

const SHORT: Cow<'static, str> = Cow::Borrowed("a block is too short for its type");

fn unknown_interface(number: u32) -> Cow<'static, str> {
    format!("a packet of interface {number}, which was not described, was left out").into()
}

/// Refuses a block length that no block can have.
fn check_length(length: u32) -> Result<(), Cow<'static, str>> {
    if (length as usize) < FRAME || !length.is_multiple_of(4) {
        Err(format!("a block of {length} bytes is announced, which no block can have").into())
    } else if length as usize > MAX_RECORD {
        Err(format!("a block of {length} bytes is announced; at most {MAX_RECORD} are read").into())
    } else {
        Ok(())
    }
}

/// Byte order of a section, by its byte-order magic.
fn order_of(magic: [u8; 4]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|order| order.u32(magic) == BYTE_ORDER)
}
