//! Exchanges mangled at random, against a plain receiver.

use super::*;

/// A whole exchange in order.
fn exchange() -> Vec<Seg<'static>> {
    let end = 1 + REAL.len() as u32;
    vec![
        client(0, 0, b"").flags(TcpFlags::SYN),
        server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK),
        client(1, 1, b""),
        client(1, 1, &REAL[..30]),
        client(31, 1, &REAL[30..]),
        server(1, end, b""),
        server(1, end, b"HTTP/1.1 200 OK\r\n"),
        server(18, end, b"\r\nbody"),
        client(end, 24, b""),
        client(end, 24, b"").flags(TcpFlags::ACK | TcpFlags::FIN),
        server(24, end + 1, b"").flags(TcpFlags::ACK | TcpFlags::FIN),
        client(end + 1, 25, b""),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    /// Packets mixed up inside the file by windows of four, anywhere in a connection, with repeats.
    #[test]
    fn a_shuffled_file_reads_like_an_ordered_one(
        order in proptest::collection::vec(any::<u32>(), 15),
        twice in proptest::collection::vec(any::<bool>(), 12),
        phase in 0usize..4,
    ) {
        let mut segments: Vec<_> = exchange().into_iter().enumerate().collect();
        let head = phase.min(segments.len());
        let mut shuffled = Vec::new();
        for group in std::iter::once(segments.drain(..head).collect::<Vec<_>>()).chain(segments.chunks(4).map(<[_]>::to_vec)) {
            let mut group = group;
            group.sort_by_key(|(n, _)| order[*n]);
            shuffled.extend(group);
        }
        let mut wire = Wire::new();
        for (n, seg) in shuffled {
            prop_assert_ne!(wire.send(seg), Verdict::NewConnection);
            if twice[n] {
                wire.send(seg);
            }
        }
        wire.finish();
        prop_assert_eq!(wire.requests().first().cloned(), Some(data(REAL)));
        prop_assert_eq!(wire.got(Dir::ToClient).first().cloned(), Some(data(b"HTTP/1.1 200 OK\r\n\r\nbody")));
        let first = |dir| wire.chunks.iter().position(|(d, out, _)| *d == dir && matches!(out, Out::Data(_)));
        prop_assert!(first(Dir::ToServer) < first(Dir::ToClient));
    }

    /// Any split, any order, any overlap with true bytes: the stream comes out once and whole.
    #[test]
    fn any_order_of_any_split_gives_the_stream(
        isn in any::<u32>(),
        len in 1usize..400,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..40, any::<u32>()), 0..60),
    ) {
        let stream: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
        let mut pieces: Vec<(usize, usize, u32)> =
            cuts.iter().map(|(at, size, key)| { let at = at.index(len); (at, (at + size).min(len), *key) }).collect();
        pieces.extend((0..len).step_by(17).map(|at| (at, (at + 17).min(len), (at as u32).wrapping_mul(2_654_435_761))));
        pieces.sort_by_key(|(_, _, key)| *key);
        let mut wire = Wire { client_isn: isn, ..Wire::new() };
        wire.handshake();
        for (from, to, _) in pieces {
            wire.send(client(1 + from as u32, 1, &stream[from..to]));
        }
        prop_assert_eq!(wire.requests(), [data(&stream)]);
        prop_assert!(wire.connection.memory() < 8192);
    }

    /// Overlaps that differ: byte for byte as the rules say, by a model that keeps every segment.
    #[test]
    fn overlaps_that_differ_follow_the_rules(
        segments in proptest::collection::vec((2u32..40, 1u32..12, any::<u8>()), 1..12),
    ) {
        let mut wire = Wire::open();
        let mut model = Model::default();
        for (start, len, byte) in &segments {
            let bytes = vec![*byte; *len as usize];
            wire.send(client(*start, 1, &bytes));
            model.insert(*start, &bytes);
        }
        wire.send(client(1, 1, b"!"));
        let taken: Vec<u8> = wire.requests().iter().flat_map(|out| match out {
            Out::Data(bytes) | Out::Conflict(bytes, _) => bytes.clone(),
            _ => Vec::new(),
        }).collect();
        prop_assert_eq!(taken, [b"!", model.read(2).as_slice()].concat());
    }

    /// An attacker against a receiver by Linux' rules: whatever mixture of overlaps and segments that are not taken is
    /// sent, what comes out is what the receiver read.
    #[test]
    fn what_comes_out_is_what_a_receiver_reads(
        steps in proptest::collection::vec(
            (-12i32..30, 1usize..16, proptest::option::weighted(0.5, any::<u8>()), 0usize..16, 0u32..4), 1..80),
    ) {
        let stamp = |value| Some(100_000 + value);
        let mut wire = Wire::new();
        wire.send(Seg { stamp: stamp(0), ..client(0, 0, b"").flags(TcpFlags::SYN) });
        wire.send(Seg { stamp: stamp(0), ..server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK) });
        wire.send(Seg { stamp: stamp(1), ..client(1, 1, b"") });
        let mut receiver = Receiver { next: 1, ..Receiver::default() };
        for (nth, (offset, len, filler, defect, acks)) in steps.into_iter().enumerate() {
            let seq = receiver.next.saturating_add_signed(offset).max(1);
            let bytes: Vec<u8> = (seq..).take(len).map(|at| filler.unwrap_or((at % 251) as u8)).collect();
            let good = Seg { stamp: stamp(nth as u32 + 2), ..client(seq, 1, &bytes) };
            let sent = match defect {
                0 => Seg { sum: Checksum::Bad, ..good },
                1 => Seg { ip_sum: Checksum::Bad, ..good },
                2 => Seg { ttl: 2, ..good },
                3 => Seg { ack: 3_000, ..good },
                4 => good.flags(TcpFlags::PSH),
                5 => Seg { stamp: Some(7), ..good },
                6 => Seg { seq: seq + 70_000, ..good },
                7 => Seg { ttl: 2, data: b"", ..good }.flags(TcpFlags::RST),
                8 => Seg { sum: Checksum::Bad, data: b"", ..good }.flags(TcpFlags::FIN | TcpFlags::ACK),
                9 => Seg { seq: seq.max(receiver.next + 1), data: b"", ..good }.flags(TcpFlags::RST),
                10 => good.flags(TcpFlags::SYN),
                _ => good,
            };
            prop_assert_ne!(wire.send(sent), Verdict::NewConnection);
            if defect > 10 {
                receiver.take(seq, &bytes);
            }
            if acks > 0 {
                wire.send(Seg { stamp: stamp(nth as u32), ..server(1, receiver.next, b"") });
            }
        }
        wire.finish();
        let mut out = wire.requests();
        prop_assert_eq!(out.pop(), Some(Out::End(End::Lost)));
        let taken: Vec<u8> = out.into_iter().flat_map(|out| match out {
            Out::Data(bytes) | Out::Conflict(bytes, _) => bytes,
            Out::Reread(_) => Vec::new(),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(taken, receiver.read);
    }

    /// A capture that lost packets, up to most of them: every captured byte comes out at its place, once, if the capture
    /// has an acknowledgement of it.
    #[test]
    fn what_the_capture_has_comes_out_whatever_it_lost(
        keep in proptest::collection::vec(any::<u8>(), 400), loss in 0u8..220, rounds in 1usize..40,
        syn in any::<bool>(), shuffle in any::<bool>(),
    ) {
        let stream: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut packets = Vec::new();
        if syn {
            packets.push(client(0, 0, b"").flags(TcpFlags::SYN));
            packets.push(server(0, 1, b"").flags(TcpFlags::SYN | TcpFlags::ACK));
        }
        let (mut c, mut s) = (0usize, 0usize);
        for round in 0..rounds {
            let to = c + 20 + round;
            packets.push(client(1 + c as u32, 1 + s as u32, &stream[c..to]));
            c = to;
            packets.push(server(1 + s as u32, 1 + c as u32, b""));
            for _ in 0..=round % 4 {
                packets.push(server(1 + s as u32, 1 + c as u32, &stream[s..s + 1400]));
                s += 1400;
            }
            packets.push(client(1 + c as u32, 1 + s as u32, b""));
        }
        packets.push(client(1 + c as u32, 1 + s as u32, b"").flags(TcpFlags::ACK | TcpFlags::FIN));
        packets.push(server(1 + s as u32, 2 + c as u32, b"").flags(TcpFlags::ACK | TcpFlags::FIN));
        packets.push(client(2 + c as u32, 2 + s as u32, b""));
        let mut kept: Vec<_> =
            packets.into_iter().zip(keep.iter().cycle()).filter(|(_, keep)| **keep >= loss).map(|(seg, _)| seg).collect();
        if shuffle {
            kept.chunks_mut(4).for_each(<[_]>::reverse);
        }
        let mut wire = Wire::new();
        for seg in &kept {
            wire.send(*seg);
        }
        wire.finish();
        for dir in [Dir::ToServer, Dir::ToClient] {
            let captured = kept.iter().filter(|seg| seg.dir == dir && !seg.data.is_empty());
            let sent: Vec<_> = captured.map(|seg| (seg.seq as usize - 1, seg.data.len())).collect();
            let Some(first) = sent.iter().map(|(at, _)| *at).min() else { continue };
            let gaps = wire.got(dir).into_iter().map_while(|out| match out {
                Out::Gap(len, false) => Some(len),
                _ => None,
            });
            let leading: u64 = gaps.sum();
            let mut at = first - leading as usize;
            let mut covered = vec![false; stream.len()];
            for out in wire.got(dir) {
                match out {
                    Out::Data(bytes) => {
                        prop_assert!(stream[at..].starts_with(&bytes), "{dir:?} at {at}");
                        covered[at..at + bytes.len()].fill(true);
                        at += bytes.len();
                    }
                    Out::Gap(len, false) => at += len as usize,
                    Out::End(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            let acked = kept.iter().filter(|seg| seg.dir != dir).map(|seg| seg.ack as usize).max().unwrap_or(0);
            for (at, len) in sent.into_iter().filter(|(at, len)| at + len < acked) {
                prop_assert!(covered[at..at + len].iter().all(|byte| *byte), "{dir:?}: {at}+{len} is missing");
            }
        }
    }

    /// Anything at all: no panic, memory bounded.
    #[test]
    fn garbage_stays_bounded(
        segments in proptest::collection::vec(
            (any::<bool>(), prop_oneof![0u32..200, any::<u32>()], prop_oneof![0u32..200, any::<u32>()], any::<u8>(), 0usize..90,
             any::<u16>(), any::<u16>(), proptest::option::of(any::<u32>()), any::<u8>(), any::<bool>()), 0..200),
    ) {
        let mut wire = Wire::new();
        wire.limits = Limits { per_direction: 512, segments: 8 };
        for (to_server, seq, ack, flags, len, window, urgent, stamp, ttl, good) in segments {
            let sum = if good { Checksum::Good } else { Checksum::Bad };
            let dir = if to_server { Dir::ToServer } else { Dir::ToClient };
            let seg = Seg { dir, flags, window, urgent, stamp, ttl, sum, ..client(seq, ack, &REAL[..len]) };
            if wire.send(seg) == Verdict::NewConnection {
                wire.finish();
                wire.connection = Connection::new();
            }
            prop_assert!(wire.connection.memory() < 32 * 1024);
        }
        wire.finish();
        let ends = wire.chunks.iter().filter(|(_, out, _)| matches!(out, Out::End(_))).count();
        prop_assert!(ends <= 2 || wire.index > 2);
    }
}

/// Linux' out-of-order queue, as plainly as it can be written: segments in order of their start.
#[derive(Default)]
struct Model {
    queue: Vec<(u32, Vec<u8>)>,
}

impl Model {
    fn insert(&mut self, seq: u32, bytes: &[u8]) {
        let end = |segment: &(u32, Vec<u8>)| segment.0 + segment.1.len() as u32;
        let new = (seq, bytes.to_vec());
        if let Some(at) = self.queue.iter().rposition(|old| old.0 <= seq) {
            let old = &mut self.queue[at];
            if end(old) >= end(&new) {
                return;
            }
            if end(old) == seq {
                old.1.extend_from_slice(bytes);
                return;
            }
            if old.0 == seq {
                self.queue.remove(at);
            }
        }
        self.queue.retain(|old| !(old.0 > seq && end(old) <= end(&new)));
        self.queue.push(new);
        self.queue.sort_by_key(|segment| segment.0);
    }

    fn read(&self, mut next: u32) -> Vec<u8> {
        let mut stream = Vec::new();
        for (seq, bytes) in &self.queue {
            if *seq > next {
                break;
            }
            if let Some(fresh) = bytes.get((next - seq) as usize..) {
                stream.extend_from_slice(fresh);
                next += fresh.len() as u32;
            }
        }
        stream
    }
}

/// A receiver whose application reads at once.
#[derive(Default)]
struct Receiver {
    next: u32,
    queue: Model,
    read: Vec<u8>,
}

impl Receiver {
    fn take(&mut self, seq: u32, bytes: &[u8]) {
        if seq > self.next {
            self.queue.insert(seq, bytes);
        } else if let Some(fresh) = bytes.get((self.next - seq) as usize..) {
            self.read.extend_from_slice(fresh);
            self.next += fresh.len() as u32;
            let waiting = self.queue.read(self.next);
            self.next += waiting.len() as u32;
            self.read.extend_from_slice(&waiting);
            self.queue.queue.retain(|(seq, bytes)| seq + bytes.len() as u32 > self.next);
        }
    }
}
