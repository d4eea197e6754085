//! What the parser makes of conversations, told as one line per transaction.

mod any;
mod h1;
mod h2;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use proptest::test_runner::{Config as ProptestConfig, RngSeed};

use super::*;
use crate::conn::{Conn, Endpoint, Proto};
use crate::packet::Timestamp;
use crate::proto::dns;
use crate::proto::layers::{Delivery, Found, Layers, Sink};
use crate::stream::{Chunk, Context, Dir, End};

/// The same cases in every run.
pub(super) fn fixed_seed() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

/// One thing that happens on a connection, in the order of the capture.
#[derive(Clone, Copy, Debug)]
enum Ev<'a> {
    /// Client bytes.
    C(&'a [u8]),
    /// Server bytes.
    S(&'a [u8]),
    /// Client bytes in two readings.
    Two(&'a [u8], &'a [u8]),
    /// Second reading of the client's last bytes.
    Again(&'a [u8]),
    /// Missing bytes: direction, number, cut by the snaplen.
    Gap(Dir, u64, bool),
    /// End of a direction.
    End(Dir, End),
}

use Dir::{ToClient, ToServer};
use Ev::{C, S};

fn conn() -> Conn {
    let end = |last, port| Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port };
    Conn::between(end(1, 40000), end(2, 80), Proto::Tcp)
}

/// Runs a conversation from its beginning to its end.
fn run(events: &[Ev<'_>]) -> Vec<Transaction> {
    run_with(&Limits::default(), events).0
}

fn run_with(limits: &Limits, events: &[Ev<'_>]) -> (Vec<Transaction>, Counters) {
    run_from(true, limits, events)
}

/// `from_start`: whether the capture has the connection's beginning.
fn run_from(from_start: bool, limits: &Limits, events: &[Ev<'_>]) -> (Vec<Transaction>, Counters) {
    let mut found = Vec::new();
    let mut counters = Counters::default();
    let mut layers = Layers::default();
    let (mut dns, mut ordinal) = (dns::Tracker::new(dns::Config::default()), 0);
    let mut at = Context { time: Timestamp(0), index: 0 };
    for event in events {
        at = Context { time: at.time.plus(1000), index: at.index + 1 };
        let (dir, chunk) = match *event {
            C(bytes) => (ToServer, Chunk::Data(bytes)),
            S(bytes) => (ToClient, Chunk::Data(bytes)),
            Ev::Two(taken, other) => (ToServer, Chunk::Conflict { taken, other }),
            Ev::Again(other) => (ToServer, Chunk::Reread { other }),
            Ev::Gap(dir, len, cut) => (dir, Chunk::Gap { len, cut }),
            Ev::End(dir, end) => (dir, Chunk::End(end)),
        };
        let mut out = |told: Found<'_>| found.extend(transaction(told));
        let mut sink = sink(limits, &mut counters, &mut dns, &mut ordinal, &mut out);
        layers.feed(Delivery { dir, chunk, at, from_start }, &mut sink);
    }
    let mut out = |told: Found<'_>| found.extend(transaction(told));
    layers.finish(at, &mut sink(limits, &mut counters, &mut dns, &mut ordinal, &mut out));
    assert!(!layers.wants_more() && layers.memory() == 0);
    assert!(found.iter().enumerate().all(|(n, transaction)| transaction.ordinal as usize == n));
    (found, counters)
}

fn transaction(told: Found<'_>) -> Option<Transaction> {
    match told {
        Found::Http(transaction) => Some(transaction),
        _ => None,
    }
}

fn sink<'a>(
    limits: &'a Limits,
    counters: &'a mut Counters,
    dns: &'a mut dns::Tracker,
    ordinal: &'a mut u32,
    out: &'a mut dyn FnMut(Found<'_>),
) -> Sink<'a> {
    let ports = [40000, 80];
    Sink {
        conn: &conn,
        ports,
        limits,
        keeps_body: &|_| true,
        searches: true,
        serves_metadata: false,
        ordinal,
        counters,
        dns,
        out,
    }
}

/// Everything that counts about a transaction in one line. Sizes are message/body/captured.
fn tell(transaction: &Transaction) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut line = String::new();
    let flags = |message: &Message| {
        let flag = |on: bool, name: &str| if on { format!(" {name}") } else { String::new() };
        format!(
            " {}/{}/{}{}{}{}{}{}",
            message.bytes,
            message.body.len,
            text(&message.body.captured),
            flag(!message.complete, "unfinished"),
            flag(!message.head.complete, "head-cut"),
            flag(message.gap, "gap"),
            flag(message.cut, "cut"),
            flag(message.body.whole, "whole"),
        )
    };
    if let Some(request) = &transaction.request {
        let head = &request.head;
        let _ = write!(line, "{} {}", text(head.method()), text(head.target()));
        if let Some(host) = head.field("host") {
            let _ = write!(line, " host={}", text(host));
        }
        line.push_str(&flags(request));
    }
    if let Some(response) = &transaction.response {
        let _ = write!(line, " -> {} {}", response.head.status().unwrap(), text(response.head.phrase()));
        line.push_str(&flags(response));
    }
    for note in &transaction.notes {
        let _ = write!(line, " {note:?}");
    }
    if transaction.conflict {
        line.push_str(" conflict");
    }
    if let Some(via) = &transaction.via {
        let _ = write!(line, " via={}", text(via));
    }
    if let Some(stream) = transaction.stream {
        let _ = write!(line, " stream={stream}");
    }
    line
}

fn told(events: &[Ev<'_>]) -> Vec<String> {
    run(events).iter().map(tell).collect()
}

/// One request from the client, and what is made of it alone.
fn request(bytes: &[u8]) -> Vec<String> {
    told(&[C(bytes)])
}

const GET: &[u8] = b"GET /latest HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
