//! Classic pcap: both byte orders, micro- and nanoseconds, and the "modified" records of old Red Hat and SuSE kernels.
//!
//! In: bytes after the file header. Out: packets in a batch. Header fields that lie (version, snapshot length, lengths
//! in the wrong order) are read as far as they make sense. Format: draft-ietf-opsawg-pcap.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;

use super::format::{Fields, MAX_PACKET, MAX_RECORD, MAX_WIRE, Order, Stop, TimeRange, Window, wire_length};
use super::report::Report;
use crate::packet::{LinkType, PacketBatch, Timestamp};

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetsov's patch: micros, and 8 more bytes in each record header.
const MODIFIED: u32 = 0xa1b2_cd34;

/// What the file header said.
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds in a unit of the fraction.
    unit: i64,
    /// Length of a record header.
    record_header: usize,
    link: LinkType,
    /// Longest captured length that is taken for one.
    limit: u32,
    /// Before version 2.4 the two lengths stand in either order.
    lengths_unordered: bool,
    times: TimeRange,
}

/// A record header.
struct Record {
    time: Timestamp,
    caplen: u32,
    wire_len: u32,
}

impl Pcap {
    /// Length of the file header.
    pub(super) const HEADER: usize = 24;

    /// Whether `bytes` begin as a pcap file does.
    pub(super) fn is_magic(bytes: &[u8]) -> bool {
        bytes.first_chunk().is_some_and(|magic| order_of(*magic).is_some())
    }

    /// Reads the file header at `offset`; `None` if it is cut off or none.
    pub(super) fn open(bytes: &[u8], offset: u64, report: &mut Report) -> Option<Self> {
        let (order, magic) = order_of(*bytes.first_chunk()?)?;
        let mut fields = Fields::new(bytes.get(4..Self::HEADER)?, order);
        let (major, minor) = (fields.u16()?, fields.u16()?);
        let (_zone, _accuracy) = (fields.u32()?, fields.u32()?);
        let (snaplen, link) = (fields.u32()?, fields.u32()?);
        if major != 2 {
            report.note(offset, || format!("pcap version {major}.{minor} is unknown and read as 2.4"));
        }
        Some(Self {
            order,
            unit: if magic == NANOS { 1 } else { 1000 },
            record_header: if magic == MODIFIED { 24 } else { 16 },
            // The upper half holds the length of the frame check sequence and reserved bits.
            link: LinkType((link & 0xffff) as u16),
            limit: snaplen.clamp(MAX_PACKET, MAX_RECORD as u32),
            lengths_unordered: major == 2 && minor < 4,
            times: TimeRange::default(),
        })
    }

    /// See [`super::format::Format::fill`].
    pub(super) fn fill(&mut self, piece: Window<'_>, batch: &mut PacketBatch, report: &mut Report) -> (usize, Stop) {
        let mut rest = piece.bytes;
        let stop = loop {
            if batch.is_full() {
                break Stop::Full;
            }
            let Some(mut record) = self.record(rest) else { break Stop::Need(self.record_header) };
            if record.caplen > record.wire_len || record.wire_len == 0 {
                let here = piece.after(piece.before(rest));
                match self.doubtful(&mut record, here, report) {
                    Doubt::Fine => {}
                    Doubt::Header => {
                        rest = rest.get(Self::HEADER..).unwrap_or_default();
                        continue;
                    }
                    Doubt::Stop(stop) => break stop,
                }
            }
            if record.caplen > self.limit {
                break Stop::Bad(too_long(record.caplen));
            }
            let end = self.record_header.saturating_add(record.caplen as usize);
            let Some((whole, after)) = rest.split_at_checked(end) else { break Stop::Need(end) };
            if record.wire_len > MAX_WIRE {
                let offset = piece.after(piece.before(rest)).offset;
                record.wire_len = wire_length(record.wire_len, record.caplen, offset, report);
            }
            let data = whole.get(self.record_header..).unwrap_or_default();
            let at = piece.at.saturating_add(piece.before(rest)).saturating_add(self.record_header);
            batch.push_within(record.time, self.link, record.wire_len, at, data);
            self.times.see(record.time);
            rest = after;
        };
        (piece.before(rest), stop)
    }

    /// Length of the record at the start of `bytes`, if there may be one: stricter than what [`Self::fill`] accepts,
    /// because here nothing else says that a record begins.
    pub(super) fn looks_valid(&self, bytes: &[u8]) -> Option<usize> {
        let record = self.record(bytes)?;
        let sane = record.caplen <= MAX_PACKET
            && (1..=MAX_WIRE).contains(&record.wire_len)
            && record.caplen <= record.wire_len
            && self.times.near(record.time);
        sane.then_some(self.record_header.saturating_add(record.caplen as usize))
    }

    #[inline]
    fn record(&self, bytes: &[u8]) -> Option<Record> {
        if bytes.len() < self.record_header {
            return None;
        }
        let mut fields = Fields::new(bytes, self.order);
        let (seconds, fraction) = (fields.u32()?, fields.u32()?);
        let (mut caplen, mut wire_len) = (fields.u32()?, fields.u32()?);
        if self.lengths_unordered && caplen > wire_len {
            (caplen, wire_len) = (wire_len, caplen);
        }
        let time = Timestamp::new(i64::from(seconds), i64::from(fraction).saturating_mul(self.unit));
        Some(Record { time, caplen, wire_len })
    }

    /// Judges a record that claims to hold more than was on the wire, or that nothing was. Some writers do that, but it
    /// is also what damage looks like; the lengths are believed if a record follows where they say.
    #[cold]
    fn doubtful(&mut self, record: &mut Record, here: Window<'_>, report: &mut Report) -> Doubt {
        if record.caplen == 0
            && let Some(verdict) = self.empty(record, here, report)
        {
            return verdict;
        }
        let caplen = record.caplen;
        let missing =
            |length: u32| Doubt::Stop(Stop::Need(self.record_header.saturating_mul(2).saturating_add(length as usize)));
        match self.followed(record.time, here, caplen) {
            Some(true) => return Doubt::Fine,
            Some(false) => {}
            None => return missing(caplen),
        }
        match self.followed(record.time, here, record.wire_len) {
            Some(true) if record.wire_len > 0 => {
                report.damage(here.offset, || {
                    format!("a packet of {} bytes claims to have {caplen} captured", record.wire_len)
                });
                record.caplen = record.wire_len;
                Doubt::Fine
            }
            None => missing(record.wire_len),
            _ if caplen > self.limit => Doubt::Stop(Stop::Bad(too_long(caplen))),
            _ => Doubt::Stop(Stop::Bad("no packet record follows where this one ends".into())),
        }
    }

    /// A record without any length: a second file header (files that were joined end to end) or a run of zeros (disk
    /// space that was reserved and never written). `None` if it is neither.
    fn empty(&mut self, record: &Record, here: Window<'_>, report: &mut Report) -> Option<Doubt> {
        if Self::is_magic(here.bytes) {
            if here.bytes.len() < Self::HEADER && !here.last {
                return Some(Doubt::Stop(Stop::Need(Self::HEADER)));
            }
            let next = Self::open(here.bytes, here.offset, report)?;
            report.note(here.offset, || "another pcap file begins here".into());
            *self = Self { times: self.times, ..next };
            return Some(Doubt::Header);
        }
        (record.time == Timestamp(0)).then(|| Doubt::Stop(Stop::Bad("zeros where a packet record should begin".into())))
    }

    /// Whether a record, or the end of the file, follows a record of `caplen` bytes; `None` if more bytes are needed to
    /// tell.
    fn followed(&self, time: Timestamp, here: Window<'_>, caplen: u32) -> Option<bool> {
        if caplen > self.limit {
            return Some(false);
        }
        let mut times = self.times;
        times.see(time);
        let end = self.record_header.saturating_add(caplen as usize);
        match here.bytes.get(end..) {
            Some([]) if here.last => Some(true),
            Some(after) => match self.record(after) {
                Some(next) => Some(next.caplen <= self.limit && times.near(next.time)),
                None => here.last.then_some(false),
            },
            None => here.last.then_some(false),
        }
    }
}

/// What became of a doubtful record.
enum Doubt {
    /// It is read as it is now.
    Fine,
    /// It is a file header.
    Header,
    /// It is not read.
    Stop(Stop),
}

/// Byte order and magic number, if it is one.
fn order_of(magic: [u8; 4]) -> Option<(Order, u32)> {
    [Order::Little, Order::Big]
        .into_iter()
        .map(|order| (order, order.u32(magic)))
        .find(|(_, magic)| matches!(*magic, MICROS | NANOS | MODIFIED))
}

fn too_long(caplen: u32) -> Cow<'static, str> {
    format!("a packet of {caplen} bytes is announced, more than any can have").into()
}
