//! Fragments of both versions: any order, duplicates, overlaps, tunnels on either side, bounds.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;

/// A long enough request, to be cut into many pieces.
fn request() -> Vec<u8> {
    cat(&[b"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: x\r\nX-Pad: ", &[b'p'; 200], b"\r\n\r\n"])
}

/// `payload` in pieces of `size` bytes: offset, more, bytes.
fn pieces(payload: &[u8], size: usize) -> Vec<(usize, bool, Vec<u8>)> {
    let last = (payload.len() - 1) / size;
    payload.chunks(size).enumerate().map(|(i, chunk)| (i * size, i < last, chunk.to_vec())).collect()
}

fn v4_fragment(id: u16, (offset, more, data): &(usize, bool, Vec<u8>)) -> Vec<u8> {
    ip4_with(id, (*offset / 8) as u16 | if *more { 0x2000 } else { 0 }, 6, &[], data)
}

fn v6_fragment(id: u8, (offset, more, data): &(usize, bool, Vec<u8>)) -> Vec<u8> {
    let [high, low] = ((*offset as u16) | u16::from(*more)).to_be_bytes();
    ip6(44, &cat(&[&[6, 0, high, low, 0, 0, 0, id], data]))
}

fn raw(data: &[u8]) -> Packet<'_> {
    packet(LinkType::RAW, data.len(), data)
}

/// Feeds all; every packet before the last must wait.
fn feed_all(decoder: &mut Decoder, packets: &[Vec<u8>]) -> Vec<Level> {
    let (end, before) = packets.split_last().unwrap();
    for data in before {
        let got = feed(decoder, &raw(data));
        let (meta, _) = last(&got);
        assert_eq!((meta.stop, meta.transport), (Some(Stop::Fragment), Transport::None));
        assert!(meta.net.unwrap().fragment);
    }
    feed(decoder, &raw(end))
}

fn assert_whole(levels: &[Level], payload: &[u8], wire_len: usize) {
    let (meta, segment) = last(levels);
    assert_eq!(meta.stop, None);
    assert_eq!(meta.payload(segment), payload);
    let net = meta.net.unwrap();
    assert_eq!((net.fragment, net.reassembled, net.protocol), (false, true, 6));
    assert_eq!(verify_checksum(meta, segment), Checksum::Good);
    assert_eq!(meta.wire_len as usize, wire_len, "Packetbeat counts the packet that completes");
}

#[test]
fn any_order_any_size_with_duplicates() {
    let sizes = prop::sample::select(vec![8usize, 16, 24, 64, 200]);
    runner(400)
        .run(&(any::<bool>(), sizes, any::<u64>(), 0..4usize), |(six, size, seed, duplicates)| {
            let payload = tcp(six, &request());
            let mut packets: Vec<_> = pieces(&payload, size)
                .iter()
                .map(|p| if six { v6_fragment(3, p) } else { v4_fragment(3, p) })
                .collect();
            let mut seed = seed;
            let mut next = |n: usize| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as usize % n
            };
            for i in (1..packets.len()).rev() {
                packets.swap(i, next(i + 1));
            }
            for _ in 0..duplicates {
                let copy = packets[next(packets.len() - 1)].clone();
                packets.insert(next(packets.len() - 1), copy);
            }
            let mut decoder = Decoder::new(Config::default());
            let got = feed_all(&mut decoder, &packets);
            assert_whole(&got, &request(), packets.last().unwrap().len());
            let c = decoder.counters();
            prop_assert_eq!((c.fragments, c.reassembled), (packets.len() as u64, 1));
            prop_assert_eq!(decoder.memory(), 0);
            Ok(())
        })
        .unwrap();
}

#[test]
fn of_overlapping_bytes_the_first_stay_in_ipv4() {
    let payload = tcp(false, &request());
    let [a, b, c] = &pieces(&payload, 120)[..] else { panic!("three pieces") };
    let forged = (80, true, vec![b'!'; 80]);
    let packets = [v4_fragment(3, a), v4_fragment(3, c), v4_fragment(3, &forged), v4_fragment(3, b)];
    let mut decoder = Decoder::new(Config::default());
    let got = feed_all(&mut decoder, &packets);
    let (meta, segment) = last(&got);
    let mut expected = payload.clone();
    expected[120..160].fill(b'!');
    assert_eq!(segment, &expected);
    assert_eq!(verify_checksum(meta, segment), Checksum::Bad);
}

#[test]
fn overlapping_bytes_end_an_ipv6_datagram() {
    let payload = tcp(true, &request());
    let [a, b, c] = &pieces(&payload, 120)[..] else { panic!("three pieces") };
    let forged = (80, true, vec![b'!'; 80]);
    let mut decoder = Decoder::new(Config::default());
    for piece in [a, c, &forged, b] {
        let got = feed(&mut decoder, &raw(&v6_fragment(3, piece)));
        assert_eq!(last(&got).0.stop, Some(Stop::Fragment));
    }
    assert_eq!((decoder.counters().conflicting, decoder.counters().reassembled), (1, 0));
}

#[test]
fn fragments_that_contradict_each_other_end_the_datagram() {
    let mut decoder = Decoder::new(Config::default());
    for piece in [(64, false, vec![1; 8]), (128, false, vec![1; 8])] {
        feed(&mut decoder, &raw(&v4_fragment(3, &piece)));
    }
    assert_eq!((decoder.counters().conflicting, decoder.memory()), (1, 0));
    for data in [
        v4_fragment(4, &(65_528, true, vec![1; 16])),
        v4_fragment(4, &(8, true, vec![1; 7])),
        v6_fragment(4, &(8, true, vec![1; 15])),
        v4_fragment(4, &(8, false, vec![])),
    ] {
        assert_eq!(last(&feed(&mut decoder, &raw(&data))).0.stop, Some(Stop::Malformed(Layer::Ip)));
    }
    assert_eq!(decoder.memory(), 0);
}

#[test]
fn a_fragment_with_a_wrong_header_checksum_gives_way() {
    let payload = tcp(false, &request());
    let [a, b, c] = &pieces(&payload, 120)[..] else { panic!("three pieces") };
    let mut decoy = v4_fragment(3, &(0, true, vec![b'!'; 120]));
    decoy[10] ^= 0xff;
    for at in 0..3 {
        let mut packets = vec![v4_fragment(3, a), v4_fragment(3, b), v4_fragment(3, c)];
        packets.insert(at, decoy.clone());
        let got = feed_all(&mut Decoder::new(Config::default()), &packets);
        assert_whole(&got, &request(), packets[3].len());
    }
    // Where every checksum is wrong, they are offloaded.
    let packets: Vec<_> = [a, b, c].iter().map(|p| v4_fragment(3, p)).collect();
    let packets: Vec<_> = packets
        .into_iter()
        .map(|mut p| {
            p[10..12].fill(0);
            p
        })
        .collect();
    assert_whole(&feed_all(&mut Decoder::new(Config::default()), &packets), &request(), packets[2].len());
}

#[test]
fn datagrams_are_told_apart_by_id_protocol_vlan_and_tunnel() {
    let payload = tcp(false, &request());
    let all = pieces(&payload, 120);
    let ([first, ..], [.., end]) = (&all[..], &all[..]) else { panic!("pieces") };
    let tag = |id: u8, inner: &[u8]| eth(0x8100, &cat(&[&[0, id, 8, 0], inner]));
    let vxlan = |vni: u8, inner: &[u8]| {
        eth(0x0800, &ip4(17, &udp(4789, &cat(&[&[8, 0, 0, 0, 0, 0, vni, 0], &eth(0x0800, inner)]))))
    };
    let mut decoder = Decoder::new(Config::default());
    for data in [
        tag(1, &v4_fragment(3, first)),
        tag(2, &v4_fragment(3, &all[1])),
        tag(1, &v4_fragment(4, &all[1])),
        vxlan(1, &v4_fragment(3, &all[1])),
        tag(1, &v4_fragment(3, end)),
    ] {
        let got = feed(&mut decoder, &packet(LinkType::ETHERNET, data.len(), &data));
        assert_eq!(last(&got).0.stop, Some(Stop::Fragment));
    }
    let data = tag(1, &v4_fragment(3, &all[1]));
    assert_whole(&feed(&mut decoder, &packet(LinkType::ETHERNET, data.len(), &data)), &request(), data.len());
}

#[test]
fn outer_and_inner_packets_of_a_tunnel_are_both_put_together() {
    let inner: Vec<_> = pieces(&tcp(false, &request()), 120).iter().map(|p| v4_fragment(3, p)).collect();
    let mut decoder = Decoder::new(Config::default());
    let mut got = Vec::new();
    for (id, inner) in inner.iter().enumerate() {
        let datagram = udp(4789, &cat(&[&[8, 0, 0, 0, 0, 0, 1, 0], &eth(0x0800, inner)]));
        for (offset, more, data) in pieces(&datagram, 64) {
            let flags = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
            got = feed(&mut decoder, &raw(&ip4_with(100 + id as u16, flags, 17, &[], &data)));
            assert_eq!(got[0].0.stop.is_some(), more);
        }
    }
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].0.ports(), Some((49153, 4789)));
    assert!(got[0].0.net.unwrap().reassembled);
    assert_whole(&got, &request(), 14 + inner[2].len());
    assert_eq!(decoder.counters().reassembled, 4);
}

#[test]
fn extension_headers_inside_the_fragmented_part_are_read() {
    let payload = cat(&[&[6, 0, 1, 4, 0, 0, 0, 0], &tcp(true, &request())]);
    let packets: Vec<_> = pieces(&payload, 64)
        .iter()
        .map(|(offset, more, data)| {
            let [high, low] = ((*offset as u16) | u16::from(*more)).to_be_bytes();
            ip6(60, &cat(&[&[44, 0, 1, 4, 0, 0, 0, 0], &[60, 0, high, low, 0, 0, 0, 9], data]))
        })
        .collect();
    let got = feed_all(&mut Decoder::new(Config::default()), &packets);
    assert_whole(&got, &request(), packets.last().unwrap().len());
}

#[test]
fn fragments_within_fragments_are_refused() {
    let inner = cat(&[&[6, 0, 0, 1, 0, 0, 0, 1], &[7; 16]]);
    let packets: Vec<_> = pieces(&inner, 8)
        .iter()
        .map(|(offset, more, data)| {
            let [high, low] = ((*offset as u16) | u16::from(*more)).to_be_bytes();
            ip6(44, &cat(&[&[44, 0, high, low, 0, 0, 0, 9], data]))
        })
        .collect();
    let got = feed_all(&mut Decoder::new(Config::default()), &packets);
    assert_eq!(last(&got).0.stop, Some(Stop::Malformed(Layer::Ip)));
}

#[test]
fn a_first_fragment_cut_by_the_snaplen_is_read_as_far_as_it_goes() {
    let payload = tcp(false, &request());
    let data = v4_fragment(3, &pieces(&payload, 120)[0]);
    let mut decoder = Decoder::new(Config::default());
    let got = feed(&mut decoder, &packet(LinkType::RAW, data.len(), &data[..80]));
    let (meta, segment) = last(&got);
    assert_eq!((meta.ports(), meta.missing, meta.net.unwrap().fragment), (Some((49153, 80)), 60, true));
    assert_eq!(meta.payload(segment), &request()[..28]);
    assert_eq!(decoder.memory(), 0);
}

#[test]
fn what_does_not_come_in_time_expires() {
    for (six, seconds) in [(false, 30), (true, 60)] {
        let payload = tcp(six, &request());
        let packets: Vec<_> =
            pieces(&payload, 200).iter().map(|p| if six { v6_fragment(3, p) } else { v4_fragment(3, p) }).collect();
        let at = |seconds: i64, data| Packet { time: Timestamp::new(seconds, 0), ..raw(data) };
        let mut decoder = Decoder::new(Config::default());
        feed(&mut decoder, &at(0, &packets[0]));
        assert_eq!(last(&feed(&mut decoder, &at(seconds, &packets[1]))).0.stop, None, "in time");
        feed(&mut decoder, &at(0, &packets[0]));
        assert_eq!(last(&feed(&mut decoder, &at(seconds + 1, &packets[1]))).0.stop, Some(Stop::Fragment));
        assert_eq!(decoder.counters().expired, 1);
        decoder.expire(Timestamp::new(3 * seconds, 0));
        assert_eq!((decoder.counters().expired, decoder.memory()), (2, 0));
    }
}

#[test]
fn the_table_is_bounded_by_bytes_and_by_count() {
    let mut decoder = Decoder::new(Config { memory: 50_000, datagrams: 20, ..Config::default() });
    for id in 0..1000 {
        feed(&mut decoder, &raw(&v4_fragment(id, &(0, true, vec![1; 64]))));
        assert!(decoder.memory() <= 50_000);
    }
    assert_eq!(decoder.counters().evicted, 980, "by count");
    for id in 0..1000 {
        feed(&mut decoder, &raw(&v4_fragment(id, &(8, true, vec![1; 8000]))));
        assert!(decoder.memory() <= 50_000);
    }
    assert!(decoder.counters().evicted > 1980, "by bytes");
    // Many datagrams that complete leave nothing behind either.
    for id in 2000..4000u16 {
        for piece in pieces(&tcp(false, &request()), 120) {
            feed(&mut decoder, &raw(&v4_fragment(id, &piece)));
        }
    }
    assert_eq!(decoder.counters().reassembled, 2000);
    assert!(decoder.defrag.queue_len() < 500, "{}", decoder.defrag.queue_len());
}
