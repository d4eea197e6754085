//! Nanoseconds per packet of the decoder, on hand-built packets: `cargo bench --bench decode`.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use imdswatch::decode::{Config, Decoder};
use imdswatch::packet::{LinkType, Packet, Timestamp};

/// Rounds of each packet; one where `cargo test` only wants to see it run.
fn rounds() -> u32 {
    if std::env::args().any(|arg| arg == "--bench") { 4_000_000 } else { 1 }
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    packet.extend([10, 0, 0, 1, 169, 254, 169, 254]);
    packet.extend(payload);
    packet
}

fn tcp(payload: usize) -> Vec<u8> {
    let mut segment = vec![0xc0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 0];
    segment.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    segment.resize(32 + payload, b'x');
    segment
}

fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let port = destination.to_be_bytes();
    let mut datagram = vec![0xc0, 0, port[0], port[1], len[0], len[1], 0, 0];
    datagram.extend(payload);
    datagram
}

fn main() {
    let bulk = ethernet(0x0800, &ipv4(6, &tcp(1400)));
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &bulk].concat();
    let mut vlan = vec![0, 7, 8, 0];
    vlan.extend(ipv4(6, &tcp(0)));
    let cases = [
        ("tcp, no payload", ethernet(0x0800, &ipv4(6, &tcp(0)))),
        ("tcp, 1400 bytes", bulk.clone()),
        ("udp", ethernet(0x0800, &ipv4(17, &udp(53, &[0; 40])))),
        ("vlan, tcp", ethernet(0x8100, &vlan)),
        ("vxlan, tcp", ethernet(0x0800, &ipv4(17, &udp(4789, &vxlan)))),
    ];
    let rounds = rounds();
    for (name, data) in &cases {
        let mut decoder = Decoder::new(Config::default());
        let mut bytes = 0;
        let start = Instant::now();
        for index in 0..rounds {
            let packet = Packet {
                index: u64::from(index),
                time: Timestamp(0),
                link: LinkType::ETHERNET,
                interface: 0,
                wire_len: data.len() as u32,
                data: black_box(data),
            };
            decoder.decode(&packet, &mut |meta, segment| bytes += black_box(meta).payload(segment).len());
        }
        let nanos = start.elapsed().as_nanos() as f64 / f64::from(rounds);
        println!("{name:20} {nanos:6.1} ns/packet ({bytes} payload bytes)");
    }
}
