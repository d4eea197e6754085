//! WebSocket (RFC 6455): the frames of both directions in, unmasked and inflated (RFC 7692) messages out.
//!
//! What messages carry goes round again as a stream of its own; each message of the client is handed on whole as well, as
//! what it asks for ([`Found::Message`]). Bounds: [`MAX_MESSAGE`] bytes of a client's message and a block of the rest, and of what was compressed
//! [`INFLATED`] bytes plus [`RATIO`] times what came; a direction that inflates to more is given up.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use flate2::{Decompress, FlushDecompress, Status};
use zeroize::Zeroizing;

use super::{Delivery, Found, Layers, Sink, bytes_of};
use crate::bytes::Reader;
use crate::proto::http::Upgrade;
use crate::proto::http::later::{Effort, Later};
use crate::stream::{Chunk, Context, Dir};

/// Bytes of a message that are handed on whole.
const MAX_MESSAGE: usize = 64 * 1024;
/// A shorter one asks for nothing: no URL or host is as short.
const MIN_MESSAGE: usize = 4;
/// Bytes that each direction may inflate to, whatever came.
const INFLATED: u64 = 64 * 1024;
/// And so many for each byte that came.
const RATIO: u64 = 20;
/// Bytes of the longest frame header.
const MAX_HEADER: usize = 14;
/// What a sender leaves out at the end of each compressed message.
const TAIL: &[u8] = b"\0\0\xff\xff";
/// Bytes that are inflated at a time.
const PIECE: usize = 8 * 1024;

/// See the module.
pub(super) struct WebSocket {
    upgrade: Box<Upgrade>,
    sides: [Side; 2],
    inner: Layers,
}

/// One direction.
#[derive(Default)]
struct Side {
    frame: Frame,
    /// The message's frames are compressed.
    compressed: bool,
    inflate: Option<Box<Inflate>>,
    /// The client's message so far, and what there is beyond that.
    message: Zeroizing<Vec<u8>>,
    later: Option<Box<Later>>,
    /// Frames cannot be found any more, or it inflates to too much.
    lost: bool,
}

/// A frame as far as it was seen.
#[derive(Default)]
struct Frame {
    header: Vec<u8>,
    head: Option<Head>,
}

/// A frame's header.
#[derive(Clone, Copy)]
struct Head {
    end: bool,
    compressed: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Payload bytes that were seen.
    at: u64,
    left: u64,
}

/// A direction's decompressor, whose window goes on from message to message.
struct Inflate {
    raw: Decompress,
    came: u64,
    out: u64,
}

impl WebSocket {
    /// Agreed on by `upgrade`; what it carries is at this depth.
    pub(super) fn new(upgrade: Box<Upgrade>, inner: Layers) -> Self {
        Self { upgrade, sides: Default::default(), inner }
    }

    /// Takes the next chunk, sent in `dir` as the layers further out have it.
    pub(super) fn feed(&mut self, dir: Dir, given: Delivery<'_>, sink: &mut Sink<'_>) {
        if let (Chunk::Gap { .. }, Some(side)) = (given.chunk, self.sides.get_mut(dir.index())) {
            side.lost = true;
        }
        let Some(mut bytes) = bytes_of(given.chunk) else { return };
        while !bytes.is_empty() {
            let Some(side) = self.sides.get_mut(dir.index()).filter(|side| !side.lost) else { return };
            let Some(head) = side.frame.head(&mut bytes) else {
                side.lost |= side.frame.header.len() >= MAX_HEADER;
                return;
            };
            let len = usize::try_from(head.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            bytes = rest;
            self.payload(dir, head, payload, given, sink);
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self, at: Context, sink: &mut Sink<'_>) {
        self.inner.finish(at, sink);
    }

    /// Whether anything can still be read.
    pub(super) fn wants_more(&self) -> bool {
        self.sides.iter().any(|side| !side.lost)
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let side = |side: &Side| {
            let inflate = if side.inflate.is_some() { WINDOW } else { 0 };
            let later = side.later.as_ref().map_or(0, |later| later.memory());
            let message = side.message.capacity().saturating_add(later);
            message.saturating_add(side.frame.header.capacity()).saturating_add(inflate)
        };
        let sides = self.sides.iter().map(side).fold(size_of::<Self>(), usize::saturating_add);
        sides.saturating_add(self.inner.memory()).saturating_add(self.upgrade.memory())
    }

    /// Takes bytes of a frame's payload.
    fn payload(&mut self, dir: Dir, head: Head, payload: &[u8], given: Delivery<'_>, sink: &mut Sink<'_>) {
        let Some(side) = self.sides.get_mut(dir.index()) else { return };
        let left = head.left.saturating_sub(payload.len() as u64);
        let ends = left == 0;
        side.frame.head =
            if ends { None } else { Some(Head { at: head.at.saturating_add(payload.len() as u64), left, ..head }) };
        match head.opcode {
            1 | 2 => side.compressed = head.compressed,
            0 => {}
            _ => return, // close, ping, pong
        }
        let plain = unmasked(payload, head);
        let compressed = side.compressed;
        if !compressed {
            self.carried(dir, &plain, given, sink);
        } else {
            self.inflate(dir, &plain, given, sink);
            if ends && head.end {
                self.inflate(dir, TAIL, given, sink);
            }
        }
        if ends && head.end {
            self.message(dir, given, sink);
        }
    }

    fn inflate(&mut self, dir: Dir, mut bytes: &[u8], given: Delivery<'_>, sink: &mut Sink<'_>) {
        let Some(side) = self.sides.get_mut(dir.index()) else { return };
        let mut inflate = side.inflate.take().unwrap_or_default();
        inflate.came = inflate.came.saturating_add(bytes.len() as u64);
        let mut lost = false;
        let mut out = Zeroizing::new(vec![0; PIECE]);
        loop {
            let Some((used, len)) = inflate.step(bytes, &mut out) else {
                lost = true;
                break;
            };
            bytes = bytes.get(used..).unwrap_or_default();
            self.carried(dir, out.get(..len).unwrap_or_default(), given, sink);
            if len < PIECE && (bytes.is_empty() || used == 0) {
                break;
            }
        }
        if let Some(side) = self.sides.get_mut(dir.index()) {
            side.lost |= lost;
            side.inflate = Some(inflate).filter(|_| !lost);
        }
    }

    /// Bytes of a message as its sender wrote them.
    fn carried(&mut self, dir: Dir, bytes: &[u8], given: Delivery<'_>, sink: &mut Sink<'_>) {
        if let Some(side) = self.sides.get_mut(dir.index()).filter(|_| dir == Dir::ToServer) {
            let room = MAX_MESSAGE.saturating_sub(side.message.len());
            let (first, rest) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
            side.message.extend_from_slice(first);
            if let Some(watch) = sink.limits.watch.filter(|_| !rest.is_empty()) {
                side.later.get_or_insert_default().take(rest, Effort::Whole, watch);
            }
        }
        if !bytes.is_empty() {
            self.inner.feed(Delivery { chunk: Chunk::Data(bytes), ..given }, sink);
        }
    }

    /// A message is whole.
    fn message(&mut self, dir: Dir, given: Delivery<'_>, sink: &mut Sink<'_>) {
        self.inner.pause(given.dir, given.at, sink);
        let Some(side) = self.sides.get_mut(dir.index()) else { return };
        if self.upgrade.fresh_window(dir) {
            side.inflate = None;
        }
        let (message, later) = (std::mem::take(&mut side.message), side.later.take());
        if let Some(request) = self.upgrade.request().filter(|_| message.len() >= MIN_MESSAGE) {
            let conn = self.inner.outer.conn(sink.conn);
            (sink.out)(Found::Message { conn, request, bytes: &message, later, at: given.at });
        }
    }
}

/// What a decompressor takes.
const WINDOW: usize = 48 * 1024;

impl Default for Inflate {
    fn default() -> Self {
        Self { raw: Decompress::new(false), came: 0, out: 0 }
    }
}

impl Inflate {
    /// How many bytes were used and how many came out; `None` if it is no DEFLATE, or inflates to too much.
    fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
        let (used, made) = (self.raw.total_in(), self.raw.total_out());
        let status = self.raw.decompress(bytes, out, FlushDecompress::Sync).ok()?;
        let len = self.raw.total_out().saturating_sub(made);
        self.out = self.out.saturating_add(len);
        if self.out > INFLATED.saturating_add(self.came.saturating_mul(RATIO)) {
            return None;
        }
        let used = self.raw.total_in().saturating_sub(used);
        if status == Status::StreamEnd {
            self.raw.reset(false);
        }
        Some((usize::try_from(used).ok()?, usize::try_from(len).ok()?))
    }
}

impl Frame {
    /// The header of the present frame, once it is whole.
    fn head(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        while self.head.is_none() && self.header.len() < MAX_HEADER {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            self.header.push(*byte);
            self.head = Head::parse(&self.header);
        }
        self.header.clear();
        self.head
    }
}

impl Head {
    /// A header, if these bytes are one that is whole.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (first, second) = (reader.u8()?, reader.u8()?);
        let left = match second & 0x7f {
            126 => u64::from(reader.u16()?),
            127 => reader.u64()?,
            len => u64::from(len),
        };
        let mask = if second & 0x80 != 0 { Some(reader.array()?) } else { None };
        Some(Self { end: first & 0x80 != 0, compressed: first & 0x40 != 0, opcode: first & 0x0f, mask, at: 0, left })
    }
}

/// A piece of a frame's payload without its mask.
fn unmasked(payload: &[u8], head: Head) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(payload.to_vec());
    if let Some(mut mask) = head.mask {
        mask.rotate_left((head.at % 4) as usize);
        for piece in plain.chunks_mut(mask.len()) {
            piece.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
    plain
}
