//! The flow table against Packetbeat's rules and against a plain list.

use std::collections::BTreeMap;

use super::*;
use crate::decode::meta::Tcp;

const SECOND: i64 = Timestamp::SECOND;

fn meta(index: u64, time: i64, source: (&str, u16), destination: (&str, u16)) -> Meta {
    Meta {
        ethertype: 0x0800,
        net: Some(Net::new(source.0.parse().unwrap(), destination.0.parse().unwrap(), 6, 64)),
        transport: Transport::Tcp(Tcp { source: source.1, destination: destination.1, ..Tcp::default() }),
        ..Meta::new(index, Timestamp(time), 0, 100)
    }
}

fn table(max_flows: usize) -> Table {
    Table::new(Config { max_flows, ..Config::default() })
}

#[test]
fn both_directions_are_one_flow_and_the_first_sender_is_its_source() {
    let mut table = table(9);
    let mut out = Vec::new();
    table.touch(&meta(3, 10, ("10.0.0.9", 80), ("10.0.0.1", 999)), &mut out);
    table.touch(&meta(4, 20, ("10.0.0.1", 999), ("10.0.0.9", 80)), &mut out);
    table.touch(&meta(5, 15, ("10.0.0.9", 80), ("10.0.0.1", 999)), &mut out);
    table.finish(Timestamp(30), &mut |record| out.push(record));
    let [flow] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(flow.addresses, Some(("10.0.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap())));
    assert_eq!(flow.ports, Some((Proto::Tcp, 80, 999)));
    assert_eq!((flow.source.packets, flow.source.bytes, flow.destination.packets), (2, 200, 1));
    assert_eq!((flow.first.0, flow.last.0, flow.reported.0, flow.first_index), (10, 20, 30, 3));
    assert!(flow.last_report && table.is_empty());
}

#[test]
fn macs_vlans_and_levels_keep_flows_apart() {
    let mut table = table(9);
    let mut out = Vec::new();
    let plain = meta(0, 0, ("10.0.0.1", 1), ("10.0.0.2", 2));
    let mut routed = plain.clone();
    routed.macs = Some(([1; 6], [2; 6]));
    let mut tagged = routed.clone();
    tagged.vlans.push(7);
    for packet in [plain, routed.clone(), tagged.clone(), tagged] {
        table.touch(&packet, &mut out);
    }
    assert_eq!(table.len(), 3);
    // MACs decide the order before addresses: the same MACs with turned addresses are another flow, as in Packetbeat.
    let mut turned = meta(1, 0, ("10.0.0.2", 2), ("10.0.0.1", 1));
    turned.macs = routed.macs;
    table.touch(&turned, &mut out);
    assert_eq!(table.len(), 4);
}

#[test]
fn frames_without_addresses_count_by_macs_and_first_fragments_not_at_all() {
    let mut table = table(9);
    let mut out = Vec::new();
    let mut arp = meta(0, 0, ("10.0.0.1", 1), ("10.0.0.2", 2));
    (arp.net, arp.transport, arp.macs) = (None, Transport::None, Some(([2; 6], [255; 6])));
    table.touch(&arp, &mut out);
    let mut cooked = arp.clone();
    cooked.macs = None;
    table.touch(&cooked, &mut out);
    let mut fragment = meta(1, 0, ("10.0.0.1", 1), ("10.0.0.2", 2));
    fragment.transport = Transport::None;
    fragment.net.as_mut().unwrap().fragment = true;
    table.touch(&fragment, &mut out);
    table.finish(Timestamp(0), &mut |record| out.push(record));
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].macs, out[0].addresses, out[0].ports), (arp.macs, None, None));
}

#[test]
fn icmp_is_known_by_what_the_source_sent_last() {
    let ping = |index, source, destination, kind| Meta {
        transport: Transport::Icmp { kind, code: 0 },
        ..meta(index, 0, (source, 0), (destination, 0))
    };
    for (first, expected) in [(8, Some((8, 0))), (0, None)] {
        let mut table = table(9);
        let mut out = Vec::new();
        table.touch(&ping(0, "10.0.0.1", "10.0.0.2", first), &mut out);
        table.touch(&ping(1, "10.0.0.2", "10.0.0.1", 8 - first), &mut out);
        table.finish(Timestamp(0), &mut |record| out.push(record));
        assert_eq!((out.len(), out[0].icmp), (1, expected));
    }
}

#[test]
fn an_idle_flow_ends_and_a_busy_one_does_not() {
    let mut table = table(9);
    let mut out = Vec::new();
    for second in 0..100 {
        table.expire(Timestamp(second * SECOND), &mut |record| out.push(record));
        if second == 0 {
            table.touch(&meta(0, 0, ("10.0.0.1", 1), ("10.0.0.2", 2)), &mut out);
        }
        if second % 29 == 0 {
            table.touch(&meta(second as u64 + 1, second * SECOND, ("10.0.0.3", 1), ("10.0.0.2", 2)), &mut out);
        }
    }
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].first_index, out[0].reported), (0, Timestamp(31 * SECOND)));
    table.expire(Timestamp(1_000_000 * SECOND), &mut |record| out.push(record));
    assert_eq!((out.len(), table.len()), (2, 0));
    assert_eq!(table.stats(), Stats { begun: 2, expired: 2, evicted: 0 });
}

#[test]
fn a_full_table_ends_the_flow_that_waited_longest() {
    let mut table = table(2);
    let mut out = Vec::new();
    for (index, time) in [(0, 0), (1, 5), (2, 6)] {
        table.touch(&meta(index, time * SECOND, ("10.0.0.1", index as u16), ("10.0.0.2", 2)), &mut out);
    }
    assert_eq!(out.iter().map(|flow| flow.first_index).collect::<Vec<_>>(), [0]);
    assert_eq!((table.len(), table.stats().evicted), (2, 1));
}

#[test]
fn a_busy_flow_outlives_idle_ones_when_room_is_made() {
    let mut table = table(3);
    let mut out = Vec::new();
    let packet = |index: u64, second: i64, port| meta(index, second * SECOND, ("10.0.0.1", port), ("10.0.0.2", 2));
    table.touch(&packet(0, 0, 1), &mut out);
    table.touch(&packet(1, 1, 2), &mut out);
    table.touch(&packet(2, 9, 1), &mut out);
    table.touch(&packet(3, 9, 3), &mut out);
    table.touch(&packet(4, 9, 4), &mut out);
    assert_eq!(out.iter().map(|flow| flow.first_index).collect::<Vec<_>>(), [1]);
}

#[test]
fn periods_report_all_flows_and_delta_counts_anew() {
    for delta in [false, true] {
        let mut table = Table::new(Config { period: 10 * SECOND, delta, ..Config::default() });
        let mut out = Vec::new();
        for second in 1..=21 {
            table.expire(Timestamp(second * SECOND), &mut |record| out.push(record));
            table.touch(&meta(second as u64, second * SECOND, ("10.0.0.1", 1), ("10.0.0.2", 2)), &mut out);
        }
        let packets: Vec<_> = out.iter().map(|flow| (flow.source.packets, flow.last_report)).collect();
        assert_eq!(packets, if delta { [(9, false), (10, false)] } else { [(9, false), (19, false)] });
    }
}

/// The wheel never ends a flow early or late, whatever the order of times: compared with a plain map.
#[test]
fn agrees_with_a_plain_map() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut table = table(1 << 16);
    let mut plain: BTreeMap<u16, (i64, u64)> = BTreeMap::new();
    let (mut now, mut tick) = (1_000 * SECOND, 0);
    for index in 0..20_000 {
        now += match random(200) {
            0 => 100 * SECOND,
            1 => -(2 * SECOND),
            _ => random(500_000_000) as i64,
        };
        let mut out = Vec::new();
        if now / SECOND > tick {
            tick = now / SECOND;
            table.expire(Timestamp(now), &mut |record| out.push(record));
            let mut expected: Vec<u64> =
                plain.values().filter(|(last, _)| now / SECOND > last / SECOND + 30).map(|(_, first)| *first).collect();
            expected.sort_unstable();
            assert_eq!(out.iter().map(|flow| flow.first_index).collect::<Vec<_>>(), expected, "at {index}");
            plain.retain(|_, (last, _)| now / SECOND <= *last / SECOND + 30);
        }
        let port = random(300) as u16;
        table.touch(&meta(index, now, ("10.0.0.1", port), ("10.0.0.2", 80)), &mut out);
        let entry = plain.entry(port).or_insert((now, index));
        entry.0 = entry.0.max(now);
        assert_eq!(table.len(), plain.len());
    }
}

#[test]
fn a_flow_stays_small() {
    assert!(size_of::<Entry>() <= 144, "{}", size_of::<Entry>());
}
