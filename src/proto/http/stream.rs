//! A connection that may carry HTTP: judges its first bytes, then hands everything to a [`Parser`].
//!
//! Where the connection's beginning was captured the client's first bytes decide, once. Where it was not, or bytes were
//! lost before anything was decided, the start of every chunk may be the beginning of HTTP, in either direction. Bound
//! until then: [`MAX_PROBE`] bytes of the client and [`MAX_SERVER`] of a server that speaks first; most connections hold
//! nothing at all.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::head;
use super::parser::{Parser, Sink};
use super::probe::{MAX_PROBE, Probe, probe, probe_resumed};
use crate::stream::{Chunk, Context, Dir};

/// Server bytes kept while the client has said nothing that tells.
const MAX_SERVER: usize = 1024;

/// HTTP on one connection, if there is any. Two words; what it holds is allocated when it is needed.
#[derive(Default)]
pub struct HttpStream(State);

enum State {
    /// Nothing tells yet.
    Open(Option<Box<Held>>),
    /// It is HTTP.
    Found(Box<Parser>),
    /// It is not, or not any more.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Open(None)
    }
}

/// First bytes of either side, and whether some were lost.
#[derive(Default)]
struct Held {
    client: Vec<u8>,
    server: Vec<u8>,
    lost: bool,
}

impl HttpStream {
    /// Feeds the next chunk of one direction. `from_start`: the capture has the beginning of the connection (a SYN), so
    /// that `dir` is certain and only first bytes count.
    pub fn feed(&mut self, dir: Dir, chunk: Chunk<'_>, at: Context, from_start: bool, sink: &mut Sink<'_>) {
        if let State::Open(held) = &mut self.0 {
            match chunk {
                Chunk::Data(bytes) => match judge(held, dir, bytes, from_start) {
                    Judgement::Wait => return,
                    Judgement::No => return self.0 = State::Over,
                    Judgement::Found(kind, swapped) => self.begin(kind, swapped, dir, at, sink),
                },
                Chunk::Conflict { taken, other } => match judge(held, dir, taken, from_start) {
                    Judgement::Wait => return,
                    Judgement::No if dir != Dir::ToServer || probe(other) != Probe::Http1 => {
                        return self.0 = State::Over;
                    }
                    Judgement::No => self.begin(Probe::Http1, false, dir, at, sink),
                    Judgement::Found(kind, swapped) => self.begin(kind, swapped, dir, at, sink),
                },
                Chunk::Gap { .. } => {
                    let held = held.get_or_insert_default();
                    held.lost = true;
                    return held.side(dir).clear();
                }
                Chunk::Reread { .. } | Chunk::End(_) => return,
            }
        }
        if let State::Found(parser) = &mut self.0 {
            parser.feed(dir, chunk, at, sink);
            if !parser.wants_more() {
                self.0 = State::Over;
            }
        }
    }

    /// The connection is over for us; see [`Parser::finish`].
    pub fn finish(&mut self, at: Context, sink: &mut Sink<'_>) {
        if let State::Found(parser) = &mut self.0 {
            parser.finish(at, sink);
        }
        self.0 = State::Over;
    }

    /// Whether further chunks can come to anything; if not, reassembly can stop.
    pub fn wants_more(&self) -> bool {
        !matches!(self.0, State::Over)
    }

    /// Whether it is HTTP as far as can be told.
    pub fn is_http(&self) -> bool {
        matches!(self.0, State::Found(_))
    }

    /// Bytes held on the heap, roughly.
    pub fn memory(&self) -> usize {
        match &self.0 {
            State::Open(None) | State::Over => 0,
            State::Open(Some(held)) => {
                size_of::<Held>().saturating_add(held.client.capacity()).saturating_add(held.server.capacity())
            }
            State::Found(parser) => parser.memory(),
        }
    }

    /// Makes the parser and feeds it what was held; the chunk that told follows.
    fn begin(&mut self, kind: Probe, swapped: bool, dir: Dir, at: Context, sink: &mut Sink<'_>) {
        let State::Open(held) = std::mem::take(&mut self.0) else { return };
        let held = held.map(|held| *held).unwrap_or_default();
        let mut parser = Box::new(Parser::new(kind, swapped));
        // what a server said before an HTTP/1 request is no answer
        let server = if kind == Probe::Http1 && dir == Dir::ToServer { Vec::new() } else { held.server };
        for (dir, bytes) in [(Dir::ToServer, held.client), (Dir::ToClient, server)] {
            if !bytes.is_empty() {
                parser.feed(dir, Chunk::Data(&bytes), at, sink);
            }
        }
        self.0 = State::Found(parser);
    }
}

/// What first bytes tell.
enum Judgement {
    Wait,
    No,
    /// What it is, and whether client and server have to change places.
    Found(Probe, bool),
}

/// Judges `bytes` behind what is held of the direction; holds them if it has to wait.
fn judge(all: &mut Option<Box<Held>>, dir: Dir, bytes: &[u8], from_start: bool) -> Judgement {
    let certain = from_start && !all.as_ref().is_some_and(|held| held.lost);
    let look = if certain { probe } else { probe_resumed };
    if !certain && head::begins_with_known_method(bytes) {
        // what was held belongs to something else
        if let Some(held) = all {
            held.side(dir).clear();
        }
    }
    let before = all.as_mut().map(|held| held.side(dir)).filter(|before| !before.is_empty());
    let kind = match before {
        None => look(bytes),
        Some(before) => {
            let len = before.len();
            before.extend_from_slice(bytes);
            let kind = look(before);
            before.truncate(len);
            kind
        }
    };
    let wait = match (dir, kind) {
        (Dir::ToServer, Probe::Response) => return Judgement::Found(kind, true),
        (Dir::ToClient, Probe::Response) => return Judgement::Found(kind, false),
        (_, Probe::More) => true,
        (Dir::ToServer, Probe::No) if certain => return Judgement::No,
        (_, Probe::No) => certain,
        (Dir::ToServer, kind) => return Judgement::Found(kind, false),
        // a request from the side that was taken for the server, if that was a guess
        (Dir::ToClient, kind) if !certain => return Judgement::Found(kind, true),
        (Dir::ToClient, _) => true,
    };
    if wait {
        let side = all.get_or_insert_default().side(dir);
        let room = match dir {
            Dir::ToServer => MAX_PROBE,
            Dir::ToClient => MAX_SERVER,
        };
        let room = room.saturating_sub(side.len());
        side.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
    } else if let Some(held) = all {
        held.side(dir).clear();
    }
    Judgement::Wait
}

impl Held {
    fn side(&mut self, dir: Dir) -> &mut Vec<u8> {
        match dir {
            Dir::ToServer => &mut self.client,
            Dir::ToClient => &mut self.server,
        }
    }
}
