//! Damage of every kind: captures cut anywhere, with bytes flipped, with packets dropped, doubled and shuffled. Nothing
//! panics or hangs, memory stays bounded, every line is a whole event, and neither batches nor workers ever show.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::fs;
use std::io::{Cursor, Read};

use common::{cases, config, difference, root, run};
use imdswatch::app::inline::Inline;
use imdswatch::capture::{FileSource, Input, Status};
use imdswatch::config::Config;
use imdswatch::event::fields;
use imdswatch::packet::{LinkType, PacketBatch, Timestamp};

/// A fixed sequence of numbers (xorshift64): the same damage in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// A packet of its own.
#[derive(Clone)]
struct Owned(Timestamp, LinkType, u32, Vec<u8>);

/// The packets of a capture file as far as it can be read.
fn read(file: &[u8], visit: impl FnMut(&PacketBatch)) {
    read_from(Cursor::new(file.to_vec()), file.len(), visit);
}

fn read_from(file: impl Read + Send + 'static, size: usize, mut visit: impl FnMut(&PacketBatch)) {
    let Ok(mut source) = FileSource::from_reader(&Input::Stdin, Box::new(file), Some(size as u64)) else { return };
    let mut batch = PacketBatch::default();
    for round in 0.. {
        assert!(round < 10_000, "reading does not end");
        batch.clear(batch.next_index());
        let status = source.next_batch(&mut batch);
        visit(&batch);
        if matches!(status, Ok(Status::End)) {
            return;
        }
    }
}

/// A run over a damaged file.
fn survive(config: &Config, what: &str, file: &[u8]) {
    let mut inline = Inline::new(config);
    read(file, |batch| inline.batch(batch));
    finish(inline, what);
}

/// A run over these packets.
fn survive_packets<'p>(config: &Config, what: &str, packets: impl IntoIterator<Item = &'p Owned>) {
    let mut inline = Inline::new(config);
    let mut batch = PacketBatch::default();
    for Owned(time, link, wire_len, data) in packets {
        batch.push(*time, *link, 0, *wire_len, data);
    }
    inline.batch(&batch);
    finish(inline, what);
}

fn finish(mut inline: Inline, what: &str) {
    inline.finish();
    for line in inline.written().json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        fields::check(line).unwrap_or_else(|error| panic!("{what}: {error}: {}", String::from_utf8_lossy(line)));
    }
}

fn files() -> Vec<(String, Vec<u8>)> {
    let files = cases().into_iter().map(|case| (case.name, fs::read(root().join(case.input)).unwrap()));
    files.filter(|(_, file)| file.len() < 20_000).collect()
}

fn packets(file: &[u8]) -> Vec<Owned> {
    let mut packets = Vec::new();
    read(file, |batch| packets.extend(batch.iter().map(|p| Owned(p.time, p.link, p.wire_len, p.data.to_vec()))));
    packets
}

/// How many lengths of each capture are tried.
const CUTS: usize = 32;

#[test]
fn captures_cut_anywhere() {
    let config = config(&["-e", "all", "--threads", "1"]);
    let mut random = Random(0x5eed_0001);
    for (name, file) in files() {
        for _ in 0..CUTS {
            let length = random.below(file.len());
            survive(&config, &format!("{name} cut at {length}"), &file[..length]);
        }
    }
}

/// Where a capture is cut decides only how many of its packets are read: every length is read, and the program runs over
/// each number of packets.
#[test]
fn each_capture_cut_at_every_length() {
    let config = config(&["-e", "all", "--threads", "1"]);
    for (name, file) in files() {
        let file: &'static [u8] = file.leak();
        let whole = packets(file);
        let mut tried = None;
        for length in 0..=file.len() {
            let mut count = 0;
            read_from(Cursor::new(&file[..length]), length, |batch| {
                count += batch.len();
            });
            if tried != Some(count) {
                survive(&config, &format!("{name} cut at {length}"), &file[..length]);
                tried = Some(count);
            }
        }
        assert!(tried.is_some_and(|count| count == whole.len()));
    }
}

#[test]
fn packets_cut_at_every_length() {
    let config = config(&["-e", "all", "--threads", "1"]);
    for name in ["dns/over-tcp", "http/head", "wire/geneve"] {
        let (_, file) = files().into_iter().find(|(case, _)| case == name).unwrap();
        let packets = packets(&file);
        let longest = packets.iter().map(|packet| packet.3.len()).max().unwrap_or(0);
        for length in 0..=longest {
            let cut =
                |packet: &Owned| Owned(packet.0, packet.1, packet.2, packet.3[..length.min(packet.3.len())].to_vec());
            let cut: Vec<_> = packets.iter().map(cut).collect();
            survive_packets(&config, &format!("{name} with packets cut at {length}"), &cut);
        }
    }
}

#[test]
fn captures_with_flipped_bytes() {
    let config = config(&["-e", "all", "--threads", "1"]);
    let mut random = Random(0x5eed_0002);
    for (name, file) in files() {
        for round in 0..CUTS {
            let mut file = file.clone();
            for _ in 0..=random.below(30) {
                let at = random.below(file.len());
                file[at] = [0, 0xff, file[at] ^ (1 << random.below(8)), random.below(256) as u8][random.below(4)];
            }
            survive(&config, &format!("{name} damaged in round {round}"), &file);
        }
    }
}

#[test]
fn packets_dropped_doubled_shuffled_and_shortened() {
    let config = config(&["-e", "all", "--threads", "1"]);
    let mut random = Random(0x5eed_0003);
    for (name, file) in files() {
        let packets = packets(&file);
        for round in 0..CUTS / 2 {
            let mut changed: Vec<Owned> = Vec::new();
            for packet in &packets {
                match random.below(8) {
                    0 => {}
                    1 => changed.extend([packet.clone(), packet.clone()]),
                    2 => changed.insert(random.below(changed.len() + 1), packet.clone()),
                    3 => {
                        let mut packet = packet.clone();
                        packet.3.truncate(random.below(packet.3.len() + 1));
                        changed.push(packet);
                    }
                    4 => {
                        let Owned(_, link, wire_len, data) = packet.clone();
                        changed.push(Owned(Timestamp(random.0 as i64), link, wire_len, data));
                    }
                    _ => changed.push(packet.clone()),
                }
            }
            survive_packets(&config, &format!("{name} changed in round {round}"), &changed);
        }
    }
}

/// Random mixes of bundled captures, packet by packet, written as one file each: any number of workers and any size of
/// batches write the same bytes.
#[test]
fn mixes_are_read_alike_by_any_number_of_workers() {
    let mut random = Random(0x5eed_0004);
    let files = files();
    let folder = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let mut queues: Vec<Vec<Owned>> = (0..6)
            .map(|_| packets(&files[random.below(files.len())].1))
            .filter(|packets| packets.iter().all(|packet| packet.1 == LinkType::ETHERNET))
            .collect();
        queues.iter_mut().for_each(|queue| queue.reverse());
        let mut mixed = Vec::new();
        while !queues.is_empty() {
            let at = random.below(queues.len());
            match queues[at].pop() {
                Some(packet) => mixed.push(packet),
                None => drop(queues.swap_remove(at)),
            }
        }
        let path = folder.path().join(format!("{round}.pcap"));
        fs::write(&path, pcap(&mixed)).unwrap();
        let outputs = [("1", usize::MAX), ("2", 1), ("3", 7), ("5", 2)].map(|(threads, batch_packets)| {
            let config = Config { batch_packets, ..config(&["-e", "all", "--threads", threads]) };
            run(&config, std::slice::from_ref(&path)).0.json
        });
        for other in &outputs[1..] {
            assert_eq!(difference(other, &outputs[0]), None, "round {round}");
        }
        let mut inline = Inline::new(&config(&["-e", "all", "--threads", "1"]));
        read(&pcap(&mixed), |batch| inline.batch(batch));
        inline.finish();
        assert_eq!(difference(&inline.written().json, &outputs[0]), None, "round {round}, in line");
    }
}

/// A capture file with nanosecond times.
fn pcap(packets: &[Owned]) -> Vec<u8> {
    let words = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
    let mut file = [words([0xa1b2_3c4d, 0x0004_0002, 0, 0]), words([262_144, 1, 0, 0])[..8].to_vec()].concat();
    for Owned(time, _, wire_len, data) in packets {
        file.extend(words([time.seconds() as u32, time.subsec_nanos(), data.len() as u32, *wire_len]));
        file.extend_from_slice(data);
    }
    file
}
