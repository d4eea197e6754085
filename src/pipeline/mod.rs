//! The hot path: one per worker. Decoded levels and ticks in, observations out; no I/O, no clock, no threads.
//!
//! [`Pipeline::level`] is where a packet goes: its flow is counted, and the innermost level is read as TCP, UDP or ICMP.
//! A connection that turns out to be of no interest costs one table entry and one look-up per packet from then on.

use crate::conn::{Conn, Endpoint, Order, Proto};
use crate::decode::meta::{Meta, Transport};
use crate::detect::{Detector, tokens};
use crate::flow;
use crate::judge::{self, Judge, TokenSearch};
use crate::observe::Observation;
use crate::packet::Timestamp;
use crate::process::Lookup;
use crate::proto::pending::Limits;
use crate::proto::{dns, http, icmp};
use crate::route::LayerSink;
use crate::session;
use crate::stream;

mod conversation;
mod opening;
mod tcp;

use conversation::FirstPacketInfo;
use tcp::Session;

/// Settings of one worker's pipeline.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Track flows; `None` leaves them out.
    pub flows: Option<flow::Config>,
    /// What is wanted, and judged how.
    pub judge: judge::Config,
    /// Sessions.
    pub sessions: session::Config,
    /// Streams.
    pub stream: stream::Limits,
    /// HTTP. Whether the bodies of all responses are captured is up to the judge.
    pub http: http::Limits,
    /// DNS.
    pub dns: dns::Config,
    /// ICMP.
    pub icmp: Limits,
    /// Idle time after which a connection is forgotten, in nanoseconds of packet time.
    pub idle: i64,
    /// Names the processes that connect to metadata services, in live capture.
    pub processes: Option<Lookup>,
}

/// What one worker counted; added up over workers for the closing summary.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Packets read (innermost levels).
    pub packets: u64,
    /// HTTP transactions.
    pub http: u64,
    /// DNS transactions.
    pub dns: u64,
    /// ICMP transactions.
    pub icmp: u64,
    /// Flows.
    pub flows: u64,
    /// Sessions created, expired, evicted.
    pub sessions: session::Counters,
    /// Flow table.
    pub flow_table: flow::Stats,
    /// HTTP parsers.
    pub http_parsers: http::Counters,
    /// DNS messages.
    pub dns_messages: dns::Counters,
    /// TCP segments left out, in all.
    pub segments_ignored: u64,
}

impl Counters {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.http += other.http;
        self.dns += other.dns;
        self.icmp += other.icmp;
        self.flows += other.flows;
        self.segments_ignored += other.segments_ignored;
        self.sessions.created += other.sessions.created;
        self.sessions.expired += other.sessions.expired;
        self.sessions.evicted += other.sessions.evicted;
        self.flow_table.begun += other.flow_table.begun;
        self.flow_table.expired += other.flow_table.expired;
        self.flow_table.evicted += other.flow_table.evicted;
        self.http_parsers.add(&other.http_parsers);
        self.dns_messages.add(&other.dns_messages);
    }
}

/// Everything from a decoded level to an observation.
pub struct Pipeline {
    sessions: session::Table<Session>,
    flows: Option<flow::Table>,
    icmp: Option<icmp::Tracker>,
    records: Vec<flow::Record>,
    context: WorkerContext,
}

/// Whether a packet's conversation may have to do with metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relevance {
    /// It may.
    Relevant,
    /// Nothing was said yet: the packets that opened it are counted when something is.
    Undecided,
    /// It turned out just now that it cannot.
    JustRuledOut,
    /// Only if one of its ends is a metadata service.
    ByEndpoint,
    /// It cannot.
    Irrelevant,
}

/// What connections are read with: apart from the tables, so that a session can be lent out meanwhile.
struct WorkerContext {
    config: Config,
    dns: dns::Tracker,
    /// What the present message or chunk completed; reused.
    dns_found: Vec<(dns::Transaction, u64)>,
    found: Vec<tcp::Fact>,
    judge: Judge,
    counters: Counters,
    /// Packets that opened the present connection and were not counted for its flow.
    opened: Vec<Meta>,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(config: Config, detector: Detector) -> Self {
        Self {
            sessions: session::Table::new(config.sessions),
            flows: config.flows.map(flow::Table::new),
            icmp: config.judge.everything.then(|| icmp::Tracker::new(config.icmp)),
            records: Vec::new(),
            context: WorkerContext {
                dns: dns::Tracker::new(config.dns),
                dns_found: Vec::new(),
                found: Vec::new(),
                judge: Judge::new(config.judge, detector),
                config,
                counters: Counters::default(),
                opened: Vec::new(),
            },
        }
    }

    /// About how many bytes of memory that takes.
    pub fn found_weight(&mut self) -> usize {
        self.context.judge.found().list().iter().map(Observation::weight).sum()
    }

    /// Takes out what was found since the last call, in order.
    pub fn drain(&mut self, into: &mut Vec<Observation>) {
        into.append(self.context.judge.found().list());
    }

    /// A credential was issued before whatever comes from now on: it may be seen leaving.
    pub fn search_tokens(&mut self) {
        self.context.judge.search_tokens();
    }

    /// The input is over: everything still open is reported.
    pub fn finish(&mut self, hand_over: &mut HandOver<'_>) {
        self.end_all(u64::MAX, hand_over);
    }

    /// A new second of packet time began before packet `at`: what is due is reported.
    pub fn expire(&mut self, at: u64, now: Timestamp, hand_over: &mut HandOver<'_>) {
        let from = self.context.judge.found().begin_tick(at, now);
        let context = &mut self.context;
        self.sessions.expire(now, &mut |session: Session| session.end(stream::End::Lost, context));
        context.with_dns(|dns, mut out| dns.expire(now, &mut out));
        if let Some(icmp) = &mut self.icmp {
            icmp.expire(now, &mut |tx, first| context.judge.icmp(tx, first));
        }
        context.judge.found().sort_from(from);
        if let Some(flows) = &mut self.flows {
            let mut others = Others::behind(from, context);
            flows.expire(now, &mut |record| others.with(record, context, hand_over));
            context.judge.found().list().extend(others.0);
        }
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let judged = self.context.judge.counters();
        let mut counters = self.context.counters.clone();
        (counters.http, counters.dns) = (judged.http, judged.dns);
        (counters.icmp, counters.flows) = (judged.icmp, judged.flows);
        counters.sessions = self.sessions.counters();
        counters.dns_messages = self.context.dns.counters();
        if let Some(flows) = &self.flows {
            counters.flow_table = flows.stats();
        }
        counters
    }

    /// As [`LayerSink::restart`].
    pub fn end_all(&mut self, at: u64, hand_over: &mut HandOver<'_>) {
        let context = &mut self.context;
        let now = context.now();
        let from = context.judge.found().begin_tick(at, now);
        self.sessions.drain(&mut |session: Session| session.end(stream::End::Lost, context));
        context.with_dns(|dns, mut out| dns.finish(&mut out));
        if let Some(icmp) = &mut self.icmp {
            icmp.finish(&mut |tx, first| context.judge.icmp(tx, first));
        }
        context.judge.found().sort_from(from);
        if let Some(flows) = &mut self.flows {
            let mut others = Others::behind(from, context);
            flows.finish(now, &mut |record| others.with(record, context, hand_over));
            context.judge.found().list().extend(others.0);
        }
    }

    /// Counts one level for its flow.
    fn count(&mut self, meta: &Meta) {
        if let Some(flows) = &mut self.flows {
            flows.touch(meta, &mut self.records);
            self.records.drain(..).for_each(|record| self.context.judge.flow(record));
        }
    }

    /// Flows of conversations that cannot have to do with metadata are not kept where only those are wanted.
    fn count_if(&mut self, interest: Relevance, meta: &Meta) {
        match interest {
            Relevance::ByEndpoint if self.touches_metadata(meta) => self.count(meta),
            Relevance::Relevant => {
                let mut opened = std::mem::take(&mut self.context.opened);
                opened.drain(..).for_each(|opened| self.count(&opened));
                self.context.opened = opened;
                self.count(meta);
            }
            Relevance::JustRuledOut => {
                if let Some(flows) = &mut self.flows {
                    flows.forget(meta);
                }
            }
            Relevance::ByEndpoint | Relevance::Undecided | Relevance::Irrelevant => {}
        }
    }

    fn touches_metadata(&self, meta: &Meta) -> bool {
        let is_metadata = |end| self.context.judge.is_metadata(end);
        Endpoint::of(meta).is_some_and(|(source, destination)| is_metadata(source) || is_metadata(destination))
    }

    fn icmp(&mut self, meta: &Meta, segment: &[u8]) -> Relevance {
        self.context.search(meta, meta.payload(segment), || FirstPacketInfo::new(meta).portless(meta));
        if let Some(icmp) = &mut self.icmp {
            let context = &mut self.context;
            icmp.packet(meta, meta.payload(segment), || FirstPacketInfo::new(meta).portless(meta), &mut |tx, first| {
                context.judge.icmp(tx, first);
            });
        }
        Relevance::ByEndpoint
    }

    fn udp(&mut self, meta: &Meta, payload: &[u8]) -> Relevance {
        let Some((from, to)) = Endpoint::of(meta) else { return Relevance::Irrelevant };
        let known = dns::PORTS.iter().any(|port| from.port == *port || to.port == *port);
        if known || dns::looks_like(payload) {
            let conn = || FirstPacketInfo::new(meta).conn(from, to, Proto::Udp);
            self.context.with_dns(|dns, mut out| dns.datagram(meta, payload, conn, &mut out));
            Relevance::Relevant
        } else {
            self.context.search(meta, payload, || FirstPacketInfo::new(meta).conn(from, to, Proto::Udp));
            Relevance::ByEndpoint
        }
    }
}

impl LayerSink for Pipeline {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.expire(at, now, &mut |_, _| {});
    }

    fn level(&mut self, meta: &Meta, segment: &[u8]) {
        self.context.judge.found().begin_packet(meta.index);
        if self.context.judge.wants_everything() {
            self.count(meta);
        }
        if !meta.innermost {
            return;
        }
        self.context.counters.packets += 1;
        let interest = match meta.transport {
            Transport::Tcp(tcp) => tcp::packet(&mut self.sessions, &mut self.context, meta, &tcp, segment),
            Transport::Udp { .. } => self.udp(meta, meta.payload(segment)),
            Transport::Icmp { .. } => self.icmp(meta, segment),
            Transport::Other | Transport::None => Relevance::ByEndpoint,
        };
        if !self.context.judge.wants_everything() {
            self.count_if(interest, meta);
        }
        self.context.opened.clear();
    }

    fn warm<'m>(&self, levels: impl Iterator<Item = &'m Meta>) {
        self.sessions.warm(levels.filter_map(|meta| match &meta.transport {
            Transport::Tcp(_) if meta.innermost => Endpoint::of(meta),
            _ => None,
        }));
    }

    fn found(&mut self, found: Observation) {
        self.context.judge.found().list().push(found);
    }

    fn mark_undelivered(&mut self, quoted: &crate::route::Quoted) {
        tcp::mark_undelivered(&mut self.sessions, quoted);
    }

    fn restart(&mut self, at: u64) {
        self.end_all(at, &mut |_, _| {});
    }
}

/// Takes what was found so far, while more is still being found: everything that follows comes behind the second argument.
pub type HandOver<'h> = dyn FnMut(&mut Vec<Observation>, Order) + 'h;

/// How many observations of one tick may wait; a flow's takes about 300 bytes.
const PIECE: usize = 4096;

/// What leaves with flows, in order. Flows go between it one by one, and on in pieces: there may be very many.
struct Others(std::iter::Peekable<std::vec::IntoIter<Observation>>);

impl Others {
    /// What was found behind `from`.
    fn behind(from: usize, context: &mut WorkerContext) -> Self {
        let found = context.judge.found().list();
        Self(found.split_off(from.min(found.len())).into_iter().peekable())
    }

    /// Adds the next flow, and what comes before it.
    fn with(&mut self, record: flow::Record, context: &mut WorkerContext, hand_over: &mut HandOver<'_>) {
        let first = context.judge.found().list().len();
        context.judge.flow(record);
        let found = context.judge.found().list();
        let Some(order) = found.last().map(|flow| flow.order) else { return };
        while let Some(other) = self.0.next_if(|other| other.order < order) {
            found.push(other);
        }
        if let Some(tail) = found.get_mut(first..) {
            tail.rotate_left(1); // the flow goes behind them
        }
        if found.len() >= PIECE {
            hand_over(found, order);
        }
    }
}

impl WorkerContext {
    /// Packet time of the last tick.
    fn now(&mut self) -> Timestamp {
        self.judge.found().now()
    }

    fn with_dns(&mut self, run: impl FnOnce(&mut dns::Tracker, &mut dyn FnMut(dns::Transaction, u64))) {
        let mut found = std::mem::take(&mut self.dns_found);
        run(&mut self.dns, &mut |tx, first| found.push((tx, first)));
        for (tx, first) in found.drain(..) {
            self.judge.dns(tx, first);
        }
        self.dns_found = found;
    }

    /// Searches a datagram of a protocol that is not read for credentials that leave (syslog, statsd, drop sites).
    fn search(&mut self, meta: &Meta, payload: &[u8], conn: impl FnOnce() -> Conn) {
        if self.judge.token_search() == TokenSearch::Off || payload.len() < tokens::MIN_TOKEN || is_encrypted(payload) {
            return;
        }
        let mut hashes = Vec::new();
        tokens::tokens_in(payload, &mut hashes);
        if !hashes.is_empty() {
            self.judge.tokens(conn(), meta.time, meta.index, hashes);
        }
    }
}

/// Whether a datagram is encrypted by its first bytes: a record of DTLS, a message of WireGuard, QUIC with its version.
fn is_encrypted(payload: &[u8]) -> bool {
    matches!(payload, [20..=23, 0xfe, ..] | [1..=4, 0, 0, 0, ..] | [0xc0..=0xff, 0, 0, 0, 1, ..])
}
