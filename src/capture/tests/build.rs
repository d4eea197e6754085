//! Capture files of every kind, made byte by byte.

use super::*;

#[derive(Clone, Copy)]
pub(super) enum End {
    Little,
    Big,
}

impl End {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(super) fn words(self, values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| self.u32(*value)).collect()
    }
}

pub(super) const MICROS: u32 = 0xa1b2_c3d4;
pub(super) const NANOS: u32 = 0xa1b2_3c4d;
pub(super) const MODIFIED: u32 = 0xa1b2_cd34;
/// A second of the year 2026.
pub(super) const NOW: u32 = 1_795_000_000;
pub(super) const NOW_NANOS: i64 = NOW as i64 * 1_000_000_000;

pub(super) fn pcap_header(end: End, magic: u32, link: u32) -> Vec<u8> {
    let version = [end.u16(2), end.u16(4)].concat();
    [&end.u32(magic)[..], &version, &end.words(&[0, 0, 65535, link])].concat()
}

pub(super) fn pcap_record(end: End, seconds: u32, fraction: u32, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    [&end.words(&[seconds, fraction, length, length])[..], data].concat()
}

/// `count` packets of different lengths, a millisecond apart in file order; the second fields of `unit` are a
/// millisecond.
pub(super) fn pcap(end: End, magic: u32, count: u32) -> Vec<u8> {
    let millisecond = if magic == NANOS { 1_000_000 } else { 1000 };
    let mut file = pcap_header(end, magic, 1);
    for nth in 0..count {
        let data = vec![nth as u8; 20 + (nth as usize * 7) % 50];
        let record = pcap_record(end, NOW, nth * millisecond, &data);
        let (header, data) = record.split_at(16);
        file.extend_from_slice(header);
        if magic == MODIFIED {
            file.extend_from_slice(&[0; 8]);
        }
        file.extend_from_slice(data);
    }
    file
}

pub(super) fn expected(count: u32) -> Vec<Seen> {
    (0..count)
        .map(|nth| {
            let data = vec![nth as u8; 20 + (nth as usize * 7) % 50];
            (NOW_NANOS + i64::from(nth) * 1_000_000, 1, 0, data.len() as u32, data)
        })
        .collect()
}

/// Where the records of `pcap(_, magic, count)` end, the header's end first.
pub(super) fn pcap_ends(magic: u32, count: u32) -> Vec<usize> {
    let header = if magic == MODIFIED { 24 } else { 16 };
    let mut ends = vec![24];
    for (_, _, _, length, _) in expected(count) {
        ends.push(ends[ends.len() - 1] + header + length as usize);
    }
    ends
}

pub(super) fn block(end: End, kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().wrapping_neg() & 3];
    let length = end.u32((12 + body.len() + padding.len()) as u32);
    [&end.u32(kind)[..], &length, body, &padding, &length].concat()
}

pub(super) fn section(end: End) -> Vec<u8> {
    let body = [&end.u32(0x1a2b_3c4d)[..], &end.u16(1), &end.u16(0), &[0xff; 8]].concat();
    block(end, 0x0a0d_0d0a, &body)
}

pub(super) fn option(end: End, code: u16, value: &[u8]) -> Vec<u8> {
    let padding = vec![0; value.len().wrapping_neg() & 3];
    [&end.u16(code)[..], &end.u16(value.len() as u16), value, &padding].concat()
}

pub(super) fn interface(end: End, link: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
    block(end, 1, &[&end.u16(link)[..], &[0, 0], &end.u32(snaplen), options].concat())
}

pub(super) fn enhanced(end: End, interface: u32, time: u64, wire_len: u32, data: &[u8]) -> Vec<u8> {
    let fields = end.words(&[interface, (time >> 32) as u32, time as u32, data.len() as u32, wire_len]);
    let padding = vec![0; data.len().wrapping_neg() & 3];
    block(end, 6, &[&fields[..], data, &padding, &option(end, 1, b"comment"), &option(end, 0, b"")].concat())
}

pub(super) const MICROS_NOW: u64 = NOW as u64 * 1_000_000;

/// Two sections of different byte order, three interfaces, every packet block, blocks and options nobody knows.
pub(super) fn pcapng() -> (Vec<Vec<u8>>, Vec<Seen>) {
    let (little, big) = (End::Little, End::Big);
    let old = {
        let fields = [&big.u16(1)[..], &big.u16(7), &big.words(&[0, NOW + 3, 3, 9])].concat();
        block(big, 2, &[&fields[..], b"old"].concat())
    };
    let blocks = vec![
        section(little),
        interface(little, 1, 0, &option(little, 2, b"eth0")),
        block(little, 0x7777, b"unknown"),
        enhanced(little, 0, MICROS_NOW, 60, b"first"),
        block(little, 5, &[0; 12]),
        block(little, 3, &[&little.u32(6)[..], b"simple"].concat()),
        section(big),
        interface(big, 101, 0, &[]),
        interface(big, 113, 4, &[option(big, 9, &[0]), option(big, 0xffff, b"?")].concat()),
        enhanced(big, 0, MICROS_NOW + 2_000_000, 3, b"raw"),
        old,
    ];
    let seconds = |count: i64| NOW_NANOS + count * 1_000_000_000;
    let packets = vec![
        (seconds(0), 1, 0, 60, b"first".to_vec()),
        (seconds(0), 1, 0, 6, b"simple".to_vec()),
        (seconds(2), 101, 1, 3, b"raw".to_vec()),
        (seconds(3), 113, 2, 9, b"old".to_vec()),
    ];
    (blocks, packets)
}

pub(super) fn snoop(count: u32) -> Vec<u8> {
    let end = End::Big;
    let mut file = [&b"snoop\0\0\0"[..], &end.words(&[2, 4])].concat();
    for (time, _, _, length, data) in expected(count) {
        let padding = vec![0; data.len().wrapping_neg() & 3];
        let whole = 24 + length + padding.len() as u32;
        let micros = (time - NOW_NANOS) / 1000;
        file.extend(end.words(&[length, length, whole, 0, NOW, micros as u32]));
        file.extend([data, padding].concat());
    }
    file
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn lz4(bytes: &[u8]) -> Vec<u8> {
    let checked = lz4_flex::frame::FrameInfo::new().content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(checked, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
