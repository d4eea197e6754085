//! snoop, the capture format of Solaris (RFC 1761): big-endian, microseconds.
//!
//! In: bytes after the file header. Out: packets in a batch.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use super::format::{Fields, MAX_PACKET, MAX_RECORD, MAX_WIRE, Order, Stop, TimeRange, Window, wire_length};
use super::report::Report;
use crate::packet::{LinkType, PacketBatch, Timestamp};

/// Length of a record's header: original, included and record length, drops, seconds, microseconds.
const RECORD_HEADER: usize = 24;

/// What the file header said.
pub(super) struct Snoop {
    link: LinkType,
    times: TimeRange,
}

struct Record {
    time: Timestamp,
    wire_len: u32,
    caplen: u32,
    /// Whole record, header and padding included.
    length: u32,
}

impl Snoop {
    /// First bytes of every file.
    pub(super) const MAGIC: &'static [u8] = b"snoop\0\0\0";
    /// Length of the file header.
    pub(super) const HEADER: usize = 16;

    /// Reads the file header; `None` if it is cut off.
    pub(super) fn open(bytes: &[u8], report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(bytes.get(Self::MAGIC.len()..)?, Order::Big);
        let (version, datalink) = (fields.u32()?, fields.u32()?);
        if version != 2 {
            report.note(0, || format!("snoop version {version} is unknown and read as 2"));
        }
        Some(Self { link: link_type(datalink), times: TimeRange::default() })
    }

    /// See [`super::format::Format::fill`].
    pub(super) fn fill(&mut self, piece: Window<'_>, batch: &mut PacketBatch, report: &mut Report) -> (usize, Stop) {
        let mut rest = piece.bytes;
        let stop = loop {
            if batch.is_full() {
                break Stop::Full;
            }
            let Some(record) = record(rest) else { break Stop::Need(RECORD_HEADER) };
            if record.length as usize > MAX_RECORD || u64::from(record.length) < record.least() {
                break Stop::Bad("a record whose lengths contradict each other".into());
            }
            let Some((whole, after)) = rest.split_at_checked(record.length as usize) else {
                break Stop::Need(record.length as usize);
            };
            let data = whole.get(RECORD_HEADER..).and_then(|data| data.get(..record.caplen as usize));
            let offset = piece.after(piece.before(rest)).offset;
            let wire_len = wire_length(record.wire_len, record.caplen, offset, report);
            batch.push(record.time, self.link, 0, wire_len, data.unwrap_or_default());
            self.times.see(record.time);
            rest = after;
        };
        (piece.before(rest), stop)
    }

    /// Length of the record at the start of `bytes`, if there may be one.
    pub(super) fn looks_valid(&self, bytes: &[u8]) -> Option<usize> {
        let record = record(bytes)?;
        let sane = record.caplen <= MAX_PACKET
            && (record.caplen.max(1)..=MAX_WIRE).contains(&record.wire_len)
            && (record.least()..record.least().saturating_add(64)).contains(&u64::from(record.length))
            && self.times.near(record.time);
        sane.then_some(record.length as usize)
    }
}

impl Record {
    /// Least length that its packet can have.
    fn least(&self) -> u64 {
        (RECORD_HEADER as u64).saturating_add(u64::from(self.caplen))
    }
}

fn record(bytes: &[u8]) -> Option<Record> {
    let mut fields = Fields::new(bytes.get(..RECORD_HEADER)?, Order::Big);
    let (wire_len, caplen, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (_drops, seconds, micros) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let time = Timestamp::new(i64::from(seconds), i64::from(micros).saturating_mul(1000));
    Some(Record { time, wire_len, caplen, length })
}

/// From snoop's numbers to those of pcap; of what has no counterpart here only the number is lost.
fn link_type(datalink: u32) -> LinkType {
    match datalink {
        0 | 4 => LinkType::ETHERNET,
        2 => LinkType(6),    // Token Ring
        8 => LinkType(10),   // FDDI
        26 => LinkType(226), // IPNET
        _ => LinkType(u16::MAX),
    }
}
