//! What holds for any split and any bytes.

use proptest::prelude::*;

use super::Ev::{C, S};
use super::*;

/// Conversations that are read without help from where chunks begin.
fn conversations() -> Vec<Vec<(Dir, Vec<u8>)>> {
    let c = |text: &[u8]| (ToServer, text.to_vec());
    let s = |text: &[u8]| (ToClient, text.to_vec());
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nhi\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n";
    let upgrade = b"GET /u HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let (mut ask, mut answer) = (fluke_hpack::Encoder::new(), fluke_hpack::Encoder::new());
    let first = [h2::preface(), h2::get(&mut ask, 1, "/1"), h2::get(&mut ask, 3, "/3")].concat();
    let second = [h2::settings(), h2::ok(&mut answer, 3, b"three"), h2::ok(&mut answer, 1, b"one")].concat();
    let on_one = [h2::settings(), h2::ok(&mut fluke_hpack::Encoder::new(), 1, b"one")].concat();
    vec![
        vec![
            c(b"\r\nGET /a HTTP/1.1\r\nHost:\r\n h\r\n\r\nPOST /b HTTP/1.1\nContent-Length: 3\n\nx=1"),
            s(&[chunked, OK].concat()),
        ],
        vec![
            c(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"),
            s(b"HTTP/1.1 100 Continue\r\n\r\n"),
            c(b"3\r\nabc\r\n0\r\n\r\nHEAD /h HTTP/1.0\r\n\r\n"),
            s(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n"),
            c(b"GET /close HTTP/1.1\r\n\r\n"),
            s(b"HTTP/1.0 404 \r\n\r\nuntil the end\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ],
        vec![
            c(b"CONNECT m:80 HTTP/1.1\r\n\r\n"),
            s(b"HTTP/1.1 200 Yes\r\nContent-Length: 9\r\n\r\n"),
            c(GET),
            s(OK),
            c(GET),
            s(OK),
        ],
        vec![
            c(b"\x05\x01\0"),
            s(b"\x05\0"),
            c(b"\x05\x01\0\x01\x0a\0\0\x01\0\x50"),
            s(b"\x05\0\0\x01\0\0\0\0\0\0"),
            c(GET),
            s(OK),
        ],
        vec![
            c(b"PROXY TCP6 2001:db8::7 fd00::5 56324 80\r\n"),
            c(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x05\xdc\x04\0\x50"),
            c(GET),
            s(OK),
        ],
        vec![
            c(b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"),
            s(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
            c(&websocket(GET)),
            s(&websocket(OK)),
        ],
        vec![c(&first), s(&second)],
        vec![
            c(upgrade),
            s(&[&switch[..], &on_one].concat()),
            c(&first),
            s(&h2::ok(&mut fluke_hpack::Encoder::new(), 3, b"3")),
        ],
        vec![
            c(b"FOO-BAR http://h/ HTTP/1.1\r\n\r\n"),
            s(OK),
            c(b"get /\xe9 b http/1.2\n\n"),
            s(b"HTTP/1.1 204 No\r\n\r\n"),
        ],
    ]
}

/// A masked frame with these bytes.
fn websocket(bytes: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let masked = bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x82, 0x80 | bytes.len() as u8].into_iter().chain(mask).chain(masked).collect()
}

fn events(pieces: &[(Dir, Vec<u8>)]) -> Vec<Ev<'_>> {
    pieces.iter().map(|(dir, bytes)| if *dir == ToServer { C(bytes) } else { S(bytes) }).collect()
}

/// Cuts each piece at the given places (parts of 1000 of its length).
fn cut(pieces: &[(Dir, Vec<u8>)], places: &[usize]) -> Vec<(Dir, Vec<u8>)> {
    let mut out = Vec::new();
    for (dir, bytes) in pieces {
        let mut at: Vec<usize> = places.iter().map(|place| place * bytes.len() / 1000).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        out.extend(at.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| (*dir, bytes[pair[0]..pair[1]].to_vec())));
    }
    out
}

#[test]
fn byte_by_byte_gives_the_same() {
    for conversation in conversations() {
        let whole = told(&events(&conversation));
        assert!(!whole.is_empty());
        let bytes: Vec<_> =
            conversation.iter().flat_map(|(dir, bytes)| bytes.iter().map(|b| (*dir, vec![*b]))).collect();
        assert_eq!(told(&events(&bytes)), whole);
    }
}

fn any_event() -> impl Strategy<Value = (u8, Vec<u8>, u64)> {
    let texts: Vec<Vec<u8>> = conversations().into_iter().flatten().map(|(_, bytes)| bytes).collect();
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..40),
        prop::sample::select(texts.clone()),
        (prop::sample::select(texts), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut text, at, byte)| {
            let at = at.index(text.len());
            text[at] = byte;
            text
        }),
    ];
    (0..9_u8, bytes, 1..200_u64)
}

proptest! {
    #![proptest_config(fixed_seed())]

    #[test]
    fn any_split_gives_the_same(which in 0..7_usize, places in prop::collection::vec(0..1000_usize, 0..12)) {
        let conversation = &conversations()[which];
        prop_assert_eq!(told(&events(&cut(conversation, &places))), told(&events(conversation)));
    }

    #[test]
    fn nothing_panics_and_limits_hold(script in prop::collection::vec(any_event(), 1..30)) {
        let limits = Limits { head: 200, body: 50, pending: 3, memory: 4000, ..Limits::default() };
        let events: Vec<Ev<'_>> = script.iter().map(|(kind, bytes, len)| match kind {
            0..=2 => C(bytes),
            3 | 4 => S(bytes),
            5 => Ev::Two(bytes, &bytes[..]),
            6 => Ev::Again(bytes),
            7 => Ev::Gap(if len % 2 == 0 { ToServer } else { ToClient }, *len, len % 3 == 0),
            _ => Ev::End(if len % 2 == 0 { ToServer } else { ToClient }, if len % 3 == 0 { End::Fin } else { End::Lost }),
        }).collect();
        let (found, _) = run_with(&limits, &events);
        for message in found.iter().flat_map(|transaction| [&transaction.request, &transaction.response]).flatten() {
            prop_assert!(message.head.raw.len() <= limits.head && message.body.captured.len() <= limits.body);
        }
    }
}
