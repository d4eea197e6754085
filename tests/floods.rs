//! Floods: far more connections, requests, fragments, queries and clients than there is memory for. What is held stays
//! within `--memory`, what is left out is counted, and a theft in the middle of it all is still reported.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::fs;
use std::io::Cursor;
use std::process::Command;

use common::{config, root};
use imdswatch::app::inline::Inline;
use imdswatch::capture::{FileSource, Input};
use imdswatch::output::Batch;
use imdswatch::packet::{LinkType, PacketBatch, Timestamp};
use imdswatch::pipeline::Counters;

/// A line of `/proc/self/status` in KiB: what the process holds (`VmRSS`), or held at most (`VmHWM`). 0 where there is none.
fn held(what: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Runs a flood in a process of its own, so that what it holds can be told from what others left behind.
fn alone(test: &str, flood: fn()) {
    if std::env::var_os("FLOOD").is_some() {
        return flood();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env("FLOOD", "1");
    assert!(child.status().unwrap().success(), "{test} failed");
}

/// `--memory` of each run, in KiB.
const MEMORY: usize = 32 << 10;

/// A run under a flood.
struct Flood {
    run: Inline,
    batch: PacketBatch,
    now: Timestamp,
    written: usize,
    alerts: Vec<String>,
    before: usize,
}

impl Flood {
    fn new() -> Self {
        Self::writing("metadata")
    }

    /// `-e` of the run.
    fn writing(events: &str) -> Self {
        let run = Inline::new(&config(&["-e", events, "--threads", "1", "--memory", "32M"]));
        let (batch, now) = (PacketBatch::default(), Timestamp::new(1_789_000_000, 0));
        Self { run, batch, now, written: 0, alerts: Vec::new(), before: held("VmRSS") }
    }

    /// One IPv4 packet, a microsecond after the last one.
    fn packet(&mut self, packet: &[u8]) {
        self.now = self.now.plus(1000);
        self.batch.push(self.now, LinkType::RAW, 0, packet.len() as u32, packet);
        if self.batch.is_full() {
            self.hand_on();
        }
    }

    /// A theft, packet by packet as it was captured, at the present time.
    fn theft(&mut self) {
        self.hand_on();
        let file = fs::read(root().join("pcaps/aws/theft-through-curl/input.pcap")).unwrap();
        let mut source = FileSource::from_reader(&Input::Stdin, Box::new(Cursor::new(file)), None).unwrap();
        let mut theft = PacketBatch::default();
        source.next_batch(&mut theft).unwrap();
        for packet in theft.iter() {
            self.now = self.now.plus(1000);
            self.batch.push(self.now, packet.link, 0, packet.wire_len, packet.data);
        }
    }

    fn hand_on(&mut self) {
        self.run.batch(&self.batch);
        self.batch.clear(self.batch.next_index());
        self.take_lines();
    }

    fn take_lines(&mut self) {
        take_lines(self.run.written(), &mut self.written, &mut self.alerts);
    }

    /// Ends the run. What the whole process held beyond what it began with stays within the bound, and what the
    /// allocator wastes.
    fn end(mut self) -> (Inline, Vec<String>) {
        self.hand_on();
        let Self { run, written, alerts, .. } = &mut self;
        run.finish_in_pieces(|lines| take_lines(lines, written, alerts));
        self.take_lines();
        let most = held("VmHWM").saturating_sub(self.before);
        eprintln!("{most} KiB held at most, {} KiB written", self.written >> 10);
        assert!(most < MEMORY * 3 / 2, "{most} KiB were held, {MEMORY} KiB are allowed");
        (self.run, self.alerts)
    }
}

fn take_lines(lines: &mut Batch, written: &mut usize, alerts: &mut Vec<String>) {
    *written += lines.json.len();
    let text = std::str::from_utf8(&lines.json).unwrap();
    let ids = text.lines().filter_map(|line| line.split_once("\"rule\":{\"id\":\""));
    alerts.extend(ids.filter_map(|(_, id)| Some(id.split_once('"')?.0.to_owned())));
    lines.clear();
}

#[track_caller]
fn assert_detected(alerts: &[String]) {
    let issued = alerts.iter().filter(|id| *id == "imds-credential-issued").count();
    assert_eq!(issued, 1, "the theft is lost among {} alerts", alerts.len());
}

/// An IPv4 packet: addresses, protocol, fragment word, payload.
fn ipv4(source: u32, destination: u32, protocol: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0]);
    packet.extend_from_slice(&source.to_be_bytes());
    packet.extend_from_slice(&destination.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn tcp(source: u16, destination: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend_from_slice(payload);
    segment
}

const SYN: u8 = 2;
const ACK: u8 = 16;
const SERVER: u32 = 0x0a00_0001;
const METADATA: u32 = 0xa9fe_a9fe;

fn client(n: u32) -> u32 {
    0x1000_0000 + n
}

fn syn_flood(flows: u32, events: &str) -> Counters {
    let mut flood = Flood::writing(events);
    for n in 0..flows {
        flood.packet(&ipv4(client(n), SERVER, 6, 0, 0, &tcp(1024 + (n % 60_000) as u16, 443, n, 0, SYN, b"")));
        if n == flows / 2 {
            flood.theft();
        }
    }
    let (run, alerts) = flood.end();
    assert_detected(&alerts);
    let counters = run.piped();
    assert!(counters.sessions.evicted > 0, "{counters:?}");
    counters
}

#[test]
fn syns_from_everywhere() {
    alone("syns_from_everywhere", || {
        let counters = syn_flood(150_000, "metadata");
        assert_eq!(counters.flow_table.begun, counters.http, "only what says something takes a flow: {counters:?}");
    });
}

#[test]
fn syns_from_everywhere_are_flows_where_all_are_written() {
    alone("syns_from_everywhere_are_flows_where_all_are_written", || {
        let counters = syn_flood(150_000, "all");
        assert!(counters.flow_table.begun > 150_000 && counters.flow_table.evicted > 0, "{counters:?}");
    });
}

#[test]
fn ten_million_syns_from_everywhere() {
    alone("ten_million_syns_from_everywhere", || {
        syn_flood(10_000_000, "metadata");
    });
}

#[test]
fn requests_that_never_end() {
    alone("requests_that_never_end", || {
        let mut flood = Flood::new();
        for n in 0..25_000 {
            let port = 1024 + (n % 60_000) as u16;
            let start = format!(
                "POST /upload/{n} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 900000\r\nX: {}",
                "y".repeat(900)
            );
            flood.packet(&ipv4(client(n), SERVER, 6, 0, 0, &tcp(port, 80, 1, 0, SYN, b"")));
            flood.packet(&ipv4(SERVER, client(n), 6, 0, 0, &tcp(80, port, 1, 2, SYN | ACK, b"")));
            flood.packet(&ipv4(client(n), SERVER, 6, 0, 0, &tcp(port, 80, 2, 2, ACK, start.as_bytes())));
            if n == 12_000 {
                flood.theft();
            }
        }
        let (run, alerts) = flood.end();
        assert_detected(&alerts);
        assert!(run.piped().sessions.evicted > 0, "{:?}", run.piped());
    });
}

#[test]
fn segments_that_wait_for_one_that_never_comes() {
    alone("segments_that_wait_for_one_that_never_comes", || {
        let mut flood = Flood::new();
        for n in 0..12_000 {
            let port = 1024 + n as u16;
            flood.packet(&ipv4(client(n), SERVER, 6, 0, 0, &tcp(port, 80, 1, 0, SYN, b"")));
            flood.packet(&ipv4(SERVER, client(n), 6, 0, 0, &tcp(80, port, 1, 2, SYN | ACK, b"")));
            for part in 1..5 {
                flood.packet(&ipv4(client(n), SERVER, 6, 0, 0, &tcp(port, 80, 2 + part * 1400, 2, ACK, &[b'x'; 1000])));
            }
            if n == 6_000 {
                flood.theft();
            }
        }
        let (run, alerts) = flood.end();
        assert_detected(&alerts);
        assert!(run.piped().sessions.evicted > 0, "{:?}", run.piped());
    });
}

#[test]
fn fragments_that_are_never_completed() {
    alone("fragments_that_are_never_completed", || {
        let mut flood = Flood::new();
        for n in 0..100_000 {
            // Every second datagram goes on dripping.
            let offset = if n % 2 == 0 { 0 } else { 100 + n % 50 };
            let id = if n % 2 == 0 { n as u16 } else { 7 };
            flood.packet(&ipv4(client(n % 70_000), SERVER, 17, id, 0x2000 | offset as u16, &[0x55; 800]));
            if n == 50_000 {
                flood.theft();
            }
        }
        let (run, alerts) = flood.end();
        assert_detected(&alerts);
        assert!(run.decoded().stops().any(|(_, count)| count > 0));
    });
}

#[test]
fn queries_that_are_never_answered() {
    alone("queries_that_are_never_answered", || {
        let mut flood = Flood::new();
        for n in 0..120_000_u32 {
            let id = (n as u16).to_be_bytes();
            let name = format!("{n:x}");
            let mut message = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8], name.as_bytes()].concat();
            message.extend_from_slice(b"\x07example\x00\x00\x01\x00\x01");
            let port = 1024 + (n % 60_000) as u16;
            let header = [port.to_be_bytes(), 53_u16.to_be_bytes(), (8 + message.len() as u16).to_be_bytes(), [0, 0]];
            flood.packet(&ipv4(client(n / 50), SERVER, 17, 0, 0, &[&header.concat()[..], &message].concat()));
            if n == 60_000 {
                flood.theft();
            }
        }
        let (run, alerts) = flood.end();
        assert_detected(&alerts);
        let counters = run.piped();
        assert!(counters.dns_messages.evicted > 0, "{counters:?}");
    });
}

#[test]
fn clients_of_the_metadata_service_without_number() {
    alone("clients_of_the_metadata_service_without_number", || {
        let mut flood = Flood::new();
        for n in 0..15_000 {
            let port = 1024 + n as u16;
            let request =
                format!("GET /latest/meta-data/{n} HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: curl/8\r\n\r\n");
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            let (sent, got) = (2 + request.len() as u32, 2 + answer.len() as u32);
            let up = |segment: Vec<u8>| ipv4(client(n), METADATA, 6, 0, 0, &segment);
            let down = |segment: Vec<u8>| ipv4(METADATA, client(n), 6, 0, 0, &segment);
            flood.packet(&up(tcp(port, 80, 1, 0, SYN, b"")));
            flood.packet(&down(tcp(80, port, 1, 2, SYN | ACK, b"")));
            flood.packet(&up(tcp(port, 80, 2, 2, ACK, request.as_bytes())));
            flood.packet(&down(tcp(80, port, 2, sent, ACK, answer.as_bytes())));
            flood.packet(&up(tcp(port, 80, sent, got, ACK, b"")));
            if n == 7_000 {
                flood.theft();
            }
        }
        let (run, alerts) = flood.end();
        assert_detected(&alerts);
        assert!(alerts.len() > 15_000, "each client is told of");
        assert!(run.published().events > 15_000);
    });
}
