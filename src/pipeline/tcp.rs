//! TCP: segments to streams to whatever protocol their first bytes show.

use crate::conn::{Conn, Endpoint, Proto};
use crate::decode::meta::{Checksum, Meta, Tcp};
use crate::decode::verify_checksum;
use crate::detect::{NoRequest, Seen, tokens};
use crate::judge::TokenSearch;
use crate::packet::Timestamp;
use crate::process::Lookup;
use crate::proto::layers::{Delivery, Found, Layers, Sink};
use crate::proto::{dns, http};
use crate::route::Quoted;
use crate::session::{self, Keep};
use crate::stream::{Connection, Context, Dir, End, Segment, Verdict};

use super::conversation::FirstPacketInfo;
use super::opening::Opening;
use super::{Relevance, WorkerContext};

/// What hangs on an entry of the session table.
#[derive(Default)]
pub(super) enum Session {
    /// Nothing seen yet.
    #[default]
    New,
    /// It was opened and nothing was said yet.
    Opening(Box<Opening>),
    /// Of no interest. `syn` is the sequence number of its client's SYN, if that was seen: another SYN begins anew.
    Ignored { syn: Option<u32> },
    /// Followed.
    Tracked(Box<Tracked>),
}

/// A connection that is followed.
pub(super) struct Tracked {
    tcp: Connection,
    layers: Layers,
    info: ConnectionInfo,
    syn: Option<u32>,
}

/// The ends of a connection and what is known of them.
struct ConnectionInfo {
    facts: FirstPacketInfo,
    client: Endpoint,
    server: Endpoint,
    /// The server's end is a metadata service's address.
    metadata: bool,
    /// Who can name the client's process; of connections to metadata services in live capture.
    processes: Option<Lookup>,
    tls: bool,
    requests: u64,
    /// Number of the next HTTP exchange.
    ordinal: u32,
    first: Timestamp,
    last: Timestamp,
}

impl ConnectionInfo {
    fn conn(&self) -> Conn {
        let process = self.processes.as_ref().and_then(|lookup| lookup.0.find(self.client, self.server, self.first));
        Conn { process, ..self.facts.conn(self.client, self.server, Proto::Tcp) }
    }
}

/// What the present chunk told.
pub(super) enum Fact {
    Http(http::Transaction),
    Dns(dns::Transaction, u64),
    /// A WebSocket's message, as a request that carries it.
    Message(http::Transaction),
    Tokens(Dir, Context, Vec<Seen>),
}

/// Takes one TCP segment.
pub(super) fn packet(
    sessions: &mut session::Table<Session>,
    context: &mut WorkerContext,
    meta: &Meta,
    tcp: &Tcp,
    segment: &[u8],
) -> Relevance {
    let Some(ends) = Endpoint::of(meta) else { return Relevance::Irrelevant };
    let (source, destination) = ends;
    // The clock does not believe a leap before the second packet behind it: the first must not be idle by then.
    let (now, idle) = (context.now().max(meta.time), context.config.idle);
    let (entry, forward) =
        sessions.touch(source, destination, now, idle, &mut |session: Session| session.end(End::Lost, context));
    let payload = meta.payload(segment);
    let verify = || verify_checksum(meta, segment);
    let mut tracked = match &mut entry.value {
        Session::Tracked(tracked) => {
            tracked.packet(context, meta, tcp, payload, verify);
            if !tracked.is_uninteresting() {
                return Relevance::Relevant;
            }
            entry.value = Session::Ignored { syn: tracked.syn };
            return Relevance::JustRuledOut;
        }
        Session::Ignored { syn } if !begins_anew(*syn, tcp, payload) => return Relevance::Irrelevant,
        Session::New | Session::Ignored { .. } => {
            entry.set_forward(forward);
            let opening = match [source, destination].into_iter().any(|end| context.judge.is_metadata(end)) {
                true => None,
                false => Opening::new(meta, tcp, payload, verify),
            };
            if let Some(opening) = opening {
                entry.value = Session::Opening(Box::new(opening));
                return Relevance::Undecided;
            }
            Tracked::new(context, meta, tcp, ends)
        }
        Session::Opening(opening) => {
            if opening.push(meta, tcp, payload, forward, verify) {
                return Relevance::Undecided;
            }
            let Session::Opening(opening) = std::mem::take(&mut entry.value) else { return Relevance::Irrelevant };
            Tracked::reopen(&opening, entry.ends(), context).unwrap_or_else(|| Tracked::new(context, meta, tcp, ends))
        }
    };
    tracked.packet(context, meta, tcp, payload, verify);
    if tracked.is_uninteresting() {
        context.opened.clear();
        entry.value = Session::Ignored { syn: tracked.syn };
        return Relevance::Irrelevant;
    }
    entry.value = Session::Tracked(Box::new(tracked));
    Relevance::Relevant
}

/// A router reported that it threw this segment away.
pub(super) fn mark_undelivered(sessions: &mut session::Table<Session>, quoted: &Quoted) {
    if let Some(Session::Tracked(tracked)) = sessions.find(quoted.source, quoted.destination) {
        let dir = tracked.info.dir(quoted.source);
        tracked.tcp.time_exceeded(dir, quoted.seq);
    }
}

impl Session {
    /// The session leaves the table: what is open is reported.
    pub(super) fn end(self, why: End, context: &mut WorkerContext) {
        if let Self::Tracked(mut tracked) = self {
            tracked.end(why, context);
        }
    }
}

impl session::Evict for Session {
    fn keep(&self) -> Keep {
        match self {
            Self::New | Self::Opening(_) | Self::Ignored { .. } => Keep::Least,
            Self::Tracked(tracked) if tracked.info.metadata => Keep::Most,
            Self::Tracked(tracked) if tracked.layers.is_read() => Keep::More,
            Self::Tracked(_) => Keep::Least,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Tracked(tracked) => size_of::<Tracked>() + tracked.tcp.memory() + tracked.layers.memory(),
            Self::Opening(_) => size_of::<Opening>(),
            Self::New | Self::Ignored { .. } => 0,
        }
    }
}

impl ConnectionInfo {
    fn dir(&self, source: Endpoint) -> Dir {
        if source == self.client { Dir::ToServer } else { Dir::ToClient }
    }
}

impl Tracked {
    /// From its first packet, sent between `ends`.
    fn new(context: &WorkerContext, meta: &Meta, tcp: &Tcp, ends: (Endpoint, Endpoint)) -> Self {
        let metadata = [ends.0, ends.1].map(|end| context.judge.is_metadata(end));
        let dir = match metadata {
            // a SYN says who asks, also where a platform probes its hosts from the service's address
            _ if tcp.flags.syn() => Connection::direction_of_first(tcp),
            [false, true] => Dir::ToServer,
            [true, false] => Dir::ToClient,
            _ => Connection::direction_of_first(tcp),
        };
        let [source_is, destination_is] = metadata;
        Self::sent(context, meta, tcp, ends, dir, if dir == Dir::ToServer { destination_is } else { source_is })
    }

    /// From its first packet, sent in this direction; `metadata`: its server is a metadata service.
    fn sent(
        context: &WorkerContext,
        meta: &Meta,
        tcp: &Tcp,
        (source, destination): (Endpoint, Endpoint),
        dir: Dir,
        metadata: bool,
    ) -> Self {
        let (client, server) = if dir == Dir::ToServer { (source, destination) } else { (destination, source) };
        let processes = context.config.processes.clone().filter(|_| metadata);
        if let Some(lookup) = &processes
            && tcp.flags.syn()
        {
            lookup.0.connecting(client, server, meta.time);
        }
        Self {
            tcp: Connection::new(),
            layers: Layers::default(),
            info: ConnectionInfo {
                facts: FirstPacketInfo::sent(meta, dir),
                client,
                server,
                metadata,
                processes,
                tls: false,
                requests: 0,
                ordinal: 0,
                first: meta.time,
                last: meta.time,
            },
            syn: (tcp.flags.syn() && !tcp.flags.ack()).then_some(tcp.seq),
        }
    }

    /// From the packets that opened it, which belong to its flow if the connection turns out to be of interest.
    fn reopen(opening: &Opening, ends: (Endpoint, Endpoint), context: &mut WorkerContext) -> Option<Self> {
        let mut tracked: Option<Self> = None;
        for (meta, tcp) in opening.packets(ends) {
            let tracked = tracked.get_or_insert_with(|| Self::sent(context, &meta, &tcp, ends, Dir::ToServer, false));
            tracked.packet(context, &meta, &tcp, &[], || tcp.checksum);
            context.opened.push(meta);
        }
        tracked
    }

    /// Takes a segment, as a new connection if it begins one.
    fn packet(
        &mut self,
        context: &mut WorkerContext,
        meta: &Meta,
        tcp: &Tcp,
        payload: &[u8],
        verify: impl Fn() -> Checksum,
    ) {
        let (Some(net), Some(ends)) = (&meta.net, Endpoint::of(meta)) else { return };
        let at = Context { time: meta.time, index: meta.index };
        let dir = self.info.dir(ends.0);
        self.info.facts.see(meta, dir);
        self.info.last = meta.time;
        let segment = Segment { dir, net, tcp, payload, missing: meta.missing, at };
        match self.feed(&segment, &verify, context) {
            Verdict::NewConnection => {
                self.end(End::Lost, context);
                *self = Self::new(context, meta, tcp, ends);
                let dir = self.info.dir(ends.0);
                self.feed(&Segment { dir, ..segment }, verify, context);
            }
            Verdict::Ignored(_) => context.counters.segments_ignored += 1,
            Verdict::Taken => {}
        }
    }

    fn feed(
        &mut self,
        segment: &Segment<'_>,
        verify: impl FnOnce() -> Checksum,
        context: &mut WorkerContext,
    ) -> Verdict {
        let limits = context.config.stream;
        let Self { tcp, layers, info, .. } = self;
        let from_start = tcp.beginning_seen();
        tcp.segment(segment, &limits, verify, &mut |dir, chunk, at| {
            context.read(info, |sink| layers.feed(Delivery { dir, chunk, at, from_start }, sink));
        })
    }

    /// Reports what is still open.
    fn end(&mut self, why: End, context: &mut WorkerContext) {
        let limits = context.config.stream;
        let at = Context { time: self.info.last, index: context.judge.found().at() };
        let Self { tcp, layers, info, .. } = self;
        let from_start = tcp.beginning_seen();
        tcp.finish(why, at, &limits, &mut |dir, chunk, at| {
            context.read(info, |sink| layers.feed(Delivery { dir, chunk, at, from_start }, sink));
        });
        context.read(info, |sink| layers.finish(at, sink));
        if info.metadata && info.requests == 0 {
            let why = match () {
                () if tcp.refused() => NoRequest::Refused,
                () if tcp.syn_only() => NoRequest::SynOnly,
                () if info.tls => NoRequest::Tls,
                () => NoRequest::NotHttp,
            };
            context.judge.connection(info.conn(), why, info.first, info.last);
        }
    }

    fn is_uninteresting(&self) -> bool {
        !self.layers.wants_more() && !self.info.metadata
    }
}

/// Whether a segment is the first of another connection than the ignored one, whose SYN had this sequence number: a SYN
/// of another one, or, where no SYN was seen, what looks like the start of a message.
fn begins_anew(ignored: Option<u32>, tcp: &Tcp, payload: &[u8]) -> bool {
    let again = tcp.flags.syn() && !tcp.flags.ack() && ignored != Some(tcp.seq);
    again || ignored.is_none() && !payload.is_empty() && matches!(http::probe_resumed(payload), http::Probe::Is(_))
}

impl WorkerContext {
    /// Lets a connection's layers read, and judges what they find.
    fn read(&mut self, info: &mut ConnectionInfo, read: impl FnOnce(&mut Sink<'_>)) {
        let mut found = std::mem::take(&mut self.found);
        let searches = self.judge.token_search() != TokenSearch::Off;
        let limits = http::Limits { every_response: self.judge.keeps_all_bodies(), searches, ..self.config.http };
        let (mut ordinal, mut tls) = (info.ordinal, info.tls);
        read(&mut Sink {
            conn: &|| info.conn(),
            ports: [info.client.port, info.server.port],
            limits: &limits,
            keeps_body: &|request| self.judge.keeps_body(request, info.client, info.server),
            searches,
            serves_metadata: info.metadata,
            ordinal: &mut ordinal,
            counters: &mut self.counters.http_parsers,
            dns: &mut self.dns,
            out: &mut |told| match told {
                Found::Http(tx) => found.push(Fact::Http(tx)),
                Found::Dns(tx, first) => found.push(Fact::Dns(tx, first)),
                Found::Text { dir, bytes, at } => {
                    let mut hashes = Vec::new();
                    tokens::tokens_in(bytes, &mut hashes);
                    if !hashes.is_empty() {
                        found.push(Fact::Tokens(dir, at, hashes));
                    }
                }
                Found::Message { conn, request, bytes, later, at } => {
                    let whole = later.is_none();
                    let mut request = http::Message::new(request.clone(), bytes.to_vec(), whole, at.time, at.index);
                    request.body.later = later;
                    found.push(Fact::Message(http::Transaction::new(conn, Some(request), None)));
                }
                Found::Tls => tls = true,
            },
        });
        (info.ordinal, info.tls) = (ordinal, tls);
        found.drain(..).for_each(|fact| self.judge_fact(info, fact));
        self.found = found;
    }

    fn judge_fact(&mut self, info: &mut ConnectionInfo, fact: Fact) {
        match fact {
            Fact::Http(tx) => {
                info.requests += u64::from(tx.request.is_some());
                self.judge.http(tx);
            }
            Fact::Message(mut tx) => {
                (tx.ordinal, info.ordinal) = (info.ordinal, info.ordinal.saturating_add(1));
                tx.notes.clear();
                self.judge.message(tx);
            }
            Fact::Dns(tx, first) => self.judge.dns(tx, first),
            Fact::Tokens(dir, at, hashes) => {
                let conn = if dir == Dir::ToClient { info.conn().turned() } else { info.conn() };
                self.judge.tokens(conn, at.time, at.index, hashes);
            }
        }
    }
}
