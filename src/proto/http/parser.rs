//! One connection: chunks of both directions in, HTTP transactions out, through every change of protocol (CONNECT,
//! SOCKS, upgrades).
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::h1::{Http1, Turn};
use super::h2::Http2;
use super::later::Watch;
use super::message::{Message, Note, Transaction};
use super::probe::{Probe, probe};
use super::socks::{Progress, Socks};
use crate::conn::{Bytes, Conn};
use crate::stream::{Chunk, Context, Dir, End};

/// Bounds of one connection's parser.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes kept of a message's head; a longer one is used as far as it goes, its end is still found.
    pub head: usize,
    /// Bytes captured of each body.
    pub body: usize,
    /// Capture the bodies of all responses, not only of those that [`Sink::is_of_use`] asks for; may be set at any time.
    pub every_response: bool,
    /// Requests (and HTTP/2 streams) waiting for their answer; beyond it the oldest is written without one.
    pub pending: usize,
    /// Heap bytes of waiting messages; beyond it the oldest is written as it is.
    pub memory: usize,
    /// Looks at what of request bodies is not captured.
    pub watch: Option<&'static dyn Watch>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 64 * 1024, body: 64 * 1024, every_response: true, pending: 4096, memory: 1024 * 1024, watch: None }
    }
}

/// How often bounds and oddities were met, over all connections of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes where a message should begin were none.
    pub junk: u64,
    /// Requests were written without their answer because [`Limits::pending`] or [`Limits::memory`] was reached.
    pub requests_evicted: u64,
    /// Second readings were not followed because enough were alive.
    pub forks_refused: u64,
    /// HTTP/2 connections were given up because of [`Limits`], or because they were no HTTP/2.
    pub http2_abandoned: u64,
}

impl Counters {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.junk = self.junk.saturating_add(other.junk);
        self.requests_evicted = self.requests_evicted.saturating_add(other.requests_evicted);
        self.forks_refused = self.forks_refused.saturating_add(other.forks_refused);
        self.http2_abandoned = self.http2_abandoned.saturating_add(other.http2_abandoned);
    }
}

/// What a parser needs of its surroundings while it is fed.
pub struct Sink<'a> {
    /// Says who talks; asked once per transaction.
    pub conn: &'a dyn Fn() -> Conn,
    /// Bounds.
    pub limits: &'a Limits,
    /// Whether the response to a request may tell anything by its body: most bodies are bulk that nobody reads.
    pub is_of_use: &'a dyn Fn(&Message) -> bool,
    /// Counters.
    pub counters: &'a mut Counters,
    /// Takes what is found.
    pub out: &'a mut dyn FnMut(Transaction),
}

/// Parser of one connection, both directions. Create it once [`probe`] says so, then feed it everything from those first
/// bytes on.
pub struct Parser {
    mode: Mode,
    swapped: bool,
    via: Option<Bytes>,
    ordinal: u32,
}

#[expect(clippy::large_enum_variant, reason = "nearly every parser stays in the largest")]
enum Mode {
    Http1(Http1),
    Http2(Box<Http2>),
    Socks(Socks),
    /// Inside an accepted CONNECT or SOCKS stream, before its first bytes tell what it carries.
    Tunnel(Vec<u8>),
    /// Nothing of interest will come.
    Dead,
}

impl Parser {
    /// A parser for a connection that `kind` was found on (anything but `No` and `More`). `swapped`: the side taken for
    /// the client is the one that answers ([`Probe::Response`] from it, or [`Probe::Http1`] from the other side).
    pub fn new(kind: Probe, swapped: bool) -> Self {
        let mode = match kind {
            Probe::Http1 | Probe::Response => Mode::Http1(Http1::new()),
            Probe::Http2 => Mode::Http2(Box::new(Http2::new())),
            Probe::Socks => Mode::Socks(Socks::default()),
            Probe::No | Probe::More => Mode::Dead,
        };
        Self { mode, swapped, via: None, ordinal: 0 }
    }

    /// Feeds the next chunk of one direction.
    pub fn feed(&mut self, dir: Dir, chunk: Chunk<'_>, at: Context, sink: &mut Sink<'_>) {
        let dir = if self.swapped { dir.flip() } else { dir };
        match chunk {
            Chunk::Data(bytes) => self.data(dir, bytes, at, sink),
            Chunk::Conflict { taken, other } => self.conflict(dir, taken, other, at, sink),
            Chunk::Reread { other } => {
                if let (Mode::Http1(http), mut env) = self.split(sink) {
                    http.reread(dir, other, at, &mut env);
                }
            }
            Chunk::Gap { len, cut } => match self.split(sink) {
                (Mode::Http1(http), mut env) => http.gap(dir, len, cut, &mut env),
                (Mode::Http2(http), _) => http.gap(dir, len, cut),
                // what the tunnel carries may still begin at a later segment
                (Mode::Tunnel(held), _) => held.clear(),
                (mode, _) => *mode = Mode::Dead,
            },
            Chunk::End(end) => self.end(dir, end, at, sink),
        }
    }

    /// The connection is over for us (end of input, idle, replaced): what is open is written. Can be called after the
    /// ends of both directions were fed; writes nothing twice.
    pub fn finish(&mut self, at: Context, sink: &mut Sink<'_>) {
        self.settle(at, sink);
        self.close(sink);
        self.mode = Mode::Dead;
    }

    /// Whether further chunks can come to anything; if not, the parser may be dropped.
    pub fn wants_more(&self) -> bool {
        !matches!(self.mode, Mode::Dead)
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> usize {
        let held = match &self.mode {
            Mode::Http1(http) => http.memory(),
            Mode::Http2(http) => http.memory(),
            Mode::Socks(socks) => socks.memory(),
            Mode::Tunnel(held) => held.capacity(),
            Mode::Dead => 0,
        };
        held.saturating_add(size_of::<Self>())
    }

    fn data(&mut self, dir: Dir, mut bytes: &[u8], at: Context, sink: &mut Sink<'_>) {
        while !bytes.is_empty() {
            let (used, turn) = match self.split(sink) {
                (Mode::Http1(http), mut env) => http.data(dir, bytes, at, &mut env),
                (Mode::Http2(http), mut env) => {
                    let turn = if http.data(dir, bytes, at, &mut env) { Turn::Stay } else { Turn::Dead };
                    (bytes.len(), turn)
                }
                (Mode::Socks(socks), _) => {
                    let progress = socks.data(dir, bytes);
                    return self.socks(progress, at, sink);
                }
                (Mode::Tunnel(held), _) => match dir {
                    Dir::ToServer => {
                        held.extend_from_slice(bytes);
                        return self.tunnel(at, sink);
                    }
                    // a server that speaks first carries another protocol
                    Dir::ToClient if probe(bytes) != Probe::Response => (bytes.len(), Turn::Dead),
                    Dir::ToClient => return,
                },
                (Mode::Dead, _) => return,
            };
            bytes = bytes.get(used..).unwrap_or_default();
            self.turn(turn, at, sink);
        }
    }

    fn conflict(&mut self, dir: Dir, taken: &[u8], other: &[u8], at: Context, sink: &mut Sink<'_>) {
        let (Mode::Http1(http), mut env) = self.split(sink) else {
            return self.data(dir, taken, at, sink);
        };
        let (used, turn) = http.conflict(dir, taken, other, at, &mut env);
        self.turn(turn, at, sink);
        self.data(dir, taken.get(used..).unwrap_or_default(), at, sink);
    }

    fn end(&mut self, dir: Dir, end: End, at: Context, sink: &mut Sink<'_>) {
        if dir == Dir::ToClient {
            self.settle(at, sink);
        }
        match self.split(sink) {
            (Mode::Http1(http), mut env) => http.end(dir, end, &mut env),
            (Mode::Http2(http), mut env) if dir == Dir::ToClient => http.finish(&mut env),
            (Mode::Http2(_) | Mode::Socks(_) | Mode::Tunnel(_) | Mode::Dead, _) => {}
        }
    }

    /// Client bytes that wait for an answer which will not come are judged without it.
    fn settle(&mut self, at: Context, sink: &mut Sink<'_>) {
        if let Mode::Http1(http) = &mut self.mode {
            let turn = http.give_up_waiting();
            self.turn(turn, at, sink);
        }
    }

    /// Changes the protocol.
    fn turn(&mut self, turn: Turn, at: Context, sink: &mut Sink<'_>) {
        match turn {
            Turn::Stay => {}
            Turn::Tunnel { via, held } => {
                self.close(sink);
                self.via = Some(via);
                self.mode = Mode::Tunnel(held);
                self.tunnel(at, sink);
            }
            Turn::Http2 { request, held } => {
                self.close(sink);
                self.mode = Mode::Http2(Box::new(Http2::upgraded(request)));
                self.data(Dir::ToServer, &held, at, sink);
            }
            Turn::Dead => {
                self.close(sink);
                self.mode = Mode::Dead;
            }
        }
    }

    /// Writes what is open before the protocol changes.
    fn close(&mut self, sink: &mut Sink<'_>) {
        match self.split(sink) {
            (Mode::Http1(http), mut env) => http.finish(&mut env),
            (Mode::Http2(http), mut env) => http.finish(&mut env),
            (Mode::Socks(_) | Mode::Tunnel(_) | Mode::Dead, _) => {}
        }
    }

    fn socks(&mut self, progress: Progress, at: Context, sink: &mut Sink<'_>) {
        match progress {
            Progress::More => {}
            Progress::Over => self.mode = Mode::Dead,
            Progress::Accepted { via, held, early } => {
                self.via = Some(via);
                self.mode = Mode::Tunnel(held);
                self.tunnel(at, sink);
                self.data(Dir::ToClient, &early, at, sink);
            }
        }
    }

    /// Judges the first client bytes of a tunnelled stream.
    fn tunnel(&mut self, at: Context, sink: &mut Sink<'_>) {
        let Mode::Tunnel(held) = &mut self.mode else { return };
        self.mode = match probe(held) {
            Probe::More => return,
            Probe::Response | Probe::No => Mode::Dead,
            kind => {
                let held = std::mem::take(held);
                self.mode = Self::new(kind, false).mode;
                return self.data(Dir::ToServer, &held, at, sink);
            }
        };
    }

    /// The mode, and the surroundings as the protocols see them.
    fn split<'s>(&'s mut self, sink: &'s mut Sink<'_>) -> (&'s mut Mode, Env<'s>) {
        let env = Env {
            limits: sink.limits,
            is_of_use: sink.is_of_use,
            counters: sink.counters,
            conn: sink.conn,
            out: sink.out,
            swapped: self.swapped,
            via: self.via.as_ref(),
            ordinal: &mut self.ordinal,
        };
        (&mut self.mode, env)
    }
}

/// Surroundings of a protocol's state machine.
pub(super) struct Env<'a> {
    pub(super) limits: &'a Limits,
    is_of_use: &'a dyn Fn(&Message) -> bool,
    pub(super) counters: &'a mut Counters,
    conn: &'a dyn Fn() -> Conn,
    out: &'a mut dyn FnMut(Transaction),
    swapped: bool,
    via: Option<&'a Bytes>,
    ordinal: &'a mut u32,
}

impl Env<'_> {
    /// Whether the body of the response to `request` is of use. What a tunnel carries is.
    pub(super) fn reads_response(&self, request: &Message) -> bool {
        self.via.is_some() || (self.is_of_use)(request)
    }

    /// Hands on an exchange, or the half of it that there is, with Packetbeat's remarks.
    pub(super) fn emit(
        &mut self,
        request: Option<Message>,
        response: Option<Message>,
        conflict: bool,
        stream: Option<u32>,
    ) {
        let lost = |message: &Option<Message>| message.as_ref().is_some_and(|message| message.gap);
        let remarks = [
            (lost(&request), Note::LossInRequest),
            (response.is_none(), Note::UnmatchedRequest),
            (lost(&response), Note::LossInResponse),
            (request.is_none(), Note::UnmatchedResponse),
        ];
        let notes = remarks.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect();
        let conn = if self.swapped { (self.conn)().turned() } else { (self.conn)() };
        let ordinal = *self.ordinal;
        *self.ordinal = ordinal.saturating_add(1);
        (self.out)(Transaction { conn, request, response, notes, conflict, via: self.via.cloned(), ordinal, stream });
    }
}
