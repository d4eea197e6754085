//! DNS over TCP (RFC 7766): the chunks of one connection in, messages to the [`Tracker`] out.
//!
//! Holds at most one message of 64 KiB per direction, and that only while it is incomplete. After a gap inside a message
//! the length prefix says where the next one begins; after a gap that may hold a prefix the direction is given up, as
//! Packetbeat gives up the connection.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::message::{Note, Transaction};
use super::parse::{looks_like, parse};
use super::tracker::{Key, Route, Tracker};
use crate::conn::{Conn, Proto};
use crate::stream::{Chunk, Context, Dir, End};

/// Bytes of the length prefix.
const PREFIX_LEN: usize = 2;

/// Longest message that [`probe`] waits for on other ports than 53.
const PROBE_MAX: usize = 4096;

/// What the first bytes of a direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// DNS.
    Yes,
    /// Something else.
    No,
    /// More bytes are needed.
    More,
}

/// Whether a stream is DNS by its first bytes. On port 53 (`well_known`) everything is tried as DNS; elsewhere the first
/// message must be whole and [look like](looks_like) one.
pub fn probe(first: &[u8], well_known: bool) -> Probe {
    if well_known {
        return Probe::Yes;
    }
    let Some((prefix, rest)) = first.split_first_chunk::<PREFIX_LEN>() else { return Probe::More };
    let len = usize::from(u16::from_be_bytes(*prefix));
    // Header and shortest question, and of the header what refuses nearly everything else: one question, few records.
    if !(17..=PROBE_MAX).contains(&len) || rest.get(4).is_some_and(|b| *b != 0) || rest.get(5).is_some_and(|b| *b > 4) {
        return Probe::No;
    }
    match rest.get(..len) {
        Some(message) if looks_like(message) => Probe::Yes,
        Some(_) => Probe::No,
        None => Probe::More,
    }
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct TcpParser {
    to_server: Side,
    to_client: Side,
    /// The last query, until a response came: the one that a damaged response is blamed on.
    last_query: Option<Key>,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    /// The beginning of an incomplete message, length prefix included.
    buffer: Vec<u8>,
    /// The packet with its first byte.
    first: Option<Context>,
    /// Bytes of a lost message still to come.
    skip: usize,
    /// A message was read.
    proven: bool,
    /// No message can be found any more.
    lost: bool,
}

impl TcpParser {
    /// A parser at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what reassembly hands on. `conn` is the connection; its client need not be the one who asks.
    pub fn chunk(
        &mut self,
        dir: Dir,
        chunk: Chunk<'_>,
        at: Context,
        conn: &Conn,
        tracker: &mut Tracker,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        let mut sink = Sink { dir, at, conn, last_query: &mut self.last_query, tracker, out };
        let side = match dir {
            Dir::ToServer => &mut self.to_server,
            Dir::ToClient => &mut self.to_client,
        };
        match chunk {
            Chunk::Data(bytes) | Chunk::Conflict { taken: bytes, .. } => side.data(bytes, &mut sink),
            Chunk::Gap { len, .. } => side.gap(len, &mut sink),
            Chunk::End(End::Fin) => side.cut_off(&mut sink),
            Chunk::End(End::Reset | End::Lost) | Chunk::Reread { .. } => {}
        }
    }

    /// Memory held for incomplete messages, in bytes.
    pub fn memory(&self) -> usize {
        self.to_server.buffer.capacity().saturating_add(self.to_client.buffer.capacity())
    }
}

impl Side {
    fn data<F: FnMut(Transaction, u64)>(&mut self, mut bytes: &[u8], sink: &mut Sink<'_, F>) {
        while !bytes.is_empty() && !self.lost {
            if self.skip > 0 {
                let (skipped, rest) = bytes.split_at_checked(self.skip).unwrap_or((bytes, &[]));
                self.skip = self.skip.saturating_sub(skipped.len());
                bytes = rest;
                continue;
            }
            if self.buffer.is_empty() {
                // The common case: the segment has the whole message, and nothing is copied.
                if let Some((message, rest)) = split_message(bytes) {
                    self.message(message, sink.at, sink);
                    bytes = rest;
                    continue;
                }
                self.first = Some(sink.at);
            }
            let (taken, rest) = bytes.split_at_checked(self.wanted()).unwrap_or((bytes, &[]));
            self.buffer.extend_from_slice(taken);
            bytes = rest;
            if self.buffer.len() >= PREFIX_LEN && self.wanted() == 0 {
                let buffer = std::mem::take(&mut self.buffer);
                let first = self.first.take().unwrap_or(sink.at);
                self.message(buffer.get(PREFIX_LEN..).unwrap_or_default(), first, sink);
            }
        }
    }

    /// Bytes that the message in the buffer still lacks; of its prefix, as long as that is not whole.
    fn wanted(&self) -> usize {
        match self.buffer.first_chunk::<PREFIX_LEN>() {
            Some(prefix) => {
                usize::from(u16::from_be_bytes(*prefix)).saturating_add(PREFIX_LEN).saturating_sub(self.buffer.len())
            }
            None => PREFIX_LEN.saturating_sub(self.buffer.len()),
        }
    }

    fn message<F: FnMut(Transaction, u64)>(&mut self, message: &[u8], first: Context, sink: &mut Sink<'_, F>) {
        if sink.message(message, first, false) {
            self.proven = true;
        } else if !self.proven {
            self.lost = true; // something else talks on this port
        }
    }

    fn gap<F: FnMut(Transaction, u64)>(&mut self, len: u64, sink: &mut Sink<'_, F>) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let left = if self.buffer.len() < PREFIX_LEN { self.skip } else { self.wanted() };
        self.cut_off(sink);
        self.skip = left.saturating_sub(len);
        self.lost |= len > left;
    }

    /// The message in the buffer will not be completed: what there is of a query is used, a response is remarked on.
    fn cut_off<F: FnMut(Transaction, u64)>(&mut self, sink: &mut Sink<'_, F>) {
        if self.buffer.is_empty() {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let first = self.first.take().unwrap_or(sink.at);
        match sink.dir {
            Dir::ToClient => sink.fail(Note::IncompleteResponse),
            Dir::ToServer => {
                sink.message(buffer.get(PREFIX_LEN..).unwrap_or_default(), first, true);
            }
        }
    }
}

/// The first message of `bytes` if it is whole, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX_LEN>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*prefix)))
}

/// Where messages go.
struct Sink<'a, F> {
    dir: Dir,
    at: Context,
    conn: &'a Conn,
    last_query: &'a mut Option<Key>,
    tracker: &'a mut Tracker,
    out: &'a mut F,
}

impl<F: FnMut(Transaction, u64)> Sink<'_, F> {
    /// Reads a message and passes it on; `false` if it is none. Packetbeat remarks only on responses that it cannot read.
    fn message(&mut self, bytes: &[u8], first: Context, cut: bool) -> bool {
        let parsed = parse(bytes).ok().filter(|message| !message.partial || self.dir == Dir::ToServer);
        let Some(mut message) = parsed else {
            self.tracker.malformed();
            if self.dir == Dir::ToClient {
                self.fail(if bytes.is_empty() { Note::ZeroLength } else { Note::NonDnsResponse });
            }
            return false;
        };
        message.time = first.time;
        message.bytes = message.bytes.saturating_add(PREFIX_LEN as u64);
        let (from, to) = match self.dir {
            Dir::ToServer => (self.conn.client, self.conn.server),
            Dir::ToClient => (self.conn.server, self.conn.client),
        };
        let route = Route { from, to, proto: Proto::Tcp, cut };
        *self.last_query = (!message.is_response()).then(|| route.key(message.id));
        self.tracker.message(message, route, first.index, || self.conn.clone(), self.out);
        true
    }

    fn fail(&mut self, note: Note) {
        if let Some(key) = self.last_query.take() {
            self.tracker.fail(&key, note, self.at, self.out);
        }
    }
}

#[cfg(test)]
mod tests;
