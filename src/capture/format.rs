//! The file formats behind one face: bytes in, packets of a batch out. No I/O here.
//!
//! A format never fails as a whole. It stops and says why ([`Stop`]); where records are broken, [`Format::resume`] finds
//! the place at which they go on.

use std::borrow::Cow;

use super::pcap::Pcap;
use super::pcapng::PcapNg;
use super::report::Report;
use super::snoop::Snoop;
use crate::packet::{PacketBatch, Timestamp};

/// Longest record or block that is read, in bytes. Nothing that can be captured comes near it (libpcap's own limits are
/// 256 KiB for a packet of most link types and 16 MiB for a pcapng block); it bounds the memory.
pub const MAX_RECORD: usize = 16 * 1024 * 1024;

/// Longest packet that is taken for one, in bytes, unless the file's snapshot length announces longer ones:
/// libpcap's MAXIMUM_SNAPLEN.
pub(super) const MAX_PACKET: u32 = 262_144;

/// Longest packet that can have been on the wire, in bytes: twice what Linux puts into one (`GSO_MAX_SIZE`, 512 KiB). Where a
/// record tells more, which only damage does, its captured length counts instead.
pub(super) const MAX_WIRE: u32 = 1 << 20;

/// Bytes that [`Format::resume`] must see after a place, unless the stream ends, to judge it.
pub(super) const LOOKAHEAD: usize = RESUME_CHAIN * (MAX_PACKET as usize + 4096);

/// Records in a row that must make sense before reading goes on after damage.
const RESUME_CHAIN: usize = 3;

/// A piece of the stream.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    /// The bytes.
    pub(super) bytes: &'a [u8],
    /// Place of the first of them in the buffer.
    pub(super) at: usize,
    /// Place of the first of them in the stream.
    pub(super) offset: u64,
    /// Whether the stream ends after them.
    pub(super) last: bool,
}

impl<'a> Window<'a> {
    /// How many bytes of it stand before `rest`, its end.
    pub(super) fn before(&self, rest: &[u8]) -> usize {
        self.bytes.len().saturating_sub(rest.len())
    }

    /// What is left of it after its first `count` bytes.
    pub(super) fn after(self, count: usize) -> Self {
        let bytes: &'a [u8] = self.bytes.get(count..).unwrap_or_default();
        let passed = self.bytes.len().saturating_sub(bytes.len());
        let (at, offset) = (self.at.saturating_add(passed), self.offset.saturating_add(passed as u64));
        Self { bytes, at, offset, ..self }
    }
}

/// Why a format stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The batch is full.
    Full,
    /// So many bytes are needed from here on, more than there are.
    Need(usize),
    /// What is here is no record, and this is wrong with it.
    Bad(Cow<'static, str>),
}

/// One capture file's format and what its headers said.
pub(super) enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
    Snoop(Snoop),
}

/// What the first bytes of a file are.
pub(super) enum Start {
    /// A capture whose records, or blocks, follow after so many bytes.
    Capture(Format, usize),
    /// A capture whose header is cut off.
    CutOff,
    /// Something else.
    Other(&'static str),
}

impl Format {
    /// Bytes that [`Format::detect`] needs to see, unless the file is shorter.
    pub(super) const HEADER: usize = 24;

    /// Recognises a file by its first bytes. `report` is told what is odd about its header.
    pub(super) fn detect(bytes: &[u8], report: &mut Report) -> Start {
        let start =
            |format: Option<Self>, length| format.map_or(Start::CutOff, |format| Start::Capture(format, length));
        if Pcap::is_magic(bytes) {
            start(Pcap::open(bytes, 0, report).map(Self::Pcap), Pcap::HEADER)
        } else if bytes.starts_with(&PcapNg::MAGIC) {
            match PcapNg::is_section(bytes) {
                Some(true) => Start::Capture(Self::PcapNg(PcapNg::default()), 0),
                Some(false) => Start::Other("its first four bytes are pcapng's, but the byte-order magic is wrong"),
                None => Start::CutOff,
            }
        } else if bytes.starts_with(Snoop::MAGIC) {
            start(Snoop::open(bytes, report).map(Self::Snoop), Snoop::HEADER)
        } else {
            Start::Other(other(bytes))
        }
    }

    /// Whether packets are pushed with their places in the buffer.
    pub(super) fn has_places(&self) -> bool {
        matches!(self, Self::Pcap(_))
    }

    /// Appends packets to `batch` until it is full, the bytes run out, or they make no sense. Returns how many bytes
    /// were used and why it stopped there.
    pub(super) fn fill(&mut self, piece: Window<'_>, batch: &mut PacketBatch, report: &mut Report) -> (usize, Stop) {
        match self {
            Self::Pcap(pcap) => pcap.fill(piece, batch, report),
            Self::PcapNg(pcapng) => pcapng.fill(piece, batch, report),
            Self::Snoop(snoop) => snoop.fill(piece, batch, report),
        }
    }

    /// The first place in `piece` at which records go on, judged by [`RESUME_CHAIN`] of them in a row, or fewer if they
    /// end exactly where the stream ends.
    pub(super) fn resume(&self, piece: Window<'_>) -> Option<usize> {
        match self {
            Self::Pcap(pcap) => resume(piece, |bytes| pcap.looks_valid(bytes)),
            Self::PcapNg(pcapng) => resume(piece, |bytes| pcapng.looks_valid(bytes)),
            Self::Snoop(snoop) => resume(piece, |bytes| snoop.looks_valid(bytes)),
        }
    }
}

/// Length on the wire to go by: what the record tells, unless no packet can be that long.
pub(super) fn wire_length(told: u32, captured: u32, offset: u64, report: &mut Report) -> u32 {
    if told <= MAX_WIRE.max(captured) {
        return told.max(captured);
    }
    report.overlong(offset, told);
    captured
}

/// `looks_valid` gives the length of the record at the start of its argument, if there may be one.
fn resume(piece: Window<'_>, looks_valid: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let bytes = piece.bytes;
    let judged = if piece.last { bytes.len() } else { bytes.len().saturating_sub(LOOKAHEAD) };
    (0..judged).find(|&start| {
        let mut at = start;
        for _ in 0..RESUME_CHAIN {
            let Some(length) = bytes.get(at..).and_then(&looks_valid) else { return false };
            at = at.saturating_add(length);
            if at >= bytes.len() {
                return at == bytes.len() && piece.last;
            }
        }
        true
    })
}

/// What a file that is no capture seems to be.
fn other(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "the file is empty",
        [b'B', b'Z', b'h', ..] => "it is compressed with bzip2, which is not supported",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is compressed with xz, which is not supported",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => "it is compressed twice",
        _ if bytes.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => "it looks like text",
        _ => "it begins neither as pcap, nor as pcapng, nor as snoop",
    }
}

/// Times within which records of one file are taken to belong together when reading resumes after damage.
const NEAR: i64 = 24 * 3600 * Timestamp::SECOND;

/// The times of a file's packets so far, against which a doubtful record is judged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimeRange {
    first: Option<Timestamp>,
    last: Timestamp,
}

impl TimeRange {
    /// Takes in the time of the next packet.
    pub(super) fn see(&mut self, time: Timestamp) {
        self.first.get_or_insert(time);
        self.last = time;
    }

    /// Time of the last packet, 0 before the first.
    pub(super) fn last(&self) -> Timestamp {
        self.last
    }

    /// Whether `time` is within a day of the first or the last packet, or there is none to compare with.
    pub(super) fn near(&self, time: Timestamp) -> bool {
        let close = |other: Timestamp| time.since(other).unsigned_abs() <= NEAR.unsigned_abs();
        self.first.is_none_or(|first| close(first) || close(self.last))
    }
}

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// A cursor over fields of one byte order.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    pub(super) order: Order,
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8], order: Order) -> Self {
        Self { rest, order }
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(self.order.u16(*head))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(self.order.u32(*head))
    }
}
