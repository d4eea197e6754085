//! ICMP and ICMPv6 messages paired as Packetbeat pairs them: packets in, transactions out.
//!
//! Echo, timestamp, information and address mask requests wait for their answer, found by both addresses, id and
//! sequence number; everything else is a transaction of its own at once. Bounded by [`Limits`].

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use crate::bytes::Reader;
use crate::conn::{Conn, Endpoint, Proto};
use crate::decode::meta::{Meta, Transport};
use crate::packet::Timestamp;
use crate::proto::pending::{Limits, Pending};

/// One ICMP message as far as events need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// When.
    pub time: Timestamp,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Payload bytes as Packetbeat counts them: after the first 8 bytes of the message.
    pub bytes: u64,
}

/// Remarks that Packetbeat writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// `Another request with the same Id and Seq was received so this request was closed without receiving a response.`
    Duplicate,
    /// `Request was received without an associated response.`
    NoResponse,
    /// `Response was received without an associated request.`
    NoRequest,
}

/// A request with its answer, or one of them; `conn.client` sent the request, ports are 0.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Addresses.
    pub conn: Conn,
    /// The request or one-way message.
    pub request: Option<Message>,
    /// The answer.
    pub response: Option<Message>,
    /// Remark.
    pub note: Option<Note>,
}

impl Transaction {
    /// Packetbeat's `status`: whether it is an answered request or a one-way message that reports no error.
    pub fn is_ok(&self) -> bool {
        let proto = self.conn.proto;
        let fine = |message: &Message| !is_error(proto, message.kind);
        self.request.as_ref().is_some_and(|request| {
            fine(request) && (self.response.is_some() || role(proto, request.kind) == Role::OneWay)
        }) && self.response.as_ref().is_none_or(fine)
    }
}

/// What a type of message is to pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Request,
    Response,
    OneWay,
}

fn role(proto: Proto, kind: u8) -> Role {
    match (proto, kind) {
        (Proto::Icmp6, 128) | (Proto::Icmp, 8 | 13 | 15 | 17) => Role::Request,
        (Proto::Icmp6, 129) | (Proto::Icmp, 0 | 14 | 16 | 18) => Role::Response,
        _ => Role::OneWay,
    }
}

/// Destination unreachable, source quench, packet too big, time exceeded, parameter problem.
fn is_error(proto: Proto, kind: u8) -> bool {
    match proto {
        Proto::Icmp6 => (1..=4).contains(&kind),
        _ => matches!(kind, 3 | 4 | 11 | 12),
    }
}

/// What an answer is found by. One-way messages have neither id nor sequence number and count as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    proto: Proto,
    client: IpAddr,
    server: IpAddr,
    id: u16,
    seq: u16,
}

#[derive(Debug)]
struct Waiting {
    conn: Conn,
    request: Message,
}

impl Waiting {
    fn close(self, response: Option<Message>, note: Option<Note>) -> Transaction {
        Transaction { conn: self.conn, request: Some(self.request), response, note }
    }
}

/// Pairs the ICMP messages of one worker. Transactions go to a closure with the number of their first packet.
#[derive(Debug)]
pub struct Tracker {
    pending: Pending<Key, Box<Waiting>>,
    evicted: u64,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self { pending: Pending::new(limits), evicted: 0 }
    }

    /// Takes a packet with [`Transport::Icmp`]; `payload` begins after the 4-byte header. Cut off before what Packetbeat
    /// needs (8 bytes of an ICMP message), it gives nothing. Either end of `conn` may be the client.
    pub fn packet(
        &mut self,
        meta: &Meta,
        payload: &[u8],
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        let (Some(net), Transport::Icmp { kind, code }) = (meta.net, meta.transport) else { return };
        let proto = if net.source.is_ipv6() { Proto::Icmp6 } else { Proto::Icmp };
        let role = role(proto, kind);
        let mut reader = Reader::new(payload);
        let (Some(id), Some(seq)) = (reader.u16(), reader.u16()) else { return };
        let (id, seq) = if role == Role::OneWay { (0, 0) } else { (id, seq) };
        let bytes = (reader.len() as u64).saturating_add(u64::from(meta.missing));
        let message = Message { time: meta.time, kind, code, bytes };
        let key = Key { proto, client: net.source, server: net.destination, id, seq };
        match role {
            Role::Response => {
                let key = Key { client: key.server, server: key.client, ..key };
                self.response(key, message, meta.index, conn, out);
            }
            Role::Request | Role::OneWay => self.request(key, message, role, meta.index, conn, out),
        }
    }

    /// Closes the requests whose time is over at `now`, in the order of their packets.
    pub fn expire(&mut self, now: Timestamp, out: &mut impl FnMut(Transaction, u64)) {
        for (first, waiting) in self.pending.expire(now) {
            out(waiting.close(None, Some(Note::NoResponse)), first);
        }
    }

    /// Closes every request that still waits, in the order of their packets.
    pub fn finish(&mut self, out: &mut impl FnMut(Transaction, u64)) {
        for (first, waiting) in self.pending.drain() {
            out(waiting.close(None, Some(Note::NoResponse)), first);
        }
    }

    /// Requests given up because too many waited.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Number of requests that wait.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn request(
        &mut self,
        key: Key,
        request: Message,
        role: Role,
        index: u64,
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        if let Some((waiting, first, late)) = self.pending.take(&key, request.time) {
            let note = if late { Note::NoResponse } else { Note::Duplicate };
            out(waiting.close(None, Some(note)), first);
        }
        let waiting = Box::new(Waiting { conn: conn().with_client(Endpoint { ip: key.client, port: 0 }), request });
        if role == Role::OneWay {
            return out(waiting.close(None, None), index);
        }
        for (first, shed) in self.pending.insert(key, waiting, size_of::<Waiting>(), index, request.time) {
            self.evicted = self.evicted.saturating_add(1);
            out(shed.close(None, Some(Note::NoResponse)), first);
        }
    }

    fn response(
        &mut self,
        key: Key,
        response: Message,
        index: u64,
        conn: impl FnOnce() -> Conn,
        out: &mut impl FnMut(Transaction, u64),
    ) {
        match self.pending.take(&key, response.time) {
            Some((waiting, first, false)) => return out(waiting.close(Some(response), None), first),
            Some((waiting, first, true)) => out(waiting.close(None, Some(Note::NoResponse)), first),
            None => {}
        }
        let conn = conn().with_client(Endpoint { ip: key.client, port: 0 });
        out(Transaction { conn, request: None, response: Some(response), note: Some(Note::NoRequest) }, index);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

    use super::*;
    use crate::decode::meta::Net;

    const A: &str = "10.0.0.1";
    const B: &str = "10.0.0.2";

    fn meta(index: u64, millis: i64, from: &str, to: &str, kind: u8, code: u8) -> Meta {
        let source: IpAddr = from.parse().unwrap();
        let protocol = if source.is_ipv6() { 58 } else { 1 };
        Meta {
            ethertype: 0x0800,
            net: Some(Net::new(source, to.parse().unwrap(), protocol, 64)),
            transport: Transport::Icmp { kind, code },
            ..Meta::new(index, Timestamp(millis * 1_000_000), 0, 60)
        }
    }

    fn conn(meta: &Meta) -> Conn {
        let net = meta.net.unwrap();
        Conn {
            first_index: meta.index,
            ..Conn::between(
                Endpoint { ip: net.source, port: 0 },
                Endpoint { ip: net.destination, port: 0 },
                if net.protocol == 58 { Proto::Icmp6 } else { Proto::Icmp },
            )
        }
    }

    struct Run(Tracker, Vec<(Transaction, u64)>);

    impl Run {
        fn new() -> Self {
            Self(Tracker::new(Limits { timeout: 10_000_000_000, entries: 4, bytes: 1 << 20 }), Vec::new())
        }

        fn packet(&mut self, meta: Meta, payload: &[u8]) -> &mut Self {
            self.0.packet(&meta, payload, || conn(&meta), &mut |tx, first| self.1.push((tx, first)));
            self
        }
    }

    #[test]
    fn a_request_meets_its_answer() {
        let mut run = Run::new();
        run.packet(meta(0, 0, A, B, 8, 0), &[0, 7, 0, 1, 9, 9, 9, 9]);
        run.packet(meta(1, 1, A, B, 8, 0), &[0, 7, 0, 2, 9, 9, 9, 9]);
        run.packet(meta(2, 2, B, A, 0, 0), &[0, 7, 0, 1, 9, 9, 9]);
        let [(tx, 0)] = &run.1[..] else { panic!("{:?}", run.1) };
        assert_eq!(tx.conn.client.ip.to_string(), A);
        assert_eq!(tx.request, Some(Message { time: Timestamp(0), kind: 8, code: 0, bytes: 4 }));
        assert_eq!(tx.response, Some(Message { time: Timestamp(2_000_000), kind: 0, code: 0, bytes: 3 }));
        assert!(tx.note.is_none() && tx.is_ok());
        assert_eq!(run.0.waiting(), 1);
    }

    #[test]
    fn what_has_no_counterpart_is_remarked_on() {
        let mut run = Run::new();
        run.packet(meta(0, 0, A, B, 8, 0), &[0, 7, 0, 1]);
        run.packet(meta(1, 1, A, B, 8, 0), &[0, 7, 0, 1]);
        run.packet(meta(2, 2, B, A, 0, 0), &[0, 9, 0, 1]);
        run.packet(meta(3, 10_001, B, A, 0, 0), &[0, 7, 0, 1]);
        run.packet(meta(4, 10_002, A, B, 17, 0), &[0, 7, 0, 1]);
        run.0.expire(Timestamp(20_001_000_000), &mut |_, _| panic!("too early"));
        run.0.finish(&mut |tx, first| run.1.push((tx, first)));
        let got: Vec<_> = run.1.iter().map(|(tx, first)| (*first, tx.note, tx.is_ok())).collect();
        assert_eq!(
            got,
            [
                (0, Some(Note::Duplicate), false),
                (2, Some(Note::NoRequest), false),
                (1, Some(Note::NoResponse), false),
                (3, Some(Note::NoRequest), false),
                (4, Some(Note::NoResponse), false),
            ]
        );
        assert_eq!(run.1[1].0.conn.client.ip.to_string(), A, "a lone answer is turned round");
    }

    #[test]
    fn one_way_messages_are_reported_at_once() {
        let mut run = Run::new();
        run.packet(meta(0, 0, A, B, 3, 3), &[0; 32]);
        run.packet(meta(1, 0, A, B, 5, 1), &[0; 32]);
        run.packet(meta(2, 0, "fe80::1", "ff02::1", 135, 0), &[0; 24]);
        run.packet(meta(3, 0, "fe80::1", "fe80::2", 2, 0), &[0; 4]);
        run.packet(meta(4, 0, A, B, 3, 3), &[0; 3]);
        run.packet(meta(5, 0, "fe80::1", "fe80::2", 128, 0), &[0; 3]);
        let got: Vec<_> = run.1.iter().map(|(tx, _)| (tx.request.unwrap().bytes, tx.note, tx.is_ok())).collect();
        assert_eq!(got, [(28, None, false), (28, None, true), (20, None, true), (0, None, false)]);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut run = Run::new();
        for seq in 0..50 {
            run.packet(meta(u64::from(seq), 0, A, B, 8, 0), &[0, 7, 0, seq]);
            assert!(run.0.waiting() <= 4);
        }
        run.0.finish(&mut |tx, first| run.1.push((tx, first)));
        assert_eq!(run.0.evicted(), 46);
        assert!(run.1.iter().map(|(_, first)| *first).eq(0..50));
    }
}
