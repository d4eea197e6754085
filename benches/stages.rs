//! What each stage costs by itself: `cargo bench --bench stages [-- FILE]`.
//!
//! FILE is a pcap of real traffic; without it the captures of the corpus (`IMDSWATCH_CORPUS`) are tried, then synthetic traffic stands
//! in. Each stage gets what the stages before it made of the whole capture, several times over; the table shows the
//! median, and the spread from fastest to slowest.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imdswatch::capture::{FileSource, Input, Status};
use imdswatch::catalogue::Catalogue;
use imdswatch::conn::{Conn, Endpoint, Proto};
use imdswatch::decode::meta::{Meta, Transport};
use imdswatch::decode::{self, Decoder, verify_checksum};
use imdswatch::detect::{self, Detector};
use imdswatch::judge;
use imdswatch::observe::{Observation, What};
use imdswatch::packet::{PacketBatch, Timestamp};
use imdswatch::pipeline::{self, Pipeline};
use imdswatch::proto::layers::{Delivery, Found, Layers, Sink};
use imdswatch::proto::{dns, http};
use imdswatch::publish::{self, Publisher};
use imdswatch::route::DecodeStage;
use imdswatch::session::{self, Evict, Keep};
use imdswatch::stream::{self, Chunk, Connection, Context, Dir, Segment};
use imdswatch::{cli, config, flow};

#[allow(dead_code)]
mod traffic;

/// Runs of each stage.
fn runs() -> usize {
    if traffic::is_measuring() { 7 } else { 1 }
}

fn main() {
    let (name, bytes) = input();
    let batches = read(&bytes);
    let packets: usize = batches.iter().map(PacketBatch::len).sum();
    let captured: u64 = batches.iter().map(PacketBatch::captured_bytes).sum();
    println!("{name}: {packets} packets, {:.1} MB", captured as f64 / 1e6);
    println!("{:10} {:>9} {:>12} {:>10} {:>9} {:>8}", "stage", "items", "items/s", "MB/s", "ns/item", "spread");

    let report = Stage { packets, captured };
    report.run("read", || skim(&bytes), packets);
    report.run("decode", || decode(&batches, |_, _| ()), packets);
    let levels = Levels::of(&batches);
    report.run("flow", || flows(&levels), levels.metas.len());
    report.run("session", || sessions(&levels), levels.metas.len());
    let segments = levels.segments();
    report.run("stream", || streams(&segments, |_, _, _, _| ()), segments.len());
    let chunks = Chunks::of(&segments);
    report.run("http", || chunks.http(&mut |tx| drop(black_box(tx))), chunks.list.len());
    let datagrams = levels.dns();
    report.run("dns", || parse_dns(&datagrams, &mut |tx| drop(black_box(tx))), datagrams.len());

    let (mut exchanges, mut lookups) = (Vec::new(), Vec::new());
    chunks.http(&mut |tx| exchanges.push(tx));
    parse_dns(&datagrams, &mut |tx| lookups.push(tx));
    let Ok(catalogue) = Catalogue::builtin().map(Arc::new) else { return println!("the catalogue cannot be read") };
    report.run("match", || judge(&catalogue, &exchanges, &lookups), exchanges.len() + lookups.len());
    let mut found = observations(&batches, &catalogue);
    let count = found.len();
    report.run("serialise", || publish(&catalogue, &mut found), count);
}

/// Prints one line per stage.
struct Stage {
    packets: usize,
    captured: u64,
}

impl Stage {
    fn run<T>(&self, name: &str, mut stage: impl FnMut() -> T, items: usize) {
        let mut times: Vec<Duration> = (0..runs())
            .map(|_| {
                let start = Instant::now();
                black_box(stage());
                start.elapsed()
            })
            .collect();
        times.sort();
        let seconds = |at: usize| times.get(at).map_or(f64::NAN, Duration::as_secs_f64);
        let median = seconds(times.len() / 2);
        let spread = (seconds(times.len() - 1) - seconds(0)) / median * 100.0;
        println!(
            "{name:10} {items:>9} {:>12.0} {:>10.1} {:>9.1} {spread:>7.0}%   {:.1} ns/packet",
            items as f64 / median,
            self.captured as f64 / 1e6 / median,
            median * 1e9 / items as f64,
            median * 1e9 / self.packets as f64,
        );
    }
}

fn input() -> (String, Arc<[u8]>) {
    if !traffic::is_measuring() {
        return ("a little synthetic traffic".to_owned(), traffic::capture(traffic::Kind::Mix(4)).into());
    }
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let corpus = std::env::var_os("IMDSWATCH_CORPUS").map_or_else(|| root.join("../shared"), PathBuf::from);
    let real = [root.join("target/real-mix.pcap"), corpus.join("bench/real-mix.pcap")];
    for path in given.into_iter().chain(real) {
        if let Ok(bytes) = fs::read(&path) {
            return (path.display().to_string(), bytes.into());
        }
    }
    println!("no real traffic at hand (see benches/README.md): synthetic traffic stands in");
    ("synthetic mix".to_owned(), traffic::capture(traffic::Kind::Mix(400)).into())
}

/// Packets of a capture, in batches of their own.
fn read(bytes: &Arc<[u8]>) -> Vec<PacketBatch> {
    let mut batches = Vec::new();
    each_batch(bytes, |batch| batches.push(std::mem::take(batch)));
    batches
}

/// The same in one batch, over and over.
fn skim(bytes: &Arc<[u8]>) -> u64 {
    let mut packets = 0;
    each_batch(bytes, |batch| packets = black_box(batch).next_index());
    packets
}

fn each_batch(bytes: &Arc<[u8]>, mut take: impl FnMut(&mut PacketBatch)) {
    let from = Box::new(Cursor::new(Arc::clone(bytes)));
    let Ok(mut source) = FileSource::from_reader(&Input::Stdin, from, Some(bytes.len() as u64)) else { return };
    let (mut batch, mut next) = (PacketBatch::default(), 0);
    loop {
        batch.clear(next);
        let status = source.next_batch(&mut batch);
        next = batch.next_index();
        take(&mut batch);
        if !matches!(status, Ok(Status::More)) {
            return;
        }
    }
}

fn decode(batches: &[PacketBatch], mut visit: impl FnMut(&Meta, &[u8])) {
    let mut decoder = Decoder::new(decode::Config::default());
    for packet in batches.iter().flat_map(PacketBatch::iter) {
        decoder.decode(&packet, &mut |meta, segment| visit(black_box(meta), segment));
    }
}

/// Innermost levels with their bytes.
struct Levels {
    metas: Vec<(Meta, std::ops::Range<usize>)>,
    arena: Vec<u8>,
}

/// A TCP segment of connection number `conn`.
struct Tcp<'l> {
    conn: usize,
    dir: Dir,
    meta: &'l Meta,
    bytes: &'l [u8],
}

impl Levels {
    fn of(batches: &[PacketBatch]) -> Self {
        let mut levels = Self { metas: Vec::new(), arena: Vec::new() };
        decode(batches, |meta, segment| {
            let start = levels.arena.len();
            levels.arena.extend_from_slice(segment);
            levels.metas.push((meta.clone(), start..levels.arena.len()));
        });
        levels.metas.retain(|(meta, _)| meta.innermost);
        levels
    }

    fn segments(&self) -> Vec<Tcp<'_>> {
        let mut numbers: HashMap<(Endpoint, Endpoint), (usize, Endpoint)> = HashMap::new();
        let mut out = Vec::new();
        for (meta, range) in &self.metas {
            let (Transport::Tcp(tcp), Some((from, to))) = (meta.transport, Endpoint::of(meta)) else { continue };
            let number = numbers.len();
            let key = if from < to { (from, to) } else { (to, from) };
            let client = if Connection::direction_of_first(&tcp) == Dir::ToServer { from } else { to };
            let (conn, client) = *numbers.entry(key).or_insert((number, client));
            let dir = if client == from { Dir::ToServer } else { Dir::ToClient };
            out.push(Tcp { conn, dir, meta, bytes: self.arena.get(range.clone()).unwrap_or_default() });
        }
        out
    }

    fn dns(&self) -> Vec<(&Meta, &[u8])> {
        let is_dns = |meta: &Meta| matches!(meta.transport, Transport::Udp { source, destination, .. } if source == 53 || destination == 53);
        let all = self.metas.iter().filter(|(meta, _)| is_dns(meta));
        all.map(|(meta, range)| (meta, self.arena.get(range.clone()).unwrap_or_default())).collect()
    }
}

fn flows(levels: &Levels) -> usize {
    let (mut table, mut out) = (flow::Table::new(flow::Config::default()), Vec::new());
    levels.metas.iter().for_each(|(meta, _)| table.touch(meta, &mut out));
    table.len()
}

/// The least that can hang on a session.
#[derive(Default)]
struct Nothing;

impl Evict for Nothing {
    fn keep(&self) -> Keep {
        Keep::Least
    }

    fn memory(&self) -> usize {
        0
    }
}

fn sessions(levels: &Levels) -> usize {
    let mut table: session::Table<Nothing> = session::Table::new(session::Config::default());
    for (from, to) in levels.metas.iter().filter_map(|(meta, _)| Endpoint::of(meta)) {
        table.touch(from, to, Timestamp(0), Timestamp::SECOND, &mut |_| ());
    }
    table.len()
}

/// Reassembles every connection; `out` gets the connection's number with each chunk.
fn streams(segments: &[Tcp<'_>], mut out: impl FnMut(usize, Dir, Chunk<'_>, Context)) {
    let count = segments.iter().map(|segment| segment.conn + 1).max().unwrap_or(0);
    let mut connections: Vec<Connection> = (0..count).map(|_| Connection::new()).collect();
    let limits = stream::Limits::default();
    for Tcp { conn, dir, meta, bytes } in segments {
        let (Transport::Tcp(tcp), Some(net), Some(connection)) =
            (&meta.transport, &meta.net, connections.get_mut(*conn))
        else {
            continue;
        };
        let at = Context { time: meta.time, index: meta.index };
        let payload = meta.payload(bytes);
        let segment = Segment { dir: *dir, net, tcp, payload, missing: meta.missing, at };
        connection.segment(&segment, &limits, || verify_checksum(meta, bytes), &mut |dir, chunk, at| {
            out(*conn, dir, black_box(chunk), at);
        });
    }
}

/// Reassembled bytes in the order in which they were handed on.
struct Chunks {
    list: Vec<(usize, Dir, Vec<u8>, Context)>,
    conn: Conn,
}

impl Chunks {
    fn of(segments: &[Tcp<'_>]) -> Self {
        let mut list = Vec::new();
        streams(segments, |conn, dir, chunk, at| {
            if let Chunk::Data(bytes) = chunk {
                list.push((conn, dir, bytes.to_vec(), at));
            }
        });
        let end = |host: u8, port| Endpoint { ip: [192, 0, 2, host].into(), port };
        let conn = Conn::between(end(1, 50_000), end(2, 80), Proto::Tcp);
        Self { list, conn }
    }

    fn http(&self, out: &mut dyn FnMut(http::Transaction)) {
        let count = self.list.iter().map(|(conn, ..)| conn + 1).max().unwrap_or(0);
        let mut streams: Vec<Layers> = (0..count).map(|_| Layers::default()).collect();
        let (mut dns, mut ordinal) = (dns::Tracker::new(dns::Config::default()), 0);
        let (limits, mut counters) = (http::Limits::default(), http::Counters::default());
        let conn = || self.conn.clone();
        for (number, dir, bytes, at) in &self.list {
            let Some(stream) = streams.get_mut(*number).filter(|stream| stream.wants_more()) else { continue };
            let mut sink = Sink {
                conn: &conn,
                ports: [50_000, 80],
                limits: &limits,
                keeps_body: &|_| true,
                searches: false,
                serves_metadata: false,
                ordinal: &mut ordinal,
                counters: &mut counters,
                dns: &mut dns,
                out: &mut |told| {
                    if let Found::Http(tx) = told {
                        out(tx);
                    }
                },
            };
            stream.feed(Delivery { dir: *dir, chunk: Chunk::Data(bytes), at: *at, from_start: true }, &mut sink);
        }
    }
}

fn parse_dns(datagrams: &[(&Meta, &[u8])], out: &mut dyn FnMut(dns::Transaction)) {
    let mut tracker = dns::Tracker::new(dns::Config::default());
    for (meta, bytes) in datagrams {
        let Some((client, server)) = Endpoint::of(meta) else { continue };
        let conn = || Conn::between(client, server, Proto::Udp);
        tracker.datagram(meta, meta.payload(bytes), conn, &mut |tx, _| out(tx));
    }
}

fn judge(catalogue: &Arc<Catalogue>, exchanges: &[http::Transaction], lookups: &[dns::Transaction]) {
    let mut detector = Detector::new(Arc::clone(catalogue), detect::Config::default());
    exchanges.iter().for_each(|tx| drop(black_box(detector.http(tx, false))));
    lookups.iter().for_each(|tx| drop(black_box(detector.dns(tx, false))));
}

/// Everything that a worker finds, as `-e all` wants it.
fn observations(batches: &[PacketBatch], catalogue: &Arc<Catalogue>) -> Vec<Observation> {
    let config = settings().map(|settings| settings.pipeline()).unwrap_or_default();
    let judge = judge::Config { everything: true, alone: true, ..judge::Config::default() };
    let config = pipeline::Config { judge, ..config };
    let mut pipeline = Pipeline::new(config, Detector::new(Arc::clone(catalogue), detect::Config::default()));
    let mut front = DecodeStage::new(decode::Config::default());
    batches.iter().for_each(|batch| front.batch(batch, &mut pipeline));
    pipeline.finish(&mut |_, _| {});
    let mut found = Vec::new();
    pipeline.drain(&mut found);
    found.retain(|observation| matches!(observation.what, What::Http(_) | What::Dns(_) | What::Flow(_)));
    found
}

fn publish(catalogue: &Arc<Catalogue>, found: &mut [Observation]) -> usize {
    let Some(settings) = settings() else { return 0 };
    let config = publish::Config { wanted: imdswatch::output::Wanted::All, ..settings.publisher(true, None) };
    let mut publisher = Publisher::new(config, Arc::clone(catalogue));
    let mut written = 0;
    for observation in found {
        publisher.observe(observation);
        written += publisher.batch().json.len();
        publisher.batch().clear();
    }
    written
}

/// Settings of a replay without any flags.
fn settings() -> Option<config::Config> {
    config::Config::resolve(&cli::Run { read: vec!["-".into()], ..cli::Run::default() }).ok()
}
