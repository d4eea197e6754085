//! Deterministic stand-in traffic, written as a classic pcap: what benchmarks read when no real traffic is at hand, and
//! the extremes that real traffic does not have. The same arguments give the same bytes.
//!
//! Frames are whole and valid: Ethernet, IPv4, TCP or UDP with right checksums.

use std::io::{self, Write};
use std::net::Ipv4Addr;

/// One kind of traffic; numbers say how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP exchanges, ten on each connection.
    Http(u64),
    /// DNS queries with their answers.
    Dns(u64),
    /// IMDSv2 conversations of three requests: session token, role, credentials.
    Imds(u64),
    /// So many connections at once, and so many packets after their handshakes, round and round.
    Flows(u64, u64),
    /// Short connections one after the other, 20,000 a second of packet time.
    Churn(u64),
    /// A bit of everything, and bulk transfers: so many rounds of about 250 packets.
    Mix(u64),
}

impl Kind {
    /// From a name and numbers, as on a command line.
    pub fn parse(name: &str, numbers: &[u64]) -> Option<Self> {
        Some(match (name, numbers) {
            ("http", [n]) => Self::Http(*n),
            ("dns", [n]) => Self::Dns(*n),
            ("imds", [n]) => Self::Imds(*n),
            ("flows", [n, packets]) => Self::Flows(*n, *packets),
            ("churn", [n]) => Self::Churn(*n),
            ("mix", [n]) => Self::Mix(*n),
            _ => return None,
        })
    }
}

/// Whether this is `cargo bench`, and not `cargo test` that only wants to see benchmarks run.
pub fn is_measuring() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// Writes a capture of this traffic.
pub fn write(kind: Kind, to: &mut impl Write) -> io::Result<()> {
    let mut wire = Wire { to, nanos: 1_700_000_000_000_000_000, frame: Vec::new() };
    wire.file_header()?;
    match kind {
        Kind::Http(n) => (0..n.div_ceil(10)).try_for_each(|k| wire.http(k, 10)),
        Kind::Dns(n) => (0..n).try_for_each(|k| wire.dns(k)),
        Kind::Imds(n) => (0..n).try_for_each(|k| wire.imds(k)),
        Kind::Flows(n, packets) => wire.flows(n, packets),
        Kind::Churn(n) => (0..n).try_for_each(|k| wire.short(k)),
        Kind::Mix(n) => (0..n).try_for_each(|k| wire.mix(k)),
    }
}

/// A capture of this traffic.
pub fn capture(kind: Kind) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = write(kind, &mut out);
    out
}

const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const FIN_ACK: u8 = 0x11;

/// Largest payload of one segment.
const MSS: usize = 1448;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Where the capture goes, and when the next packet comes.
struct Wire<'w, W> {
    to: &'w mut W,
    nanos: u64,
    frame: Vec<u8>,
}

/// A TCP connection from its client's side.
#[derive(Clone, Copy)]
struct Tcp {
    client: (Ipv4Addr, u16),
    server: (Ipv4Addr, u16),
    seq: u32,
    ack: u32,
}

impl Tcp {
    /// The `k`th connection of a run: ends that repeat only after 2^24 clients.
    fn number(k: u64, server: Ipv4Addr, port: u16) -> Self {
        let client = Ipv4Addr::from(0x0a00_0000 | (k as u32 & 0x00ff_ffff));
        let source = 20_000 + (k >> 24) as u16 % 40_000 + (k % 7) as u16;
        let seq = (k as u32).wrapping_mul(2_654_435_761);
        Self { client: (client, source), server: (server, port), seq, ack: !seq }
    }
}

impl<W: Write> Wire<'_, W> {
    fn file_header(&mut self) -> io::Result<()> {
        self.to.write_all(&0xa1b2_3c4d_u32.to_le_bytes())?;
        self.to.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        self.to.write_all(&[0, 0, 4, 0, 1, 0, 0, 0])
    }

    /// One frame around a TCP or UDP segment whose checksum field, at `sum_at`, is still zero.
    fn packet(&mut self, ends: (Ipv4Addr, Ipv4Addr), protocol: u8, header: &[u8], payload: &[u8]) -> io::Result<()> {
        let (from, to) = ends;
        let len = header.len() + payload.len();
        let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        ip[2..4].copy_from_slice(&(20 + len as u16).to_be_bytes());
        ip[12..16].copy_from_slice(&from.octets());
        ip[16..20].copy_from_slice(&to.octets());
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        self.frame.clear();
        // Each end has its MAC, so that both directions are one flow.
        for end in [to, from] {
            self.frame.extend([2, 0]);
            self.frame.extend(end.octets());
        }
        self.frame.extend([8, 0]);
        self.frame.extend(ip);
        self.frame.extend(header);
        let pseudo = [&ip[12..20], &[0, protocol], &(len as u16).to_be_bytes()[..]].concat();
        let sum = checksum(&[&pseudo, header, payload]);
        let sum_at = 34 + if protocol == 6 { 16 } else { 6 };
        self.frame[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        let captured = (self.frame.len() + payload.len()) as u32;
        self.to.write_all(&((self.nanos / 1_000_000_000) as u32).to_le_bytes())?;
        self.to.write_all(&((self.nanos % 1_000_000_000) as u32).to_le_bytes())?;
        self.to.write_all(&captured.to_le_bytes())?;
        self.to.write_all(&captured.to_le_bytes())?;
        self.to.write_all(&self.frame)?;
        self.to.write_all(payload)?;
        self.nanos += 5_000;
        Ok(())
    }

    fn segment(&mut self, tcp: &mut Tcp, from_client: bool, flags: u8, payload: &[u8]) -> io::Result<()> {
        let (from, to) = if from_client { (tcp.client, tcp.server) } else { (tcp.server, tcp.client) };
        let (seq, ack) = if from_client { (tcp.seq, tcp.ack) } else { (tcp.ack, tcp.seq) };
        let ack = if flags & ACK == 0 { 0 } else { ack };
        let mut header = [0; 20];
        header[..2].copy_from_slice(&from.1.to_be_bytes());
        header[2..4].copy_from_slice(&to.1.to_be_bytes());
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[8..12].copy_from_slice(&ack.to_be_bytes());
        header[12..16].copy_from_slice(&[0x50, flags, 0xfa, 0xf0]);
        self.packet((from.0, to.0), 6, &header, payload)?;
        let used = payload.len() as u32 + u32::from(flags & 3 != 0);
        let next = if from_client { &mut tcp.seq } else { &mut tcp.ack };
        *next = next.wrapping_add(used);
        Ok(())
    }

    fn open(&mut self, tcp: &mut Tcp) -> io::Result<()> {
        self.segment(tcp, true, SYN, b"")?;
        self.segment(tcp, false, SYN_ACK, b"")?;
        self.segment(tcp, true, ACK, b"")
    }

    fn close(&mut self, tcp: &mut Tcp) -> io::Result<()> {
        self.segment(tcp, true, FIN_ACK, b"")?;
        self.segment(tcp, false, FIN_ACK, b"")?;
        self.segment(tcp, true, ACK, b"")
    }

    fn exchange(&mut self, tcp: &mut Tcp, request: &str, response: &[u8]) -> io::Result<()> {
        self.segment(tcp, true, PSH_ACK, request.as_bytes())?;
        for part in response.chunks(MSS) {
            self.segment(tcp, false, PSH_ACK, part)?;
        }
        self.segment(tcp, true, ACK, b"")
    }

    /// A browser's connection with so many exchanges.
    fn http(&mut self, k: u64, exchanges: u64) -> io::Result<()> {
        let mut tcp = Tcp::number(k, Ipv4Addr::new(93, 184, 216, 34), 80);
        self.open(&mut tcp)?;
        for n in 0..exchanges {
            let request = format!(
                "GET /shop/items/{}?page={n}&sort=price HTTP/1.1\r\nHost: shop.example.com\r\n\
                 User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
                 Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
                 Accept-Encoding: gzip, deflate\r\nCookie: session=7f3a9c{k:08x}; theme=dark\r\n\
                 Referer: http://shop.example.com/shop\r\nConnection: keep-alive\r\n\r\n",
                k * 10 + n
            );
            self.exchange(&mut tcp, &request, &response("text/html; charset=utf-8", &page(600)))?;
        }
        self.close(&mut tcp)
    }

    fn dns(&mut self, k: u64) -> io::Result<()> {
        let client = Ipv4Addr::from(0x0a00_0000 | (k as u32 & 0xffff));
        let server = Ipv4Addr::new(10, 255, 0, 2);
        let port = 1024 + (k % 60_000) as u16;
        let id = (k as u16).to_be_bytes();
        let label = format!("host-{:06}", k % 1_000_000);
        let mut question = vec![label.len() as u8];
        question.extend(label.as_bytes());
        question.extend(b"\x07service\x07example\x03com\x00\x00\x01\x00\x01");
        let query = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &question].concat();
        let address = Ipv4Addr::from(0x0a80_0000 | (k as u32 & 0x007f_ffff)).octets();
        let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &address].concat();
        let answer = [&id[..], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &question, &record].concat();
        self.datagram((client, port), (server, 53), &query)?;
        self.datagram((server, 53), (client, port), &answer)
    }

    fn datagram(&mut self, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> io::Result<()> {
        let mut header = [0; 8];
        header[..2].copy_from_slice(&from.1.to_be_bytes());
        header[2..4].copy_from_slice(&to.1.to_be_bytes());
        header[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        self.packet((from.0, to.0), 17, &header, payload)
    }

    /// An SDK on an EC2 instance that renews its credentials.
    fn imds(&mut self, k: u64) -> io::Result<()> {
        let agent = "User-Agent: Boto3/1.34.0 md/Botocore#1.34.0 ua/2.0 os/linux lang/python#3.12\r\n";
        let mut tcp = Tcp::number(k, METADATA, 80);
        self.open(&mut tcp)?;
        let token = format!("AQAEA{}==", random(3 * k, 48));
        let put = format!(
            "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n{agent}Content-Length: 0\r\n\
             X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n"
        );
        self.exchange(&mut tcp, &put, &response("text/plain", token.as_bytes()))?;
        let get = |path: &str| {
            format!(
                "GET /latest/meta-data/iam/security-credentials/{path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{agent}\
                 X-aws-ec2-metadata-token: {token}\r\n\r\n"
            )
        };
        self.exchange(&mut tcp, &get(""), &response("text/plain", b"web-role"))?;
        let credentials = format!(
            "{{\"Code\":\"Success\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"Type\":\"AWS-HMAC\",\
             \"AccessKeyId\":\"ASIA{k:016X}\",\"SecretAccessKey\":\"{}\",\"Token\":\"{}\",\
             \"Expiration\":\"2026-01-01T06:00:00Z\"}}",
            random(3 * k + 1, 40),
            random(3 * k + 2, 200),
        );
        self.exchange(&mut tcp, &get("web-role"), &response("text/plain", credentials.as_bytes()))?;
        self.close(&mut tcp)
    }

    /// Connections that are all open together; each begins with what is no HTTP, as TLS is.
    fn flows(&mut self, count: u64, packets: u64) -> io::Result<()> {
        let server = Ipv4Addr::new(203, 0, 113, 9);
        for k in 0..count {
            self.open(&mut Tcp::number(k, server, 443))?;
        }
        for n in 0..packets {
            let k = n % count;
            let mut tcp = Tcp::number(k, server, 443);
            let sent = (n / count) as u32 * 64;
            (tcp.seq, tcp.ack) = (tcp.seq.wrapping_add(1 + sent), tcp.ack.wrapping_add(1));
            self.segment(&mut tcp, true, PSH_ACK, &record())?;
        }
        Ok(())
    }

    fn short(&mut self, k: u64) -> io::Result<()> {
        let mut tcp = Tcp::number(k, Ipv4Addr::new(203, 0, 113, 9), 443);
        self.open(&mut tcp)?;
        self.segment(&mut tcp, true, PSH_ACK, &record())?;
        self.close(&mut tcp)?;
        self.nanos += 15_000;
        Ok(())
    }

    fn mix(&mut self, k: u64) -> io::Result<()> {
        self.http(k, 3)?;
        (0..8).try_for_each(|n| self.dns(k * 8 + n))?;
        self.short(k)?;
        let mut bulk = Tcp::number(k, Ipv4Addr::new(198, 51, 100, 7), 443);
        self.open(&mut bulk)?;
        self.segment(&mut bulk, true, PSH_ACK, &record())?;
        let data = [0x17; MSS];
        for _ in 0..100 {
            self.segment(&mut bulk, false, ACK, &data)?;
            self.segment(&mut bulk, true, ACK, b"")?;
        }
        self.close(&mut bulk)
    }
}

/// Letters and digits as secrets have them, the same for the same seed (SplitMix64).
fn random(seed: u64, len: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0xD134_2543_DE82_EF95);
    let letter = |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        char::from(LETTERS[(mixed >> 58) as usize])
    };
    (0..len).map(letter).collect()
}

fn response(content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: nginx\r\n\
         Content-Length: {}\r\nConnection: keep-alive\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

fn page(len: usize) -> Vec<u8> {
    b"<li class=\"item\">A plain thing, twelve of them in a box</li>\n".iter().copied().cycle().take(len).collect()
}

/// What TLS begins with, as far as anybody without its keys can tell.
fn record() -> [u8; 64] {
    let mut out = [0xa5; 64];
    out[..5].copy_from_slice(&[0x16, 0x03, 0x01, 0x00, 0x3b]);
    out
}

/// Internet checksum (RFC 1071) over parts, of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
