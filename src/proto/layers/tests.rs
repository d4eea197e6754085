//! What layers carry, told as one line per thing found.

use std::io::Write as _;
use std::net::IpAddr;

use super::*;
use crate::conn::Proto;
use crate::packet::Timestamp;
use crate::stream::End;

use Dir::{ToClient, ToServer};

const GET: &[u8] = b"GET /latest HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const UPGRADE: &[u8] = b"GET /ws?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";

fn conn() -> Conn {
    let end = |last, port| Endpoint { ip: IpAddr::from([10, 0, 0, last]), port };
    Conn::between(end(1, 40_000), end(2, 9000), Proto::Tcp)
}

/// Runs a conversation; `searches`: something was issued.
fn run(chunks: &[(Dir, Chunk<'_>)], from_start: bool, searches: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut layers = Layers::default();
    let (mut counters, mut ordinal) = (http::Counters::default(), 0);
    let mut dns = dns::Tracker::new(dns::Config::default());
    let limits = http::Limits::default();
    let mut at = Context { time: Timestamp(0), index: 0 };
    let end = [(ToClient, Chunk::End(End::Lost))];
    for (nth, (dir, chunk)) in chunks.iter().chain(&end).enumerate() {
        at = Context { time: at.time.plus(1000), index: at.index + 1 };
        let mut sink = Sink {
            conn: &conn,
            ports: [40_000, 9000],
            limits: &limits,
            keeps_body: &|_| true,
            searches,
            serves_metadata: false,
            ordinal: &mut ordinal,
            counters: &mut counters,
            dns: &mut dns,
            out: &mut |found| lines.push(line(found)),
        };
        match nth < chunks.len() {
            true => layers.feed(Delivery { dir: *dir, chunk: *chunk, at, from_start }, &mut sink),
            false => layers.finish(at, &mut sink),
        }
    }
    assert!(!layers.wants_more() && layers.memory() == 0);
    lines
}

fn told(pieces: &[(Dir, &[u8])]) -> Vec<String> {
    let chunks: Vec<_> = pieces.iter().map(|(dir, bytes)| (*dir, Chunk::Data(bytes))).collect();
    run(&chunks, true, true)
}

fn line(found: Found<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match found {
        Found::Http(tx) => {
            let target = tx.request.as_ref().map_or(String::new(), |m| text(m.head.target()));
            let status = tx.response.as_ref().and_then(|m| m.head.status()).unwrap_or_default();
            let origin = tx.conn.origin.map_or(String::new(), |end| format!(" for {}", end.ip));
            let via = tx.via.map_or(String::new(), |via| format!(" via {}", text(&via)));
            format!("http {target} {status}{via}{origin}")
        }
        Found::Dns(tx, _) => format!("dns {}", tx.response.is_some()),
        Found::Text { dir, bytes, .. } => format!("text {} {}", dir.index(), text(bytes)),
        Found::Message { request, bytes, .. } => format!("message {} {}", text(request.target()), text(bytes)),
        Found::Tls => "tls".to_owned(),
    }
}

/// A frame of text, masked as a client does.
fn frame(first: u8, bytes: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 0, 255];
    let masked = bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, 0x80 | u8::try_from(bytes.len()).unwrap()].into_iter().chain(mask).chain(masked).collect()
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text).unwrap();
    out.flush().unwrap();
    let bytes = out.get_ref().clone();
    bytes.strip_suffix(b"\0\0\xff\xff").unwrap().to_vec()
}

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_proxy_header_stands_before_anything() {
    let line = b"PROXY TCP4 203.0.113.7 10.0.0.5 56324 443\r\n";
    assert_eq!(told(&[(ToServer, &[line, GET].concat()), (ToClient, OK)]), ["http /latest 200 for 203.0.113.7"]);
    let socks = told(&[
        (ToServer, line),
        (ToServer, b"\x05\x01\0"),
        (ToClient, b"\x05\0"),
        (ToServer, b"\x05\x01\0\x01\x0a\0\0\x01\0\x50"),
        (ToClient, b"\x05\0\0\x01\0\0\0\0\0\0"),
        (ToServer, GET),
        (ToClient, OK),
    ]);
    assert_eq!(socks, ["http /latest 200 via 10.0.0.1:80 for 203.0.113.7"]);
    assert_eq!(told(&[(ToServer, &[line, &b"\x16\x03\x01\x02\0\x01"[..]].concat())]), ["tls"]);
}

#[test]
fn a_tunnel_carries_other_protocols_as_well() {
    let connect = told(&[
        (ToServer, b"CONNECT mail:25 HTTP/1.1\r\n\r\n"),
        (ToClient, b"HTTP/1.1 200 Yes\r\n\r\n"),
        (ToClient, b"220 mail ready \r\n"),
        (ToServer, b"HELO there \r\n"),
    ]);
    assert_eq!(connect, ["http mail:25 200", "text 1 220 mail ready \r\n", "text 0 HELO there \r\n"]);
}

#[test]
fn depth_is_limited() {
    let line = b"PROXY UNKNOWN\r\n";
    let nested = |depth: usize| told(&[(ToServer, &[line.repeat(depth), GET.to_vec()].concat()), (ToClient, OK)]);
    assert_eq!(nested(usize::from(MAX_DEPTH)), ["http /latest 200"]);
    assert_eq!(nested(usize::from(MAX_DEPTH) + 1), [""; 0]);
}

#[test]
fn messages_of_a_websocket_are_handed_on_and_what_they_carry_is_read() {
    let json = b"{\"url\": \"http://169.254.169.254/latest/\"} ";
    let found = told(&[(ToServer, UPGRADE), (ToClient, SWITCH), (ToServer, &frame(0x81, json))]);
    let text = String::from_utf8_lossy(json);
    let message = format!("message /ws {text}");
    assert_eq!(found, ["http /ws?x=1 101", &format!("text 0 {text}"), &message]);
    let halves = [frame(0x01, &json[..9]), frame(0x89, b"ping"), frame(0x80, &json[9..])].concat();
    assert_eq!(told(&[(ToServer, UPGRADE), (ToClient, SWITCH), (ToServer, &halves)]).last(), Some(&message));
    let packed = frame(0xc1, &deflated(json));
    assert_eq!(told(&[(ToServer, UPGRADE), (ToClient, SWITCH), (ToServer, &packed)]).last(), Some(&message));
    let tunnel = told(&[
        (ToServer, UPGRADE),
        (ToClient, SWITCH),
        (ToServer, &frame(0x82, GET)),
        (ToClient, &[&[0x82, OK.len() as u8], OK].concat()),
    ]);
    assert!(tunnel.contains(&"http /latest 200".to_owned()), "{tunnel:?}");
}

#[test]
fn a_message_that_inflates_to_too_much_ends_its_direction() {
    let bomb = deflated(&vec![b' '; 1 << 20]);
    let head = [0xc1, 0x80 | 126, (bomb.len() >> 8) as u8, bomb.len() as u8, 0, 0, 0, 0];
    let after = frame(0x81, b"after ");
    let found = told(&[(ToServer, UPGRADE), (ToClient, SWITCH), (ToServer, &[&head, &bomb[..], &after].concat())]);
    let bytes: usize = found.iter().map(String::len).sum();
    assert!(bytes < (130 << 10) + 20 * bomb.len() && !found.iter().any(|line| line.contains("after")), "{bytes}");
}

#[test]
fn text_is_searched_to_its_end_once_something_was_issued() {
    let title = b"\x1b]0;root@web\x07# cat key ";
    let shell: [(Dir, &[u8]); 3] = [(ToServer, title), (ToClient, b"id\n"), (ToServer, b"uid=0 ")];
    assert_eq!(told(&shell).len(), 3);
    let chunks: Vec<_> = shell.iter().map(|(dir, bytes)| (*dir, Chunk::Data(bytes))).collect();
    assert_eq!(run(&chunks, true, false), [""; 0]);
    let telnet: [(Dir, &[u8]); 2] = [(ToClient, b"\xff\xfd\x18 login: "), (ToServer, b"\xff\xfb\x18 AKIA ")];
    assert_eq!(told(&telnet).len(), 2, "what a server says first is searched as well");
    let block = vec![b'x'; 1 << 10];
    let mut long: Vec<(Dir, &[u8])> = vec![(ToServer, &block); 200];
    long.push((ToServer, b" the end "));
    assert!(told(&long).last().is_some_and(|line| line.ends_with("the end ")));
    assert_eq!(told(&[(ToClient, b"SSH-2.0-x\r\n"), (ToServer, b"SSH-2.0-y\r\nab cd ")]).len(), 1);
    assert_eq!(told(&[(ToServer, b"STARTTLS \r\n"), (ToServer, b"\x16\x03\x01"), (ToServer, b"more ")]).len(), 1);
}
