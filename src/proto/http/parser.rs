//! HTTP on one stream, of either version: chunks of both directions in, transactions out, and what follows HTTP.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::h1::{self, Http1};
use super::h2::Http2;
use super::later::{Readers, Watch};
use super::message::{Message, Transaction, wipe};
use super::probe::Kind;
use super::upgrade::Upgrade;
use crate::conn::{Bytes, Conn};
use crate::stream::{Chunk, Context, Dir};

/// Bounds of one connection's parser.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes kept of a message's head; a longer one is used as far as it goes, its end is still found.
    pub head: usize,
    /// Bytes captured of each body.
    pub body: usize,
    /// Capture the bodies of all responses, not only of those that the owner asks for; may be set at any time.
    pub every_response: bool,
    /// Requests (and HTTP/2 streams) waiting for their answer; beyond it the oldest is written without one.
    pub pending: usize,
    /// Heap bytes of waiting messages; beyond it the oldest is written as it is.
    pub memory: usize,
    /// Looks at what of request bodies is not captured.
    pub watch: Option<&'static dyn Watch>,
    /// Hand on what of bodies is not captured, to be searched for issued credentials; may be set at any time.
    pub searches: bool,
}

impl Limits {
    /// Who reads what of a body is not captured; `full` takes what is to be searched.
    pub(in crate::proto) fn readers<'a>(&self, is_request: bool, full: &'a mut Vec<u8>) -> Readers<'a> {
        Readers { watch: self.watch.filter(|_| is_request), full: self.searches.then_some(full), unpacks: true }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            body: 64 * 1024,
            every_response: true,
            pending: 4096,
            memory: 1024 * 1024,
            watch: None,
            searches: false,
        }
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
    /// HTTP/2 connections were given up because they were no HTTP/2.
    pub http2_abandoned: u64,
    /// HTTP/2 header lists stood for too much, and were read in part or not at all.
    pub header_lists_cut: u64,
}

impl Counters {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.junk = self.junk.saturating_add(other.junk);
        self.requests_evicted = self.requests_evicted.saturating_add(other.requests_evicted);
        self.forks_refused = self.forks_refused.saturating_add(other.forks_refused);
        self.header_lists_cut = self.header_lists_cut.saturating_add(other.header_lists_cut);
        self.http2_abandoned = self.http2_abandoned.saturating_add(other.http2_abandoned);
    }
}

/// HTTP on one stream, both directions. Create it once [`probe`](super::probe()) says so, then feed it everything from
/// those first bytes on.
pub(in crate::proto) struct Http(Mode);

#[expect(clippy::large_enum_variant, reason = "nearly every parser stays in the largest")]
enum Mode {
    Http1(Http1),
    Http2(Box<Http2>),
}

/// What follows HTTP.
pub(in crate::proto) enum Turn {
    /// It goes on.
    Stay,
    /// A CONNECT was accepted: what follows is a stream to `via`, `held` its first client bytes.
    Tunnel { via: Bytes, held: Vec<u8> },
    /// A WebSocket was agreed on; `held`: its first client bytes.
    WebSocket { upgrade: Box<Upgrade>, held: Vec<u8> },
    /// Another protocol was agreed on, or it never was HTTP; `held`: its first client bytes.
    Other { held: Vec<u8> },
}

impl Http {
    /// HTTP that begins like this.
    pub(in crate::proto) fn new(kind: Kind) -> Self {
        Self(match kind {
            Kind::Http1 | Kind::Response => Mode::Http1(Http1::new()),
            Kind::Http2 => Mode::Http2(Box::new(Http2::new())),
        })
    }

    /// Feeds the next chunk of one direction. If something else follows, the bytes given back are its first ones of that
    /// direction.
    pub(in crate::proto) fn feed<'c>(
        &mut self,
        dir: Dir,
        chunk: Chunk<'c>,
        at: Context,
        env: &mut Env<'_>,
    ) -> (Turn, &'c [u8]) {
        match (chunk, &mut self.0) {
            (Chunk::Data(bytes), _) => self.data(dir, bytes, at, env),
            (Chunk::Conflict { taken, other }, Mode::Http1(http)) => {
                let (used, turn) = http.conflict(dir, taken, other, at, env);
                let rest = taken.get(used..).unwrap_or_default();
                match self.turn(turn, at, env) {
                    Turn::Stay => self.data(dir, rest, at, env),
                    turn => (turn, rest),
                }
            }
            (Chunk::Conflict { taken, .. }, Mode::Http2(_)) => self.data(dir, taken, at, env),
            (other, mode) => {
                match (other, mode) {
                    (Chunk::Reread { other }, Mode::Http1(http)) => http.reread(dir, other, at, env),
                    (Chunk::Gap { len, cut }, Mode::Http1(http)) => http.gap(dir, len, cut, env),
                    (Chunk::Gap { len, cut }, Mode::Http2(http)) => http.gap(dir, len, cut),
                    (Chunk::End(end), Mode::Http1(http)) => http.end(dir, end, env),
                    (Chunk::End(_), Mode::Http2(http)) if dir == Dir::ToClient => http.finish(env),
                    _ => {}
                }
                (Turn::Stay, &[])
            }
        }
    }

    /// No answer will come: client bytes that wait for one are judged without it.
    pub(in crate::proto) fn settle(&mut self, at: Context, env: &mut Env<'_>) -> Turn {
        let Mode::Http1(http) = &mut self.0 else { return Turn::Stay };
        let turn = http.give_up_waiting();
        self.turn(turn, at, env)
    }

    /// Nothing more will come: what is open is written.
    pub(in crate::proto) fn finish(&mut self, env: &mut Env<'_>) {
        match &mut self.0 {
            Mode::Http1(http) => http.finish(env),
            Mode::Http2(http) => http.finish(env),
        }
    }

    /// Bytes held, roughly.
    pub(in crate::proto) fn memory(&self) -> usize {
        let held = match &self.0 {
            Mode::Http1(http) => http.memory(),
            Mode::Http2(http) => http.memory(),
        };
        held.saturating_add(size_of::<Self>())
    }

    fn data<'c>(&mut self, dir: Dir, mut bytes: &'c [u8], at: Context, env: &mut Env<'_>) -> (Turn, &'c [u8]) {
        while !bytes.is_empty() {
            let (used, turn) = match &mut self.0 {
                Mode::Http1(http) => http.data(dir, bytes, at, env),
                Mode::Http2(http) => {
                    let goes_on = http.data(dir, bytes, at, env);
                    (bytes.len(), if goes_on { h1::Turn::Stay } else { h1::Turn::Other { held: Vec::new() } })
                }
            };
            bytes = bytes.get(used..).unwrap_or_default();
            match self.turn(turn, at, env) {
                Turn::Stay => {}
                turn => return (turn, bytes),
            }
        }
        (Turn::Stay, &[])
    }

    /// An upgrade to HTTP/2 stays HTTP.
    fn turn(&mut self, turn: h1::Turn, at: Context, env: &mut Env<'_>) -> Turn {
        match turn {
            h1::Turn::Stay => Turn::Stay,
            h1::Turn::Tunnel { via, held } => Turn::Tunnel { via, held },
            h1::Turn::WebSocket { upgrade, held } => Turn::WebSocket { upgrade, held },
            h1::Turn::Other { held } => Turn::Other { held },
            h1::Turn::Http2 { request, held } => {
                self.finish(env);
                self.0 = Mode::Http2(Box::new(Http2::upgraded(request)));
                self.data(Dir::ToServer, &held, at, env).0
            }
        }
    }
}

/// Surroundings of HTTP.
pub(in crate::proto) struct Env<'a> {
    pub(in crate::proto) limits: &'a Limits,
    /// Whether the response to a request may tell anything by its body.
    pub(in crate::proto) keeps_body: &'a dyn Fn(&Message) -> bool,
    pub(in crate::proto) counters: &'a mut Counters,
    pub(in crate::proto) conn: &'a dyn Fn() -> Conn,
    /// The target of the tunnel that carries this.
    pub(in crate::proto) via: Option<&'a Bytes>,
    /// Number of the next exchange.
    pub(in crate::proto) ordinal: &'a mut u32,
    pub(in crate::proto) out: &'a mut dyn FnMut(Output<'_>),
}

/// What HTTP hands on.
#[allow(clippy::large_enum_variant, reason = "handed on at once, never kept")]
pub(in crate::proto) enum Output<'o> {
    /// An exchange, or one side of it.
    Exchange(Transaction),
    /// Bytes of a body that are not captured, cut between values.
    Body { dir: Dir, bytes: &'o [u8], at: Context },
}

impl Env<'_> {
    /// Whether the body of the response to `request` is of use. What a tunnel carries is.
    pub(super) fn reads_response(&self, request: &Message) -> bool {
        self.via.is_some() || (self.keeps_body)(request)
    }

    /// Hands on an exchange, or the half of it that there is.
    pub(super) fn emit(
        &mut self,
        request: Option<Message>,
        response: Option<Message>,
        conflict: bool,
        stream: Option<u32>,
    ) {
        let ordinal = *self.ordinal;
        *self.ordinal = ordinal.saturating_add(1);
        let tx = Transaction::new((self.conn)(), request, response);
        (self.out)(Output::Exchange(Transaction { conflict, via: self.via.cloned(), ordinal, stream, ..tx }));
    }

    /// Hands on bytes of a body that were collected, and empties them.
    pub(super) fn emit_body(&mut self, dir: Dir, bytes: &mut Vec<u8>, at: Context) {
        if !bytes.is_empty() {
            (self.out)(Output::Body { dir, bytes, at });
            wipe(bytes);
        }
    }
}
