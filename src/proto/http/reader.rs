//! One direction of an HTTP/1 connection: bytes and gaps in, whole messages out.
//!
//! The owner drives it: [`Reader::step`] eats bytes until a head is known, the owner (who knows which request a response
//! answers) says by [`Reader::frame`] how the body is delimited, and further steps lead to the message's end. Bulk body
//! bytes beyond the capture limit are counted by length, never scanned. Bounds: `Limits::head` and `Limits::body` per
//! message in progress.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::Limits;
use super::framing::Framing;
use super::head::{self, BlankLine, Block, Role};
use super::later::pass_rest;
use super::message::{Body, Head, Message, wipe};
use crate::packet::Timestamp;
use crate::stream::{Context, End};

/// Longest line of chunk framing (size, extensions) that is read; longer ones end the message.
const MAX_CHUNK_LINE: u32 = 8 * 1024;

/// A first line is judged with every piece of it up to this length, then again when it ends.
const UNDECIDED: usize = 512;

/// What a step came to.
#[derive(Debug)]
pub(super) enum Step {
    /// All input is used.
    More,
    /// A head is known: call [`Reader::frame`].
    Head,
    /// A message ended.
    Done(Message),
    /// The bytes were no message; the rest of the input was passed over.
    Junk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next byte begins a message; blank lines before it are passed over.
    Between,
    /// What comes belongs to nothing known; a chunk that begins like a message ends this.
    Lost,
    /// In a head, collected in `partial`.
    Head(BlankLine),
    /// In a head beyond the limit.
    LongHead(BlankLine),
    /// The head is known, its owner has not said how the body is framed.
    Framing,
    Length(u64),
    UntilClose {
        counted: bool,
    },
    ChunkSize(ChunkLine),
    ChunkData(u64),
    /// The line end after chunk data.
    ChunkEnd,
    Trailers(BlankLine),
}

/// A chunk-size line as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ChunkLine {
    size: u64,
    digits: u8,
    /// Behind the number: spaces and extensions.
    behind: bool,
    len: u32,
}

/// Reads the messages of one direction. See the module's description.
#[derive(Clone)]
pub(super) struct Reader {
    role: Role,
    state: State,
    /// Bytes of an unfinished head.
    partial: Vec<u8>,
    /// Whether the first line in `partial` was found to be a start line.
    begun: bool,
    /// Packet with the first byte of the head in `partial`.
    first: Context,
    message: Option<Message>,
    /// Transfer-decoded body bytes seen of `message`.
    received: u64,
    /// Messages whose head was read.
    seen: u64,
    /// Whether the owner knows of `message`.
    framed: bool,
    /// Bytes of `message`'s body that are of use.
    of_use: usize,
    /// Bytes were lost since the last head began.
    gap: bool,
    /// Bytes of bodies beyond what is captured, to be searched by whoever owns this.
    pub(super) passed: Vec<u8>,
}

impl Reader {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            state: State::Between,
            partial: Vec::new(),
            begun: false,
            first: Context { time: Timestamp::default(), index: 0 },
            message: None,
            received: 0,
            seen: 0,
            framed: false,
            of_use: usize::MAX,
            gap: false,
            passed: Vec::new(),
        }
    }

    /// Number of heads read so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether bytes were lost just before the message in progress.
    pub(super) fn after_gap(&self) -> bool {
        self.gap
    }

    /// Whether it neither is in a message nor ever was, nor lost bytes: what it reads is not HTTP.
    pub(super) fn is_hopeless(&self) -> bool {
        self.state == State::Lost && self.seen == 0 && !self.gap
    }

    /// Whether a message is in progress whose end only the end of the direction tells, by a framing that servers misuse.
    pub(super) fn is_open_ended(&self) -> bool {
        self.state == State::UntilClose { counted: false }
    }

    /// Whether [`Reader::frame`] was called for the message in progress.
    pub(super) fn is_framed(&self) -> bool {
        self.framed
    }

    /// Whether a message is in progress.
    pub(super) fn is_reading(&self) -> bool {
        !matches!(self.state, State::Between | State::Lost)
    }

    /// Whether a chunk with these first bytes begins a message of this role.
    pub(super) fn begins_with(&self, bytes: &[u8]) -> bool {
        let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        head::begins(self.role, bytes.get(blank..).unwrap_or_default()) == Some(true)
    }

    /// Number of the packet with the first byte of the message in progress or, between messages, of the last one.
    pub(super) fn first_index(&self) -> u64 {
        self.first.index
    }

    /// Time of the packet with that byte.
    pub(super) fn last_time(&self) -> Timestamp {
        self.first.time
    }

    /// The bytes of the message in progress as sent, if all are still held.
    pub(super) fn wire(&self) -> Option<Vec<u8>> {
        self.message.as_ref().map_or_else(|| Some(self.partial.clone()), wire)
    }

    /// Whether none of the body of the message in progress was seen yet.
    pub(super) fn awaits_body(&self) -> bool {
        self.received == 0 && matches!(self.state, State::Length(_) | State::ChunkSize(_))
    }

    /// Head of the message in progress.
    pub(super) fn head(&self) -> Option<&Head> {
        self.message.as_ref().map(|message| &message.head)
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let collected = self.partial.capacity().saturating_add(self.passed.capacity());
        let decoder = self.message.as_ref().map_or(0, decoder_memory);
        collected.saturating_add(decoder).saturating_add(self.message.as_ref().map_or(0, message_memory))
    }

    /// To be called at the start of every chunk: after lost bytes a chunk that begins like a message is one.
    pub(super) fn chunk_start(&mut self, bytes: &[u8]) {
        if self.state == State::Lost && self.begins_with(bytes) {
            self.state = State::Between;
        }
    }

    /// Eats from `input` until something is to be reported.
    pub(super) fn step(&mut self, input: &mut &[u8], at: Context, limits: &Limits) -> Step {
        while !input.is_empty() {
            let step = match self.state {
                State::Between => self.between(input, at, limits),
                State::Lost => {
                    *input = &[];
                    None
                }
                State::Head(blank) => self.partial_head(blank, input, at, limits),
                State::LongHead(blank) => self.long_head(blank, input, at),
                State::Framing => Some(Step::Head),
                State::Length(left) => self.length(left, input, at, limits),
                State::UntilClose { counted } => {
                    self.body(input, at, limits, counted);
                    *input = &[];
                    None
                }
                State::ChunkSize(line) => self.chunk_size(line, input, at),
                State::ChunkData(left) => self.chunk_data(left, input, at, limits),
                State::ChunkEnd => self.chunk_end(input, at),
                State::Trailers(blank) => self.trailers(blank, input, at),
            };
            if let Some(step) = step {
                return step;
            }
        }
        Step::More
    }

    /// Says how the body of the message in progress is delimited; gives the message if that ends it.
    pub(super) fn frame(&mut self, framing: Framing) -> Option<Message> {
        self.framed = true;
        self.state = match framing {
            Framing::None | Framing::Length(0) => return self.finish(true),
            Framing::Length(len) => {
                if let Some(message) = &mut self.message {
                    message.body.len = len;
                }
                State::Length(len)
            }
            Framing::Chunked => State::ChunkSize(ChunkLine::default()),
            Framing::UntilClose { counted } => State::UntilClose { counted },
        };
        None
    }

    /// Says how many bytes of the body of the message in progress are of use, unless the limits say that all are.
    pub(super) fn limit_body(&mut self, of_use: usize) {
        self.of_use = of_use;
    }

    /// Takes note that `len` bytes are missing; gives the message that this ends.
    pub(super) fn gap(&mut self, len: u64, cut: bool) -> Option<Message> {
        if let Some(message) = &mut self.message {
            message.gap |= !cut;
            message.cut |= cut;
        }
        match self.state {
            State::Between | State::Lost | State::Framing => {
                self.lose();
                None
            }
            State::Head(_) => {
                self.cut_head(cut);
                self.abandon()
            }
            State::LongHead(_) | State::ChunkSize(_) | State::ChunkEnd | State::Trailers(_) => self.abandon(),
            State::Length(left) if len < left => {
                self.state = State::Length(left.saturating_sub(len));
                None
            }
            State::Length(left) => {
                let message = self.finish(true);
                if len > left {
                    self.lose();
                }
                message
            }
            State::ChunkData(left) if len < left => {
                self.state = State::ChunkData(left.saturating_sub(len));
                None
            }
            State::ChunkData(_) => self.abandon(),
            State::UntilClose { counted } => {
                if let Some(message) = self.message.as_mut().filter(|_| counted) {
                    message.body.len = message.body.len.saturating_add(len);
                }
                None
            }
        }
    }

    /// The direction ends: gives the message in progress. A head that its sender never finished is no message, unless
    /// the capture rather than the sender ended it ([`End::Lost`]) or it is a response.
    pub(super) fn end(&mut self, end: End) -> Option<Message> {
        match self.state {
            State::Head(_) if self.begun && (self.role == Role::Response || end == End::Lost) => {
                self.cut_head(false);
                if let Some(message) = &mut self.message {
                    message.gap = false;
                }
                self.abandon()
            }
            State::UntilClose { .. } => self.finish(end == End::Fin),
            _ => self.abandon(),
        }
    }

    /// Ends the message in progress where it stands; what follows is a new message.
    pub(super) fn cut_off(&mut self, complete: bool) -> Option<Message> {
        self.finish(complete)
    }

    fn between(&mut self, input: &mut &[u8], at: Context, limits: &Limits) -> Option<Step> {
        let blank = input.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let bytes = input.get(blank..).unwrap_or_default();
        *input = bytes;
        if bytes.is_empty() {
            return None;
        }
        self.first = at;
        match Block::whole(bytes) {
            Some(block) if block.len() <= limits.head => {
                let len = block.len();
                let Some(head) = block.head(self.role) else {
                    return Some(self.junk(input));
                };
                *input = bytes.get(len..).unwrap_or_default();
                self.open(head, len, at);
                Some(Step::Head)
            }
            _ => {
                self.begun = false;
                self.state = State::Head(BlankLine::Within);
                None
            }
        }
    }

    fn partial_head(&mut self, mut blank: BlankLine, input: &mut &[u8], at: Context, limits: &Limits) -> Option<Step> {
        let room = limits.head.saturating_sub(self.partial.len());
        let (bytes, rest) = input.split_at_checked(room).unwrap_or((input, &[]));
        let end = blank.find(bytes);
        let (used, rest) = match end.and_then(|end| bytes.split_at_checked(end)) {
            Some((used, _)) => (used, input.get(used.len()..).unwrap_or_default()),
            None => (bytes, rest),
        };
        self.partial.extend_from_slice(used);
        let line_ended = !self.begun && memchr::memchr(b'\n', used).is_some();
        if line_ended || (!self.begun && self.partial.len() <= UNDECIDED) {
            if head::begins(self.role, &self.partial) == Some(false) {
                return Some(self.junk(input));
            }
            self.begun = line_ended;
        }
        *input = rest;
        self.state = State::Head(blank);
        let head = match end {
            Some(_) => head::parse(self.role, &self.partial),
            None if self.partial.len() >= limits.head => head::parse_cut(self.role, &self.partial),
            None => return None,
        };
        let len = self.partial.len();
        wipe(&mut self.partial);
        let Some(head) = head else { return Some(self.junk(input)) };
        self.open(head, len, at);
        if end.is_some() {
            return Some(Step::Head);
        }
        self.state = State::LongHead(blank);
        None
    }

    fn long_head(&mut self, mut blank: BlankLine, input: &mut &[u8], at: Context) -> Option<Step> {
        let end = blank.find(input);
        let used = end.unwrap_or(input.len());
        self.count(used, at);
        *input = input.get(used..).unwrap_or_default();
        self.state = if end.is_some() { State::Framing } else { State::LongHead(blank) };
        end.map(|_| Step::Head)
    }

    fn length(&mut self, left: u64, input: &mut &[u8], at: Context, limits: &Limits) -> Option<Step> {
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (bytes, rest) = input.split_at_checked(len)?;
        self.body_bytes(bytes, at, limits, Some(left));
        *input = rest;
        let left = left.saturating_sub(len as u64);
        self.state = State::Length(left);
        if left == 0 { self.finish(true).map(Step::Done) } else { None }
    }

    fn body(&mut self, bytes: &[u8], at: Context, limits: &Limits, counted: bool) {
        self.body_bytes(bytes, at, limits, None);
        let len = bytes.len() as u64;
        let Some(message) = &mut self.message else { return };
        if counted {
            message.body.len = message.body.len.saturating_add(len);
        } else {
            message.bytes = message.bytes.saturating_sub(len);
        }
    }

    fn chunk_size(&mut self, mut line: ChunkLine, input: &mut &[u8], at: Context) -> Option<Step> {
        let mut used = 0_usize;
        let mut end = None;
        for &byte in *input {
            used = used.saturating_add(1);
            if byte == b'\n' {
                end = Some(line.digits > 0);
                break;
            }
            if !line.take(byte) {
                end = Some(false);
                break;
            }
        }
        self.count(used, at);
        *input = input.get(used..).unwrap_or_default();
        match end {
            None => self.state = State::ChunkSize(line),
            Some(false) => return self.abandon_input(input),
            Some(true) if line.size == 0 => self.state = State::Trailers(BlankLine::Start),
            Some(true) => {
                if let Some(message) = &mut self.message {
                    message.body.len = message.body.len.saturating_add(line.size);
                }
                self.state = State::ChunkData(line.size);
            }
        }
        None
    }

    fn chunk_data(&mut self, left: u64, input: &mut &[u8], at: Context, limits: &Limits) -> Option<Step> {
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (bytes, rest) = input.split_at_checked(len)?;
        self.body_bytes(bytes, at, limits, None);
        *input = rest;
        let left = left.saturating_sub(len as u64);
        self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
        None
    }

    fn chunk_end(&mut self, input: &mut &[u8], at: Context) -> Option<Step> {
        let (first, rest) = input.split_first()?;
        match first {
            b'\r' => {}
            b'\n' => self.state = State::ChunkSize(ChunkLine::default()),
            _ => return self.abandon_input(input),
        }
        self.count(1, at);
        *input = rest;
        None
    }

    fn trailers(&mut self, mut blank: BlankLine, input: &mut &[u8], at: Context) -> Option<Step> {
        let end = blank.find(input);
        let used = end.unwrap_or(input.len());
        self.count(used, at);
        *input = input.get(used..).unwrap_or_default();
        self.state = State::Trailers(blank);
        end.and_then(|_| self.finish(true)).map(Step::Done)
    }

    /// Begins the message of a head that took `len` bytes.
    fn open(&mut self, head: Head, len: usize, at: Context) {
        self.seen = self.seen.saturating_add(1);
        self.framed = false;
        self.of_use = usize::MAX;
        self.received = 0;
        self.message = Some(Message {
            first: self.first.time,
            last: at.time,
            first_index: self.first.index,
            head,
            body: Body::default(),
            bytes: len as u64,
            gap: false,
            cut: false,
            complete: false,
        });
        self.state = State::Framing;
    }

    /// Makes a message of the head in `partial`, which bytes are missing from.
    fn cut_head(&mut self, cut: bool) {
        if let Some(head) = head::parse_cut(self.role, &self.partial) {
            self.open(head, self.partial.len(), self.first);
        }
        if let Some(message) = &mut self.message {
            message.gap = !cut;
            message.cut = cut;
        }
        self.gap = true;
    }

    /// Counts bytes of framing.
    fn count(&mut self, len: usize, at: Context) {
        if let Some(message) = &mut self.message {
            message.bytes = message.bytes.saturating_add(len as u64);
            message.last = at.time;
        }
    }

    /// Counts bytes of the body and captures what the limit allows. `left`: how many are to come at least, if known.
    fn body_bytes(&mut self, bytes: &[u8], at: Context, limits: &Limits, left: Option<u64>) {
        self.count(bytes.len(), at);
        let received = self.received;
        self.received = received.saturating_add(bytes.len() as u64);
        let limit = if limits.every_response { limits.body } else { limits.body.min(self.of_use) };
        let Some(message) = &mut self.message else { return };
        let readers = limits.readers(self.role == Role::Request, &mut self.passed);
        pass_rest(message, bytes, limit, received, readers);
        capture(&mut message.body.captured, bytes, limit, left);
    }

    /// Ends the message in progress at its end (`complete`) or before it.
    fn finish(&mut self, complete: bool) -> Option<Message> {
        self.state = State::Between;
        self.gap = false;
        self.framed = false;
        let mut message = self.message.take()?;
        message.complete = complete;
        message.body.end();
        message.body.whole =
            complete && !message.gap && !message.cut && message.body.captured.len() as u64 == self.received;
        Some(message)
    }

    /// Ends the message in progress before its end; what follows cannot be placed.
    fn abandon(&mut self) -> Option<Message> {
        let gap = self.gap || self.message.as_ref().is_some_and(|message| message.gap || message.cut);
        let message = self.finish(false);
        wipe(&mut self.partial);
        self.state = State::Lost;
        self.gap = gap;
        message
    }

    fn abandon_input(&mut self, input: &mut &[u8]) -> Option<Step> {
        *input = &[];
        self.abandon().map(Step::Done)
    }

    fn lose(&mut self) {
        self.state = State::Lost;
        self.gap = true;
    }

    fn junk(&mut self, input: &mut &[u8]) -> Step {
        *input = &[];
        wipe(&mut self.partial);
        self.state = State::Lost;
        Step::Junk
    }
}

impl ChunkLine {
    /// Reads one byte of the line; `false` if it cannot be a chunk-size line.
    fn take(&mut self, byte: u8) -> bool {
        self.len = self.len.saturating_add(1);
        let digit = char::from(byte).to_digit(16).filter(|_| !self.behind);
        match (digit, byte) {
            (Some(digit), _) => {
                self.digits = self.digits.saturating_add(u8::from(self.size > 0 || digit > 0 || self.digits == 0));
                self.size = (self.size << 4) | u64::from(digit);
            }
            (None, b';' | b' ' | b'\t' | b'\r') => self.behind = true,
            (None, _) if !self.behind => return false,
            _ => {}
        }
        self.digits <= 15 && self.len <= MAX_CHUNK_LINE
    }
}

/// Appends to a capture up to `limit`, reserving once where the length is known; a buffer that grows is wiped.
pub(super) fn capture(captured: &mut Vec<u8>, bytes: &[u8], limit: usize, left: Option<u64>) {
    let room = limit.saturating_sub(captured.len());
    let Some(bytes) = bytes.get(..bytes.len().min(room)).filter(|bytes| !bytes.is_empty()) else { return };
    let needed = captured.len().saturating_add(bytes.len());
    if needed > captured.capacity() {
        let known =
            left.and_then(|left| usize::try_from(left).ok()).map_or(0, |left| captured.len().saturating_add(left));
        let size = needed.max(known.min(limit)).max(captured.capacity().saturating_mul(2).min(limit));
        let mut larger = Vec::with_capacity(size);
        larger.extend_from_slice(captured);
        wipe(captured);
        *captured = larger;
    }
    captured.extend_from_slice(bytes);
}

/// A message's bytes as sent, if all are still held: not with chunk framing, nor beyond a limit.
pub(super) fn wire(message: &Message) -> Option<Vec<u8>> {
    let bytes = [message.head.raw.as_slice(), &message.body.captured].concat();
    (bytes.len() as u64 == message.bytes).then_some(bytes)
}

/// Bytes held to decompress the body of a message in progress.
pub(super) fn decoder_memory(message: &Message) -> usize {
    message.body.later.as_ref().map_or(0, |later| later.decoder_memory())
}

/// Bytes that a message holds on the heap, its decoder aside.
pub(super) fn message_memory(message: &Message) -> usize {
    let fields =
        message.head.fields.capacity().saturating_mul(size_of::<(std::ops::Range<u32>, std::ops::Range<u32>)>());
    let later = message.body.later.as_ref().map_or(0, |later| later.memory());
    let body = message.body.captured.capacity().saturating_add(later);
    message.head.raw.capacity().saturating_add(body).saturating_add(fields)
}
