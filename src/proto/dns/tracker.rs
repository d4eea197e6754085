//! Pairs DNS queries with their responses as Packetbeat does: by both ends, transport and message id. Datagrams come in
//! here; messages over TCP come from [`TcpParser`](super::TcpParser). Finished transactions go to a closure, each with
//! the number of its first packet.
//!
//! Bounds: [`Limits`] for queries that wait, [`Config::copies`] for datagrams that are remembered to know their copies
//! again, [`MAX_QUESTIONS`] transactions for one message. [`Counters`] says how often each was met.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashMap;

use super::message::{Message, Note, Transaction};
use super::parse::parse;
use crate::conn::{Conn, Endpoint, Proto};
use crate::decode::meta::Meta;
use crate::packet::Timestamp;
use crate::proto::pending::{Limits, Pending};
use crate::stream::Context;

/// Transactions that one message can give; no resolver sends more than one question.
pub const MAX_QUESTIONS: usize = 16;

/// A datagram over this size needs EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP_MAX: u64 = 512;

/// How long after the first copy of a datagram another way may bring it again, in nanoseconds.
const COPY_WINDOW: i64 = Timestamp::SECOND;

/// Settings of a [`Tracker`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bounds of the table of queries that wait.
    pub pending: Limits,
    /// How many datagrams are remembered for a second to know copies by another way.
    pub copies: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { pending: Limits::default(), copies: 65_536 }
    }
}

/// What happened, for the closing summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages read.
    pub messages: u64,
    /// Messages of which not even the question could be read.
    pub malformed: u64,
    /// Messages read in part.
    pub partial: u64,
    /// Datagrams left out because they had come by another way.
    pub copies: u64,
    /// Queries given up because too many waited.
    pub evicted: u64,
    /// Datagrams forgotten within the second in which their copies may come.
    pub copies_forgotten: u64,
    /// Questions left out of messages with more than [`MAX_QUESTIONS`].
    pub questions_left_out: u64,
}

impl Counters {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.malformed = self.malformed.saturating_add(other.malformed);
        self.partial = self.partial.saturating_add(other.partial);
        self.copies = self.copies.saturating_add(other.copies);
        self.evicted = self.evicted.saturating_add(other.evicted);
        self.copies_forgotten = self.copies_forgotten.saturating_add(other.copies_forgotten);
        self.questions_left_out = self.questions_left_out.saturating_add(other.questions_left_out);
    }
}

/// What a response is matched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    client: Endpoint,
    server: Endpoint,
    proto: Proto,
    id: u16,
}

/// A query that waits.
#[derive(Debug)]
struct Waiting {
    conn: Conn,
    query: Message,
    notes: Vec<Note>,
}

impl Waiting {
    fn close(mut self, note: Option<Note>, response: Option<Message>) -> Transaction {
        self.notes.extend(note);
        let (query, response) = (Some(Arc::new(self.query)), response.map(Arc::new));
        Transaction { conn: self.conn, query, response, notes: self.notes, question: 0 }
    }
}

/// Pairs queries and responses of one worker.
#[derive(Debug)]
pub struct Tracker {
    pending: Pending<Key, Box<Waiting>>,
    copies: Copies,
    counters: Counters,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: Config) -> Self {
        Self {
            pending: Pending::new(config.pending),
            copies: Copies::new(config.copies),
            counters: Counters::default(),
        }
    }

    /// Takes a UDP payload: on ports 53 and 5353 whatever it is, on others when [`looks_like`](super::looks_like) says
    /// so. `conn` is asked for only when the payload is a DNS message that begins a transaction; either end of it may be
    /// the client. Payloads that are no DNS message are counted and give nothing, as with Packetbeat.
    pub fn datagram(
        &mut self,
        meta: &Meta,
        payload: &[u8],
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        let (Some(net), Some((source, destination))) = (meta.net, meta.ports()) else { return };
        let (from, to) =
            (Endpoint { ip: net.source, port: source }, Endpoint { ip: net.destination, port: destination });
        if self.copies.is_copy(meta, (from, to), payload) {
            self.counters.copies = self.counters.copies.saturating_add(1);
            return;
        }
        let Ok(mut message) = parse(payload) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        message.time = meta.time;
        message.bytes = message.bytes.saturating_add(u64::from(meta.missing));
        let route = Route { from, to, proto: Proto::Udp, cut: meta.missing > 0 };
        self.message(message, route, meta.index, conn, out);
    }

    /// Takes a message, whatever brought it. Queries that Packetbeat cannot decode are reported alone at once; so are
    /// such responses over UDP, where Packetbeat goes on waiting.
    pub(super) fn message(
        &mut self,
        message: Message,
        route: Route,
        index: u64,
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        self.counters.messages = self.counters.messages.saturating_add(1);
        self.counters.partial = self.counters.partial.saturating_add(u64::from(message.partial));
        // A message cut by the capture was whole for its receiver; a damaged one may not have been understood.
        let alone = message.partial && !route.cut || route.to.ip.is_multicast();
        match (message.is_response(), alone) {
            (false, false) => self.query(message, route, index, conn, out),
            (true, false) => self.response(message, route, index, conn, out),
            (false, true) => {
                let conn = conn().with_client(route.from);
                self.emit(single(conn, Some(message), None, None), index, out);
            }
            (true, true) => {
                let note = (!route.to.ip.is_multicast()).then_some(Note::NonDnsResponse);
                let conn = conn().with_client(route.to);
                self.emit(single(conn, None, Some(message), note), index, out);
            }
        }
    }

    /// Closes the queries whose time is over at `now`, in the order of their packets.
    pub fn expire(&mut self, now: Timestamp, out: &mut impl FnMut(Transaction, u64)) {
        for (first, waiting) in self.pending.expire(now) {
            self.emit(waiting.close(Some(Note::NoResponse), None), first, out);
        }
    }

    /// Closes every query that still waits, in the order of their packets.
    pub fn finish(&mut self, out: &mut impl FnMut(Transaction, u64)) {
        for (first, waiting) in self.pending.drain() {
            self.emit(waiting.close(Some(Note::NoResponse), None), first, out);
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        Counters { copies_forgotten: self.copies.forgotten, ..self.counters }
    }

    /// Number of queries that wait.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Counts a message over TCP that is not DNS.
    pub(super) fn malformed(&mut self) {
        self.counters.malformed = self.counters.malformed.saturating_add(1);
    }

    /// Closes the query that waits under `key` because its answer cannot be read.
    pub(super) fn fail(&mut self, key: &Key, note: Note, at: Context, out: &mut impl FnMut(Transaction, u64)) {
        if let Some((waiting, first, late)) = self.pending.take(key, at.time) {
            let note = if late { Note::NoResponse } else { note };
            self.emit(waiting.close(Some(note), None), first, out);
        }
    }

    fn query(
        &mut self,
        query: Message,
        route: Route,
        index: u64,
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        let key = route.key(query.id);
        if let Some((waiting, first, late)) = self.pending.take(&key, query.time) {
            let note = if late { Note::NoResponse } else { Note::DuplicateQuery };
            self.emit(waiting.close(Some(note), None), first, out);
        }
        let mut notes = Vec::new();
        // Packetbeat asks it the wrong way round: it remarks on queries that have EDNS.
        if route.proto == Proto::Udp && query.opt.is_some() && query.bytes > PLAIN_UDP_MAX {
            notes.push(Note::NonEdnsQueryTooBig);
        }
        let (time, bytes) = (query.time, size_of::<Waiting>().saturating_add(query.memory()));
        let waiting = Box::new(Waiting { conn: conn().with_client(route.from), query, notes });
        for (first, shed) in self.pending.insert(key, waiting, bytes, index, time) {
            self.counters.evicted = self.counters.evicted.saturating_add(1);
            self.emit(shed.close(Some(Note::NoResponse), None), first, out);
        }
    }

    fn response(
        &mut self,
        response: Message,
        route: Route,
        index: u64,
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        let key = route.flip().key(response.id);
        let waiting = match self.pending.take(&key, response.time) {
            Some((waiting, first, true)) => {
                self.emit(waiting.close(Some(Note::NoResponse), None), first, out);
                None
            }
            Some((waiting, first, false)) => Some((waiting, first)),
            None => None,
        };
        let (mut transaction, first) = match waiting {
            Some((waiting, first)) => (waiting.close(None, Some(response)), first),
            None => {
                let conn = conn().with_client(route.to);
                (single(conn, None, Some(response), Some(Note::OrphanResponse)), index)
            }
        };
        if route.proto == Proto::Udp {
            let remarks = edns_remarks(transaction.query.as_deref(), transaction.response.as_deref());
            transaction.notes.extend(remarks.into_iter().flatten());
        }
        self.emit(transaction, first, out);
    }

    /// Reports a transaction, once for each question.
    fn emit(&mut self, transaction: Transaction, first: u64, out: &mut impl FnMut(Transaction, u64)) {
        let questions = transaction.query.as_ref().or(transaction.response.as_ref()).map_or(0, |m| m.questions.len());
        let left_out = questions.saturating_sub(MAX_QUESTIONS);
        self.counters.questions_left_out = self.counters.questions_left_out.saturating_add(left_out as u64);
        let further: Vec<_> = (1..questions.saturating_sub(left_out))
            .map(|question| Transaction { question, ..transaction.clone() })
            .collect();
        out(transaction, first);
        for transaction in further {
            out(transaction, first);
        }
    }
}

/// Where a message went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) proto: Proto,
    /// The capture has only a part of it.
    pub(super) cut: bool,
}

impl Route {
    fn flip(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }

    /// Key of a query with this id that takes this route.
    pub(super) fn key(self, id: u16) -> Key {
        Key { client: self.from, server: self.to, proto: self.proto, id }
    }
}

fn single(conn: Conn, query: Option<Message>, response: Option<Message>, note: Option<Note>) -> Transaction {
    let (query, response) = (query.map(Arc::new), response.map(Arc::new));
    Transaction { conn, query, response, notes: note.into_iter().collect(), question: 0 }
}

/// What Packetbeat remarks on sizes and EDNS over UDP when a response comes.
fn edns_remarks(query: Option<&Message>, response: Option<&Message>) -> [Option<Note>; 2] {
    let Some(response) = response else { return [None; 2] };
    let answered = response.opt.is_some();
    let size = (!answered && response.bytes > PLAIN_UDP_MAX).then_some(Note::NonEdnsResponseTooBig);
    let support = match query.map(|query| query.opt.is_some()) {
        Some(true) if !answered => Some(Note::NoEdnsSupport),
        Some(false) if answered => Some(Note::UnexpectedEdns),
        _ => None,
    };
    [size, support]
}

/// Knows datagrams that were seen before by another way: on another VLAN or interface, with other MACs or another time to
/// live, inside another tunnel. By the same way, the same datagram again is a repetition by its sender.
#[derive(Debug)]
struct Copies {
    /// By hash of ends and payload: when and by which way the first copy came.
    seen: HashMap<u64, (Timestamp, u64), foldhash::fast::FixedState>,
    order: VecDeque<(u64, Timestamp)>,
    capacity: usize,
    /// Datagrams forgotten early.
    forgotten: u64,
    hasher: foldhash::quality::RandomState,
}

impl Copies {
    fn new(capacity: usize) -> Self {
        Self {
            seen: HashMap::default(),
            order: VecDeque::new(),
            capacity,
            forgotten: 0,
            hasher: foldhash::quality::RandomState::default(),
        }
    }

    fn is_copy(&mut self, meta: &Meta, ends: (Endpoint, Endpoint), payload: &[u8]) -> bool {
        let what = self.hasher.hash_one((ends, payload));
        let ttl = meta.net.map(|net| net.ttl);
        let way = self.hasher.hash_one((meta.interface, meta.macs, meta.vlans, ttl, &meta.hops));
        let known = self.seen.get(&what).copied().filter(|(time, _)| meta.time.since(*time).abs() <= COPY_WINDOW);
        if known.is_some_and(|(_, first_way)| first_way != way) {
            return true;
        }
        self.seen.insert(what, (meta.time, way));
        self.order.push_back((what, meta.time));
        self.forget(meta.time);
        false
    }

    /// Drops what is older than the window, and the oldest when there is too much.
    fn forget(&mut self, now: Timestamp) {
        while let Some(&(what, time)) = self.order.front() {
            if self.order.len() <= self.capacity && now.since(time) <= COPY_WINDOW {
                break;
            }
            self.order.pop_front();
            self.forgotten = self.forgotten.saturating_add(u64::from(now.since(time) <= COPY_WINDOW));
            if self.seen.get(&what).is_some_and(|(newest, _)| *newest == time) {
                self.seen.remove(&what);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
