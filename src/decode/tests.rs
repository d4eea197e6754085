//! Hand-built packets of every form, cut and damaged everywhere; fragments in any order; and, where they are beside the
//! repository, the captures of the corpus.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};

use super::meta::{Checksum, Layer, Tcp, TcpFlags, Transport, TunnelKind};
use super::*;
use crate::packet::LinkType;

const GET: &[u8] = b"GET /latest/meta-data/ HTTP/1.1\r\n\r\n";

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn be16(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap().to_be_bytes()
}

fn sum(parts: &[&[u8]]) -> [u8; 2] {
    let mut bytes = parts.concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let mut sum: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn eth(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&[2, 0, 0, 0, 0, 9], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes(), payload])
}

/// An IPv4 header with `flags` = flags and fragment offset.
fn ip4_with(id: u16, flags: u16, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let ihl = 0x45 + options.len() as u8 / 4;
    let mut header = cat(&[
        &[ihl, 0],
        &be16(20 + options.len() + payload.len()),
        &id.to_be_bytes(),
        &flags.to_be_bytes(),
        &[64, protocol, 0, 0],
        &[10, 0, 0, 1],
        &[169, 254, 169, 254],
        options,
    ]);
    let checksum = sum(&[&header]);
    header[10..12].copy_from_slice(&checksum);
    cat(&[&header, payload])
}

fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip4_with(1, 0, protocol, &[], payload)
}

fn v6(last: u16) -> [u8; 16] {
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last).octets()
}

fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    cat(&[&[0x60, 0, 0, 0], &be16(payload.len()), &[next, 64], &v6(1), &v6(0x254), payload])
}

/// A TCP segment with timestamps, from 49153 to 80; the checksum fits `ip4` or `ip6`.
fn tcp(six: bool, payload: &[u8]) -> Vec<u8> {
    let mut segment = cat(&[
        &[0xc0, 1, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x80, 0x18, 1, 2, 0, 0, 0, 0],
        &[1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4],
        payload,
    ]);
    let len = be16(segment.len());
    let checksum = if six {
        sum(&[&v6(1), &v6(0x254), &[0, 6], &len, &segment])
    } else {
        sum(&[&[10, 0, 0, 1, 169, 254, 169, 254, 0, 6], &len, &segment])
    };
    segment[16..18].copy_from_slice(&checksum);
    segment
}

fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&[0xc0, 1], &destination.to_be_bytes(), &be16(8 + payload.len()), &[0, 0], payload])
}

fn four() -> Vec<u8> {
    ip4(6, &tcp(false, GET))
}

fn six() -> Vec<u8> {
    ip6(6, &tcp(true, GET))
}

type Level = (Meta, Vec<u8>);

fn packet(link: LinkType, wire_len: usize, data: &[u8]) -> Packet<'_> {
    let time = Timestamp::new(100, 0);
    Packet { index: 5, time, link, interface: 0, wire_len: wire_len as u32, data }
}

fn feed(decoder: &mut Decoder, packet: &Packet<'_>) -> Vec<Level> {
    let mut levels = Vec::new();
    decoder.decode(packet, &mut |meta, segment| levels.push((meta.clone(), segment.to_vec())));
    assert!(!levels.is_empty(), "every packet is reported");
    for (at, (meta, _)) in levels.iter().enumerate() {
        assert_eq!(meta.innermost, at + 1 == levels.len(), "the last level, and only it, is the innermost");
    }
    levels
}

fn decode(link: LinkType, data: &[u8]) -> Vec<Level> {
    feed(&mut Decoder::new(Config::default()), &packet(link, data.len(), data))
}

fn last(levels: &[Level]) -> &Level {
    levels.last().unwrap()
}

/// Name, link type, bytes, levels, tunnels.
type Form = (&'static str, LinkType, Vec<u8>, usize, Vec<TunnelKind>);

fn links() -> Vec<Form> {
    let e = LinkType::ETHERNET;
    let none = Vec::new;
    let vlan = |inner: u16, payload: &[u8]| cat(&[&[0, 7], &inner.to_be_bytes(), payload]);
    let snap = |payload: &[u8]| cat(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], payload]);
    let sll = |arphrd: u8, arphrd_low: u8, protocol: u16, payload: &[u8]| {
        cat(&[&[0, 4, arphrd, arphrd_low, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], &protocol.to_be_bytes(), payload])
    };
    let sll2 = |protocol: u16, payload: &[u8]| {
        cat(&[&protocol.to_be_bytes(), &[0, 0, 0, 0, 0, 3, 0xff, 0xfe, 4, 6, 1, 2, 3, 4, 5, 6, 0, 0], payload])
    };
    let nflog = |lengths: fn(u16) -> [u8; 2], payload: &[u8]| {
        let length = payload.len() as u16 + 4;
        let attribute = cat(&[&lengths(8), &lengths(1), &[8, 0, 1, 0], &lengths(5), &lengths(10), &[0, 0, 0, 0]]);
        cat(&[&[2, 0, 0, 0], &attribute, &lengths(length), &lengths(9), payload])
    };
    vec![
        ("ethernet", e, eth(0x0800, &four()), 1, none()),
        ("ethernet, IPv6", e, eth(0x86dd, &six()), 1, none()),
        ("ethernet, padding and FCS", e, cat(&[&eth(0x0800, &four()), &[0xee; 11]]), 1, none()),
        ("802.1Q", e, eth(0x8100, &vlan(0x0800, &four())), 1, none()),
        ("802.1ad", e, eth(0x88a8, &vlan(0x8100, &vlan(0x86dd, &six()))), 1, none()),
        ("0x9100", e, eth(0x9100, &vlan(0x8100, &vlan(0x0800, &four()))), 2, none()),
        ("SNAP", e, eth(be16(8 + four().len()).map(u16::from)[1], &snap(&four())), 2, none()),
        ("LLC", e, eth(3 + four().len() as u16, &cat(&[&[6, 6, 3], &four()])), 2, none()),
        ("PPP", LinkType::PPP, cat(&[&[0xff, 3, 0, 0x21], &four()]), 1, none()),
        ("PPP, compressed", LinkType::PPP, cat(&[&[0x21], &four()]), 1, none()),
        ("PPP, no address", LinkType::PPP_HDLC, cat(&[&[0, 0x57], &six()]), 1, none()),
        ("SLL", LinkType::LINUX_SLL, sll(0, 1, 0x0800, &four()), 1, none()),
        ("SLL, loopback", LinkType::LINUX_SLL, sll(3, 4, 0x86dd, &six()), 1, none()),
        ("SLL, none", LinkType::LINUX_SLL, sll(0xff, 0xfe, 0x0800, &four()), 1, none()),
        ("SLL, PPP", LinkType::LINUX_SLL, sll(2, 0, 0x0800, &four()), 1, none()),
        ("SLL, VLAN", LinkType::LINUX_SLL, sll(0, 1, 0x8100, &vlan(0x0800, &four())), 1, none()),
        ("SLL, 802.2", LinkType::LINUX_SLL, sll(0, 1, 4, &snap(&four())), 1, none()),
        ("SLL2", LinkType::LINUX_SLL2, sll2(0x0800, &four()), 1, none()),
        ("NULL, little", LinkType::NULL, cat(&[&[2, 0, 0, 0], &four()]), 1, none()),
        ("NULL, big", LinkType::NULL, cat(&[&[0, 0, 0, 30], &six()]), 1, none()),
        ("LOOP", LinkType::LOOP, cat(&[&[0, 0, 0, 24], &six()]), 1, none()),
        ("raw", LinkType::RAW, four(), 1, none()),
        ("raw, BSD", LinkType::RAW_BSD, six(), 1, none()),
        ("raw, OpenBSD", LinkType::RAW_OPENBSD, four(), 1, none()),
        ("raw IPv4", LinkType::IPV4, four(), 1, none()),
        ("raw IPv6", LinkType::IPV6, six(), 1, none()),
        ("NFLOG, little", LinkType::NFLOG, nflog(u16::to_le_bytes, &four()), 1, none()),
        ("NFLOG, big", LinkType::NFLOG, nflog(u16::to_be_bytes, &six()), 1, none()),
    ]
}

fn tunnels() -> Vec<Form> {
    use TunnelKind::{Erspan, Geneve, Gre, GtpU, Gue, IpIp, L2tp, Lisp, Mpls, MplsUdp, Pppoe, Teredo, Tzsp, Vxlan};
    let e = LinkType::ETHERNET;
    let on4 = |protocol: u8, payload: &[u8]| eth(0x0800, &ip4(protocol, payload));
    let gre = |flags: u16, protocol: u16, payload: &[u8]| {
        on4(47, &cat(&[&flags.to_be_bytes(), &protocol.to_be_bytes(), payload]))
    };
    let frame = eth(0x0800, &four());
    let pppoe = |payload: &[u8]| cat(&[&[0x11, 0, 0, 1], &be16(payload.len()), payload]);
    let ppp4 = cat(&[&[0, 0x21], &four()]);
    let labels = |payload: &[u8]| cat(&[&[0, 1, 0, 64, 0, 2, 1, 64], payload]);
    let low_mac = cat(&[&[0, 0x1b], &frame[2..]]);
    let four_mac = cat(&[&[0x40, 0x1b], &frame[2..]]);
    let six_mac = cat(&[&[0x6c, 0x1b], &frame[2..]]);
    let erspan3 = cat(&[&[0, 0, 0, 1], &[0x20, 0x64, 0, 5], &[0; 8], &frame]);
    let erspan3_sub = cat(&[&[0, 0, 0, 1], &[0x20, 0x64, 0, 5], &[0; 7], &[1], &[9; 8], &frame]);
    let vxlan = |payload: &[u8]| udp(4789, &cat(&[&[8, 0, 0, 0, 0, 1, 2, 0], payload]));
    let geneve = |payload: &[u8]| udp(6081, &cat(&[&[8, 0, 8, 0, 0, 0, 1, 0], &[7; 32], payload]));
    let gtp = cat(&[&[0x30, 255], &be16(four().len()), &[0, 0, 0, 8], &four()]);
    let gtp_ext = cat(&[&[0x34, 255], &be16(8 + six().len()), &[0, 0, 0, 8, 0, 0, 0, 0x85, 1, 0, 9, 0], &six()]);
    vec![
        ("MPLS", e, eth(0x8847, &labels(&four())), 2, vec![Mpls]),
        ("MPLS, control word", e, eth(0x8847, &labels(&cat(&[&[0; 4], &frame]))), 2, vec![Mpls]),
        ("MPLS, no control word", e, eth(0x8847, &labels(&frame)), 2, vec![Mpls]),
        ("MPLS, MAC like a control word", e, eth(0x8847, &labels(&low_mac)), 2, vec![Mpls]),
        ("MPLS, MAC like IPv4", e, eth(0x8847, &labels(&four_mac)), 2, vec![Mpls]),
        ("MPLS, MAC like IPv6", e, eth(0x8847, &labels(&six_mac)), 2, vec![Mpls]),
        ("PPPoE", e, cat(&[&eth(0x8864, &pppoe(&ppp4)), &[0; 9]]), 2, vec![Pppoe]),
        ("PPPoE alone", LinkType::PPP_ETHER, pppoe(&ppp4), 1, vec![Pppoe]),
        ("PPPoE, VLAN", e, eth(0x8100, &cat(&[&[0, 7, 0x88, 0x64], &pppoe(&ppp4)])), 2, vec![Pppoe]),
        ("4 in 4", e, on4(4, &four()), 2, vec![IpIp]),
        ("6 in 4", e, on4(41, &six()), 2, vec![IpIp]),
        ("4 in 6", e, eth(0x86dd, &ip6(4, &four())), 2, vec![IpIp]),
        ("6 in 6", e, eth(0x86dd, &ip6(41, &six())), 2, vec![IpIp]),
        ("GRE", e, gre(0, 0x0800, &four()), 2, vec![Gre]),
        ("GRE, checksum, key, sequence", e, gre(0xb000, 0x86dd, &cat(&[&[1; 12], &six()])), 2, vec![Gre]),
        (
            "GRE, routing",
            e,
            gre(0x4000, 0x0800, &cat(&[&[0; 4], &[0, 2, 0, 4, 1, 1, 1, 1, 0, 0, 0, 0], &four()])),
            2,
            vec![Gre],
        ),
        ("NVGRE", e, gre(0x2000, 0x6558, &cat(&[&[1; 4], &frame])), 2, vec![Gre]),
        (
            "PPTP",
            e,
            gre(0x3001, 0x880b, &cat(&[&be16(ppp4.len() + 2), &[0, 9, 0, 0, 0, 1, 0xff, 3], &ppp4])),
            2,
            vec![Gre],
        ),
        ("MPLS in GRE", e, gre(0, 0x8847, &labels(&four())), 2, vec![Gre, Mpls]),
        ("ERSPAN I", e, gre(0, 0x88be, &frame), 2, vec![Erspan]),
        (
            "ERSPAN II",
            e,
            gre(0x1000, 0x88be, &cat(&[&[0, 0, 0, 1], &[0x10, 0x64, 0, 5], &[0; 4], &frame])),
            2,
            vec![Erspan],
        ),
        ("ERSPAN III", e, gre(0x1000, 0x22eb, &erspan3), 2, vec![Erspan]),
        ("ERSPAN III, subheader", e, gre(0x1000, 0x22eb, &erspan3_sub), 2, vec![Erspan]),
        ("VXLAN", e, on4(17, &vxlan(&frame)), 2, vec![Vxlan]),
        ("VXLAN, IPv6", e, eth(0x86dd, &ip6(17, &vxlan(&eth(0x86dd, &six())))), 2, vec![Vxlan]),
        ("VXLAN, GBP", e, on4(17, &udp(8472, &cat(&[&[0x88, 8, 0, 4, 0, 1, 2, 0], &frame]))), 2, vec![Vxlan]),
        ("VXLAN-GPE", e, on4(17, &udp(4790, &cat(&[&[0x0c, 0, 0, 1, 0, 1, 2, 0], &four()]))), 2, vec![Vxlan]),
        ("GENEVE", e, on4(17, &geneve(&four())), 2, vec![Geneve]),
        ("GTP-U", e, on4(17, &udp(2152, &gtp)), 2, vec![GtpU]),
        ("GTP-U, extension", e, on4(17, &udp(2152, &gtp_ext)), 2, vec![GtpU]),
        (
            "VXLAN-GPE, NSH",
            e,
            on4(17, &udp(4790, &cat(&[&[0x0c, 0, 0, 4, 0, 1, 2, 0], &[0, 2, 1, 1, 0, 0, 0, 1], &four()]))),
            2,
            vec![Vxlan],
        ),
        ("MPLS over UDP", e, on4(17, &udp(6635, &labels(&four()))), 2, vec![MplsUdp, Mpls]),
        ("GUE", e, on4(17, &udp(6080, &cat(&[&[0, 4, 0, 0], &four()]))), 2, vec![Gue]),
        ("GUE, version 1", e, on4(17, &udp(6080, &six())), 2, vec![Gue]),
        ("TZSP", e, on4(17, &udp(37008, &cat(&[&[1, 0, 0, 1, 10, 1, 7, 0, 1], &frame]))), 2, vec![Tzsp]),
        ("L2TPv3", e, on4(115, &cat(&[&[0, 0, 0, 9, 1, 2, 3, 4], &frame])), 2, vec![L2tp]),
        ("Teredo", e, on4(17, &udp(3544, &cat(&[&[0, 0, 1, 1, 1, 1, 1, 1], &six()]))), 2, vec![Teredo]),
        ("LISP", e, on4(17, &udp(4341, &cat(&[&[0x80, 0, 0, 0, 0, 0, 0, 1], &four()]))), 2, vec![Lisp]),
        ("VXLAN in GENEVE", e, on4(17, &geneve(&ip4(17, &vxlan(&frame)))), 3, vec![Geneve, Vxlan]),
    ]
}

fn forms() -> Vec<Form> {
    links().into_iter().chain(tunnels()).chain(ip_forms()).collect()
}

fn ip_forms() -> Vec<Form> {
    let raw = LinkType::RAW;
    let none = Vec::new;
    let segment = tcp(true, GET);
    let chain =
        cat(&[&[43, 0, 1, 4, 0, 0, 0, 0], &[60, 0, 0, 0, 0, 0, 0, 0], &[51, 1], &[1; 14], &[6, 1], &[0; 10], &segment]);
    let atomic = cat(&[&[6, 0, 0, 0, 0, 0, 0, 7], &segment]);
    let mut tso4 = four();
    tso4[2..4].copy_from_slice(&[0, 0]);
    let mut tso6 = six();
    tso6[4..6].copy_from_slice(&[0, 0]);
    let jumbo_options = cat(&[&[6, 0, 0xC2, 4, 0, 0], &be16(8 + segment.len()), &segment]);
    let mut jumbo = cat(&[&ip6(0, &jumbo_options), &[0xee; 7]]);
    jumbo[4..6].copy_from_slice(&[0, 0]);
    vec![
        ("IPv4 options", raw, ip4_with(1, 0, 6, &[1, 1, 1, 1, 7, 3, 4, 0], &tcp(false, GET)), 1, none()),
        ("IPv4, no total length", raw, tso4, 1, none()),
        ("IPv6, no payload length", raw, tso6, 1, none()),
        ("IPv6 jumbo payload", raw, jumbo, 1, none()),
        ("IPv6 extension headers", raw, ip6(0, &chain), 1, none()),
        ("IPv6 atomic fragment", raw, ip6(44, &atomic), 1, none()),
        ("IPv6 mobility", raw, ip6(135, &cat(&[&[6, 0, 0, 0, 0, 0, 0, 0], &segment])), 1, none()),
    ]
}

fn assert_is_get(name: &str, (meta, segment): &Level) {
    let expected = Tcp {
        source: 49153,
        destination: 80,
        seq: 7,
        ack: 9,
        flags: TcpFlags(0x18),
        window: 0x102,
        timestamps: Some((3, 4)),
        ..Tcp::default()
    };
    assert_eq!(meta.transport, Transport::Tcp(expected), "{name}");
    assert_eq!(meta.payload(segment), GET, "{name}");
    assert_eq!((meta.stop, meta.missing), (None, 0), "{name}");
}

#[test]
fn every_form_is_opened() {
    for (name, link, data, levels, hops) in forms() {
        let got = decode(link, &data);
        assert_is_get(name, last(&got));
        assert_eq!(got.len(), levels, "{name}");
        let (meta, segment) = last(&got);
        assert_eq!(meta.hops.iter().map(|h| h.kind).collect::<Vec<_>>(), hops, "{name}");
        let outer_length = got[0].0.wire_len as usize;
        assert_eq!(outer_length, data.len(), "{name}: the outermost level is the frame");
        let net = meta.net.unwrap();
        let ends: (IpAddr, IpAddr) = match net.source {
            IpAddr::V4(_) => (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(169, 254, 169, 254).into()),
            IpAddr::V6(_) => (v6(1).into(), v6(0x254).into()),
        };
        assert_eq!((net.source, net.destination, net.protocol, net.ttl), (ends.0, ends.1, 6, 64), "{name}");
        let header = if net.source.is_ipv6() { Checksum::Unknown } else { Checksum::Good };
        if name != "IPv4, no total length" {
            assert_eq!(net.checksum, header, "{name}");
        }
        assert_eq!(verify_checksum(meta, segment), Checksum::Good, "{name}");
    }
}

/// What is cut anywhere is read as far as it goes: never a panic, never fewer levels with more bytes, and a payload that
/// is the beginning of the whole one, with the rest announced as missing.
#[test]
fn every_form_cut_anywhere_is_read_as_far_as_it_goes() {
    for (name, link, data, levels, _) in forms() {
        let mut before = 0;
        for len in 0..data.len() {
            let mut decoder = Decoder::new(Config::default());
            let got = feed(&mut decoder, &packet(link, data.len(), &data[..len]));
            let (meta, segment) = last(&got);
            assert!(got.len() <= levels + 1, "{name} cut to {len}");
            // A heuristic (MAC or control word after MPLS) may need the whole header to tell.
            if !name.starts_with("MPLS") {
                assert!(got.len() >= before, "{name} cut to {len}: fewer levels than with one byte less");
                before = got.len();
            }
            if let (Transport::Tcp(_), None) = (meta.transport, meta.stop) {
                let payload = meta.payload(segment);
                assert!(GET.starts_with(payload), "{name} cut to {len}");
                if !name.contains("length") {
                    assert_eq!(payload.len() + meta.missing as usize, GET.len(), "{name} cut to {len}");
                }
            } else {
                // A header of a UDP tunnel that is cut cannot be told from other UDP.
                let udp = matches!(meta.transport, Transport::Udp { .. }) && meta.missing > 0;
                let stops: u64 = decoder.counters().stops().map(|(_, n)| n).sum();
                assert_eq!(stops, u64::from(!udp), "{name} cut to {len}");
            }
            // The same bytes, cut without the capture saying so.
            feed(&mut decoder, &packet(link, len, &data[..len]));
        }
    }
}

fn runner(cases: u32) -> TestRunner {
    let config = Runs { cases, failure_persistence: None, ..Runs::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]))
}

#[test]
fn damage_anywhere_is_survived() {
    let forms = forms();
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let mut decoder = Decoder::new(Config { memory: 20_000, ..Config::default() });
    let decoder = std::cell::RefCell::new(&mut decoder);
    runner(20_000)
        .run(&(0..forms.len(), damage, 0..2usize), |(form, damage, cut)| {
            let (_, link, mut data, ..) = forms[form].clone();
            for (at, value) in damage {
                *at.get_mut(&mut data) = value;
            }
            let decoder = &mut **decoder.borrow_mut();
            feed(decoder, &packet(link, data.len(), &data[..data.len() - cut * 5]));
            prop_assert!(decoder.memory() <= 20_000);
            Ok(())
        })
        .unwrap();
}

#[test]
fn levels_say_what_packetbeat_counts() {
    let frame = eth(0x0800, &four());
    let vxlan = ip4(17, &udp(4789, &cat(&[&[8, 0, 0, 0, 0, 1, 2, 0], &frame])));
    let got = decode(LinkType::ETHERNET, &eth(0x8100, &cat(&[&[0, 9, 8, 0], &vxlan])));
    let macs = Some(([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]));
    let [(outer, segment), (inner, _)] = &got[..] else { panic!("two levels") };
    assert_eq!((outer.macs, outer.vlans.ids(), outer.ethertype), (macs, &[9][..], 0x0800));
    assert_eq!(outer.ports(), Some((49153, 4789)));
    assert_eq!(outer.payload(segment).len(), 8 + frame.len());
    assert_eq!((inner.macs, inner.vlans.ids(), inner.wire_len as usize), (macs, &[][..], frame.len()));
    let hop = *inner.hops.iter().next().unwrap();
    let ends = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([169, 254, 169, 254]));
    assert_eq!((hop.ends, hop.id), (Some(ends), Some(0x102)));

    let mpls = eth(0x8100, &cat(&[&[0, 9, 0x88, 0x47], &[0, 1, 1, 64], &four()]));
    let [(outer, _), (inner, _)] = &decode(LinkType::ETHERNET, &mpls)[..] else { panic!("two levels") };
    assert_eq!((outer.macs, outer.net, outer.vlans.ids(), outer.ethertype), (macs, None, &[9][..], 0x8847));
    assert_eq!(
        (inner.macs, inner.wire_len as usize, inner.hops.iter().next().unwrap().id),
        (None, four().len(), Some(16))
    );

    let double = eth(0x9100, &cat(&[&[0, 9, 0x81, 0, 0, 7, 8, 0], &four()]));
    let [(outer, _), (inner, _)] = &decode(LinkType::ETHERNET, &double)[..] else { panic!("two levels") };
    assert_eq!((outer.macs, outer.net, outer.vlans.ids()), (macs, None, &[][..]));
    assert_eq!((inner.macs, inner.vlans.ids(), inner.wire_len as usize), (macs, &[9, 7][..], double.len()));
}

#[test]
fn what_is_not_opened_says_why() {
    let stp = eth(38, &cat(&[&[0x42, 0x42, 3], &[0; 50]]));
    let discovery = eth(0x8863, &[0x11, 9, 0, 0, 0, 0]);
    let many_tags = eth(0x8100, &cat(&[&[0, 1, 0x81, 0].repeat(9), &[0, 1, 8, 0], &four()]));
    let many_headers = ip6(60, &cat(&[&[60, 0, 0, 0, 0, 0, 0, 0].repeat(20), &tcp(true, GET)]));
    let many_tunnels = (0..5).fold(four(), |inner, _| ip4(4, &inner));
    let mut offset = tcp(false, b"");
    offset[12] = 0xf0;
    let mut short_udp = udp(53, b"x");
    short_udp[5] = 7;
    for (name, link, data, stop) in [
        ("ARP", LinkType::ETHERNET, eth(0x0806, &[0; 28]), Stop::NotIp),
        ("STP", LinkType::ETHERNET, stp, Stop::NotIp),
        ("PPPoE discovery", LinkType::ETHERNET, discovery, Stop::NotIp),
        ("LCP", LinkType::PPP, vec![0xff, 3, 0xc0, 0x21, 1], Stop::NotIp),
        ("802.11", LinkType(105), vec![0; 60], Stop::LinkType),
        ("version 9", LinkType::RAW, vec![0x95; 40], Stop::Malformed(Layer::Ip)),
        ("IPv6 by EtherType of IPv4", LinkType::ETHERNET, eth(0x0800, &six()), Stop::Malformed(Layer::Ip)),
        ("TCP offset beyond the segment", LinkType::RAW, ip4(6, &offset), Stop::Malformed(Layer::Transport)),
        ("UDP length 7", LinkType::RAW, ip4(17, &short_udp), Stop::Malformed(Layer::Transport)),
        ("half a TCP header", LinkType::RAW, ip4(6, &tcp(false, b"")[..16]), Stop::Cut(Layer::Transport)),
        ("ten tags", LinkType::ETHERNET, many_tags, Stop::TooDeep),
        ("twenty headers", LinkType::RAW, many_headers, Stop::TooDeep),
        ("five tunnels", LinkType::RAW, many_tunnels, Stop::TooDeep),
        ("nothing", LinkType::ETHERNET, vec![], Stop::Cut(Layer::Link)),
    ] {
        let mut decoder = Decoder::new(Config::default());
        let got = feed(&mut decoder, &packet(link, data.len(), &data));
        assert_eq!(last(&got).0.stop, Some(stop), "{name}");
        assert_eq!(decoder.counters().stops().collect::<Vec<_>>(), [(stop, 1)], "{name}");
    }
}

#[test]
fn an_inner_packet_that_cannot_be_read_leaves_the_outer_one() {
    let got = decode(LinkType::RAW, &ip4(17, &udp(4789, &cat(&[&[8, 0, 0, 0, 0, 1, 2, 0], &eth(0x0806, &[1; 28])]))));
    assert_eq!(got.len(), 2);
    assert_eq!((got[0].0.ports(), got[0].0.stop), (Some((49153, 4789)), None));
    assert_eq!((got[1].0.ethertype, got[1].0.stop), (0x0806, Some(Stop::NotIp)));
}

#[test]
fn other_traffic_on_tunnel_ports_stays_udp() {
    let query = b"\x08\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x00\x00\x01\x00\x01";
    let gre_keepalive = ip4(47, &[0, 0, 0, 0]);
    assert_eq!(last(&decode(LinkType::RAW, &gre_keepalive)).0.transport, Transport::Other);
    for port in [4789, 4790, 8472, 6081, 2152] {
        for payload in [&query[..], GET, b"", b"\x08", &[0xff; 40]] {
            let got = decode(LinkType::RAW, &ip4(17, &udp(port, payload)));
            assert_eq!(got.len(), 1, "port {port}");
            assert_eq!(got[0].0.payload(&got[0].1), payload, "port {port}");
        }
    }
}

#[test]
fn vxlan_is_found_on_configured_ports_and_elsewhere_if_right_to_the_byte() {
    let vxlan = |frame: &[u8]| ip4(17, &udp(4788, &cat(&[&[8, 0, 0, 0, 0, 1, 2, 0], frame])));
    let frame = eth(0x0800, &four());
    let (right, padded) = (vxlan(&frame), vxlan(&cat(&[&frame, &[0; 4]])));
    assert_eq!([&right, &padded].map(|data| decode(LinkType::RAW, data).len()), [2, 1]);
    let mut decoder = Decoder::new(Config { vxlan_ports: vec![4788], ..Config::default() });
    assert_is_get("port 4788", last(&feed(&mut decoder, &packet(LinkType::RAW, padded.len(), &padded))));
}

#[test]
fn a_syn_cut_in_its_options_still_opens_a_connection() {
    let mut segment = tcp(false, b"");
    segment[12] = 0xa0;
    segment[13] = 2;
    segment.extend([1, 3, 3, 7, 0, 0, 0, 0]);
    let data = ip4(6, &segment);
    let got = feed(&mut Decoder::new(Config::default()), &packet(LinkType::RAW, data.len(), &data[..20 + 36]));
    let (meta, segment) = last(&got);
    let Transport::Tcp(tcp) = meta.transport else { panic!("no TCP: {meta:?}") };
    assert!(tcp.flags.syn());
    assert_eq!((tcp.timestamps, tcp.window_scale), (Some((3, 4)), Some(7)));
    assert_eq!((meta.stop, meta.payload(segment)), (Some(Stop::Cut(Layer::Transport)), &b""[..]));
}

#[test]
fn options_are_read_around_unknown_and_broken_ones() {
    let with = |options: &[u8]| {
        let mut segment = tcp(false, b"")[..20].to_vec();
        segment[12] = ((20 + options.len()) as u8 / 4) << 4;
        let got = decode(LinkType::RAW, &ip4(6, &cat(&[&segment, options, GET])));
        let (meta, segment) = last(&got).clone();
        assert_eq!(meta.payload(&segment), GET);
        match meta.transport {
            Transport::Tcp(tcp) => (tcp.timestamps, tcp.window_scale),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(&[30, 4, 0, 0, 3, 3, 9, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0]), (Some((3, 4)), Some(9)));
    assert_eq!(with(&[3, 3, 9, 0, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0]), (None, Some(9)), "end of list");
    assert_eq!(with(&[3, 3, 9, 2, 0, 3, 3, 1]), (None, Some(9)), "length 0");
    assert_eq!(with(&[3, 3, 9, 8]), (None, Some(9)), "no length");
}

#[test]
fn checksums_tell_right_from_wrong() {
    let check = |data: &[u8]| {
        let got = decode(LinkType::RAW, data);
        let (meta, segment) = last(&got);
        (meta.net.unwrap().checksum, verify_checksum(meta, segment))
    };
    let mut data = four();
    data[30] ^= 1;
    assert_eq!(check(&data), (Checksum::Good, Checksum::Bad));
    data = four();
    data[8] ^= 1; // TTL
    assert_eq!(check(&data), (Checksum::Bad, Checksum::Good));
    assert_eq!(check(&ip4(17, &udp(53, b"odd"))).1, Checksum::Unknown, "UDP without checksum");
    let mut datagram = udp(53, b"odd");
    let right = sum(&[&[10, 0, 0, 1, 169, 254, 169, 254, 0, 17], &be16(datagram.len()), &datagram]);
    datagram[6..8].copy_from_slice(&right);
    assert_eq!(check(&ip4(17, &datagram)).1, Checksum::Good);
    datagram[9] ^= 1;
    assert_eq!(check(&ip4(17, &datagram)).1, Checksum::Bad);
    assert_eq!(
        check(&ip6(17, &udp(53, b"odd"))).1,
        Checksum::Bad,
        "UDP over IPv6 has a checksum (RFC 8200 section 8.1)"
    );
}

mod captures;
mod fragments;
