//! HTTP/1 conversations.

use super::Dir::{ToClient, ToServer};
use super::Ev::{C, S};
use super::*;

#[test]
fn an_exchange_is_one_transaction_with_times_and_sizes() {
    let found = run(&[C(GET), S(b"HTTP/1.1 200 OK\r\nContent-"), S(b"Length: 2\r\n\r\nhi")]);
    assert_eq!(found.iter().map(tell).collect::<Vec<_>>(), ["GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole"]);
    let (request, response) = (found[0].request.as_ref().unwrap(), found[0].response.as_ref().unwrap());
    assert_eq!((request.first, request.last, request.first_index), (Timestamp(1000), Timestamp(1000), 1));
    assert_eq!((response.first, response.last, response.first_index), (Timestamp(2000), Timestamp(3000), 2));
    assert_eq!(response.head.version, Some(Version { major: 1, minor: 1 }));
    assert_eq!(response.head.raw, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let three = b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n";
    let answers = [OK, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", OK].concat();
    assert_eq!(
        told(&[C(three), S(&answers)]),
        [
            "GET /1 19/0/ whole -> 200 OK 40/2/hi whole",
            "GET /2 19/0/ whole -> 404 Not Found 45/0/ whole",
            "GET /3 19/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
}

#[test]
fn request_lines_are_read_as_servers_and_packetbeat_read_them() {
    for (line, expected) in [
        ("get /x HTTP/1.1", "get /x"),
        ("FOO-bar /x HTTP/1.1", "FOO-bar /x"),
        ("GET /a b c HTTP/1.1", "GET /a b c"),
        ("GET  /x  HTTP/1.1", "GET /x"),
        ("GET\t/x\tHTTP/1.1", "GET /x"),
        ("GET /x http/1.1", "GET /x"),
        ("GET /x HTTP/1.2", "GET /x"),
        ("GET /x HTTP/9", "GET /x"),
        ("GET /x HTTP/1.1 ", "GET /x"),
        ("GET http://169.254.169.254/x HTTP/1.0", "GET http://169.254.169.254/x"),
    ] {
        let bytes = [line.as_bytes(), b"\r\n\r\n"].concat();
        let whole = format!("{expected} {}/0/ whole UnmatchedRequest", bytes.len());
        assert_eq!(request(&bytes), [whole], "{line}");
    }
    let found = run(&[C(b"GET /caf\xe9 HTTP/1.1\r\n\r\n")]);
    assert_eq!(found[0].request.as_ref().unwrap().head.target(), b"/caf\xe9");
}

#[test]
fn what_is_no_http_is_no_transaction() {
    for bytes in [
        &b"GET /x\r\n\r\n"[..],
        b"EHLO mail.example\r\nGET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"get foo\r\n",
        b"OPTIONS rtsp://h/ RTSP/1.0\r\n\r\n",
        b"GET /x HTTP",
        b"",
    ] {
        assert_eq!(request(bytes), [""; 0], "{bytes:?}");
    }
    assert_eq!(told(&[C(b"MAIL FROM:<a@b> SIZE=3\r\n"), C(GET), S(OK)]), [""; 0]);
}

#[test]
fn heads_are_read_leniently() {
    for (block, host) in [
        ("Host: h\n", "h"),
        ("Host : h\r\n", "h"),
        ("host:h   \r\n", "h"),
        ("HOST:\th\t\r\n", "h"),
        ("X: 1\r\n 2\r\nHost: h\r\n", "h"),
        ("Host:\r\n h\r\n", "h"),
        ("Host: h\r\n\tx\r\n", "h  \tx"),
        (" leading\r\nHost: h\r\n", "h"),
        ("no colon\r\nHost: h\r\n", "h"),
        ("Nul: a\0b\r\nHost: h\r\n", "h"),
        ("\u{e9}: x\r\nHost: h\r\n", "h"),
        ("Host: a\r\nHost: b\r\n", "a"),
    ] {
        let bytes = ["GET / HTTP/1.1\r\n", block, "\r\n"].concat();
        let expected = format!("GET / host={host} {}/0/ whole UnmatchedRequest", bytes.len());
        assert_eq!(request(bytes.as_bytes()), [expected], "{block:?}");
    }
    let many: String = (0..300).map(|n| format!("X-{n}: y\r\n")).collect();
    let found = run(&[C(["GET / HTTP/1.1\r\n", &many, "Host: h\r\n\r\n"].concat().as_bytes())]);
    let head = &found[0].request.as_ref().unwrap().head;
    assert_eq!((head.fields.len(), head.field("host")), (301, Some(&b"h"[..])));
}

#[test]
fn bodies_are_delimited_by_length_chunks_and_close() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2;a=\"b\"\r\nhi\r\n0A \r\n0123456789\r\n0\r\nT: 1\r\n\r\n";
    assert_eq!(
        told(&[C(GET), S(&[chunked, OK].concat())]),
        [
            "GET /latest host=h 33/0/ whole -> 200 OK 94/12/hi0123456789 whole".to_owned(),
            " -> 200 OK 40/2/hi whole UnmatchedResponse".to_owned(),
        ]
    );
    let close = b"HTTP/1.0 200 OK\r\n\r\nbody";
    assert_eq!(
        told(&[C(GET), S(close), S(b"HTTP/1.1 200"), Ev::End(ToClient, End::Fin)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 35/16/bodyHTTP/1.1 200 whole"]
    );
    let post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na=1GET / HTTP/1.1\r\n\r\n";
    assert_eq!(
        told(&[C(post), S(OK), S(OK)]),
        ["POST / 41/3/a=1 whole -> 200 OK 40/2/hi whole", "GET / 18/0/ whole -> 200 OK 40/2/hi whole"]
    );
    // no length, HTTP/1.1, no announced close: captured, but counted as Packetbeat counts
    let open = b"HTTP/1.1 200 OK\r\n\r\nbody";
    assert_eq!(
        told(&[C(GET), S(open), C(GET), S(OK), Ev::End(ToClient, End::Fin)]),
        [
            "GET /latest host=h 33/0/ whole -> 200 OK 19/0/body whole",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
}

#[test]
fn interim_answers_and_bodiless_statuses_are_passed_over() {
    let answers = [&b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"[..], OK].concat();
    let post = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(
        told(&[C(post), S(&answers[..25]), C(b"x"), S(&answers[25..])]),
        ["POST / 61/1/x whole -> 200 OK 40/2/hi whole"]
    );
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n";
    let unchanged = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n";
    let none = b"HTTP/1.1 204 \r\n\r\n";
    assert_eq!(
        told(&[C(b"HEAD / HTTP/1.1\r\n\r\n"), S(head), C(GET), S(unchanged), C(GET), S(none), C(GET), S(OK)]),
        [
            "HEAD / 19/0/ whole -> 200 OK 40/0/ whole",
            "GET /latest host=h 33/0/ whole -> 304 Not Modified 48/7/ whole",
            "GET /latest host=h 33/0/ whole -> 204  17/0/ whole",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
}

#[test]
fn an_answer_that_ends_before_its_request_waits_for_it() {
    let post = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    assert_eq!(told(&[C(post), S(OK), C(b"defghi")]), ["POST / 47/9/abcdefghi whole -> 200 OK 40/2/hi whole"]);
    assert_eq!(
        told(&[C(post), S(OK), Ev::End(ToClient, End::Fin), Ev::End(ToServer, End::Fin)]),
        ["POST / 41/9/abc unfinished -> 200 OK 40/2/hi whole"]
    );
    // refused before its body, which is then not sent
    assert_eq!(
        told(&[C(&post[..38]), S(OK), C(GET), S(OK)]),
        ["POST / 38/9/ unfinished -> 200 OK 40/2/hi whole", "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole"]
    );
}

#[test]
fn what_lacks_its_other_half_is_written_at_the_end() {
    assert_eq!(
        told(&[C(GET), C(GET), S(OK), Ev::End(ToClient, End::Reset)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole", "GET /latest host=h 33/0/ whole UnmatchedRequest",]
    );
    assert_eq!(
        told(&[S(OK), S(OK)]),
        [" -> 200 OK 40/2/hi whole UnmatchedResponse", " -> 200 OK 40/2/hi whole UnmatchedResponse",]
    );
    // a head that its sender never finished was never a request; one that the capture ended in may have been
    let cut = b"GET /latest HTTP/1.1\r\nHost: h\r\nX";
    assert_eq!(told(&[C(cut), Ev::End(ToServer, End::Fin)]), [""; 0]);
    assert_eq!(told(&[C(cut), Ev::End(ToServer, End::Reset)]), [""; 0]);
    assert_eq!(told(&[C(cut)]), ["GET /latest host=h 32/0/ unfinished head-cut UnmatchedRequest"]);
    assert_eq!(
        told(&[C(GET), S(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Ev::End(ToClient, End::Fin)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 41/9/abc unfinished"]
    );
}

#[test]
fn of_two_readings_both_are_written_and_one_is_answered() {
    let both = "GET /a host=h 28/0/ whole";
    let harmless =
        ["GET /b host=h 28/0/ whole UnmatchedRequest conflict", &format!("{both} -> 200 OK 40/2/hi whole conflict")]
            .map(String::from);
    let (a, b) = (b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(told(&[Ev::Two(a, b), S(OK)]), harmless);
    assert_eq!(told(&[C(&a[..5]), Ev::Two(&a[5..6], &b[5..6]), C(&a[6..20]), C(&a[20..]), S(OK)]), harmless);
    assert_eq!(told(&[C(a), Ev::Again(b), S(OK)]), harmless);
    assert_eq!(told(&[C(a), Ev::Again(&b[5..]), S(OK)]), harmless);
    assert_eq!(told(&[C(&a[..20]), Ev::Again(&b[5..20]), C(&a[20..]), S(OK)]), harmless);
    let two = [&a[..], a].concat();
    assert_eq!(
        told(&[C(&two), Ev::Again(&b[5..]), S(OK), S(OK)]),
        [
            "GET /b host=h 28/0/ whole UnmatchedRequest conflict".to_owned(),
            format!("{both} -> 200 OK 40/2/hi whole"),
            format!("{both} -> 200 OK 40/2/hi whole conflict"),
        ]
    );
}

#[test]
fn gaps_leave_what_can_be_told() {
    // in a head: method and beginning of the target, then the answer; the rest of the head is passed over
    assert_eq!(
        told(&[C(b"GET /latest/meta-d"), Ev::Gap(ToServer, 40, true), C(b"x: y\r\n\r\n"), S(OK), C(GET), S(OK)]),
        [
            "GET /latest/meta-d 18/0/ unfinished head-cut cut -> 200 OK 40/2/hi whole",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
    assert_eq!(
        told(&[C(b"GET /x HTTP/1.1\r\nHost: h\r\nUser-A"), Ev::Gap(ToServer, 40, false), S(OK)]),
        ["GET /x host=h 32/0/ unfinished head-cut gap -> 200 OK 40/2/hi whole LossInRequest"]
    );
    // in bodies: counted where they lie inside, completing where they reach the end
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    assert_eq!(
        told(&[C(GET), S(answer), Ev::Gap(ToClient, 4, false), S(b"hij"), C(GET), S(OK)]),
        [
            "GET /latest host=h 33/0/ whole -> 200 OK 45/10/abchij gap LossInResponse",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
    assert_eq!(
        told(&[C(GET), S(answer), Ev::Gap(ToClient, 70, false), C(GET), S(b"lost"), S(OK)]),
        [
            "GET /latest host=h 33/0/ whole -> 200 OK 42/10/abc gap LossInResponse",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
    let close = b"HTTP/1.0 200 OK\r\n\r\nabc";
    assert_eq!(
        told(&[C(GET), S(close), Ev::Gap(ToClient, 4, false), S(b"hij"), Ev::End(ToClient, End::Fin)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 25/10/abchij gap LossInResponse"]
    );
    // in chunks: inside chunk data the framing survives, elsewhere the next message is looked for
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab";
    assert_eq!(
        told(&[C(GET), S(chunked), Ev::Gap(ToClient, 4, false), S(b"gh\r\n0\r\n\r\n")]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 61/8/abgh gap LossInResponse"]
    );
    assert_eq!(
        told(&[C(GET), S(chunked), Ev::Gap(ToClient, 6, false), S(b"\n0\r\n\r\n"), C(GET), S(OK)]),
        [
            "GET /latest host=h 33/0/ whole -> 200 OK 52/8/ab unfinished gap LossInResponse",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
}

#[test]
fn a_lost_answer_does_not_shift_the_others() {
    assert_eq!(
        told(&[C(b"GET /1 HTTP/1.1\r\n\r\n"), Ev::Gap(ToClient, 40, false), C(GET), S(OK)]),
        ["GET /1 19/0/ whole UnmatchedRequest", "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole"]
    );
    let pipelined = [GET, GET].concat();
    assert_eq!(
        told(&[C(GET), S(OK), C(&pipelined), Ev::Gap(ToClient, 5, false), S(OK), S(OK)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole"; 3]
    );
    // the lost thing was a request
    assert_eq!(
        told(&[C(GET), S(OK), Ev::Gap(ToServer, 33, false), S(OK), C(b"GET /2 HTTP/1.1\r\n\r\n"), S(OK)]),
        [
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
            " -> 200 OK 40/2/hi whole UnmatchedResponse",
            "GET /2 19/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
}

#[test]
fn proxied_streams_are_probed_anew() {
    let connect = b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: p\r\n\r\n";
    let yes = b"HTTP/1.0 200 Connection established\r\n\r\n";
    let inside = [
        "CONNECT 169.254.169.254:80 host=p 48/0/ whole -> 200 Connection established 39/0/ whole",
        "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole via=169.254.169.254:80",
    ];
    assert_eq!(told(&[C(connect), S(yes), C(GET), S(OK)]), inside);
    assert_eq!(told(&[C(&[connect, GET].concat()), S(&[&yes[..], OK].concat())]), inside);
    assert_eq!(told(&[C(connect), S(yes), C(b"\x16\x03\x01\0\x05"), C(GET), S(OK)]), inside[..1]);
    // refused: what follows is a request to the proxy itself
    let no = b"HTTP/1.1 407 Auth\r\nContent-Length: 2\r\n\r\nno";
    assert_eq!(
        told(&[C(&[connect, GET].concat()), S(no), S(OK)]),
        [
            "CONNECT 169.254.169.254:80 host=p 48/0/ whole -> 407 Auth 42/2/no whole",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",
        ]
    );
    let (greeting, target) = (b"\x05\x02\0\x01", b"\x05\x01\0\x03\x04meta\0\x50");
    assert_eq!(
        told(&[C(greeting), S(b"\x05\0"), C(target), S(b"\x05\0\0\x01\x0a\0\0\x01\0\0"), C(GET), S(OK)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole via=meta:80"]
    );
    let socks4 = b"\x04\x01\0\x50\xa9\xfe\xa9\xfeme\0";
    assert_eq!(
        told(&[C(socks4), S(b"\0\x5a\0\0\0\0\0\0"), C(GET), S(OK)]),
        ["GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole via=169.254.169.254:80"]
    );
    assert_eq!(told(&[C(greeting), S(b"\x05\xff"), C(GET), S(OK)]), [""; 0]);
}

#[test]
fn other_protocols_end_it() {
    let upgrade = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(
        told(&[C(upgrade), S(switch), C(GET), S(OK)]),
        ["GET /ws 61/0/ whole -> 101 Switching Protocols 56/0/ whole"]
    );
    assert_eq!(
        told(&[C(&[&upgrade[..], GET].concat()), S(OK), S(OK)]),
        ["GET /ws 61/0/ whole -> 200 OK 40/2/hi whole", "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole"]
    );
    // only the client's side was captured: what it says next tells
    assert_eq!(
        told(&[C(upgrade), C(b"G"), C(&GET[1..]), C(GET)]),
        [
            "GET /ws 61/0/ whole UnmatchedRequest",
            "GET /latest host=h 33/0/ whole UnmatchedRequest",
            "GET /latest host=h 33/0/ whole UnmatchedRequest",
        ]
    );
}

#[test]
fn the_side_that_answers_first_bytes_with_a_status_is_the_server() {
    let found = run(&[C(OK), S(GET), C(OK)]);
    assert_eq!(
        found.iter().map(tell).collect::<Vec<_>>(),
        [" -> 200 OK 40/2/hi whole UnmatchedResponse", "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole",]
    );
    assert_eq!(found[1].conn.client.port, 80);
}

#[test]
fn without_its_beginning_http_may_start_at_any_segment() {
    let told = |events: &[Ev<'_>]| run_from(false, &Limits::default(), events).0.iter().map(tell).collect::<Vec<_>>();
    let both = ["GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole"];
    assert_eq!(told(&[C(b"end of a body"), S(b"more"), C(GET), S(OK)]), both);
    assert_eq!(told(&[S(b"end of a body"), C(b"GE"), C(&GET[2..]), S(OK)]), both);
    assert_eq!(told(&[S(GET), C(OK)]), both);
    assert_eq!(told(&[C(b"x\r\nGET / HTTP/1.1\r\n\r\n")]), [""; 0]);
    // a gap before anything is known, and a server that speaks first
    assert_eq!(run(&[Ev::Gap(ToServer, 9, false), C(GET), S(OK)]).iter().map(tell).collect::<Vec<_>>(), both);
    assert_eq!(run(&[S(b"hello"), C(GET), S(OK)]).iter().map(tell).collect::<Vec<_>>(), both);
}

#[test]
fn a_conflict_in_the_first_bytes_is_judged_by_both_readings() {
    let expected = ["GET /latest host=h 33/0/ whole UnmatchedRequest conflict"];
    assert_eq!(told(&[Ev::Two(&[7; 33], GET), S(b"no")]), expected);
    assert_eq!(
        told(&[C(b"GET "), Ev::Two(&GET[4..], b"/xatest HTTP/1.1\r\nHost: h\r\n\r\n"), S(OK)]),
        [
            "GET /xatest host=h 33/0/ whole UnmatchedRequest conflict",
            "GET /latest host=h 33/0/ whole -> 200 OK 40/2/hi whole conflict",
        ]
    );
}

#[test]
fn lengths_that_contradict_each_other_are_read_as_packetbeat_reads_them() {
    for (fields, len) in [
        ("Content-Length: 9\r\nContent-Length: 3\r\n", 3),
        ("Content-Length: 3, 3\r\n", 3),
        ("Content-Length: 3x\r\n", 3),
        ("Content-Length: x\r\n", 0),
        ("Content-Length: \r\n", 0),
        ("Content-Length: 99999999999999999999999\r\n", 0),
    ] {
        let post = ["POST / HTTP/1.1\r\n", fields, "\r\n", "a=1"].concat();
        let found = run(&[C(post.as_bytes())]);
        assert_eq!(found[0].request.as_ref().unwrap().body.len, len, "{fields}");
    }
    // chunks win over a length, and framing that is broken ends the message
    let post = b"POST / HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(told(&[C(post)]), ["POST / 78/1/x whole UnmatchedRequest"]);
    let broken = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nnext\r\n";
    assert_eq!(
        told(&[C(broken), C(GET)]),
        ["POST / 54/1/x unfinished UnmatchedRequest", "GET /latest host=h 33/0/ whole UnmatchedRequest"]
    );
}

#[test]
fn a_head_beyond_the_limit_is_used_as_far_as_it_goes() {
    let limits = Limits { head: 100, ..Limits::default() };
    let long =
        ["POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nX: ", &"x".repeat(500), "\r\nLate: 1\r\n\r\nb"].concat();
    for size in [1, 7, 99, 100, 101, 1000] {
        let pieces: Vec<Ev<'_>> = long.as_bytes().chunks(size).chain([GET]).map(C).collect();
        let (found, _) = run_with(&limits, &pieces);
        let told: Vec<_> = found.iter().map(tell).collect();
        let expected = format!("POST /p host=h {}/1/b head-cut whole UnmatchedRequest", long.len());
        assert_eq!(told, [expected.as_str(), "GET /latest host=h 33/0/ whole UnmatchedRequest"], "in pieces of {size}");
    }
    let path = ["GET /", &"a".repeat(500), " HTTP/1.1\r\n\r\n"].concat();
    let (found, _) = run_with(&limits, &[C(path.as_bytes()), C(GET)]);
    let head = &found[0].request.as_ref().unwrap().head;
    assert_eq!((head.target().len(), head.complete, found.len()), (96, false, 2));
}

/// Bodies that nobody asks for are counted and not captured; that can change while one is on its way.
#[test]
fn bodies_of_no_use_are_skipped_until_they_are() {
    let response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (target, search, captured) in [("/bulk", false, ""), ("/bulk", true, "def"), ("/secret", false, "abcdef")] {
        let mut found = Vec::new();
        let mut layers = Layers::default();
        let (mut counters, mut dns, mut ordinal) = (Counters::default(), dns::Tracker::new(dns::Config::default()), 0);
        let request = format!("GET {target} HTTP/1.1\r\n\r\n");
        let pieces = [(ToServer, request.as_bytes()), (ToClient, response), (ToClient, b"3\r\ndef\r\n0\r\n\r\n")];
        for (nth, (dir, bytes)) in pieces.into_iter().enumerate() {
            let limits = Limits { every_response: search && nth == 2, ..Limits::default() };
            let mut out = |told: Found<'_>| found.extend(transaction(told));
            let mut sink = sink(&limits, &mut counters, &mut dns, &mut ordinal, &mut out);
            sink.keeps_body = &|request| request.head.target() == b"/secret";
            let at = Context { time: Timestamp(0), index: nth as u64 };
            layers.feed(Delivery { dir, chunk: Chunk::Data(bytes), at, from_start: true }, &mut sink);
        }
        let body = &found[0].response.as_ref().unwrap().body;
        assert_eq!((body.len, body.captured.as_slice()), (6, captured.as_bytes()), "{target} {search}");
        assert_eq!(body.whole, target == "/secret");
    }
}

#[test]
fn waiting_requests_are_bounded() {
    let limits = Limits { pending: 3, ..Limits::default() };
    let events: Vec<Ev<'_>> = [C(GET); 5].into_iter().chain([S(OK); 5]).collect();
    let (found, counters) = run_with(&limits, &events);
    let unanswered = found.iter().filter(|transaction| transaction.response.is_none()).count();
    let orphans = found.iter().filter(|transaction| transaction.request.is_none()).count();
    assert_eq!((found.len(), unanswered, orphans, counters.requests_evicted), (7, 2, 2, 2));
    let limits = Limits { memory: 1000, ..Limits::default() };
    let post = [&b"POST / HTTP/1.1\r\nContent-Length: 900\r\n\r\n"[..], &[b'x'; 900]].concat();
    let (found, counters) = run_with(&limits, &[C(&post), C(&post), C(GET), S(OK)]);
    assert_eq!((found.len(), counters.requests_evicted), (4, 2));
}
