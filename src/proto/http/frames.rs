//! One direction of an HTTP/2 connection: bytes and gaps in, frames out (RFC 9113 section 4 and 6).
//!
//! Header blocks come out whole, with padding, priority and CONTINUATION undone; DATA comes out piece by piece; of other
//! frames only RST_STREAM is told. Bounds: [`MAX_BLOCK`] bytes of a header block, longer ones are passed over; other
//! payloads are skipped by length.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::probe::PREFACE;
use crate::bytes::Reader;

/// Bytes of one header block, frames of CONTINUATION included.
const MAX_BLOCK: usize = 64 * 1024;
/// Longest frame that is believed when frames are looked for after a loss.
const MAX_BELIEVED: u32 = 1 << 20;
/// Bytes of a frame header.
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// What a step came to. `wire` is the number of bytes that the frames took since the last event.
pub(super) enum Event<'a> {
    /// All input is used.
    More,
    /// A header block is complete: it is in [`Frames::block`].
    Headers { stream: u32, end: bool, pushed: bool, wire: u64 },
    /// Bytes of a body; `end` with the last ones.
    Data { stream: u32, bytes: &'a [u8], end: bool, wire: u64 },
    /// The stream was given up.
    Reset { stream: u32 },
    /// A header block was too long to be kept: what it added to the table is not known.
    TooLong { stream: u32 },
    /// This is no HTTP/2.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// That many bytes of the preface were read.
    Preface(usize),
    /// In a frame header, collected in `frame`.
    Header,
    /// In the payload of HEADERS, PUSH_PROMISE or CONTINUATION, collected in `frame`.
    Block { head: FrameHead },
    /// In DATA: payload bytes left, the last `pad` of them padding; `None` before the padding length was read.
    Data { head: FrameHead, left: u32, pad: Option<u32> },
    /// In a payload of no interest.
    Skip(u32),
    /// Where frames begin is not known.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameHead {
    len: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHead {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(Self { len: reader.u24()?, kind: reader.u8()?, flags: reader.u8()?, stream: reader.u32()? })
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a receiver would take it: connection frames on stream 0, the others not.
    fn is_sound(self) -> bool {
        match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => self.stream & 0x7fff_ffff != 0,
            SETTINGS | PING | GOAWAY => self.stream & 0x7fff_ffff == 0,
            _ => true,
        }
    }

    /// Whether bytes found at random are likely to be this frame's header.
    fn is_believable(self) -> bool {
        let (flags, len) = match self.kind {
            DATA => (END_STREAM | PADDED, true),
            HEADERS => (END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY, self.len > 0),
            PUSH_PROMISE => (END_HEADERS | PADDED, self.len > 4),
            CONTINUATION => (END_HEADERS, true),
            PRIORITY => (0, self.len == 5),
            RST_STREAM | WINDOW_UPDATE => (0, self.len == 4),
            SETTINGS => (1, self.len.is_multiple_of(6)),
            PING => (1, self.len == 8),
            GOAWAY => (0, self.len >= 8),
            _ => return false,
        };
        self.is_sound() && self.flags & !flags == 0 && len && self.len <= MAX_BELIEVED && self.stream >> 31 == 0
    }
}

/// Whether a chunk consists of frames, as far as it goes; `Some(true)` if it holds the head of a request.
pub(super) fn believable(mut bytes: &[u8]) -> Option<bool> {
    let mut request = false;
    let mut first = true;
    while let Some(head) = FrameHead::parse(bytes) {
        if !head.is_believable() || (first && head.kind == CONTINUATION) {
            return None;
        }
        first = false;
        let payload = bytes.get(HEADER..)?;
        request |= head.kind == HEADERS && head.stream % 2 == 1 && begins_request(head, payload);
        bytes = payload.get(head.len as usize..).unwrap_or_default();
    }
    if first { None } else { Some(request) }
}

/// Whether a header block begins with a pseudo-header of requests out of the static table.
fn begins_request(head: FrameHead, payload: &[u8]) -> bool {
    let skip = usize::from(head.has(PADDED)).saturating_add(if head.has(WITH_PRIORITY) { 5 } else { 0 });
    matches!(payload.get(skip), Some(0x82..=0x87 | 0x41..=0x44 | 0x01..=0x04 | 0x11..=0x14))
}

/// Reads the frames of one direction. See the module's description.
pub(super) struct Frames {
    state: State,
    /// A frame header or payload that is not complete yet.
    frame: Vec<u8>,
    /// The header block; complete when [`Event::Headers`] is told.
    block: Vec<u8>,
    /// HEADERS or PUSH_PROMISE that CONTINUATION follows.
    open: Option<FrameHead>,
    /// The block that `open` began is too long.
    too_long: bool,
    wire: u64,
    /// Frames read.
    seen: u64,
    /// The beginning was missing, or bytes were lost.
    resumed: bool,
}

impl Frames {
    /// For the side that sends the preface (`client`) or the other one.
    pub(super) fn new(client: bool) -> Self {
        let state = if client { State::Preface(0) } else { State::Header };
        Self {
            state,
            frame: Vec::new(),
            block: Vec::new(),
            open: None,
            too_long: false,
            wire: 0,
            seen: 0,
            resumed: false,
        }
    }

    /// The header block that [`Event::Headers`] told of.
    pub(super) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Number of frames read.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether not all of the direction was seen.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.frame.capacity().saturating_add(self.block.capacity())
    }

    /// What was read so far cannot be placed: frames are looked for at the start of a chunk.
    pub(super) fn lose(&mut self) {
        self.state = State::Lost;
        self.frame.clear();
        self.block.clear();
        self.open = None;
        self.too_long = false;
        self.resumed = true;
    }

    /// To be called at the start of every chunk.
    pub(super) fn chunk_start(&mut self, bytes: &[u8]) {
        if self.state == State::Preface(0) && bytes.first() != PREFACE.first() {
            self.lose();
        }
        if self.state == State::Lost && believable(bytes).is_some() {
            self.state = State::Header;
        }
    }

    /// Takes note of missing bytes; gives the stream whose DATA they lie in, or `None` if frames were lost.
    pub(super) fn gap(&mut self, len: u64) -> Option<u32> {
        match &mut self.state {
            State::Data { left, pad: Some(_), head } if len <= u64::from(*left) => {
                *left = left.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                Some(head.stream)
            }
            _ => {
                self.lose();
                None
            }
        }
    }

    /// Eats from `input` until something is to be told.
    pub(super) fn step<'i>(&mut self, input: &mut &'i [u8]) -> Event<'i> {
        while !input.is_empty() {
            let before = input.len();
            let event = match self.state {
                State::Preface(at) => self.preface(at, input),
                State::Header => self.header(input),
                State::Block { head } => self.payload(head, input),
                State::Data { head, left, pad } => self.data(head, left, pad, input),
                State::Skip(left) => {
                    let len = input.len().min(left as usize);
                    *input = input.get(len..).unwrap_or_default();
                    let left = left.saturating_sub(len as u32);
                    self.state = if left == 0 { State::Header } else { State::Skip(left) };
                    None
                }
                State::Lost => {
                    *input = &[];
                    None
                }
            };
            self.wire = self.wire.saturating_add(before.saturating_sub(input.len()) as u64);
            match event {
                Some(Event::Headers { stream, end, pushed, .. }) => {
                    return Event::Headers { stream, end, pushed, wire: std::mem::take(&mut self.wire) };
                }
                Some(Event::Data { stream, bytes, end, .. }) => {
                    return Event::Data { stream, bytes, end, wire: std::mem::take(&mut self.wire) };
                }
                Some(event) => return event,
                None => {}
            }
        }
        Event::More
    }

    fn preface<'i>(&mut self, at: usize, input: &mut &'i [u8]) -> Option<Event<'i>> {
        let expected = PREFACE.get(at..).unwrap_or_default();
        let len = expected.len().min(input.len());
        let (bytes, rest) = input.split_at_checked(len)?;
        if !expected.starts_with(bytes) {
            return Some(Event::Broken);
        }
        *input = rest;
        let at = at.saturating_add(len);
        self.state = if at == PREFACE.len() { State::Header } else { State::Preface(at) };
        None
    }

    fn header<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        if self.frame.is_empty() && self.open.is_none() {
            self.wire = 0;
        }
        self.collect(HEADER, input);
        if self.frame.len() < HEADER {
            return None;
        }
        let head = FrameHead::parse(&self.frame)?;
        let head = FrameHead { stream: head.stream & 0x7fff_ffff, ..head };
        self.frame.clear();
        let continues = self.open.is_some_and(|open| open.stream == head.stream);
        let expected =
            if self.open.is_some() { continues && head.kind == CONTINUATION } else { head.kind != CONTINUATION };
        let first = self.seen == 0 && !self.resumed && head.kind != SETTINGS;
        if !head.is_sound() || !expected || first {
            return Some(Event::Broken);
        }
        self.seen = self.seen.saturating_add(1);
        match head.kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => {
                let before = if self.open.is_some() { self.block.len() } else { 0 };
                if self.too_long || before.saturating_add(head.len as usize) > MAX_BLOCK {
                    return self.pass_over(head);
                }
                self.state = State::Block { head };
                if head.len == 0 { self.payload_done(head) } else { None }
            }
            DATA => {
                let pad = if head.has(PADDED) { None } else { Some(0) };
                self.state = State::Data { head, left: head.len, pad };
                if head.len == 0 { self.data(head, 0, Some(0), input) } else { None }
            }
            RST_STREAM => {
                self.state = State::Skip(head.len);
                Some(Event::Reset { stream: head.stream })
            }
            _ if head.len == 0 => None,
            _ => {
                self.state = State::Skip(head.len);
                None
            }
        }
    }

    /// Passes over a frame of a header block that is too long.
    fn pass_over<'i>(&mut self, head: FrameHead) -> Option<Event<'i>> {
        let first = self.open.take().unwrap_or(head);
        self.block.clear();
        self.too_long = !head.has(END_HEADERS);
        self.open = self.too_long.then_some(first);
        self.state = if head.len == 0 { State::Header } else { State::Skip(head.len) };
        (!self.too_long).then_some(Event::TooLong { stream: first.stream })
    }

    fn payload<'i>(&mut self, head: FrameHead, input: &mut &'i [u8]) -> Option<Event<'i>> {
        self.collect(head.len as usize, input);
        if self.frame.len() < head.len as usize { None } else { self.payload_done(head) }
    }

    /// Adds the fragment of a complete HEADERS, PUSH_PROMISE or CONTINUATION to the block.
    fn payload_done<'i>(&mut self, head: FrameHead) -> Option<Event<'i>> {
        self.state = State::Header;
        let Some(fragment) = fragment(head, &self.frame) else { return Some(Event::Broken) };
        if head.kind != CONTINUATION {
            self.block.clear();
        }
        self.block.extend_from_slice(fragment);
        self.frame.clear();
        let first = self.open.take().unwrap_or(head);
        if !head.has(END_HEADERS) {
            self.open = Some(first);
            return None;
        }
        let pushed = first.kind == PUSH_PROMISE;
        Some(Event::Headers { stream: first.stream, end: !pushed && first.has(END_STREAM), pushed, wire: 0 })
    }

    fn data<'i>(&mut self, head: FrameHead, left: u32, pad: Option<u32>, input: &mut &'i [u8]) -> Option<Event<'i>> {
        let Some(pad) = pad else {
            let (pad, rest) = input.split_first()?;
            *input = rest;
            let left = left.saturating_sub(1);
            if u32::from(*pad) > left {
                return Some(Event::Broken);
            }
            self.state = State::Data { head, left, pad: Some(u32::from(*pad)) };
            return if left == 0 { self.data(head, 0, Some(0), input) } else { None };
        };
        let len = input.len().min(left as usize);
        let (bytes, rest) = input.split_at_checked(len)?;
        *input = rest;
        let body = left.saturating_sub(pad) as usize;
        let left = left.saturating_sub(len as u32);
        self.state = if left == 0 { State::Header } else { State::Data { head, left, pad: Some(pad) } };
        let bytes = bytes.get(..body.min(len)).unwrap_or_default();
        Some(Event::Data { stream: head.stream, bytes, end: left == 0 && head.has(END_STREAM), wire: 0 })
    }

    /// Adds to `frame` until it has `len` bytes.
    fn collect(&mut self, len: usize, input: &mut &[u8]) {
        let take = len.saturating_sub(self.frame.len()).min(input.len());
        if let Some((bytes, rest)) = input.split_at_checked(take) {
            self.frame.extend_from_slice(bytes);
            *input = rest;
        }
    }
}

/// The header block fragment in a payload: without padding, priority and promised stream.
fn fragment(head: FrameHead, payload: &[u8]) -> Option<&[u8]> {
    if head.kind == CONTINUATION {
        return Some(payload);
    }
    let mut rest = Reader::new(payload);
    let pad = if head.has(PADDED) { usize::from(rest.u8()?) } else { 0 };
    match head.kind {
        PUSH_PROMISE => rest.skip(4)?,
        _ if head.has(WITH_PRIORITY) => rest.skip(5)?,
        _ => {}
    }
    rest.take(rest.len().checked_sub(pad)?)
}
