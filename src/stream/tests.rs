//! Reassembly as a receiver does it: one test per rule, and a naive model against any order and any split.

mod model;

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::decode::meta::{Checksum, TcpFlags};

const CLIENT_ISN: u32 = 1000;
const SERVER_ISN: u32 = 5000;
const REAL: &[u8] =
    b"GET /latest/meta-data/iam/security-credentials/demo-web-role HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
const DECOY: &[u8] =
    b"GET /index.html?harmless-page-nothing-to-see-here-at-all-rea HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";

/// One connection, and what came out of it.
struct Wire {
    connection: Connection,
    limits: Limits,
    index: u64,
    time: i64,
    client_isn: u32,
    server_isn: u32,
    chunks: Vec<(Dir, Out, Context)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Out {
    Data(Vec<u8>),
    Conflict(Vec<u8>, Vec<u8>),
    Reread(Vec<u8>),
    Gap(u64, bool),
    End(End),
}

/// One segment, relative to the initial sequence numbers: 1 is the first byte.
#[derive(Clone, Copy)]
struct Seg<'a> {
    dir: Dir,
    seq: u32,
    ack: u32,
    flags: u8,
    data: &'a [u8],
    missing: u32,
    window: u16,
    urgent: u16,
    stamp: Option<u32>,
    scale: Option<u8>,
    ttl: u8,
    sum: Checksum,
    ip_sum: Checksum,
}

fn client(seq: u32, ack: u32, data: &[u8]) -> Seg<'_> {
    Seg {
        dir: Dir::ToServer,
        seq,
        ack,
        flags: TcpFlags::ACK,
        data,
        missing: 0,
        window: 64240,
        urgent: 0,
        stamp: None,
        scale: None,
        ttl: 64,
        sum: Checksum::Good,
        ip_sum: Checksum::Good,
    }
}

fn server(seq: u32, ack: u32, data: &[u8]) -> Seg<'_> {
    Seg { dir: Dir::ToClient, ..client(seq, ack, data) }
}

impl<'a> Seg<'a> {
    fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }
}

impl Wire {
    fn new() -> Self {
        Self {
            connection: Connection::new(),
            limits: Limits::default(),
            index: 0,
            time: 0,
            client_isn: CLIENT_ISN,
            server_isn: SERVER_ISN,
            chunks: Vec::new(),
        }
    }

    /// After a handshake.
    fn open() -> Self {
        let mut wire = Self::new();
        wire.handshake();
        wire
    }

    fn handshake(&mut self) {
        assert_eq!(self.send(client(0, 0, b"").flags(TcpFlags::SYN)), Verdict::Taken);
        assert_eq!(self.send(server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK)), Verdict::Taken);
        assert_eq!(self.send(client(1, 1, b"")), Verdict::Taken);
    }

    fn send(&mut self, seg: Seg<'_>) -> Verdict {
        let (own, peer) = match seg.dir {
            Dir::ToServer => (self.client_isn, self.server_isn),
            Dir::ToClient => (self.server_isn, self.client_isn),
        };
        let net = Net {
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
            protocol: 6,
            ttl: seg.ttl,
            checksum: seg.ip_sum,
            fragment: false,
            reassembled: false,
        };
        let tcp = Tcp {
            source: 40000,
            destination: 80,
            seq: own.wrapping_add(seg.seq),
            ack: peer.wrapping_add(seg.ack),
            flags: TcpFlags(seg.flags),
            window: seg.window,
            urgent: seg.urgent,
            timestamps: seg.stamp.map(|value| (value, 0)),
            window_scale: seg.scale,
            checksum: Checksum::Unknown,
        };
        self.index += 1;
        self.time += 1_000_000;
        let at = Context { time: Timestamp(self.time), index: self.index };
        let segment = Segment { dir: seg.dir, net: &net, tcp: &tcp, payload: seg.data, missing: seg.missing, at };
        let chunks = &mut self.chunks;
        self.connection
            .segment(&segment, &self.limits, || seg.sum, &mut |dir, chunk, at| record(chunks, dir, chunk, at))
    }

    fn finish(&mut self) {
        let at = Context { time: Timestamp(self.time), index: u64::MAX };
        let chunks = &mut self.chunks;
        self.connection.finish(End::Lost, at, &self.limits, &mut |dir, chunk, at| record(chunks, dir, chunk, at));
    }

    /// Everything that came out of one direction, neighbouring data joined.
    fn got(&self, dir: Dir) -> Vec<Out> {
        let mut joined: Vec<Out> = Vec::new();
        for (_, out, _) in self.chunks.iter().filter(|(d, ..)| *d == dir) {
            match (joined.last_mut(), out) {
                (Some(Out::Data(bytes)), Out::Data(more)) => bytes.extend_from_slice(more),
                _ => joined.push(out.clone()),
            }
        }
        joined
    }

    fn requests(&self) -> Vec<Out> {
        self.got(Dir::ToServer)
    }
}

fn record(chunks: &mut Vec<(Dir, Out, Context)>, dir: Dir, chunk: Chunk<'_>, at: Context) {
    let out = match chunk {
        Chunk::Data(bytes) => Out::Data(bytes.to_vec()),
        Chunk::Conflict { taken, other } => Out::Conflict(taken.to_vec(), other.to_vec()),
        Chunk::Reread { other } => Out::Reread(other.to_vec()),
        Chunk::Gap { len, cut } => Out::Gap(len, cut),
        Chunk::End(end) => Out::End(end),
    };
    chunks.push((dir, out, at));
}

fn data(bytes: &[u8]) -> Out {
    Out::Data(bytes.to_vec())
}

#[test]
fn an_idle_connection_is_small() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, REAL));
    wire.send(server(1, 1 + REAL.len() as u32, b"HTTP/1.1 200 OK\r\n\r\n"));
    assert!(wire.connection.memory() <= 272, "{} bytes", wire.connection.memory());
}

#[test]
fn bytes_in_order_come_out_at_once_with_their_own_packet() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"GET "));
    wire.send(client(5, 1, b"/"));
    let at: Vec<_> = wire.chunks.iter().map(|(dir, out, at)| (*dir, out.clone(), at.index)).collect();
    assert_eq!(at, [(Dir::ToServer, data(b"GET "), 4), (Dir::ToServer, data(b"/"), 5)]);
}

#[test]
fn out_of_order_segments_come_out_in_order_when_the_hole_is_filled() {
    let mut wire = Wire::open();
    wire.send(client(9, 1, b"cc"));
    wire.send(client(5, 1, b"bbbb"));
    wire.send(server(1, 1, b""));
    assert_eq!(wire.requests(), []);
    wire.send(client(1, 1, b"aaaa"));
    assert_eq!(wire.requests(), [data(b"aaaabbbbcc")]);
    assert!(wire.chunks.iter().all(|(_, _, at)| at.index == 7));
}

#[test]
fn sequence_numbers_wrap() {
    let mut wire = Wire { client_isn: u32::MAX, server_isn: u32::MAX - 3, ..Wire::new() };
    wire.handshake();
    wire.send(client(5, 1, b"bbbb"));
    wire.send(client(1, 1, b"aaaa"));
    wire.send(server(1, 9, b"answer"));
    assert_eq!(wire.requests(), [data(b"aaaabbbb")]);
    assert_eq!(wire.got(Dir::ToClient), [data(b"answer")]);
}

#[test]
fn a_retransmission_after_the_answer_is_not_a_second_request() {
    let mut wire = Wire::open();
    let end = 1 + REAL.len() as u32;
    wire.send(client(1, 1, REAL));
    wire.send(server(1, end, b"answer"));
    wire.send(client(end, 7, b""));
    assert_eq!(wire.send(client(1, 7, REAL)), Verdict::Ignored(Reason::Duplicate));
    assert_eq!(wire.requests(), [data(REAL)]);
}

#[test]
fn every_packet_twice_changes_nothing() {
    let mut wire = Wire::new();
    for seg in [
        client(0, 0, b"").flags(TcpFlags::SYN),
        server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK),
        client(1, 1, b""),
        client(5, 1, b"/x"),
        client(1, 1, b"GET "),
        server(1, 7, b"answer").flags(TcpFlags::ACK | TcpFlags::FIN),
        client(7, 8, b"").flags(TcpFlags::ACK | TcpFlags::FIN),
        server(8, 8, b""),
    ] {
        assert_ne!(wire.send(seg), Verdict::NewConnection);
        assert_ne!(wire.send(Seg { ttl: 63, ..seg }), Verdict::NewConnection);
    }
    assert_eq!(wire.requests(), [data(b"GET /x"), Out::End(End::Fin)]);
    assert_eq!(wire.got(Dir::ToClient), [data(b"answer"), Out::End(End::Fin)]);
    assert!(wire.connection.closed());
}

#[test]
fn a_longer_segment_with_the_same_start_replaces_one_that_waits() {
    let mut wire = Wire::open();
    wire.send(client(5, 1, &DECOY[4..62]));
    wire.send(client(5, 1, &REAL[4..]));
    wire.send(client(1, 1, &REAL[..4]));
    let mut other = REAL[4..].to_vec();
    other[..58].copy_from_slice(&DECOY[4..62]);
    assert_eq!(wire.requests(), [data(b"GET "), Out::Conflict(REAL[4..].to_vec(), other)]);
}

#[test]
fn a_segment_inside_one_that_waits_is_dropped() {
    let mut wire = Wire::open();
    wire.send(client(5, 1, b"bbbbbb"));
    wire.send(client(6, 1, b"xx"));
    wire.send(client(1, 1, b"aaaa"));
    assert_eq!(wire.requests(), [data(b"aaaa"), Out::Conflict(b"bbbbbb".to_vec(), b"bxxbbb".to_vec())]);
}

#[test]
fn of_partly_overlapping_segments_the_one_that_starts_first_wins() {
    let mut wire = Wire::open();
    wire.send(client(7, 1, b"cccc"));
    wire.send(client(5, 1, b"bbbb"));
    wire.send(client(1, 1, b"aaaa"));
    let got = [data(b"aaaa"), Out::Conflict(b"bbbb".to_vec(), b"bbcc".to_vec()), data(b"cc")];
    assert_eq!(wire.requests(), got);
}

#[test]
fn a_segment_that_covers_others_replaces_them() {
    let mut wire = Wire::open();
    wire.send(client(6, 1, b"x"));
    wire.send(client(8, 1, b"y"));
    wire.send(client(5, 1, b"bbbbbb"));
    wire.send(client(1, 1, b"aaaa"));
    assert_eq!(wire.requests(), [data(b"aaaa"), Out::Conflict(b"bbbbbb".to_vec(), b"bxbybb".to_vec())]);
}

#[test]
fn overlaps_with_the_same_bytes_are_no_conflict() {
    let mut wire = Wire::open();
    wire.send(client(7, 1, b"ghij"));
    wire.send(client(5, 1, b"efgh"));
    wire.send(client(1, 1, b"abcdef"));
    assert_eq!(wire.requests(), [data(b"abcdefghij")]);
}

#[test]
fn bytes_sent_again_with_other_content_after_the_acknowledgement_are_ignored() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, &DECOY[..62]));
    wire.send(server(1, 63, b""));
    wire.send(client(5, 1, &REAL[4..62]));
    wire.send(client(5, 1, &REAL[4..]));
    let mut taken = DECOY[..62].to_vec();
    taken.extend_from_slice(&REAL[62..]);
    assert_eq!(wire.requests(), [data(&taken)]);
}

#[test]
fn bytes_sent_again_with_other_content_before_the_acknowledgement_are_a_second_reading() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, &DECOY[..62]));
    wire.send(client(1, 1, REAL));
    let mut taken = DECOY[..62].to_vec();
    taken.extend_from_slice(&REAL[62..]);
    assert_eq!(wire.requests(), [data(&taken), Out::Reread(REAL.to_vec())]);
}

#[test]
fn a_segment_that_the_network_threw_away_does_not_wait() {
    let mut wire = Wire::open();
    wire.send(client(5, 1, &DECOY[4..]));
    wire.connection.time_exceeded(Dir::ToServer, CLIENT_ISN + 5);
    wire.send(client(5, 1, &REAL[4..10]));
    wire.send(client(1, 1, &REAL[..4]));
    assert_eq!(wire.requests(), [data(&REAL[..10])]);
}

/// The decoy is left out, the real request taken, and the answer after it.
fn real_wins(mut wire: Wire, seq: u32, decoy: Seg<'_>, reason: Reason) {
    assert_eq!(wire.send(decoy), Verdict::Ignored(reason));
    wire.send(client(seq, 1, REAL));
    wire.send(server(1, seq + REAL.len() as u32, b"answer"));
    wire.send(client(seq + REAL.len() as u32, 7, b""));
    assert_eq!(wire.requests().last(), Some(&data(REAL)));
    assert_eq!(wire.got(Dir::ToClient), [data(b"answer")]);
}

#[test]
fn decoys_are_left_out() {
    let bad = Checksum::Bad;
    real_wins(Wire::open(), 1, Seg { sum: bad, ..client(1, 1, DECOY) }, Reason::Checksum);
    real_wins(Wire::open(), 1, Seg { ip_sum: bad, ..client(1, 1, DECOY) }, Reason::Checksum);
    real_wins(Wire::open(), 1, Seg { ttl: 3, ..client(1, 1, DECOY) }, Reason::Ttl);
    real_wins(Wire::open(), 1, client(1, 900_001, DECOY), Reason::Ack);
    real_wins(Wire::open(), 1, client(1, 2, DECOY), Reason::Ack);
    real_wins(Wire::open(), 1, client(1, 1, DECOY).flags(TcpFlags::PSH), Reason::NoAck);
    real_wins(Wire::open(), 1, client(5_000_001, 1, DECOY), Reason::Window);
    real_wins(Wire::open(), 1, client(1, 1u32.wrapping_sub(1 << 20), DECOY), Reason::NoAck);
}

#[test]
fn a_decoy_with_an_old_timestamp_is_left_out() {
    let mut wire = Wire::new();
    wire.send(Seg { stamp: Some(1000), ..client(0, 0, b"").flags(TcpFlags::SYN) });
    wire.send(Seg { stamp: Some(77), ..server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK) });
    wire.send(Seg { stamp: Some(6000), ..client(1, 1, b"    ") });
    let decoy = Seg { stamp: Some(3), ..client(5, 1, DECOY) };
    assert_eq!(wire.send(decoy), Verdict::Ignored(Reason::Timestamp));
    wire.send(Seg { stamp: Some(6000), ..client(5, 1, REAL) });
    assert_eq!(wire.requests(), [data(&[b"    ", REAL].concat())]);
}

#[test]
fn wrong_checksums_throughout_mean_offload() {
    let mut wire = Wire::new();
    for seg in [
        client(0, 0, b"").flags(TcpFlags::SYN),
        server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK),
        client(1, 1, b""),
        client(1, 1, REAL),
    ] {
        wire.send(Seg { sum: Checksum::Bad, ip_sum: Checksum::Bad, ..seg });
    }
    assert_eq!(wire.requests(), [data(REAL)]);
}

#[test]
fn a_doubted_segment_that_the_receiver_acknowledges_was_taken() {
    let mut wire = Wire::open();
    assert_eq!(wire.send(Seg { sum: Checksum::Bad, ..client(1, 1, REAL) }), Verdict::Ignored(Reason::Checksum));
    wire.send(server(1, 1 + REAL.len() as u32, b"answer"));
    assert_eq!(wire.requests(), [data(REAL)]);
    assert_eq!(wire.chunks.first().map(|(dir, ..)| *dir), Some(Dir::ToServer));
}

#[test]
fn data_on_a_syn_is_taken_only_when_acknowledged() {
    for acked in [false, true] {
        let mut wire = Wire::new();
        wire.send(client(0, 0, DECOY).flags(TcpFlags::SYN));
        let ack = if acked { 1 + DECOY.len() as u32 } else { 1 };
        wire.send(server(0, ack, b"").flags(TcpFlags::SYN | TcpFlags::ACK));
        wire.send(client(ack, 1, REAL));
        let want = if acked { [DECOY, REAL].concat() } else { REAL.to_vec() };
        assert_eq!(wire.requests(), [data(&want)]);
    }
}

#[test]
fn keep_alives_bring_nothing() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"GET /"));
    wire.send(client(5, 1, b""));
    wire.send(client(5, 1, b"\0"));
    wire.send(server(1, 6, b""));
    wire.send(client(5, 1, b"\0"));
    wire.send(client(6, 1, b"x"));
    assert_eq!(wire.requests(), [data(b"GET /x")]);
}

#[test]
fn the_urgent_byte_is_out_of_band() {
    let mut wire = Wire::open();
    let urg = TcpFlags::ACK | TcpFlags::URG;
    wire.send(Seg { urgent: 3, ..client(1, 1, b"abX").flags(urg) });
    wire.send(Seg { urgent: 1, ..client(4, 1, b"Xcd").flags(urg) });
    wire.send(Seg { urgent: 9, ..client(7, 1, b"ef").flags(urg) });
    wire.send(client(9, 1, b"ghijklX"));
    assert_eq!(wire.requests(), [data(b"abcdefghijkl")]);
}

#[test]
fn an_urgent_byte_in_a_segment_that_waits_is_out_of_band_too() {
    let mut wire = Wire::open();
    wire.send(Seg { urgent: 2, ..client(3, 1, b"cXd").flags(TcpFlags::ACK | TcpFlags::URG) });
    wire.send(client(1, 1, b"ab"));
    assert_eq!(wire.requests(), [data(b"abcd")]);
}

#[test]
fn only_an_exact_rst_ends_the_stream() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"GET /"));
    assert_eq!(wire.send(client(9_000_001, 0, b"").flags(TcpFlags::RST)), Verdict::Ignored(Reason::Reset));
    assert_eq!(wire.send(client(20, 0, b"").flags(TcpFlags::RST)), Verdict::Ignored(Reason::Reset));
    wire.send(client(6, 1, b"x"));
    assert_eq!(wire.send(client(7, 0, b"").flags(TcpFlags::RST)), Verdict::Taken);
    assert!(wire.connection.closed());
    assert_eq!(wire.send(client(7, 1, b"y")), Verdict::Ignored(Reason::Closed));
    // What the server had sent by then is in the capture, and was sent for all the client says.
    wire.send(server(1, 7, b"answer"));
    wire.finish();
    assert_eq!(wire.requests(), [data(b"GET /x"), Out::End(End::Reset)]);
    assert_eq!(wire.got(Dir::ToClient), [data(b"answer"), Out::End(End::Reset)]);
}

#[test]
fn a_refused_connection_says_so() {
    let mut wire = Wire::new();
    wire.send(client(0, 0, b"").flags(TcpFlags::SYN));
    assert!(wire.connection.syn_only() && !wire.connection.refused());
    wire.server_isn = 0;
    wire.send(server(0, 1, b"").flags(TcpFlags::RST | TcpFlags::ACK));
    assert!(wire.connection.syn_only() && wire.connection.refused() && wire.connection.closed());
}

#[test]
fn a_fin_with_data_ends_after_the_data() {
    let mut wire = Wire::open();
    wire.send(client(5, 1, b"/").flags(TcpFlags::ACK | TcpFlags::FIN));
    wire.send(client(1, 1, b"GET "));
    assert_eq!(wire.send(client(6, 1, b"more")), Verdict::Ignored(Reason::Closed));
    assert_eq!(wire.requests(), [data(b"GET /")]);
    wire.send(server(1, 7, b""));
    assert_eq!(wire.requests(), [data(b"GET /"), Out::End(End::Fin)]);
}

#[test]
fn the_end_of_a_stream_that_goes_on_was_meant_for_the_observer() {
    for flag in [TcpFlags::FIN, TcpFlags::RST] {
        let mut wire = Wire::open();
        wire.send(client(1, 1, &REAL[..20]));
        wire.send(server(1, 21, b""));
        wire.send(client(21, 1, b"").flags(TcpFlags::ACK | flag));
        assert_eq!(wire.send(client(21, 1, &REAL[20..])), Verdict::Ignored(Reason::Closed));
        wire.send(server(1, 1 + REAL.len() as u32, b"answer"));
        assert_eq!(wire.requests(), [data(REAL)]);
        assert_eq!(wire.got(Dir::ToClient), [data(b"answer")]);
        assert!(!wire.connection.closed());
    }
}

#[test]
fn checksums_that_a_driver_has_spoilt_delay_only_until_the_acknowledgement() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"first "));
    wire.send(server(1, 7, b""));
    assert_eq!(
        wire.send(Seg { ip_sum: Checksum::Bad, ..client(7, 1, b"second ") }),
        Verdict::Ignored(Reason::Checksum)
    );
    wire.send(server(1, 14, b""));
    assert_eq!(wire.send(Seg { ip_sum: Checksum::Bad, ..client(14, 1, b"third") }), Verdict::Taken);
    assert_eq!(wire.requests(), [data(b"first second third")]);
}

#[test]
fn stragglers_of_an_older_connection_do_not_disturb_a_new_one() {
    let mut wire = Wire::new();
    wire.send(client(0, 0, b"").flags(TcpFlags::SYN));
    assert_eq!(wire.send(server(7_000_000, 9_000_000, b"")), Verdict::Ignored(Reason::Ack));
    wire.send(server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK));
    wire.send(client(1, 1, REAL));
    wire.send(server(1, 1 + REAL.len() as u32, b"answer"));
    assert_eq!((wire.requests(), wire.got(Dir::ToClient)), (vec![data(REAL)], vec![data(b"answer")]));
}

#[test]
fn the_ports_used_again_are_a_new_connection_but_a_repeated_syn_is_not() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, REAL).flags(TcpFlags::ACK | TcpFlags::FIN));
    assert_eq!(wire.send(client(0, 0, b"").flags(TcpFlags::SYN)), Verdict::Ignored(Reason::Duplicate));
    let end = 2 + REAL.len() as u32;
    wire.send(server(1, end, b"").flags(TcpFlags::ACK | TcpFlags::FIN));
    assert_eq!(wire.send(client(700_000, 0, b"").flags(TcpFlags::SYN)), Verdict::NewConnection);
}

#[test]
fn a_syn_inside_a_connection_counts_only_when_it_is_answered() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"GET "));
    assert_eq!(wire.send(client(700_000, 0, b"").flags(TcpFlags::SYN)), Verdict::Ignored(Reason::Syn));
    wire.send(client(5, 1, b"/"));
    assert_eq!(wire.requests(), [data(b"GET /")]);
    let answer = server(900_000, 700_001, b"").flags(TcpFlags::SYN | TcpFlags::ACK);
    assert_eq!(wire.send(answer), Verdict::NewConnection);
}

#[test]
fn a_hole_that_nobody_acknowledged_was_never_received() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, &REAL[..20]));
    wire.send(server(1, 21, b""));
    wire.send(client(41, 1, &REAL[40..]));
    for _ in 0..50 {
        wire.send(server(1, 21, b""));
    }
    wire.finish();
    assert_eq!(wire.requests(), [data(&REAL[..20]), Out::End(End::Lost)]);
}

#[test]
fn a_hole_that_the_receiver_acknowledged_is_a_gap_of_the_capture() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"aaaa"));
    wire.send(client(9, 1, b"cccc"));
    wire.send(server(1, 13, b""));
    assert_eq!(wire.requests(), [data(b"aaaa")]);
    for _ in 0..8 {
        wire.send(server(1, 13, b""));
    }
    assert_eq!(wire.requests(), [data(b"aaaa"), Out::Gap(4, false), data(b"cccc")]);
}

#[test]
fn an_answer_that_was_lost_is_a_gap_before_its_end() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, REAL));
    let end = 1 + REAL.len() as u32;
    wire.send(server(1, end, b""));
    wire.send(client(end, 217, b"").flags(TcpFlags::ACK | TcpFlags::FIN));
    wire.send(server(217, end + 1, b"").flags(TcpFlags::ACK | TcpFlags::FIN));
    wire.send(client(end + 1, 218, b""));
    wire.finish();
    assert_eq!(wire.requests(), [data(REAL), Out::End(End::Fin)]);
    assert_eq!(wire.got(Dir::ToClient), [Out::Gap(216, false), Out::End(End::Fin)]);
}

#[test]
fn a_long_loss_on_both_sides_does_not_stall_the_connection() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, b"first"));
    wire.send(server(1, 6, b"answer"));
    // 10 MB later, far beyond both windows that were ever seen.
    let (c, s) = (10_000_000, 10_000_000);
    for n in 0..20u32 {
        wire.send(client(c + 4 * n, s + 4 * n, b"more"));
        wire.send(server(s + 4 * n, c + 4 * n + 4, b"text"));
    }
    wire.send(client(c + 80, s + 80, b""));
    assert!(matches!(wire.requests().as_slice(), [Out::Data(_), Out::Gap(9_999_994, false), Out::Data(_)]));
    assert!(matches!(wire.got(Dir::ToClient).as_slice(), [Out::Data(_), Out::Gap(9_999_993, false), Out::Data(_)]));
}

#[test]
fn a_receiver_that_falls_silent_in_the_capture_does_not_stall_its_stream() {
    let mut wire = Wire::open();
    wire.send(client(1, 1, REAL));
    wire.send(server(1, 1 + REAL.len() as u32, b"first"));
    for n in 0..200 {
        wire.send(server(10 + 4 * n, 1 + REAL.len() as u32, b"more"));
    }
    assert!(matches!(wire.got(Dir::ToClient).as_slice(), [Out::Data(_), Out::Gap(4, false), Out::Data(_)]));
}

#[test]
fn data_from_elsewhere_after_both_have_said_fin_is_a_new_connection() {
    let mut wire = Wire::open();
    let fin = TcpFlags::ACK | TcpFlags::FIN;
    wire.send(client(1, 1, REAL).flags(fin));
    let end = 2 + REAL.len() as u32;
    wire.send(server(1, end, b"answer").flags(fin));
    wire.send(client(end, 8, b""));
    assert_eq!(wire.send(client(1, 8, REAL)), Verdict::Ignored(Reason::Duplicate));
    assert_eq!(wire.send(client(700_000_000, 900_000_000, REAL)), Verdict::NewConnection);
}

#[test]
fn bytes_cut_by_the_snaplen_are_a_gap_at_once() {
    let mut wire = Wire::open();
    wire.send(Seg { missing: 10, ..client(1, 1, b"GET /lat") });
    wire.send(client(19, 1, b"next"));
    wire.send(Seg { missing: 2, ..client(27, 1, b"e") });
    wire.send(client(23, 1, b"then"));
    let want = [data(b"GET /lat"), Out::Gap(10, true), data(b"nextthene"), Out::Gap(2, true)];
    assert_eq!(wire.requests(), want);
}

#[test]
fn one_side_alone_is_enough() {
    let mut wire = Wire::new();
    wire.send(server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK));
    wire.send(server(1, 122, b""));
    wire.send(server(1, 122, b"answer"));
    wire.send(server(7, 123, b"").flags(TcpFlags::ACK | TcpFlags::FIN));
    assert_eq!(wire.got(Dir::ToClient), [data(b"answer"), Out::End(End::Fin)]);
}

#[test]
fn a_beginning_in_the_middle_takes_what_comes_a_little_later() {
    let mut wire = Wire::new();
    wire.send(client(105, 51, b"bbbb"));
    wire.send(client(101, 51, b"aaaa"));
    wire.send(server(51, 109, b"answer"));
    wire.finish();
    assert_eq!(wire.requests(), [data(b"aaaabbbb"), Out::End(End::Lost)]);
    assert_eq!(wire.got(Dir::ToClient), [data(b"answer"), Out::End(End::Lost)]);
}

#[test]
fn a_full_queue_leaves_new_segments_out() {
    let mut wire = Wire::open();
    wire.limits = Limits { per_direction: 8, segments: 2 };
    assert_eq!(wire.send(client(10, 1, b"aaaa")), Verdict::Taken);
    assert_eq!(wire.send(client(20, 1, b"bbbbb")), Verdict::Ignored(Reason::Full));
    assert_eq!(wire.send(client(20, 1, b"b")), Verdict::Taken);
    assert_eq!(wire.send(client(30, 1, b"c")), Verdict::Ignored(Reason::Full));
}
