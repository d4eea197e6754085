//! From facts to observations: what an HTTP exchange, a lookup, a ping, a flow or a connection means, and where in the run
//! it belongs.
//!
//! In: facts, wherever they come from (packets, or the events of other sensors). Out: observations, judged by the matcher
//! and numbered. It knows nothing of packets, and it alone decides whether bodies are worth keeping and whether
//! credential-shaped tokens are worth looking for ([`Bodies`], [`TokenSearch`]).

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use crate::conn::{Conn, Endpoint, Order};
use crate::detect::{Carried, Detector, NoRequest, Seen, Tokens, Verdict};
use crate::flow;
use crate::observe::{Observation, What};
use crate::packet::Timestamp;
use crate::proto::{dns, http, icmp};

/// Settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Whether everything is an event, or only what concerns metadata.
    pub everything: bool,
    /// Whether events show bodies, so that those of all responses are kept.
    pub writes_bodies: bool,
    /// Whether this judge is given everything that there is. If so, nothing can be seen leaving before it saw something
    /// issued; if others see a part, only [`Judge::search_tokens`] tells what they saw.
    pub alone: bool,
}

/// Whether credential-shaped tokens are looked for. What is seen before the first credential was issued joins nothing, and
/// looking for it takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSearch {
    /// Nothing was issued yet.
    Off,
    /// Something may have been issued that another judge saw: who knows whether looks for tokens in what is handed on.
    Deferred,
    /// Something was issued.
    On,
}

/// Which bodies are worth keeping.
#[derive(Clone, Copy, Debug)]
struct Bodies {
    /// Events show them.
    written: bool,
    search: TokenSearch,
}

impl Bodies {
    /// Whether those of all responses are, whatever was asked for.
    fn all(self) -> bool {
        self.written || self.search != TokenSearch::Off
    }

    /// Whether somebody reads them after the matcher did.
    fn outlast(self, verdict: &Verdict) -> bool {
        self.written || verdict.carried == Carried::Unsearched
    }
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// HTTP transactions.
    pub http: u64,
    /// DNS transactions.
    pub dns: u64,
    /// ICMP transactions.
    pub icmp: u64,
    /// Flows that ended.
    pub flows: u64,
}

/// Kinds of observations in the order in which those of one first packet leave together.
mod rank {
    pub(super) const HTTP: u8 = 0;
    pub(super) const DNS: u8 = 1;
    pub(super) const ICMP: u8 = 2;
    pub(super) const OTHERS: u8 = 3;
    pub(super) const FLOWS: u8 = 8;
}

/// See the module.
pub struct Judge {
    detector: Detector,
    everything: bool,
    bodies: Bodies,
    counters: Counters,
    found: Found,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(config: Config, detector: Detector) -> Self {
        let search = if config.alone { TokenSearch::Off } else { TokenSearch::Deferred };
        Self {
            detector,
            everything: config.everything,
            bodies: Bodies { written: config.writes_bodies, search },
            counters: Counters::default(),
            found: Found::default(),
        }
    }

    /// What was found and not taken out yet, and the place of what comes next.
    pub fn found(&mut self) -> &mut Found {
        &mut self.found
    }

    /// How much was judged.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether everything is an event, or only what concerns metadata.
    pub fn wants_everything(&self) -> bool {
        self.everything
    }

    /// A credential was issued before whatever comes from now on: it may be seen leaving.
    pub fn search_tokens(&mut self) {
        self.bodies.search = TokenSearch::On;
    }

    /// Whether tokens are worth looking for.
    pub fn token_search(&self) -> TokenSearch {
        self.bodies.search
    }

    /// Whether the bodies of all responses are worth keeping.
    pub fn keeps_all_bodies(&self) -> bool {
        self.bodies.all()
    }

    /// Whether the body of the response to `request` is worth keeping by itself; see [`Detector::reads_response`].
    pub fn keeps_body(&self, request: &http::Message, client: Endpoint, server: Endpoint) -> bool {
        self.detector.metadata_endpoint(server) || self.detector.reads_response(request, [server.port, client.port])
    }

    /// Whether this end is a metadata service's, whatever is sent to it.
    #[inline]
    pub fn is_metadata(&self, end: Endpoint) -> bool {
        self.detector.metadata_endpoint(end)
    }

    /// Judges an HTTP exchange, or one side of it.
    pub fn http(&mut self, mut tx: http::Transaction) {
        self.counters.http = self.counters.http.saturating_add(1);
        let mut verdict = self.detector.http(&tx, self.bodies.search == TokenSearch::On);
        if self.bodies.search == TokenSearch::Deferred {
            verdict.carried = Carried::Unsearched;
        }
        if verdict.issues_credential() {
            self.bodies.search = TokenSearch::On;
        }
        if let Some(response) = &mut tx.response
            && !self.bodies.outlast(&verdict)
        {
            response.body.release();
        }
        let time = tx.response.as_ref().or(tx.request.as_ref()).map_or(self.found.now, |m| m.last);
        let first = tx.conn.first_index;
        let is_unsearched = verdict.carried == Carried::Unsearched;
        if self.everything || verdict.matters() || verdict.shaped.is_some() || is_unsearched {
            self.found.push(time, first, rank::HTTP, What::Http(Box::new((tx, verdict))));
        }
    }

    /// Judges a message that came as no exchange of its own, put as a request: of interest only for what it asks for.
    /// Its tokens are found in the stream that it came in.
    pub fn message(&mut self, tx: http::Transaction) {
        let verdict = self.detector.http(&tx, false);
        if !verdict.candidates.is_empty() {
            let (time, first) = (tx.request.as_ref().map_or(self.found.now, |m| m.last), tx.conn.first_index);
            self.found.push(time, first, rank::HTTP, What::Http(Box::new((tx, verdict))));
        }
    }

    /// Judges a DNS transaction, first seen in packet `first`.
    pub fn dns(&mut self, tx: dns::Transaction, first: u64) {
        self.counters.dns = self.counters.dns.saturating_add(1);
        let verdict = self.detector.dns(&tx, self.bodies.search != TokenSearch::Off);
        let time = tx.response.as_ref().or(tx.query.as_ref()).map_or(self.found.now, |m| m.time);
        if self.everything || verdict.matters() {
            self.found.push(time, first, rank::DNS, What::Dns(Box::new((tx, verdict))));
        }
    }

    /// Takes an ICMP transaction, first seen in packet `first`.
    pub fn icmp(&mut self, tx: icmp::Transaction, first: u64) {
        self.counters.icmp = self.counters.icmp.saturating_add(1);
        let time = tx.response.as_ref().or(tx.request.as_ref()).map_or(self.found.now, |m| m.time);
        self.found.push(time, first, rank::ICMP, What::Icmp(Box::new(tx)));
    }

    /// Takes a flow's record.
    pub fn flow(&mut self, record: flow::Record) {
        self.counters.flows = self.counters.flows.saturating_add(u64::from(record.last_report));
        let (time, first) = (record.last, record.first_index);
        let rank = rank::FLOWS.saturating_add(record.rank());
        self.found.push(time, first, rank, What::Flow(Box::new(record)));
    }

    /// A connection without a readable request ended; of interest where its server is a metadata service.
    pub fn connection(&mut self, conn: Conn, why: NoRequest, first: Timestamp, last: Timestamp) {
        let index = conn.first_index;
        if let Some(found) = self.detector.connection(conn, why, first, last) {
            self.found.push(last, index, rank::OTHERS, What::Connection(Box::new(found)));
        }
    }

    /// Takes hashes of tokens that were sent by `conn.client` in cleartext of another protocol, in packet `index`.
    pub fn tokens(&mut self, conn: Conn, time: Timestamp, index: u64, hashes: Vec<Seen>) {
        if !hashes.is_empty() {
            let tokens = Tokens { conn, time, hashes, hint: None };
            self.found.push(time, index, rank::OTHERS, What::Tokens(Box::new(tokens)));
        }
    }
}

/// Observations on their way out, and the packet or tick that is being worked on, which gives them their place.
#[derive(Default)]
pub struct Found {
    list: Vec<Observation>,
    at: u64,
    tick: bool,
    nth: u32,
    now: Timestamp,
}

impl Found {
    /// What is found from now on was completed by packet `index`.
    pub fn begin_packet(&mut self, index: u64) {
        if self.at != index || self.tick {
            (self.at, self.tick, self.nth) = (index, false, 0);
        }
    }

    /// What is found from now on expired at `now`, before packet `at`. Returns the number of observations found before.
    pub fn begin_tick(&mut self, at: u64, now: Timestamp) -> usize {
        (self.at, self.tick, self.nth, self.now) = (at, true, 0, now);
        self.list.len()
    }

    /// Time of the last tick.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Number of the packet that is being worked on.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Puts what was found behind the first `from` in an order that does not depend on the number of workers: it expired
    /// together.
    pub fn sort_from(&mut self, from: usize) {
        if let Some(tail) = self.list.get_mut(from..) {
            tail.sort_by_key(|observation| observation.order);
        }
    }

    /// What was found, in order; the caller may take from it.
    pub fn list(&mut self) -> &mut Vec<Observation> {
        &mut self.list
    }

    /// Adds an observation: when it was completed, the number of its first packet, and its [`rank`].
    fn push(&mut self, time: Timestamp, first: u64, rank: u8, what: What) {
        let order = if self.tick {
            Order { at: self.at, in_packet: false, first, rank, nth: self.nth }
        } else {
            Order { at: self.at, in_packet: true, first: 0, rank: 0, nth: self.nth }
        };
        self.nth = self.nth.wrapping_add(1);
        self.list.push(Observation { order, time, what });
    }
}
