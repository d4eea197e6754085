//! Queries and responses over UDP, their remarks, their copies, and the bounds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::net::IpAddr;

use super::*;
use crate::decode::meta::{Checksum, Hop, Net, Transport, TunnelKind};

const CLIENT: &str = "10.0.0.10";
const SERVER: &str = "10.0.0.2";

/// A query for `a.example`, type A.
pub(in crate::proto::dns) fn query(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    [&[high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x07example\0\0\x01\0\x01"].concat()
}

/// Its answer.
pub(in crate::proto::dns) fn response(id: u16) -> Vec<u8> {
    let mut out = query(id);
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[7] = 1;
    out.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4]);
    out
}

fn with_edns(mut message: Vec<u8>) -> Vec<u8> {
    message[11] = 1;
    message.extend([0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 0]);
    message
}

/// From client to server, or back where `back` is set.
fn meta(index: u64, millis: i64, back: bool) -> Meta {
    let (client, server): (IpAddr, IpAddr) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
    let (source, destination) = if back { (server, client) } else { (client, server) };
    let (from, to) = if back { (53, 4000) } else { (4000, 53) };
    Meta {
        macs: Some(([1; 6], [2; 6])),
        ethertype: 0x0800,
        net: Some(Net::new(source, destination, 17, 64)),
        transport: Transport::Udp { source: from, destination: to, checksum: Checksum::Unknown },
        ..Meta::new(index, Timestamp(millis * 1_000_000), 0, 100)
    }
}

pub(in crate::proto::dns) fn conn(proto: Proto) -> Conn {
    Conn {
        client_ttl: Some(64),
        server_ttl: Some(255),
        ..Conn::between(
            Endpoint { ip: CLIENT.parse().unwrap(), port: 4000 },
            Endpoint { ip: SERVER.parse().unwrap(), port: 53 },
            proto,
        )
    }
}

struct Run {
    tracker: Tracker,
    out: Vec<(Transaction, u64)>,
}

impl Run {
    fn new() -> Self {
        let pending = Limits { timeout: 10_000_000_000, entries: 8, bytes: 1 << 20 };
        Self { tracker: Tracker::new(Config { pending, copies: 16 }), out: Vec::new() }
    }

    fn take(&mut self, meta: &Meta, payload: &[u8]) -> &mut Self {
        self.tracker.datagram(meta, payload, || conn(Proto::Udp), &mut |tx, first| self.out.push((tx, first)));
        self
    }

    fn finish(&mut self) -> Vec<(u64, Vec<Note>, bool, bool)> {
        self.tracker.finish(&mut |tx, first| self.out.push((tx, first)));
        let shape = |(tx, first): (Transaction, u64)| (first, tx.notes, tx.query.is_some(), tx.response.is_some());
        self.out.drain(..).map(shape).collect()
    }
}

#[test]
fn a_query_meets_its_response() {
    let mut run = Run::new();
    run.take(&meta(3, 0, false), &query(7)).take(&meta(4, 20, true), &response(7));
    let (tx, first) = run.out.pop().unwrap();
    assert_eq!((first, tx.question, tx.notes.len()), (3, 0, 0));
    let (query, response) = (tx.query.unwrap(), tx.response.unwrap());
    assert_eq!((query.time, query.bytes), (Timestamp(0), 27));
    assert_eq!((response.time, response.bytes), (Timestamp(20_000_000), 43));
    assert_eq!(tx.conn.client.port, 4000);
    assert_eq!(run.tracker.waiting(), 0);
}

#[test]
fn what_has_no_counterpart_is_remarked_on() {
    let mut run = Run::new();
    run.take(&meta(0, 0, false), &query(1)); // closed by the next one
    run.take(&meta(1, 10, false), &query(1)); // answered too late
    run.take(&meta(2, 20, false), &query(2)); // never answered
    run.take(&meta(3, 10_010, true), &response(1));
    run.take(&meta(4, 10_015, true), &response(9));
    assert_eq!(run.out.last().map(|(tx, _)| tx.conn.client.port), Some(4000), "a lone response is turned round");
    assert_eq!(
        run.finish(),
        [
            (0, vec![Note::DuplicateQuery], true, false),
            (1, vec![Note::NoResponse], true, false),
            (3, vec![Note::OrphanResponse], false, true),
            (4, vec![Note::OrphanResponse], false, true),
            (2, vec![Note::NoResponse], true, false),
        ]
    );
}

#[test]
fn a_lone_response_turns_the_connection_round() {
    let mut run = Run::new();
    let begun_by_the_server = conn(Proto::Udp).with_client(conn(Proto::Udp).server);
    run.tracker.datagram(&meta(0, 0, true), &response(1), || begun_by_the_server, &mut |tx, first| {
        run.out.push((tx, first));
    });
    let conn = &run.out[0].0.conn;
    assert_eq!((conn.client.port, conn.client_ttl, conn.server_ttl), (4000, Some(64), Some(255)));
}

#[test]
fn queries_expire_by_packet_time_in_order() {
    let mut run = Run::new();
    for (index, id) in [(0, 5), (1, 3), (2, 4)] {
        run.take(&meta(index, index as i64 * 1000, false), &query(id));
    }
    run.tracker.expire(Timestamp(9_999_999_999), &mut |_, _| panic!("too early"));
    run.tracker.expire(Timestamp(11_000_000_000), &mut |tx, first| run.out.push((tx, first)));
    let ids: Vec<_> = run.out.iter().map(|(tx, first)| (*first, tx.query.as_ref().unwrap().id)).collect();
    assert_eq!(ids, [(0, 5), (1, 3)]);
}

#[test]
fn sizes_and_edns_are_remarked_on_as_packetbeat_does() {
    let padded = |mut message: Vec<u8>| {
        message.resize(600, 0);
        message
    };
    let cases: [(Vec<u8>, Vec<u8>, Vec<Note>); 5] = [
        (with_edns(query(1)), response(1), vec![Note::NoEdnsSupport]),
        (query(1), with_edns(response(1)), vec![Note::UnexpectedEdns]),
        (padded(query(1)), response(1), vec![]),
        (padded(with_edns(query(1))), with_edns(response(1)), vec![Note::NonEdnsQueryTooBig]),
        (with_edns(query(1)), padded(response(1)), vec![Note::NonEdnsResponseTooBig, Note::NoEdnsSupport]),
    ];
    for (query, response, notes) in cases {
        let mut run = Run::new();
        run.take(&meta(0, 0, false), &query).take(&meta(1, 1, true), &response);
        assert_eq!(run.finish(), [(0, notes, true, true)]);
    }
}

#[test]
fn one_transaction_for_each_question() {
    let mut two = query(1);
    two[5] = 2;
    two.extend(b"\x01b\xC0\x0E\0\x1C\0\x01");
    let mut run = Run::new();
    run.take(&meta(0, 0, false), &two).take(&meta(1, 1, true), &response(1));
    let names: Vec<_> = run.out.iter().map(|(tx, _)| tx.asked().unwrap().name.to_string()).collect();
    assert_eq!(names, ["a.example", "b.example"]);

    let mut many = query(1);
    many[5] = 200;
    many.extend(b"\0\0\x01\0\x01".repeat(199));
    run.out.clear();
    run.take(&meta(2, 2, false), &many);
    assert_eq!(run.finish().len(), MAX_QUESTIONS);
    assert_eq!(run.tracker.counters().questions_left_out, 200 - MAX_QUESTIONS as u64);
}

#[test]
fn a_copy_by_another_way_is_no_second_query() {
    let base = meta(0, 0, false);
    let mut vlan = meta(1, 1, false);
    vlan.vlans.push(7);
    let mut macs = meta(1, 1, false);
    macs.macs = Some(([3; 6], [4; 6]));
    let mut ttl = meta(1, 1, false);
    ttl.net.as_mut().unwrap().ttl = 63;
    let mut interface = meta(1, 1, false);
    interface.interface = 1;
    let mut tunnel = meta(1, 1, false);
    tunnel.hops.push(Hop { kind: TunnelKind::Gre, ends: None, id: None });
    for way in [vlan, macs, ttl, interface, tunnel] {
        let mut run = Run::new();
        run.take(&base, &query(1)).take(&way, &query(1)).take(&meta(2, 2, true), &response(1));
        assert_eq!(run.finish(), [(0, vec![], true, true)]);
        assert_eq!(run.tracker.counters().copies, 1);
        // Later it is a repetition by the sender, and by the same way always.
        let late = Meta { time: Timestamp(1_500_000_000), index: 9, ..way };
        let mut run = Run::new();
        run.take(&base, &query(1)).take(&late, &query(1)).take(&Meta { index: 10, ..late }, &query(1));
        let notes: Vec<_> = run.finish().into_iter().map(|(first, notes, ..)| (first, notes)).collect();
        assert_eq!(
            notes,
            [(0, vec![Note::DuplicateQuery]), (9, vec![Note::DuplicateQuery]), (10, vec![Note::NoResponse])]
        );
    }
}

#[test]
fn a_damaged_message_stands_alone_but_a_cut_one_is_paired() {
    let damaged = |mut message: Vec<u8>| {
        let len = message.len();
        message[len - 5] = 9; // the answer's length
        message
    };
    let mut run = Run::new();
    run.take(&meta(0, 0, false), &query(1)).take(&meta(1, 1, true), &damaged(response(1)));
    run.take(&meta(2, 2, true), &response(1));
    assert_eq!(run.finish(), [(1, vec![Note::NonDnsResponse], false, true), (0, vec![], true, true)]);
    let mut run = Run::new();
    let cut = Meta { missing: 4, ..meta(1, 1, true) };
    run.take(&meta(0, 0, false), &query(1)).take(&cut, &response(1)[..39]);
    assert_eq!(run.out[0].0.response.as_ref().map(|r| (r.bytes, r.partial)), Some((43, true)));
    assert_eq!(run.finish(), [(0, vec![], true, true)]);
    run.take(&meta(2, 2, false), b"not DNS at all").take(&meta(3, 3, false), b"");
    assert_eq!((run.finish(), run.tracker.counters().malformed), (vec![], 2));
}

#[test]
fn multicast_is_not_paired() {
    let group = |meta: Meta| {
        let mut meta = meta;
        meta.net.as_mut().unwrap().destination = "224.0.0.251".parse().unwrap();
        meta.transport = Transport::Udp { source: 5353, destination: 5353, checksum: Checksum::Unknown };
        meta
    };
    let mut run = Run::new();
    run.take(&group(meta(0, 0, false)), &query(0)).take(&group(meta(1, 1, true)), &response(0));
    assert_eq!(run.finish(), [(0, vec![], true, false), (1, vec![], false, true)]);
}

#[test]
fn tables_are_bounded() {
    let mut run = Run::new();
    for id in 0..200 {
        run.take(&meta(u64::from(id), 0, false), &query(id));
        assert!(run.tracker.waiting() <= 8);
        assert!(run.tracker.copies.seen.len() <= 16 && run.tracker.copies.order.len() <= 16);
    }
    assert!(run.finish().into_iter().map(|(first, ..)| first).eq(0..200));
    assert_eq!(run.tracker.counters().evicted, 192);
}
