//! Capture files built byte by byte: whole, cut, damaged, compressed, and given in pieces.

mod build;

use std::io::{Read, Write};

use proptest::prelude::*;

use self::build::*;
use super::*;
use crate::packet::{PacketBatch, Timestamp};

/// A packet as it is compared: nanoseconds, link type, interface, wire length, data.
type Seen = (i64, u16, u32, u32, Vec<u8>);

/// Everything that one input gave.
#[derive(Debug, Default)]
struct Got {
    packets: Vec<Seen>,
    warnings: Vec<Warning>,
    error: Option<CaptureError>,
}

impl Got {
    fn damaged(&self) -> bool {
        self.error.is_some() || self.warnings.iter().any(|warning| warning.damage)
    }

    fn error(&self) -> String {
        self.error.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Gives at most `step` bytes at a time.
struct Steps {
    bytes: io::Cursor<Vec<u8>>,
    step: usize,
}

impl Read for Steps {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = to.len().min(self.step);
        self.bytes.read(&mut to[..count])
    }
}

fn read_in_steps(bytes: &[u8], step: usize) -> Got {
    let from = Steps { bytes: io::Cursor::new(bytes.to_vec()), step };
    let mut got = Got::default();
    let mut source = match FileSource::from_reader(&Input::Stdin, Box::new(from), Some(bytes.len() as u64)) {
        Ok(source) => source,
        Err(error) => return Got { error: Some(error), ..got },
    };
    let (mut batch, mut taken) = (PacketBatch::default(), 0);
    loop {
        batch.clear(got.packets.len() as u64);
        let result = source.next_batch(&mut batch);
        got.warnings.extend(source.warnings());
        taken += batch.bytes_read();
        for packet in batch.iter() {
            assert_eq!(packet.index, got.packets.len() as u64);
            let Timestamp(time) = packet.time;
            got.packets.push((time, packet.link.0, packet.interface, packet.wire_len, packet.data.to_vec()));
        }
        match result {
            Ok(Status::More) => {}
            Ok(Status::End) => {
                assert_eq!(taken, source.bytes_read());
                assert!(matches!(source.next_batch(&mut batch), Ok(Status::End)), "it stays ended");
                return got;
            }
            Err(error) => {
                assert!(batch.is_empty(), "packets came with an error");
                assert!(got.error.is_none(), "a second error");
                got.error = Some(error);
            }
        }
    }
}

fn read(bytes: &[u8]) -> Got {
    read_in_steps(bytes, usize::MAX)
}

#[test]
fn every_flavour_of_pcap_gives_the_same_packets() {
    for end in [End::Little, End::Big] {
        for magic in [MICROS, NANOS, MODIFIED] {
            let got = read(&pcap(end, magic, 9));
            assert_eq!(got.packets, expected(9), "{magic:x}");
            assert!(!got.damaged() && got.warnings.is_empty());
        }
    }
    assert_eq!(read(&snoop(9)).packets, expected(9));
}

#[test]
fn sections_of_a_pcapng_keep_their_byte_order_interfaces_and_link_types() {
    let (blocks, packets) = pcapng();
    let got = read(&blocks.concat());
    assert_eq!(got.packets, packets);
    assert!(got.warnings.is_empty() && got.error.is_none(), "{got:?}");
}

#[test]
fn a_file_cut_anywhere_gives_all_packets_before_the_cut() {
    for magic in [MICROS, NANOS, MODIFIED] {
        let (file, ends) = (pcap(End::Little, magic, 6), pcap_ends(magic, 6));
        for cut in 0..=file.len() {
            let got = read(&file[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(got.packets, expected(whole as u32), "cut at {cut}");
            assert_eq!(got.error.is_none(), ends.contains(&cut), "cut at {cut}: {}", got.error());
            let empty = got.error.as_ref().is_some_and(CaptureError::is_not_a_capture);
            assert_eq!(empty, cut < 4, "cut at {cut}: {}", got.error());
        }
    }
}

#[test]
fn a_pcapng_cut_anywhere_gives_all_packets_before_the_cut() {
    let (blocks, packets) = pcapng();
    let file = blocks.concat();
    let ends: Vec<usize> = (1..=blocks.len()).map(|count| blocks[..count].concat().len()).collect();
    let packet_ends = [ends[3], ends[5], ends[9], ends[10]];
    for cut in 0..=file.len() {
        let got = read(&file[..cut]);
        let whole = packet_ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(got.packets, packets[..whole], "cut at {cut}");
        assert_eq!(got.error.is_none(), ends.contains(&cut), "cut at {cut}: {}", got.error());
    }
}

#[test]
fn a_compressed_file_cut_anywhere_gives_what_could_be_decompressed_and_an_error() {
    let file = pcap(End::Little, MICROS, 40);
    for (name, packed) in [("gzip", gzip(&file)), ("zstd", zstd(&file)), ("lz4", lz4(&file))] {
        for cut in 4..packed.len() {
            let got = read(&packed[..cut]);
            let count = got.packets.len() as u32;
            assert_eq!(got.packets, expected(count));
            assert!(got.error().contains(name), "{name} cut at {cut}: {}", got.error());
        }
        let got = read(&packed);
        assert_eq!((got.packets, got.error.is_none()), (expected(40), true), "{name}");
        let got = read(&packed[..packed.len() - 9]);
        if name == "gzip" {
            assert!(got.packets.len() > 30, "most of it was decompressed: {}", got.packets.len());
        }
    }
}

#[test]
fn damage_inside_compressed_data_costs_little_of_what_stands_before_it() {
    let mut file = pcap_header(End::Little, MICROS, 1);
    let mut noise = 1u32;
    for _ in 0..4000 {
        let data: Vec<u8> = (0..100).map(|_| (xorshift(&mut noise) >> 28) as u8).collect();
        file.extend(pcap_record(End::Little, NOW, 0, &data));
    }
    for (name, mut packed) in [("gzip", gzip(&file)), ("zstd", zstd(&file)), ("lz4", lz4(&file))] {
        let middle = packed.len() / 4 * 3;
        packed[middle..middle + 50].fill(0xff);
        let got = read(&packed);
        // zstd and lz4 lose a block of 128 or 64 KiB, or find a wrong checksum when everything was given.
        assert!((1500..=4000).contains(&got.packets.len()), "{name}: {} packets", got.packets.len());
        assert!(got.error().contains(&format!("the {name} data")), "{}", got.error());
    }
}

fn xorshift(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

#[test]
fn members_and_frames_that_follow_each_other_are_one_stream() {
    let file = pcap(End::Little, MICROS, 40);
    let (first, second) = file.split_at(333);
    for packed in [
        [gzip(first), gzip(second)].concat(),
        [zstd(first), zstd(b""), zstd(second)].concat(),
        [lz4(first), lz4(b""), lz4(second)].concat(),
    ] {
        let got = read(&packed);
        assert_eq!((got.packets, got.error.is_none()), (expected(40), true));
    }
    let got = read(&[&gzip(&file)[..], b"what is this"].concat());
    assert_eq!(got.packets, expected(40));
    assert!(got.error().contains("the gzip data is damaged"), "{}", got.error());
}

#[test]
fn any_split_of_the_input_gives_the_same() {
    let mut broken = pcap(End::Big, NANOS, 30);
    broken[500..516].fill(0xff);
    let (blocks, _) = pcapng();
    for file in [broken.clone(), gzip(&broken), lz4(&broken), blocks.concat(), snoop(20)] {
        let whole = read(&file);
        for step in [1, 2, 3, 7, 16, 100] {
            let got = read_in_steps(&file, step);
            assert_eq!(got.packets, whole.packets, "steps of {step}");
            assert_eq!(got.warnings, whole.warnings);
            assert_eq!(got.error(), whole.error());
        }
    }
}

#[test]
fn a_destroyed_record_header_costs_one_packet() {
    for magic in [MICROS, MODIFIED] {
        let mut file = pcap(End::Little, magic, 20);
        let at = pcap_ends(magic, 20)[10];
        file[at..at + 16].fill(0xff);
        let got = read(&file);
        let mut left = expected(20);
        left.remove(10);
        assert_eq!(got.packets, left);
        assert!(got.error.is_none());
        assert_eq!(got.warnings.len(), 1);
        let warning = &got.warnings[0];
        assert_eq!((warning.offset, warning.damage), (at as u64, true));
        let length = pcap_ends(magic, 20)[11] - at;
        assert!(warning.text.ends_with(&format!("; {length} bytes were skipped")), "{}", warning.text);
    }
}

#[test]
fn garbage_between_snoop_records_is_skipped() {
    let file = snoop(20);
    let at = 16 + (0..7).map(|nth| 24 + (20usize + nth * 7).next_multiple_of(4)).sum::<usize>();
    let got = read(&[&file[..at], &[0xee; 77], &file[at..]].concat());
    assert_eq!((&got.packets, got.damaged(), got.error.is_none()), (&expected(20), true, true));
}

#[test]
fn megabytes_of_garbage_are_skipped_and_the_rest_is_read() {
    let file = pcap(End::Little, MICROS, 20);
    let at = pcap_ends(MICROS, 20)[10];
    let garbage = vec![0xee; 5_000_000];
    let got = read(&[&file[..at], &garbage, &file[at..]].concat());
    assert_eq!((got.packets, got.error.is_none()), (expected(20), true));
    assert!(got.warnings[0].text.contains("5000000 bytes"), "{}", got.warnings[0].text);
}

#[test]
fn a_tail_of_zeros_is_damage_after_all_packets() {
    let file = [pcap(End::Little, MICROS, 5), vec![0; 70_000]].concat();
    let got = read(&file);
    assert_eq!(got.packets, expected(5));
    assert!(got.error().contains("zeros where a packet record should begin"), "{}", got.error());
    // The same where it is a hole in the middle.
    let more = [&file[..], &pcap(End::Little, MICROS, 5)[24..]].concat();
    let got = read(&more);
    assert_eq!(got.packets.len(), 10);
    assert!(got.error.is_none() && got.damaged());
}

#[test]
fn lengths_that_contradict_each_other_are_believed_where_a_record_follows() {
    let end = End::Little;
    let record = |caplen: u32, wire_len: u32, data: &[u8]| [&end.words(&[NOW, 0, caplen, wire_len])[..], data].concat();
    // More captured than was on the wire, as some writers have it; nothing on the wire at all; nothing captured.
    let odd = [record(4, 2, b"long"), record(3, 0, b"zero"), record(0, 99, b""), record(0, 0, b"")];
    let odd = [&odd[0][..], &odd[1][..19], &odd[2], &odd[3]].concat();
    let got = read(&[&pcap_header(end, MICROS, 1)[..], &odd].concat());
    let lengths: Vec<_> = got.packets.iter().map(|packet| (packet.3, packet.4.len())).collect();
    assert_eq!(
        lengths,
        [(2, 4), (0, 3), (99, 0), (0, 0)],
        "lengths on the wire are told as written, as Packetbeat does"
    );
    assert!(!got.damaged(), "{got:?}");
    // A captured length that leads nowhere, while the other one does.
    let mut file = pcap(end, MICROS, 20);
    let at = pcap_ends(MICROS, 20)[4];
    file[at + 8..at + 12].copy_from_slice(&19_522u32.to_le_bytes());
    let got = read(&file);
    assert_eq!(got.packets, expected(20));
    assert!(got.damaged() && got.error.is_none());
}

#[test]
fn lying_file_headers_are_read_as_far_as_they_make_sense() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = pcap(End::Little, MICROS, 5);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        read(&file)
    };
    let version = with(4, &[9, 0, 9, 0]);
    assert_eq!((version.packets.clone(), version.damaged()), (expected(5), false));
    assert!(version.warnings[0].text.contains("version 9.9"));
    for snaplen in [0u32, 1, 0x7fff_ffff, u32::MAX] {
        assert_eq!(with(16, &snaplen.to_le_bytes()).packets, expected(5), "snapshot length {snaplen}");
    }
    // Frame check sequence of 4 bytes: upper bits of the link type.
    assert_eq!(with(20, &0x4400_0001u32.to_le_bytes()).packets, expected(5));
    // Version 2.2 had the two lengths the other way round.
    let mut old = pcap(End::Little, MICROS, 5);
    old[6] = 2;
    let record = End::Little.words(&[NOW, 5000, 1000, 3]);
    let got = read(&[&old[..], &record, b"abc"].concat());
    assert_eq!(got.packets[..5], expected(5));
    assert_eq!(got.packets[5], (NOW_NANOS + 5_000_000, 1, 0, 1000, b"abc".to_vec()));
}

#[test]
fn pcap_files_joined_end_to_end_are_read_to_the_end() {
    let got = read(&[pcap(End::Little, MICROS, 3), pcap(End::Big, NANOS, 4)].concat());
    assert_eq!(got.packets, [expected(3), expected(4)].concat());
    assert!(!got.damaged() && got.warnings.len() == 1);
}

#[test]
fn a_length_on_the_wire_that_no_packet_has_is_told_once_and_does_not_count() {
    let end = End::Little;
    let packets = |told: u32| {
        let mut pcap = pcap_header(end, MICROS, 1);
        let mut pcapng = [section(end), interface(end, 1, 0, &[])].concat();
        let mut snoop = snoop(0);
        for _ in 0..2 {
            pcap.extend([&end.words(&[NOW, 0, 3, told])[..], b"abc"].concat());
            let body = [&end.words(&[0, (MICROS_NOW >> 32) as u32, MICROS_NOW as u32, 3, told])[..], b"abc"].concat();
            pcapng.extend(block(end, 6, &body));
            snoop.extend([&End::Big.words(&[told, 3, 28, 0, NOW, 0])[..], b"abc\0"].concat());
        }
        [pcap, pcapng, snoop]
    };
    for (told, counted, warnings) in [(1 << 20, 1 << 20, 0), ((1 << 20) + 1, 3, 1), (3_556_769_832, 3, 1)] {
        for (format, file) in packets(told).iter().enumerate() {
            let got = read(file);
            assert_eq!(got.packets.iter().map(|packet| packet.3).collect::<Vec<_>>(), [counted; 2], "format {format}");
            assert_eq!((got.warnings.len(), got.damaged()), (warnings, false), "format {format}: {:?}", got.warnings);
        }
    }
}

#[test]
fn a_record_up_to_the_bound_is_read_and_a_longer_one_is_damage() {
    let end = End::Little;
    let mut header = pcap_header(end, MICROS, 1);
    header[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let data = vec![7; MAX_RECORD];
    let after = pcap_record(end, NOW, 2, b"after");
    let got = read(&[&header[..], &pcap_record(end, NOW, 1, &data), &after].concat());
    assert_eq!(got.packets.iter().map(|packet| packet.4.len()).collect::<Vec<_>>(), [MAX_RECORD, 5]);
    assert!(!got.damaged());
    let data = vec![7; MAX_RECORD + 1];
    let got = read(&[&header[..], &pcap_record(end, NOW, 1, &data), &after].concat());
    assert_eq!(got.packets.iter().map(|packet| &packet.4[..]).collect::<Vec<_>>(), [b"after"]);
    assert!(got.damaged() && got.error.is_none());
}

/// A block whose length is broken in the middle of a pcapng, and what comes of it.
fn with_block_length(length: u32) -> Got {
    let end = End::Little;
    let packets: Vec<_> = (0..9).map(|nth| enhanced(end, 0, MICROS_NOW + nth, 5, b"hello")).collect();
    let mut file = [section(end), interface(end, 1, 0, &[])].concat();
    let mut broken = packets[4].clone();
    broken[4..8].copy_from_slice(&length.to_le_bytes());
    file.extend([packets[..4].concat(), broken, packets[5..].concat()].concat());
    read(&file)
}

#[test]
fn a_block_with_an_impossible_length_costs_that_block() {
    for length in [0, 7, 11, 13, 0xffff_fff0, MAX_RECORD as u32 + 4] {
        let got = with_block_length(length);
        assert_eq!((got.packets.len(), got.error.is_none()), (8, true), "length {length}");
        assert_eq!(got.warnings.len(), 1, "{:?}", got.warnings);
        assert!(got.damaged());
    }
}

#[test]
fn a_wrong_trailing_length_is_damage_but_loses_nothing_where_a_block_follows() {
    let end = End::Little;
    let mut file = [section(end), interface(end, 1, 0, &[])].concat();
    for nth in 0..5 {
        file.extend(enhanced(end, 0, MICROS_NOW + nth, 5, b"hello"));
        if nth == 2 {
            let last = file.len() - 4;
            file[last] ^= 4;
        }
    }
    let got = read(&file);
    assert_eq!((got.packets.len(), got.damaged(), got.error.is_none()), (5, true, true));
}

#[test]
fn packets_without_an_interface_are_damage_but_others_are_read() {
    let end = End::Little;
    let file = [
        section(end),
        enhanced(end, 0, MICROS_NOW, 2, b"no"),
        block(end, 3, &[2, 0, 0, 0, b'n', b'o']),
        interface(end, 1, 0, &[]),
        enhanced(end, 0, MICROS_NOW, 3, b"yes"),
        enhanced(end, 1, MICROS_NOW, 2, b"no"),
    ];
    let got = read(&file.concat());
    assert_eq!(got.packets.iter().map(|packet| &packet.4[..]).collect::<Vec<_>>(), [b"yes"]);
    assert!(got.damaged() && got.error.is_none());
}

#[test]
fn times_of_every_resolution_and_offset() {
    let end = End::Big;
    let time = |resolution: Option<u8>, offset: i64, units: u64| {
        let resolution = resolution.map(|code| option(end, 9, &[code])).unwrap_or_default();
        let options = [resolution, option(end, 14, &offset.to_be_bytes())].concat();
        let file = [section(end), interface(end, 1, 0, &options), enhanced(end, 0, units, 1, b"x")].concat();
        read(&file).packets[0].0
    };
    let second = 1_000_000_000;
    assert_eq!(time(None, 0, 1_500_000), second * 3 / 2);
    assert_eq!(time(Some(0), 0, 7), second * 7);
    assert_eq!(time(Some(3), 5, 7), second * 5 + 7_000_000);
    assert_eq!(time(Some(9), -1, 7), 7 - second);
    assert_eq!(time(Some(12), 0, 7999), 7);
    assert_eq!(time(Some(0x7f), 0, u64::MAX), 0);
    assert_eq!(time(Some(0x80 | 20), 0, 3 << 19), second * 3 / 2);
    assert_eq!(time(Some(0x80), 0, 2), second * 2);
    assert_eq!(time(Some(0xff), 0, u64::MAX), 0);
    assert_eq!(time(Some(0), 0, u64::MAX), i64::MAX);
    assert_eq!(time(Some(0), i64::MAX, u64::MAX), i64::MAX);
    assert_eq!(time(Some(6), i64::MIN, 1_000_000), i64::MIN + second);
}

#[test]
fn a_simple_packet_is_cut_by_the_snapshot_length() {
    let end = End::Little;
    let simple = block(end, 3, &[&end.u32(9)[..], b"abcd"].concat());
    let got = read(&[section(end), interface(end, 1, 3, &[]), simple].concat());
    assert_eq!(got.packets, [(0, 1, 0, 9, b"abc".to_vec())]);
}

#[test]
fn full_batches_follow_each_other_without_a_gap() {
    let file = pcap(End::Little, MICROS, 3000);
    let got = read(&file);
    assert_eq!(got.packets.len(), 3000);
    assert_eq!(got.packets, expected(3000));
}

#[test]
fn what_is_no_capture_is_told_from_what_is_damaged() {
    let reason = |bytes: &[u8]| match read(bytes).error {
        Some(CaptureError::NotACapture { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(b""), "the file is empty");
    assert_eq!(reason(b"GET / HTTP/1.1\r\n"), "it looks like text");
    assert_eq!(reason(b"BZh91AY&SY"), "it is compressed with bzip2, which is not supported");
    assert_eq!(reason(&gzip(b"some text")), "it looks like text");
    assert_eq!(reason(&gzip(&gzip(b"x"))), "it is compressed twice");
    reason(b"\n\r\r\n0123456789abcdef");
    assert!(read(&pcap(End::Little, MICROS, 0)).error.is_none(), "a header alone is an empty capture");
    assert!(read(&section(End::Big)).error.is_none());
}

#[test]
fn a_pipe_hands_packets_on_before_it_waits_for_more() {
    /// Gives its chunks one by one and fails when it is asked for more than there are.
    struct Pipe(Vec<Vec<u8>>);
    impl Read for Pipe {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let chunk = self.0.first_mut().ok_or_else(|| io::Error::other("would wait"))?;
            let count = to.len().min(chunk.len());
            to[..count].copy_from_slice(&chunk[..count]);
            chunk.drain(..count);
            if chunk.is_empty() {
                self.0.remove(0);
            }
            Ok(count)
        }
    }
    let file = pcap(End::Little, MICROS, 10);
    let ends = pcap_ends(MICROS, 10);
    let chunks = [ends[4] + 5, ends[7]].iter().fold((0, vec![]), |(from, mut chunks), to| {
        chunks.push(file[from..*to].to_vec());
        (*to, chunks)
    });
    let mut source = FileSource::from_reader(&Input::Stdin, Box::new(Pipe(chunks.1)), None).unwrap();
    assert_eq!(source.size(), None);
    let mut batch = PacketBatch::default();
    for count in [4, 3] {
        batch.clear(0);
        assert_eq!(source.next_batch(&mut batch).unwrap(), Status::More);
        assert_eq!(batch.len(), count);
    }
    batch.clear(0);
    assert!(
        matches!(source.next_batch(&mut batch), Err(CaptureError::Read { offset, .. }) if offset == ends[7] as u64)
    );
}

#[cfg(unix)]
#[test]
fn a_file_is_opened_whatever_bytes_its_name_has() {
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe.pcap"));
    let file = gzip(&pcap(End::Little, MICROS, 10));
    std::fs::write(&path, &file).unwrap();
    let mut source = FileSource::open(&Input::Path(path)).unwrap();
    let mut batch = PacketBatch::default();
    assert_eq!(source.next_batch(&mut batch).unwrap(), Status::End);
    assert_eq!(batch.len(), 10);
    assert_eq!((source.size(), source.bytes_read()), (Some(file.len() as u64), file.len() as u64));
    let missing = FileSource::open(&Input::Path(dir.path().join("missing"))).err().unwrap();
    assert!(matches!(missing, CaptureError::Open { .. }));
    assert!(FileSource::open(&Input::Path(dir.path().to_path_buf())).is_err(), "a folder is no file");
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7), failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn bytes_changed_anywhere_give_the_same_for_any_split(
        which in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let mut file = match which {
            0 => pcap(End::Little, MICROS, 30),
            1 => pcap(End::Big, MODIFIED, 30),
            2 => pcapng().0.concat().repeat(3),
            _ => snoop(30),
        };
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let got = read(&file);
        let bytes: usize = got.packets.iter().map(|packet| packet.4.len()).sum();
        prop_assert!(bytes <= file.len());
        prop_assert!(got.warnings.len() <= 17);
        let again = read_in_steps(&file, 13);
        prop_assert!(again.packets == got.packets, "{:?}\n{:?}", again.warnings, got.warnings);
        prop_assert_eq!(again.warnings, got.warnings);
    }
}
