//! Tests of the search for targets that a request names: each place, each disguise, and what is no attempt.

use super::*;
use crate::proto::http::message::{Body, Head, Start};

/// A request as text: request line, header lines, blank line, body.
fn message(text: &str) -> Message {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut raw = Vec::new();
    let mut range = |text: &str| {
        let start = raw.len() as u32;
        raw.extend_from_slice(text.as_bytes());
        start..raw.len() as u32
    };
    let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let start = match first[0].parse() {
        Ok(status) => Start::Response { status, phrase: range("") },
        Err(_) => Start::Request { method: range(first[0]), target: range(first[1]) },
    };
    let fields = lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (range(n), range(v))).collect();
    Message {
        first: Default::default(),
        last: Default::default(),
        first_index: 0,
        head: Head { start, version: None, fields, complete: true, raw },
        body: Body { len: body.len() as u64, captured: body.as_bytes().to_vec(), whole: true },
        bytes: 0,
        gap: false,
        cut: false,
        complete: true,
    }
}

fn catalogue() -> Catalogue {
    Catalogue::builtin().unwrap()
}

fn find(text: &str) -> Vec<Candidate> {
    candidates(&message(text), Hosts::Unknown, &catalogue())
}

/// The strongest kind found, with the place and path of the first of that kind.
fn strongest(text: &str) -> Option<(CandidateKind, Place, Option<String>)> {
    let found = find(text);
    let kind = found.iter().map(|candidate| candidate.kind).max()?;
    found.into_iter().find(|candidate| candidate.kind == kind).map(|c| (kind, c.place, c.path))
}

const ROLE: &str = "/latest/meta-data/iam/security-credentials/demo";

fn attempt(place: Place, path: &str) -> Option<(CandidateKind, Place, Option<String>)> {
    Some((CandidateKind::Attempt, place, Some(path.to_owned())))
}

#[test]
fn whole_values_are_attempts() {
    let query = || Place::Query("url".into());
    for (request, place) in [
        (format!("GET /f?url=http://169.254.169.254{ROLE}"), query()),
        (format!("GET /f?x=1&url=http%3A%2F%2F169.254.169.254{ROLE}&y=2"), query()),
        (format!("GET /f?url=http%253A%252F%252F169.254.169.254{ROLE}"), query()),
        (format!("GET /f?url=//0xa9fea9fe{ROLE}"), query()),
        (format!("GET /f?url=http://2852039166{ROLE}"), query()),
        (format!("GET /f?url=http://%E2%91%A0%E2%91%A5%E2%91%A8.254.169.254{ROLE}"), query()),
        (format!("GET /f?url=http://www.partner.example@169.254.169.254{ROLE}"), query()),
        (format!("GET /f?url=gopher://169.254.169.254:80/_GET%20{ROLE}%20HTTP/1.1%0d%0a"), query()),
        (format!("GET /f?url=http://imds.attacker.example{ROLE}"), query()),
        (format!("GET /f?url=http://169.254.169.254{ROLE}%0d%0aX-Y:%20z"), query()),
        (format!("GET /f?http://169.254.169.254{ROLE}"), Place::Query(String::new())),
        (format!("GET /proxy/http://169.254.169.254{ROLE}"), Place::Path),
        (format!("GET /proxy/http:/169.254.169.254{ROLE}"), Place::Path),
        (format!("GET /proxy/https%3A%2F%2F169.254.169.254{ROLE}"), Place::Path),
        (format!("GET /a/b//169.254.169.254{ROLE}"), Place::Path),
        (format!("GET /proxy/169.254.169.254{ROLE}"), Place::Path),
        (format!("GET /proxy/0xa9fea9fe{ROLE}"), Place::Path),
        (format!("GET http://169.254.169.254{ROLE}"), Place::AbsoluteForm),
        (format!("GET {ROLE}\nHost: 169.254.169.254"), Place::Host),
        (
            format!("GET /t\nHost: shop.example\nX-Source-Url: http://169.254.169.254{ROLE}"),
            Place::Header("x-source-url".into()),
        ),
        (
            format!(
                "POST /p\nContent-Type: application/x-www-form-urlencoded\n\na=b&cb=http%3A%2F%2F169.254.169.254{ROLE}"
            ),
            Place::Form("cb".into()),
        ),
        (format!("POST /p\n\na=b&cb=http%3A%2F%2F169.254.169.254{ROLE}"), Place::Form("cb".into())),
        (
            format!("POST /p\nContent-Type: application/json\n\n{{\"a\":1,\"u\" : \"http://169.254.169.254{ROLE}\"}}"),
            Place::Json("u".into()),
        ),
        (
            format!("POST /p\n\n{{\"u\":[\"x\",\"http:\\/\\/\\u0031\\u0036\\u0039.254.169.254{ROLE}"),
            Place::Json("u".into()),
        ),
        (
            format!("POST /p\n\n{{\"s\":\"{{\\\"u\\\":\\\"http://169.254.169.254{ROLE}\\\"}}\"}}"),
            Place::Json("u".into()),
        ),
        (
            format!(
                "POST /p\nContent-Type: application/x-www-form-urlencoded\n\n{{\"u\":\"http://169.254.169.254{ROLE}\"}}"
            ),
            Place::Json("u".into()),
        ),
        (
            format!(
                "POST /p\nContent-Type: multipart/form-data; boundary=XX\n\n--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX\r\nContent-Disposition: form-data; name=\"u\"\r\n\r\nhttp://169.254.169.254{ROLE}\r\n--XX--\r\n"
            ),
            Place::Multipart("u".into()),
        ),
        (format!("POST /p\nContent-Type: text/xml\n\n<a><b>http://169.254.169.254{ROLE}</b></a>"), Place::Xml),
        (
            format!(
                "POST /p\nContent-Type: image/svg+xml\n\n<svg><image xlink:href='http://169&#46;254.169.254{ROLE}'/></svg>"
            ),
            Place::Xml,
        ),
        (
            format!(
                "POST /p\n\n<?xml version=\"1.0\"?><!DOCTYPE r [ <!ENTITY x SYSTEM \"http://169.254.169.254{ROLE}\"> ]><r>&x;</r>"
            ),
            Place::Xml,
        ),
        (format!("POST /p\n\n<!DOCTYPE r SYSTEM \"http://169.254.169.254{ROLE}\"><r/>"), Place::Xml),
        (
            format!("POST /p?svg=%3Csvg%20xmlns%3D%22x%22%3E%3Cimage%20href%3D%22http://169.254.169.254{ROLE}%22/%3E"),
            Place::Xml,
        ),
        (format!("POST /p\n\nhttp://169.254.169.254{ROLE}\n"), Place::Body),
    ] {
        assert_eq!(strongest(&request), attempt(place, ROLE), "{request}\n{:?}", find(&request));
    }
    assert_eq!(strongest("GET /f?url=http://169.254.169.254"), Some((CandidateKind::Attempt, query(), None)));
}

#[test]
fn text_commands_and_excluded_headers_are_mentions() {
    let encoded = "Y3VybCAtcyBodHRwOi8vMTY5LjI1NC4xNjkuMjU0L2xhdGVzdC91c2VyLWRhdGE=";
    let utf16 = "YwB1AHIAbAAgADEANgA5AC4AMgA1ADQALgAxADYAOQAuADIANQA0AC8AbABhAHQAZQBzAHQALwB1AHMAZQByAC0AZABhAHQAYQA";
    for request in [
        "GET /ping?host=x%3b+curl+-s+http%3a%2f%2f169.254.169.254%2flatest%2fuser-data+%23".to_owned(),
        "GET /ping?host=;curl+169.254.169.254/latest/user-data".to_owned(),
        "GET /ping?host=$(curl+0xa9fea9fe/latest/user-data)".to_owned(),
        "GET /t?q={{fetch('http://169.254.169.254/latest/user-data')}}".to_owned(),
        "GET /open?u=http://trusted.example/r?u=http://169.254.169.254/latest/user-data".to_owned(),
        format!("GET /run?c=echo+{encoded}|base64+-d|sh"),
        format!("GET /run?c=x{encoded}"),
        format!("GET /run?c=powershell+-enc+{utf16}"),
        format!("POST /run\n\n{{\"cmd\":\"{encoded}\"}}"),
        "GET /run?c=;curl+http://imds.attacker.example/latest/user-data".to_owned(),
        "GET /\nReferer: http://169.254.169.254/latest/user-data".to_owned(),
        "GET /\nCookie: next=http%3A%2F%2F169.254.169.254%2Flatest%2Fuser-data".to_owned(),
        "GET /\nUser-Agent: () { :; }; curl http://169.254.169.254/latest/user-data".to_owned(),
        "GET /latest/user-data\nX-Forwarded-Host: 169.254.169.254".to_owned(),
        "POST /wiki\n\n{\"body\":\"Run `curl http://169.254.169.254/latest/user-data` inside\"}".to_owned(),
        "POST /_bulk\nContent-Type: application/x-ndjson\n\n{\"url.full\":\"http://169.254.169.254/latest/user-data\"}\n".to_owned(),
        "POST /wiki\nContent-Type: text/html\n\n<html><a href='http://169.254.169.254/latest/user-data'>".to_owned(),
        "POST /wiki\nContent-Type: text/plain\n\nline\nsee http://169.254.169.254/latest/user-data\n".to_owned(),
    ] {
        let found = strongest(&request).map(|(kind, _, path)| (kind, path));
        let expected = (CandidateKind::Mention, Some("/latest/user-data".to_owned()));
        assert_eq!(found, Some(expected), "{request}\n{:?}", find(&request));
    }
}

#[test]
fn what_only_looks_like_it_is_nothing() {
    for request in [
        "GET /search?q=169.254.169.254",
        "GET /search?order=2852039166&colour=0xa9fea9fe&ver=169.254.169.254",
        "GET /latest/news\nHost: docs.shop.example",
        "GET /computeMetadata/v1/docs\nHost: docs.shop.example",
        "GET /metadata/instance\nHost: docs.shop.example",
        "GET /metadata/v1/songs",
        "GET /v1.2/items/3?when=12:30",
        "POST /d\n\n{\"see\":\"http://169.254.169.254/\"}",
        "POST /d\nContent-Type: text/xml\n\n<a>http://169.254.169.254</a>",
        "POST /d\n\n{\"text\":\"the address http://169.254.169.254 (AWS, Azure, GCP) is link-local\"}",
        "GET /a?b=c\nCookie: a=b; token=aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "GET /f?url=file:///etc/passwd",
    ] {
        assert_eq!(find(request), [], "{request}");
    }
    for (request, host) in [
        ("GET /fetch?url=http://cdn.partner.example/x.png", "cdn.partner.example"),
        ("GET /fetch?url=http://169.254.7.7/", "169.254.7.7"),
        ("GET /fetch?url=http://169.254.169.249/latest/meta-data", "169.254.169.249"),
        ("GET /fetch?url=http://127.0.0.1/latest/user-data", "127.0.0.1"),
    ] {
        let found = find(request);
        let host: HostRef = host.parse().map_or_else(|_| HostRef::Name(host.to_owned()), HostRef::Address);
        assert_eq!(
            found.iter().map(|c| (c.kind, &c.host)).collect::<Vec<_>>(),
            [(CandidateKind::Url, &host)],
            "{request}"
        );
    }
}

#[test]
fn redirects_and_own_urls() {
    let catalogue = catalogue();
    let asked = HostRef::Name("a.example".into());
    let to = |text: &str| redirect(&message(text), Some(&asked), &catalogue);
    let found = to(&format!("302\nLocation: http://169.254.169.254{ROLE}")).unwrap();
    assert_eq!((found.kind, found.path.as_deref()), (CandidateKind::Attempt, Some(ROLE)));
    let found = to("200\nRefresh: 0; url=http://169.254.169.254/latest/user-data").unwrap();
    assert_eq!((found.kind, found.path.as_deref()), (CandidateKind::Attempt, Some("/latest/user-data")));
    let found = to("307\nLocation: /next?x=1").unwrap();
    assert_eq!((found.kind, found.host, found.url.as_str()), (CandidateKind::Url, asked.clone(), "/next?x=1"));
    assert_eq!(to("200\nLocation: http://169.254.169.254/"), None);
    assert_eq!(own_url(&message("GET /r?a=b\nHost: A.example:80")), Some((asked.clone(), "/r?a=b".into())));
    assert_eq!(own_url(&message("GET http://a.example/r\nHost: proxy")), Some((asked, "/r".into())));
}

#[test]
fn candidates_are_bounded() {
    let many: String =
        (0..200).map(|i| format!("u{i}=http://h{i}.example/&v{i}=http://169.254.169.254/{i}&")).collect();
    let found = find(&format!("POST /p\nContent-Type: application/x-www-form-urlencoded\n\n{many}"));
    assert!(found.len() == FOUND && found.iter().filter(|c| c.kind == CandidateKind::Url).count() <= 16);
}

#[test]
fn no_bytes_break_it() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let catalogue = catalogue();
    let piece = prop_oneof![
        Just("http://169.254.169.254/latest/user-data".to_owned()),
        prop::sample::select(vec![
            "<", "<!", "\"", "\\", "\\u", "{", "[", "&#", "%", "--XX", "\r\n\r\n", "=", "&", "//", "@", ";"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    let kinds = prop::sample::select(vec![
        "application/json",
        "text/xml",
        "multipart/form-data; boundary=XX",
        "application/x-www-form-urlencoded",
        "text/plain",
    ]);
    let requests = (kinds, prop::collection::vec(piece, 0..30)).prop_map(|(kind, pieces)| (kind, pieces.concat()));
    let mut runner =
        TestRunner::new_with_rng(Config::with_cases(300), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let check = |(kind, text): (&str, String)| {
        let line = text.replace([' ', '\n', '\r'], "");
        let mut request = message(&format!("POST /{line} x\nContent-Type: {kind}\nX-A: v{line}"));
        request.body.captured = text.into_bytes();
        prop_assert!(candidates(&request, Hosts::Unknown, &catalogue).len() <= FOUND);
        Ok(())
    };
    runner.run(&requests, check).unwrap();
}

#[test]
fn headers_are_known_by_their_names_in_any_case() {
    for len in 0..64 {
        for (name, kind) in (0..=u8::MAX).flat_map(|first| known_headers(len, first)) {
            assert_eq!((name.len(), header_kind(name.to_ascii_uppercase().as_bytes())), (len, *kind), "{name}");
        }
    }
    let known = (0..64).flat_map(|len| (0..=u8::MAX).map(move |first| known_headers(len, first).len()));
    assert_eq!(known.sum::<usize>(), 23);
    assert_eq!(header_kind(b"x-image-url"), HeaderKind::Other);
}

#[test]
fn what_may_be_a_url_is_told_by_its_beginning_or_its_marks() {
    for value in ["http:x", "WSS", "gopher", "//h", "a/b//c", "%68", "a\\b", "a/%", "x\u{ff0e}"] {
        assert!(may_be_url(value.as_bytes()), "{value}");
    }
    for value in ["", "ht", "text/html,application/xhtml+xml,*/*;q=0.8", "gzip, deflate", "en-US,en;q=0.5", "a/"] {
        assert!(!may_be_url(value.as_bytes()), "{value}");
    }
}

#[test]
fn hosts_that_were_looked_up_are_looked_at_again_only_where_they_hide_something() {
    let found = |host: &str| {
        let message = message(&format!("GET /latest HTTP/1.1\nHost: {host}"));
        let find = |hosts| candidates(&message, hosts, &catalogue()).len();
        (find(Hosts::Unknown), find(Hosts::Ordinary))
    };
    assert_eq!(found("shop.example.com"), (0, 0));
    assert_eq!(found("169.254.169.254"), (1, 0));
    assert_eq!(found("fd00:ec2::254%25@x"), (1, 1));
}
