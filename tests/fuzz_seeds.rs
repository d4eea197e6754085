//! The fuzz targets on stable Rust: over seeds that are made from the bundled captures, and over all past findings.
//!
//! `WRITE_SEEDS=1 cargo test --test fuzz_seeds` writes the seeds to `fuzz/corpus/`, where `cargo fuzz run` finds them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{cases, root};
use imdswatch::capture::{FileSource, Input};
use imdswatch::decode::meta::Transport;
use imdswatch::decode::{Config, Decoder};
use imdswatch::packet::{PacketBatch, Timestamp};
use targets::{LINKS, record};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("pipeline", targets::pipeline),
    ("capture_file", targets::capture_file),
    ("decode", targets::decode),
    ("stream", targets::stream),
    ("http", targets::http),
    ("http2", targets::http2),
    ("dns", targets::dns),
    ("canonical", targets::canonical),
    ("catalogue_match", targets::catalogue_match),
];

#[test]
fn seeds_hold() {
    let write = std::env::var_os("WRITE_SEEDS").is_some();
    let seeds = seeds();
    for (target, run) in TARGETS {
        let own = seeds.get(target).map(Vec::as_slice).unwrap_or_default();
        assert!(!own.is_empty(), "{target} has no seeds");
        for (name, seed) in own {
            run(seed);
            if write {
                let folder = root().join("fuzz/corpus").join(target);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(name), seed).unwrap();
            }
        }
    }
}

#[test]
fn seeds_reach_what_they_are_for() {
    let seeds = seeds();
    let heads = seeds["http"].iter().filter(|(_, seed)| seed.windows(9).any(|part| part == b" HTTP/1.1"));
    assert!(heads.count() > 40);
    assert!(seeds["http2"].iter().any(|(_, seed)| seed.len() > 100), "the HTTP/2 captures give seeds");
}

#[test]
fn findings_stay_fixed() {
    for (target, run) in TARGETS {
        let Ok(found) = fs::read_dir(root().join("fuzz/regressions").join(target)) else { continue };
        for path in found.map(|entry| entry.unwrap().path()) {
            eprintln!("{}", path.display());
            run(&fs::read(path).unwrap());
        }
    }
}

/// Inputs by target, each with a name.
fn seeds() -> BTreeMap<&'static str, Vec<(String, Vec<u8>)>> {
    let mut seeds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for case in cases() {
        let name = case.name.replace('/', "-");
        let file = fs::read(root().join(&case.input)).unwrap();
        if file.len() > 20_000 {
            continue;
        }
        let mut add = |target, name: String, seed: Vec<u8>| seeds.entry(target).or_default().push((name, seed));
        add("capture_file", name.clone(), [&[0][..], &file].concat());
        let Ok(mut source) = FileSource::open(&Input::Path(root().join(&case.input))) else { continue };
        let mut batch = PacketBatch::default();
        let _ = source.next_batch(&mut batch);
        let packets = as_packets(&batch);
        add("pipeline", name.clone(), packets.clone());
        add("decode", name.clone(), packets);
        for (n, talk) in conversations(&batch).into_iter().enumerate() {
            let name = format!("{name}-{n}");
            match talk {
                Talk::Tcp { segments, chunks, first } => {
                    let target = if first.starts_with(b"PRI * HTTP/2") { "http2" } else { "http" };
                    let opening: &[u8] = if target == "http" { &[0] } else { &[] };
                    add(target, name.clone(), [opening, &chunks].concat());
                    add("stream", name.clone(), segments);
                    let line = first.split(|byte| *byte == b'\r').next().unwrap_or_default();
                    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                    add("canonical", name.clone(), target.to_vec());
                    add("catalogue_match", name, target.to_vec());
                }
                Talk::Udp(payload) => add("dns", name, payload),
            }
        }
    }
    seeds
}

/// A batch in the form of the targets `pipeline` and `decode`.
fn as_packets(batch: &PacketBatch) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in batch.iter() {
        let link = LINKS.iter().position(|link| *link == packet.link).unwrap_or(LINKS.len() - 1);
        record(&mut out, 0x20 | link as u8, packet.data);
    }
    out
}

/// What two ends said to each other, in the form of the targets.
enum Talk {
    Tcp {
        /// For `stream`.
        segments: Vec<u8>,
        /// For `http`: every segment's bytes.
        chunks: Vec<u8>,
        /// The first bytes.
        first: Vec<u8>,
    },
    Udp(Vec<u8>),
}

/// The conversations in a batch, at most a few.
fn conversations(batch: &PacketBatch) -> Vec<Talk> {
    let mut decoder = Decoder::new(Config::default());
    let mut found: BTreeMap<_, (Talk, [u32; 2])> = BTreeMap::new();
    let mut datagrams = Vec::new();
    for packet in batch.iter() {
        decoder.decode(&packet, &mut |meta, segment| {
            let (Some(net), payload) = (meta.net, meta.payload(segment)) else { return };
            match meta.transport {
                Transport::Udp { .. } => datagrams.push(Talk::Udp(payload.to_vec())),
                Transport::Tcp(tcp) => {
                    let (from, to) = ((net.source, tcp.source), (net.destination, tcp.destination));
                    let key = (from.min(to), from.max(to));
                    let client_first = if tcp.flags.syn() { !tcp.flags.ack() } else { tcp.source > tcp.destination };
                    let side = usize::from(!client_first && from.1 < to.1);
                    let empty = Talk::Tcp { segments: Vec::new(), chunks: Vec::new(), first: Vec::new() };
                    let base = if side == 0 { [tcp.seq, tcp.ack] } else { [tcp.ack, tcp.seq] };
                    let (talk, base) = found.entry(key).or_insert((empty, base));
                    let Talk::Tcp { segments, chunks, first } = talk else { return };
                    if base[side] == 0 {
                        base[side] = tcp.seq;
                    }
                    let number = |value: u32, side: usize| (value.wrapping_sub(base[side]) as u16).to_le_bytes();
                    let header = [
                        &number(tcp.seq, side)[..],
                        &number(tcp.ack, 1 - side),
                        &[tcp.flags.0],
                        &tcp.window.to_le_bytes(),
                        &[net.ttl],
                    ];
                    record(segments, side as u8, &[&header.concat(), payload].concat());
                    if !payload.is_empty() {
                        record(chunks, side as u8, payload);
                        first.extend_from_slice(payload.get(..200.min(payload.len())).unwrap_or_default());
                    }
                }
                _ => {}
            }
        });
        decoder.expire(Timestamp(0));
    }
    datagrams.truncate(4);
    found.into_values().map(|(talk, _)| talk).take(4).chain(datagrams).collect()
}
