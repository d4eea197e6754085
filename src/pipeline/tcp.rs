//! TCP: segments to streams to whatever protocol their first bytes show.

use crate::conn::{Conn, Endpoint, Proto};
use crate::decode::meta::{Checksum, Meta, Tcp};
use crate::decode::verify_checksum;
use crate::detect::{NoRequest, Seen};
use crate::judge::TokenSearch;
use crate::packet::Timestamp;
use crate::process::Lookup;
use crate::proto::dns;
use crate::proto::http::{self, HttpStream, Probe};
use crate::route::Quoted;
use crate::session::{self, Keep};
use crate::stream::{Chunk, Connection, Context, Dir, End, Segment, Verdict};

use super::conversation::Facts;
use super::opening::Opening;
use super::text::{self, TextScan};
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
    reading: Reading,
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
    first: Timestamp,
    last: Timestamp,
}

impl Who {
    fn conn(&self) -> Conn {
        let process = self.processes.as_ref().and_then(|lookup| lookup.0.find(self.client, self.server, self.first));
        Conn { process, ..self.facts.conn(self.client, self.server, Proto::Tcp) }
    }
}

/// What the bytes of a connection are read as.
enum Reading {
    /// Not known yet.
    Open(Open),
    Http(HttpStream),
    Dns(Box<dns::TcpParser>),
    /// Cleartext of another protocol, searched for credentials that leave.
    Text(Box<TextScan>),
    /// Of no interest.
    Nothing,
}

/// What is to be told by first bytes.
#[derive(Default)]
struct Open {
    http: HttpStream,
    /// Beginnings of what may be DNS, client's and server's.
    held: Option<Box<[Vec<u8>; 2]>>,
    /// Chunks that told nothing, where the connection's beginning was not captured.
    misses: u8,
}

/// How many chunks may tell nothing before a connection without beginning is given up.
const MAX_MISSES: u8 = 16;

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
    let (now, idle) = (stages.now(), stages.config.idle);
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
            Self::Tracked(tracked) => match tracked.reading {
                Reading::Http(_) | Reading::Dns(_) => Keep::More,
                _ => Keep::Least,
            },
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Tracked(tracked) => size_of::<Tracked>() + tracked.tcp.memory() + tracked.reading.memory(),
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
            reading: Reading::Open(Open::default()),
            who: Who {
                facts: Facts::sent(meta, dir),
                client,
                server,
                metadata,
                processes,
                tls: false,
                requests: 0,
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
        let Self { tcp, reading, who, .. } = self;
        let from_start = tcp.beginning_seen();
        tcp.segment(segment, &limits, verify, &mut |dir, chunk, at| {
            reading.chunk(who, dir, chunk, at, from_start, stages)
        })
    }

    /// Reports what is still open.
    fn end(&mut self, why: End, stages: &mut Stages) {
        let limits = stages.config.stream;
        let at = Context { time: self.who.last, index: stages.judge.found().at() };
        let Self { tcp, reading, who, .. } = self;
        let from_start = tcp.beginning_seen();
        tcp.finish(why, at, &limits, &mut |dir, chunk, at| reading.chunk(who, dir, chunk, at, from_start, stages));
        reading.finish(who, at, stages);
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
        matches!(self.reading, Reading::Nothing) && !self.who.metadata
    }
}

impl Reading {
    fn memory(&self) -> usize {
        match self {
            Self::Open(open) => {
                open.http.memory() + open.held.iter().flat_map(|held| held.iter()).map(Vec::capacity).sum::<usize>()
            }
            Self::Http(http) => http.memory(),
            Self::Dns(parser) => parser.memory(),
            Self::Text(scan) => scan.memory(),
            Self::Nothing => 0,
        }
    }

    /// Takes the next chunk; `from_start`: the connection's beginning was captured.
    fn chunk(&mut self, who: &mut Who, dir: Dir, chunk: Chunk<'_>, at: Context, from_start: bool, stages: &mut Stages) {
        match self {
            Self::Open(open) => {
                if let Some(decided) = open.chunk(who, dir, chunk, at, from_start, stages) {
                    *self = decided;
                }
            }
            Self::Http(http) => {
                stages.with_http(who, |sink| http.feed(dir, chunk, at, from_start, sink));
                if !http.wants_more() {
                    *self = Self::Nothing;
                }
            }
            Self::Dns(parser) => {
                let conn = who.conn();
                stages.with_dns(|dns, mut out| parser.chunk(dir, chunk, at, &conn, dns, &mut out));
            }
            Self::Text(scan) => {
                if let Some(bytes) = bytes_of(chunk) {
                    let hashes = scan.chunk(dir, bytes, stages.judge.token_search() != TokenSearch::Off);
                    stages.text_tokens(who, dir, at, hashes);
                }
                if scan.is_over() {
                    *self = Self::Nothing;
                }
            }
            Self::Nothing => {}
        }
    }

    fn finish(&mut self, who: &mut Who, at: Context, stages: &mut Stages) {
        match self {
            Self::Http(http) => stages.with_http(who, |sink| http.finish(at, sink)),
            Self::Text(scan) if stages.judge.token_search() != TokenSearch::Off => {
                for (dir, hashes) in scan.finish() {
                    stages.text_tokens(who, dir, at, hashes);
                }
            }
            Self::Open(_) | Self::Dns(_) | Self::Text(_) | Self::Nothing => {}
        }
    }
}

/// The bytes that a receiver most likely took.
fn bytes_of(chunk: Chunk<'_>) -> Option<&[u8]> {
    match chunk {
        Chunk::Data(bytes) | Chunk::Conflict { taken: bytes, .. } => Some(bytes),
        Chunk::Reread { .. } | Chunk::Gap { .. } | Chunk::End(_) => None,
    }
}

impl Open {
    /// Feeds a chunk to all that it may be; what the connection is to be read as from now on, once that is known.
    fn chunk(
        &mut self,
        who: &mut Who,
        dir: Dir,
        chunk: Chunk<'_>,
        at: Context,
        from_start: bool,
        stages: &mut Stages,
    ) -> Option<Reading> {
        stages.with_http(who, |sink| self.http.feed(dir, chunk, at, from_start, sink));
        if self.http.is_http() {
            return Some(Reading::Http(std::mem::take(&mut self.http)));
        }
        let bytes = bytes_of(chunk)?;
        match self.probe_dns(who, dir, bytes) {
            dns::Probe::Yes => {
                let mut reading = Reading::Dns(Box::default());
                for (dir, held) in [Dir::ToServer, Dir::ToClient]
                    .into_iter()
                    .zip(self.held.take().map(|held| *held).unwrap_or_default())
                {
                    if !held.is_empty() {
                        reading.chunk(who, dir, Chunk::Data(&held), at, from_start, stages);
                    }
                }
                reading.chunk(who, dir, chunk, at, from_start, stages);
                return Some(reading);
            }
            dns::Probe::More => return None,
            dns::Probe::No => {}
        }
        self.misses += 1;
        if self.http.wants_more() && (from_start || self.misses <= MAX_MISSES) {
            return None;
        }
        let mut reading = other_protocol(who, dir, bytes);
        reading.chunk(who, dir, chunk, at, from_start, stages);
        Some(reading)
    }

    fn probe_dns(&mut self, who: &Who, dir: Dir, bytes: &[u8]) -> dns::Probe {
        let known = [53, 5353].iter().any(|port| who.server.port == *port || who.client.port == *port);
        let held = self.held.as_mut().and_then(|held| held.get_mut(side(dir))).filter(|held| !held.is_empty());
        let Some(held) = held else {
            let probe = dns::probe(bytes, known);
            if probe == dns::Probe::More
                && let Some(held) = self.held.get_or_insert_default().get_mut(side(dir))
            {
                held.extend_from_slice(bytes);
            }
            return probe;
        };
        let whole = [held, bytes].concat();
        let probe = dns::probe(&whole, known);
        match probe {
            dns::Probe::More => *held = whole,
            dns::Probe::Yes => {}
            dns::Probe::No => *held = Vec::new(),
        }
        probe
    }
}

/// Index of a direction's sender: client 0, server 1.
pub(super) fn side(dir: Dir) -> usize {
    match dir {
        Dir::ToServer => 0,
        Dir::ToClient => 1,
    }
}

/// Whether a segment is the first of another connection than the ignored one, whose SYN had this sequence number: a SYN
/// of another one, or, where no SYN was seen, what looks like the start of a message.
fn begins_anew(ignored: Option<u32>, tcp: &Tcp, payload: &[u8]) -> bool {
    let again = tcp.flags.syn() && !tcp.flags.ack() && ignored != Some(tcp.seq);
    again
        || ignored.is_none() && !payload.is_empty() && !matches!(http::probe_resumed(payload), Probe::No | Probe::More)
}

/// Neither HTTP nor DNS: cleartext is searched for credentials, all else left alone.
fn other_protocol(who: &mut Who, dir: Dir, bytes: &[u8]) -> Reading {
    who.tls |= dir == Dir::ToServer && bytes.starts_with(&[0x16, 0x03]);
    if text::is_text(bytes) { Reading::Text(Box::default()) } else { Reading::Nothing }
}

impl Stages {
    fn with_http(&mut self, who: &mut Who, run: impl FnOnce(&mut http::Sink<'_>)) {
        let mut found = std::mem::take(&mut self.http_found);
        let conn = || who.conn();
        let limits = http::Limits { every_response: self.judge.keeps_all_bodies(), ..self.config.http };
        run(&mut http::Sink {
            conn: &conn,
            limits: &limits,
            is_of_use: &|request| self.judge.keeps_body(request, who.client, who.server),
            counters: &mut self.counters.http_parsers,
            out: &mut |tx| found.push(tx),
        });
        for tx in found.drain(..) {
            who.requests += u64::from(tx.request.is_some());
            self.judge.http(tx);
        }
        self.http_found = found;
    }

    fn text_tokens(&mut self, who: &Who, dir: Dir, at: Context, hashes: Vec<Seen>) {
        if hashes.is_empty() {
            return;
        }
        let conn = if dir == Dir::ToClient { who.conn().turned() } else { who.conn() };
        self.judge.tokens(conn, at.time, at.index, hashes);
    }
}
