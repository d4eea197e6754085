//! What the fuzz targets do with one input: each calls public functions and asserts what must hold for any bytes.
//!
//! `tests/fuzz_seeds.rs` of the package runs the same functions over all seeds and past findings, on stable Rust.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

mod theft;
pub mod wire;

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use clap::Parser;
use imdswatch::app::inline::Inline;
use imdswatch::capture::{FileSource, Input, Status};
use imdswatch::catalogue::Catalogue;
use imdswatch::cli::Args;
use imdswatch::config::Config;
use imdswatch::conn::{Conn, Endpoint, Proto};
use imdswatch::decode::meta::{Checksum, Net, Tcp, TcpFlags, Transport};
use imdswatch::decode::{self, Decoder};
use imdswatch::detect::{self, Detector, canonical, tokens};
use imdswatch::event::fields;
use imdswatch::packet::{LinkType, Packet, PacketBatch, Timestamp};
use imdswatch::proto::layers::{Delivery, Found, Layers, Sink};
use imdswatch::proto::pending::Limits as Pending;
use imdswatch::proto::{dns as dns_proto, http as http_proto};
use imdswatch::stream::{Chunk, Connection, Context, Dir, End, Limits, Segment, Verdict};

pub use theft::theft;

/// Settings that write as much as there is.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let args = Args::parse_from(["imdswatch", "-r", "-", "--quiet", "-e", "all", "--threads", "1", "--memory", "16M"]);
    let mut config = Config::resolve(&args.run).expect("these flags are good");
    config.event.http.send_all_headers = true;
    config.event.http.include_body_for = vec!["text".into(), "json".into()];
    config.event.dns.include_authorities = true;
    config.event.dns.include_additionals = true;
    config
});

static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::clone(&CONFIG.catalogue));

/// Link types by the number that stands in the input.
pub const LINKS: [LinkType; 16] = [
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::LINUX_SLL2,
    LinkType::LINUX_SLL,
    LinkType::NULL,
    LinkType::LOOP,
    LinkType::PPP,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType::NFLOG,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::RAW_BSD,
    LinkType::RAW_OPENBSD,
    LinkType(105),
    SYNTHETIC,
];

/// Stands for a packet that is to be built around a payload: see [`Talks`].
const SYNTHETIC: LinkType = LinkType(0xffff);

/// Splits an input into records: a byte that says what it is, a length of two bytes (little-endian), and its bytes.
fn records(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    iter::from_fn(move || {
        let (&[kind, low, high], rest) = data.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        data = rest;
        Some((kind, bytes))
    })
}

/// Writes a record, as [`records`] reads it.
pub fn record(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.push(kind);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&bytes[..usize::from(len)]);
}

/// A packet of a target's own making.
pub struct Owned {
    pub time: Timestamp,
    pub link: LinkType,
    pub data: Vec<u8>,
}

/// What the whole program writes about these packets, given to it in batches of so many.
fn written(packets: &[Owned], batch_packets: usize) -> Vec<u8> {
    let mut run = Inline::new(&CONFIG);
    let mut batch = PacketBatch::limited_to(batch_packets);
    for Owned { time, link, data } in packets {
        batch.push(*time, *link, 0, data.len() as u32, data);
        if batch.is_full() {
            run.batch(&batch);
            batch.clear(batch.next_index());
        }
    }
    run.batch(&batch);
    run.finish();
    std::mem::take(run.written()).json
}

/// Packets through the whole program. A record is a packet: low half of its first byte the link type, high half the
/// time since the one before. Every line that is written is JSON with declared fields only, there are not more of them than
/// packets can give, and batches do not show.
pub fn pipeline(data: &[u8]) {
    let mut now = Timestamp::new(1_700_000_000, 0);
    let (mut packets, mut talks) = (Vec::new(), Talks::default());
    for (kind, bytes) in records(data) {
        let steps = [0, 1_000, 1_000_000, 400_000_000, 3_000_000_000, 40_000_000_000, 700_000_000_000, -5_000_000_000];
        now = now.plus(steps[usize::from(kind >> 4) % steps.len()]);
        let packet = match LINKS[usize::from(kind & 15)] {
            SYNTHETIC => Owned { time: now, link: LinkType::RAW, data: talks.packet(bytes) },
            link => Owned { time: now, link, data: bytes.to_vec() },
        };
        packets.push(packet);
    }
    let lines = written(&packets, 3);
    assert!(lines.len() <= (data.len() + packets.len() + 1) * 2048, "{} bytes from {}", lines.len(), data.len());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Err(error) = fields::check(line) {
            panic!("{error}: {}", String::from_utf8_lossy(line));
        }
    }
    if data.len().is_multiple_of(4) {
        assert!(lines == written(&packets, 1024), "batches show");
    }
}

/// Conversations whose packets are built around payloads, so that an input need not get headers and checksums right. Of
/// the first byte the lowest bit is the direction, the next two are the conversation, then: datagram or segment; two bits
/// for the kind of segment; whether its checksum is wrong; whether two bytes follow that move its sequence number.
#[derive(Default)]
struct Talks {
    /// Next sequence numbers of both ends.
    next: [[u32; 2]; 4],
}

impl Talks {
    const ENDS: [[wire::End; 2]; 4] = [
        [(Ipv4Addr::new(10, 0, 0, 5), 40_000), (Ipv4Addr::new(169, 254, 169, 254), 80)],
        [(Ipv4Addr::new(198, 51, 100, 9), 5000), (Ipv4Addr::new(10, 0, 0, 5), 8080)],
        [(Ipv4Addr::new(10, 0, 0, 5), 40_001), (Ipv4Addr::new(10, 0, 0, 53), 53)],
        [(Ipv4Addr::new(10, 0, 0, 5), 40_002), (Ipv4Addr::new(10, 0, 0, 3), 3128)],
    ];

    fn packet(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some((&what, payload)) = bytes.split_first() else { return Vec::new() };
        let (side, talk) = (usize::from(what & 1), usize::from(what >> 1 & 3));
        let (from, to) = (Self::ENDS[talk][side], Self::ENDS[talk][1 - side]);
        if what & 8 != 0 {
            return wire::ipv4(from.0, to.0, 17, 1, 0, &wire::udp(from, to, payload));
        }
        let (by, payload) = match payload.split_first_chunk() {
            Some((by, rest)) if what & 128 != 0 => (i16::from_le_bytes(*by), rest),
            _ => (0, payload),
        };
        let flags = match what >> 4 & 3 {
            0 => wire::PSH | wire::ACK,
            1 if side == 0 => wire::SYN,
            1 => wire::SYN | wire::ACK,
            2 => wire::FIN | wire::ACK,
            _ => wire::RST | wire::ACK,
        };
        let next = &mut self.next[talk];
        let seq = next[side].wrapping_add_signed(by.into());
        let segment = wire::tcp(from, to, (seq, next[1 - side]), flags, payload, what & 64 == 0);
        next[side] = seq.wrapping_add(payload.len() as u32 + u32::from(flags & (wire::SYN | wire::FIN) != 0));
        wire::ipv4(from.0, to.0, 6, 1, 0, &segment)
    }
}

/// A capture file in any format, read as a file (first byte even) or as a pipe that gives few bytes at a time: the
/// packets are the same. Only of a damaged compressed file may the one lose more before the damage than the other, since
/// decompressors keep back what they made in the call in which they find it.
pub fn capture_file(data: &[u8]) {
    let Some((&how, file)) = data.split_first() else { return };
    let (whole, failed) =
        read_capture(Box::new(Cursor::new(file.to_vec())), how.is_multiple_of(2).then_some(file.len() as u64));
    if how.is_multiple_of(2) {
        return;
    }
    let trickle = Trickle { rest: Cursor::new(file.to_vec()), step: usize::from(how >> 1) + 1 };
    let (few, few_failed) = read_capture(Box::new(trickle), None);
    let compressed = [&[0x1f, 0x8b][..], &[0x28, 0xb5, 0x2f, 0xfd], &[4, 0x22, 0x4d, 0x18]];
    if !(failed || few_failed) || !compressed.iter().any(|magic| file.starts_with(magic)) {
        assert_eq!(few, whole, "it matters how much comes at a time");
    }
}

/// Every packet: time, link type, interface, length on the wire, and what of it was captured.
type Packets = Vec<(Timestamp, LinkType, u32, u32, Vec<u8>)>;

/// The packets, and whether reading failed before the end.
fn read_capture(file: Box<dyn Read + Send>, size: Option<u64>) -> (Packets, bool) {
    let mut packets = Vec::new();
    let Ok(mut source) = FileSource::from_reader(&Input::Stdin, file, size) else { return (packets, true) };
    let mut batch = PacketBatch::default();
    let mut errors = 0;
    loop {
        batch.clear(0);
        let status = source.next_batch(&mut batch);
        for packet in batch.iter() {
            assert!(packet.data.len() <= imdswatch::capture::MAX_RECORD);
            packets.push((packet.time, packet.link, packet.interface, packet.wire_len, packet.data.to_vec()));
        }
        source.warnings();
        match status {
            Ok(Status::End) => return (packets, errors > 0),
            Ok(Status::More) => {}
            Err(_) => errors += 1,
        }
        assert!(errors <= 1, "after an error comes the end");
    }
}

/// Gives few bytes at a time.
struct Trickle {
    rest: Cursor<Vec<u8>>,
    step: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.step);
        self.rest.read(&mut buffer[..most])
    }
}

/// Packets through decoding alone; records as for [`pipeline`].
pub fn decode(data: &[u8]) {
    let mut decoder = Decoder::new(decode::Config::default());
    for (index, (kind, bytes)) in (0..).zip(records(data)) {
        let time = Timestamp::new(index * i64::from(kind >> 4), 0);
        let packet = Packet {
            index: index as u64,
            time,
            link: LINKS[usize::from(kind & 15)],
            interface: 0,
            wire_len: bytes.len() as u32,
            data: bytes,
        };
        decoder.decode(&packet, &mut |meta, segment| {
            assert!(meta.payload(segment).len() <= segment.len());
            if let Transport::Tcp(_) = meta.transport {
                assert!(meta.net.is_some(), "TCP has an IP header");
            }
        });
        decoder.expire(time);
    }
}

/// The two ends of every conversation here.
fn conn() -> Conn {
    let end = |ip: Ipv4Addr, port| Endpoint { ip: IpAddr::V4(ip), port };
    Conn::between(end(Ipv4Addr::new(10, 0, 0, 1), 40_000), end(Ipv4Addr::new(169, 254, 169, 254), 80), Proto::Tcp)
}

/// TCP segments of one connection. A record is a segment; its first byte: direction, and what is wrong with it; its
/// first eight bytes: sequence and acknowledgement number relative to 0, flags, window, time to live. Reassembly never hands on
/// more than it was given, and stays within its bounds.
pub fn stream(data: &[u8]) {
    let mut connection = Connection::new();
    let limits = Limits { per_direction: 4096, segments: 16 };
    let (mut given, mut taken) = (0, 0);
    let mut at = Context { time: Timestamp(0), index: 0 };
    for (kind, bytes) in records(data) {
        at = Context { time: at.time.plus(i64::from(kind >> 4) * 100_000_000), index: at.index + 1 };
        let Some((&[s0, s1, a0, a1, flags, w0, w1, ttl], payload)) = bytes.split_first_chunk() else { continue };
        let dir = if kind & 1 == 0 { Dir::ToServer } else { Dir::ToClient };
        let checksum = [Checksum::Good, Checksum::Bad, Checksum::Unknown][usize::from(kind >> 1 & 7) % 3];
        let Conn { client, server, .. } = conn();
        let net = Net { checksum: Checksum::Good, ..Net::new(client.ip, server.ip, 6, ttl) };
        let tcp = Tcp {
            source: 40_000,
            destination: 80,
            seq: 0xffff_ff00_u32.wrapping_add(u32::from(u16::from_le_bytes([s0, s1]))),
            ack: 0xffff_ff00_u32.wrapping_add(u32::from(u16::from_le_bytes([a0, a1]))),
            flags: TcpFlags(flags),
            window: u16::from_le_bytes([w0, w1]),
            urgent: u16::from(w0),
            timestamps: (kind & 8 != 0).then_some((u32::from(w1), u32::from(ttl))),
            window_scale: (kind & 8 != 0).then_some(w1),
            checksum,
        };
        let segment = Segment { dir, net: &net, tcp: &tcp, payload, missing: u32::from(kind & 4), at };
        given += payload.len();
        let mut out = |_, chunk: Chunk<'_>, _| taken += length(chunk);
        if connection.segment(&segment, &limits, || checksum, &mut out) == Verdict::NewConnection {
            connection.finish(End::Lost, at, &limits, &mut out);
            connection = Connection::new();
            given += payload.len();
            connection.segment(&segment, &limits, || checksum, &mut out);
        }
        assert!(connection.memory() <= 256 * 1024, "{} bytes are held", connection.memory());
    }
    connection.finish(End::Lost, at, &limits, &mut |_, chunk, _| taken += length(chunk));
    assert!(taken <= given, "{taken} bytes came out of {given}");
}

fn length(chunk: Chunk<'_>) -> usize {
    match chunk {
        Chunk::Data(bytes) | Chunk::Conflict { taken: bytes, .. } => bytes.len(),
        Chunk::Reread { .. } | Chunk::Gap { .. } | Chunk::End(_) => 0,
    }
}

/// A conversation in HTTP/1, SOCKS or HTTP/2, judged by the catalogue. The first byte says whether its beginning was
/// seen. A record is a chunk; its first byte: direction, and which chunk.
pub fn http(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    converse(first & 1 == 0, records(data).map(|(kind, bytes)| (kind, Cow::Borrowed(bytes))));
}

/// A conversation in HTTP/2, after its preface. A record with the highest bit of its first byte set is a chunk as for
/// [`http`]; others are frames, whose lengths need not be right in the input: the lowest bit is the direction, the next
/// four are the type, and the first two bytes are flags and stream.
pub fn http2(data: &[u8]) {
    let preface = (0, Cow::Borrowed(http_proto::PREFACE));
    let chunks = records(data).map(|(kind, bytes)| match bytes.split_first_chunk() {
        Some((&[flags, stream], payload)) if kind & 0x80 == 0 => {
            let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
            let header = [a, b, c, kind >> 1 & 15, flags, 0, 0, 0, stream];
            (kind & 1, Cow::Owned([&header, payload].concat()))
        }
        _ => (kind & 0x7f, Cow::Borrowed(bytes)),
    });
    converse(true, iter::once(preface).chain(chunks));
}

fn converse<'d>(from_start: bool, chunks: impl Iterator<Item = (u8, Cow<'d, [u8]>)>) {
    let limits = http_proto::Limits::default();
    let mut counters = http_proto::Counters::default();
    let mut layers = Layers::default();
    let (mut lookups, mut ordinal) = (dns_proto::Tracker::new(dns_proto::Config::default()), 0);
    let mut detector = Detector::new(Arc::clone(&CATALOGUE), detect::Config::default());
    let mut next = 0;
    let mut out = |told: Found<'_>| {
        let Found::Http(tx) = told else { return };
        assert_eq!(tx.ordinal, next, "transactions are numbered in order");
        next += 1;
        detector.http(&tx, true);
    };
    let mut at = Context { time: Timestamp(0), index: 0 };
    for (kind, bytes) in chunks {
        let bytes = &*bytes;
        at = Context { time: at.time.plus(1000), index: at.index + 1 };
        let dir = if kind & 1 == 0 { Dir::ToServer } else { Dir::ToClient };
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        let chunk = match kind >> 1 & 15 {
            8 | 9 => Chunk::Conflict { taken: half, other: rest.get(..half.len()).unwrap_or_default() },
            10 => Chunk::Reread { other: bytes },
            11 | 12 => Chunk::Gap { len: bytes.len() as u64, cut: kind & 2 != 0 },
            13 => Chunk::End(End::Fin),
            14 => Chunk::End(End::Reset),
            15 => Chunk::End(End::Lost),
            _ => Chunk::Data(bytes),
        };
        let mut sink = sink(&limits, &mut counters, &mut lookups, &mut ordinal, &mut out);
        layers.feed(Delivery { dir, chunk, at, from_start }, &mut sink);
        assert!(layers.memory() <= HTTP_MEMORY, "{} bytes are held", layers.memory());
    }
    layers.finish(at, &mut sink(&limits, &mut counters, &mut lookups, &mut ordinal, &mut out));
    assert!(!layers.wants_more() && layers.memory() == 0, "what is finished holds nothing");
}

fn sink<'a>(
    limits: &'a http_proto::Limits,
    counters: &'a mut http_proto::Counters,
    dns: &'a mut dns_proto::Tracker,
    ordinal: &'a mut u32,
    out: &'a mut dyn FnMut(Found<'_>),
) -> Sink<'a> {
    Sink {
        conn: &conn,
        ports: [40_000, 80],
        limits,
        keeps_body: &|_| true,
        searches: true,
        serves_metadata: false,
        ordinal,
        counters,
        dns,
        out,
    }
}

/// What a connection may hold: what waits, two messages in the making, and as many second readings as are followed.
const HTTP_MEMORY: usize = 16 << 20;

/// A DNS message (first byte even), or a conversation in DNS: each record is a datagram or a piece of a stream; its first
/// byte: direction, and which of both. No message is answered for more often than it has questions.
pub fn dns(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    if !first.is_multiple_of(2) {
        return dns_talk(data);
    }
    let looks = dns_proto::looks_like(data);
    if let Ok(message) = dns_proto::parse(data) {
        let mut hashes = Vec::new();
        for question in &message.questions {
            tokens::tokens_in_name(&question.name, &mut hashes);
        }
    } else {
        assert!(!looks || data.len() > 11, "what looks like DNS has a header");
    }
}

fn dns_talk(data: &[u8]) {
    let pending = Pending { entries: 8, bytes: 16 << 10, ..Pending::default() };
    let mut tracker = dns_proto::Tracker::new(dns_proto::Config { pending, copies: 4 });
    let (mut parser, mut decoder) = (dns_proto::TcpParser::new(), Decoder::new(decode::Config::default()));
    let (mut found, mut at) = (0, Context { time: Timestamp(0), index: 0 });
    let mut count = |tx: dns_proto::Transaction, _| {
        assert!(tx.query.is_some() || tx.response.is_some(), "a transaction of nothing");
        found += 1;
    };
    for (kind, bytes) in records(data) {
        at = Context { time: at.time.plus(i64::from(kind >> 4) * 1_000_000_000), index: at.index + 1 };
        if kind & 2 == 0 {
            let dir = if kind & 1 == 0 { Dir::ToServer } else { Dir::ToClient };
            let chunk =
                if kind & 12 == 12 { Chunk::Gap { len: bytes.len() as u64, cut: false } } else { Chunk::Data(bytes) };
            parser.chunk(dir, chunk, at, &conn(), &mut tracker, &mut count);
            assert!(parser.memory() <= 2 * (128 << 10), "{} bytes are held", parser.memory());
            continue;
        }
        let [from, to] = if kind & 1 == 0 { [0, 1] } else { [1, 0] }.map(|end| Talks::ENDS[2][end]);
        let data = &wire::ipv4(from.0, to.0, 17, 1, 0, &wire::udp(from, to, bytes.get(..1400).unwrap_or(bytes)));
        let (index, time, wire_len) = (at.index, at.time, data.len() as u32);
        let packet = Packet { index, time, link: LinkType::RAW, interface: u32::from(kind >> 2 & 3), wire_len, data };
        decoder.decode(&packet, &mut |meta, segment| {
            tracker.datagram(meta, meta.payload(segment), conn, &mut count);
        });
        tracker.expire(at.time, &mut count);
        assert!(tracker.waiting() <= 8, "{} queries wait", tracker.waiting());
    }
    tracker.finish(&mut count);
    assert_eq!(tracker.waiting(), 0);
    let most = tracker.counters().messages * dns_proto::MAX_QUESTIONS as u64;
    assert!(found <= most, "{found} transactions of {} messages", tracker.counters().messages);
}

/// Everything that undoes disguises of hosts, URLs and paths, and that looks for tokens.
pub fn canonical(data: &[u8]) {
    for parsed in canonical::hosts(data) {
        let path = parsed.path.unwrap_or_default();
        assert!(path.len() <= 16 * data.len() + 16, "a path grew to {}", path.len());
    }
    canonical::canonical_authority(data);
    let normal = detect::normalise_path(data);
    assert!(normal.path.starts_with('/'));
    let mut hashes = Vec::new();
    tokens::tokens_in(data, &mut hashes);
    for secret in [detect::Secret::new(data, detect::Part::Key), detect::Secret::in_text(data, detect::Part::Key)] {
        let most = data.len().min(detect::secret::MAX_SECRET);
        assert!(secret.is_none_or(|secret| secret.blocks.len() <= most && secret.anchors.len() <= most));
    }
    detect::body::Document::new(data, data.len().is_multiple_of(2));
}

/// Look-ups in the catalogue: path and query apart at the first `?`.
pub fn catalogue_match(data: &[u8]) {
    let catalogue = &**CATALOGUE;
    let at = data.iter().position(|byte| *byte == b'?').unwrap_or(data.len());
    let (path, query) = data.split_at(at);
    let normal = detect::normalise_path(path);
    for found in catalogue.paths_like(&normal.path, query) {
        assert!(catalogue.paths().iter().any(|path| std::ptr::eq(path, found.path)));
    }
    catalogue.is_credential_like(&normal.path);
    catalogue.is_credential_like_anywhere(&normal.path);
    catalogue.agents_called(data).count();
    catalogue.is_tool(data);
    catalogue.is_renderer(data);
    catalogue.headers().facts(path);
    catalogue.headers().may_write(path, query, true);
    let host = String::from_utf8_lossy(data);
    catalogue.is_provider_api(&host);
    catalogue.endpoints_named(&host);
    if let Some(octets) = data.first_chunk::<4>() {
        catalogue.endpoints_at(IpAddr::from(*octets));
    }
}
