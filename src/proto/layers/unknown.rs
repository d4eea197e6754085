//! A stream of which nothing is known yet: judges first bytes, and holds them until they tell.
//!
//! Where the beginning was captured the client's first bytes decide, once. Where it was not, or bytes were lost before
//! anything was decided, the start of every chunk may be the beginning of something, in either direction. Bounds until then:
//! [`MAX_HELD`] bytes of the client, [`MAX_SERVER`] of a server that speaks first, one short DNS message of each; most
//! connections hold nothing at all.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::probe::{Kind, MAX_HELD, Probe, is_encrypted, is_tls, probe};
use super::text::Text;
use super::{Delivery, Found, Sink, bytes_of, simple};
use crate::proto::dns;
use crate::proto::http::{self, begins_with_known_method};
use crate::stream::{Chunk, Context, Dir};

/// Server bytes held while the client has said nothing that tells.
const MAX_SERVER: usize = 1024;
/// How many chunks may tell nothing before a connection without beginning is given up.
const MAX_MISSES: u8 = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Unknown {
    held: Option<Box<Held>>,
    /// Chunks that told nothing, where the beginning was not captured.
    misses: u8,
}

/// First bytes of either side, and whether some were lost.
#[derive(Default)]
struct Held {
    sides: [Vec<u8>; 2],
    /// Beginnings of what may be DNS.
    dns: [Vec<u8>; 2],
    lost: bool,
    /// Searches what a server says first while nothing tells what it is.
    text: Box<Text>,
}

/// What first bytes tell.
pub(super) enum Judgement {
    /// Nothing yet.
    Wait,
    /// It is encrypted.
    Nothing,
    /// It is another protocol: what of it was searched, and what its client said that was not.
    Text { text: Box<Text>, held: Vec<u8> },
    /// What it is, whether client and server have to change places, and what was held of either, to be read before the
    /// chunk that told.
    Is { kind: Kind, swapped: bool, held: [Vec<u8>; 2] },
}

impl Unknown {
    /// Judges the next chunk, sent in `dir` as the layers further out have it. `carried`: by another layer, whose end is
    /// this one's beginning.
    pub(super) fn judge(&mut self, dir: Dir, given: Delivery<'_>, carried: bool, sink: &mut Sink<'_>) -> Judgement {
        if let Chunk::Gap { .. } = given.chunk {
            let held = self.held.get_or_insert_default();
            held.lost = true;
            side(&mut held.sides, dir).clear();
        }
        let Some(bytes) = bytes_of(given.chunk).filter(|bytes| !bytes.is_empty()) else { return Judgement::Wait };
        let certain = (given.from_start || carried) && !self.held.as_ref().is_some_and(|held| held.lost);
        let hopeless = match self.begins(dir, bytes, certain) {
            First::Is(kind, swapped) => return self.known(dir, kind, swapped),
            First::No if sink.serves_metadata && self.is_simple(dir, bytes) => {
                return self.known(dir, Kind::Simple, false);
            }
            First::No => match given.chunk {
                Chunk::Conflict { other, .. } if dir == Dir::ToServer && is_request(other) => {
                    return self.known(dir, Kind::Http(http::Kind::Http1), false);
                }
                _ => true,
            },
            First::Wait => false,
            First::Server => {
                self.held.get_or_insert_default().text.search(given.dir, bytes, given.at, sink);
                false
            }
        };
        match self.begins_dns(dir, bytes, sink.ports.iter().any(|port| dns::PORTS.contains(port))) {
            dns::Probe::Yes => {
                let held = self.held.as_mut().map(|held| std::mem::take(&mut held.dns)).unwrap_or_default();
                return Judgement::Is { kind: Kind::Dns, swapped: false, held };
            }
            dns::Probe::More => return Judgement::Wait,
            dns::Probe::No => {}
        }
        self.misses = self.misses.saturating_add(1);
        if !hopeless && (given.from_start || carried || self.misses <= MAX_MISSES) {
            return Judgement::Wait;
        }
        if is_tls(bytes) && dir == Dir::ToServer {
            (sink.out)(Found::Tls);
        }
        match is_encrypted(bytes) {
            true => Judgement::Nothing,
            false => {
                let held = self.held.take().map(|held| *held).unwrap_or_default();
                let [client, _] = held.sides;
                Judgement::Text { text: held.text, held: client }
            }
        }
    }

    /// Nothing more will come: what was held is searched. `client`: the direction of the client's bytes.
    pub(super) fn finish(self, client: Dir, at: Context, sink: &mut Sink<'_>) {
        let Some(mut held) = self.held else { return };
        let [first, _] = &held.sides;
        held.text.search(client, first, at, sink);
        held.text.finish(at, sink);
    }

    /// What a side said so far is whole.
    pub(super) fn pause(&mut self, dir: Dir, at: Context, sink: &mut Sink<'_>) {
        if let Some(held) = &mut self.held {
            held.text.flush(dir, at, sink);
        }
    }

    /// Bytes held on the heap.
    pub(super) fn memory(&self) -> usize {
        let Some(held) = &self.held else { return 0 };
        let bytes = held.sides.iter().chain(&held.dns).map(Vec::capacity);
        bytes.fold(size_of::<Held>(), usize::saturating_add)
    }

    /// Whether all that the client said is a simple request.
    fn is_simple(&self, dir: Dir, bytes: &[u8]) -> bool {
        let before = self.held.as_ref().map_or(&[][..], |held| held.sides.first().map_or(&[], Vec::as_slice));
        dir == Dir::ToServer && simple::target(&[before, bytes].concat()).is_some()
    }

    /// Gives out what is held. What a server said before an HTTP/1 request is no answer.
    fn known(&mut self, dir: Dir, kind: Kind, swapped: bool) -> Judgement {
        let mut held = self.held.take().map(|held| held.sides).unwrap_or_default();
        if kind == Kind::Http(http::Kind::Http1) && dir == Dir::ToServer {
            side(&mut held, Dir::ToClient).clear();
        }
        Judgement::Is { kind, swapped, held }
    }

    /// Judges bytes behind what is held of their direction; holds them if it has to wait.
    fn begins(&mut self, dir: Dir, bytes: &[u8], certain: bool) -> First {
        if !certain
            && begins_with_known_method(bytes)
            && let Some(held) = &mut self.held
        {
            side(&mut held.sides, dir).clear(); // it belongs to something else
        }
        let before = self.held.as_mut().map(|held| side(&mut held.sides, dir)).filter(|before| !before.is_empty());
        let told = match before {
            None => probe(bytes, !certain),
            Some(before) => {
                let len = before.len();
                before.extend_from_slice(bytes);
                let told = probe(before, !certain);
                before.truncate(len);
                told
            }
        };
        let wait = match (dir, told) {
            (Dir::ToClient, Probe::No) if certain => {
                self.hold(dir, bytes, true);
                return First::Server;
            }
            (_, Probe::Is(kind @ Kind::Http(http::Kind::Response))) => return First::Is(kind, dir == Dir::ToServer),
            (_, Probe::More) => true,
            (Dir::ToServer, Probe::No) if certain => return First::No,
            (_, Probe::No) => false,
            (Dir::ToServer, Probe::Is(kind)) => return First::Is(kind, false),
            // a request from the side that was taken for the server, if that was a guess
            (Dir::ToClient, Probe::Is(kind)) if !certain => return First::Is(kind, true),
            (Dir::ToClient, Probe::Is(_)) => true,
        };
        self.hold(dir, bytes, wait);
        First::Wait
    }

    fn hold(&mut self, dir: Dir, bytes: &[u8], wait: bool) {
        if wait {
            let side = side(&mut self.held.get_or_insert_default().sides, dir);
            let most = if dir == Dir::ToServer { MAX_HELD } else { MAX_SERVER };
            let room = most.saturating_sub(side.len());
            side.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        } else if let Some(held) = &mut self.held {
            side(&mut held.sides, dir).clear();
        }
    }

    fn begins_dns(&mut self, dir: Dir, bytes: &[u8], known: bool) -> dns::Probe {
        let held = self.held.as_mut().map(|held| side(&mut held.dns, dir)).filter(|held| !held.is_empty());
        let Some(held) = held else {
            let told = dns::probe(bytes, known);
            if told == dns::Probe::More {
                side(&mut self.held.get_or_insert_default().dns, dir).extend_from_slice(bytes);
            }
            return told;
        };
        let before = held.len();
        held.extend_from_slice(bytes);
        let told = dns::probe(held, known);
        match told {
            dns::Probe::More => {}
            dns::Probe::Yes => held.truncate(before),
            dns::Probe::No => *held = Vec::new(),
        }
        told
    }
}

/// What the first bytes of one direction tell.
enum First {
    Wait,
    /// The client's first bytes are none.
    No,
    /// The server speaks first.
    Server,
    Is(Kind, bool),
}

fn is_request(bytes: &[u8]) -> bool {
    probe(bytes, false) == Probe::Is(Kind::Http(http::Kind::Http1))
}

fn side(sides: &mut [Vec<u8>; 2], dir: Dir) -> &mut Vec<u8> {
    let [client, server] = sides;
    match dir {
        Dir::ToServer => client,
        Dir::ToClient => server,
    }
}
