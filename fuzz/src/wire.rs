//! IPv4 packets with right checksums, and what can be wrapped around them: what targets build where random bytes would not get
//! past the first header.

use std::net::Ipv4Addr;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// An IPv4 address and a port.
pub type End = (Ipv4Addr, u16);

/// A TCP segment; `good` says whether its checksum is right.
pub fn tcp(from: End, to: End, (seq, ack): (u32, u32), flags: u8, payload: &[u8], good: bool) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&if flags & ACK == 0 { 0 } else { ack }.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    segment.extend_from_slice(payload);
    let sum = checksum(&[&pseudo(from, to, 6, segment.len()), &segment]) ^ if good { 0 } else { 0x5a5a };
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// A UDP datagram.
pub fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut datagram = [from.1.to_be_bytes(), to.1.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    datagram.extend_from_slice(payload);
    let sum = checksum(&[&pseudo(from, to, 17, datagram.len()), &datagram]);
    datagram[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
    datagram
}

/// An IPv4 packet; `fragment` is the word with flags and offset.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// An IPv4 packet in fragments of `size` bytes, rounded to what fragments can hold.
pub fn fragments(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, id: u16, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let size = (size & !7).max(8);
    let count = payload.len().div_ceil(size);
    let part = |(n, part): (usize, &[u8])| {
        let more = if n + 1 < count { 0x2000 } else { 0 };
        ipv4(from, to, protocol, id, more | (n * size / 8) as u16, part)
    };
    payload.chunks(size).enumerate().map(part).collect()
}

/// An Ethernet frame around an IPv4 packet, wrapped in one of [`WRAPPINGS`] ways. Both hosts are the same for all.
pub fn frame(packet: &[u8], wrapping: u8) -> Vec<u8> {
    let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let (head, body) = match wrapping % WRAPPINGS {
        1 => (vec![0x81, 0, 0, 7, 8, 0], packet.to_vec()),
        2 => (vec![0x88, 0xa8, 0, 9, 0x81, 0, 0, 7, 8, 0], packet.to_vec()),
        3 => (vec![0x88, 0x47, 0, 1, 0x00, 64, 0, 2, 0x11, 64], packet.to_vec()),
        4 => (vec![8, 0], ipv4(a, b, 47, 1, 0, &[&[0, 0, 8, 0][..], packet].concat())),
        5 => (vec![8, 0], ipv4(a, b, 4, 1, 0, packet)),
        6 => {
            let inner = [&[8, 0, 0, 0, 0, 0, 5, 0][..], &frame(packet, 0)].concat();
            (vec![8, 0], ipv4(a, b, 17, 1, 0, &udp((a, 50_000), (b, 4789), &inner)))
        }
        _ => (vec![8, 0], packet.to_vec()),
    };
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &head, &body].concat()
}

/// See [`frame`]: plain, one tag, two tags, MPLS, GRE, IP in IP, VXLAN.
pub const WRAPPINGS: u8 = 7;

fn pseudo(from: End, to: End, protocol: u8, len: usize) -> Vec<u8> {
    [&from.0.octets()[..], &to.0.octets(), &[0, protocol], &(len as u16).to_be_bytes()].concat()
}

/// Internet checksum (RFC 1071) over parts, of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
