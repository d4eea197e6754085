//! A theft that nothing may hide: the input decides how the wire mangles it, and never loses or changes a byte that the
//! receiver takes. Whatever it decides, the theft is reported once, and no secret is written.

use std::net::Ipv4Addr;

use imdswatch::packet::{LinkType, Timestamp};

use super::wire::{self, ACK, FIN, PSH, RST, SYN};
use super::{Owned, written};

/// What the service gives out, and nobody may see again.
pub const CANARY: &str = "CANARYkeepsquietCANARYkeepsquietCANARY00";

/// Decisions, read from the input; 0 when it is used up.
struct Script<'d>(&'d [u8]);

impl Script<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_le_bytes([self.next(), self.next()])) % bound
    }
}

/// The two ends of the connection, and what was sent so far.
struct Wire<'s, 'd> {
    script: &'s mut Script<'d>,
    packets: Vec<Owned>,
    now: Timestamp,
    wrapping: u8,
    /// Next sequence number of the client, and of the server.
    next: [u32; 2],
    /// A segment that comes later than it was sent.
    held: Option<Vec<u8>>,
    id: u16,
}

const ENDS: [wire::End; 2] = [(Ipv4Addr::new(10, 0, 0, 5), 40_001), (Ipv4Addr::new(169, 254, 169, 254), 80)];

/// See the module.
pub fn theft(data: &[u8]) {
    let mut script = Script(data);
    let (wrapping, which, starts) = (script.next(), script.next(), script.next());
    let mut wire = Wire {
        wrapping,
        packets: Vec::new(),
        now: Timestamp::new(1_789_000_000, 0),
        // Also where sequence numbers wrap round.
        next: [u32::from(starts & 15) << 28, 0_u32.wrapping_sub(u32::from(starts >> 4) * 50)],
        held: None,
        id: 1,
        script: &mut script,
    };
    wire.send(0, SYN, b"");
    wire.send(1, SYN | ACK, b"");
    wire.send(0, ACK, b"");
    for (request, answer) in conversation(which) {
        wire.message(0, request.as_bytes());
        let body = wire.encoded(answer.as_bytes());
        wire.message(1, &body);
    }
    wire.send(0, FIN | ACK, b"");
    wire.send(1, FIN | ACK, b"");
    wire.send(0, ACK, b"");
    let packets = wire.packets;

    let lines = written(&packets, 1024);
    let text = String::from_utf8_lossy(&lines);
    let told = text.matches("\"rule\":{\"id\":\"imds-credential-issued\"").count();
    assert_eq!(told, 1, "{} packets, {text}", packets.len());
    assert!(!text.contains("CANARY"), "a secret is written: {text}");
    assert!(lines == written(&packets, 1), "batches show");
}

/// Requests and the bodies of their answers; the last one has the credential.
fn conversation(which: u8) -> Vec<(String, String)> {
    let aws = format!(
        "{{\"Code\":\"Success\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"Type\":\"AWS-HMAC\",\
         \"AccessKeyId\":\"ASIAQWERTYUIOPASDFGH\",\"SecretAccessKey\":\"{CANARY}\",\"Token\":\"{CANARY}{CANARY}{CANARY}\",\
         \"Expiration\":\"2026-01-01T06:00:00Z\"}}"
    );
    let role = "/latest/meta-data/iam/security-credentials/web";
    let host = "Host: 169.254.169.254\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n";
    match which % 3 {
        0 => vec![(format!("GET {role} HTTP/1.1\r\n{host}\r\n"), aws)],
        1 => {
            let token = format!("AQAEA{CANARY}==");
            let put = "PUT /latest/api/token HTTP/1.1";
            let ask = format!("{put}\r\n{host}X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n");
            let get = format!("GET {role} HTTP/1.1\r\n{host}X-aws-ec2-metadata-token: {token}\r\n\r\n");
            vec![(ask, token), (get, aws)]
        }
        _ => {
            let path = "/computeMetadata/v1/instance/service-accounts/default/token";
            let ask = format!("GET {path} HTTP/1.1\r\n{host}Metadata-Flavor: Google\r\n\r\n");
            let body = format!("{{\"access_token\":\"ya29.{CANARY}\",\"expires_in\":3599,\"token_type\":\"Bearer\"}}");
            vec![(ask, body)]
        }
    }
}

impl Wire<'_, '_> {
    /// An answer, with its length or in chunks of sizes from the script.
    fn encoded(&mut self, body: &[u8]) -> Vec<u8> {
        let head = "HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Type: application/json\r\n";
        if self.script.next() & 1 == 0 {
            return [head.as_bytes(), format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
        }
        let mut out = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at((1 + self.script.below(300)).min(rest.len()));
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            rest = after;
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }

    /// A message in segments, and its acknowledgement.
    fn message(&mut self, side: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at((1 + self.script.below(1448)).min(rest.len()));
            self.part(side, bytes, bytes.len() - rest.len(), part);
            rest = after;
        }
        self.release();
        self.send(1 - side, ACK, b"");
    }

    /// One segment of a message, in one of the ways in which a receiver gets it all the same.
    fn part(&mut self, side: usize, message: &[u8], at: usize, part: &[u8]) {
        let seq = self.next[side];
        let sent = at.min(200);
        match self.script.next() % 12 {
            1 => {
                self.send(side, PSH | ACK, part);
                self.emit(side, seq, PSH | ACK, part, true);
            }
            2 => {
                self.release();
                self.held = Some(self.packet(side, seq, PSH | ACK, part, true));
                self.next[side] = seq.wrapping_add(part.len() as u32);
            }
            3 => self.fragmented(side, part),
            // Decoys: no receiver takes them.
            4 => {
                self.emit(side, seq, PSH | ACK, &vec![b'x'; part.len()], false);
                self.send(side, PSH | ACK, part);
            }
            5 => {
                self.emit(side, seq.wrapping_add(1 << 30), RST, b"", true);
                self.send(side, PSH | ACK, part);
            }
            6 => {
                self.emit(side, seq.wrapping_sub(1), ACK, b"", true);
                self.send(side, PSH | ACK, part);
            }
            // What was sent before comes with it again.
            7 => {
                let whole = &message[at - sent..at + part.len()];
                self.emit(side, seq.wrapping_sub(sent as u32), PSH | ACK, whole, true);
                self.next[side] = seq.wrapping_add(part.len() as u32);
            }
            8 => {
                self.send(side, PSH | ACK, part);
                self.emit(1 - side, self.next[1 - side], ACK, b"", true);
            }
            9 => {
                // Too short for a segment of the same connection.
                let noise = (0..self.script.below(48)).map(|_| self.script.next()).collect();
                self.packets.push(Owned { time: self.now, link: LinkType::ETHERNET, data: noise });
                self.send(side, PSH | ACK, part);
            }
            10 => {
                self.now = self.now.plus(i64::from(self.script.next()) * 50_000_000);
                self.send(side, PSH | ACK, part);
            }
            _ => self.send(side, PSH | ACK, part),
        }
    }

    /// The next bytes of a side.
    fn send(&mut self, side: usize, flags: u8, payload: &[u8]) {
        let seq = self.next[side];
        self.emit(side, seq, flags, payload, true);
        self.next[side] = seq.wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        self.release();
    }

    fn fragmented(&mut self, side: usize, payload: &[u8]) {
        let (from, to) = (ENDS[side], ENDS[1 - side]);
        let seq = (self.next[side], self.next[1 - side]);
        let segment = wire::tcp(from, to, seq, PSH | ACK, payload, true);
        self.id += 1;
        let size = 8 + self.script.below(600);
        let mut parts = wire::fragments(from.0, to.0, 6, self.id, &segment, size);
        match self.script.next() % 4 {
            1 => parts.reverse(),
            2 => parts.extend(parts.clone()),
            3 => parts.rotate_left(1),
            _ => {}
        }
        parts.iter().for_each(|part| self.put(part));
        self.next[side] = self.next[side].wrapping_add(payload.len() as u32);
        self.release();
    }

    fn packet(&mut self, side: usize, seq: u32, flags: u8, payload: &[u8], good: bool) -> Vec<u8> {
        let (from, to) = (ENDS[side], ENDS[1 - side]);
        self.id += 1;
        let segment = wire::tcp(from, to, (seq, self.next[1 - side]), flags, payload, good);
        wire::ipv4(from.0, to.0, 6, self.id, 0, &segment)
    }

    fn emit(&mut self, side: usize, seq: u32, flags: u8, payload: &[u8], good: bool) {
        let packet = self.packet(side, seq, flags, payload, good);
        self.put(&packet);
    }

    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.put(&held);
        }
    }

    fn put(&mut self, packet: &[u8]) {
        self.now = self.now.plus(1_000_000);
        let data = wire::frame(packet, self.wrapping);
        self.packets.push(Owned { time: self.now, link: LinkType::ETHERNET, data });
    }
}
