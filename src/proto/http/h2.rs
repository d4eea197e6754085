//! HTTP/2 in clear text: frames of both directions in, one transaction per stream out (RFC 9113).
//!
//! Known by its preface, or agreed on by `Upgrade: h2c`. What a server pushes is passed over. Where the beginning or
//! some bytes are missing, header fields that refer to lost table entries are left out and everything else is read.
//! Bounds: `Limits::pending` open streams and `Limits::memory` bytes in them (the oldest is written as it is), the
//! bounds of `frames` and `hpack` for header blocks, [`MAX_CLOSED`] remembered resets, [`UNPACKED`] long compressed bodies.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::frames::{Event, Frames};
use super::hpack::{Decoder, Malformed};
use super::later::pass_rest;
use super::message::{Body, Head, HeadBuilder, Message, Start, Version};
use super::parser::Env;
use super::reader::{capture, decoder_memory, message_memory};
use crate::stream::{Context, Dir};

/// Bytes that any header block may stand for, and so many more for each of its own: references to one long entry of the
/// table cost their sender next to nothing. A list that names each entry once is no longer than the usual table.
const EXPANDED: usize = 8 * 1024;
const RATIO: usize = 8;
/// Streams that were written before their end and whose late frames are still ignored.
const MAX_CLOSED: usize = 256;
/// Bodies that are decompressed as they pass at a time.
const UNPACKED: usize = 4;

/// State of an HTTP/2 connection.
pub(super) struct Http2 {
    client: Side,
    server: Side,
    streams: BTreeMap<u32, Stream>,
    /// Highest stream that the client opened.
    newest: u32,
    closed: VecDeque<u32>,
    /// Heap bytes of the messages in `streams`.
    waiting: usize,
    /// Streams whose bodies are decompressed as they pass.
    unpacking: Vec<u32>,
}

struct Side {
    frames: Frames,
    decoder: Decoder,
}

#[derive(Default)]
struct Stream {
    request: Half,
    response: Half,
}

/// One message of a stream.
#[derive(Default)]
struct Half {
    message: Option<Message>,
    received: u64,
    done: bool,
}

impl Http2 {
    /// A connection that begins with the preface, or whose beginning was missed.
    pub(super) fn new() -> Self {
        let side = |client| Side { frames: Frames::new(client), decoder: Decoder::new() };
        Self {
            client: side(true),
            server: side(false),
            streams: BTreeMap::new(),
            newest: 0,
            closed: VecDeque::new(),
            waiting: 0,
            unpacking: Vec::new(),
        }
    }

    /// A connection that was upgraded from HTTP/1.1: `request` is answered on stream 1 (RFC 7540 section 3.2).
    pub(super) fn upgraded(request: Option<Message>) -> Self {
        let mut new = Self::new();
        new.waiting = request.as_ref().map_or(0, message_memory);
        let request = Half { received: 0, done: true, message: request };
        new.newest = 1;
        new.streams.insert(1, Stream { request, response: Half::default() });
        new
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        let side = |side: &Side| side.frames.memory().saturating_add(side.decoder.memory());
        let streams = self.streams.len().saturating_mul(size_of::<Stream>());
        let unpacking = self.unpacking.iter().filter_map(|id| self.streams.get(id)).map(Stream::decoder_memory);
        let streams = unpacking.fold(streams, usize::saturating_add);
        side(&self.client).saturating_add(side(&self.server)).saturating_add(streams).saturating_add(self.waiting)
    }

    /// Feeds bytes; `false` once it proved to be no HTTP/2.
    pub(super) fn data(&mut self, dir: Dir, mut bytes: &[u8], at: Context, env: &mut Env<'_>) -> bool {
        self.side(dir).frames.chunk_start(bytes);
        if self.client.frames.is_resumed() && self.server.frames.seen() == 0 && !self.server.frames.is_resumed() {
            self.server.frames.lose();
            self.server.frames.chunk_start(if dir == Dir::ToClient { bytes } else { &[] });
        }
        loop {
            let known = match self.side(dir).frames.step(&mut bytes) {
                Event::More => return true,
                Event::Headers { stream, end, pushed, wire } => {
                    self.headers(dir, (stream, end, pushed), wire, at, env).is_ok()
                }
                Event::Data { stream, bytes, end, wire } => {
                    self.body(dir, stream, bytes, end, wire, at, env);
                    true
                }
                Event::TooLong { stream } => {
                    self.side(dir).decoder.forget();
                    env.counters.header_lists_cut = env.counters.header_lists_cut.saturating_add(1);
                    self.close(stream, env);
                    true
                }
                Event::Reset { stream } => {
                    self.close(stream, env);
                    true
                }
                Event::Broken => false,
            };
            if !known {
                if !self.side(dir).frames.is_resumed() {
                    env.counters.http2_abandoned = env.counters.http2_abandoned.saturating_add(1);
                    return false;
                }
                self.lose(dir, false);
            }
        }
    }

    /// Takes note of missing bytes.
    pub(super) fn gap(&mut self, dir: Dir, len: u64, cut: bool) {
        let Some(stream) = self.side(dir).frames.gap(len) else { return self.lose(dir, cut) };
        if let Some(message) = self.streams.get_mut(&stream).and_then(|stream| stream.half(dir).message.as_mut()) {
            message.body.len = message.body.len.saturating_add(len);
            message.gap |= !cut;
            message.cut |= cut;
        }
    }

    /// Nothing more will come: everything open is written.
    pub(super) fn finish(&mut self, env: &mut Env<'_>) {
        while let Some((id, stream)) = self.streams.pop_first() {
            write(id, stream, env);
        }
        self.waiting = 0;
    }

    fn side(&mut self, dir: Dir) -> &mut Side {
        match dir {
            Dir::ToServer => &mut self.client,
            Dir::ToClient => &mut self.server,
        }
    }

    /// Frames of a direction were lost, of any of its streams that are not done.
    fn lose(&mut self, dir: Dir, cut: bool) {
        let side = self.side(dir);
        side.frames.lose();
        side.decoder.forget();
        for half in self.streams.values_mut().map(|stream| stream.half(dir)).filter(|half| !half.done) {
            if let Some(message) = &mut half.message {
                message.gap |= !cut;
                message.cut |= cut;
            }
        }
    }

    /// A header block: of a request, an interim or final response, or trailers.
    fn headers(
        &mut self,
        dir: Dir,
        (id, end, pushed): (u32, bool, bool),
        wire: u64,
        at: Context,
        env: &mut Env<'_>,
    ) -> Result<(), Malformed> {
        let side = self.side(dir);
        let expanded = EXPANDED.saturating_add(side.frames.block().len().saturating_mul(RATIO));
        let mut fields = Fields::new(env.limits.head.min(expanded));
        let whole = side.decoder.decode(side.frames.block(), |name, value| fields.push(name, value))?;
        env.counters.header_lists_cut = env.counters.header_lists_cut.saturating_add(u64::from(fields.head.is_cut()));
        if pushed || id % 2 == 0 || self.closed.contains(&id) {
            return Ok(());
        }
        let known = self.streams.get_mut(&id).is_some_and(|stream| {
            let half = stream.half(dir);
            let trailers = half.message.is_some() && !half.done;
            if trailers {
                half.count(wire, at);
            }
            trailers || half.done
        });
        let opens = dir == Dir::ToClient || id > self.newest || self.streams.contains_key(&id);
        if !known {
            let head = match dir {
                Dir::ToServer => fields.request(whole),
                Dir::ToClient => fields.response(whole),
            };
            if let Some(head) = head.filter(|_| opens) {
                self.open(dir, id, head, wire, at);
                self.make_room(env);
            }
        }
        if end {
            self.done(dir, id, env);
        }
        Ok(())
    }

    fn open(&mut self, dir: Dir, id: u32, head: Head, wire: u64, at: Context) {
        let message = Message {
            first: at.time,
            last: at.time,
            first_index: at.index,
            head,
            body: Body::default(),
            bytes: wire,
            gap: false,
            cut: false,
            complete: false,
        };
        self.waiting = self.waiting.saturating_add(message_memory(&message));
        if dir == Dir::ToServer {
            self.newest = self.newest.max(id);
        }
        *self.streams.entry(id).or_default().half(dir) = Half { message: Some(message), received: 0, done: false };
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event and its surroundings")]
    fn body(&mut self, dir: Dir, id: u32, bytes: &[u8], end: bool, wire: u64, at: Context, env: &mut Env<'_>) {
        let Some(half) = self.streams.get_mut(&id).map(|stream| stream.half(dir)).filter(|half| !half.done) else {
            return;
        };
        half.count(wire, at);
        if let Some(message) = &mut half.message {
            let before = message_memory(message);
            let received = half.received;
            half.received = received.saturating_add(bytes.len() as u64);
            message.body.len = message.body.len.saturating_add(bytes.len() as u64);
            let mut full = Vec::new();
            let mut readers = env.limits.readers(dir == Dir::ToServer, &mut full);
            readers.unpacks = self.unpacking.len() < UNPACKED;
            pass_rest(message, bytes, env.limits.body, received, readers);
            if decoder_memory(message) > 0 && !self.unpacking.contains(&id) {
                self.unpacking.push(id);
            }
            env.emit_body(dir, &mut full, at);
            capture(&mut message.body.captured, bytes, env.limits.body, None);
            self.waiting = self.waiting.saturating_add(message_memory(message).saturating_sub(before));
        }
        self.make_room(env);
        if end {
            self.done(dir, id, env);
        }
    }

    /// A direction of a stream ended; with both, the exchange is written.
    fn done(&mut self, dir: Dir, id: u32, env: &mut Env<'_>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.half(dir).end();
        if stream.decoder_memory() == 0 {
            self.unpacking.retain(|known| *known != id);
        }
        // a response without its request: the request may still come if packets are out of order
        let hopeless = stream.request.message.is_none() && (id <= self.newest || self.client.frames.seen() == 0);
        if stream.response.done && (stream.request.done || hopeless) {
            self.remove(id, env);
        }
    }

    /// The stream was reset: what there is of it is written.
    fn close(&mut self, id: u32, env: &mut Env<'_>) {
        if self.streams.contains_key(&id) {
            self.remove(id, env);
            self.closed.push_back(id);
            if self.closed.len() > MAX_CLOSED {
                self.closed.pop_front();
            }
        }
    }

    fn make_room(&mut self, env: &mut Env<'_>) {
        while self.streams.len() > env.limits.pending.max(1) || self.waiting > env.limits.memory {
            let Some((&oldest, _)) = self.streams.first_key_value() else { return };
            env.counters.requests_evicted = env.counters.requests_evicted.saturating_add(1);
            self.close(oldest, env);
        }
    }

    fn remove(&mut self, id: u32, env: &mut Env<'_>) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        self.unpacking.retain(|known| *known != id);
        [&mut stream.request, &mut stream.response].into_iter().flat_map(|half| &mut half.message).for_each(
            |message| {
                message.body.end();
            },
        );
        let held = |half: &Half| half.message.as_ref().map_or(0, message_memory);
        self.waiting = self.waiting.saturating_sub(held(&stream.request)).saturating_sub(held(&stream.response));
        write(id, stream, env);
    }
}

fn write(id: u32, stream: Stream, env: &mut Env<'_>) {
    let (request, response) = (stream.request.message, stream.response.message);
    if request.is_some() || response.is_some() {
        env.emit(request, response, false, Some(id));
    }
}

impl Stream {
    fn half(&mut self, dir: Dir) -> &mut Half {
        match dir {
            Dir::ToServer => &mut self.request,
            Dir::ToClient => &mut self.response,
        }
    }

    /// Bytes held to decompress its bodies.
    fn decoder_memory(&self) -> usize {
        let halves = [&self.request, &self.response].into_iter();
        halves.filter_map(|half| half.message.as_ref()).map(decoder_memory).fold(0, usize::saturating_add)
    }
}

impl Half {
    fn count(&mut self, wire: u64, at: Context) {
        if let Some(message) = &mut self.message {
            message.bytes = message.bytes.saturating_add(wire);
            message.last = at.time;
        }
    }

    fn end(&mut self) {
        self.done = true;
        if let Some(message) = &mut self.message {
            message.complete = true;
            message.body.end();
            let whole = message.body.captured.len() as u64 == self.received;
            message.body.whole = whole && !message.gap && !message.cut;
        }
    }
}

/// Decoded fields on their way into a [`Head`].
struct Fields {
    head: HeadBuilder,
    method: Option<Range<u32>>,
    path: Option<Range<u32>>,
    authority: Option<Range<u32>>,
    status: Option<u16>,
}

impl Fields {
    fn new(limit: usize) -> Self {
        Self { head: HeadBuilder::new(limit), method: None, path: None, authority: None, status: None }
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":method" => self.method = Some(self.head.text(value)),
            b":path" => self.path = Some(self.head.text(value)),
            b":authority" => self.authority = Some(self.head.text(value)).filter(|range| !range.is_empty()),
            b":status" => self.status = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()),
            [b':', ..] => {}
            _ => self.head.field(name, value),
        }
    }

    /// Head of a request; `None` if its method or target are not known. `:authority` becomes a first field `host`.
    fn request(mut self, whole: bool) -> Option<Head> {
        let target = self.path.take().or_else(|| self.authority.clone())?;
        let method = self.method.take()?;
        if let Some(authority) = self.authority.take() {
            self.head.first_field(b"host", authority);
        }
        Some(self.head(Start::Request { method, target }, whole))
    }

    /// Head of a final response; `None` if it is an interim one or its status is not known.
    fn response(self, whole: bool) -> Option<Head> {
        let status = self.status.filter(|status| *status >= 200)?;
        Some(self.head(Start::Response { status, phrase: 0..0 }, whole))
    }

    fn head(mut self, start: Start, whole: bool) -> Head {
        if !whole {
            self.head.cut();
        }
        self.head.head(start, Some(Version { major: 2, minor: 0 }))
    }
}
