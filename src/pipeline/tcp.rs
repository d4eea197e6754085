//! TCP: segments to streams to whatever protocol their first bytes show.

use crate::decode::meta::{Meta, Tcp};
use crate::decode::verify_checksum;
use crate::detect::{NoRequest, TokenHash, Tokens};
use crate::observe::{Conn, Endpoint, Proto, What};
use crate::packet::Timestamp;
use crate::proto::dns;
use crate::proto::http::{self, Probe};
use crate::route::Quoted;
use crate::session::{self, Keep};
use crate::stream::{Chunk, Connection, Context, Dir, End, Segment, Verdict};

use super::Stages;
use super::conversation::Facts;
use super::text::{self, TextScan};

/// What hangs on an entry of the session table.
#[derive(Default)]
pub(super) enum Session {
    /// Nothing seen yet.
    #[default]
    New,
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
    tls: bool,
    requests: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Who {
    fn conn(&self) -> Conn {
        self.facts.conn(self.client, self.server, Proto::Tcp)
    }
}

/// What the bytes of a connection are read as.
enum Reading {
    /// Not known yet.
    Undecided(Undecided),
    Http(Box<http::Parser>),
    Dns(Box<dns::TcpParser>),
    /// Cleartext of another protocol, searched for credentials that leave.
    Text(Box<TextScan>),
    /// Of no interest.
    Nothing,
}

/// First bytes of both directions while they are too few to tell.
#[derive(Default)]
struct Undecided {
    /// Bytes held, client's and server's, each with the packet that brought the first of them.
    held: [Vec<u8>; 2],
    at: [Option<Context>; 2],
    /// Bytes were lost: the next segment may begin anywhere.
    gap: bool,
    /// Starts of segments that were looked at in vain.
    misses: u8,
}

/// How many segment starts are looked at in vain before a connection without beginning is given up.
const MAX_MISSES: u8 = 16;

/// Takes one TCP segment.
pub(super) fn packet(
    sessions: &mut session::Table<Session>,
    stages: &mut Stages,
    meta: &Meta,
    tcp: &Tcp,
    segment: &[u8],
) {
    let Some(net) = meta.net else { return };
    let source = Endpoint { ip: net.source, port: tcp.source };
    let destination = Endpoint { ip: net.destination, port: tcp.destination };
    let (now, idle) = (stages.now, stages.config.idle);
    let (entry, forward) =
        sessions.touch(source, destination, now, idle, &mut |session: Session| session.end(End::Lost, stages));
    let payload = meta.payload(segment);
    let at = Context { time: meta.time, index: meta.index };

    let tracked = match &mut entry.value {
        Session::Tracked(tracked) => tracked,
        Session::Ignored { syn } => {
            let again = tcp.flags.syn() && !tcp.flags.ack() && *syn != Some(tcp.seq);
            let resumed = syn.is_none() && begins(payload);
            if !again && !resumed {
                return;
            }
            entry.set_forward(forward);
            entry.value = Session::Tracked(Box::new(Tracked::new(stages, meta, tcp, source, destination)));
            let Session::Tracked(tracked) = &mut entry.value else { return };
            tracked
        }
        Session::New => {
            entry.value = Session::Tracked(Box::new(Tracked::new(stages, meta, tcp, source, destination)));
            let Session::Tracked(tracked) = &mut entry.value else { return };
            tracked
        }
    };
    let dir = tracked.who.dir(source);
    tracked.who.facts.see(meta, dir);
    tracked.who.last = meta.time;
    let piece = Segment { dir, net: &net, tcp, payload, missing: meta.missing, at };
    let verify = || verify_checksum(meta, segment);
    let verdict = tracked.feed(&piece, verify, stages);
    if verdict == Verdict::NewConnection {
        tracked.end(End::Lost, stages);
        **tracked = Tracked::new(stages, meta, tcp, source, destination);
        let dir = tracked.who.dir(source);
        let piece = Segment { dir, ..piece };
        tracked.feed(&piece, || verify_checksum(meta, segment), stages);
    } else if matches!(verdict, Verdict::Ignored(_)) {
        stages.counters.segments_ignored += 1;
    }
    if tracked.is_uninteresting() {
        let syn = tracked.syn;
        entry.value = Session::Ignored { syn };
    }
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
            Self::New | Self::Ignored { .. } => Keep::Least,
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
            _ => 0,
        }
    }
}

impl Who {
    fn dir(&self, source: Endpoint) -> Dir {
        if source == self.client { Dir::ToServer } else { Dir::ToClient }
    }
}

impl Tracked {
    fn new(stages: &Stages, meta: &Meta, tcp: &Tcp, source: Endpoint, destination: Endpoint) -> Self {
        let dir = match (stages.detector.metadata_endpoint(destination), stages.detector.metadata_endpoint(source)) {
            (true, false) => Dir::ToServer,
            (false, true) => Dir::ToClient,
            _ => Connection::direction_of_first(tcp),
        };
        let (client, server) = if dir == Dir::ToServer { (source, destination) } else { (destination, source) };
        Self {
            tcp: Connection::new(),
            reading: Reading::Undecided(Undecided::default()),
            who: Who {
                facts: Facts::sent(meta, dir),
                client,
                server,
                metadata: stages.detector.metadata_endpoint(server),
                tls: false,
                requests: 0,
                first: meta.time,
                last: meta.time,
            },
            syn: (tcp.flags.syn() && !tcp.flags.ack()).then_some(tcp.seq),
        }
    }

    fn feed(
        &mut self,
        segment: &Segment<'_>,
        verify: impl FnOnce() -> crate::decode::meta::Checksum,
        stages: &mut Stages,
    ) -> Verdict {
        let limits = stages.config.stream;
        let Self { tcp, reading, who, .. } = self;
        let begun = tcp.beginning_seen();
        tcp.segment(segment, &limits, verify, &mut |dir, chunk, at| reading.chunk(who, dir, chunk, at, begun, stages))
    }

    /// Reports what is still open.
    fn end(&mut self, why: End, stages: &mut Stages) {
        let limits = stages.config.stream;
        let at = Context { time: self.who.last, index: stages.at };
        let Self { tcp, reading, who, .. } = self;
        let begun = tcp.beginning_seen();
        tcp.finish(why, at, &limits, &mut |dir, chunk, at| reading.chunk(who, dir, chunk, at, begun, stages));
        reading.finish(who, at, stages);
        if who.metadata && who.requests == 0 {
            let why = match () {
                () if tcp.refused() => NoRequest::Refused,
                () if tcp.syn_only() => NoRequest::SynOnly,
                () if who.tls => NoRequest::Tls,
                () => NoRequest::NotHttp,
            };
            if let Some(found) = stages.detector.connection(who.conn(), why, who.first, who.last) {
                stages.emit(who.last, who.facts.first_index(), 3, What::Connection(Box::new(found)));
            }
        }
    }

    fn is_uninteresting(&self) -> bool {
        matches!(self.reading, Reading::Nothing) && !self.who.metadata
    }
}

impl Reading {
    fn memory(&self) -> usize {
        match self {
            Self::Undecided(first) => first.held.iter().map(Vec::capacity).sum(),
            Self::Http(parser) => parser.memory(),
            Self::Dns(parser) => parser.memory(),
            Self::Text(scan) => scan.memory(),
            Self::Nothing => 0,
        }
    }

    /// Takes the next chunk; `begun`: the connection's beginning was captured.
    fn chunk(&mut self, who: &mut Who, dir: Dir, chunk: Chunk<'_>, at: Context, begun: bool, stages: &mut Stages) {
        match self {
            Self::Undecided(first) => {
                if let Some(decided) = first.decide(who, dir, chunk, begun, at) {
                    let first = std::mem::take(first);
                    *self = decided;
                    self.catch_up(&first, who, dir, stages);
                    self.chunk(who, dir, chunk, at, begun, stages);
                }
            }
            Self::Http(parser) => {
                stages.with_http(who, |sink| parser.feed(dir, chunk, at, sink));
                if !parser.wants_more() {
                    *self = Self::Nothing;
                }
            }
            Self::Dns(parser) => {
                let conn = who.conn();
                stages.with_dns(|dns, mut out| parser.chunk(dir, chunk, at, &conn, dns, &mut out));
            }
            Self::Text(scan) => {
                if let Chunk::Data(bytes) | Chunk::Conflict { taken: bytes, .. } = chunk {
                    let hashes = scan.chunk(dir, bytes);
                    stages.text_tokens(who, dir, at, hashes);
                }
                if scan.is_over() {
                    *self = Self::Nothing;
                }
            }
            Self::Nothing => {}
        }
    }

    /// Feeds what was held back, the other side's bytes last: the side that `dir` names was the one to decide.
    fn catch_up(&mut self, first: &Undecided, who: &mut Who, dir: Dir, stages: &mut Stages) {
        for dir in [dir, dir.flip()] {
            let side = side(dir);
            if let (Some(held), Some(Some(at))) = (first.held.get(side), first.at.get(side)) {
                self.chunk(who, dir, Chunk::Data(held), *at, true, stages);
            }
        }
    }

    fn finish(&mut self, who: &mut Who, at: Context, stages: &mut Stages) {
        match self {
            Self::Http(parser) => stages.with_http(who, |sink| parser.finish(at, sink)),
            Self::Text(scan) => {
                for (dir, hashes) in scan.finish() {
                    stages.text_tokens(who, dir, at, hashes);
                }
            }
            Self::Undecided(_) | Self::Dns(_) | Self::Nothing => {}
        }
    }
}

/// Index of a direction's sender: client 0, server 1.
pub(super) fn side(dir: Dir) -> usize {
    match dir {
        Dir::ToServer => 0,
        Dir::ToClient => 1,
    }
}

impl Undecided {
    /// Looks at the next chunk; `None` while nothing can be said, else what the connection is to be read as. The chunk
    /// itself is then still to be fed.
    fn decide(&mut self, who: &mut Who, dir: Dir, chunk: Chunk<'_>, begun: bool, at: Context) -> Option<Reading> {
        let bytes = match chunk {
            Chunk::Data(bytes) => bytes,
            Chunk::Conflict { taken, other } => {
                let reading =
                    [taken, other].into_iter().find_map(|bytes| self.probe(who, dir, bytes, begun).ok().flatten());
                return Some(reading.unwrap_or(Reading::Nothing)).filter(|_| begun);
            }
            Chunk::Reread { other, .. } => return self.probe(who, dir, other, begun).ok().flatten(),
            Chunk::Gap { .. } => {
                self.gap = true;
                self.held = Default::default();
                return None;
            }
            Chunk::End(_) => return None,
        };
        match self.probe(who, dir, bytes, begun) {
            Ok(Some(reading)) => Some(reading),
            Ok(None) if begun && !self.gap => Some(other_protocol(who, dir, bytes)),
            Ok(None) => {
                self.held = Default::default();
                self.at = Default::default();
                self.misses += 1;
                (self.misses > MAX_MISSES).then(|| other_protocol(who, dir, bytes))
            }
            Err(NeedMore) => {
                let side = side(dir);
                if let (Some(held), Some(first)) = (self.held.get_mut(side), self.at.get_mut(side)) {
                    held.extend_from_slice(bytes);
                    first.get_or_insert(at);
                }
                None
            }
        }
    }

    fn probe(&self, who: &Who, dir: Dir, bytes: &[u8], begun: bool) -> Result<Option<Reading>, NeedMore> {
        let joined;
        let start = match self.held.get(side(dir)) {
            Some(held) if !held.is_empty() => {
                joined = [held, bytes].concat();
                joined.as_slice()
            }
            _ => bytes,
        };
        let kind = if begun && !self.gap { http::probe(start) } else { http::probe_resumed(start) };
        let swapped = match kind {
            Probe::Response => dir == Dir::ToServer,
            _ => dir == Dir::ToClient,
        };
        let known = who.server.port == 53 || who.client.port == 53;
        match (kind, dns::probe(start, known)) {
            (Probe::Http1 | Probe::Http2 | Probe::Socks | Probe::Response, _) => {
                Ok(Some(Reading::Http(Box::new(http::Parser::new(kind, swapped)))))
            }
            (Probe::No, dns::Probe::Yes) => Ok(Some(Reading::Dns(Box::default()))),
            (Probe::More, _) | (_, dns::Probe::More) if start.len() <= http::MAX_PROBE => Err(NeedMore),
            _ => Ok(None),
        }
    }
}

/// Whether a segment's payload looks like the start of a message.
fn begins(payload: &[u8]) -> bool {
    !payload.is_empty() && !matches!(http::probe_resumed(payload), Probe::No | Probe::More)
}

struct NeedMore;

/// Neither HTTP nor DNS: cleartext is searched for credentials, all else left alone.
fn other_protocol(who: &mut Who, dir: Dir, bytes: &[u8]) -> Reading {
    who.tls |= dir == Dir::ToServer && bytes.starts_with(&[0x16, 0x03]);
    if text::is_text(bytes) { Reading::Text(Box::default()) } else { Reading::Nothing }
}

impl Stages {
    fn with_http(&mut self, who: &mut Who, run: impl FnOnce(&mut http::Sink<'_>)) {
        let mut found = Vec::new();
        let conn = || who.conn();
        run(&mut http::Sink {
            conn: &conn,
            limits: &self.config.http,
            counters: &mut self.counters.http_parsers,
            out: &mut |tx| found.push(tx),
        });
        for tx in found {
            who.requests += u64::from(tx.request.is_some());
            self.http(tx);
        }
    }

    fn text_tokens(&mut self, who: &Who, dir: Dir, at: Context, hashes: Vec<TokenHash>) {
        if hashes.is_empty() {
            return;
        }
        let mut conn = who.conn();
        if dir == Dir::ToClient {
            std::mem::swap(&mut conn.client, &mut conn.server);
        }
        let tokens = Tokens { conn, time: at.time, hashes, hint: None };
        self.emit(at.time, at.index, 3, What::Tokens(Box::new(tokens)));
    }
}
