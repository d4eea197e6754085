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

use super::conversation::Facts;
use super::opening::Opening;
use super::{Interest, Stages};

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
    who: Who,
    syn: Option<u32>,
}

/// The ends of a connection and what is known of them.
struct Who {
    facts: Facts,
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

impl Who {
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
    stages: &mut Stages,
    meta: &Meta,
    tcp: &Tcp,
    segment: &[u8],
) -> Interest {
    let Some(ends) = Endpoint::of(meta) else { return Interest::None };
    let (source, destination) = ends;
    // The clock does not believe a leap before the second packet behind it: the first must not be idle by then.
    let (now, idle) = (stages.now().max(meta.time), stages.config.idle);
    let (entry, forward) =
        sessions.touch(source, destination, now, idle, &mut |session: Session| session.end(End::Lost, stages));
    let payload = meta.payload(segment);
    let verify = || verify_checksum(meta, segment);
    let mut tracked = match &mut entry.value {
        Session::Tracked(tracked) => {
            tracked.packet(stages, meta, tcp, payload, verify);
            if !tracked.is_uninteresting() {
                return Interest::Yes;
            }
            entry.value = Session::Ignored { syn: tracked.syn };
            return Interest::Lost;
        }
        Session::Ignored { syn } if !begins_anew(*syn, tcp, payload) => return Interest::None,
        Session::New | Session::Ignored { .. } => {
            entry.set_forward(forward);
            let opening = match [source, destination].into_iter().any(|end| stages.judge.is_metadata(end)) {
                true => None,
                false => Opening::new(meta, tcp, payload, verify),
            };
            if let Some(opening) = opening {
                entry.value = Session::Opening(Box::new(opening));
                return Interest::Later;
            }
            Tracked::new(stages, meta, tcp, ends)
        }
        Session::Opening(opening) => {
            if opening.push(meta, tcp, payload, forward, verify) {
                return Interest::Later;
            }
            let Session::Opening(opening) = std::mem::take(&mut entry.value) else { return Interest::None };
            Tracked::reopen(&opening, entry.ends(), stages).unwrap_or_else(|| Tracked::new(stages, meta, tcp, ends))
        }
    };
    tracked.packet(stages, meta, tcp, payload, verify);
    if tracked.is_uninteresting() {
        stages.opened.clear();
        entry.value = Session::Ignored { syn: tracked.syn };
        return Interest::None;
    }
    entry.value = Session::Tracked(Box::new(tracked));
    Interest::Yes
}

/// A router reported that it threw this segment away.
pub(super) fn never_arrived(sessions: &mut session::Table<Session>, quoted: &Quoted) {
    if let Some(Session::Tracked(tracked)) = sessions.find(quoted.source, quoted.destination) {
        let dir = tracked.who.dir(quoted.source);
        tracked.tcp.time_exceeded(dir, quoted.seq);
    }
}

impl Session {
    /// The session leaves the table: what is open is reported.
    pub(super) fn end(self, why: End, stages: &mut Stages) {
        if let Self::Tracked(mut tracked) = self {
            tracked.end(why, stages);
        }
    }
}

impl session::Evict for Session {
    fn keep(&self) -> Keep {
        match self {
            Self::New | Self::Opening(_) | Self::Ignored { .. } => Keep::Least,
            Self::Tracked(tracked) if tracked.who.metadata => Keep::Most,
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

impl Who {
    fn dir(&self, source: Endpoint) -> Dir {
        if source == self.client { Dir::ToServer } else { Dir::ToClient }
    }
}

impl Tracked {
    /// From its first packet, sent between `ends`.
    fn new(stages: &Stages, meta: &Meta, tcp: &Tcp, ends: (Endpoint, Endpoint)) -> Self {
        let metadata = [ends.0, ends.1].map(|end| stages.judge.is_metadata(end));
        let dir = match metadata {
            // a SYN says who asks, also where a platform probes its hosts from the service's address
            _ if tcp.flags.syn() => Connection::direction_of_first(tcp),
            [false, true] => Dir::ToServer,
            [true, false] => Dir::ToClient,
            _ => Connection::direction_of_first(tcp),
        };
        let [source_is, destination_is] = metadata;
        Self::sent(stages, meta, tcp, ends, dir, if dir == Dir::ToServer { destination_is } else { source_is })
    }

    /// From its first packet, sent in this direction; `metadata`: its server is a metadata service.
    fn sent(
        stages: &Stages,
        meta: &Meta,
        tcp: &Tcp,
        (source, destination): (Endpoint, Endpoint),
        dir: Dir,
        metadata: bool,
    ) -> Self {
        let (client, server) = if dir == Dir::ToServer { (source, destination) } else { (destination, source) };
        let processes = stages.config.processes.clone().filter(|_| metadata);
        if let Some(lookup) = &processes
            && tcp.flags.syn()
        {
            lookup.0.connecting(client, server, meta.time);
        }
        Self {
            tcp: Connection::new(),
            layers: Layers::default(),
            who: Who {
                facts: Facts::sent(meta, dir),
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
    fn reopen(opening: &Opening, ends: (Endpoint, Endpoint), stages: &mut Stages) -> Option<Self> {
        let mut tracked: Option<Self> = None;
        for (meta, tcp) in opening.packets(ends) {
            let tracked = tracked.get_or_insert_with(|| Self::sent(stages, &meta, &tcp, ends, Dir::ToServer, false));
            tracked.packet(stages, &meta, &tcp, &[], || tcp.checksum);
            stages.opened.push(meta);
        }
        tracked
    }

    /// Takes a segment, as a new connection if it begins one.
    fn packet(&mut self, stages: &mut Stages, meta: &Meta, tcp: &Tcp, payload: &[u8], verify: impl Fn() -> Checksum) {
        let (Some(net), Some(ends)) = (&meta.net, Endpoint::of(meta)) else { return };
        let at = Context { time: meta.time, index: meta.index };
        let dir = self.who.dir(ends.0);
        self.who.facts.see(meta, dir);
        self.who.last = meta.time;
        let segment = Segment { dir, net, tcp, payload, missing: meta.missing, at };
        match self.feed(&segment, &verify, stages) {
            Verdict::NewConnection => {
                self.end(End::Lost, stages);
                *self = Self::new(stages, meta, tcp, ends);
                let dir = self.who.dir(ends.0);
                self.feed(&Segment { dir, ..segment }, verify, stages);
            }
            Verdict::Ignored(_) => stages.counters.segments_ignored += 1,
            Verdict::Taken => {}
        }
    }

    fn feed(&mut self, segment: &Segment<'_>, verify: impl FnOnce() -> Checksum, stages: &mut Stages) -> Verdict {
        let limits = stages.config.stream;
        let Self { tcp, layers, who, .. } = self;
        let from_start = tcp.beginning_seen();
        tcp.segment(segment, &limits, verify, &mut |dir, chunk, at| {
            stages.read(who, |sink| layers.feed(Delivery { dir, chunk, at, from_start }, sink));
        })
    }

    /// Reports what is still open.
    fn end(&mut self, why: End, stages: &mut Stages) {
        let limits = stages.config.stream;
        let at = Context { time: self.who.last, index: stages.judge.found().at() };
        let Self { tcp, layers, who, .. } = self;
        let from_start = tcp.beginning_seen();
        tcp.finish(why, at, &limits, &mut |dir, chunk, at| {
            stages.read(who, |sink| layers.feed(Delivery { dir, chunk, at, from_start }, sink));
        });
        stages.read(who, |sink| layers.finish(at, sink));
        if who.metadata && who.requests == 0 {
            let why = match () {
                () if tcp.refused() => NoRequest::Refused,
                () if tcp.syn_only() => NoRequest::SynOnly,
                () if who.tls => NoRequest::Tls,
                () => NoRequest::NotHttp,
            };
            stages.judge.connection(who.conn(), why, who.first, who.last);
        }
    }

    fn is_uninteresting(&self) -> bool {
        !self.layers.wants_more() && !self.who.metadata
    }
}

/// Whether a segment is the first of another connection than the ignored one, whose SYN had this sequence number: a SYN
/// of another one, or, where no SYN was seen, what looks like the start of a message.
fn begins_anew(ignored: Option<u32>, tcp: &Tcp, payload: &[u8]) -> bool {
    let again = tcp.flags.syn() && !tcp.flags.ack() && ignored != Some(tcp.seq);
    again || ignored.is_none() && !payload.is_empty() && matches!(http::probe_resumed(payload), http::Probe::Is(_))
}

impl Stages {
    /// Lets a connection's layers read, and judges what they find.
    fn read(&mut self, who: &mut Who, read: impl FnOnce(&mut Sink<'_>)) {
        let mut found = std::mem::take(&mut self.found);
        let searches = self.judge.token_search() != TokenSearch::Off;
        let limits = http::Limits { every_response: self.judge.keeps_all_bodies(), searches, ..self.config.http };
        let (mut ordinal, mut tls) = (who.ordinal, who.tls);
        read(&mut Sink {
            conn: &|| who.conn(),
            ports: [who.client.port, who.server.port],
            limits: &limits,
            keeps_body: &|request| self.judge.keeps_body(request, who.client, who.server),
            searches,
            serves_metadata: who.metadata,
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
        (who.ordinal, who.tls) = (ordinal, tls);
        found.drain(..).for_each(|fact| self.judge_fact(who, fact));
        self.found = found;
    }

    fn judge_fact(&mut self, who: &mut Who, fact: Fact) {
        match fact {
            Fact::Http(tx) => {
                who.requests += u64::from(tx.request.is_some());
                self.judge.http(tx);
            }
            Fact::Message(mut tx) => {
                (tx.ordinal, who.ordinal) = (who.ordinal, who.ordinal.saturating_add(1));
                tx.notes.clear();
                self.judge.message(tx);
            }
            Fact::Dns(tx, first) => self.judge.dns(tx, first),
            Fact::Tokens(dir, at, hashes) => {
                let conn = if dir == Dir::ToClient { who.conn().turned() } else { who.conn() };
                self.judge.tokens(conn, at.time, at.index, hashes);
            }
        }
    }
}
