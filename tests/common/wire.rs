//! Packets made from what they carry: TCP exchanges and DNS lookups, replayed within the test's own process.

use std::net::{IpAddr, SocketAddr};

use imdswatch::app::inline::Inline;
use imdswatch::config::Config;
use imdswatch::packet::{LinkType, PacketBatch, Timestamp};
use serde_json::Value;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// A capture in the making: time goes on by a millisecond per packet and 50 between conversations.
pub struct Wire {
    batch: PacketBatch,
    now: Timestamp,
    port: u16,
}

impl Default for Wire {
    fn default() -> Self {
        Self { batch: PacketBatch::default(), now: Timestamp::new(1_795_500_000, 0), port: 40_000 }
    }
}

impl Wire {
    /// One connection with one exchange. An empty answer is none.
    pub fn exchange(&mut self, client: &str, server: &str, request: &[u8], answer: &[u8]) {
        let (client, server) = self.ends(client, server);
        self.segment(client, server, 999, 0, SYN, b"");
        self.segment(server, client, 4999, 1000, SYN | ACK, b"");
        self.segment(client, server, 1000, 5000, ACK, b"");
        self.data(client, server, 1000, 5000, request);
        let (sent, mut got) = (1000 + request.len() as u32, 5000);
        self.data(server, client, got, sent, answer);
        got += answer.len() as u32;
        self.segment(client, server, sent, got, FIN | ACK, b"");
        self.segment(server, client, got, sent + 1, FIN | ACK, b"");
        self.segment(client, server, sent + 1, got + 1, ACK, b"");
        self.pause(50);
    }

    /// A connection that is opened and carries bytes that are no request.
    pub fn connect(&mut self, client: &str, server: &str) {
        self.exchange(client, server, b"\x00\x01\x02\x03binary", b"\x00\x05\x06\x07binary");
    }

    /// A lookup over UDP with the addresses of its answer.
    pub fn lookup(&mut self, client: &str, name: &str, addresses: &[IpAddr]) {
        let (client, server) = self.ends(client, "10.20.0.2:53");
        let rtype = |ip: &IpAddr| if ip.is_ipv4() { 1u16 } else { 28 };
        let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        let kind = addresses.first().map_or(1, rtype);
        let question = labels.chain([0]).chain(kind.to_be_bytes()).chain([0, 1]).collect::<Vec<_>>();
        let header = |flags: u16, answers: u16| [7, flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat();
        let mut answer = [header(0x8180, addresses.len() as u16), question.clone()].concat();
        for ip in addresses {
            let octets = match ip {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            answer.extend([0xc0, 12]);
            answer.extend(rtype(ip).to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60, 0, octets.len() as u8]);
            answer.extend(octets);
        }
        self.datagram(client, server, &[header(0x0100, 0), question].concat());
        self.datagram(server, client, &answer);
        self.pause(50);
    }

    /// A lookup whose answer says that the name is another name for `alias`, and nothing more.
    pub fn alias(&mut self, client: &str, name: &str, alias: &str) {
        let (client, server) = self.ends(client, "10.20.0.2:53");
        let labels = |name: &str| {
            name.split('.')
                .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
                .chain([0])
                .collect::<Vec<_>>()
        };
        let question = [labels(name), vec![0, 1, 0, 1]].concat();
        let header = |flags: u16, answers: u16| [7, flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat();
        let target = labels(alias);
        let record = [&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, target.len() as u8], target.as_slice()].concat();
        self.datagram(client, server, &[header(0x0100, 0), question.clone()].concat());
        self.datagram(server, client, &[header(0x8180, 1), question, record].concat());
        self.pause(50);
    }

    /// Lets time pass.
    pub fn pause(&mut self, milliseconds: i64) {
        self.now = self.now.plus(milliseconds * 1_000_000);
    }

    /// Everything that a replay writes.
    pub fn replay(self, config: &Config) -> String {
        let mut run = Inline::new(config);
        run.batch(&self.batch);
        run.finish();
        String::from_utf8(std::mem::take(run.written()).json).unwrap()
    }

    fn ends(&mut self, client: &str, server: &str) -> (SocketAddr, SocketAddr) {
        self.port += 1;
        (SocketAddr::new(client.parse().unwrap(), self.port), server.parse().unwrap())
    }

    fn data(&mut self, from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, data: &[u8]) {
        let mut at = seq;
        for piece in data.chunks(1200) {
            self.segment(from, to, at, ack, PUSH | ACK, piece);
            at += piece.len() as u32;
        }
    }

    fn segment(&mut self, from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, flags: u8, data: &[u8]) {
        let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        segment.extend(seq.to_be_bytes());
        segment.extend(ack.to_be_bytes());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(data);
        self.packet(from.ip(), to.ip(), 6, &segment);
    }

    fn datagram(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let length = data.len() as u16 + 8;
        let header = [from.port(), to.port(), length, 0].map(u16::to_be_bytes).concat();
        self.packet(from.ip(), to.ip(), 17, &[&header, data].concat());
    }

    fn packet(&mut self, from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) {
        let length = payload.len() as u16;
        let packet = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut packet = vec![0x45, 0];
                packet.extend((length + 20).to_be_bytes());
                packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
                packet.extend(from.octets().into_iter().chain(to.octets()));
                packet
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut packet = vec![0x60, 0, 0, 0];
                packet.extend(length.to_be_bytes());
                packet.extend([protocol, 64]);
                packet.extend(from.octets().into_iter().chain(to.octets()));
                packet
            }
            _ => panic!("{from} and {to} are of different families"),
        };
        let packet = [packet, payload.to_vec()].concat();
        self.batch.push(self.now, LinkType::RAW, 0, packet.len() as u32, &packet);
        self.pause(1);
    }
}

/// A message with its lines ended as HTTP wants, and its length said where it has a body.
pub fn message(text: &str) -> Vec<u8> {
    let text = text.trim_start_matches('\n');
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let body = body.trim_end_matches('\n');
    let length = if body.is_empty() { String::new() } else { format!("\r\nContent-Length: {}", body.len()) };
    format!("{}{length}\r\n\r\n{body}", head.trim_end().replace('\n', "\r\n")).into_bytes()
}

/// The events of a replay's output.
pub fn events(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rule and severity of each alert, as `rule severity`.
pub fn alerts(events: &[Value]) -> Vec<String> {
    let level = |severity: &Value| match severity.as_u64() {
        Some(21) => "low",
        Some(47) => "medium",
        Some(73) => "high",
        Some(99) => "critical",
        _ => "unknown",
    };
    let alerts = events.iter().filter(|event| event["event"]["kind"] == "alert");
    alerts.map(|a| format!("{} {}", a["rule"]["id"].as_str().unwrap(), level(&a["event"]["severity"]))).collect()
}
