//! HTTP/2 conversations in clear text.

use super::Dir::{ToClient, ToServer};
use super::Ev::{C, S};
use super::*;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// The client's first bytes.
pub(super) fn preface() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

fn headers(encoder: &mut fluke_hpack::Encoder<'_>, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    frame(1, flags | END_HEADERS, stream, &block)
}

pub(super) fn get(encoder: &mut fluke_hpack::Encoder<'_>, stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "h"), ("x", "y")];
    headers(encoder, stream, END_STREAM, &fields)
}

pub(super) fn ok(encoder: &mut fluke_hpack::Encoder<'_>, stream: u32, body: &[u8]) -> Vec<u8> {
    let head = headers(encoder, stream, 0, &[(":status", "200"), ("content-type", "text/plain"), ("server", "s")]);
    [head, frame(0, END_STREAM, stream, body)].concat()
}

/// Lines without sizes of heads, which depend on the compression.
fn short(found: &[Transaction]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    found
        .iter()
        .map(|transaction| {
            let request = transaction.request.as_ref().map_or_else(String::new, |message| {
                let host = message.head.field("host").map(text).unwrap_or_default();
                format!("{} {host} {} ", text(message.head.method()), text(message.head.target()))
            });
            let response = transaction.response.as_ref().map_or_else(String::new, |message| {
                let body = text(&message.body.captured);
                let whole = if message.body.whole { " whole" } else { "" };
                format!("{} {} {body}{whole}", message.head.status().unwrap(), message.body.len)
            });
            let notes: String = transaction.notes.iter().map(|note| format!(" {note:?}")).collect();
            format!("{}: {request}{response}{notes}", transaction.stream.unwrap())
        })
        .collect()
}

#[test]
fn streams_are_transactions_in_order_of_completion() {
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let ask = [preface(), get(&mut c, 1, "/1"), get(&mut c, 3, "/3")].concat();
    let third = ok(&mut s, 3, b"three");
    let answer = [settings(), third, ok(&mut s, 1, b"one")].concat();
    let found = run(&[C(&ask), S(&answer)]);
    assert_eq!(short(&found), ["3: GET h /3 200 5 three whole", "1: GET h /1 200 3 one whole"]);
    let message = found[0].request.as_ref().unwrap();
    assert_eq!(message.head.version, Some(Version { major: 2, minor: 0 }));
    assert_eq!(message.head.field("x"), Some(&b"y"[..]));
    assert!(message.complete && message.head.complete && message.body.whole);
}

#[test]
fn padding_priority_continuation_trailers_and_interim_answers_are_undone() {
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let fields = [(":method", "POST"), (":path", "/p"), (":authority", "h")];
    let block = c.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let (first, second) = block.split_at(3);
    let padded = [&[2][..], &[0, 0, 0, 0, 16], first, &[0, 0]].concat();
    let ask = [
        preface(),
        frame(1, PADDED | PRIORITY, 1, &padded),
        frame(9, 0, 1, &[]),
        frame(9, END_HEADERS, 1, second),
        frame(0, PADDED, 1, b"\x03body\0\0\0"),
        frame(6, 0, 0, b"12345678"),
        headers(&mut c, 1, END_STREAM, &[("trailer", "1")]),
    ]
    .concat();
    let answer = [
        settings(),
        headers(&mut s, 1, 0, &[(":status", "103")]),
        headers(&mut s, 1, 0, &[(":status", "200")]),
        frame(0, 0, 1, b"ab"),
        frame(0, 0, 1, b""),
        frame(0, END_STREAM, 1, b"c"),
    ]
    .concat();
    let found = run(&[C(&ask), S(&answer)]);
    assert_eq!(short(&found), ["1: POST h /p 200 3 abc whole"]);
    let request = found[0].request.as_ref().unwrap();
    assert_eq!(request.body.captured, b"body");
    // all frames of the stream, not the ping
    let wire = ask.len() - preface().len() - 17;
    assert_eq!(request.bytes, wire as u64);
}

#[test]
fn an_upgraded_request_is_answered_on_stream_one() {
    let ask = b"GET /latest HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let answer = [&switch[..], &settings(), &ok(&mut s, 1, b"one")].concat();
    let next = [preface(), get(&mut c, 3, "/3")].concat();
    let found = run(&[C(ask), S(&answer), C(&next), S(&ok(&mut s, 3, b"three"))]);
    assert_eq!(short(&found), ["1: GET h /latest 200 3 one whole", "3: GET h /3 200 5 three whole"]);
    assert_eq!(found[0].request.as_ref().unwrap().head.version, Some(Version { major: 1, minor: 1 }));
    // only the client's side was captured
    let next = [preface(), get(&mut fluke_hpack::Encoder::new(), 3, "/3")].concat();
    let found = run(&[C(ask), C(&next)]);
    assert_eq!(short(&found), ["1: GET h /latest  UnmatchedRequest", "3: GET h /3  UnmatchedRequest"]);
}

#[test]
fn resets_and_the_end_write_what_there_is() {
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let ask = [preface(), get(&mut c, 1, "/1"), get(&mut c, 3, "/3"), frame(3, 0, 1, &[0, 0, 0, 8])].concat();
    let late =
        [settings(), ok(&mut s, 1, b"late"), headers(&mut s, 3, 0, &[(":status", "200")]), frame(0, 0, 3, b"par")]
            .concat();
    let found = run(&[C(&ask), S(&late), Ev::End(ToClient, End::Fin)]);
    assert_eq!(short(&found), ["1: GET h /1  UnmatchedRequest", "3: GET h /3 200 3 par"]);
    assert!(!found[1].response.as_ref().unwrap().complete);
}

#[test]
fn pushed_streams_are_passed_over_but_keep_the_compression_in_step() {
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let promise = s.encode([(&b":path"[..], &b"/pushed"[..]), (b"server", b"s")]);
    let promise = frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &promise].concat());
    let answer = [settings(), promise, ok(&mut s, 2, b"pushed"), ok(&mut s, 1, b"one")].concat();
    let found = run(&[C(&[preface(), get(&mut c, 1, "/1")].concat()), S(&answer)]);
    assert_eq!(short(&found), ["1: GET h /1 200 3 one whole"]);
    assert_eq!(found[0].response.as_ref().unwrap().head.field("server"), Some(&b"s"[..]));
}

#[test]
fn after_a_gap_what_is_new_is_read_and_nothing_is_guessed() {
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let first = [preface(), get(&mut c, 1, "/1")].concat();
    let lost = get(&mut c, 3, "/3");
    let after = get(&mut c, 5, "/5");
    let answers = [settings(), ok(&mut s, 1, b"one")].concat();
    let found = run(&[
        C(&first),
        S(&answers),
        Ev::Gap(ToServer, lost.len() as u64, false),
        C(&after),
        S(&ok(&mut s, 5, b"five")),
    ]);
    assert_eq!(short(&found), ["1: GET h /1 200 3 one whole", "5: GET h /5 200 4 five whole"]);
    // `x` is a reference to a table entry from before the gap
    let head = &found[1].request.as_ref().unwrap().head;
    assert_eq!((head.field("x"), head.complete), (None, false));
    // inside a body nothing is lost but bytes
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let asked = [preface(), get(&mut c, 1, "/1"), get(&mut c, 3, "/3")].concat();
    let one = [settings(), ok(&mut s, 1, b"0123456789")].concat();
    let (before, rest) = one.split_at(one.len() - 8);
    let found = run(&[C(&asked), S(before), Ev::Gap(ToClient, 5, false), S(&rest[5..]), S(&ok(&mut s, 3, b"three"))]);
    assert_eq!(short(&found), ["1: GET h /1 200 10 01789 LossInResponse", "3: GET h /3 200 5 three whole"]);
}

#[test]
fn a_connection_without_its_beginning_is_read_as_far_as_it_goes() {
    let (mut c, mut s) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    get(&mut c, 1, "/1");
    let ask = [frame(8, 0, 0, &[0, 0, 1, 0]), get(&mut c, 3, "/3")].concat();
    assert_eq!(probe(&ask), Probe::No);
    assert_eq!(probe_resumed(&ask), Probe::Is(Kind::Http2));
    let answer = ok(&mut s, 3, b"three");
    let (found, _) = run_from(false, &Limits::default(), &[C(&ask), S(&answer)]);
    assert_eq!(short(&found), ["3: GET h /3 200 5 three whole"]);
    assert_eq!(found[0].request.as_ref().unwrap().head.field("x"), None);
}

#[test]
fn floods_are_bounded() {
    let mut c = fluke_hpack::Encoder::new();
    let many: Vec<u8> = (0..100).flat_map(|n| get(&mut c, 2 * n + 1, "/many")).collect();
    let limits = Limits { pending: 10, ..Limits::default() };
    let (found, counters) = run_with(&limits, &[C(&preface()), C(&many)]);
    assert_eq!((found.len(), counters.requests_evicted), (100, 90));
    let endless: Vec<u8> = (0..200).flat_map(|_| frame(9, 0, 1, &[0x82; 1000])).collect();
    let flood = [preface(), frame(1, 0, 1, &[0x82]), endless].concat();
    let (found, counters) = run_with(&limits, &[C(&flood), C(&get(&mut c, 201, "/"))]);
    assert_eq!((found.len(), counters.http2_abandoned), (0, 1));
}

#[test]
fn a_header_list_that_is_too_long_loses_its_stream_alone() {
    let mut c = fluke_hpack::Encoder::new();
    let long = [frame(1, 0, 1, &[0x82; 60_000]), frame(9, 0, 1, &[0x82; 60_000]), frame(9, END_HEADERS, 1, &[0x82])];
    let (found, counters) =
        run_with(&Limits::default(), &[C(&preface()), C(&long.concat()), C(&get(&mut c, 3, "/next"))]);
    assert_eq!(short(&found), ["3: GET h /next  UnmatchedRequest"]);
    assert_eq!((counters.http2_abandoned, counters.header_lists_cut), (0, 1));
    let large = [&b"\x82\x84\x40\x01a\x7f\xa1\x1e"[..], &[b'x'; 4000]].concat();
    let bomb = [
        frame(1, END_HEADERS | 1, 1, &large),
        frame(1, END_HEADERS | 1, 3, &[&[0x82, 0x84], &[0xbe; 600][..]].concat()),
    ];
    let (found, counters) = run_with(&Limits::default(), &[C(&preface()), C(&bomb.concat()), C(&get(&mut c, 5, "/"))]);
    assert_eq!((found.len(), counters.http2_abandoned, counters.header_lists_cut), (3, 0, 1));
    assert!(found.iter().all(|tx| tx.request.as_ref().unwrap().head.raw.len() < 32 * 1024));
}

#[test]
fn what_breaks_the_protocol_ends_it() {
    let mut c = fluke_hpack::Encoder::new();
    for broken in [
        frame(1, END_HEADERS, 0, &[0x82]),
        frame(9, END_HEADERS, 1, &[0x82]),
        [frame(1, 0, 1, &[0x82]), frame(0, 0, 1, &[0])].concat(),
        frame(1, END_HEADERS | PADDED, 1, &[9, 0x82]),
        frame(1, END_HEADERS, 1, &[0x3f]),
        frame(0, PADDED, 1, &[9, 0]),
    ] {
        let (found, counters) = run_with(&Limits::default(), &[C(&preface()), C(&broken), C(&get(&mut c, 3, "/"))]);
        assert_eq!((found.len(), counters.http2_abandoned), (0, 1), "{broken:?}");
    }
    assert_eq!(told(&[C(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n")]), [""; 0]);
}
