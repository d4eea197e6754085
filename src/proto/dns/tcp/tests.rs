//! Framing over TCP: any split, gaps, ends, what is no DNS.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use proptest::prelude::*;

use super::super::tracker::Config;
use super::super::tracker::tests::{conn, query, response};
use super::*;
use crate::packet::Timestamp;

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

struct Run {
    parser: TcpParser,
    tracker: Tracker,
    index: u64,
    out: Vec<(u64, Vec<Note>, bool, bool)>,
}

impl Run {
    fn new() -> Self {
        Self { parser: TcpParser::new(), tracker: Tracker::new(Config::default()), index: 0, out: Vec::new() }
    }

    fn chunk(&mut self, dir: Dir, chunk: Chunk<'_>) -> &mut Self {
        let at = Context { time: Timestamp(self.index as i64), index: self.index };
        self.index += 1;
        self.parser.chunk(dir, chunk, at, &conn(Proto::Tcp), &mut self.tracker, &mut |tx, first| {
            let sides = (tx.query.as_ref(), tx.response.as_ref());
            assert!(sides.0.is_none_or(|q| q.bytes == 29) && sides.1.is_none_or(|r| r.bytes == 45));
            assert!(sides.0.or(sides.1).unwrap().time.0 == first as i64);
            self.out.push((first, tx.notes, tx.query.is_some(), tx.response.is_some()));
        });
        self
    }

    fn ask(&mut self, bytes: &[u8]) -> &mut Self {
        self.chunk(Dir::ToServer, Chunk::Data(bytes))
    }

    fn answer(&mut self, bytes: &[u8]) -> &mut Self {
        self.chunk(Dir::ToClient, Chunk::Data(bytes))
    }
}

#[test]
fn messages_are_found_in_one_segment_and_over_several() {
    let mut run = Run::new();
    run.ask(&[framed(&query(1)), framed(&query(2))].concat());
    let answers = [framed(&response(2)), framed(&response(1))].concat();
    for byte in &answers {
        run.answer(std::slice::from_ref(byte));
    }
    assert_eq!(run.out, [(0, vec![], true, true), (0, vec![], true, true)]);
    assert_eq!(run.parser.memory(), 0);
}

#[test]
fn an_unreadable_response_closes_its_query_with_a_remark() {
    let asked = || {
        let mut run = Run::new();
        run.ask(&framed(&query(1)));
        run
    };
    let closed = |note| vec![(0, vec![note], true, false)];
    assert_eq!(asked().answer(&[0, 0]).out, closed(Note::ZeroLength));
    assert_eq!(asked().answer(&framed(b"no DNS")).out, closed(Note::NonDnsResponse));
    assert_eq!(asked().answer(&framed(&response(1)[..40])).out, closed(Note::NonDnsResponse));
    let mut run = asked();
    run.answer(&framed(&response(1))[..20]).chunk(Dir::ToClient, Chunk::End(End::Fin));
    assert_eq!(run.out, closed(Note::IncompleteResponse));
    let mut run = asked();
    run.answer(&framed(&response(1))[..20]).chunk(Dir::ToClient, Chunk::Gap { len: 5, cut: false });
    assert_eq!(run.out, closed(Note::IncompleteResponse));
    // A reset says nothing, and neither does an end between messages.
    let mut run = asked();
    run.answer(&[0]).chunk(Dir::ToClient, Chunk::End(End::Reset)).chunk(Dir::ToServer, Chunk::End(End::Fin));
    assert_eq!((run.out, run.tracker.waiting()), (vec![], 1));
}

#[test]
fn after_a_gap_inside_a_message_the_next_one_is_found() {
    let stream = [framed(&response(1)), framed(&response(2))].concat();
    for (from, to, found) in [(10, 20, 1), (2, 45, 1), (1, 20, 0), (10, 46, 0), (10, 90, 0)] {
        let mut run = Run::new();
        run.answer(&stream[..from]);
        run.chunk(Dir::ToClient, Chunk::Gap { len: (to - from) as u64, cut: false });
        run.answer(&stream[to..]);
        assert_eq!(run.out.len(), found, "gap from {from} to {to}");
    }
}

#[test]
fn a_query_cut_off_is_reported_by_its_question() {
    let mut run = Run::new();
    run.parser.chunk(
        Dir::ToServer,
        Chunk::Data(&framed(&[&query(1)[..], &[0; 40]].concat())[..35]),
        Context { time: Timestamp(0), index: 0 },
        &conn(Proto::Tcp),
        &mut run.tracker,
        &mut |_, _| panic!("not complete"),
    );
    run.chunk(Dir::ToServer, Chunk::End(End::Fin));
    assert_eq!(run.tracker.waiting(), 1);
}

#[test]
fn something_else_on_the_port_is_given_up() {
    let mut run = Run::new();
    run.ask(b"GET / HTTP/1.1\r\n\r\n").ask(&[b'x'; 70_000]);
    assert!(run.parser.to_server.lost && run.parser.memory() == 0 && run.out.is_empty());
    assert_eq!(run.tracker.counters().malformed, 1);
}

#[test]
fn dns_is_told_by_its_first_message() {
    let stream = framed(&query(1));
    for len in 0..stream.len() {
        assert_eq!(probe(&stream[..len], false), Probe::More, "{len}");
    }
    assert_eq!(probe(&stream, false), Probe::Yes);
    assert_eq!(probe(b"", true), Probe::Yes);
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC", b"SSH-2.0-", &[0; 16]] {
        assert_eq!(probe(other, false), Probe::No);
    }
    assert_eq!(probe(&framed(&[0; 30]), false), Probe::No);
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(53), ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same(cuts in prop::collection::vec(0_usize..250, 0..8)) {
        let ids = 1..=4;
        let asked: Vec<u8> = ids.clone().flat_map(|id| framed(&query(id))).collect();
        let answered: Vec<u8> = ids.flat_map(|id| framed(&response(id))).collect();
        let mut run = Run::new();
        for (dir, stream) in [(Dir::ToServer, asked), (Dir::ToClient, answered)] {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % stream.len()).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                run.chunk(dir, Chunk::Data(&stream[pair[0]..pair[1]]));
            }
        }
        prop_assert_eq!(run.out.len(), 4);
        prop_assert!(run.out.iter().all(|(_, notes, query, response)| notes.is_empty() && *query && *response));
    }

    #[test]
    fn garbage_is_bounded(chunks in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0_u64..600), 0..20)) {
        let mut parser = TcpParser::new();
        let mut tracker = Tracker::new(Config::default());
        let (conn, at) = (conn(Proto::Tcp), Context { time: Timestamp(0), index: 0 });
        for (back, bytes, gap) in &chunks {
            let dir = if *back { Dir::ToClient } else { Dir::ToServer };
            parser.chunk(dir, Chunk::Data(bytes), at, &conn, &mut tracker, &mut |_, _| ());
            if *gap < 300 {
                parser.chunk(dir, Chunk::Gap { len: *gap, cut: false }, at, &conn, &mut tracker, &mut |_, _| ());
            }
            prop_assert!(parser.memory() <= 4 * 65_537);
        }
    }
}
