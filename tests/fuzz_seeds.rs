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
use imdswatch::proto::http;
use targets::{LINKS, record, wire};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 10] = [
    ("pipeline", targets::pipeline),
    ("theft", targets::theft),
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
    assert!(seeds["http2"].iter().any(|(name, seed)| name.starts_with("http-") && seed.len() > 100));
    assert!(seeds["http2"].len() > 12, "HTTP/2 has captures and made-up conversations");
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
        add("capture_file", format!("{name}-pipe"), [&[0x31][..], &file].concat());
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
                    match first.strip_prefix(http::PREFACE) {
                        Some(_) => add("http2", name.clone(), after_preface(&chunks)),
                        None => add("http", name.clone(), [&[0][..], &chunks].concat()),
                    }
                    add("stream", name.clone(), segments);
                    add("pipeline", name.clone(), as_talk(&chunks));
                    let line = first.split(|byte| *byte == b'\r').next().unwrap_or_default();
                    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                    add("canonical", name.clone(), target.to_vec());
                    add("catalogue_match", name, target.to_vec());
                }
                Talk::Udp(payload) => {
                    let mut talk = vec![1];
                    for (kind, bytes) in [(2, &payload), (6, &payload), (3, &payload)] {
                        record(&mut talk, kind, bytes);
                    }
                    record(&mut talk, 0, &[&(payload.len() as u16).to_be_bytes()[..], &payload].concat());
                    add("dns", format!("{name}-talk"), talk);
                    add("dns", name, [&[0][..], &payload].concat());
                }
            }
        }
    }
    seeds.entry("http2").or_default().extend(http2::conversations());
    seeds.entry("theft").or_default().extend((0..24).map(|n| (format!("script-{n}"), script(n))));
    seeds
}

/// Decisions for the target `theft`: one kind of each, then any.
fn script(n: u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(u32::from(n) + 1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut out = vec![n % wire::WRAPPINGS, n, n.wrapping_mul(16)];
    for _ in 0..40 * u32::from(n % 8) {
        // A length of one segment, and what is done with it.
        out.extend([next(), next() & 3, if n < 12 { n } else { next() }]);
    }
    out
}

/// What two ends said, for the target `pipeline`: packets that it builds itself.
fn as_talk(mut chunks: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    record(&mut out, 0x2f, &[0x10]);
    record(&mut out, 0x2f, &[0x11]);
    while let Some((&[side, low, high], rest)) = chunks.split_first_chunk() {
        let (bytes, rest) = rest.split_at(usize::from(u16::from_le_bytes([low, high])));
        record(&mut out, 0x2f, &[&[side & 1][..], bytes].concat());
        chunks = rest;
    }
    record(&mut out, 0x2f, &[0x20]);
    record(&mut out, 0x2f, &[0x21]);
    out
}

/// The chunks of an HTTP/2 conversation without the preface, which the target sends itself.
fn after_preface(mut chunks: &[u8]) -> Vec<u8> {
    let (mut out, mut preface) = (Vec::new(), http::PREFACE.len());
    while let Some((&[side, low, high], rest)) = chunks.split_first_chunk() {
        let (mut bytes, rest) = rest.split_at(usize::from(u16::from_le_bytes([low, high])));
        if side & 1 == 0 {
            let skipped = preface.min(bytes.len());
            (bytes, preface) = (&bytes[skipped..], preface - skipped);
        }
        if !bytes.is_empty() {
            record(&mut out, 0x80 | side, bytes);
        }
        chunks = rest;
    }
    out
}

/// Conversations for the target `http2` that hold what the captures do not.
mod http2 {
    use super::record;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PRIORITY: u8 = 2;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const PUSH: u8 = 5;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const WINDOW: u8 = 8;
    const CONTINUATION: u8 = 9;

    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    const WHOLE: u8 = END_STREAM | END_HEADERS;

    /// A conversation in the making: both sides' compression, and the records so far.
    struct Talk {
        encoders: [fluke_hpack::Encoder<'static>; 2],
        out: Vec<u8>,
    }

    impl Talk {
        fn new() -> Self {
            let mut talk =
                Self { encoders: [fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new()], out: Vec::new() };
            talk.frame(0, SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0, 0, 5, 0, 0, 64, 0]);
            talk.frame(1, SETTINGS, 0, 0, &[]);
            talk
        }

        fn frame(&mut self, side: u8, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> &mut Self {
            record(&mut self.out, side | kind << 1, &[&[flags, stream][..], payload].concat());
            self
        }

        fn block(&mut self, side: u8, fields: &[(&str, &str)]) -> Vec<u8> {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            self.encoders[usize::from(side)].encode(fields)
        }

        fn head(&mut self, side: u8, flags: u8, stream: u8, fields: &[(&str, &str)]) -> &mut Self {
            let block = self.block(side, fields);
            self.frame(side, HEADERS, flags, stream, &block)
        }
    }

    const ROLE: &str = "/latest/meta-data/iam/security-credentials/web";
    const GET: [(&str, &str); 5] = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", ROLE),
        (":authority", "169.254.169.254"),
        ("user-agent", "curl/8.5.0"),
    ];
    const OK: [(&str, &str); 3] = [(":status", "200"), ("content-type", "application/json"), ("server", "EC2ws")];
    const CREDENTIALS: &[u8] = br#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAQWERTYUIOPASDFGH","SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY","Token":"IQoJb3JpZ2luX2VjEXAMPLE","Expiration":"2026-01-01T06:00:00Z"}"#;

    pub(super) fn conversations() -> Vec<(String, Vec<u8>)> {
        type Make = fn(&mut Talk);
        let made: [(&str, Make); 13] = [
            ("plain", |t| {
                t.head(0, WHOLE, 1, &GET).head(1, END_HEADERS, 1, &OK).frame(1, DATA, END_STREAM, 1, CREDENTIALS);
            }),
            ("interleaved", |t| {
                t.head(0, WHOLE, 1, &GET).head(0, WHOLE, 3, &GET).head(1, END_HEADERS, 3, &OK);
                t.head(1, END_HEADERS, 1, &OK);
                for part in CREDENTIALS.chunks(40) {
                    t.frame(1, DATA, 0, 1, part).frame(1, DATA, 0, 3, part);
                }
                t.frame(1, DATA, END_STREAM, 3, b"").frame(1, DATA, END_STREAM, 1, b"");
            }),
            ("continued", |t| {
                let block = t.block(0, &GET);
                t.frame(0, HEADERS, END_STREAM, 1, &block[..3]);
                t.frame(0, CONTINUATION, 0, 1, &block[3..9]).frame(0, CONTINUATION, END_HEADERS, 1, &block[9..]);
                t.head(1, WHOLE, 1, &[(":status", "404")]);
            }),
            ("padded-with-priority", |t| {
                let block = t.block(0, &GET);
                let padded = [&[4, 0, 0, 0, 0, 200][..], &block, &[0; 4]].concat();
                t.frame(0, HEADERS, WHOLE | 8 | 32, 1, &padded).frame(0, PRIORITY, 0, 3, &[0x80, 0, 0, 1, 7]);
                t.head(1, END_HEADERS, 1, &OK).frame(
                    1,
                    DATA,
                    8 | END_STREAM,
                    1,
                    &[&[2][..], b"body", &[0, 0]].concat(),
                );
            }),
            ("trailers", |t| {
                t.head(0, END_HEADERS, 1, &[(":method", "PUT"), (":path", "/latest/api/token"), ("te", "trailers")]);
                t.frame(0, DATA, 0, 1, b"x").head(0, WHOLE, 1, &[("x-sum", "1")]);
                t.head(1, END_HEADERS, 1, &[(":status", "100")]).head(1, END_HEADERS, 1, &OK);
                t.frame(1, DATA, 0, 1, b"AQAEA").head(1, WHOLE, 1, &[("x-end", "yes")]);
            }),
            ("reset", |t| {
                t.head(0, WHOLE, 1, &GET).frame(1, RESET, 0, 1, &[0, 0, 0, 8]).head(0, WHOLE, 3, &GET);
                t.head(1, END_HEADERS, 3, &OK).frame(0, RESET, 0, 3, &[0, 0, 0, 8]).frame(1, DATA, 1, 3, b"late");
            }),
            ("push", |t| {
                t.head(0, WHOLE, 1, &GET);
                let block = [&[0, 0, 0, 2][..], &t.block(1, &GET)].concat();
                t.frame(1, PUSH, END_HEADERS, 1, &block).head(1, END_HEADERS, 2, &OK).frame(1, DATA, 1, 2, CREDENTIALS);
                t.head(1, WHOLE, 1, &[(":status", "304")]);
            }),
            ("goaway", |t| {
                t.frame(0, PING, 0, 0, &[1; 8]).frame(1, PING, 1, 0, &[1; 8]).frame(0, WINDOW, 0, 0, &[0, 1, 0, 0]);
                t.head(0, WHOLE, 1, &GET).frame(1, GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).head(
                    1,
                    END_HEADERS,
                    1,
                    &OK,
                );
                t.frame(1, DATA, END_STREAM, 1, CREDENTIALS);
            }),
            ("table-resized", |t| {
                t.frame(1, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]).frame(0, SETTINGS, 1, 0, &[]);
                let block = [&[0x20, 0x3f, 0xe1, 0x1f][..], &t.block(0, &GET)].concat();
                t.frame(0, HEADERS, WHOLE, 1, &block).head(0, WHOLE, 3, &GET).head(1, WHOLE, 1, &OK);
            }),
            ("never-indexed", |t| {
                let block = b"\x82\x86\x84\x10\x06cookie\x04abcd\x50\x87\xbd\xab\x4e\x9c\x17\xb7\xff\x00\x03x-y\x01z";
                t.frame(0, HEADERS, WHOLE, 1, block).head(1, WHOLE, 1, &OK);
            }),
            ("long-integer", |t| {
                t.frame(0, HEADERS, WHOLE, 1, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x82]).head(0, WHOLE, 3, &GET);
            }),
            ("upgrade-like", |t| {
                t.head(1, END_HEADERS, 1, &OK).frame(1, DATA, END_STREAM, 1, CREDENTIALS).head(0, WHOLE, 3, &GET);
            }),
            ("connect", |t| {
                t.head(0, END_HEADERS, 1, &[(":method", "CONNECT"), (":authority", "169.254.169.254:80")]);
                t.head(1, END_HEADERS, 1, &[(":status", "200")]);
                t.frame(
                    0,
                    DATA,
                    0,
                    1,
                    b"GET /latest/meta-data/ HTTP/1.1
Host: 169.254.169.254

",
                );
                t.frame(
                    1,
                    DATA,
                    END_STREAM,
                    1,
                    b"HTTP/1.1 200 OK
Content-Length: 2

ok",
                );
            }),
        ];
        let talk = |make: Make| {
            let mut talk = Talk::new();
            make(&mut talk);
            talk.out
        };
        made.into_iter().map(|(name, make)| (format!("made-{name}"), talk(make))).collect()
    }
}

/// A batch in the form of the targets `pipeline` and `decode`.
fn as_packets(batch: &PacketBatch) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in batch.iter() {
        let link = LINKS.iter().position(|link| *link == packet.link).unwrap_or(LINKS.len() - 2);
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
